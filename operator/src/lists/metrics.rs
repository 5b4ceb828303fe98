//! Metrics of lists: age, entries, fetches.
//!
//! Invariant: a list is named by the beginning of its URL's digest, and only while it is wanted, so there are at most as many
//! series as there may be URLs.

use std::collections::BTreeSet;

use prometheus::core::Collector;
use prometheus::{Encoder, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use super::Record;

/// Digits of a list's key that name it.
const DIGITS: usize = 12;

/// The metrics. Cheap to clone: clones are the same.
#[derive(Clone, Debug)]
pub struct ListMetrics {
    entries: IntGaugeVec,
    confirmed: GaugeVec,
    failing: IntGaugeVec,
    fetches: IntCounterVec,
}

impl ListMetrics {
    /// Metrics whose names begin with `prefix`, such as `breakwater`.
    ///
    /// # Errors
    /// When a name is malformed, which the tests rule out.
    pub fn new(prefix: &str) -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| Opts::new(format!("{prefix}_address_list_{name}"), help);
        Ok(Self {
            entries: IntGaugeVec::new(opts("entries", "Entries of a list behind a URL."), &["list"])?,
            confirmed: GaugeVec::new(
                opts(
                    "confirmed_timestamp_seconds",
                    "When the server of a list last gave it or said that it is the same.",
                ),
                &["list"],
            )?,
            failing: IntGaugeVec::new(opts("failing", "1 while a list cannot be fetched."), &["list"])?,
            fetches: IntCounterVec::new(
                opts("fetches_total", "Fetches of lists, by result."),
                &["list", "result"],
            )?,
        })
    }

    /// Registers them.
    ///
    /// # Errors
    /// When one is registered already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let all: [Box<dyn Collector>; 4] = [
            Box::new(self.entries.clone()),
            Box::new(self.confirmed.clone()),
            Box::new(self.failing.clone()),
            Box::new(self.fetches.clone()),
        ];
        all.into_iter().try_for_each(|one| registry.register(one))
    }

    /// The text a scrape gets, where they are in no registry.
    pub fn render(&self, out: &mut Vec<u8>) {
        let mut families = self.entries.collect();
        families.extend(self.confirmed.collect());
        families.extend(self.failing.collect());
        families.extend(self.fetches.collect());
        families.retain(|family| !family.get_metric().is_empty());
        if let Err(error) = TextEncoder::new().encode(&families, out) {
            tracing::warn!(%error, "metrics of lists could not be written");
        }
    }

    pub(super) fn show(&self, record: &Record) {
        let list = name(&record.key);
        let entries = record.list.as_ref().map_or(0, |list| list.entries);
        self.entries
            .with_label_values(&[list])
            .set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.confirmed
            .with_label_values(&[list])
            .set(record.confirmed.map_or(0.0, |time| time.as_second() as f64));
        self.failing
            .with_label_values(&[list])
            .set(i64::from(record.failure.is_some()));
    }

    pub(super) fn fetched(&self, key: &str, result: &'static str) {
        self.fetches.with_label_values(&[name(key), result]).inc();
    }

    /// Forgets what is not wanted any more.
    pub(super) fn forget<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        for key in keys.collect::<BTreeSet<_>>() {
            let list = name(key);
            let _ = self.entries.remove_label_values(&[list]);
            let _ = self.confirmed.remove_label_values(&[list]);
            let _ = self.failing.remove_label_values(&[list]);
            for result in ["changed", "unchanged", "failed"] {
                let _ = self.fetches.remove_label_values(&[list, result]);
            }
        }
    }
}

fn name(key: &str) -> &str {
    key.get(..DIGITS).unwrap_or(key)
}
