//! Limits that hold across nodes: every other node is told, several times a second, what clients were allowed here, and
//! counts it as if it had allowed that itself.
//!
//! Invariants: no request waits for it; what is told is told to each node once at most, and who is not reached does not
//! hear of it later: the limit holds there by what that node knows. One batch for each node is under way at a time. A
//! node without such a limit, or without others, sends nothing.
//!
//! Bounds: a batch is what `wire::peer::spent` has room for, clients that were allowed most first; the interval grows
//! with the number of nodes, so that no node sends or is sent more than 200 batches a second.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use breakwater_waf::ClientKey;
use breakwater_waf::limit::Spent;
use breakwater_wire::peer::FIELD;
use breakwater_wire::peer::spent::{self, Client, Entry, SPENT};
use http::header::{self, HeaderMap, HeaderValue};

use super::Member;
use crate::upstream::{Asker, Body, Head, OriginError};
use crate::worker::Worker;

/// Shortest time between two batches to a node.
const INTERVAL: Duration = Duration::from_millis(100);

/// What each node adds to that time.
const FOR_EACH_NODE: Duration = Duration::from_millis(5);

/// How often it is looked whether there is such a limit.
const LOOK: Duration = Duration::from_millis(500);

/// How long a node may take to answer once it has said its first word.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells the other nodes, for as long as the worker takes requests. One worker does it for all.
pub(crate) async fn tell(worker: Rc<Worker>) {
    if worker.index != 0 {
        return;
    }
    while !worker.draining.get() {
        tokio::time::sleep(interval(&worker)).await;
        tell_once(&worker);
    }
}

fn interval(worker: &Worker) -> Duration {
    if !worker.metrics.tables.has_fleet_limits() {
        return LOOK;
    }
    INTERVAL.max(FOR_EACH_NODE.saturating_mul(others(worker)))
}

fn others(worker: &Worker) -> u32 {
    u32::try_from(worker.metrics.peering.others().len()).unwrap_or(u32::MAX)
}

fn tell_once(worker: &Rc<Worker>) {
    let peering = &worker.metrics.peering;
    let mut spent = worker.metrics.tables.take_spent();
    let others = peering.others();
    if spent.is_empty() || others.is_empty() {
        return;
    }
    spent.sort_unstable_by_key(|spent| std::cmp::Reverse(spent.count));
    let entries: Vec<_> = spent.into_iter().map(entry).collect();
    let (value, written) = spent::write(&entries);
    let counts = &peering.spent;
    counts.cut.add_many(entries.len() - written);
    let Ok(value) = HeaderValue::from_str(&value) else {
        return;
    };
    let head = Rc::new(message(value));
    for member in others {
        // One that has the last batch still, or rests.
        if peering.rests(&member) || member.told.swap(true, Relaxed) {
            counts.failed.add_many(written);
            continue;
        }
        let told = Told(member);
        let (worker, head) = (Rc::clone(worker), Rc::clone(&head));
        tokio::task::spawn_local(async move {
            let peering = &worker.metrics.peering;
            match send(&worker, &told.0, &head).await {
                Ok(true) => peering.spent.sent.add_many(written),
                Ok(false) => peering.spent.failed.add_many(written),
                Err(error) => {
                    peering.failed(&told.0);
                    peering.spent.failed.add_many(written);
                    tracing::debug!(
                        node = &*told.0.name,
                        "a node is not told what clients were allowed: {error}"
                    );
                }
            }
        });
    }
}

/// A node with a batch under way.
struct Told(Arc<Member>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.told.store(false, Relaxed);
    }
}

/// Whether the node has counted it.
async fn send(worker: &Worker, member: &Member, head: &Head) -> Result<bool, OriginError> {
    let asker = Asker {
        client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        fields: &head.fields,
        path: "/",
    };
    let way = worker.ways.to(member, worker.index, &worker.pool);
    let (response, mut body) = way.ask(head, &asker, PATIENCE).await?;
    worker.metrics.peering.answered(member);
    // To its end, so that the connection can be used again.
    while body.next().await?.is_some() {}
    Ok(response.status.as_u16() == 204)
}

fn message(value: HeaderValue) -> Head {
    let mut fields = HeaderMap::new();
    fields.insert(header::HOST, HeaderValue::from_static("breakwater"));
    fields.insert(FIELD, value);
    Head {
        method: SPENT.to_owned(),
        target: "/".to_owned(),
        fields,
        body: Body::None,
        trailers: false,
    }
}

/// Counts what another node tells. False when it is not what nodes tell.
pub(crate) fn hear(worker: &Worker, value: &[u8]) -> bool {
    let Some(entries) = spent::parse(value) else {
        return false;
    };
    let peering = &worker.metrics.peering;
    let told = entries.into_iter().map(told);
    let nodes = others(worker).saturating_add(1);
    let heard = worker.metrics.tables.add_spent(told, worker.clock.now_ms(), nodes);
    peering.spent.taken.add_many(heard.taken);
    peering.spent.unknown.add_many(heard.unknown);
    true
}

fn entry(spent: Spent) -> Entry {
    Entry {
        limit: spent.limit,
        client: match spent.client {
            ClientKey::V4(client) => Client::V4(client),
            ClientKey::V6(client) => Client::V6(client),
        },
        count: spent.count,
    }
}

fn told(entry: Entry) -> Spent {
    Spent {
        limit: entry.limit,
        client: match entry.client {
            Client::V4(client) => ClientKey::V4(client),
            Client::V6(client) => ClientKey::V6(client),
        },
        count: entry.count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::LineLog;
    use crate::worker::alone;

    #[test]
    fn what_is_no_batch_is_not_heard_and_what_is_of_no_limit_here_is_counted_as_unknown() {
        let worker = alone::worker(1, &alone::metrics(1, LineLog::kept().0), Arc::default());
        for bad in [&b""[..], b"v=2", b"v=1;word=passed;0000000000000001=7f", b"\xff"] {
            assert!(!hear(&worker, bad), "{bad:?}");
        }
        assert!(hear(&worker, b"v=1;0000000000000001=7f000001*3,20010db800000000"));
        let counts = &worker.metrics.peering.spent;
        assert_eq!((counts.taken.get(), counts.unknown.get()), (0, 2));
    }

    #[test]
    fn a_client_is_the_same_before_it_is_told_and_after() {
        for client in [ClientKey::V4(7), ClientKey::V6(7)] {
            let spent = Spent {
                limit: 1,
                client,
                count: 2,
            };
            assert_eq!(told(entry(spent)), spent);
        }
    }
}
