//! The state file with other owners, without room, and with other things in it.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use pgtally_analysis::{
    Attribution, CountDistribution, Generation, RollingBaselines, RollingSettings, RouteBaseline,
};

use super::*;

/// Baselines of one route of `queries` statements.
fn state(queries: u64) -> Vec<u8> {
    let mut baselines = RollingBaselines::new(RollingSettings::default());
    let mut counts = CountDistribution::default();
    counts.add(queries, 10);
    let route = RouteBaseline { requests: 10, queries: counts, ..RouteBaseline::default() };
    let generation = Generation { route, queries: 10 * queries };
    baselines.restore(("/a\u{1b}".into(), Attribution::Tag), generation, "1.4".into(), None, 0);
    write(&baselines)
}

fn mean(state: &[u8]) -> Option<f64> {
    let mut baselines = RollingBaselines::new(RollingSettings::default());
    read(state).unwrap().into_iter().for_each(|route| route.restore_to(&mut baselines, 0));
    baselines.standings().next().and_then(|standing| standing.baseline)
}

struct Bench {
    folder: tempfile::TempDir,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), metrics: Arc::new(Metrics::new().unwrap()) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("baselines.json")
    }

    fn keeper(&self) -> Keeper {
        Keeper::start(self.path(), Arc::clone(&self.metrics)).unwrap()
    }

    fn count(&self, result: &str) -> u64 {
        self.metrics.baseline_saves.with_label_values(&[result]).get()
    }
}

/// Waits for what another thread does.
fn wait_for<T>(what: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    loop {
        match what() {
            Some(it) => return it,
            None => assert!(Instant::now() < deadline, "it does not happen"),
        }
        thread::yield_now();
    }
}

#[test]
fn what_is_written_is_found_again_and_nobody_else_may_read_it() {
    let bench = Bench::new();
    assert_eq!(bench.keeper().take_found(), None);
    bench.keeper().finish(state(3));
    let keeper = bench.keeper();
    assert_eq!(keeper.take_found().as_deref().and_then(mean), Some(3.0));
    assert_eq!(keeper.take_found(), None, "it is given once");
    assert_eq!(std::fs::metadata(bench.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> =
        std::fs::read_dir(bench.folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the file and its lock: {names:?}");
}

#[test]
fn what_cannot_be_read_is_put_aside() {
    let good = String::from_utf8(state(3)).unwrap();
    for bad in [
        "",
        "{}",
        &good[..good.len() / 2],
        &good.replace("pgtally-baselines", "something"),
        &good.replace("\"version\":1", "\"version\":2"),
        &good.replace("\"requests\":10", "\"requests\":11"),
        &good.replace("\"tag\"", "\"hat\""),
    ] {
        let bench = Bench::new();
        std::fs::write(bench.path(), bad).unwrap();
        let keeper = bench.keeper();
        assert_eq!((keeper.take_found(), bench.count("unreadable")), (None, 1), "{bad}");
        let aside = bench.folder.path().join("baselines.json.unreadable");
        assert_eq!(std::fs::read_to_string(aside).unwrap(), bad);
        keeper.finish(state(4));
        assert_eq!(mean(&std::fs::read(bench.path()).unwrap()), Some(4.0));
    }
}

#[test]
fn the_second_of_two_writes_nothing_and_takes_over_when_the_first_is_gone() {
    let bench = Bench::new();
    let first = bench.keeper();
    let second = bench.keeper();
    assert_eq!(bench.count("locked"), 1);
    second.save(state(9));
    first.release(state(3));
    let found = wait_for(|| second.take_found());
    assert_eq!(mean(&found), Some(3.0));
    // Whoever has released writes no more, even at its end.
    first.finish(state(7));
    assert_eq!(mean(&std::fs::read(bench.path()).unwrap()), Some(3.0));
    second.finish(state(5));
    assert_eq!(mean(&std::fs::read(bench.path()).unwrap()), Some(5.0));
}

#[test]
fn a_disk_without_room_costs_the_new_state_only() {
    let bench = Bench::new();
    bench.keeper().finish(state(3));
    let keeper = bench.keeper();
    // A folder where the new file should be: as little use as a full disk.
    let obstacle = bench.folder.path().join("baselines.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    keeper.save(state(4));
    wait_for(|| (bench.count("failed") == 1).then_some(()));
    assert_eq!(mean(&std::fs::read(bench.path()).unwrap()), Some(3.0));
    std::fs::remove_dir(&obstacle).unwrap();
    keeper.finish(state(5));
    assert_eq!(mean(&std::fs::read(bench.path()).unwrap()), Some(5.0));
}

#[test]
fn a_folder_that_is_not_there_is_an_error_and_no_more() {
    let bench = Bench::new();
    let keeper =
        Keeper::start(bench.folder.path().join("none/baselines.json"), Arc::clone(&bench.metrics)).unwrap();
    assert_eq!(bench.count("failed"), 1);
    keeper.finish(state(3));
}
