//! Label values of the aggregator's metrics: sticky slots, and the removal of the series of values that lost theirs.

use std::sync::Arc;

use pgtally_analysis::Moment;
use pgtally_fingerprint::Fingerprint;

use crate::metrics::{DATABASE_SLOTS, FINGERPRINT_SLOTS, Metrics, ROUTE_SLOTS};
use crate::slots::{Label, Slots};

/// The slots of all open-ended labels.
pub(crate) struct Labels {
    metrics: Arc<Metrics>,
    databases: Slots,
    fingerprints: Slots,
    routes: Slots,
}

impl Labels {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            databases: Slots::new(DATABASE_SLOTS),
            fingerprints: Slots::new(FINGERPRINT_SLOTS),
            routes: Slots::new(ROUTE_SLOTS),
        }
    }

    pub(crate) fn database(&mut self, name: &str, times: u64, now: Moment) -> Arc<str> {
        use_label(&self.metrics, "database", self.databases.label(name, times, now))
    }

    pub(crate) fn fingerprint(&mut self, fingerprint: Fingerprint, times: u64, now: Moment) -> Arc<str> {
        use_label(&self.metrics, "fingerprint", self.fingerprints.label(&fingerprint.to_string(), times, now))
    }

    pub(crate) fn route(&mut self, route: &str, now: Moment) -> Arc<str> {
        use_label(&self.metrics, "route", self.routes.label(route, 1, now))
    }
}

fn use_label(metrics: &Metrics, name: &str, label: Label) -> Arc<str> {
    if label.is_overflow {
        metrics.label_overflow.with_label_values(&[name]).inc();
    }
    if let Some(evicted) = label.evicted {
        metrics.forget(name, &evicted);
    }
    label.value
}
