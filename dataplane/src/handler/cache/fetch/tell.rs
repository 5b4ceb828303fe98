//! Telling other nodes that an unsafe request at this one has made something out of date: of a URL the node that owns it, of
//! a group (RFC 9875) all that may own what is in it.
//!
//! One hop, and no promise: nobody waits, and who does not answer is not told again. What another node then still has is
//! served for as long as it is fresh.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use breakwater_cache::policy::invalidate::{CACHE_GROUP_INVALIDATION, write_groups};
use breakwater_wire::path::split_query;
use breakwater_wire::peer::INVALIDATE;
use futures_util::stream::{self, StreamExt};
use http::HeaderMap;

use super::owner::{address, among, place};
use crate::config::Site;
use crate::handler::{Job, forward};
use crate::peer::{Asked, Choice};
use crate::upstream::{Asker, Body, Head, OriginError};
use crate::worker::Worker;

/// How long a node may take to forget something, and then to end its answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many nodes are told of groups at once.
const AT_ONCE: usize = 16;

/// How many changes of groups are being told by one worker.
const MOST_CHANGES: usize = 64;

thread_local! {
    static CHANGES: Cell<usize> = const { Cell::new(0) };
}

/// Has the node that owns `target`, a normal path and a query, forget it, if that is another; `from` is where the connection
/// of the client's request comes from.
pub(in crate::handler::cache) fn tell_owner(worker: &Rc<Worker>, job: &Job, from: IpAddr, site: &Site, target: &str) {
    let Some(among) = among(site).filter(|_| job.asked_by.is_none()) else {
        return;
    };
    let (path, query) = split_query(target);
    let Some(message) = Message::new(job, from, target, &[]) else {
        return;
    };
    let Some(place) = place(job, site, path, query) else {
        return;
    };
    let peering = &worker.metrics.peering;
    let Choice::Member(asked) = peering.choose(place, &[], among) else {
        return;
    };
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move { message.tell(&worker, asked).await });
}

/// Has every other node that may be asked forget what is in `groups`, and `target` with it.
pub(in crate::handler::cache) fn tell_all(
    worker: &Rc<Worker>,
    job: &Job,
    from: IpAddr,
    site: &Site,
    target: &str,
    groups: &[String],
) {
    let Some(among) = among(site).filter(|_| job.asked_by.is_none()) else {
        return;
    };
    let Some(message) = Message::new(job, from, target, groups) else {
        return;
    };
    let members = worker.metrics.peering.all(among);
    let Some(change) = Change::begin() else {
        members
            .iter()
            .for_each(|_| worker.metrics.peering.counts.passed_over.add());
        return;
    };
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let _change = change;
        let peering = &worker.metrics.peering;
        let asked = members
            .iter()
            .filter_map(|member| peering.ask_if_free(member, members.len()));
        let telling = asked.map(|asked| message.tell(&worker, asked));
        let mut telling = stream::iter(telling).buffer_unordered(AT_ONCE);
        while telling.next().await.is_some() {}
    });
}

/// What is said to a node.
struct Message {
    head: Head,
    client: IpAddr,
    path: String,
}

impl Message {
    fn new(job: &Job, from: IpAddr, target: &str, groups: &[String]) -> Option<Self> {
        // The query may be what an origin has written into `Location`; nobody can have asked for what is none.
        if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut fields = match job.trusted {
            // What a trusted proxy says of the request is part of what it is about.
            true => forward::end_to_end(job),
            false => HeaderMap::new(),
        };
        // It is the origin's to say.
        fields.remove(CACHE_GROUP_INVALIDATION);
        if !groups.is_empty() {
            fields.insert(CACHE_GROUP_INVALIDATION, write_groups(groups)?);
        }
        address(&mut fields, job, from)?;
        Some(Self {
            head: forward::head(target, INVALIDATE, fields, Body::None),
            client: job.client,
            path: split_query(target).0.to_owned(),
        })
    }

    /// Says it, and counts what came of it.
    async fn tell(&self, worker: &Worker, asked: Asked) {
        let counts = &worker.metrics.peering.counts;
        match self.try_tell(worker, &asked).await {
            Ok(true) => counts.invalidated.add(),
            Ok(false) => counts.refused.add(),
            Err(error) => {
                asked.failed();
                counts.unreachable.add();
                let (node, path) = (&*asked.member.name, &*self.path);
                tracing::debug!(node, path, "a node is not told: {error}");
            }
        }
    }

    /// Whether the node has forgotten it.
    async fn try_tell(&self, worker: &Worker, asked: &Asked) -> Result<bool, OriginError> {
        let asker = Asker {
            client: self.client,
            fields: &self.head.fields,
            path: &self.path,
        };
        let way = worker.ways.to(&asked.member, worker.index, &worker.pool);
        let (response, mut body) = way.ask(&self.head, &asker, PATIENCE).await?;
        // To its end, so that the connection can be used again.
        let rest = async {
            while body.next().await?.is_some() {}
            Ok(())
        };
        let rest = tokio::time::timeout(PATIENCE, rest).await;
        rest.unwrap_or(Err(OriginError::ResponseTimeout))?;
        asked.answered();
        Ok(response.status.as_u16() == 204)
    }
}

/// A change of groups that is being told.
struct Change;

impl Change {
    fn begin() -> Option<Self> {
        let changes = CHANGES.get();
        (changes < MOST_CHANGES).then(|| {
            CHANGES.set(changes + 1);
            Self
        })
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        CHANGES.set(CHANGES.get().saturating_sub(1));
    }
}
