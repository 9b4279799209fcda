//! What a reload takes over from a new configuration, and what keeps running as it was.
//!
//! Sockets, threads and what sessions already hold cannot change under them; those settings are named to the operator,
//! at every reload, for as long as they differ from what runs.

use serde::Serialize;

use super::{BaselineSettings, CacheSettings, Config, ConfigErrors, Effective, contradictions};

/// Settings that count from the next start on.
const RESTART_ONLY: [&str; 16] = [
    "admin.listen",
    "cache.ambiguous_hold",
    "cache.ask_locks",
    "cache.capacity",
    "cache.database_share",
    "cache.enabled",
    "cache.keep_alive",
    "cache.wait",
    "baselines.state_file",
    "capture.parameters",
    "log.format",
    "relay.analysis",
    "relay.listen",
    "relay.workers",
    "requests.id_tags",
    "requests.idle_gap",
];

/// What a reload has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Paths of the settings that have a new value.
    pub changed: Vec<String>,
    /// Paths of the settings whose new value counts only after a restart.
    pub restart_needed: Vec<String>,
}

impl Config {
    /// This configuration read anew from where it came from: the file may have changed.
    ///
    /// # Errors
    /// All errors of all layers at once; this configuration stays as it is.
    pub fn reread(&self) -> Result<Self, ConfigErrors> {
        let sources = &*self.sources;
        Self::load(
            sources.file.as_deref(),
            sources.environment.iter().cloned(),
            sources.flags.iter().cloned(),
        )
    }

    /// What runs after a reload: `new`, with the settings of this configuration where they cannot change.
    ///
    /// # Errors
    /// When what would run then contradicts itself.
    pub fn merged_with(&self, new: Self) -> Result<(Self, Reloaded), ConfigErrors> {
        let mut reloaded = Reloaded::default();
        let mut merged = Self {
            admin: self.admin,
            cache: CacheSettings { policy: new.cache.policy.clone(), ..self.cache.clone() },
            baselines: BaselineSettings { state_file: self.baselines.state_file.clone(), ..new.baselines },
            is_analysis_on: self.is_analysis_on,
            listen: self.listen.clone(),
            log_format: self.log_format,
            observer: self.observer.clone(),
            workers: self.workers,
            ..new
        };
        for new in &mut merged.effective {
            let Some(old) = self.effective.iter().find(|old| old.path == new.path) else {
                reloaded.changed.push(new.path.clone());
                continue;
            };
            if old.has_value_of(new) {
                continue;
            }
            if RESTART_ONLY.contains(&old.path.as_str()) {
                reloaded.restart_needed.push(old.path.clone());
                *new = old.clone();
            } else {
                reloaded.changed.push(old.path.clone());
            }
        }
        // Only what was written is shown of routes: some of it may be gone.
        let is_gone = |old: &&Effective| merged.effective.iter().all(|new| new.path != old.path);
        reloaded.changed.extend(self.effective.iter().filter(is_gone).map(|old| old.path.clone()));
        // Each of the two was fine; the mixture need not be, such as a token taken away from an open listener.
        match contradictions(&merged) {
            errors if errors.is_empty() => Ok((merged, reloaded)),
            errors => Err(ConfigErrors(errors)),
        }
    }
}
