//! Requests of other nodes: the answer is made as for a client, but for what the node that asks has done or will do.
//!
//! Invariant: policies, redirects and limits were applied where the client is, and what a route does to responses is
//! done there; neither is done twice. Nothing here is counted as a client's request, and nobody but the origin is asked.
//! What another node says is out of date is forgotten, and told to nobody else; so is what it allowed under limits
//! across nodes counted.

use std::rc::Rc;
use std::time::Instant;

use breakwater_cache::Timestamp;
use breakwater_cache::object::Freshness;
use breakwater_cache::policy::invalidate::{self, CACHE_GROUP_INVALIDATION};
use breakwater_wire::http1::{Framing, RequestHead};
use breakwater_wire::path::normalize;

use super::{Answer, Routed, hit, leave};
use crate::config::ResourceKind;
use crate::conn::Shared;
use crate::peer::spent::hear;
use crate::request_id::acceptable;
use crate::respond;
use crate::worker::Worker;
use breakwater_wire::peer::spent::SPENT;
use breakwater_wire::peer::{AnswerNote, FIELD, INVALIDATE, RequestNote, Times};

/// Readings of a worker's clock are that much apart from the truth at most: what is told is older, never younger.
const SLACK_MS: u64 = 2;

/// Answers a request that came over a node's connection, if that takes no waiting.
pub(super) fn answer(shared: &Shared, head: &RequestHead<'_>, out: &mut Vec<u8>) -> Answer {
    let worker = Rc::clone(&shared.worker);
    let counts = &worker.metrics.peering.counts;
    if (head.method, head.framing) == (SPENT, Framing::None)
        && head.field(FIELD.as_str()).is_some_and(|value| hear(&worker, value))
    {
        respond::thank_peer(out, &worker);
        return Answer::Written {
            block: None,
            body: Vec::new(),
            close: !head.keep_alive || worker.draining.get(),
        };
    }
    let letter = head.field(FIELD.as_str()).and_then(RequestNote::parse);
    let letter = letter.filter(|letter| acceptable(letter.request_id.as_bytes()));
    let (Some(letter), Ok(path), "GET" | INVALIDATE, Framing::None) =
        (letter, normalize(head.path), head.method, head.framing)
    else {
        counts.malformed.add();
        return refuse(&worker, out, 400, "this is no request of a node");
    };
    let config = worker.config.borrow();
    let route = config.route(head.host.name(), path.as_str());
    let Some(route) = route.filter(|route| config.resource(route.resource).label == letter.resource) else {
        // The two of us have different configurations, for a moment.
        counts.turned_away.add();
        return refuse(&worker, out, 404, "nothing here serves this");
    };
    let ResourceKind::Cache(site) = &config.resource(route.resource).kind else {
        counts.malformed.add();
        return refuse(&worker, out, 404, "nothing is stored of this");
    };
    let routed = Routed {
        head,
        path: &path,
        config: &config,
        index: route.resource,
        client: letter.client,
        trusted: letter.trusted,
        request_id: letter.request_id,
        started: Instant::now(),
        secure: letter.secure,
        tls: None,
        asked_by: Some(letter.from),
    };
    if head.method == INVALIDATE {
        counts.told.add();
        let target = hit::target_of_head(&worker, site, &routed);
        worker.cache.invalidate(&target, &site.policy);
        let lines = head.fields();
        let lines = lines.filter(|(name, _)| name.eq_ignore_ascii_case(CACHE_GROUP_INVALIDATION.as_str()));
        let groups = invalidate::groups_of(lines.map(|(_, value)| value));
        if !groups.is_empty() {
            let origin = hit::origin_of_head(&worker, site, &routed);
            worker.cache.invalidate_groups(target.site, origin, &groups);
        }
        respond::thank_peer(out, &worker);
        return Answer::Written {
            block: None,
            body: Vec::new(),
            close: !head.keep_alive || worker.draining.get(),
        };
    }
    if let Some(hit) = hit::answer(&worker, site, &routed, out) {
        counts.served.add();
        return Answer::Written {
            block: hit.block,
            body: hit.body,
            close: !head.keep_alive || worker.draining.get(),
        };
    }
    leave(&worker, &routed, out, None)
}

fn refuse(worker: &Worker, out: &mut Vec<u8>, status: u16, message: &str) -> Answer {
    respond::refuse_peer(out, worker, status, message);
    Answer::Written {
        block: None,
        body: Vec::new(),
        close: true,
    }
}

/// What another node is told of a response that may be stored; the request came at `came`.
pub(super) fn word(freshness: &Freshness, came: Timestamp, now: Timestamp) -> String {
    AnswerNote::Shared(Times {
        asked: came.millis_since(freshness.asked).saturating_add(SLACK_MS),
        held: now.millis_since(freshness.received),
        age: freshness.initial_age,
    })
    .write()
}
