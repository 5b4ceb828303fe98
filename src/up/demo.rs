//! The demonstration: a small origin with pages, a slow page and a WebSocket echo, and manifests that show each feature.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use tokio::net::TcpListener;

use crate::exit::{Failure, complain};

/// Where the manifests in `examples/demo` expect the origin.
const PAGES: &str = "127.0.0.1:8081";
const ECHO: &str = "127.0.0.1:8082";

const MANIFESTS: [(&str, &str); 3] = [
    ("site.yaml", include_str!("../../examples/demo/site.yaml")),
    ("policy.yaml", include_str!("../../examples/demo/policy.yaml")),
    ("chat.yaml", include_str!("../../examples/demo/chat.yaml")),
];

/// A running demonstration.
pub(super) struct Demo {
    manifests: Option<PathBuf>,
}

/// Starts the origin; writes the built-in manifests into a temporary directory if `with_manifests`.
pub(super) async fn start(with_manifests: bool) -> Result<Demo, Failure> {
    let pages = bind(PAGES).await?;
    let echo = bind(ECHO).await?;
    let origin = Origin::default();
    let router = Router::new()
        .route("/", get(home))
        .route("/page/{name}", get(page))
        .route("/slow", get(slow))
        .route("/private", get(private))
        .route("/login", post(|| async { "welcome\n" }))
        .route(
            "/admin",
            get(|| async { "this page must never be seen through Breakwater\n" }),
        )
        .with_state(origin);
    tokio::spawn(async move { axum::serve(pages, router).await });
    tokio::spawn(breakwater_websocket::testing::serve_echo(echo));
    let manifests = with_manifests.then(write_manifests).transpose()?;
    Ok(Demo { manifests })
}

impl Demo {
    /// Where the built-in manifests were written.
    pub(super) fn manifests(&self) -> Option<PathBuf> {
        self.manifests.clone()
    }

    /// Says what to try.
    pub(super) fn explain(&self, front: Option<SocketAddr>, admin: SocketAddr, dir: &std::path::Path) {
        let port = front.map_or(8080, |address| address.port());
        let dir = dir.display();
        complain(format!(
            "\n\
             Try, in another terminal:\n\
             \n\
             \x20 curl -i http://localhost:{port}/page/one                 # Cache-Status: fwd=miss; again: hit\n\
             \x20 time curl http://localhost:{port}/slow                   # 2 s; again: at once, from the cache\n\
             \x20 curl -i http://localhost:{port}/admin                    # 403: the WafPolicy denies this path\n\
             \x20 curl -i -H 'X-Forwarded-For: 203.0.113.9' http://localhost:{port}/   # 403: a denied address\n\
             \x20 for i in 1 2 3 4 5 6; do curl -s -o /dev/null -w '%{{http_code}}\\n' -X POST http://localhost:{port}/login; done   # then 429\n\
             \x20 websocat ws://localhost:{port}/ws                        # a WebSocket echo; or open http://localhost:{port}/\n\
             \x20 curl -s http://{admin}/metrics | grep ^breakwater_\n\
             \n\
             Edit the manifests in {dir} and watch them take effect. Ctrl-C stops.\n"
        ));
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Some(dir) = &self.manifests {
            // Nobody is left to be told.
            let _ = fs::remove_dir_all(dir);
        }
    }
}

async fn bind(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::environment(
            format!("the demonstration's origin cannot listen on {address}: {error}"),
            "stop the program that does, or run without --demo",
        )
    })
}

fn write_manifests() -> Result<PathBuf, Failure> {
    let dir = std::env::temp_dir().join(format!("breakwater-demo-{}", std::process::id()));
    let written = fs::create_dir_all(&dir).and_then(|()| {
        MANIFESTS
            .iter()
            .try_for_each(|(name, text)| fs::write(dir.join(name), text))
    });
    written.map_err(|error| {
        let what = format!(
            "the demonstration's manifests cannot be written to {}: {error}",
            dir.display()
        );
        Failure::environment(what, "set TMPDIR to a directory that can be written")
    })?;
    Ok(dir)
}

/// Counts what reaches the origin, so that a hit can be told from a miss by eye.
#[derive(Clone, Default)]
struct Origin(Arc<AtomicU64>);

impl Origin {
    fn count(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

const FRESH: (header::HeaderName, &str) = (header::CACHE_CONTROL, "max-age=60");

async fn home() -> impl IntoResponse {
    ([FRESH], Html(include_str!("demo/home.html")))
}

async fn page(State(origin): State<Origin>, Path(name): Path<String>) -> impl IntoResponse {
    if name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return (StatusCode::NOT_FOUND, [FRESH], "no such page\n".to_owned());
    }
    let n = origin.count();
    (
        StatusCode::OK,
        [FRESH],
        format!("page {name}; the origin's answer number {n}\n"),
    )
}

async fn slow(State(origin): State<Origin>) -> impl IntoResponse {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let n = origin.count();
    (
        [FRESH],
        format!("this took the origin two seconds; its answer number {n}\n"),
    )
}

async fn private(State(origin): State<Origin>) -> impl IntoResponse {
    let n = origin.count();
    (
        [(header::CACHE_CONTROL, "private")],
        format!("never stored; the origin's answer number {n}\n"),
    )
}
