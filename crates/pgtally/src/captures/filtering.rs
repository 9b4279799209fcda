//! `pgtally report --filter`: the parts of a report that fit.
//!
//! A finding is shown when it fits, a route when one of its statements does; what is not shown does not make the
//! report fail.

use pgtally_report::{Blame, Changed, Finding, Report, Route, Statement};

use crate::filter::{Filter, Subject};

/// Leaves in `report` what `filter` lets through.
pub(super) fn retain(report: &mut Report, filter: &Filter) {
    let findings = report.findings.clone();
    let is_fitting = |route: &Route, it: &Statement| {
        let marks = Marks::of(&findings, &route.route, &it.fingerprint);
        filter.lets_through(&of_statement(route, it, &marks))
    };
    let is_fitting_change = |change: &Changed, it: &Blame| {
        let marks = Marks::of(&findings, &change.route, &it.fingerprint);
        filter.lets_through(&of_change(change, it, &marks))
    };
    report.retain(
        |route| route.statements.iter().any(|it| is_fitting(route, it)),
        |change| change.statements.iter().any(|it| is_fitting_change(change, it)),
        |finding| filter.lets_through(&of_finding(finding)),
    );
}

/// What findings say of a route's statement.
#[derive(Default)]
struct Marks {
    is_duplicate: bool,
    is_n_plus_one: bool,
    is_open: bool,
    is_slow: bool,
}

impl Marks {
    fn of(findings: &[Finding], route: &str, fingerprint: &str) -> Self {
        let mut marks = Self::default();
        for it in findings.iter().filter(|it| it.route == route && it.fingerprint == fingerprint) {
            marks.is_duplicate |= it.kind == "duplicate";
            marks.is_n_plus_one |= it.kind.starts_with("n_plus_one");
            marks.is_slow |= it.kind == "slow_statement";
            marks.is_open |= it.state != "acked";
        }
        marks
    }

    fn subject<'a>(&self, route: &'a str, attribution: &'a str, statement: &'a str) -> Subject<'a> {
        Subject {
            texts: vec![route, statement],
            routes: vec![route],
            operations: statement.split_whitespace().take(1).collect(),
            tags: vec![attribution],
            is_duplicate: self.is_duplicate,
            is_n_plus_one: self.is_n_plus_one,
            is_open: self.is_open,
            is_slow: self.is_slow,
            ..Subject::default()
        }
    }
}

fn of_statement<'a>(route: &'a Route, it: &'a Statement, marks: &Marks) -> Subject<'a> {
    Subject {
        duration_ns: Some((route.db_ms_max * 1e6) as u64),
        count: Some(route.queries.max),
        rows: Some(it.rows),
        fingerprints: [Some(&it.fingerprint), None],
        ..marks.subject(&route.route, &route.attribution, &it.statement)
    }
}

fn of_change<'a>(change: &'a Changed, it: &'a Blame, marks: &Marks) -> Subject<'a> {
    Subject {
        count: change.after.or(change.before).map(|range| range.max),
        fingerprints: [Some(&it.fingerprint), None],
        ..marks.subject(&change.route, &change.attribution, &it.statement)
    }
}

fn of_finding(it: &Finding) -> Subject<'_> {
    let texts = [&it.statement, &it.parent_statement, &it.linked_column, &it.source_location];
    let texts = texts.into_iter().filter_map(|text| text.as_deref());
    Subject {
        texts: texts.chain([&*it.route, &*it.fix, &*it.kind, &*it.id]).collect(),
        routes: vec![&it.route],
        operations: it.statement.as_deref().unwrap_or_default().split_whitespace().take(1).collect(),
        duration_ns: Some((it.wasted_ms * 1e6) as u64),
        count: Some(it.repeat.into()),
        tags: it.source_location.as_deref().into_iter().chain([&*it.attribution]).collect(),
        kind: Some(&it.kind),
        severity: Some(&it.severity),
        state: Some(&it.state),
        fingerprints: [Some(&it.fingerprint), it.parent_fingerprint.as_deref()],
        is_duplicate: it.kind == "duplicate",
        is_n_plus_one: it.kind.starts_with("n_plus_one"),
        is_open: it.state != "acked",
        is_slow: it.kind == "slow_statement",
        ..Subject::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let statement = |fingerprint: &str, text: &str| Statement {
            fingerprint: fingerprint.into(),
            statement: text.into(),
            ..Statement::default()
        };
        let route = |name: &str, statements: Vec<Statement>| Route {
            route: name.into(),
            attribution: "guc".into(),
            statements,
            ..Route::default()
        };
        let finding = Finding {
            id: "01".into(),
            kind: "n_plus_one".into(),
            state: "new".into(),
            route: "/orders".into(),
            fingerprint: "a1".into(),
            statement: Some("SELECT name FROM users WHERE id = $1".into()),
            repeat: 20,
            ..Finding::default()
        };
        Report {
            exit_code: 10,
            complete: true,
            routes: vec![
                route("/orders", vec![statement("a1", "SELECT name FROM users WHERE id = $1")]),
                route("/stock", vec![statement("b2", "UPDATE stock SET n = $1")]),
            ],
            failing: [finding.id.clone()].into(),
            findings: vec![finding],
            ..Report::default()
        }
    }

    #[test]
    fn routes_and_findings_that_fit_are_left_and_decide() {
        let check = |filter: &str, routes: &[&str], findings: usize, code: u8| {
            let mut report = report();
            retain(&mut report, &Filter::parse(filter).unwrap());
            let left: Vec<&str> = report.routes.iter().map(|it| it.route.as_str()).collect();
            assert_eq!(
                (left.as_slice(), report.findings.len(), report.exit_code),
                (routes, findings, code),
                "{filter}"
            );
        };
        check("", &["/orders", "/stock"], 1, 10);
        check("route:/stock", &["/stock"], 0, 0);
        check("op:update", &["/stock"], 0, 0);
        check("n+1", &["/orders"], 1, 10);
        check("-n+1", &["/stock"], 0, 0);
        check("users fp:a1", &["/orders"], 1, 10);
        check("tag:guc n>10", &[], 0, 0);
    }
}
