//! The histogram of statement durations, filled in bulk.
//!
//! Workers count into plain buckets. The library's own histogram can only observe one value at a time, which would
//! make every batch cost as much as its statements; this collector adds whole bucket arrays and renders the same.

use std::sync::{Arc, Mutex, PoisonError};

use pgtally_analysis::{Counters, DURATION_BUCKETS, Durations};
use pgtally_fingerprint::Kind;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// Durations of one source by kind, in the order of [`Kind::ALL`].
type ByKind = [Durations; Kind::ALL.len()];

/// Where answers come from, as the label says.
const SOURCES: [&str; 2] = ["upstream", "cache"];

/// Durations by source and kind. Clones share their counts.
#[derive(Clone, Debug)]
pub(crate) struct DurationHistograms {
    desc: Desc,
    by_source: Arc<Mutex<[ByKind; SOURCES.len()]>>,
}

impl DurationHistograms {
    pub(crate) fn new(name: &str, help: &str) -> prometheus::Result<Self> {
        let labels = vec!["kind".into(), "source".into()];
        let desc = Desc::new(name.into(), help.into(), labels, std::collections::HashMap::new())?;
        Ok(Self { desc, by_source: Arc::default() })
    }

    /// Adds what a worker counted.
    pub(crate) fn add(&self, counters: &Counters) {
        let mut by_source = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = counters.durations.iter().chain(&counters.served_durations);
        for (sum, more) in by_source.as_flattened_mut().iter_mut().zip(counted) {
            for (count, more) in sum.buckets.iter_mut().zip(more.buckets) {
                *count += more;
            }
            sum.sum_ns = sum.sum_ns.saturating_add(more.sum_ns);
        }
    }
}

impl Collector for DurationHistograms {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let by_source = *self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        let all = SOURCES.iter().zip(&by_source).flat_map(|(source, by_kind)| {
            Kind::ALL.iter().zip(by_kind).map(move |(kind, sums)| (*kind, *source, sums))
        });
        let seen = all.filter(|(.., sums)| sums.buckets.iter().any(|count| *count > 0));
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(seen.map(|(kind, source, sums)| metric(kind, source, sums)).collect());
        vec![family]
    }
}

fn metric(kind: Kind, source: &str, sums: &Durations) -> Metric {
    let mut cumulative = 0;
    let mut buckets = Vec::with_capacity(DURATION_BUCKETS.len());
    for (bound, count) in DURATION_BUCKETS.iter().zip(sums.buckets) {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(cumulative);
        buckets.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(sums.buckets.iter().sum());
    histogram.set_sample_sum(sums.sum_ns as f64 / 1e9);
    let mut metric = Metric::from_label(vec![label("kind", kind.name()), label("source", source)]);
    metric.set_histogram(histogram);
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.into());
    label.set_value(value.into());
    label
}
