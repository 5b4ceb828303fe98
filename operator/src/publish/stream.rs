//! The body of `GET /v1/stream`: the newest manifest whenever it changes, and the list of nodes that may be asked;
//! heartbeats between.
//!
//! A stream owns no queue. It looks at the newest manifest when the connection can take more, so a slow reader skips
//! manifests instead of collecting them. It ends by itself at a random age, and when the operator shuts down.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use breakwater_snapshot::Digest;

use super::{Announced, HEARTBEAT, Published, Publisher};

struct State {
    publisher: Publisher,
    node: Option<String>,
    have: Option<Digest>,
    current: watch::Receiver<Option<Arc<Published>>>,
    closing: watch::Receiver<bool>,
    peers: watch::Receiver<Option<Arc<Announced>>>,
    /// The number of the list that was sent last.
    peers_sent: Option<u64>,
    heartbeat: Duration,
    /// When the next heartbeat is due, whatever else is sent.
    beat: Instant,
    end: Instant,
    _open: Open,
}

/// Holds a stream's place and its count for as long as it lives.
struct Open {
    publisher: Publisher,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.publisher.0.metrics.stream_closed();
    }
}

pub(super) fn lines(
    publisher: &Publisher,
    permit: OwnedSemaphorePermit,
    have: Option<Digest>,
    node: Option<String>,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
    publisher.0.metrics.stream_opened();
    let (shortest, longest) = publisher.0.limits.stream_life;
    let life = shortest + longest.saturating_sub(shortest).mul_f64(fastrand::f64());
    let state = State {
        publisher: publisher.clone(),
        node,
        have,
        current: publisher.0.current.subscribe(),
        closing: publisher.0.closing.subscribe(),
        peers: publisher.0.peers.subscribe(),
        peers_sent: None,
        heartbeat: publisher.0.limits.heartbeat,
        beat: Instant::now() + publisher.0.limits.heartbeat,
        end: Instant::now() + life,
        _open: Open {
            publisher: publisher.clone(),
            _permit: permit,
        },
    };
    futures_util::stream::unfold(state, |mut state| async move {
        let line = state.next().await?;
        Some((Ok(line), state))
    })
}

impl State {
    async fn next(&mut self) -> Option<Bytes> {
        let (have, sent) = (self.have, self.peers_sent);
        let news = |now: &Option<Arc<Published>>| now.as_ref().is_some_and(|now| Some(now.digest) != have);
        let newest = tokio::select! {
            biased;
            _ = self.closing.wait_for(|closing| *closing) => return None,
            found = self.current.wait_for(news) => found.ok()?.clone()?,
            found = self.peers.wait_for(|now| now.as_ref().is_some_and(|now| Some(now.number) != sent)) => {
                let newest = found.ok()?.clone()?;
                self.peers_sent = Some(newest.number);
                // Who has the one before is told what changed.
                let known = sent.is_some_and(|sent| sent + 1 == newest.number);
                return Some(if known { newest.since_last.clone() } else { newest.whole.clone() });
            }
            () = tokio::time::sleep_until(self.end) => return None,
            () = tokio::time::sleep_until(self.beat) => {
                self.beat = Instant::now() + self.heartbeat;
                if let Some(node) = &self.node {
                    // A full table only means that this node is not counted; it is served all the same.
                    let _ = self.publisher.touch(node);
                }
                return Some(Bytes::from_static(HEARTBEAT.as_bytes()));
            }
        };
        self.have = Some(newest.digest);
        Some(newest.line.clone())
    }
}
