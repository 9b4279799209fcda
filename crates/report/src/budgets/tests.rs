//! Files of budgets as people write them, with and without mistakes.

use super::*;
use crate::capture::{Capture, Queries, Route};

const FILE: &str = "\
# How much is enough.
[defaults]
tolerance = \"10%\"
max_repeat = 3

[budgets.\"GET /orders\"]   # the list
max_queries = 7   # was 5
max_db_ms = 2

[budgets.\"tests/*\"]
max_queries = 20
warm_up = 1

[budgets.\"tests/slow/*\"]
max_queries = 200
";

fn route(name: &str, attribution: &str, queries: u64, repeat: u32, db_ms: f64) -> Route {
    Route {
        route: name.into(),
        attribution: attribution.into(),
        requests: 1,
        queries: Queries { max: queries, ..Queries::default() },
        repeat_max: repeat,
        db_ms_max: db_ms,
        ..Route::default()
    }
}

#[test]
fn the_own_budget_comes_before_patterns_and_defaults() {
    let budgets = Budgets::parse(FILE).unwrap();
    let orders = budgets.of("GET /orders", true).unwrap();
    assert_eq!((orders.max_queries, orders.max_repeat, orders.max_db_ms), (Some(7), Some(3), Some(2.0)));
    assert_eq!(orders.tolerance.unwrap().upper(20), 22);
    let test = budgets.of("tests/a", true).unwrap();
    assert_eq!((test.name.as_str(), test.max_queries, test.warm_up), ("tests/*", Some(20), Some(1)));
    assert_eq!(budgets.of("tests/slow/a", true).unwrap().name, "tests/slow/*");
    assert_eq!(budgets.of("elsewhere", true).unwrap().max_repeat, Some(3));
    assert_eq!(budgets.of("elsewhere", false), None, "units are held to nothing they don't know of");
    let unit = budgets.of("GET /orders", false).unwrap();
    assert_eq!((unit.max_queries, unit.max_repeat), (Some(7), None));
}

#[test]
fn inline_tables_are_budgets_too() {
    let budgets = Budgets::parse("budgets.\"a\" = { max_queries = 200, tolerance = 5 }").unwrap();
    assert_eq!(budgets.of("a", true).unwrap().tolerance, Some(Tolerance { count: 5, share: 0.0 }));
}

#[test]
fn every_mistake_is_told_with_its_place_and_a_hint() {
    let text = "\
[budget.\"a\"]
[defaults]
tolerance = \"much\"
[budgets.\"b.c\"]
max_querys = 7
max_repeat = -1
max_db_ms = \"2ms\"
warm_up = 1.5
[budgets]
d = 3
";
    // The last section is a second `[budgets]`, which TOML itself allows only where it is implicit so far.
    let told: Vec<String> = Budgets::parse(text).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "line 1: budget: no such section; there are defaults and budgets.\"NAME\"",
            "line 3: defaults.tolerance: neither a number of statements nor a share; write 2 or \"10%\"",
            "line 5: budgets.\"b.c\".max_querys: no such setting; there are max_queries, max_repeat, max_db_ms, tolerance and warm_up",
            "line 6: budgets.\"b.c\".max_repeat: not a number of 0 or more; write a whole number without quotes",
            "line 7: budgets.\"b.c\".max_db_ms: not a number of milliseconds; write a number without quotes",
            "line 8: budgets.\"b.c\".warm_up: not a number of 0 or more; write a whole number without quotes",
            "line 10: budgets.\"d\": not a table; write [budgets.\"NAME\"] above its limits",
        ]
    );
    let broken = Budgets::parse("[budgets.GET /orders]\n").unwrap_err();
    assert_eq!(broken.len(), 1);
    assert!(broken[0].to_string().starts_with("line 1: this is no TOML"), "{}", broken[0]);
}

#[test]
fn measured_values_go_into_the_file_and_the_rest_stays() {
    let capture = Capture {
        routes: vec![
            route("GET /orders", "trace", 24, 20, 7.4),
            route("GET /new", "guc", 3, 2, 1.0),
            route("tests/covered", "guc", 90, 9, 1.0),
            route("untagged", "session", 900, 9, 1.0),
        ],
        ..Capture::default()
    };
    let updated = update(FILE, &capture).unwrap();
    let expected =
        FILE.replace("max_queries = 7 ", "max_queries = 24 ").replace("max_db_ms = 2", "max_db_ms = 8")
            + "\n[budgets.\"GET /new\"]\nmax_queries = 3\nmax_repeat = 2\n";
    assert_eq!(updated, expected);
    assert_eq!(update(&updated, &capture).unwrap(), updated, "twice changes nothing");
    let fresh = update("", &capture).unwrap();
    assert!(fresh.starts_with("# The most") && fresh.contains("[budgets.\"tests/covered\"]"), "{fresh}");
    Budgets::parse(&fresh).unwrap();
    update("[budgets", &capture).unwrap_err();
}

#[test]
fn tolerances_are_numbers_or_shares() {
    assert_eq!(parse_tolerance("10%"), Ok(Tolerance { count: 0, share: 0.1 }));
    assert_eq!(parse_tolerance(" 3 "), Ok(Tolerance { count: 3, share: 0.0 }));
    for wrong in ["", "-1", "%", "-5%", "NaN%", "a"] {
        parse_tolerance(wrong).expect_err(wrong);
    }
}
