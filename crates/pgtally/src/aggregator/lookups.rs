//! Answers to lookups: filters, sorts, and only then builds what is shown.

use std::cmp::Reverse;
use std::sync::Arc;

use pgtally_analysis::{FindingKind, FindingState, Request, RequestPart};
use pgtally_fingerprint::{Fingerprint, Kind, Table};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Aggregator;
use super::taps::{first_word, n_plus_ones};
use super::totals::Statement;
use crate::api::{RequestsAnswer, SCHEMA_VERSION};
use crate::clock::rfc3339;
use crate::filter::Subject;
use crate::limits::DATABASES_PER_STATEMENT_MAX;
use crate::lookups::{HistogramBar, Listing, Lookup, Order, StatementAnswer};
use crate::totals::{RouteTotals, RoutesAnswer, StatementTotals, StatementsAnswer};

/// Upper bounds of a statement's histogram in microseconds.
const HISTOGRAM_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];
/// Requests shown with a statement.
const SAMPLES: usize = 10;

impl Aggregator {
    pub(super) fn look_up(&self, lookup: Lookup) {
        // A caller that stopped waiting is no error.
        let _ = match lookup {
            Lookup::Requests { listing, fingerprint, open, reply } => {
                reply.send(self.list_requests(&listing, fingerprint, open)).is_ok()
            }
            Lookup::Routes { listing, reply } => reply.send(self.list_routes(&listing)).is_ok(),
            Lookup::Statement { fingerprint, reply } => reply.send(self.show_statement(fingerprint)).is_ok(),
            Lookup::Statements { listing, reply } => reply.send(self.list_statements(&listing)).is_ok(),
        };
    }

    fn list_requests(
        &self,
        listing: &Listing,
        fingerprint: Option<Fingerprint>,
        open: Vec<RequestPart>,
    ) -> RequestsAnswer {
        let mut requests = self.requests.all(open);
        if let Some(wanted) = fingerprint {
            let has = |request: &Request| request.records().any(|it| it.statement.fingerprint == wanted);
            requests.retain(|(request, _)| has(request));
        }
        if let Some(route) = &listing.route {
            requests.retain(|(request, _)| **request.route() == **route);
        }
        if !listing.filter.is_empty() {
            let n_plus_ones = n_plus_ones(&self.findings);
            requests.retain(|(request, is_open)| {
                let has_n_plus_one =
                    |fingerprint| n_plus_ones.contains(&(Arc::clone(request.route()), fingerprint));
                self.lets_through(listing, request, *is_open, &has_n_plus_one)
            });
        }
        requests.sort_by_cached_key(|(request, _)| {
            let rank = match listing.order {
                Some(Order::Duration) => request.ended().since(request.started()),
                Some(Order::Queries) => request.queries(),
                Some(Order::Total) => request.database_ns(),
                _ => 0,
            };
            Reverse((rank, request.started(), Arc::clone(request.key())))
        });
        let total = requests.len();
        let shown = requests.iter().skip(listing.offset).take(listing.limit);
        let requests = shown.map(|(request, is_open)| self.view(request, *is_open)).collect();
        RequestsAnswer { schema_version: SCHEMA_VERSION, complete: self.is_complete(), total, requests }
    }

    fn lets_through(
        &self,
        listing: &Listing,
        request: &Request,
        is_open: bool,
        is_n_plus_one: &dyn Fn(Fingerprint) -> bool,
    ) -> bool {
        let summaries = request.summaries();
        let texts: Vec<_> = summaries.iter().filter_map(|it| self.shapes.text(it.fingerprint)).collect();
        let words: Vec<_> = texts.iter().map(|text| first_word(text)).collect();
        let errors = request.records().filter_map(|it| it.statement.error);
        let errors: Vec<_> = errors.map(|sqlstate| sqlstate.escape_ascii().to_string()).collect();
        let slow_ns = self.settings.of(request.route()).slow_ns.unwrap_or(u64::MAX);
        let origin = request.origin();
        let kinds = summaries.iter().map(|it| it.kind.name());
        let subject = Subject {
            texts: texts.iter().map(|text| &**text).chain([&**request.route(), &**request.key()]).collect(),
            routes: vec![request.route()],
            operations: kinds.chain(words.iter().map(AsRef::as_ref)).collect(),
            duration_ns: Some(request.ended().since(request.started())),
            count: Some(request.queries()),
            rows: Some(summaries.iter().map(|it| it.rows).sum()),
            sqlstates: errors.iter().map(String::as_str).collect(),
            tags: vec![request.key(), &origin.framework, &origin.source_location],
            database: Some(&origin.database),
            application: Some(&origin.application_name),
            request: Some(request.key()),
            is_duplicate: request.duplicates() > 0,
            is_error: !errors.is_empty(),
            is_n_plus_one: summaries.iter().any(|it| is_n_plus_one(it.fingerprint)),
            is_open,
            is_slow: request.records().any(|it| it.statement.duration_ns() >= slow_ns),
            ..Subject::default()
        };
        listing.filter.lets_through(&subject)
    }

    fn list_statements(&self, listing: &Listing) -> StatementsAnswer {
        let around = self.around_statements();
        let mut found: Vec<_> = self.totals.statements().filter(|(_, it)| it.calls > 0).collect();
        if !listing.filter.is_empty() {
            found.retain(|(fingerprint, it)| self.lets_statement_through(listing, *fingerprint, it, &around));
        }
        found.sort_by_cached_key(|(fingerprint, it)| {
            let rank = match listing.order {
                Some(Order::Calls) => it.calls,
                Some(Order::Errors) => it.errors,
                Some(Order::Latest) => it.last_seen.0,
                Some(Order::Mean) => it.mean_ns(),
                Some(Order::P95) => p95_us(it),
                Some(Order::Rows) => it.rows / it.calls.max(1),
                _ => it.duration_ns,
            };
            (Reverse(rank), fingerprint.0)
        });
        let shown = found.iter().skip(listing.offset).take(listing.limit);
        StatementsAnswer {
            schema_version: SCHEMA_VERSION,
            complete: self.is_complete(),
            total: found.len(),
            statements: shown
                .map(|(fingerprint, it)| self.statement_row(*fingerprint, it, &around))
                .collect(),
        }
    }

    fn around_statements(&self) -> AroundStatements {
        AroundStatements {
            n_plus_ones: n_plus_ones(&self.findings)
                .into_iter()
                .map(|(_, fingerprint)| fingerprint)
                .collect(),
            all_ns: self.totals.statements().map(|(_, it)| it.duration_ns).sum(),
        }
    }

    fn lets_statement_through(
        &self,
        listing: &Listing,
        fingerprint: Fingerprint,
        it: &Statement,
        around: &AroundStatements,
    ) -> bool {
        let known = self.shapes.known(fingerprint);
        let text = known.as_ref().map_or("", |known| &known.shape.text);
        let (word, hex) = (first_word(text), fingerprint.to_string());
        let routes = it.routes.iter().map(|(route, _)| &**route);
        let facts = known.as_ref().map(|known| &known.facts);
        let tables = facts.iter().flat_map(|facts| facts.tables_read.iter().chain(&facts.tables_written));
        let subject = Subject {
            texts: routes.clone().chain([text]).collect(),
            routes: routes.collect(),
            operations: it.kind.iter().map(|kind| kind.name()).chain([&*word]).collect(),
            duration_ns: Some(it.mean_ns()),
            count: Some(it.calls),
            rows: Some(it.rows),
            tags: tables.map(|table| table.name.as_str()).collect(),
            fingerprints: [Some(&hex), None],
            is_error: it.errors > 0,
            is_n_plus_one: around.n_plus_ones.contains(&fingerprint),
            is_slow: self.is_slow(it),
            ..Subject::default()
        };
        listing.filter.lets_through(&subject)
    }

    /// Whether one in twenty executions, or the mean, is over the bound.
    fn is_slow(&self, it: &Statement) -> bool {
        let bound_us = self.settings.slow_ns.map_or(u64::MAX, |bound| bound / 1_000);
        p95_us(it).max(it.mean_ns() / 1_000) >= bound_us
    }

    fn statement_row(
        &self,
        fingerprint: Fingerprint,
        it: &Statement,
        around: &AroundStatements,
    ) -> StatementTotals {
        let known = self.shapes.known(fingerprint);
        let kind = it.kind.or_else(|| known.as_ref().map(|known| known.shape.command.kind()));
        StatementTotals {
            statement: known.map(|known| known.shape.text.to_string()),
            kind: kind.unwrap_or(Kind::Other).name(),
            share: (it.duration_ns as f64 / around.all_ns.max(1) as f64 * 1e4).round() / 1e2,
            first_seen: rfc3339(self.clock.unix_seconds(it.first_seen)),
            last_seen: rfc3339(self.clock.unix_seconds(it.last_seen)),
            n_plus_one: around.n_plus_ones.contains(&fingerprint),
            slow: self.is_slow(it),
            ..it.totals(fingerprint)
        }
    }

    fn show_statement(&self, fingerprint: Fingerprint) -> Option<Box<StatementAnswer>> {
        let statement = self.totals.statement(fingerprint)?;
        let known = self.shapes.known(fingerprint);
        let names =
            |tables: &[Table]| -> Vec<String> { tables.iter().map(|table| table.name.clone()).collect() };
        let facts = known.as_ref().map(|known| &known.facts);
        let bounds = HISTOGRAM_US.iter().map(|bound| Some(microseconds(*bound))).chain([None]);
        let bars = bounds.zip(statement.time.buckets(&HISTOGRAM_US));
        let findings = self.findings.sorted().into_iter().filter(|finding| {
            let parent = finding.worst.parent.as_ref().map(|parent| parent.fingerprint);
            finding.worst.fingerprint == fingerprint || parent == Some(fingerprint)
        });
        let listing = Listing { limit: SAMPLES, ..Listing::default() };
        let samples = self.list_requests(&listing, Some(fingerprint), Vec::new());
        Some(Box::new(StatementAnswer {
            schema_version: SCHEMA_VERSION,
            complete: self.is_complete(),
            statement: self.statement_row(fingerprint, statement, &self.around_statements()),
            databases: self.databases(fingerprint, statement),
            reads: facts.map_or_else(Vec::new, |facts| names(&facts.tables_read)),
            writes: facts.map_or_else(Vec::new, |facts| names(&facts.tables_written)),
            histogram: bars.map(|(up_to_ms, count)| HistogramBar { up_to_ms, count }).collect(),
            findings: findings.map(|finding| self.finding_view(finding)).collect(),
            samples: samples.requests,
        }))
    }

    /// The first database of a statement, and those of remembered requests with it.
    fn databases(&self, fingerprint: Fingerprint, statement: &Statement) -> Vec<String> {
        let requests = self.requests.all(Vec::new());
        let with_it = requests
            .iter()
            .filter(|(request, _)| request.records().any(|it| it.statement.fingerprint == fingerprint));
        let names = statement.database.iter().chain(with_it.map(|(request, _)| &request.origin().database));
        let mut databases: Vec<String> = Vec::new();
        for name in names {
            if databases.len() < DATABASES_PER_STATEMENT_MAX && !databases.iter().any(|it| **it == **name) {
                databases.push(name.to_string());
            }
        }
        databases
    }

    fn open_findings(&self) -> FxHashMap<Arc<str>, OpenFindings> {
        let mut open: FxHashMap<Arc<str>, OpenFindings> = FxHashMap::default();
        for finding in self.findings.iter().filter(|finding| finding.state != FindingState::Acked) {
            let of_route = open.entry(Arc::clone(&finding.worst.route)).or_default();
            of_route.count += 1;
            match finding.worst.kind {
                FindingKind::NPlusOne | FindingKind::NPlusOneWrite => of_route.has_n_plus_one = true,
                FindingKind::SlowStatement => of_route.has_slow = true,
                _ => {}
            }
        }
        open
    }

    fn list_routes(&self, listing: &Listing) -> RoutesAnswer {
        let open_findings = self.open_findings();
        let mut routes = Vec::new();
        for ((route, attribution), it) in self.totals.routes() {
            let open = open_findings.get(route).copied().unwrap_or_default();
            let row = RouteTotals {
                findings: open.count,
                last_seen: rfc3339(self.clock.unix_seconds(it.last_seen)),
                ..it.totals(route, *attribution)
            };
            let subject = Subject {
                texts: vec![&row.route],
                routes: vec![&row.route],
                tags: vec![row.attribution],
                count: Some(row.queries_per_request.p95 as u64),
                duration_ns: Some((row.duration.p95 * 1e6) as u64),
                is_duplicate: row.duplicates > 0,
                is_error: row.errors > 0,
                is_n_plus_one: open.has_n_plus_one,
                is_open: open.count > 0,
                is_slow: open.has_slow,
                ..Subject::default()
            };
            if listing.filter.lets_through(&subject) {
                routes.push(row);
            }
        }
        routes.sort_by(|one, two| {
            let rank = |row: &RouteTotals| match listing.order {
                Some(Order::Duration | Order::P95) => row.duration.p95,
                Some(Order::Errors) => row.errors as f64,
                Some(Order::Queries) => row.queries_per_request.p95,
                Some(Order::Requests | Order::Calls) => row.requests as f64,
                Some(Order::Similar) => f64::from(row.similar_max),
                _ => row.db_ms,
            };
            let by_name = || one.route.cmp(&two.route).then_with(|| one.attribution.cmp(two.attribution));
            match listing.order {
                Some(Order::Latest) => two.last_seen.cmp(&one.last_seen).then_with(by_name),
                _ => rank(two).total_cmp(&rank(one)).then_with(by_name),
            }
        });
        let total = routes.len();
        RoutesAnswer {
            schema_version: SCHEMA_VERSION,
            complete: self.is_complete(),
            total,
            routes: routes.into_iter().skip(listing.offset).take(listing.limit).collect(),
        }
    }
}

/// Findings of a route that nobody has acknowledged.
#[derive(Clone, Copy, Default)]
struct OpenFindings {
    count: usize,
    has_n_plus_one: bool,
    has_slow: bool,
}

fn p95_us(it: &Statement) -> u64 {
    (it.time.milliseconds().p95 * 1e3) as u64
}

/// What all rows of a list of statements need.
struct AroundStatements {
    n_plus_ones: FxHashSet<Fingerprint>,
    all_ns: u64,
}

fn microseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e3
}
