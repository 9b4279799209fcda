//! A report as JUnit XML: a suite for budgets, one for changes, one for findings.

use quick_junit::{NonSuccessKind, Report as JunitReport, TestCase, TestCaseStatus, TestSuite};

use crate::judge::{Blame, Report};
use crate::text::totals;
use crate::words::{count, kind, limit_words, plain};

/// The report as JUnit XML. It holds no moment, so that equal reports are equal files.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut junit = JunitReport::new("pgtally");
    junit.add_test_suite(traffic(report));
    if !report.budgets.is_empty() {
        junit.add_test_suite(budgets(report));
    }
    if report.has_baseline {
        junit.add_test_suite(changes(report));
    }
    junit.add_test_suite(findings(report));
    // Texts are valid characters of XML by now, and a string takes everything.
    junit.to_string().unwrap_or_default()
}

fn traffic(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("pgtally capture");
    let status = if report.complete {
        TestCaseStatus::success()
    } else {
        failure(&report.problems.join("\n"), "incomplete", NonSuccessKind::Error)
    };
    suite.add_test_case(TestCase::new("everything was captured", status));
    suite
}

fn budgets(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("pgtally budgets");
    let mut judged: Vec<_> = report.budgets.iter().collect();
    judged.sort_by_key(|it| (&it.route, &it.attribution));
    for it in judged {
        let status = if it.over.is_empty() {
            TestCaseStatus::success()
        } else {
            let limits: Vec<String> = it.over.iter().map(limit_words).collect();
            let message = limits.join("; ");
            let mut status = failure(&message, "over budget", NonSuccessKind::Failure);
            status.set_description(plain_lines(&format!("{message}\n{}", lines(&it.statements))));
            status
        };
        let mut case = TestCase::new(plain(&it.route), status);
        case.set_classname(format!("pgtally.budget.{}", it.attribution));
        suite.add_test_case(case);
    }
    suite
}

fn changes(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("pgtally baseline");
    for it in &report.changes {
        let status = if it.regression {
            let mut status = failure(&totals(it), "more than before", NonSuccessKind::Failure);
            status.set_description(plain_lines(&lines(&it.statements)));
            status
        } else {
            TestCaseStatus::success()
        };
        let mut case = TestCase::new(plain(&it.route), status);
        case.set_classname(format!("pgtally.baseline.{}", it.attribution));
        suite.add_test_case(case);
    }
    suite
}

fn findings(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("pgtally findings");
    for it in &report.findings {
        let status = if report.failing.contains(&it.id) {
            let message = format!("{} ×{}", kind(it), it.repeat);
            let mut status = failure(&message, &it.kind, NonSuccessKind::Failure);
            let statement = it.statement.clone().unwrap_or_default();
            status.set_description(plain_lines(&format!("{statement}\nfix: {}", it.fix)));
            status
        } else if it.state == "new" {
            TestCaseStatus::success()
        } else {
            let mut status = TestCaseStatus::skipped();
            status.set_message(plain(it.reason.as_deref().unwrap_or(&it.state)));
            status
        };
        let mut case = TestCase::new(plain(&format!("{} {} {}", it.route, kind(it), it.id)), status);
        case.set_classname("pgtally.finding");
        suite.add_test_case(case);
    }
    if report.findings.is_empty() {
        suite.add_test_case(TestCase::new(count(0, "finding"), TestCaseStatus::success()));
    }
    suite
}

fn failure(message: &str, ty: &str, kind: NonSuccessKind) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(plain(message));
    status.set_type(plain(ty));
    status
}

fn lines(statements: &[Blame]) -> String {
    let mut lines = Vec::new();
    for it in statements {
        lines.push(it.line.clone());
        lines.extend(it.source_location.as_ref().map(|place| format!("  at {place}")));
        lines.extend(it.fix.as_ref().map(|fix| format!("  fix: {fix}")));
        lines.extend(it.rewrite.as_ref().map(|rewrite| format!("  instead: {rewrite}")));
    }
    lines.join("\n")
}

/// Lines stay; what XML cannot hold, or terminals would follow, does not.
fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}
