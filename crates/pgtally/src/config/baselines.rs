//! `[baselines]`: whether the proxy learns what routes usually run, and where it keeps that.

use std::path::PathBuf;

use pgtally_analysis::RollingSettings;

use super::layers::Layers;
use super::values::{duration, factor, requests_min, some_text, switch};

/// How baselines are learned and kept.
#[derive(Clone, Debug, PartialEq)]
pub struct BaselineSettings {
    /// Whether they are learned at all.
    pub is_on: bool,
    /// Where they survive a restart; nowhere else than in memory without it.
    pub state_file: Option<PathBuf>,
    /// When a route has regressed.
    pub rolling: RollingSettings,
}

/// Reads `[baselines]`.
pub(super) fn baseline_settings(layers: &mut Layers) -> BaselineSettings {
    let default = RollingSettings::default();
    let window = layers.or("baselines.window", "5min", duration);
    BaselineSettings {
        is_on: layers.or("baselines.enabled", "on", switch),
        state_file: layers.one("baselines.state_file", some_text).map(PathBuf::from),
        rolling: RollingSettings {
            window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX).max(1),
            requests_min: layers.or(
                "baselines.min_requests",
                &default.requests_min.to_string(),
                requests_min,
            ),
            ratio: layers.or("baselines.ratio", &default.ratio.to_string(), factor),
        },
    }
}
