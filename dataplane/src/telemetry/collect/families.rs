//! Prometheus metric families under construction.

use std::collections::BTreeMap;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// By name.
#[derive(Default)]
pub(super) struct Families(BTreeMap<&'static str, MetricFamily>);

impl Families {
    fn push(&mut self, name: &'static str, help: &str, kind: MetricType, metric: Metric) {
        let family = self.0.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(format!("breakwater_{name}"));
            family.set_field_type(kind);
            family
        });
        if family.help().is_empty() {
            family.set_help(help.to_owned());
        }
        family.mut_metric().push(metric);
    }

    pub(super) fn counter(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: u64) {
        let mut metric = labelled(labels);
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        metric.set_counter(counter);
        self.push(name, help, MetricType::COUNTER, metric);
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: f64) {
        let mut metric = labelled(labels);
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
        self.push(name, help, MetricType::GAUGE, metric);
    }

    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
        parts: impl Iterator<Item = (Vec<u64>, f64)>,
    ) {
        let mut counts = vec![0; bounds.len() + 1];
        let mut sum = 0.0;
        for (part, seconds) in parts {
            counts.iter_mut().zip(part).for_each(|(count, n)| *count += n);
            sum += seconds;
        }
        let mut histogram = Histogram::default();
        let mut below = 0;
        let mut buckets = Vec::new();
        for (bound, count) in bounds.iter().zip(&counts) {
            below += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(below);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(sum);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.push(name, help, MetricType::HISTOGRAM, metric);
    }

    pub(super) fn done(self) -> Vec<MetricFamily> {
        self.0.into_values().collect()
    }
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pairs = labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect();
    let mut metric = Metric::default();
    metric.set_label(pairs);
    metric
}

/// Counts of several workers, added up by label.
pub(super) fn sum<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> BTreeMap<&'a str, u64> {
    let mut sums = BTreeMap::new();
    for (label, n) in counts {
        *sums.entry(label).or_default() += n;
    }
    sums
}
