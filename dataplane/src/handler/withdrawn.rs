//! A request that its client took back with the bytes it came in.
//!
//! It is routed, judged by policies and counted as any other, because limits are about what a client asks for. But nobody
//! waits for an answer: none is made, no rule takes the request apart, and neither the store nor an origin is asked.

use std::rc::Rc;
use std::time::Duration;

use breakwater_wire::http1::RequestHead;
use breakwater_wire::path::normalize;

use super::exchange::{CLIENT_GONE, GONE};
use super::pages::entry;
use super::{Refused, Routed, judge_without_rules, request_id_of};
use crate::conn::Shared;
use crate::inspect::Refusal;
use crate::telemetry::access_log;

/// Counts and logs it.
pub(crate) fn withdrawn(shared: &mut Shared, head: &RequestHead<'_>) {
    let worker = Rc::clone(&shared.worker);
    let path = match normalize(head.path) {
        Ok(path) => path,
        Err(error) => {
            worker.cells.refuse(error.label());
            return worker.cells.unrouted.add(400);
        }
    };
    let config = worker.config.borrow();
    let Some(route) = config.route(head.host.name(), path.as_str()) else {
        return worker.cells.unrouted.add(CLIENT_GONE);
    };
    let (client, trusted) = config.resource(route.resource).client.find(shared.peer, head.fields());
    let made = worker.ids.next();
    let routed = Routed {
        head,
        path: &path,
        config: &config,
        index: route.resource,
        client,
        trusted,
        request_id: request_id_of(head, trusted, &made),
        started: worker.clock.last(),
        secure: shared.proof.is_some(),
        tls: route.tls,
        asked_by: None,
    };
    let (status, waf) = match judge_without_rules(&worker, Some(&mut shared.guard), &routed, None) {
        Ok(()) => (CLIENT_GONE, None),
        Err(Refused::ByPolicy { status, .. } | Refused::ByRule(Refusal { status, .. })) => (status, Some("block")),
    };
    let cells = &routed.local().cells;
    cells.requests.add(status);
    cells.durations.observe(Duration::ZERO);
    if let Some(log) = &worker.metrics.access_log {
        log.write(access_log::line(&access_log::Entry {
            status,
            waf,
            duration: Duration::ZERO,
            error: Some(GONE),
            ..entry(&worker, &routed)
        }));
    }
}
