//! Opening a WebSocket: the handshake with both sides, then the relay takes the sockets.
//!
//! Invariant: the backend sees no byte of the client's before its 101 was checked, and none at all when it refused.

mod record;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use breakwater_snapshot::unit;
use breakwater_waf::limit::ConnectionGuard;
use breakwater_websocket::handshake::{self, Agreement, Offer, RequestRefusal};
use breakwater_websocket::{Closed, Relay, Session, Side};
use breakwater_wire::http1::OwnedResponse;
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Version};
use tokio::time::Instant;

use super::client::{Client, Http1};
use super::forward;
use super::{After, End, Failure, Job, Outcome, after, conclude, count, overloaded, page_with, proxy};
use crate::config::{ResourceKind, WebSocketRoute};
use crate::conn::Transport;
use crate::telemetry::ResourceCells;
use crate::upstream::{Body, Connection, Hold, OriginError, Stream};
use crate::worker::Worker;
use crate::worker::drains::Group;
use record::Record;

/// A relay with what must be told when it ends.
pub(crate) struct Relaying<S> {
    relay: Relay<S, Stream>,
    cells: Arc<ResourceCells>,
    /// For the access log, if there is one.
    record: Option<Box<Record>>,
    /// Its places in the route's limits.
    _guard: ConnectionGuard,
    /// Its place with the backend.
    _hold: Hold,
    /// Those that are told to go with it.
    _group: Rc<Group>,
    told: bool,
}

/// Takes a request to a WsRoute.
pub(super) async fn open<S: Transport>(worker: &Rc<Worker>, job: Job, peer: IpAddr, mut client: Http1<S>) -> After<S> {
    let ResourceKind::WebSocket(route) = &job.resource().kind else {
        return After::Close;
    };
    let route = Arc::clone(route);
    let mut guard = ConnectionGuard::default();
    let outcome = match admit(worker, &job, &route, &mut client, &mut guard).await {
        Ok(Ok(offer)) => match connect(&job, &route, peer, &offer).await {
            Ok(Opened::Switched {
                connection,
                response,
                agreement,
            }) => match switch(worker, &job, client, connection, &response, &agreement, guard).await {
                Ok(relaying) => return After::Relay(relaying),
                Err((returned, failure)) => {
                    client = returned;
                    Err(failure)
                }
            },
            Ok(Opened::Answered { connection, response }) => {
                answer(worker, &job, &mut client, connection, response).await
            }
            Err(error) => Err(error.into()),
        },
        Ok(Err(refused)) => Ok(refused),
        Err(failure) => Err(failure),
    };
    let cut = conclude(worker, &job, &mut client, outcome).await;
    after(worker, client, cut)
}

/// Checks the client's handshake and the route's limits.
async fn admit<C: Client>(
    worker: &Worker,
    job: &Job,
    route: &WebSocketRoute,
    client: &mut C,
    guard: &mut ConnectionGuard,
) -> Result<Result<Offer, Outcome>, Failure> {
    let offer = match check(job, route) {
        Ok(offer) => offer,
        Err(refusal) => return Ok(Err(answer_refusal(worker, job, client, refusal).await?)),
    };
    if worker.sheds() {
        return Ok(Err(overloaded(worker, job, client).await?));
    }
    let Err(full) = route.counts.open(guard, job.client, &route.limits) else {
        return Ok(Ok(offer));
    };
    route.counts.cells.refused_by(full.label());
    Ok(Err(
        page_with(worker, job, client, full.status(), full.message(), &[]).await?
    ))
}

/// Answers a request for a WebSocket where there is no handshake to make: over HTTP/2.
pub(super) async fn refuse<C: Client>(
    worker: &Worker,
    job: &Job,
    route: &WebSocketRoute,
    client: &mut C,
) -> Result<Outcome, Failure> {
    let refusal = check(job, route).err().unwrap_or(RequestRefusal::HttpVersion);
    answer_refusal(worker, job, client, refusal).await
}

fn check(job: &Job, route: &WebSocketRoute) -> Result<Offer, RequestRefusal> {
    let request = &job.request;
    let version = match request.version {
        breakwater_wire::http1::Version::Http10 => Version::HTTP_10,
        breakwater_wire::http1::Version::Http11 => Version::HTTP_11,
        breakwater_wire::http1::Version::Http2 => Version::HTTP_2,
    };
    handshake::check_request(&request.method, version, &request.headers, &route.handshake)
}

async fn answer_refusal<C: Client>(
    worker: &Worker,
    job: &Job,
    client: &mut C,
    refusal: RequestRefusal,
) -> Result<Outcome, Failure> {
    worker.cells.refuse(refusal_label(refusal));
    let status = refusal.status().as_u16();
    let message = refusal.to_string();
    Ok(page_with(worker, job, client, status, &message, refusal.fields()).await?)
}

const fn refusal_label(refusal: RequestRefusal) -> &'static str {
    match refusal {
        RequestRefusal::Origin => "websocket_origin",
        RequestRefusal::Subprotocol => "websocket_subprotocol",
        _ => "websocket_handshake",
    }
}

/// What the backend said.
enum Opened {
    /// 101, checked.
    Switched {
        connection: Connection,
        response: OwnedResponse,
        agreement: Agreement,
    },
    /// An HTTP answer like any other.
    Answered {
        connection: Connection,
        response: OwnedResponse,
    },
}

/// Shakes hands with the backend, and counts how that went.
async fn connect(job: &Job, route: &WebSocketRoute, peer: IpAddr, offer: &Offer) -> Result<Opened, OriginError> {
    let opened = shake_hands(job, route, peer, offer).await;
    let cells = &job.local().cells;
    match &opened {
        Ok(
            Opened::Switched {
                connection, response, ..
            }
            | Opened::Answered { connection, response },
        ) => {
            job.asked.answered_by(connection.server());
            cells.origin.add(response.status.as_u16());
        }
        Err(error) => cells.origin_failed(error.label()),
    }
    opened
}

async fn shake_hands(job: &Job, route: &WebSocketRoute, peer: IpAddr, offer: &Offer) -> Result<Opened, OriginError> {
    let mut fields = forward::fields(job, peer)?;
    fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    set(&mut fields, header::SEC_WEBSOCKET_PROTOCOL, offer.subprotocol_value());
    set(&mut fields, header::SEC_WEBSOCKET_EXTENSIONS, offer.extensions.clone());
    let head = forward::head(&job.target, "GET", fields, Body::None);
    // A handshake is not repeated, so it does not risk a connection that was idle.
    let patience = Duration::from_millis(route.handshake_timeout_ms);
    let mut connection = job.local().upstream.connect(&head, &job.asker(), patience).await?;
    let deadline = Instant::now() + patience;
    let response = loop {
        let response = connection.read_head("GET", deadline).await?;
        if !(100..200).contains(&response.status.as_u16()) {
            return Ok(Opened::Answered { connection, response });
        }
        if response.status.as_u16() == 101 {
            break response;
        }
    };
    match handshake::check_response(response.status, &response.headers, offer.key.as_bytes(), offer) {
        Ok(agreement) => Ok(Opened::Switched {
            connection,
            response,
            agreement,
        }),
        Err(refusal) => {
            tracing::debug!(resource = job.resource().label, reason = refusal.label(), "{refusal}");
            Err(OriginError::Unexpected("its WebSocket handshake is wrong"))
        }
    }
}

fn set(fields: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    fields.remove(&name);
    if let Some(value) = value {
        fields.insert(name, value);
    }
}

/// Passes the backend's refusal, or whatever else it answered, to the client. Its connection ends here, so that what the
/// client sends next cannot reach it unread.
async fn answer<C: Client>(
    worker: &Rc<Worker>,
    job: &Job,
    client: &mut C,
    connection: Connection,
    mut response: OwnedResponse,
) -> Result<Outcome, Failure> {
    response.keep_alive = false;
    let outcome = Outcome {
        status: response.status.as_u16(),
        cache: None,
    };
    let body = job.local().upstream.body(connection.into(), &response);
    proxy::relay(worker, job, client, response, body, None).await?;
    Ok(outcome)
}

/// Tells the client that the protocol is switched, and hands both sockets to a relay.
async fn switch<S: Transport>(
    worker: &Rc<Worker>,
    job: &Job,
    mut client: Http1<S>,
    connection: Connection,
    response: &OwnedResponse,
    agreement: &Agreement,
    guard: ConnectionGuard,
) -> Result<Pin<Box<Relaying<S>>>, (Http1<S>, Failure)> {
    let mut fields = response.headers.clone();
    forward::response_fields(&mut fields, job);
    fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Err(error) = client.send_switch(&fields).await {
        return Err((client, error.into()));
    }
    let outcome = Outcome {
        status: 101,
        cache: None,
    };
    count(worker, job, &outcome, 0, End::default());
    let local = job.local();
    let settings = local.settings.clone().unwrap_or_default();
    let server = connection.server().to_string();
    let (stream, early_client, _) = client.into_parts();
    let (backend, early_backend, hold): (Stream, Bytes, Hold) = connection.into_parts();
    let terms = match &job.resource().kind {
        ResourceKind::WebSocket(route) => route.drain,
        ResourceKind::Cache(_) => unit::Drain::default(),
    };
    let group = worker.drains.join(&job.resource().label, &server, terms);
    if !Rc::ptr_eq(&job.config, &worker.config.borrow()) {
        worker.settle_websockets();
    }
    let session = Session::new(&worker.relays, &settings, &group.drain)
        .counters(&local.cells.websocket_traffic)
        .compression(agreement.compression)
        .early(Side::Client, &early_client)
        .early(Side::Backend, &early_backend);
    local.cells.websockets_opened.add(1);
    Ok(Box::pin(Relaying {
        relay: Relay::new(stream, backend, session),
        cells: Arc::clone(&local.cells),
        record: Record::new(worker, job),
        _guard: guard,
        _hold: hold,
        _group: group,
        told: false,
    }))
}

impl<S: Transport> Future for Relaying<S> {
    type Output = Closed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Closed> {
        let closed = ready!(Pin::new(&mut self.relay).poll(cx));
        self.told = true;
        self.tell(&closed);
        Poll::Ready(closed)
    }
}

impl<S> Relaying<S> {
    fn tell(&self, closed: &Closed) {
        self.cells.websocket_closed(closed.code_label(), closed.reason.label());
        if let Some(record) = &self.record {
            record.write(closed);
        }
    }
}

impl<S> Drop for Relaying<S> {
    fn drop(&mut self) {
        if !self.told {
            self.tell(&self.relay.cut());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    /// With the sockets' registrations this stays within the 2.5 KiB of the memory budget (docs/architecture.md).
    #[test]
    fn an_idle_websocket_is_small() {
        let size = size_of::<Relaying<TcpStream>>();
        assert!(size <= 512, "a relayed WebSocket has grown to {size} bytes");
    }
}
