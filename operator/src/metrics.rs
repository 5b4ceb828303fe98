//! The operator's own metrics, in the Prometheus text format.
//!
//! Invariant: no label comes from outside unbounded; nodes and objects are counted, never named. Lists of addresses have
//! metrics of their own ([`ListMetrics`]).

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use breakwater_snapshot::Kind;

use crate::lists::ListMetrics;

/// The operator's metrics. Cheap to clone: clones are the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    nodes: IntGauge,
    streams: IntGauge,
    compile: Histogram,
    publishes: IntCounterVec,
    objects: IntGaugeVec,
    acks: IntCounterVec,
    status_writes: IntCounterVec,
    leader: IntGauge,
    watch_errors: IntCounterVec,
    lists: ListMetrics,
}

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    /// When a name is registered twice or malformed, which the tests rule out.
    pub fn new() -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| Opts::new(format!("breakwater_operator_{name}"), help);
        let compile = HistogramOpts::new(
            "breakwater_operator_compile_duration_seconds",
            "Time of one compile of all objects.",
        )
        .buckets(vec![0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]);
        let inner = Inner {
            registry: Registry::new(),
            nodes: IntGauge::with_opts(opts("nodes", "Nodes this replica has seen of late."))?,
            streams: IntGauge::with_opts(opts("streams", "Manifest streams open at this replica."))?,
            compile: Histogram::with_opts(compile)?,
            publishes: IntCounterVec::new(
                opts("compiles_total", "Compiles, by whether the manifest changed."),
                &["changed"],
            )?,
            objects: IntGaugeVec::new(opts("objects", "Objects, by kind and state."), &["kind", "state"])?,
            acks: IntCounterVec::new(opts("acks_total", "Acknowledgements of nodes, by result."), &["result"])?,
            status_writes: IntCounterVec::new(
                opts("status_writes_total", "Status writes, by kind and result."),
                &["kind", "result"],
            )?,
            leader: IntGauge::with_opts(opts("leader", "1 while this replica writes status."))?,
            watch_errors: IntCounterVec::new(
                opts(
                    "watch_errors_total",
                    "Failed watches, by resource; each is tried again.",
                ),
                &["resource"],
            )?,
            lists: ListMetrics::new("breakwater_operator")?,
        };
        inner.lists.register(&inner.registry)?;
        inner.registry.register(Box::new(inner.nodes.clone()))?;
        inner.registry.register(Box::new(inner.streams.clone()))?;
        inner.registry.register(Box::new(inner.compile.clone()))?;
        inner.registry.register(Box::new(inner.publishes.clone()))?;
        inner.registry.register(Box::new(inner.objects.clone()))?;
        inner.registry.register(Box::new(inner.acks.clone()))?;
        inner.registry.register(Box::new(inner.status_writes.clone()))?;
        inner.registry.register(Box::new(inner.leader.clone()))?;
        inner.registry.register(Box::new(inner.watch_errors.clone()))?;
        Ok(Self(Arc::new(inner)))
    }

    /// The text a scrape gets.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.0.registry.gather(), &mut text) {
            tracing::warn!(%error, "metrics could not be written");
        }
        text
    }

    pub(crate) fn lists(&self) -> ListMetrics {
        self.0.lists.clone()
    }

    pub(crate) fn nodes(&self, known: usize) {
        self.0.nodes.set(i64::try_from(known).unwrap_or(i64::MAX));
    }

    pub(crate) fn stream_opened(&self) {
        self.0.streams.inc();
    }

    pub(crate) fn stream_closed(&self) {
        self.0.streams.dec();
    }

    pub(crate) fn compiled(&self, took: Duration, changed: bool) {
        self.0.compile.observe(took.as_secs_f64());
        let changed = if changed { "true" } else { "false" };
        self.0.publishes.with_label_values(&[changed]).inc();
    }

    /// Sets the number of objects of `kind` that are in `state`.
    pub(crate) fn objects(&self, kind: Kind, state: &'static str, count: usize) {
        self.0
            .objects
            .with_label_values(&[kind.as_str(), state])
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn ack(&self, kept: bool) {
        self.0
            .acks
            .with_label_values(&[if kept { "ok" } else { "refused" }])
            .inc();
    }

    pub(crate) fn status_write(&self, kind: Kind, result: &'static str) {
        self.0.status_writes.with_label_values(&[kind.as_str(), result]).inc();
    }

    pub(crate) fn leader(&self, leads: bool) {
        self.0.leader.set(i64::from(leads));
    }

    pub(crate) fn watch_error(&self, resource: &'static str) {
        self.0.watch_errors.with_label_values(&[resource]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_and_shows() {
        let metrics = Metrics::new().unwrap();
        metrics.ack(true);
        metrics.leader(true);
        metrics.objects(Kind::EdgeCache, "accepted", 3);
        let text = String::from_utf8(metrics.render()).unwrap();
        for line in [
            "breakwater_operator_acks_total{result=\"ok\"} 1",
            "breakwater_operator_leader 1",
            "breakwater_operator_objects{kind=\"EdgeCache\",state=\"accepted\"} 3",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
