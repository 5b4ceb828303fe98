//! The routes of the two listeners: what nodes and peers read, and what an administrator reads.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use tokio::sync::watch;

use breakwater_snapshot::{Ack, Digest};

use super::{NodesError, NodesView, PeersView, Publisher, stream};

/// What nodes and peers read.
pub fn router(publisher: Publisher) -> Router {
    Router::new()
        .route("/v1/manifest", get(manifest))
        .route("/v1/stream", get(open_stream))
        .route("/v1/blobs/{digest}", get(blob))
        .route("/v1/ack", post(ack))
        .route("/v1/nodes", get(nodes))
        .route("/v1/nodes/{node}", delete(goodbye))
        .route("/v1/peers", get(peers))
        .layer(DefaultBodyLimit::max(publisher.0.limits.ack_bytes))
        .with_state(publisher)
}

/// What an administrator reads: `/healthz`, `/readyz` (once the first compile is published), `/metrics`.
pub fn admin_router(publisher: Publisher) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(publisher)
}

async fn manifest(State(publisher): State<Publisher>, request: HeaderMap) -> Response {
    let Some(published) = publisher.0.current.borrow().clone() else {
        return not_ready();
    };
    let etag = format!("\"{}\"", published.digest);
    let held = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == etag);
    let headers = [(header::ETAG, etag), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if held {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let json = [(header::CONTENT_TYPE, "application/json")];
    (headers, json, published.json()).into_response()
}

#[derive(Deserialize)]
struct StreamQuery {
    have: Option<Digest>,
    node: Option<String>,
}

async fn open_stream(State(publisher): State<Publisher>, Query(query): Query<StreamQuery>) -> Response {
    let Ok(permit) = publisher.0.streams.clone().try_acquire_owned() else {
        return unavailable("this replica serves as many streams as it may; try another");
    };
    if let Some(Err(NodesError::Name)) = query.node.as_deref().map(|node| publisher.touch(node)) {
        return (StatusCode::BAD_REQUEST, NodesError::Name.to_string()).into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let lines = stream::lines(&publisher, permit, query.have, query.node);
    (headers, Body::from_stream(lines)).into_response()
}

async fn blob(State(publisher): State<Publisher>, Path(digest): Path<String>, request: HeaderMap) -> Response {
    let Ok(digest) = digest.parse::<Digest>() else {
        return (StatusCode::BAD_REQUEST, "a blob is named by its SHA-256 digest\n").into_response();
    };
    let found = publisher.0.blobs.lock().get(&digest);
    let Some(blob) = found else {
        return (StatusCode::NOT_FOUND, "no manifest of late names this blob\n").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::VARY, "accept-encoding"),
    ];
    let etag = [(header::ETAG, format!("\"{digest}\""))];
    match takes_zstd(&request).then(|| blob.zstd()).flatten() {
        Some(bytes) => (headers, etag, [(header::CONTENT_ENCODING, "zstd")], bytes).into_response(),
        None => (headers, etag, blob.identity()).into_response(),
    }
}

/// Whether the request's `Accept-Encoding` names zstd with a weight above 0 (RFC 9110, 12.5.3).
fn takes_zstd(request: &HeaderMap) -> bool {
    let zero = |weight: &str| {
        let weight = weight.trim().trim_start_matches("q=");
        weight.starts_with('0') && weight.bytes().all(|byte| matches!(byte, b'0' | b'.'))
    };
    request
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            name.trim().eq_ignore_ascii_case("zstd") && !zero(weight)
        })
}

async fn ack(State(publisher): State<Publisher>, Json(ack): Json<Ack>) -> Response {
    answer(publisher.ack(ack))
}

async fn goodbye(State(publisher): State<Publisher>, Path(node): Path<String>) -> Response {
    answer(publisher.leave(&node))
}

fn answer(outcome: Result<(), NodesError>) -> Response {
    match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error @ NodesError::Name) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        Err(error @ NodesError::Full(_)) => unavailable(&error.to_string()),
    }
}

#[derive(Deserialize)]
struct NodesQuery {
    since: Option<u64>,
    #[serde(default)]
    wait_ms: u64,
}

async fn nodes(State(publisher): State<Publisher>, Query(query): Query<NodesQuery>) -> Json<NodesView> {
    news(&publisher, &query, publisher.nodes_changed()).await;
    Json(publisher.nodes())
}

async fn peers(State(publisher): State<Publisher>, Query(query): Query<NodesQuery>) -> Json<PeersView> {
    news(&publisher, &query, publisher.0.nodes.peers_changed()).await;
    Json(publisher.peers())
}

/// Waits as long as the caller wants for something it does not know. Either way it gets the newest view.
async fn news(publisher: &Publisher, query: &NodesQuery, mut changed: watch::Receiver<u64>) {
    if let Some(since) = query.since {
        let wait = Duration::from_millis(query.wait_ms).min(publisher.0.limits.longest_wait);
        let _ = tokio::time::timeout(wait, changed.wait_for(|version| *version != since)).await;
    }
}

async fn ready(State(publisher): State<Publisher>) -> Response {
    if publisher.0.current.borrow().is_some() {
        "ok\n".into_response()
    } else {
        not_ready()
    }
}

async fn metrics(State(publisher): State<Publisher>) -> Response {
    publisher.count_nodes();
    let plain = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (plain, publisher.0.metrics.render()).into_response()
}

fn not_ready() -> Response {
    unavailable("nothing is compiled yet: this replica has not read all objects from the API server\n")
}

fn unavailable(why: &str) -> Response {
    let retry = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
    (StatusCode::SERVICE_UNAVAILABLE, retry, why.to_owned()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zstd_is_sent_only_to_those_who_take_it() {
        for (value, takes) in [
            ("zstd", true),
            ("gzip, ZSTD;q=0.5", true),
            ("gzip, zstd;q=0", false),
            ("zstd; q=0.000", false),
            ("gzip", false),
            ("*", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
            assert_eq!(takes_zstd(&headers), takes, "{value}");
        }
        assert!(!takes_zstd(&HeaderMap::new()));
    }
}
