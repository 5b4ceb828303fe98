//! A fetch from the node that owns the URL, among all or in the first level, before the origin is asked.
//!
//! Invariants: the owner's failure costs time, never the request, unless the site lets only its first level ask the
//! origin; what the owner has is stored here with the age and the time it was asked for, so that it is neither fresh for
//! longer nor kept in spite of a purge it came before. An owner that has not heard of a purge is not believed: the origin
//! is asked, or where it may not be the owner is told to.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use breakwater_cache::Timestamp;
use breakwater_cache::fill::{Failure, FillWriter};
use breakwater_cache::key::Keyer;
use breakwater_cache::policy::validate;
use breakwater_cache::purge::Stamp;
use breakwater_cache::vary::values_of;
use breakwater_snapshot::unit::{FirstLevel, Tiering};
use breakwater_wire::http1::{Host, OwnedResponse, ResponseFraming};
use http::{HeaderMap, HeaderValue, header};

use super::Fetch;
use crate::config::{Local, Site};
use crate::handler::{Job, forward};
use crate::peer::{Among, Asked, Choice};
use crate::upstream::{Asker, Body, OriginError, ResponseBody};
use breakwater_wire::peer::{AnswerNote, FIELD, RequestNote, Times};

/// Times that nodes tell each other differ surely when they are that much apart.
const DISCERNIBLE: Duration = Duration::from_millis(5);

/// What the owner of a URL is asked with.
pub(in crate::handler::cache) struct Question {
    /// The client's fields, and ours.
    fields: HeaderMap,
    /// Where the URL stands among the nodes.
    place: u64,
}

impl Question {
    /// The question for a request, whose connection comes from `from`; none when nobody but the origin is asked.
    pub(in crate::handler::cache) fn of(job: &Job, from: IpAddr, site: &Site) -> Option<Self> {
        if job.asked_by.is_some() {
            return None;
        }
        among(site)?;
        let place = place(job, site, &job.path, job.request.query())?;
        let mut fields = forward::end_to_end(job);
        // The owner's origin may be this node.
        forward::mark(&mut fields, job);
        address(&mut fields, job, from)?;
        Some(Self { fields, place })
    }
}

/// Says in a request to a node which one of a client it is about.
pub(super) fn address(fields: &mut HeaderMap, job: &Job, from: IpAddr) -> Option<()> {
    let letter = RequestNote {
        resource: &job.resource().label,
        client: job.client,
        from,
        trusted: job.trusted,
        secure: job.secure,
        request_id: &job.request_id,
    };
    fields.insert(header::HOST, HeaderValue::from_str(&job.request.host).ok()?);
    fields.insert(FIELD, HeaderValue::from_str(&letter.write()).ok()?);
    Some(())
}

/// Where a URL of the request's host stands among the nodes; none where it has no host. Not under the secret of this
/// process: nodes have to agree.
pub(super) fn place(job: &Job, site: &Site, path: &str, query: Option<&str>) -> Option<u64> {
    let host = Host::parse(&job.request.host).filter(|host| !host.is_empty())?;
    let url = Keyer::new(0).start(site.id).target(
        b"http",
        host.name().as_bytes(),
        path.as_bytes(),
        query.map(str::as_bytes),
        &site.policy.ignore_query,
    );
    Some(url.finish().0 as u64)
}

/// Which nodes a site's requests may go to; none: no node.
pub(super) fn among(site: &Site) -> Option<Among<'_>> {
    match &site.tiering {
        Tiering::Local => None,
        Tiering::Owner => Some(Among::All),
        Tiering::Parent(parent) => match &parent.level {
            FirstLevel::Nodes(labels) => Some(Among::Level {
                labels,
                fallback: parent.fallback,
            }),
            FirstLevel::Servers(_) => None,
        },
    }
}

/// What a node said.
enum OwnerReply {
    /// A response, and when it was made.
    Response(Box<OwnedResponse>, ResponseBody, Option<Times>),
    OriginFailed(u16),
    Refused,
}

/// When another node was asked.
#[derive(Clone, Copy)]
struct AskedAt {
    /// On the clock of purges.
    ms: u64,
    at: Timestamp,
}

impl Fetch {
    /// Has the owner answer the fill. The writer comes back when the origin is to be asked.
    pub(super) async fn ask_owner(
        &self,
        question: &Question,
        site: &Site,
        local: &Local,
        mut writer: FillWriter,
    ) -> Option<FillWriter> {
        let peering = &self.worker.metrics.peering;
        let Some(among) = among(site) else {
            return Some(writer);
        };
        let mut tried = Vec::new();
        // What the owner has is of no use: it is to ask the origin.
        let mut anew = false;
        loop {
            let asked = match peering.choose(question.place, &tried, among) {
                Choice::Member(asked) => asked,
                Choice::Origin => return Some(writer),
                Choice::Nobody => {
                    peering.counts.nobody.add();
                    self.nobody(writer, 502, "no node that may ask the site's server has an answer");
                    return None;
                }
            };
            let asked_at = AskedAt {
                ms: self.worker.clock.now_ms(),
                at: self.worker.clock.timestamp(),
            };
            match self.ask_node(question, &asked, local, anew).await {
                Ok(OwnerReply::Response(response, body, times)) => {
                    asked.answered();
                    self.asked.answered_by(body.server());
                    writer = self.take(site, local, *response, body, asked_at, times, writer).await?;
                    match among {
                        Among::Level { fallback: false, .. } if !anew => {
                            anew = true;
                            // So that what is asked for now is not taken to be from before the purge.
                            tokio::time::sleep(DISCERNIBLE).await;
                            self.worker.clock.refresh();
                        }
                        Among::Level { fallback: false, .. } => tried.push(Arc::clone(&asked.member)),
                        Among::All | Among::Level { .. } => return Some(writer),
                    }
                }
                Ok(OwnerReply::OriginFailed(status)) => {
                    asked.answered();
                    peering.counts.origin_failed.add();
                    let status = if matches!(status, 502..=504 | 508) { status } else { 502 };
                    self.nobody(writer, status, "the site's server gave no answer that can be used");
                    return None;
                }
                Ok(OwnerReply::Refused) => {
                    asked.answered();
                    peering.counts.refused.add();
                    tried.push(Arc::clone(&asked.member));
                }
                Err(error) => {
                    asked.failed();
                    peering.counts.unreachable.add();
                    let (node, reason) = (&*asked.member.name, error.label());
                    tracing::debug!(node, reason, path = self.path, "a node does not answer: {error}");
                    tried.push(Arc::clone(&asked.member));
                }
            }
        }
    }

    /// Puts the question to a node; `anew`: what it has stored is not good enough.
    async fn ask_node(
        &self,
        question: &Question,
        asked: &Asked,
        local: &Local,
        anew: bool,
    ) -> Result<OwnerReply, OriginError> {
        let worker = &self.worker;
        let mut fields = question.fields.clone();
        if anew {
            fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        match self.stale.as_ref().filter(|(object, _)| validate::can_validate(object)) {
            Some((object, _)) => validate::conditional(&mut fields, object),
            None => validate::unconditional(&mut fields),
        }
        let head = forward::head(&self.line, "GET", fields, Body::None);
        let asker = Asker {
            client: self.client,
            fields: &self.asked_with,
            path: &self.path,
        };
        // It waits for the origin as long as we would, and may try twice.
        let patience = local.upstream.response_timeout() + Duration::from_secs(1);
        let way = worker.ways.to(&asked.member, worker.index, &worker.pool);
        let (mut response, body) = way.ask(&head, &asker, patience).await?;
        // The last: before it may be what an origin says.
        let word = response.headers.get_all(FIELD).iter().next_back();
        let word = word.and_then(|value| AnswerNote::parse(value.as_bytes()));
        response.headers.remove(FIELD);
        response.headers.remove(forward::X_REQUEST_ID);
        let status = response.status.as_u16();
        Ok(match word {
            Some(AnswerNote::Shared(times)) => OwnerReply::Response(Box::new(response), body, Some(times)),
            // An answer to conditions that are not the client's is of use only for what is stored.
            Some(AnswerNote::Passed) if status != 304 => OwnerReply::Response(Box::new(response), body, None),
            Some(AnswerNote::OriginFailed) => OwnerReply::OriginFailed(status),
            Some(AnswerNote::Refused | AnswerNote::Passed) | None => OwnerReply::Refused,
        })
    }

    /// Takes a response of the owner in, unless it is from before a purge.
    #[expect(clippy::too_many_arguments, reason = "all of it is known only here")]
    async fn take(
        &self,
        site: &Site,
        local: &Local,
        mut response: OwnedResponse,
        body: ResponseBody,
        asked_at: AskedAt,
        times: Option<Times>,
        mut writer: FillWriter,
    ) -> Option<FillWriter> {
        let counts = &self.worker.metrics.peering.counts;
        let received = self.worker.clock.timestamp();
        let mut made = (asked_at.at, received);
        let mut stamp = None;
        if let Some(times) = times {
            made = as_made(&mut response.headers, asked_at.at, received, times);
            stamp = Some(
                self.worker
                    .cache
                    .stamp_of(site.id, asked_at.ms.saturating_sub(times.asked)),
            );
        }
        let confirmed = self.stale.as_ref().filter(|_| response.status.as_u16() == 304);
        if let Some(stamp) = stamp {
            let tags = confirmed.map(|(object, _)| &object.meta.tags);
            if self.is_behind(site, &response, made, tags.map(|tags| &tags[..]), &stamp) {
                counts.behind.add();
                return Some(writer);
            }
            writer.asked_at(stamp);
        }
        counts.answered.add();
        match confirmed {
            Some((object, _)) => {
                drop(body);
                self.confirmed(site, local, object, response, made, writer).await;
            }
            None => {
                self.answered(site, local, response, (Vec::new(), body), made, writer)
                    .await;
            }
        }
        None
    }

    /// Whether a response was purged or made invalid here after it was asked for there. `tags` are those of the stored
    /// response that it confirms.
    fn is_behind(
        &self,
        site: &Site,
        response: &OwnedResponse,
        (asked, received): (Timestamp, Timestamp),
        tags: Option<&[u64]>,
        stamp: &Stamp,
    ) -> bool {
        let cache = &self.worker.cache;
        if let Some(tags) = tags {
            return cache.is_gone(self.target.key, tags, stamp);
        }
        let rules: Vec<_> = self.rules(site).collect();
        let candidate = self.candidate(site, response, &rules, asked, received);
        let length = match response.framing {
            ResponseFraming::Length(length) => Some(length),
            _ => None,
        };
        let (head, _) = cache.head(&candidate, length, &values_of(&self.asked_with));
        let storable = head.storable.as_ref();
        storable.is_some_and(|storable| cache.is_gone(self.target.key, &storable.metadata.tags, stamp))
    }

    /// Nobody has an answer, and the origin is not asked: it failed the owner, or is not for this node to ask.
    fn nobody(&self, writer: FillWriter, status: u16, reason: &'static str) {
        match &self.stale {
            Some((object, on_error)) if on_error.covers(None) => writer.answer(Arc::clone(object)),
            _ => writer.fail(Failure { status, reason }),
        }
    }
}

/// When a response was asked for and received by the owner, by the clock here, and its `Age` as it was then: so that it
/// is reckoned with as if it had come from the origin at that time.
fn as_made(fields: &mut HeaderMap, asked_at: Timestamp, now: Timestamp, times: Times) -> (Timestamp, Timestamp) {
    let received = now.minus_millis(times.held);
    let asked = asked_at.minus_millis(times.asked).min(received);
    // Rounded up: no response is made younger than it is.
    let said = times.age.saturating_sub(received.millis_since(asked)).div_ceil(1000);
    fields.remove(header::AGE);
    if said > 0 {
        fields.insert(header::AGE, HeaderValue::from(said));
    }
    (asked, received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_counts_as_old_as_it_was_when_the_owner_received_it() {
        let at = Timestamp::from_secs;
        let mut fields = HeaderMap::new();
        fields.insert(header::AGE, HeaderValue::from(90));
        let times = Times {
            asked: 20_000,
            held: 15_000,
            age: 65_000,
        };
        let made = as_made(&mut fields, at(1_000), at(1_001), times);
        assert_eq!(made, (at(980), at(986)));
        assert_eq!(fields[header::AGE], "59", "with the 6 s that it took, 65 s");
        let fresh = Times::default();
        assert_eq!(
            as_made(&mut fields, at(1_000), at(1_001), fresh),
            (at(1_000), at(1_001))
        );
        assert!(fields.get(header::AGE).is_none());
    }
}
