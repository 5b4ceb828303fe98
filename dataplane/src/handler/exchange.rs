//! A request with a handler, from the beginning to the log line.
//!
//! One place turns a failure into an answer, a counter and a log line.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;

use breakwater_wire::http1::{Host, OwnedRequest};
use http::header;

use super::client::{Channel, Client, ClientError, Http1, Http2};
use super::pages::{page, refused_page};
use super::{After, Job, cache, filtered, inspected, websocket};
use crate::config::ResourceKind;
use crate::conn::{Shared, Transport};
use crate::inspect::Refusal;
use crate::telemetry::{CacheResult, access_log};
use crate::upstream::OriginError;
use crate::worker::Worker;

/// nginx's 499: the client went away, nobody reads an answer.
pub(super) const CLIENT_GONE: u16 = 499;

/// The same, for the log.
pub(super) const GONE: &str = "client_gone";

/// How an exchange ended, for the log and the counters.
pub(crate) struct Outcome {
    pub(crate) status: u16,
    pub(crate) cache: Option<CacheResult>,
}

/// Why an exchange has no answer to pass on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Origin(#[from] OriginError),
    #[error(transparent)]
    Client(#[from] ClientError),
    /// More than the route takes.
    #[error("the request body is too large")]
    TooLarge,
    /// By a rule.
    #[error("a rule refuses it")]
    Refused(Refusal),
    /// For what would have to be held back until rules have judged it.
    #[error("there is no room for what rules want to see")]
    NoRoom,
}

impl Failure {
    /// For the log.
    const fn label(&self) -> &'static str {
        match self {
            Self::Origin(error) => error.label(),
            Self::Client(ClientError::Gone) => GONE,
            Self::Client(ClientError::Slow) => "client_slow",
            Self::Client(ClientError::Body(_)) => "request_body_malformed",
            Self::TooLarge => filtered::TOO_LARGE,
            Self::Refused(_) => "rule",
            Self::NoRoom => inspected::NO_ROOM,
        }
    }
}

/// Takes a request and its connection to a handler.
pub(crate) fn exchange<S: Transport>(
    shared: &Shared,
    job: Job,
    stream: S,
    received: Vec<u8>,
) -> Pin<Box<dyn Future<Output = After<S>>>> {
    let worker = Rc::clone(&shared.worker);
    let peer = shared.peer;
    Box::pin(async move {
        let mut client = Http1::new(&worker, stream, &received, &job.request);
        drop(received);
        if matches!(job.resource().kind, ResourceKind::WebSocket(_)) {
            if let Err(failure) = inspected::request_body(&worker, &job, &mut client).await {
                let cut = conclude(&worker, &job, &mut client, Err(failure)).await;
                return after(&worker, client, cut);
            }
            return websocket::open(&worker, job, peer, client).await;
        }
        if job.asked_by.is_some() {
            // A sign of life for the node that asks: the answer may take as long as the origin does.
            let _ = client.send_interim(102, &http::HeaderMap::new()).await;
        }
        let outcome = respond(&worker, &job, job.asked_by.unwrap_or(peer), &mut client).await;
        let cut = conclude(&worker, &job, &mut client, outcome).await;
        after(&worker, client, cut)
    })
}

/// Takes a request on a stream of its own to a handler, in a task of its own. The connection goes on meanwhile; when it
/// or the stream is gone, so is the handler's work. What is gone already is counted and no more.
pub(crate) fn begin_on_a_stream(worker: &Rc<Worker>, peer: IpAddr, channel: Rc<Channel>, job: Box<Job>) {
    if channel.is_over() {
        return never_begun(worker, &job);
    }
    let client = Http2::new(worker, channel, &job.request);
    tokio::task::spawn_local(exchange_of_a_stream(Rc::clone(worker), peer, job, client));
}

/// Counts and logs a request that its client took back before anything was done for it.
pub(crate) fn never_begun(worker: &Worker, job: &Job) {
    let outcome = Outcome {
        status: CLIENT_GONE,
        cache: None,
    };
    count(worker, job, &outcome, 0, End::of(&ClientError::Gone.into()));
}

async fn exchange_of_a_stream(worker: Rc<Worker>, peer: IpAddr, job: Box<Job>, mut client: Http2) {
    let over = client.over();
    let outcome = tokio::select! {
        // First: a request that was reset before its task ran begins nothing, and no fetch that would outlive it.
        biased;
        over = over => Err(over.into()),
        outcome = respond(&worker, &job, peer, &mut client) => outcome,
    };
    // What was cut short is reset when the client's side is dropped.
    conclude(&worker, &job, &mut client, outcome).await;
}

/// Answers a request that takes no more than request and response.
async fn respond<C: Client>(worker: &Rc<Worker>, job: &Job, peer: IpAddr, client: &mut C) -> Result<Outcome, Failure> {
    job.held.replace(inspected::request_body(worker, job, client).await?);
    match &job.resource().kind {
        ResourceKind::Cache(_) if asks_for_websocket(&job.request) => refuse_upgrade(worker, job, client).await,
        ResourceKind::Cache(_) => cache::serve(worker, job, peer, client).await,
        ResourceKind::WebSocket(route) => websocket::refuse(worker, job, route, client).await,
    }
}

/// What the connection does next.
pub(super) fn after<S: Transport>(worker: &Worker, client: Http1<S>, cut: bool) -> After<S> {
    let (stream, received, keep_alive) = client.into_parts();
    if cut {
        // A truncated answer must look truncated: no lingering, the connection just ends.
        After::Close
    } else if keep_alive && !worker.draining.get() {
        After::Next { stream, received }
    } else {
        After::Linger(stream)
    }
}

/// Any other protocol is an offer, which may be passed over (RFC 9110 section 7.8): clients that prefer HTTP/2 make it.
fn asks_for_websocket(request: &OwnedRequest) -> bool {
    let offers = request.headers.get_all(header::UPGRADE).iter();
    let websocket = |offer: &[u8]| offer.trim_ascii().eq_ignore_ascii_case(b"websocket");
    request.upgrade
        && offers
            .flat_map(|value| value.as_bytes().split(|b| *b == b','))
            .any(websocket)
}

/// An EdgeCache does not switch protocols; a WsRoute does.
async fn refuse_upgrade<C: Client>(worker: &Worker, job: &Job, client: &mut C) -> Result<Outcome, Failure> {
    let message = "this address does not switch protocols: a WsRoute would";
    Ok(page(worker, job, client, 400, message).await?)
}

/// Counts and logs an exchange, and answers for one that failed. True when its answer was cut short.
pub(super) async fn conclude<C: Client>(
    worker: &Rc<Worker>,
    job: &Job,
    client: &mut C,
    outcome: Result<Outcome, Failure>,
) -> bool {
    let mut end = End::default();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(failure) => {
            end = End::of(&failure);
            end.cut = client.answered();
            let status = fail(worker, job, client, &failure).await;
            Outcome { status, cache: None }
        }
    };
    count(worker, job, &outcome, client.sent(), end);
    end.cut.is_some()
}

/// How an answer ended, for the log.
#[derive(Clone, Copy, Default)]
pub(super) struct End {
    /// It broke off behind a head with this status.
    cut: Option<u16>,
    /// Why there is no whole answer of the origin's.
    error: Option<&'static str>,
}

impl End {
    const fn of(failure: &Failure) -> Self {
        Self {
            cut: None,
            error: Some(failure.label()),
        }
    }
}

/// One place turns a failure into an answer, a counter and a log line. Returns the status that is counted.
async fn fail<C: Client>(worker: &Rc<Worker>, job: &Job, client: &mut C, failure: &Failure) -> u16 {
    let answered = client.answered().is_some();
    let (status, message) = match failure {
        Failure::Origin(error) => {
            let resource = job.resource().label.as_str();
            tracing::debug!(resource, reason = error.label(), request_id = job.request_id, "{error}");
            (error.status(), public(error))
        }
        Failure::Refused(refusal) => {
            job.asked.refused.set(true);
            if !answered {
                // The client may be gone; there is nobody else to tell.
                let _ = refused_page(worker, job, client, refusal).await;
            }
            return refusal.status;
        }
        Failure::NoRoom => {
            worker.cells.refuse(inspected::NO_ROOM);
            (503, "there is more to do than can be done; try again in a moment")
        }
        Failure::Client(ClientError::Gone) => return CLIENT_GONE,
        // It did not take the answer in time, and is sent away: nobody reads another one.
        Failure::Client(ClientError::Slow) if answered => return CLIENT_GONE,
        Failure::TooLarge => {
            worker.cells.refuse(filtered::TOO_LARGE);
            (413, filtered::TOO_LARGE_MESSAGE)
        }
        Failure::Client(ClientError::Slow) => (408, "the request did not arrive in time"),
        Failure::Client(ClientError::Body(error)) => {
            worker.cells.refuse(error.label());
            (400, "the request body is malformed")
        }
    };
    if !answered {
        client.close_after();
        // The client may be gone as well; there is nobody else to tell.
        let _ = page(worker, job, client, status, message).await;
    }
    status
}

/// What a client may know of a failure behind us.
pub(super) const fn public(error: &OriginError) -> &'static str {
    match error {
        OriginError::Interim => "the site's server gave no end of interim answers",
        OriginError::Loop => "this request has come by here before: it goes round in circles",
        OriginError::NoEndpoints => "no server is ready for this site",
        OriginError::Overloaded(_) => "the site's servers are busy",
        OriginError::ConnectTimeout | OriginError::ResponseTimeout => "the site's server did not answer in time",
        OriginError::Resolve { .. } | OriginError::Connect(_) | OriginError::Tls(_) | OriginError::TlsRefused(_) => {
            "the site's server cannot be reached"
        }
        OriginError::Closed | OriginError::Io(_) | OriginError::Unprocessed => {
            "the connection to the site's server was lost"
        }
        OriginError::Head(_) | OriginError::Body(_) | OriginError::Http2(_) | OriginError::Unexpected(_) => {
            "the site's server gave an answer that cannot be used"
        }
        OriginError::Fetch(reason) => reason,
    }
}

pub(super) fn count(worker: &Worker, job: &Job, outcome: &Outcome, bytes: u64, end: End) {
    if job.asked_by.is_some() {
        let counts = &worker.metrics.peering.counts;
        match outcome.status {
            503 => counts.turned_away.add(),
            502 | 504 => counts.failed.add(),
            _ => counts.served.add(),
        }
        return;
    }
    let cells = &job.local().cells;
    let duration = job.started.elapsed();
    cells.requests.add(outcome.status);
    cells.durations.observe(duration);
    if let Some(result) = outcome.cache {
        cells.cache_bytes(result).add(bytes);
    }
    if let Some(log) = &worker.metrics.access_log {
        let upstream = job.asked.server.borrow().as_ref().map(ToString::to_string);
        log.write(access_log::line(&access_log::Entry {
            unix_ms: worker.clock.timestamp().as_millis(),
            request_id: &job.request_id,
            client: job.client,
            country: worker.country(job.client),
            version: job.request.version,
            method: job.request.method.as_str(),
            host: host_name(&job.request.host),
            uri: &job.request.target,
            // What the client saw, which may not be what went wrong and is counted.
            status: end.cut.unwrap_or(outcome.status),
            bytes,
            duration,
            resource: &job.resource().label,
            cache: outcome.cache.map(CacheResult::label),
            upstream: upstream.as_deref(),
            waf: job.asked.refused.get().then_some("block"),
            aborted: end.cut.is_some(),
            error: job.asked.error.get().or(end.error),
            websocket: None,
        }));
    }
}

/// Without port, as on the hit path.
pub(super) fn host_name(authority: &str) -> &str {
    Host::parse(authority).map_or(authority, |host| host.name())
}
