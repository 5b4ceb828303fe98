//! Requests that go to the origin alone: past the cache, for a part, with credentials of their own.
//!
//! Each has its answer from the origin in person, interim responses included. An answer that may be stored is handed to a
//! task that stores it while the client reads it from a fill that nobody else can join.

use std::time::Duration;

use breakwater_cache::Lookup;
use breakwater_cache::fill::HeadOutcome;
use breakwater_cache::policy::invalidate;
use breakwater_cache::policy::request::{MethodClass, RequestMeta};
use breakwater_cache::policy::store::{Decision, decide};
use breakwater_cache::purge::Stamp;
use breakwater_cache::vary::values_of;
use breakwater_cache::{Target, Timestamp};
use breakwater_snapshot::unit::Tiering;
use breakwater_wire::cache_status::CacheStatus;
use breakwater_wire::http1::OwnedResponse;
use breakwater_wire::path::{normalize, split_query};
use breakwater_wire::range::parse_single;
use http::{HeaderMap, header};

use super::fetch::{tell_all, tell_owner};
use super::{Request, Source, Stale, authority};
use crate::handler::client::Client;
use crate::handler::hit;
use crate::handler::{Failure, Outcome, proxy};
use crate::telemetry::CacheResult;
use crate::upstream::{OriginError, ResponseBody};

/// How long the answer to an unsafe request waits until what it makes out of date is forgotten for good.
const SETTLING: Duration = Duration::from_secs(1);

/// What the origin answered, and when it was asked.
struct Fetched {
    response: OwnedResponse,
    body: ResponseBody,
    asked: Timestamp,
    received: Timestamp,
}

/// What a successful change makes out of date, beside its own target.
struct Changed {
    /// Normal paths and their queries.
    related: Vec<String>,
    groups: Vec<String>,
}

impl Request<'_> {
    /// A stored part that answers the request for a range.
    pub(super) fn part(&self) -> Option<Lookup> {
        let fields = &self.job.request.headers;
        let range = parse_single(fields.get(header::RANGE)?.as_bytes())?;
        if !self.meta.range || self.meta.method != MethodClass::Get || fields.contains_key(header::IF_RANGE) {
            return None;
        }
        let now = self.worker.clock.timestamp();
        let values = values_of(fields);
        self.worker
            .cache
            .lookup_part(self.target.key, &self.meta, range, &values, now)
    }

    /// Goes past the cache. A success of an unsafe method makes what is stored out of date (RFC 9111 section 4.4), which a
    /// kill after its answer does not undo; that of a POST may be stored in its place.
    pub(super) async fn past<C: Client>(&self, client: &mut C, status: CacheStatus<'_>) -> Result<Outcome, Failure> {
        let asked = self.worker.clock.timestamp();
        let fetched = proxy::fetch(self.job, self.peer, client).await;
        let changes = fetched
            .as_ref()
            .is_ok_and(|(response, _)| invalidate::invalidates(self.meta.method, response.status.as_u16()));
        if !changes {
            self.count(CacheResult::Bypass);
            let (response, body) = fetched?;
            return proxy::answer(self.worker, self.job, client, response, body, status).await;
        }
        let (response, body) = fetched?;
        let changed = self.changed(&response.headers);
        self.invalidate(&changed);
        self.tell_owners(&changed);
        if let Some(settled) = self.worker.cache.settled() {
            // A disk that is slower than this is not worth a client's time.
            let _ = tokio::time::timeout(SETTLING, settled).await;
        }
        if self.meta.method == MethodClass::Post && self.names_itself(&response.headers) {
            let fetched = self.came(response, body, asked);
            // What it has just made out of date is older.
            let stamp = self.worker.cache.stamp(self.target.site);
            return self.deliver(client, fetched, &stamp, status, CacheResult::Bypass).await;
        }
        self.count(CacheResult::Bypass);
        let answered = proxy::answer(self.worker, self.job, client, response, body, status).await;
        // What was fetched while it was still at work.
        self.invalidate(&changed);
        answered
    }

    /// What a successful change makes out of date, by the fields of its answer.
    fn changed(&self, fields: &HeaderMap) -> Changed {
        let (scheme, host) = (self.job.scheme(), &self.job.request.host);
        let related = invalidate::related(scheme, host, &self.job.path, fields);
        Changed {
            related: related.iter().filter_map(|reference| normal(reference)).collect(),
            groups: invalidate::groups(fields),
        }
    }

    /// Forgets what is out of date.
    fn invalidate(&self, changed: &Changed) {
        let cache = &self.worker.cache;
        cache.invalidate(&self.target, &self.site.policy);
        for related in &changed.related {
            cache.invalidate(&self.target_of(related), &self.site.policy);
        }
        if !changed.groups.is_empty() {
            let origin = hit::origin_key(self.worker, self.site, authority(self.worker, self.job));
            cache.invalidate_groups(self.target.site, origin, &changed.groups);
        }
    }

    /// Has the nodes that own what is out of date forget it; all of them, where that is a group of things.
    fn tell_owners(&self, changed: &Changed) {
        if self.site.tiering == Tiering::Local {
            return;
        }
        let (worker, job, peer, site) = (self.worker, self.job, self.peer, self.site);
        let query = job.request.query().map(|query| format!("?{query}"));
        let own = format!("{}{}", job.path, query.unwrap_or_default());
        match changed.groups.is_empty() {
            true => tell_owner(worker, job, peer, site, &own),
            false => tell_all(worker, job, peer, site, &own, &changed.groups),
        }
        let mut told = vec![&own];
        for related in &changed.related {
            if !told.contains(&related) {
                told.push(related);
                tell_owner(worker, job, peer, site, related);
            }
        }
    }

    /// Whether `Content-Location` is the request's own target: then the content is what a GET gets (RFC 9110 section
    /// 9.3.3).
    fn names_itself(&self, fields: &HeaderMap) -> bool {
        let named = invalidate::content_location(self.job.scheme(), &self.job.request.host, &self.job.path, fields);
        let named = named.and_then(|reference| normal(&reference));
        named.is_some_and(|named| self.target_of(&named).key == self.target.key)
    }

    /// What a request for `related`, a normal path and a query, is for.
    fn target_of(&self, related: &str) -> Target {
        let (path, query) = split_query(related);
        let values = values_of(&self.job.request.headers);
        hit::target(
            self.worker,
            self.site,
            authority(self.worker, self.job),
            path,
            query,
            &values,
        )
    }

    /// Fetches what cannot be shared, or is not the whole: this request has an answer of its own.
    pub(super) async fn alone<C: Client>(
        &self,
        client: &mut C,
        stale: Option<&Stale>,
        status: CacheStatus<'_>,
    ) -> Result<Outcome, Failure> {
        let stamp = self.worker.cache.stamp(self.target.site);
        let asked = self.worker.clock.timestamp();
        let fetched = proxy::fetch(self.job, self.peer, client).await;
        let stands_in = stale.filter(|stale| match &fetched {
            Ok((response, _)) => stale.on_error.covers(Some(response.status.as_u16())),
            Err(Failure::Origin(_)) => stale.on_error.covers(None),
            Err(_) => false,
        });
        if let Some(stale) = stands_in {
            return self.send_stale(client, stale).await;
        }
        let (response, body) = match fetched {
            Ok(fetched) => fetched,
            Err(failure) => {
                self.count(CacheResult::Miss);
                return Err(failure);
            }
        };
        let fetched = self.came(response, body, asked);
        if let Some(stale) = stale
            && self.meta.method == MethodClass::Head
            && let Some(answer) = self.updated(client, stale, &fetched, &stamp, status).await
        {
            return answer;
        }
        self.deliver(client, fetched, &stamp, status, CacheResult::Miss).await
    }

    fn came(&self, response: OwnedResponse, body: ResponseBody, asked: Timestamp) -> Fetched {
        Fetched {
            response,
            body,
            asked,
            received: self.worker.clock.timestamp(),
        }
    }

    /// Takes in what a HEAD says of the stored response, and answers with that (RFC 9111 section 4.3.5).
    async fn updated<C: Client>(
        &self,
        client: &mut C,
        stale: &Stale,
        fetched: &Fetched,
        stamp: &Stamp,
        status: CacheStatus<'_>,
    ) -> Option<Result<Outcome, Failure>> {
        if self.site.compresses() || fetched.response.status.as_u16() != 200 || stale.object.status != 200 {
            return None;
        }
        let fetch = self.fetch_with(HeaderMap::new(), None, &self.job.asked);
        let rules: Vec<_> = fetch.rules(self.site).collect();
        let candidate = fetch.candidate(self.site, &fetched.response, &rules, fetched.asked, fetched.received);
        let values = values_of(&self.job.request.headers);
        let updated = self
            .worker
            .cache
            .updated_by_head(self.target.key, &stale.object, &candidate, &values, stamp)?;
        let age = updated.object.meta.freshness.age(self.worker.clock.timestamp());
        let status = CacheStatus {
            forward_status: Some(200),
            stored: updated.stored,
            ..status
        };
        let sent = self.send_object(client, &updated.object, age, status, CacheResult::Revalidated);
        Some(sent.await)
    }

    /// Passes on what came, and stores it if it may be.
    async fn deliver<C: Client>(
        &self,
        client: &mut C,
        fetched: Fetched,
        stamp: &Stamp,
        status: CacheStatus<'_>,
        result: CacheResult,
    ) -> Result<Outcome, Failure> {
        let mut fetch = self.fetch_with(HeaderMap::new(), None, &self.job.asked);
        // What comes to a POST is stored as what a GET gets, and so without regard to what was sent.
        fetch.meta = RequestMeta {
            content: self.meta.content && self.meta.method != MethodClass::Post,
            ..self.meta.clone()
        };
        let Fetched {
            response,
            body,
            asked,
            received,
        } = fetched;
        let rules: Vec<_> = fetch.rules(self.site).collect();
        let decision = decide(&fetch.candidate(self.site, &response, &rules, asked, received));
        let fill = match decision {
            Decision::Store(_) => self.worker.cache.alone(self.target.key, stamp),
            Decision::Pass(_) => None,
        };
        let Some((writer, mut reader)) = fill else {
            self.count(result);
            let mut outcome = proxy::answer(self.worker, self.job, client, response, body, status).await?;
            outcome.cache = Some(result);
            return Ok(outcome);
        };
        fetch.inspection.replace(self.job.inspection.take());
        fetch.keep((response, body), (asked, received), writer);
        match reader.head().await {
            HeadOutcome::Head(head) => {
                let source = Source::Fill(&mut reader);
                self.stream(client, &head, source, status, result).await
            }
            HeadOutcome::Failed(failure) => self.send_failure(client, failure, result).await,
            _ => Err(OriginError::Unexpected("its answer was lost").into()),
        }
    }
}

/// A reference with a normal path; none if a request for it would be refused.
fn normal(reference: &str) -> Option<String> {
    let (path, _) = split_query(reference);
    let normal = normalize(path).ok()?;
    Some(reference.replacen(path, normal.as_str(), 1))
}
