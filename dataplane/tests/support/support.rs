//! What the tests are made with: a data plane, compiled units, scripted origins, raw clients.

mod client;
pub(crate) mod http2;
mod log;
mod origin;
pub(crate) mod origin_http2;
mod origin_tls;
mod peers;
mod plane;
mod tls;
mod units;

use std::future::Future;
use std::time::Duration;

pub(crate) use client::{Client, Response};
pub(crate) use log::Log;
pub(crate) use origin::{Origin, Request, answer};
pub(crate) use peers::{Nodes, Way, below_edge, below_nodes, owner_site};
pub(crate) use plane::{Plane, admin_text};
pub(crate) use tls::{Authority, Dialer, der, secure_listen, tls};
pub(crate) use units::{
    Objects, claims, edge_cache, edit, exact, http_origin, id, limit, objects, prefix, purge, purge_by, regex,
    waf_policy, ws_route,
};

/// Longest wait for anything: only a test that is about to fail reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `future` gives; fails the test when it takes forever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Waits until `check` gives something, looking again and again: for what cannot be awaited.
pub(crate) async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(value) = check().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}
