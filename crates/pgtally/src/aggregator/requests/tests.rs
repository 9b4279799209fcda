//! When requests are evaluated, recorded, kept and forgotten.

use pgtally_analysis::{Attribution, Origin};

use super::*;

pub(in crate::aggregator) fn part(key: &str, started_ms: u64) -> RequestPart {
    let started = Moment(started_ms * 1_000_000);
    RequestPart {
        key: key.into(),
        attribution: Attribution::Trace,
        route: "/a".into(),
        origin: Origin::default(),
        session: 1,
        started,
        ended: started,
        statements: 1,
        database_ns: 1,
        records: Vec::new(),
        keys: Vec::new(),
        samples: Vec::new(),
        samples_dropped: 0,
        cells: Vec::new(),
        row_columns: Vec::new(),
        pauses: Vec::new(),
        rollbacks: Vec::new(),
        wide_columns: Vec::new(),
    }
}

/// The open request of this key.
fn open<'a>(requests: &'a Requests, key: &str) -> &'a Open {
    &requests.open[&Identity::of(&part(key, 0))]
}

fn at_ms(milliseconds: u64) -> Moment {
    Moment(milliseconds * 1_000_000)
}

fn steps_until(requests: &mut Requests, now: Moment) -> Vec<(u64, Step)> {
    std::iter::from_fn(|| requests.take_due(now)).map(|(request, step)| (request.queries(), step)).collect()
}

#[test]
fn a_request_is_evaluated_when_quiet_and_recorded_once() {
    let mut requests = Requests::default();
    requests.absorb(part("a", 0), at_ms(0));
    requests.absorb(part("a", 5), at_ms(200));
    assert_eq!(steps_until(&mut requests, at_ms(499)), []);
    assert_eq!(steps_until(&mut requests, at_ms(500)), [(2, Step::Evaluate)]);
    assert_eq!(steps_until(&mut requests, at_ms(2_200)), [(2, Step::Record)]);
    let late = requests.absorb(part("a", 10), at_ms(3_000));
    assert_eq!(late.iter().map(|(_, step)| *step).collect::<Vec<_>>(), [Step::Late]);
    assert_eq!(steps_until(&mut requests, at_ms(10_000)), [(3, Step::Evaluate)]);
    assert_eq!(steps_until(&mut requests, at_ms(60_000)), []);
    assert!(requests.open.is_empty() && requests.next_due().is_none());
    assert_eq!((requests.open_bytes, requests.recent.len()), (0, 1));
}

#[test]
fn programs_that_use_one_id_have_requests_of_their_own() {
    let mut requests = Requests::default();
    let of = |application_name: &str| {
        let origin = Origin { application_name: application_name.into(), ..Origin::default() };
        RequestPart { origin, ..part("request_id:1", 0) }
    };
    for application_name in ["billing", "shop", "billing"] {
        requests.absorb(of(application_name), at_ms(0));
    }
    let mut found = steps_until(&mut requests, at_ms(300));
    found.sort_by_key(|(queries, _)| *queries);
    assert_eq!(found, [(1, Step::Evaluate), (2, Step::Evaluate)]);
    assert_eq!(requests.all(vec![of("shop"), of("search")]).len(), 3);
}

#[test]
fn open_requests_are_bounded_and_none_is_lost() {
    let mut requests = Requests::default();
    let mut steps = 0;
    for n in 0..OPEN_REQUESTS_MAX as u64 + 10 {
        steps += requests.absorb(part(&n.to_string(), n), at_ms(n)).len();
    }
    assert_eq!((requests.open.len(), steps), (OPEN_REQUESTS_MAX, 20), "the oldest are finished early");
}

#[test]
fn the_recent_ones_are_bounded() {
    let mut requests = Requests::default();
    for n in 0..RECENT_REQUESTS_MAX as u64 * 2 {
        requests.keep(Arc::new(Request::new(part(&n.to_string(), n))), 100);
    }
    assert_eq!(requests.recent.len(), RECENT_REQUESTS_MAX);
    requests.keep(Arc::new(Request::new(part("big", 0))), RECENT_BYTES_MAX - 50);
    assert_eq!(requests.recent.len(), 1);
    assert!(requests.recent_bytes <= RECENT_BYTES_MAX);
}

#[test]
fn parts_that_are_open_right_now_are_shown_with_the_rest() {
    let mut requests = Requests::default();
    requests.absorb(part("a", 0), at_ms(0));
    requests.keep(Arc::new(Request::new(part("b", 1))), 1);
    let mut all: Vec<_> = requests.all(vec![part("a", 2), part("c", 3)]);
    all.sort_by_key(|(request, _)| Arc::clone(request.key()));
    let shown: Vec<_> =
        all.iter().map(|(request, is_open)| (&**request.key(), request.queries(), *is_open)).collect();
    assert_eq!(shown, [("a", 2, true), ("b", 1, false), ("c", 1, true)]);
    assert_eq!(open(&requests, "a").request.queries(), 1, "a question changes nothing");
}

#[test]
fn parts_of_a_unit_make_one_request() {
    let mut requests = Requests::default();
    let unit = |started_ms| RequestPart { attribution: Attribution::Session, ..part("1.1", started_ms) };
    requests.absorb(unit(0), at_ms(600));
    assert_eq!(steps_until(&mut requests, at_ms(900)), [(1, Step::Evaluate)]);
    requests.absorb(unit(1_000), at_ms(1_600));
    assert_eq!(
        steps_until(&mut requests, at_ms(3_600)),
        [(2, Step::Evaluate), (2, Step::Record)],
        "one unit, recorded once"
    );
}

#[test]
fn a_part_handed_over_for_its_age_does_not_end_its_request() {
    let mut requests = Requests::default();
    let aged = |started_ms: u64| {
        let ended = at_ms(started_ms + 30_000);
        RequestPart { ended, ..part("1.1", started_ms) }
    };
    let mut steps = Vec::new();
    for turn in 0..3 {
        assert_eq!(requests.absorb(aged(turn * 30_000), at_ms((turn + 1) * 30_100)).len(), 0, "late");
        steps.extend(steps_until(&mut requests, at_ms((turn + 2) * 30_100 - 1)));
    }
    requests.absorb(part("1.1", 90_000), at_ms(91_000));
    steps.extend(steps_until(&mut requests, at_ms(94_000)));
    let evaluated = (1..=4).map(|parts| (parts, Step::Evaluate));
    assert_eq!(steps, evaluated.chain([(4, Step::Record)]).collect::<Vec<_>>());
}

#[test]
fn a_reset_hides_what_has_ended_and_lets_it_be_recorded() {
    let mut requests = Requests::default();
    requests.absorb(part("a", 0), at_ms(0));
    requests.keep(Arc::new(Request::new(part("b", 1))), 1);
    let left = requests.forget(at_ms(100));
    assert_eq!(left.iter().filter(|(_, step)| *step == Step::Record).count(), 1, "counters stay");
    assert!(requests.all(vec![part("c", 50)]).is_empty());
    requests.absorb(part("d", 150), at_ms(150));
    assert_eq!(requests.all(Vec::new()).len(), 1);
}

#[test]
fn a_key_used_again_after_a_reset_is_another_request() {
    let mut requests = Requests::default();
    requests.absorb(part("a", 0), at_ms(0));
    requests.forget(at_ms(100));
    requests.absorb(part("a", 50), at_ms(120));
    let steps = requests.absorb(part("a", 150), at_ms(150));
    assert_eq!(steps.iter().filter(|(_, step)| *step == Step::Record).count(), 1, "the late part");
    let all = requests.all(Vec::new());
    assert_eq!(all.iter().map(|(request, _)| request.started()).collect::<Vec<_>>(), [at_ms(150)]);
}

#[test]
fn records_beyond_the_bound_cost_nothing() {
    let record = |key: u16| StatementRecord { keys_start: key, key_count: 1, ..StatementRecord::default() };
    let full = || RequestPart {
        statements: 1_500,
        records: (0..1_500).map(record).collect(),
        keys: vec![KeyValue::default(); 1_500],
        ..part("a", 0)
    };
    let mut requests = Requests::default();
    for _ in 0..100 {
        requests.absorb(full(), at_ms(0));
    }
    let open = open(&requests, "a");
    assert_eq!((open.request.queries(), open.request.records().count()), (150_000, RECORDS_MAX));
    let kept = RECORDS_MAX * (size_of::<StatementRecord>() + size_of::<KeyValue>());
    assert!(open.bytes < kept + 110 * (size_of::<RequestPart>() + size_of::<Request>()), "{}", open.bytes);
    assert_eq!(open.bytes, requests.open_bytes);
}
