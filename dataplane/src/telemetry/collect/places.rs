//! The databases of countries and autonomous systems.

use super::families::Families;
use crate::telemetry::Metrics;

pub(super) fn databases(metrics: &Metrics, out: &mut Families) {
    for state in metrics.databases() {
        let labels = [("database", state.database)];
        out.gauge(
            "geo_database_build_timestamp_seconds",
            "When the database in force was made, by its own word.",
            &labels,
            state.built as f64,
        );
        out.gauge(
            "geo_database_bytes",
            "Memory that the database in force takes.",
            &labels,
            state.bytes as f64,
        );
        out.counter(
            "geo_database_reload_failures_total",
            "Changed files that could not be used.",
            &labels,
            state.failures,
        );
        out.gauge(
            "geo_database_rejected",
            "1 while the file cannot be used and what was read before is in force.",
            &labels,
            f64::from(u8::from(state.rejected)),
        );
    }
}
