//! What a client is sent: a fetch while it comes, or a stored response.
//!
//! Invariant: nothing is announced that is known not to be there; what breaks off behind a head ends the answer early.

use std::sync::Arc;

use breakwater_cache::cache_status;
use breakwater_cache::fill::{self, Behind, FillHead, FillReader};
use breakwater_cache::object::{Freshness, Object};
use breakwater_cache::store::disk::Follower;
use breakwater_wire::cache_status::{CacheStatus, Forward};
use breakwater_wire::conditional::{self, Preconditions, Validators, join_lines};
use breakwater_wire::peer::FIELD;
use bytes::Bytes;
use http::header;

use super::{Request, Stale, outcome};
use crate::handler::client::{Client, ResponseHead};
use crate::handler::stored::{Reply, Stretch, connection};
use crate::handler::{Failure, Outcome, filtered, forward, peer};
use crate::telemetry::CacheResult;
use crate::upstream::OriginError;

/// Where the content of a fetch under way is read.
pub(super) enum Source<'a> {
    /// From memory, while it comes.
    Fill(&'a mut FillReader),
    /// From the disk, behind the fetch that writes it there.
    Disk(&'a Follower),
    /// From the file that keeps it for who comes late.
    Spool(&'a fill::Follower),
}

impl Request<'_> {
    /// Answers from what is kept of another's fetch that this request came too late for. `None`: it was lost before anything
    /// was sent, and is fetched like anything else.
    pub(super) async fn send_kept<C: Client>(
        &self,
        client: &mut C,
        head: &FillHead,
        behind: Behind,
        status: CacheStatus<'_>,
    ) -> Result<Option<Outcome>, Failure> {
        let status = CacheStatus {
            collapsed: true,
            ..status
        };
        let result = CacheResult::Miss;
        let sent = match behind {
            Behind::Disk(trail) => {
                let behind = trail.follow();
                if behind.from(0).await.is_err() {
                    return Ok(None);
                }
                self.count_collapsed();
                self.stream(client, head, Source::Disk(&behind), status, result).await
            }
            Behind::Spool(behind) => {
                if behind.at(0).await.is_err() {
                    return Ok(None);
                }
                self.count_collapsed();
                self.stream(client, head, Source::Spool(&behind), status, result).await
            }
        };
        sent.map(Some)
    }

    /// Passes on what a fill brings, while it comes.
    pub(super) async fn stream<C: Client>(
        &self,
        client: &mut C,
        head: &FillHead,
        source: Source<'_>,
        status: CacheStatus<'_>,
        result: CacheResult,
    ) -> Result<Outcome, Failure> {
        self.count(result);
        self.forget_inspection();
        let mut fields = head.fields.clone();
        if status.collapsed {
            let omitted = head.storable.iter().flat_map(|storable| &storable.omit);
            omitted.for_each(|name| drop(fields.remove(name)));
        }
        forward::response_fields(&mut fields, self.job);
        if let (Source::Spool(_), Some(storable)) = (&source, &head.storable) {
            // It may have come a while ago.
            let age = storable.metadata.freshness.age(self.worker.clock.timestamp()) / 1000;
            fields.insert(header::AGE, age.into());
        }
        if let Some(storable) = &head.storable
            && let Some(word) = self.word(&storable.metadata.freshness)
        {
            fields.insert(FIELD, word);
        }
        let status = CacheStatus {
            stored: head.stored,
            ..status
        };
        if self.not_modified(head) {
            fields.remove(header::CONTENT_TYPE);
            let head = ResponseHead {
                status: 304,
                fields,
                length: None,
                no_body: true,
                cache_status: Some(status),
            };
            filtered::send_head(self.job, client, head).await?;
            return Ok(outcome(304, result));
        }
        // These have no content, and so no length (RFC 9110 section 8.6).
        let no_body = matches!(head.status, 204 | 304);
        let length = head.content_length.filter(|_| !no_body);
        let outgoing = ResponseHead {
            status: head.status,
            fields,
            length,
            no_body,
            cache_status: Some(status),
        };
        if !filtered::send_head(self.job, client, outgoing).await? {
            return Ok(outcome(head.status, result));
        }
        match source {
            Source::Fill(reader) => {
                let mut next = async || {
                    reader
                        .chunk()
                        .await
                        .map_err(|failure| OriginError::Fetch(failure.reason))
                };
                while let Some(piece) = next().await? {
                    client.send_body(piece).await?;
                }
            }
            Source::Disk(behind) => self.send_behind(client, behind).await?,
            Source::Spool(behind) => self.send_spooled(client, behind).await?,
        }
        client.finish(None).await?;
        Ok(outcome(head.status, result))
    }

    /// Whether the client's own conditions hold for a response that was fetched whole.
    fn not_modified(&self, head: &FillHead) -> bool {
        let conditions = self.conditions();
        let preconditions = conditions.get();
        if head.status != 200 || preconditions.is_empty() {
            return false;
        }
        let value = |name: header::HeaderName| head.fields.get(name).map(http::HeaderValue::as_bytes);
        let stored = Validators {
            etag: value(header::ETAG),
            last_modified: value(header::LAST_MODIFIED),
            date: None,
        };
        let now = self.worker.clock.unix();
        let method = self.job.request.method.as_str();
        conditional::evaluate(method, &preconditions, &stored, now) == conditional::Outcome::NotModified
    }

    /// Answers with what a fill ended in: a stored response that the origin confirmed, or that stands in for its error.
    pub(super) async fn send_confirmed<C: Client>(
        &self,
        client: &mut C,
        object: &Arc<Object>,
        stale: Option<&Stale>,
        status: CacheStatus<'_>,
    ) -> Result<Outcome, Failure> {
        if let Some(stale) = stale.filter(|stale| Arc::ptr_eq(&stale.object, object)) {
            return self.send_stale(client, stale).await;
        }
        let age = object.meta.freshness.age(self.worker.clock.timestamp());
        let status = CacheStatus {
            forward: status.forward.or(Some(Forward::Stale)),
            forward_status: Some(304),
            stored: self.worker.cache.holds(self.target.key, object),
            ..status
        };
        self.send_object(client, object, age, status, CacheResult::Revalidated)
            .await
    }

    pub(super) async fn send_stale<C: Client>(&self, client: &mut C, stale: &Stale) -> Result<Outcome, Failure> {
        let status = cache_status::hit(stale.ttl, false);
        self.send_object(client, &stale.object, stale.age, status, CacheResult::Stale)
            .await
    }

    pub(super) async fn send_object<C: Client>(
        &self,
        client: &mut C,
        object: &Arc<Object>,
        age: u64,
        status: CacheStatus<'_>,
        result: CacheResult,
    ) -> Result<Outcome, Failure> {
        self.count(result);
        self.forget_inspection();
        if self.worker.draining.get() {
            client.close_after();
        }
        if let Some(filters) = self.job.filters()
            && !filters.passes(object.status, object.body.len())
        {
            return self.send_replaced(client, object, status, result).await;
        }
        let request = &self.job.request;
        let value = |name| request.headers.get(name).map(http::HeaderValue::as_bytes);
        let conditions = self.conditions();
        let word = self.word(&object.meta.freshness);
        let mut out = Vec::with_capacity(1024);
        let written = Reply {
            object,
            method: request.method.as_str(),
            preconditions: conditions.get(),
            range: value(header::RANGE),
            if_range: value(header::IF_RANGE),
            request_id: &self.job.request_id,
            cache_status: CacheStatus {
                detail: self.job.device(),
                ..status
            },
            age: age / 1000,
            now: self.worker.clock.unix(),
            connection: connection(
                !client.keeps_alive(),
                request.version == breakwater_wire::http1::Version::Http10,
            ),
            hsts: self.job.hsts(),
            filters: self.job.filters(),
            word: word
                .as_ref()
                .and_then(|word| Some((word.to_str().ok()?, self.site.asked_name()))),
        }
        .write(&mut out, None);
        if written.length > 0 && object.body.extents().is_some() {
            let mut stretches = written.stretches;
            if stretches.is_empty() {
                stretches.push(Stretch {
                    text: Bytes::new(),
                    start: written.start,
                    length: written.length,
                });
            }
            self.send_from_disk(client, object, (&out, written.length), &stretches)
                .await?;
        } else {
            client.send_whole(&out, written.body, written.length).await?;
        }
        Ok(outcome(written.status, result))
    }

    /// Answers with a page in place of a stored error, or not at all when the content is larger than the route allows.
    async fn send_replaced<C: Client>(
        &self,
        client: &mut C,
        object: &Object,
        status: CacheStatus<'_>,
        result: CacheResult,
    ) -> Result<Outcome, Failure> {
        if !self
            .job
            .filters()
            .is_some_and(|filters| filters.intercepts(object.status))
        {
            return Err(OriginError::Unexpected("what is stored of it is larger than this route allows").into());
        }
        let mut fields = object.fields();
        forward::response_fields(&mut fields, self.job);
        let head = ResponseHead {
            status: object.status,
            fields,
            length: None,
            no_body: false,
            cache_status: Some(status),
        };
        filtered::send_head(self.job, client, head).await?;
        Ok(outcome(object.status, result))
    }

    /// What is sent was judged when it came: what rules know of the request is of no more use, however long it takes.
    fn forget_inspection(&self) {
        drop(self.job.inspection.take());
    }

    fn conditions(&self) -> Conditions {
        let headers = &self.job.request.headers;
        Conditions {
            if_match: join_lines(headers, &header::IF_MATCH),
            if_none_match: join_lines(headers, &header::IF_NONE_MATCH),
            if_modified_since: join_lines(headers, &header::IF_MODIFIED_SINCE),
            if_unmodified_since: join_lines(headers, &header::IF_UNMODIFIED_SINCE),
        }
    }

    /// What another node that asks is told of a response that may be stored.
    fn word(&self, freshness: &Freshness) -> Option<http::HeaderValue> {
        self.job.asked_by?;
        let now = self.worker.clock.timestamp();
        http::HeaderValue::from_str(&peer::word(freshness, self.came, now)).ok()
    }
}

/// The client's conditions, several lines of a field joined.
struct Conditions {
    if_match: Option<Vec<u8>>,
    if_none_match: Option<Vec<u8>>,
    if_modified_since: Option<Vec<u8>>,
    if_unmodified_since: Option<Vec<u8>>,
}

impl Conditions {
    fn get(&self) -> Preconditions<'_> {
        Preconditions {
            if_match: self.if_match.as_deref(),
            if_none_match: self.if_none_match.as_deref(),
            if_modified_since: self.if_modified_since.as_deref(),
            if_unmodified_since: self.if_unmodified_since.as_deref(),
        }
    }
}
