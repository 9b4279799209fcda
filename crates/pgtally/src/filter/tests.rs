use super::*;

/// A statement that a filter may be asked about.
fn subject() -> Subject<'static> {
    Subject {
        texts: vec!["SELECT * FROM users WHERE id = $1::int", "GET /orders"],
        routes: vec!["GET /orders"],
        operations: vec!["select", "with"],
        duration_ns: Some(150_000_000),
        count: Some(12),
        rows: Some(3),
        sqlstates: vec!["23505"],
        tags: vec!["catalog", "framework=django"],
        kind: Some("n_plus_one"),
        severity: Some("critical"),
        database: Some("shop"),
        session: Some(7),
        fingerprints: [Some("00ff00ff00ff00ff"), None],
        is_error: true,
        is_n_plus_one: true,
        ..Subject::default()
    }
}

#[track_caller]
fn check(line: &str, expected: bool) {
    let filter = Filter::parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!(filter.lets_through(&subject()), expected, "{line}");
}

#[track_caller]
fn check_error(line: &str, expected: &str) {
    assert_eq!(Filter::parse(line).unwrap_err().to_string(), format!("character {expected}"), "{line}");
}

#[test]
fn every_term_of_the_language_holds_and_does_not_hold() {
    for (holds, does_not) in [
        ("route:/orders", "route:/carts"),
        ("route:\"GET /o\"", "route:\"GET /c\""),
        ("d>100ms", "d>1s"),
        ("d<0.2s", "d<150ms"),
        ("d>=150ms", "duration<=149999us"),
        ("op:select", "op:insert"),
        ("op:SEL", "op:elect"),
        ("op:with", "op:delete"),
        ("n+1", "slow"),
        ("error", "duplicate"),
        ("sqlstate:23", "sqlstate:5"),
        ("tag:catalog", "tag:product"),
        ("tag:django", "tag:rails"),
        ("n>10", "n>12"),
        ("rows=3", "rows<3"),
        ("users", "accounts"),
        ("USERS", "\"users  where\""),
        ("\"from USERS where\"", "\"n+1\""),
        ("kind:n_plus", "kind:duplicate"),
        ("severity:crit", "severity:info"),
        ("db:shop", "db:test"),
        ("session:7", "session:70"),
        ("fp:00ff", "fp:ff"),
        ("$1::int", "$2::int"),
        ("", "state:new"),
    ] {
        check(holds, true);
        check(does_not, false);
        if !holds.is_empty() {
            check(&format!("-{holds}"), false);
            check(&format!("!{does_not}"), true);
        }
    }
}

#[test]
fn all_terms_must_hold() {
    check("op:select d>100ms n+1", true);
    check("  op:select \t d>100ms   -n+1 ", false);
    check("users orders", true);
    check("users carts", false);
}

#[test]
fn what_makes_no_sense_is_said_with_its_place() {
    check_error("users d>fast", "7 of the filter: `fast` is no duration: write 100ms, 1.5s or 500us");
    check_error("d>100", "1 of the filter: `100` is no duration: write 100ms, 1.5s or 500us");
    check_error("rows>many", "1 of the filter: `many` is no number: write rows>10");
    check_error("ünd op:", "5 of the filter: op: wants a value, such as op:x");
    check_error("a -", "3 of the filter: `-` wants a term behind it; quote it to look for the character");
    check_error("a \"b c", "3 of the filter: the quote is not closed");
    assert!(Filter::parse("color:red").unwrap_err().problem.contains("no property `color`"));
    assert!(Filter::parse(&"x".repeat(2_000)).unwrap_err().problem.contains("1024 bytes"));
    assert!(Filter::parse("d>-1s").is_err() && Filter::parse("d>nans").is_err());
}

#[test]
fn quotes_make_text_of_anything() {
    let check = |line: &str, text: &str| {
        let wanted = Term { is_negated: line.starts_with('-'), test: Test::Text(text.into()) };
        assert_eq!(Filter::parse(line).unwrap().terms, [wanted], "{line}");
    };
    check("\"slow\"", "slow");
    check("-\"color:red\"", "color:red");
    check("\"say \\\"x\\\"\"", "say \"x\"");
    check("\"\"", "");
    check("127.0.0.1:5432", "127.0.0.1:5432");
    check("\"-\"", "-");
}

#[test]
fn operations_are_known_to_be_asked_for() {
    assert!(Filter::parse("users -op:begin").unwrap().names_operations());
    assert!(!Filter::parse("users").unwrap().names_operations());
    assert!(Filter::parse(" ").unwrap().is_empty());
}

proptest::proptest! {
    #[test]
    fn no_line_makes_it_panic(line in "[\\PC\\s\"\\\\:<>=!-]{0,60}", text in ".{0,40}") {
        if let Ok(filter) = Filter::parse(&line) {
            filter.lets_through(&Subject { texts: vec![&text], ..subject() });
        }
    }
}
