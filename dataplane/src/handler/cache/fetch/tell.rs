//! Telling the node that owns a URL that an unsafe request at this one has made it out of date.
//!
//! One hop, and no promise: nobody waits, and who does not answer is not told again. What the owner then still has, as what
//! every other node has, is served for as long as it is fresh.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use breakwater_wire::peer::INVALIDATE;
use http::HeaderMap;

use super::owner::{address, among, place};
use crate::config::Site;
use crate::handler::{Job, forward};
use crate::peer::{Asked, Choice};
use crate::upstream::{Asker, Body, Head, OriginError};
use crate::worker::Worker;

/// How long a node may take to forget something.
const PATIENCE: Duration = Duration::from_secs(1);

/// Has the node that owns `target`, a normal path and a query, forget it, if that is another; `from` is where the connection
/// of the client's request comes from.
pub(in crate::handler::cache) fn tell_owner(worker: &Rc<Worker>, job: &Job, from: IpAddr, site: &Site, target: &str) {
    let Some(among) = among(site).filter(|_| job.asked_by.is_none()) else {
        return;
    };
    // The query may be what an origin has written into `Location`; nobody can have asked for what is none.
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return;
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let Some(place) = place(job, site, path, query) else {
        return;
    };
    let peering = &worker.metrics.peering;
    let Choice::Member(asked) = peering.choose(place, &[], among) else {
        return;
    };
    let Some(head) = message(job, from, target) else { return };
    let (worker, path, client) = (Rc::clone(worker), path.to_owned(), job.client);
    tokio::task::spawn_local(async move {
        let counts = &worker.metrics.peering.counts;
        let asker = Asker {
            client,
            fields: &head.fields,
            path: &path,
        };
        match tell(&worker, &asked, &head, &asker).await {
            Ok(true) => counts.invalidated.add(),
            Ok(false) => counts.refused.add(),
            Err(error) => {
                asked.failed();
                counts.unreachable.add();
                tracing::debug!(node = &*asked.member.name, path, "a node is not told: {error}");
            }
        }
    });
}

/// Whether the node has forgotten it.
async fn tell(worker: &Worker, asked: &Asked, head: &Head, asker: &Asker<'_>) -> Result<bool, OriginError> {
    let way = worker.ways.to(&asked.member, worker.index, &worker.pool);
    let (response, mut body) = way.ask(head, asker, PATIENCE).await?;
    asked.answered();
    // To its end, so that the connection can be used again.
    while body.next().await?.is_some() {}
    Ok(response.status.as_u16() == 204)
}

fn message(job: &Job, from: IpAddr, target: &str) -> Option<Head> {
    let mut fields = match job.trusted {
        // What a trusted proxy says of the request is part of what it is about.
        true => forward::end_to_end(job),
        false => HeaderMap::new(),
    };
    address(&mut fields, job, from)?;
    Some(forward::head(target, INVALIDATE, fields, Body::None))
}
