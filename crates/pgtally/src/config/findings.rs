//! Thresholds of the rules, for all routes and for single ones, and the file of acknowledgements.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgtally_analysis::{Acks, FindingSettings, TimeSettings};

use super::Config;
use super::layers::Layers;
use super::nanoseconds;
use super::values::{duration, mode, repeats_min, some_text};
use crate::acks;

/// Reads `[findings]`.
pub(super) fn finding_settings(layers: &mut Layers) -> FindingSettings {
    let mut settings = layers.or("findings.mode", "production", mode);
    for (name, field) in repeats(&mut settings) {
        *field = layers.or(&format!("findings.{name}"), &field.to_string(), repeats_min);
    }
    times(layers, "findings", &mut settings);
    if let Some(acks) = layers.one("findings.acknowledgements", read_acks) {
        settings.acks = Arc::new(acks);
    }
    for (route, path) in layers.tables_under("findings.routes") {
        let mut own = settings.clone();
        own.routes.clear();
        for (name, field) in repeats(&mut own) {
            if let Some(value) = layers.one_of(&path, name, repeats_min) {
                *field = value;
            }
        }
        times(layers, &path, &mut own);
        settings.routes.insert(route, own);
    }
    settings
}

impl Config {
    /// The file of acknowledgements.
    pub(crate) fn acknowledgements_file(&self) -> Option<PathBuf> {
        let setting = self.effective.iter().find(|it| it.path == "findings.acknowledgements")?;
        setting.text().map(PathBuf::from)
    }

    /// Has `acks` count for every route.
    pub(crate) fn set_acknowledgements(&mut self, acks: Acks) {
        let acks = Arc::new(acks);
        for route in self.findings.routes.values_mut() {
            route.acks = Arc::clone(&acks);
        }
        self.findings.acks = acks;
    }
}

/// Thresholds that are numbers, by the names of their settings.
fn repeats(settings: &mut FindingSettings) -> [(&'static str, &mut u32); 6] {
    [
        ("n_plus_one_repeats", &mut settings.linked_repeats_min),
        ("n_plus_one_unlinked_repeats", &mut settings.unlinked_repeats_min),
        ("n_plus_one_write_repeats", &mut settings.write_round_trips_min),
        ("duplicate_repeats", &mut settings.duplicate_repeats_min),
        ("chatty_statements", &mut settings.chatty_statements_min),
        ("unbounded_rows", &mut settings.unbounded_rows_min),
    ]
}

/// Thresholds that are times. What is written counts in test runs, too.
fn times(layers: &mut Layers, section: &str, settings: &mut FindingSettings) {
    if let Some(slow) = layers.one_of(section, "slow_statement", duration) {
        settings.slow_ns = Some(nanoseconds(slow));
    }
    if let Some(idle) = layers.one_of(section, "idle_in_transaction", duration) {
        let idle_ns = nanoseconds(idle);
        let never = TimeSettings {
            sequential_ns: u64::MAX,
            waiting_share: 1.0,
            waiting_ns: u64::MAX,
            idle_written_ns: idle_ns,
            idle_ns,
        };
        let times = settings.times.get_or_insert(never);
        // Without a write nothing is locked: such a transaction may wait four times as long.
        (times.idle_written_ns, times.idle_ns) = (idle_ns, idle_ns.saturating_mul(4));
    }
}

fn read_acks(path: &str) -> Result<Acks, String> {
    let path = some_text(path)?;
    let text =
        std::fs::read_to_string(Path::new(&path)).map_err(|error| format!("cannot be read: {error}"))?;
    acks::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str) -> Result<FindingSettings, Vec<String>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgtally.toml");
        std::fs::write(directory.path().join("acks.toml"), "[[ack]]\nkind = 'duplicate'\nreason = 'x'\n")
            .unwrap();
        std::fs::write(directory.path().join("broken.toml"), "[[ack]]\nkind = 'duplicate'\n").unwrap();
        std::fs::write(&path, file.replace("DIR", &directory.path().display().to_string())).unwrap();
        let errors = |errors: super::super::ConfigErrors| {
            errors.0.into_iter().map(|error| error.path).collect::<Vec<_>>()
        };
        Config::load(Some(&path), [], []).map(|config| config.findings).map_err(errors)
    }

    #[test]
    fn routes_override_single_thresholds() {
        let settings = load(
            "[findings]\nduplicate_repeats = 7\nidle_in_transaction = '1s'\n\
             [findings.routes.\"/orders\"]\nn_plus_one_repeats = 9\nslow_statement = '2s'\n\
             [findings.routes.\"shop.views.Cart\"]\nchatty_statements = 200\n",
        )
        .unwrap();
        let orders = settings.of("/orders");
        assert_eq!((orders.linked_repeats_min, orders.duplicate_repeats_min), (9, 7));
        assert_eq!(orders.slow_ns, Some(2_000_000_000));
        assert_eq!(settings.of("shop.views.Cart").chatty_statements_min, 200);
        assert_eq!(settings.of("/else").linked_repeats_min, 5);
        let times = settings.times.unwrap();
        assert_eq!((times.idle_written_ns, times.idle_ns), (1_000_000_000, 4_000_000_000));
    }

    #[test]
    fn routes_that_begin_alike_keep_their_thresholds() {
        let settings = load(
            "[findings.routes.\"orders\"]\nchatty_statements = 200\nslow_statement = '2s'\n\
             [findings.routes.\"orders.index\"]\nn_plus_one_repeats = 9\n",
        )
        .unwrap();
        let orders = settings.of("orders");
        assert_eq!((orders.chatty_statements_min, orders.slow_ns), (200, Some(2_000_000_000)));
        assert_eq!(settings.of("orders.index").linked_repeats_min, 9);
    }

    #[test]
    fn run_mode_has_its_own_defaults() {
        let settings = load("[findings]\nmode = 'run'\nduplicate_repeats = 4\n").unwrap();
        assert_eq!((settings.linked_repeats_min, settings.duplicate_repeats_min), (2, 4));
        assert!(settings.times.is_none() && settings.slow_ns.is_none());
    }

    #[test]
    fn acknowledgements_come_from_a_file() {
        let settings = load("[findings]\nacknowledgements = 'DIR/acks.toml'\n").unwrap();
        assert_eq!(settings.acks.entries().len(), 1);
    }

    #[test]
    fn mistakes_are_told_by_path() {
        assert_eq!(
            load(
                "[findings]\nacknowledgements = 'DIR/broken.toml'\n\
                 [findings.routes.\"/a.b\"]\nn_plus_one_repeats = 1\nmode = 'run'\n"
            )
            .unwrap_err(),
            [
                "findings.acknowledgements",
                "findings.routes./a.b.n_plus_one_repeats",
                "findings.routes./a.b.mode"
            ]
        );
        assert_eq!(load("[findings]\nacknowledgements = 'DIR/none.toml'\n").unwrap_err().len(), 1);
    }
}
