//! Requests of our own, for what is to be in the cache before a client asks.
//!
//! They are put together as text and pass the gate, so that nothing is asked for that a client could not ask for; then
//! they go the way of a client's request that left the hit path, with a client that only takes. Policies are not asked:
//! they are about clients.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Instant;

use breakwater_cache::vary::values_of;
use breakwater_cache::{Lookup, cache_status};
use breakwater_wire::http1::{Limits, Parsed, parse_request};
use breakwater_wire::path::normalize;

use super::{Request, Stale};
use crate::config::{ResourceKind, WorkerConfig};
use crate::filter::Asked;
use crate::handler::client::Sink;
use crate::handler::{Failure, Job};
use crate::prefetch::{Scheme, Url};
use crate::request_id;
use crate::telemetry::{CacheResult, PrefetchResult};
use crate::upstream::OriginError;
use crate::worker::Worker;

/// What the origin sees of who asks.
const USER_AGENT: &str = "breakwater-prefetch";

/// Who asks, for balancing and `X-Forwarded-For`.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What to ask for.
pub(crate) struct Ask<'a> {
    pub(crate) url: &'a Url,
    /// Further field lines.
    pub(crate) fields: &'a str,
    /// The port of `https` as clients see it.
    pub(crate) https_port: u16,
}

/// What became of a request.
pub(crate) struct Got {
    pub(crate) result: PrefetchResult,
    /// Of a failure, for a person.
    pub(crate) reason: Option<String>,
    /// The content, if it was to be kept.
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self {
            result: PrefetchResult::Failed,
            reason: Some(reason.into()),
            body: Vec::new(),
        }
    }

    fn good(result: PrefetchResult) -> Self {
        Self {
            result,
            reason: None,
            body: Vec::new(),
        }
    }
}

/// The request, as if a client had sent it to the resource at `index`.
///
/// # Errors
/// Why a client would get no answer of the cache, for a person.
pub(crate) fn job(worker: &Worker, config: &Rc<WorkerConfig>, index: u32, ask: &Ask<'_>) -> Result<Job, String> {
    let host = ask.url.host();
    let secure_by_default = || {
        let route = config
            .route(&host, "/")
            .or_else(|| config.route(&host, &ask.url.target));
        route.is_some_and(|route| config.host_tls(route.tls).is_some())
    };
    let port = match ask.url.scheme {
        None if ask.https_port != 443 && secure_by_default() => format!(":{}", ask.https_port),
        _ => String::new(),
    };
    let has = |name: &str| {
        let lines = ask.fields.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().any(|(field, _)| field.eq_ignore_ascii_case(name))
    };
    let agent = if has("user-agent") {
        String::new()
    } else {
        format!("User-Agent: {USER_AGENT}\r\n")
    };
    let text = format!(
        "GET {} HTTP/1.1\r\nHost: {}{port}\r\n{agent}{}\r\n",
        ask.url.target, ask.url.authority, ask.fields
    );
    let head = match parse_request(text.as_bytes(), &Limits::DEFAULT) {
        Ok(Parsed::Complete(head)) if head.len == text.len() => head,
        Ok(_) => return Err("it cannot be asked for".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let path = normalize(head.path).map_err(|error| error.to_string())?;
    let Some(route) = config.route(head.host.name(), path.as_str()) else {
        return Err("nothing serves this host and path".to_owned());
    };
    if route.resource != index {
        return Err(format!("it is served by {}", config.resource(route.resource).label));
    }
    let tls = config.host_tls(route.tls);
    if ask.url.scheme == Some(Scheme::Http) && tls.is_some_and(|tls| tls.redirect.is_some()) {
        return Err("the host redirects http to https: write https".to_owned());
    }
    // A host that is not served over TLS here is behind somebody who ends it, and comes in clear text.
    let secure = ask.url.scheme != Some(Scheme::Http) && tls.is_some();
    let resource = config.resource(index);
    if let Some(filters) = resource.filters()
        && let Some((status, location)) = filters.redirect(&Asked {
            scheme: if secure { "https" } else { "http" },
            host: head.host.name(),
            port: head.host.port(),
            path: path.as_str(),
            query: head.query,
            https_port: ask.https_port,
        })
    {
        return Err(format!("spec.redirects answers it: {status}, {location}"));
    }
    let mut request = head.to_owned().map_err(|error| error.to_string())?;
    resource.settle(&mut request.headers);
    Ok(Job {
        path: path.as_str().to_owned(),
        target: match head.query {
            Some(query) => format!("{}?{query}", path.forward()),
            None => path.forward().to_owned(),
        },
        client: CLIENT,
        // Who lists such fields wants what clients get whose proxy sends them.
        trusted: request.headers.keys().any(|name| {
            let name = name.as_str();
            name == "forwarded" || name.starts_with("x-forwarded-")
        }),
        request_id: request_id::text(&worker.ids.next()).to_owned(),
        started: Instant::now(),
        config: Rc::clone(config),
        index,
        secure,
        tls: route.tls,
        asked: Rc::default(),
        inspection: RefCell::default(),
        held: RefCell::default(),
        prefetch: true,
        asked_by: None,
        request,
    })
}

/// What is stored for it already, if that is fresh.
pub(crate) fn stored(worker: &Rc<Worker>, job: &Job) -> Option<Got> {
    match Request::of(worker, job)?.lookup() {
        Lookup::Hit { object, .. } if object.status >= 400 => Some(answered(object.status)),
        Lookup::Hit { .. } => Some(Got::good(PrefetchResult::Fresh)),
        Lookup::Bypass(_) => Some(Got::failed("a cache rule goes past the cache")),
        _ => None,
    }
}

/// Has it fetched or confirmed, and returns when it is stored. Keeps up to `most` bytes of its content.
pub(crate) async fn fetch(worker: &Rc<Worker>, job: &Job, most: Option<usize>) -> Got {
    let Some(request) = Request::of(worker, job) else {
        return Got::failed("the object is no cache");
    };
    let mut sink = Sink::new(most);
    let lookup = request.look_up(request.site.rules("GET", &job.path).next()).await;
    let status = cache_status::forwarded(&lookup);
    let outcome = match lookup {
        Lookup::Hit { object, .. } if most.is_none() && object.status < 400 => return Got::good(PrefetchResult::Fresh),
        Lookup::Hit { object, age, ttl } => {
            let status = cache_status::hit(ttl, false);
            request
                .send_object(&mut sink, &object, age, status, CacheResult::Hit)
                .await
        }
        found @ (Lookup::Stale { .. } | Lookup::Miss) => request.shared(&mut sink, Stale::of(found), status).await,
        Lookup::Unavailable | Lookup::Bypass(_) => return Got::failed("a cache rule goes past the cache"),
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(failure) => return unanswered(&sink, &failure),
    };
    match outcome.cache {
        _ if outcome.status >= 400 => return answered(outcome.status),
        Some(CacheResult::Stale) => return Got::failed("the origin failed; what is stored is stale"),
        Some(CacheResult::Hit) => {
            return Got {
                body: sink.into_content(),
                ..Got::good(PrefetchResult::Fresh)
            };
        }
        _ => {}
    }
    let result = match outcome.cache {
        Some(CacheResult::Revalidated) => PrefetchResult::Revalidated,
        _ => PrefetchResult::Fetched,
    };
    // Whether it was stored in the end is known by the store alone. A document to be read is of use all the same.
    if most.is_none() && !matches!(request.lookup(), Lookup::Hit { .. } | Lookup::Stale { .. }) {
        return Got::failed("it was not stored: too large, or purged meanwhile");
    }
    Got {
        body: sink.into_content(),
        ..Got::good(result)
    }
}

fn answered(status: u16) -> Got {
    Got::failed(match status {
        502 => "502: the origin cannot be reached, or its answer cannot be used".to_owned(),
        503 => "503: no server of the origin is ready, or all are busy".to_owned(),
        504 => "504: the origin did not answer in time".to_owned(),
        status => format!("the answer is {status}"),
    })
}

fn unanswered(sink: &Sink, failure: &Failure) -> Got {
    match (sink.left(), failure) {
        (Some(why), _) => Got::failed(why),
        (None, Failure::Origin(OriginError::Unexpected(reason))) => Got::failed(*reason),
        (None, failure) => Got::failed(failure.to_string()),
    }
}

impl<'a> Request<'a> {
    /// None: the resource is no cache.
    fn of(worker: &'a Rc<Worker>, job: &'a Job) -> Option<Self> {
        let ResourceKind::Cache(site) = &job.resource().kind else {
            return None;
        };
        Some(Self::new(worker, job, CLIENT, site, false))
    }

    fn lookup(&self) -> Lookup {
        let values = values_of(&self.job.request.headers);
        let rule = self.site.rules("GET", &self.job.path).next();
        let now = self.worker.clock.timestamp();
        self.worker
            .cache
            .lookup(self.target.key, &self.meta, rule, &values, now)
    }
}
