//! The aggregator's side of the baselines: learns from finished requests, tells of regressions, shows the gauges, and
//! has the state written now and then.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pgtally_analysis::{
    Detection, FindingId, FindingKind, Judgement, Moment, ParentLink, Request, RollingBaselines,
};
use tracing::info;

use super::Aggregator;
use crate::baselines::{Keeper, read, write};
use crate::clock::Clock;
use crate::config::BaselineSettings;
use crate::limits::STATE_INTERVAL;
use crate::metrics::Metrics;

/// Baselines, and who keeps them.
pub(super) struct Baselines {
    pub(super) rolling: RollingBaselines,
    is_on: bool,
    keeper: Option<Keeper>,
    interval: Duration,
    /// When the state is to be written; `None` while nothing has changed.
    due: Option<Moment>,
    /// Dropped requests that were counted already.
    dropped: u64,
}

impl Baselines {
    /// Reads the state file if there is one.
    pub(super) fn start(
        settings: &BaselineSettings,
        metrics: &Arc<Metrics>,
        clock: Clock,
    ) -> io::Result<Self> {
        let keeper = settings.state_file.clone().map(|path| Keeper::start(path, Arc::clone(metrics)));
        let mut baselines = Self {
            rolling: RollingBaselines::new(settings.rolling.clone()),
            is_on: settings.is_on,
            keeper: keeper.transpose()?,
            interval: interval(settings),
            due: None,
            dropped: 0,
        };
        baselines.take_found(clock);
        Ok(baselines)
    }

    pub(super) fn set(&mut self, settings: &BaselineSettings) {
        self.is_on = settings.is_on;
        self.interval = interval(settings);
        self.rolling.set(settings.rolling.clone());
    }

    /// When something is to be done next.
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.due
    }

    /// Has the state written when it is time.
    pub(super) fn advance(&mut self, now: Moment, clock: Clock) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        self.take_found(clock);
        let is_taken = self.keeper.as_ref().is_none_or(|keeper| keeper.save(write(&self.rolling)));
        if !is_taken {
            self.want_write(now);
        }
    }

    fn want_write(&mut self, now: Moment) {
        let wait = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        if self.keeper.is_some() {
            self.due.get_or_insert(Moment(now.0.saturating_add(wait)));
        }
    }

    /// Takes in what the file held when it became ours, which may be later than at the start.
    fn take_found(&mut self, clock: Clock) {
        let Some(state) = self.keeper.as_ref().and_then(Keeper::take_found) else { return };
        let now_ms = milliseconds(clock, clock.now());
        // The keeper has read it already.
        let routes = read(&state).unwrap_or_default();
        info!(routes = routes.len(), "baselines read");
        for route in routes {
            route.restore_to(&mut self.rolling, now_ms);
        }
    }

    /// Another process takes over.
    pub(super) fn release(&mut self) {
        if let Some(keeper) = &self.keeper {
            keeper.release(write(&self.rolling));
        }
    }

    /// Writes what is known, at the end.
    pub(super) fn finish(self) {
        if let Some(keeper) = self.keeper {
            keeper.finish(write(&self.rolling));
        }
    }
}

fn interval(settings: &BaselineSettings) -> Duration {
    STATE_INTERVAL.min(Duration::from_millis(settings.rolling.window_ms))
}

/// Milliseconds since 1970.
fn milliseconds(clock: Clock, moment: Moment) -> u64 {
    (clock.unix_seconds(moment) * 1e3) as u64
}

impl Aggregator {
    /// Learns from a finished request, whose route has the label `label`; tells when it shows a regression.
    pub(super) fn learn(&mut self, request: &Arc<Request>, label: &str, now: Moment) {
        if !self.baselines.is_on || self.requests.is_forgotten(request) {
            return;
        }
        let shapes = &self.shapes;
        // Its own time: many become due at the same moment.
        let now_ms = milliseconds(self.clock, request.ended());
        let text = |fingerprint| shapes.text(fingerprint);
        match self.baselines.rolling.observe(request, now_ms, &text) {
            Judgement::Skipped => return,
            Judgement::Quiet => self.baselines.want_write(now),
            Judgement::Regressed(detection) => {
                self.take_in_detections(request, vec![*detection], now);
                self.settle_regressions(now);
                self.baselines.want_write(now);
            }
            Judgement::Healed(id) => {
                self.findings.remove(id);
                info!(%id, route = &**request.route(), "regression over: the route runs what it used to");
                self.show_open_findings();
                self.baselines.want_write(now);
            }
        }
        self.show_baseline(request, label);
        let dropped = self.baselines.rolling.dropped();
        self.metrics.dropped_because("baselines", dropped - self.baselines.dropped);
        self.baselines.dropped = dropped;
    }

    /// The gauges are of the route's most trusted level, as levels are never mixed; and of requests only, as what alerts
    /// compare them with.
    fn show_baseline(&self, request: &Request, label: &str) {
        if label == crate::slots::OTHER {
            return;
        }
        let Some(standing) = self.baselines.rolling.standing_of(request.route()) else { return };
        if !standing.key.1.is_request() {
            return;
        }
        if let Some(baseline) = standing.baseline {
            self.metrics.route_baseline.with_label_values(&[label]).set(baseline);
        }
        if let Some(ratio) = standing.ratio() {
            self.metrics.route_regression.with_label_values(&[label]).set(ratio);
        }
    }

    /// Regressions that somebody has acknowledged are the new baseline.
    pub(super) fn settle_regressions(&mut self, now: Moment) {
        let is_settled = |finding: &&pgtally_analysis::Finding| {
            finding.worst.kind == FindingKind::QueryCountRegression
                && finding.state == pgtally_analysis::FindingState::Acked
        };
        let settled: Vec<FindingId> = self.findings.iter().filter(is_settled).map(|it| it.worst.id).collect();
        let now_ms = milliseconds(self.clock, now);
        for id in settled {
            if self.baselines.rolling.accept(id, now_ms) {
                info!(%id, "regression acknowledged: what the route runs now is its baseline");
                self.baselines.want_write(now);
            }
        }
    }

    /// Remembers whose rows feed repeated statements, for the words of a regression.
    pub(super) fn link_parents(&mut self, request: &Request, detections: &[Detection]) {
        for detection in detections {
            let Some(parent) = detection.parent.as_ref().filter(|parent| !parent.column.is_empty()) else {
                continue;
            };
            let link = ParentLink { fingerprint: parent.fingerprint, column: parent.column.clone() };
            let rolling = &mut self.baselines.rolling;
            rolling.link(request.route(), request.attribution(), detection.fingerprint, link);
        }
    }

    /// A deploy begins to serve.
    pub(super) fn note_deploy(&mut self, version: &str) {
        let now = self.clock.now();
        info!(version, "deploy noted");
        self.baselines.rolling.deploy(version, milliseconds(self.clock, now));
        self.baselines.want_write(now);
    }
}
