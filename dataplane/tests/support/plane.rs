//! A data plane with its logs and its admin port.

use std::net::SocketAddr;
use std::sync::Arc;

use breakwater_dataplane::{Applied, DataPlane, LogOptions, LogTarget, Options};
use breakwater_snapshot::Snapshot;
use breakwater_snapshot::unit::{EdgeCache, Filters, Unit};
use serde_json::Value;
use tempfile::TempDir;

use super::{Client, Objects, Origin, edge_cache, objects, until};

/// A running data plane. Stops when it is dropped.
pub(crate) struct Plane {
    pub(crate) data: Arc<DataPlane>,
    pub(crate) admin: SocketAddr,
    logs: TempDir,
}

impl Plane {
    /// One worker, so that what a worker keeps (connection pools, turns) is the same for all requests.
    pub(crate) async fn start() -> Self {
        Self::with_workers(1).await
    }

    pub(crate) async fn with_workers(workers: usize) -> Self {
        Self::with(|options| options.workers = workers).await
    }

    /// One worker, and what `change` makes of the other options.
    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let log = |name: &str| LogOptions::new(vec![LogTarget::File(logs.path().join(name))]);
        let mut options = Options {
            listen: vec!["127.0.0.1:0".parse::<SocketAddr>().unwrap().into()],
            workers: 1,
            access_log: log("access.log"),
            audit_log: log("audit.log"),
            ..Options::default()
        };
        change(&mut options);
        let data = Arc::new(DataPlane::start(&options).unwrap());
        let any = "127.0.0.1:0".parse().unwrap();
        let admin = data.serve_admin(any, axum::Router::new()).await.unwrap();
        Self { data, admin, logs }
    }

    /// A data plane that runs these objects, and rejected none.
    pub(crate) async fn running(units: impl IntoIterator<Item = (&'static str, Unit)>) -> Self {
        let plane = Self::start().await;
        plane.apply(objects(units)).await;
        plane
    }

    /// A data plane with one EdgeCache, `site`, before `origin`.
    pub(crate) async fn before(origin: &Origin) -> Self {
        Self::running([("site", Unit::EdgeCache(edge_cache(origin.address)))]).await
    }

    /// A data plane with one EdgeCache, `site`, before `origin`, with these filters.
    pub(crate) async fn filtering(origin: &Origin, filters: Filters) -> Self {
        let plane = Self::start().await;
        plane.filter(origin, filters).await;
        plane
    }

    /// Applies these filters to what [`Plane::filtering`] made, and purges nothing.
    pub(crate) async fn filter(&self, origin: &Origin, filters: Filters) {
        let site = EdgeCache {
            filters,
            ..edge_cache(origin.address)
        };
        self.apply(objects([("site", Unit::EdgeCache(site))])).await;
    }

    /// Applies objects that are all good.
    pub(crate) async fn apply(&self, objects: Objects) {
        let applied = self.try_apply(objects).await;
        assert!(applied.rejected.is_empty(), "{:?}", applied.rejected);
    }

    pub(crate) async fn try_apply(&self, objects: Objects) -> Applied {
        self.data.apply(&Snapshot::build(objects)).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.data.addresses()[0]
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address()).await
    }

    /// The value of a metric, as `name{label="value"}` with labels in the order of the exposition; 0 if there is none.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    pub(crate) async fn metrics(&self) -> String {
        admin_text(self.admin, "/metrics").await.1
    }

    /// Waits until a metric has a value: counters of what happens after an answer was sent.
    pub(crate) async fn metric_reaches(&self, series: &str, value: f64) {
        until(series, async || (self.metric(series).await == value).then_some(())).await;
    }

    /// Waits until so many connections have a request under way.
    pub(crate) async fn active_reaches(&self, count: f64) {
        let active = format!(
            "breakwater_connections{{listener=\"{}\",state=\"active\"}}",
            self.address()
        );
        self.metric_reaches(&active, count).await;
    }

    /// The first `count` lines of the audit log.
    pub(crate) async fn audit(&self, count: usize) -> Vec<Value> {
        self.log("audit.log", count).await
    }

    /// The first `count` lines of the access log.
    pub(crate) async fn access(&self, count: usize) -> Vec<Value> {
        self.log("access.log", count).await
    }

    async fn log(&self, name: &str, count: usize) -> Vec<Value> {
        let path = self.logs.path().join(name);
        until(name, async || {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines: Vec<_> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
            (lines.len() >= count).then(|| lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect())
        })
        .await
    }
}

/// What the admin port answers.
pub(crate) async fn admin_text(admin: SocketAddr, path: &str) -> (u16, String) {
    let mut client = Client::connect(admin).await;
    let response = client.get("admin", path, "Connection: close\r\n").await;
    (response.status, response.text())
}
