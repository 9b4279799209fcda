//! Executions of one statement against the rows of another: a regression line from running sums.

use pgtally_fingerprint::Fingerprint;

use crate::finding::Growth;
use crate::limits::{GROWTH_REQUESTS_MAX, GROWTH_SIZES_MAX};
use crate::settings::GrowthSettings;

/// One (parent, child) of a route.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) parent: Fingerprint,
    pub(super) child: Fingerprint,
    used: u64,
    /// Requests seen, and their weight after fading.
    requests: u32,
    weight: f64,
    rows_mean: f64,
    executions_mean: f64,
    /// Sums of squared differences from the means, and of their products.
    rows_squares: f64,
    executions_squares: f64,
    products: f64,
    /// The first different sizes of the parent's result.
    sizes: Vec<u64>,
    /// The last request had a size not seen before.
    is_size_new: bool,
}

impl Pair {
    pub(super) fn new(parent: Fingerprint, child: Fingerprint) -> Self {
        Self {
            parent,
            child,
            used: 0,
            requests: 0,
            weight: 0.0,
            rows_mean: 0.0,
            executions_mean: 0.0,
            rows_squares: 0.0,
            executions_squares: 0.0,
            products: 0.0,
            sizes: Vec::new(),
            is_size_new: false,
        }
    }

    /// Number of the request that used it last.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Adds one request (Welford's method: no large sums that differ by little).
    #[expect(clippy::cast_precision_loss, reason = "a result of 2^53 rows is unheard of")]
    pub(super) fn observe(&mut self, rows: u64, executions: u32, used: u64) {
        self.used = used;
        self.is_size_new = self.sizes.len() < GROWTH_SIZES_MAX && !self.sizes.contains(&rows);
        if self.is_size_new {
            self.sizes.push(rows);
        }
        self.requests = self.requests.saturating_add(1);
        self.weight += 1.0;
        let (rows, executions) = (rows as f64, f64::from(executions));
        let from_mean = rows - self.rows_mean;
        let executions_from_mean = executions - self.executions_mean;
        self.rows_mean += from_mean / self.weight;
        self.executions_mean += executions_from_mean / self.weight;
        self.rows_squares += from_mean * (rows - self.rows_mean);
        self.executions_squares += executions_from_mean * (executions - self.executions_mean);
        self.products += from_mean * (executions - self.executions_mean);
        if self.weight >= f64::from(GROWTH_REQUESTS_MAX) {
            self.fade();
        }
    }

    /// Halves what is known, so that a changed page shows in a hundred requests instead of never.
    fn fade(&mut self) {
        self.weight /= 2.0;
        self.rows_squares /= 2.0;
        self.executions_squares /= 2.0;
        self.products /= 2.0;
    }

    /// Whether the last request was the one from which on the line says something.
    pub(super) fn is_just_known(&self, settings: &GrowthSettings) -> bool {
        let is_first = self.requests == settings.requests_min
            || (self.requests > settings.requests_min
                && self.is_size_new
                && self.sizes.len() == settings.sizes_min);
        is_first && self.growth(settings).is_some()
    }

    /// What the line says, once enough requests of different sizes were seen.
    pub(super) fn growth(&self, settings: &GrowthSettings) -> Option<Growth> {
        let is_enough = self.requests >= settings.requests_min && self.sizes.len() >= settings.sizes_min;
        if !is_enough || self.rows_squares <= 0.0 {
            return None;
        }
        let slope = self.products / self.rows_squares;
        // Without any variance a flat line explains everything, which no growth should be made of.
        let fit = if self.executions_squares <= 0.0 {
            0.0
        } else {
            self.products * self.products / (self.rows_squares * self.executions_squares)
        };
        Some(Growth { slope, fit, requests: self.requests })
    }
}
