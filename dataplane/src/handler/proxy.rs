//! Passing a request to the origin and its answer to the client, both while they come.

use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use breakwater_wire::cache_status::CacheStatus;
use breakwater_wire::hop::{accepts_trailers, strip_hop_by_hop, strip_trailers};
use breakwater_wire::http1::{Framing, OwnedResponse, ResponseFraming};
use http::{HeaderMap, header};
use tokio::time::Instant;

use super::client::{Client, RequestBody, ResponseHead};
use super::forward;
use super::{Failure, Job, Outcome, filtered, inspected};
use crate::filter::Content;
use crate::telemetry::CacheResult;
use crate::upstream::{Body, By, Exchange, Head, OriginError, ResponseBody, Upload, Upstream};
use crate::worker::Worker;

/// Passes on what [`fetch`] brought.
pub(super) async fn answer<C: Client>(
    worker: &Rc<Worker>,
    job: &Job,
    client: &mut C,
    response: OwnedResponse,
    body: ResponseBody,
    cache_status: CacheStatus<'_>,
) -> Result<Outcome, Failure> {
    let outcome = Outcome {
        status: response.status.as_u16(),
        cache: Some(CacheResult::Bypass),
    };
    relay(worker, job, client, response, body, Some(cache_status)).await?;
    Ok(outcome)
}

/// Sends a request with its body and waits for the answer's head.
pub(super) async fn fetch<C: Client>(
    job: &Job,
    peer: IpAddr,
    client: &mut C,
) -> Result<(OwnedResponse, ResponseBody), Failure> {
    let body = match job.request.framing {
        Framing::None => Body::None,
        Framing::Length(length) => Body::Length(length),
        // It has ended already, with nothing in it.
        Framing::Chunked if !client.has_body() => Body::Length(0),
        Framing::Chunked => Body::Unknown,
    };
    let mut head = forward::head(
        &job.target,
        job.request.method.as_str(),
        forward::fields(job, peer)?,
        body,
    );
    head.trailers = accepts_trailers(&job.request.headers);
    let (by, result) = if client.has_body() {
        send_with_body(job, client, &head).await
    } else {
        let interim = async |response: OwnedResponse| pass_interim(client, &response).await;
        let (by, result) = job.local().request(&head, &job.asker(), interim).await;
        (by, result.map_err(Failure::from))
    };
    let result = result.and_then(|answer| match is_unasked_for(&head, answer.0.status.as_u16()) {
        true => Err(OriginError::Unexpected("304 to a request without conditions").into()),
        false => Ok(answer),
    });
    count(job, by, &result);
    result
}

/// Whether a server says that something has not changed which it was not asked about: the client may have nothing.
fn is_unasked_for(head: &Head, status: u16) -> bool {
    let asked = |name| head.fields.contains_key(name);
    let conditional = asked(header::IF_NONE_MATCH) || asked(header::IF_MODIFIED_SINCE);
    status == 304 && matches!(&*head.method, "GET" | "HEAD") && !conditional
}

/// Counts what the origin answered.
pub(super) fn count(job: &Job, by: By, result: &Result<(OwnedResponse, ResponseBody), Failure>) {
    if let Ok((_, body)) = result {
        job.asked.answered_by(body.server());
    }
    let cells = &job.local().cells;
    match result {
        _ if by == By::Parent => {}
        Ok((response, _)) => cells.origin.add(response.status.as_u16()),
        Err(Failure::Origin(error)) => cells.origin_failed(error.label()),
        Err(_) => {}
    }
}

/// An interim response goes to the client as it is, but 100, which we sent ourselves when it was asked for.
pub(super) async fn pass_interim<C: Client>(client: &mut C, response: &OwnedResponse) {
    let status = response.status.as_u16();
    if status != 100 {
        let mut headers = response.headers.clone();
        strip_hop_by_hop(&mut headers);
        // A client that is gone shows itself when the final response is sent.
        let _ = client.send_interim(status, &headers).await;
    }
}

/// Streams the request body. When the server answers before it is done, HTTP/1 stops there: the answer goes to the
/// client, and the connections on both sides end with it. With HTTP/2 on both sides the rest follows while the answer is
/// passed on ([`relay`]).
async fn send_with_body<C: Client>(
    job: &Job,
    client: &mut C,
    head: &Head,
) -> (By, Result<(OwnedResponse, ResponseBody), Failure>) {
    let (by, begun) = job.local().begin(head, &job.asker()).await;
    let result = match begun {
        Ok((exchange, upstream)) => finish(job, client, head, exchange, upstream).await,
        Err(error) => Err(error.into()),
    };
    (by, result)
}

async fn finish<C: Client>(
    job: &Job,
    client: &mut C,
    head: &Head,
    mut exchange: Exchange,
    upstream: &Upstream,
) -> Result<(OwnedResponse, ResponseBody), Failure> {
    let patience = upstream.response_timeout();
    let most = job.filters().and_then(|filters| filters.max_request_body);
    let left = stream_body(job, client, &mut exchange, patience, most).await?;
    drop(job.held.take());
    let deadline = Instant::now() + patience;
    loop {
        let mut response = exchange.read_head(&head.method, deadline).await?;
        match response.status.as_u16() {
            101 => return Err(OriginError::Unexpected("it switched protocols without being asked").into()),
            100..200 => pass_interim(client, &response).await,
            _ => {
                response.keep_alive &= left.is_none();
                let mut body = upstream.body(exchange, &response);
                body.limit_upload(left.unwrap_or_default());
                return Ok((response, body));
            }
        }
    }
}

/// None when the whole body was sent, else how much of it may still come; fails when it is longer than `most` bytes.
async fn stream_body<C: Client>(
    job: &Job,
    client: &mut C,
    exchange: &mut Exchange,
    patience: Duration,
    most: Option<u64>,
) -> Result<Option<u64>, Failure> {
    let mut left = most.unwrap_or(u64::MAX);
    loop {
        let piece = tokio::select! {
            biased;
            piece = client.next_body() => piece?,
            early = exchange.readable() => {
                early?;
                return Ok(Some(left));
            }
        };
        let Some(piece) = piece else { break };
        left = left.checked_sub(piece.len() as u64).ok_or(Failure::TooLarge)?;
        if !exchange.send(piece, patience).await? {
            return Ok(Some(left));
        }
    }
    let trailers = trailers(job, client.take_trailers());
    let complete = exchange.finish(trailers, patience).await?;
    Ok((!complete).then_some(left))
}

/// What stands behind a request's body as the origin gets it. Rules see none of it, so that nothing goes on where there
/// are any (RFC 9110 section 6.5.1 lets an intermediary discard it).
fn trailers(job: &Job, fields: Option<HeaderMap>) -> Option<HeaderMap> {
    fields.filter(|_| !job.resource().has_rules).and_then(strip_trailers)
}

/// Passes the rest of a request body to a server that answers already. Comes back only when that fails.
async fn upload(job: &Job, mut request: RequestBody, mut upload: Upload) -> Failure {
    let passed = async {
        while let Some(piece) = request.next().await? {
            upload.left = upload.left.checked_sub(piece.len() as u64).ok_or(Failure::TooLarge)?;
            if !upload.send(piece).await? {
                // The answer says why it wants no more.
                return Ok(());
            }
        }
        let trailers = trailers(job, request.take_trailers());
        Ok(upload.finish(trailers).await?)
    };
    match passed.await {
        Err(failure) => failure,
        // Kept until the answer is passed on: to drop it would be to reset the stream.
        Ok(()) => std::future::pending().await,
    }
}

/// Passes an answer to the client while it comes.
pub(super) async fn relay<C: Client>(
    worker: &Rc<Worker>,
    job: &Job,
    client: &mut C,
    mut response: OwnedResponse,
    mut body: ResponseBody,
    cache_status: Option<CacheStatus<'_>>,
) -> Result<(), Failure> {
    let rest = body.take_upload().map(|upload| (client.split_body(), upload));
    let mut uploading = pin!(async move {
        match rest {
            Some((Some(request), rest)) => upload(job, request, rest).await,
            _kept => std::future::pending().await,
        }
    });
    // What is held back of the answer is held back whether the request ends or not: whether rules see an answer is not
    // for a client to choose. A server that waits for the rest of the request meanwhile gets it.
    let body = tokio::select! {
        biased;
        judged = inspected::response(worker, job, &response, body) => judged?,
        failure = &mut uploading => return Err(failure),
    };
    forward::response_fields(&mut response.headers, job);
    let cells = &job.local().cells;
    let mut content = Content::new(job.filters(), &job.request.headers, &mut response, body, cells)?;
    let no_body = response.framing == ResponseFraming::None;
    let length = match response.framing {
        ResponseFraming::Length(length) => Some(length),
        // What HEAD would have, and what a 304 speaks of; a 204 has none (RFC 9110 section 8.6).
        ResponseFraming::None if response.status.as_u16() != 204 => response.content_length,
        _ => None,
    };
    let head = ResponseHead {
        status: response.status.as_u16(),
        fields: response.headers,
        length,
        no_body,
        cache_status,
    };
    if !filtered::send_head(job, client, head).await? {
        return Ok(());
    }
    let download = async {
        while let Some(piece) = content.next().await? {
            client.send_body(piece).await?;
        }
        client.finish(content.take_trailers().and_then(strip_trailers)).await?;
        Ok(())
    };
    tokio::select! {
        done = download => done,
        failure = uploading => Err(failure),
    }
}
