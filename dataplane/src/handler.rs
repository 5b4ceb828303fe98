//! What is done with a request: the way through route and access to a handler.
//!
//! [`answer`] runs within a poll of the connection, over borrowed bytes: it refuses, answers a cache hit, or lets the
//! request leave as a [`Job`]. [`exchange`] takes the job and the socket and does the rest.

mod cache;
mod client;
mod filtered;
mod forward;
pub(crate) mod hit;
mod https;
mod peer;
mod proxy;
mod stored;
mod websocket;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use breakwater_wire::device;
use breakwater_wire::hop::strip_named;
use breakwater_wire::http1::{Framing, Host, OwnedRequest, RequestHead};
use breakwater_wire::path::{NormalPath, normalize};
use bytes::Bytes;
use http::header::{self, HeaderName};

use crate::access::{self, Judgement, Subject};
use crate::config::{Local, Resource, ResourceKind, WorkerConfig};
use crate::conn::{Shared, Transport};
use crate::filter::Filters;
use crate::request_id::{self, acceptable};
use crate::respond::{self, Page};
use crate::telemetry::{CacheResult, access_log};
use crate::tls::{HostTls, Hsts};
use crate::upstream::{Asker, OriginError, Server};
use crate::worker::Worker;
use breakwater_wire::peer as envelope;
use breakwater_wire::peer::Word;
pub(crate) use cache::prefetch;
pub(crate) use client::{Channel, Http2, Link, Outgoing, Over, split_head};
use client::{Client, ClientError, Http1};
pub(crate) use websocket::Relaying;

/// What became of a request within the poll.
pub(crate) enum Answer {
    /// Answered: the head, and perhaps the body, is in the output; the rest of the body is in `body`.
    Written { body: Vec<Bytes>, close: bool },
    /// It needs more than memory.
    Leave(Box<Job>),
}

/// A request on its way to a handler.
pub(crate) struct Job {
    pub(crate) request: OwnedRequest,
    /// The normalised path, which routes, rules and keys compare.
    pub(crate) path: String,
    /// The request target for the origin: what was matched is what it sees, the bytes as received unless the path had
    /// dot segments.
    pub(crate) target: String,
    pub(crate) client: IpAddr,
    /// The peer is a proxy whose word about the client is believed.
    pub(crate) trusted: bool,
    pub(crate) request_id: String,
    pub(crate) started: Instant,
    pub(crate) config: Rc<WorkerConfig>,
    pub(crate) index: u32,
    /// It came over TLS.
    pub(crate) secure: bool,
    /// For [`WorkerConfig::host_tls`].
    tls: Option<u32>,
    pub(crate) asked: Rc<Asked>,
    /// It is no client's, and counted as none.
    prefetch: bool,
    /// Another node asks for its client: the other end of that client's connection.
    pub(crate) asked_by: Option<IpAddr>,
}

/// What is known, for the log, of a request's way to its origin. Shared with the fetch that the request leads, if it does.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The server that answered.
    server: RefCell<Option<Arc<Server>>>,
    /// Why there is no whole answer.
    error: Cell<Option<&'static str>>,
}

impl Asked {
    fn answered_by(&self, server: &Arc<Server>) {
        self.server.replace(Some(Arc::clone(server)));
    }

    fn failed(&self, error: &OriginError) {
        self.error.set(Some(error.label()));
    }
}

impl Job {
    pub(crate) fn resource(&self) -> &Resource {
        self.config.resource(self.index)
    }

    pub(crate) fn local(&self) -> &Local {
        self.config.local(self.index)
    }

    /// The scheme the client used.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// What goes with answers over TLS (RFC 6797 section 7.2).
    pub(crate) fn hsts(&self) -> Option<&Hsts> {
        let tls = self.config.host_tls(self.tls.filter(|_| self.secure))?;
        tls.hsts.as_ref()
    }

    /// What a choice of server may depend on.
    pub(crate) fn asker(&self) -> Asker<'_> {
        Asker {
            client: self.client,
            fields: &self.request.headers,
            path: &self.path,
        }
    }

    /// The class of the client's device, where keys tell devices apart: a request has it in place of what the client said.
    pub(crate) fn device(&self) -> Option<&str> {
        if self.resource().devices().is_empty() {
            return None;
        }
        self.request.headers.get(device::FIELD)?.to_str().ok()
    }

    /// What is done to the answer, if anything is. Not when another node asks, which does it.
    pub(crate) fn filters(&self) -> Option<&Filters> {
        self.resource().filters().filter(|_| self.asked_by.is_none())
    }
}

/// What a connection does after an exchange.
pub(crate) enum After<S> {
    /// It waits for the next request, of which some bytes may be there.
    Next { stream: S, received: Vec<u8> },
    /// It became a WebSocket.
    Relay(Pin<Box<Relaying<S>>>),
    /// It closes once the client had time to read.
    Linger(S),
    /// It is over.
    Close,
}

/// What is known of a request once it is routed.
struct Routed<'a, 'b> {
    head: &'a RequestHead<'b>,
    path: &'a NormalPath<'b>,
    config: &'a Rc<WorkerConfig>,
    index: u32,
    client: IpAddr,
    trusted: bool,
    request_id: &'a str,
    started: Instant,
    /// It came over TLS.
    secure: bool,
    /// For [`WorkerConfig::host_tls`].
    tls: Option<u32>,
    /// Another node asks for its client: the other end of that client's connection.
    asked_by: Option<IpAddr>,
}

impl<'a> Routed<'a, '_> {
    fn resource(&self) -> &'a Resource {
        self.config.resource(self.index)
    }

    fn local(&self) -> &'a Local {
        self.config.local(self.index)
    }

    /// How the host that the route claims is served over TLS, if it is.
    fn host_tls(&self) -> Option<&'a HostTls> {
        self.config.host_tls(self.tls)
    }

    /// What goes with answers over TLS (RFC 6797 section 7.2).
    fn hsts(&self) -> Option<&'a Hsts> {
        self.host_tls().filter(|_| self.secure)?.hsts.as_ref()
    }
}

/// Routes and judges a request; answers it if that takes no waiting.
pub(crate) fn answer(shared: &mut Shared, head: &RequestHead<'_>, out: &mut Vec<u8>) -> Answer {
    if shared.of_node {
        return peer::answer(shared, head, out);
    }
    let worker = Rc::clone(&shared.worker);
    let started = Instant::now();
    if head.method == "TRACE" {
        // It would show cookies and credentials to whoever reads the answer (RFC 9110 section 9.3.8).
        worker.cells.refuse("trace");
        // What an origin does with its other methods is not known (RFC 9110 section 15.5.6).
        let allow = (header::ALLOW, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        return unrouted_page(&worker, head, out, (405, "TRACE is not served"), &[allow], true);
    }
    let path = match normalize(head.path) {
        Ok(path) => path,
        Err(error) => {
            worker.cells.refuse(error.label());
            return unrouted(&worker, out, 400, &error.to_string());
        }
    };
    let config = worker.config.borrow();
    let Some(route) = config.route(head.host.name(), path.as_str()) else {
        return unrouted_but_open(&worker, head, out);
    };
    let resource = config.resource(route.resource);
    let (client, trusted) = resource.client.find(shared.peer, head.fields());
    let made = worker.ids.next();
    let request_id = match head.x_request_id {
        Some(id) if trusted && acceptable(id) => std::str::from_utf8(id).unwrap_or_default(),
        _ => request_id::text(&made),
    };
    let routed = Routed {
        head,
        path: &path,
        config: &config,
        index: route.resource,
        client,
        trusted,
        request_id,
        started,
        secure: shared.proof.is_some(),
        tls: route.tls,
        asked_by: None,
    };
    if let Some(tls) = routed.host_tls()
        && let Some(answer) = https::answer(&worker, tls, shared.proof, &routed, out)
    {
        return answer;
    }
    if !resource.protections.is_empty()
        && let Judgement::Refuse { status, retry_after } =
            access::judge(&worker, &mut shared.guard, resource, &subject(&routed))
    {
        return refuse(&worker, &routed, out, status, retry_after);
    }
    if let Some(filters) = resource.filters()
        && let Some(answer) = filtered::answer(&worker, filters, &routed, out)
    {
        return answer;
    }
    if let ResourceKind::Cache(site) = &resource.kind
        && head.framing == Framing::None
        && let Some(body) = hit::answer(&worker, site, &routed, out)
    {
        return Answer::Written {
            body,
            close: !head.keep_alive || worker.draining.get(),
        };
    }
    leave(&worker, &routed, out)
}

fn subject<'a>(routed: &Routed<'a, 'a>) -> Subject<'a> {
    Subject {
        client: routed.client,
        method: routed.head.method,
        host: routed.head.host.name(),
        path: routed.path,
        query: routed.head.query,
        request_id: routed.request_id,
    }
}

fn leave(worker: &Worker, routed: &Routed<'_, '_>, out: &mut Vec<u8>) -> Answer {
    let Ok(mut request) = routed.head.to_owned() else {
        worker.cells.refuse("head");
        return unrouted(worker, out, 400, "the request head is malformed");
    };
    if routed.head.names_fields {
        // Keys and `Vary` are about what the origin sees.
        strip_named(&mut request.headers);
    }
    routed.resource().settle(&mut request.headers);
    request.headers.remove(envelope::FIELD);
    Answer::Leave(Box::new(Job {
        request,
        path: routed.path.as_str().to_owned(),
        target: match routed.head.query {
            Some(query) => format!("{}?{query}", routed.path.forward()),
            None => routed.path.forward().to_owned(),
        },
        client: routed.client,
        trusted: routed.trusted,
        request_id: routed.request_id.to_owned(),
        started: routed.started,
        config: Rc::clone(routed.config),
        index: routed.index,
        secure: routed.secure,
        tls: routed.tls,
        asked: Rc::default(),
        prefetch: false,
        asked_by: routed.asked_by,
    }))
}

fn refuse(
    worker: &Worker,
    routed: &Routed<'_, '_>,
    out: &mut Vec<u8>,
    status: u16,
    retry_after: Option<u64>,
) -> Answer {
    let refusal = Ours {
        status,
        message: None,
        retry_after,
        detail: "refused",
        fields: &[],
        waf: Some("block"),
    };
    refusal.answer(worker, routed, out)
}

/// An answer of ours within the poll.
struct Ours<'a> {
    status: u16,
    /// None: the block page.
    message: Option<&'a str>,
    /// Seconds.
    retry_after: Option<u64>,
    /// For `Cache-Status`.
    detail: &'static str,
    fields: &'a [(HeaderName, &'a str)],
    /// For the access log.
    waf: Option<&'static str>,
}

impl Ours<'_> {
    /// Writes, counts and logs it.
    fn answer(&self, worker: &Worker, routed: &Routed<'_, '_>, out: &mut Vec<u8>) -> Answer {
        let head = routed.head;
        // A body that nobody will read ends the connection.
        let close = !head.keep_alive || head.framing != Framing::None || worker.draining.get();
        let accept = head.field("accept").and_then(|value| std::str::from_utf8(value).ok());
        let before = out.len();
        Page {
            status: self.status,
            request_id: routed.request_id,
            message: self.message,
            wants_json: accept.is_some_and(breakwater_waf::block::wants_json),
            retry_after: self.retry_after,
            cache_status: routed.resource().kind.detail(self.detail),
            fields: self.fields,
            hsts: routed.hsts(),
            head_only: head.method == "HEAD",
            close,
            filters: routed.resource().filters(),
        }
        .write(out, worker);
        let local = routed.local();
        local.cells.requests.add(self.status);
        local.cells.durations.observe(routed.started.elapsed());
        if let Some(log) = &worker.metrics.access_log {
            log.write(access_log::line(&access_log::Entry {
                bytes: (out.len() - before) as u64,
                status: self.status,
                waf: self.waf,
                ..entry(worker, routed)
            }));
        }
        Answer::Written {
            body: Vec::new(),
            close,
        }
    }
}

/// The access line of a request that was answered within the poll.
fn entry<'a>(worker: &Worker, routed: &Routed<'a, '_>) -> access_log::Entry<'a> {
    access_log::Entry {
        unix: worker.clock.unix(),
        request_id: routed.request_id,
        client: routed.client,
        version: routed.head.version,
        method: routed.head.method,
        host: routed.head.host.name(),
        uri: routed.head.target,
        status: 0,
        bytes: 0,
        duration: routed.started.elapsed(),
        resource: &routed.resource().label,
        cache: None,
        upstream: None,
        waf: None,
        aborted: false,
        error: None,
    }
}

/// Nothing serves this host and path; the connection may go on.
fn unrouted_but_open(worker: &Worker, head: &RequestHead<'_>, out: &mut Vec<u8>) -> Answer {
    if !worker.is_configured() {
        // 404 would be the word of someone who knows, and may be stored by whoever asks.
        return unrouted(worker, out, 503, NOT_CONFIGURED);
    }
    if head.framing != Framing::None || !head.keep_alive || worker.draining.get() {
        return unrouted(worker, out, 404, NOT_SERVED);
    }
    unrouted_page(worker, head, out, (404, NOT_SERVED), &[], false)
}

fn unrouted_page(
    worker: &Worker,
    head: &RequestHead<'_>,
    out: &mut Vec<u8>,
    (status, message): (u16, &str),
    fields: &[(HeaderName, &str)],
    close: bool,
) -> Answer {
    worker.cells.unrouted.add(status);
    let made = worker.ids.next();
    Page {
        status,
        request_id: request_id::text(&made),
        message: Some(message),
        wants_json: false,
        retry_after: None,
        cache_status: None,
        fields,
        hsts: None,
        head_only: head.method == "HEAD",
        close,
        filters: None,
    }
    .write(out, worker);
    Answer::Written {
        body: Vec::new(),
        close,
    }
}

/// What is said to a request that would need an origin, in an overload.
const OVERLOADED: &str = "there is more to do than can be done; try again in a moment";

const NOT_SERVED: &str = "nothing here serves this host and path";
const NOT_CONFIGURED: &str = "this node has no configuration yet";

fn unrouted(worker: &Worker, out: &mut Vec<u8>, status: u16, message: &str) -> Answer {
    worker.cells.unrouted.add(status);
    respond::plain(out, worker, status, message);
    Answer::Written {
        body: Vec::new(),
        close: true,
    }
}

/// Without port, as on the hit path.
fn host_name(authority: &str) -> &str {
    Host::parse(authority).map_or(authority, |host| host.name())
}

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
}

impl Failure {
    /// For the log.
    const fn label(&self) -> &'static str {
        match self {
            Self::Origin(error) => error.label(),
            Self::Client(ClientError::Gone) => "client_gone",
            Self::Client(ClientError::Slow) => "client_slow",
            Self::Client(ClientError::Body(_)) => "request_body_malformed",
            Self::TooLarge => filtered::TOO_LARGE,
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

/// Takes a request on a stream of its own to a handler. The connection goes on meanwhile; when it or the stream is gone,
/// so is the handler's work.
pub(crate) async fn exchange_of_a_stream(worker: Rc<Worker>, peer: IpAddr, job: Box<Job>, mut client: Http2) {
    let over = client.over();
    let outcome = tokio::select! {
        // First: a request that was reset with the bytes it came in begins nothing, and no fetch that would outlive it.
        biased;
        over = over => Err(over.into()),
        outcome = respond(&worker, &job, peer, &mut client) => outcome,
    };
    // What was cut short is reset when the client's side is dropped.
    conclude(&worker, &job, &mut client, outcome).await;
}

/// Answers a request that takes no more than request and response.
async fn respond<C: Client>(worker: &Rc<Worker>, job: &Job, peer: IpAddr, client: &mut C) -> Result<Outcome, Failure> {
    match &job.resource().kind {
        ResourceKind::Cache(_) if asks_for_websocket(&job.request) => refuse_upgrade(worker, job, client).await,
        ResourceKind::Cache(_) => cache::serve(worker, job, peer, client).await,
        ResourceKind::WebSocket(route) => websocket::refuse(worker, job, route, client).await,
    }
}

/// What the connection does next.
fn after<S: Transport>(worker: &Worker, client: Http1<S>, cut: bool) -> After<S> {
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
async fn conclude<C: Client>(
    worker: &Rc<Worker>,
    job: &Job,
    client: &mut C,
    outcome: Result<Outcome, Failure>,
) -> bool {
    let mut end = End::default();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(failure) => {
            end.cut = client.answered();
            end.error = Some(failure.label());
            let status = fail(worker, job, client, &failure).await;
            Outcome { status, cache: None }
        }
    };
    count(worker, job, &outcome, client.sent(), end);
    end.cut.is_some()
}

/// How an answer ended, for the log.
#[derive(Clone, Copy, Default)]
struct End {
    /// It broke off behind a head with this status.
    cut: Option<u16>,
    /// Why there is no whole answer of the origin's.
    error: Option<&'static str>,
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
        // nginx's 499: the client went away, nobody reads an answer.
        Failure::Client(ClientError::Gone) => return 499,
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
const fn public(error: &OriginError) -> &'static str {
    match error {
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

/// Sends an answer of ours.
async fn page<C: Client>(
    worker: &Worker,
    job: &Job,
    client: &mut C,
    status: u16,
    message: &str,
) -> Result<Outcome, ClientError> {
    let word = match message {
        OVERLOADED => Word::REFUSED,
        _ => Word::ORIGIN_FAILED,
    };
    let fields = [(envelope::FIELD, word)];
    let fields = if job.asked_by.is_some() { &fields[..] } else { &[] };
    page_with(worker, job, client, status, message, fields).await
}

/// Sends an answer of ours with fields of its own.
async fn page_with<C: Client>(
    worker: &Worker,
    job: &Job,
    client: &mut C,
    status: u16,
    message: &str,
    fields: &[(HeaderName, &'static str)],
) -> Result<Outcome, ClientError> {
    if client.has_body() || !job.request.keep_alive || worker.draining.get() {
        client.close_after();
    }
    let accept = job
        .request
        .headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let mut text = Vec::with_capacity(512);
    Page {
        status,
        request_id: &job.request_id,
        message: Some(message),
        wants_json: accept.is_some_and(breakwater_waf::block::wants_json),
        retry_after: (status == 503).then_some(1),
        cache_status: job.resource().kind.detail("failed"),
        fields,
        hsts: job.hsts(),
        head_only: job.request.method == http::Method::HEAD,
        close: !client.keeps_alive(),
        filters: job.filters(),
    }
    .write(&mut text, worker);
    client.send_whole(&text, Vec::new(), 0).await?;
    Ok(Outcome { status, cache: None })
}

fn count(worker: &Worker, job: &Job, outcome: &Outcome, bytes: u64, end: End) {
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
            unix: worker.clock.unix(),
            request_id: &job.request_id,
            client: job.client,
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
            waf: None,
            aborted: end.cut.is_some(),
            error: job.asked.error.get().or(end.error),
        }));
    }
}
