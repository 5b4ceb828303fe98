//! The admin port: metrics, health, what is loaded and stored, and purges. Served by the control thread, so that a scrape never delays a
//! request; whether the process is ready is read from what the workers report.

mod inspect;
mod purge;
mod stored;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::telemetry::collect::Collected;
use crate::{DataPlane, StartError};

/// Opens the admin port of `data_plane` and returns its address and the task that serves it.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) async fn serve(
    data_plane: Arc<DataPlane>,
    address: SocketAddr,
    extra: Router,
) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Bind { address, source };
    let inherited = data_plane.admin.listener.lock().take();
    let listener = match inherited {
        Some(listener) => TcpListener::from_std(listener).map_err(failed)?,
        None => TcpListener::bind(address).await.map_err(failed)?,
    };
    let address = listener.local_addr().map_err(failed)?;
    let kept = listener.as_fd().try_clone_to_owned().map_err(failed)?;
    data_plane.admin.listener.lock().replace(kept.into());
    let registry = Registry::new();
    let collected = Collected::new(Arc::clone(&data_plane.metrics));
    // A fresh registry holds no collector this one could collide with.
    if let Err(error) = collected.and_then(|collected| registry.register(Box::new(collected))) {
        tracing::error!(%error, "metrics cannot be collected");
    }
    let mut closed = data_plane.admin.closed.subscribe();
    let mut accepting = data_plane.accepting();
    let admin = Arc::new(Admin { data_plane, registry });
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/v1/snapshot", get(snapshot))
        .route("/v1/prefetch", get(prefetch))
        .route("/v1/cache", get(stored::get))
        .route("/v1/cache/inspect", get(inspect::get))
        .route(
            "/v1/purge",
            post(purge::post).layer(DefaultBodyLimit::max(purge::MAX_BODY)),
        )
        .with_state(admin)
        .merge(extra);
    tokio::spawn(async move {
        // A port that another process serves as well answers for this one only when it serves.
        if accepting.wait_for(|control| control.accept).await.is_err() {
            return;
        }
        let served = axum::serve(listener, router).with_graceful_shutdown(async move {
            let _ = closed.wait_for(|closed| *closed).await;
        });
        if let Err(error) = served.await {
            tracing::error!(%error, "the admin port stopped");
        }
    });
    Ok(address)
}

/// The admin port's socket, and whether it is still served.
pub(crate) struct Port {
    /// Before it is served: that of the process that is taken over. Then: the socket, to be handed on.
    pub(crate) listener: Mutex<Option<std::net::TcpListener>>,
    /// Set when another process serves it alone.
    pub(crate) closed: watch::Sender<bool>,
    /// Writes the metrics of what runs beside the data plane.
    pub(crate) more_metrics: OnceLock<MoreMetrics>,
}

/// Appends metrics in the Prometheus text format.
pub(crate) type MoreMetrics = Box<dyn Fn(&mut Vec<u8>) + Send + Sync>;

impl Port {
    /// A port that is opened when it is served, unless it is given here.
    pub(crate) fn new(inherited: Option<std::net::TcpListener>) -> Self {
        Self {
            listener: Mutex::new(inherited),
            closed: watch::Sender::new(false),
            more_metrics: OnceLock::new(),
        }
    }
}

struct Admin {
    data_plane: Arc<DataPlane>,
    registry: Registry,
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&admin.registry.gather(), &mut text) {
        Ok(()) => {
            if let Some(more) = admin.data_plane.admin.more_metrics.get() {
                more(&mut text);
            }
            ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    if admin.data_plane.ready() {
        "ready\n".into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: no configuration yet, draining, or a worker is stuck\n",
        )
            .into_response()
    }
}

async fn snapshot(State(admin): State<Arc<Admin>>) -> Response {
    Json(admin.data_plane.loaded()).into_response()
}

async fn prefetch(State(admin): State<Arc<Admin>>) -> Response {
    Json(serde_json::json!({ "objects": admin.data_plane.prefetches() })).into_response()
}
