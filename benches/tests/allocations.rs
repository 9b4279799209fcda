//! A statement of a known shape allocates nothing: counted, not guessed.
//!
//! A request's list of records grows by doubling, so the statements measured lie between two doublings; what a whole
//! request may allocate is bounded apart from that.

use allocation_counter::measure;
use pgtally_analysis::limits::RECORDS_MAX;
use pgtally_benches::session::REQUEST_STATEMENTS;
use pgtally_benches::{Scenario, Session};

/// Room for what belongs to a request: its key, its records, its sampled rows.
const ALLOCATIONS_PER_REQUEST_MAX: u64 = 40;

/// The long result differs from the others by nothing but the time it takes.
fn scenarios() -> impl Iterator<Item = Scenario> {
    Scenario::ALL.into_iter().filter(|scenario| scenario.rows <= 50)
}

/// Those of one session, whose requests end.
fn requests() -> impl Iterator<Item = Scenario> {
    scenarios().filter(|scenario| scenario.sessions == 1)
}

fn run(session: &mut Session, statements: u64) {
    for _ in 0..statements {
        assert_eq!(session.run_in_request(), Ok(()));
    }
}

#[test]
fn a_statement_of_a_known_shape_allocates_nothing() {
    for scenario in requests() {
        let mut session = Session::start(scenario).expect("the login is observed");
        session.begin_request();
        run(&mut session, 1_100);
        let allocations = measure(|| run(&mut session, 800));
        assert_eq!(allocations.count_total, 0, "{}: {allocations:?}", scenario.name);
    }
}

#[test]
fn a_statement_beyond_the_recorded_ones_allocates_nothing() {
    for scenario in scenarios() {
        let mut session = Session::start(scenario).expect("the login is observed");
        session.begin_request();
        let sessions = scenario.sessions as u64;
        run(&mut session, sessions * (RECORDS_MAX as u64 + 10));
        let allocations = measure(|| run(&mut session, 1_000));
        assert_eq!(allocations.count_total, 0, "{}: {allocations:?}", scenario.name);
    }
}

#[test]
fn a_request_allocates_little() {
    for scenario in requests() {
        let mut session = Session::start(scenario).expect("the login is observed");
        let mut one = || {
            session.begin_request();
            run(&mut session, REQUEST_STATEMENTS);
            session.tick();
        };
        (0..5).for_each(|_| one());
        let allocations = measure(one);
        println!("{}: {} allocations per request", scenario.name, allocations.count_total);
        assert!(allocations.count_total <= ALLOCATIONS_PER_REQUEST_MAX, "{}: {allocations:?}", scenario.name);
    }
}
