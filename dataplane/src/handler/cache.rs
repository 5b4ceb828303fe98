//! An EdgeCache beyond the hit path: misses, validations, stale answers, and what goes past the cache.
//!
//! A fetch that may be shared belongs to a task of its own ([`fetch`]), which outlives any client; each client, the one
//! that began it included, reads from the fill.

mod alone;
mod disk;
mod fetch;
mod mend;
pub(crate) mod prefetch;
mod send;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use breakwater_cache::fill::{self, HeadOutcome};
use breakwater_cache::object::Object;
use breakwater_cache::policy::fresh::OnError;
use breakwater_cache::policy::request::RequestMeta;
use breakwater_cache::store::disk::Pinned;
use breakwater_cache::vary::{FieldValues, values_of};
use breakwater_cache::{Joined, Lookup, Target, Timestamp, cache_status, vary};
use breakwater_wire::cache_status::CacheStatus;
use http::HeaderMap;

use super::client::Client;
use super::hit::{self, Authority};
use super::{Asked, Failure, Job, Outcome, forward, host_name, page, pages};
use crate::config::{ResourceKind, Site};
use crate::inspect::Refusal;
use crate::telemetry::CacheResult;
use crate::upstream::OriginError;
use crate::worker::Worker;
use disk::Unread;
use fetch::{Fetch, Question};
use send::Source;

/// How often a request joins another fill because the one it waited for had another variant.
const MAX_JOINS: usize = 4;

/// A request at a site's cache.
struct Request<'a> {
    worker: &'a Rc<Worker>,
    job: &'a Job,
    peer: IpAddr,
    site: &'a Site,
    meta: RequestMeta,
    target: Target,
    /// Content on the disk that this request found, held so that it stays.
    held: RefCell<Option<Pinned>>,
    /// That content was asked for before: it may go into memory.
    promotes: Cell<bool>,
    /// Why what the disk had could not be read: the origin is asked instead.
    lost: Cell<Option<Unread>>,
    /// When it came.
    came: Timestamp,
}

/// A stored response that may stand in.
struct Stale {
    object: Arc<Object>,
    age: u64,
    ttl: i64,
    on_error: OnError,
}

/// Answers a request of an EdgeCache.
pub(super) async fn serve<C: Client>(
    worker: &Rc<Worker>,
    job: &Job,
    peer: IpAddr,
    client: &mut C,
) -> Result<Outcome, Failure> {
    let ResourceKind::Cache(site) = &job.resource().kind else {
        return Err(OriginError::Unexpected("it is no cache").into());
    };
    let request = Request::new(worker, job, peer, site, client.has_body());
    let outcome = answer(&request, client).await;
    match (&outcome, request.lost.get()) {
        (Err(_), Some(why)) if client.answered().is_none() => {
            if why == Unread::Damaged {
                job.local().cells.damaged_refetched.add(1);
            }
            answer(&request, client).await
        }
        _ => outcome,
    }
}

/// Answers by what is stored and by what the origin says.
async fn answer<C: Client>(request: &Request<'_>, client: &mut C) -> Result<Outcome, Failure> {
    let Request { worker, job, site, .. } = request;
    let lookup = request
        .look_up(site.rules(job.request.method.as_str(), &job.path).next())
        .await;
    let lookup = match lookup {
        Lookup::Miss => request.part().unwrap_or(Lookup::Miss),
        found => found,
    };
    let status = cache_status::forwarded(&lookup);
    // What is stored and may be used is served under any pressure, an origin is not asked.
    let sheds = !matches!(lookup, Lookup::Hit { .. } | Lookup::Unavailable) && worker.sheds();
    match lookup {
        Lookup::Hit { object, age, ttl } => {
            let status = cache_status::hit(ttl, false);
            request
                .send_object(client, &object, age, status, CacheResult::Hit)
                .await
        }
        Lookup::Stale {
            object,
            age,
            ttl,
            while_revalidate: true,
            on_error,
            ..
        } => {
            if !sheds {
                request.revalidate_behind(&object, on_error)?;
            }
            request
                .send_object(client, &object, age, cache_status::hit(ttl, false), CacheResult::Stale)
                .await
        }
        found @ (Lookup::Stale { .. } | Lookup::Miss) => match Stale::of(found) {
            Some(stale) if sheds && stale.on_error.covers(None) => request.send_stale(client, &stale).await,
            _ if sheds => overloaded(worker, job, client, CacheResult::Miss).await,
            stale => request.shared(client, stale, status).await,
        },
        Lookup::Bypass(_) if sheds => overloaded(worker, job, client, CacheResult::Bypass).await,
        Lookup::Unavailable => {
            page(
                worker,
                job,
                client,
                504,
                "nothing is stored, and the request wants nothing else",
            )
            .await?;
            Ok(outcome(504, CacheResult::Miss))
        }
        Lookup::Bypass(_) => request.past(client, status).await,
    }
}

async fn overloaded<C: Client>(
    worker: &Worker,
    job: &Job,
    client: &mut C,
    result: CacheResult,
) -> Result<Outcome, Failure> {
    pages::overloaded(worker, job, client).await?;
    Ok(outcome(503, result))
}

impl Stale {
    /// What a look-up found, if that is stale.
    fn of(found: Lookup) -> Option<Self> {
        match found {
            Lookup::Stale {
                object,
                age,
                ttl,
                on_error,
                ..
            } => Some(Self {
                object,
                age,
                ttl,
                on_error,
            }),
            _ => None,
        }
    }
}

impl<'a> Request<'a> {
    /// `content`: a body follows.
    fn new(worker: &'a Rc<Worker>, job: &'a Job, peer: IpAddr, site: &'a Site, content: bool) -> Self {
        let values = values_of(&job.request.headers);
        let authority = authority(worker, job);
        let mut meta = RequestMeta::new(&job.request.method, content, &site.policy, &values);
        // The origin is asked for the whole (`forward::end_to_end`), like for anybody.
        meta.range &= !job.resource().inspects_responses;
        Self {
            came: worker.clock.timestamp(),
            worker,
            job,
            peer,
            site,
            meta,
            target: hit::target(worker, site, authority, &job.path, job.request.query(), &values),
            held: RefCell::default(),
            promotes: Cell::new(false),
            lost: Cell::new(None),
        }
    }
}

impl Request<'_> {
    /// Takes part in a fetch, its own or another's.
    async fn shared<C: Client>(
        &self,
        client: &mut C,
        stale: Option<Stale>,
        status: CacheStatus<'_>,
    ) -> Result<Outcome, Failure> {
        forward::check_loop(self.job)?;
        let values = values_of(&self.job.request.headers);
        let cache = &self.worker.cache;
        let mut joined = cache.join(&self.target, &self.meta, &values, self.worker.clock.timestamp());
        for _ in 0..MAX_JOINS {
            let (mut reader, mut follows) = match joined {
                Joined::Leader(writer, reader) => {
                    self.fetch(stale.as_ref().map(|s| (&s.object, s.on_error)), &self.job.asked)?
                        .start(writer);
                    (reader, false)
                }
                Joined::Follower(reader) => (reader, true),
                Joined::Behind(head, behind) if cache.selects(&head, &values) => {
                    match self.send_kept(client, &head, behind, status).await? {
                        Some(outcome) => return Ok(outcome),
                        None => break,
                    }
                }
                Joined::Behind(head, _) => {
                    let vary = head.storable.as_ref().map(|storable| storable.metadata.vary.clone());
                    let vary = vary.unwrap_or_default();
                    joined = self.join_variant(&vary, &values);
                    continue;
                }
                Joined::Found { object, age, ttl } => {
                    return self
                        .send_object(client, &object, age, cache_status::hit(ttl, true), CacheResult::Hit)
                        .await;
                }
                Joined::Alone(_) => break,
            };
            let outcome = loop {
                match reader.head().await {
                    HeadOutcome::Interim(interim) => {
                        // A client that is gone shows itself when the final response is sent.
                        let _ = client.send_interim(interim.status, &interim.fields).await;
                    }
                    HeadOutcome::Lead(writer) => {
                        follows = false;
                        self.fetch(stale.as_ref().map(|s| (&s.object, s.on_error)), &self.job.asked)?
                            .start(writer);
                    }
                    outcome => break outcome,
                }
            };
            if follows {
                self.count_collapsed();
            }
            let status = CacheStatus {
                collapsed: follows,
                ..status
            };
            let vary: vary::Rule = match outcome {
                // The request that was followed went in circles, or said so of itself. This one may not.
                HeadOutcome::Head(head) if follows && head.status == 508 => break,
                HeadOutcome::Head(head) if cache.selects(&head, &values) => {
                    let source = Source::Fill(&mut reader);
                    return self.stream(client, &head, source, status, CacheResult::Miss).await;
                }
                HeadOutcome::Head(head) => match &head.storable {
                    Some(storable) => storable.metadata.vary.clone(),
                    None => break,
                },
                HeadOutcome::Object(object) if cache.selects_object(&object, &values) => {
                    return self.send_confirmed(client, &object, stale.as_ref(), status).await;
                }
                HeadOutcome::Object(object) => object.meta.vary.clone(),
                HeadOutcome::Released | HeadOutcome::Interim(_) | HeadOutcome::Lead(_) => break,
                HeadOutcome::Failed(failure) if follows && failure.status == 508 => break,
                HeadOutcome::Failed(failure) => {
                    let refused = self.job.asked.refused.get();
                    let stands_in = stale.as_ref().filter(|stale| !refused && stale.on_error.covers(None));
                    return match stands_in {
                        Some(stale) => self.send_stale(client, stale).await,
                        None => self.send_failure(client, failure, CacheResult::Miss).await,
                    };
                }
            };
            joined = self.join_variant(&vary, &values);
        }
        self.alone(client, stale.as_ref(), status).await
    }

    /// Joins the fetch of this request's variant.
    fn join_variant(&self, vary: &vary::Rule, values: &FieldValues<'_>) -> Joined {
        let now = self.worker.clock.timestamp();
        let cache = &self.worker.cache;
        cache.join_variant(&self.target, vary, &self.meta, values, now)
    }

    fn count_collapsed(&self) {
        if !self.job.prefetch && self.job.asked_by.is_none() {
            self.job.local().cells.collapsed.add(1);
        }
    }

    /// Validates in the background, unless somebody does already.
    fn revalidate_behind(&self, object: &Arc<Object>, on_error: OnError) -> Result<(), Failure> {
        let values = values_of(&self.job.request.headers);
        let now = self.worker.clock.timestamp();
        if let Joined::Leader(writer, _) = self.worker.cache.join(&self.target, &self.meta, &values, now) {
            self.job.local().cells.revalidated_behind.add(1);
            // Its answer is nobody's: the line of this request does not speak of it.
            self.fetch(Some((object, on_error)), &Rc::default())?.start(writer);
        }
        Ok(())
    }

    fn fetch(&self, stale: Option<(&Arc<Object>, OnError)>, asked: &Rc<Asked>) -> Result<Fetch, OriginError> {
        let fetch = self.fetch_with(forward::fields(self.job, self.peer)?, stale, asked);
        fetch.inspection.replace(self.job.inspection.take());
        Ok(fetch)
    }

    /// Answers where a fetch brought nothing; what a rule has refused is for the caller to say.
    async fn send_failure<C: Client>(
        &self,
        client: &mut C,
        failure: fill::Failure,
        result: CacheResult,
    ) -> Result<Outcome, Failure> {
        self.count(result);
        let asked = &self.job.asked;
        if asked.refused.get() {
            return Err(Failure::Refused(Refusal {
                status: failure.status,
                location: None,
            }));
        }
        if asked.error.get().is_none() {
            asked.failed(&OriginError::Fetch(failure.reason));
        }
        page(self.worker, self.job, client, failure.status, failure.reason).await?;
        Ok(outcome(failure.status, CacheResult::Miss))
    }

    fn fetch_with(&self, fields: HeaderMap, stale: Option<(&Arc<Object>, OnError)>, asked: &Rc<Asked>) -> Fetch {
        Fetch {
            asked: Rc::clone(asked),
            worker: Rc::clone(self.worker),
            config: Rc::clone(&self.job.config),
            index: self.job.index,
            client: self.job.client,
            fields,
            asked_with: self.job.request.headers.clone(),
            line: self.job.target.clone(),
            path: self.job.path.clone(),
            query: self.job.request.query().map(str::to_owned),
            authority: authority(self.worker, self.job).into(),
            meta: self.meta.clone(),
            target: self.target,
            prefixes: hit::prefixes(
                self.worker,
                self.site,
                host_name(&self.job.request.host),
                &self.job.path,
            ),
            stale: stale.map(|(object, on_error)| (Arc::clone(object), on_error)),
            inspection: RefCell::default(),
            request_id: self.job.request_id.clone(),
            question: Question::of(self.job, self.peer, self.site).map(Box::new),
        }
    }

    fn count(&self, result: CacheResult) {
        if !self.job.prefetch && self.job.asked_by.is_none() {
            self.job.local().cells.cache(result).add(1);
        }
    }
}

fn authority<'j>(worker: &Worker, job: &'j Job) -> Authority<'j> {
    // The gate accepted it, so it can be parsed again.
    let host = breakwater_wire::http1::Host::parse(&job.request.host).unwrap_or_default();
    Authority {
        name: host.name(),
        port: host.port(),
        claims: if job.trusted {
            hit::claims(worker, || {
                let fields = job.request.headers.iter();
                fields.map(|(name, value)| (name.as_str(), value.as_bytes()))
            })
        } else {
            0
        },
        secure: job.secure,
    }
}

fn outcome(status: u16, result: CacheResult) -> Outcome {
    Outcome {
        status,
        cache: Some(result),
    }
}
