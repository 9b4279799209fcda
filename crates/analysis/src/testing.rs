//! Requests for tests, written as a script of statements: what an observer would have recorded of them.
//!
//! Facts come from the real parse tree; keys are the parameters it says are compared by equality.

use std::collections::BTreeMap;
use std::sync::Arc;

use pgtally_fingerprint::{Command, Fingerprint, Kind, value};

use crate::catalog::Catalog;
use crate::finding::Detection;
use crate::history::History;
use crate::merge::Request;
use crate::part::narrow;
use crate::record::{
    Attribution, KeyValue, Moment, Origin, Pause, RequestPart, Rollback, RowSample, SampleColumn,
    ShortDuration, StatementRecord, WideColumn,
};
use crate::rules;
use crate::settings::FindingSettings;
use crate::shape::{KnownShape, Shape};

const MS: u64 = 1_000_000;

/// Stands for NULL among keys and row values.
pub(crate) const NULL: i64 = i64::MIN;

/// One session's part of a request, statement by statement.
pub(crate) struct Script {
    part: RequestPart,
    now: u64,
    shapes: BTreeMap<Fingerprint, KnownShape>,
    server_ns: u64,
    turnaround_ns: u64,
    is_round_trip: bool,
    environment: u64,
    transaction: u32,
    error: Option<[u8; 5]>,
    is_retried: bool,
    others: u64,
    affected: u64,
}

impl Script {
    pub(crate) fn new() -> Self {
        let part = RequestPart {
            key: "trace:0123".into(),
            attribution: Attribution::Trace,
            route: "/page".into(),
            origin: Origin { database: "shop".into(), ..Origin::default() },
            session: 1,
            started: Moment(0),
            ended: Moment(0),
            statements: 0,
            database_ns: 0,
            records: Vec::new(),
            keys: Vec::new(),
            samples: Vec::new(),
            samples_dropped: 0,
            cells: Vec::new(),
            row_columns: Vec::new(),
            pauses: Vec::new(),
            rollbacks: Vec::new(),
            wide_columns: Vec::new(),
        };
        Self {
            part,
            now: 0,
            shapes: BTreeMap::new(),
            server_ns: MS / 10,
            turnaround_ns: MS / 20,
            is_round_trip: true,
            environment: 0,
            transaction: 0,
            error: None,
            is_retried: false,
            others: 0,
            affected: 1,
        }
    }

    pub(crate) fn session(&mut self, session: u64) -> &mut Self {
        self.part.session = session;
        self
    }

    pub(crate) fn route(&mut self, route: &str) -> &mut Self {
        self.part.route = route.into();
        self
    }

    pub(crate) fn at_ms(&mut self, ms: u64) -> &mut Self {
        self.now = ms * MS;
        self
    }

    /// Server time and turnaround of the statements to come.
    pub(crate) fn cost_ms(&mut self, server: u64, turnaround: u64) -> &mut Self {
        (self.server_ns, self.turnaround_ns) = (server * MS, turnaround * MS);
        self
    }

    pub(crate) fn pipelined(&mut self) -> &mut Self {
        self.is_round_trip = false;
        self
    }

    pub(crate) fn environment(&mut self, environment: u64) -> &mut Self {
        self.environment = environment;
        self
    }

    /// Number of the transaction, and whether it failed and was run again.
    pub(crate) fn transaction(&mut self, transaction: u32, is_retried: bool) -> &mut Self {
        (self.transaction, self.is_retried) = (transaction, is_retried);
        self
    }

    /// The open transaction is rolled back, or to a savepoint.
    pub(crate) fn rolled_back(&mut self) -> &mut Self {
        self.part.rollbacks.push(Rollback { transaction: self.transaction, sent: Moment(self.now) });
        self
    }

    /// Value of the parameters that are no keys (a LIMIT, a range) from here on.
    pub(crate) fn others(&mut self, others: u64) -> &mut Self {
        self.others = others;
        self
    }

    /// Rows that statements without sampled rows return or affect from here on.
    pub(crate) fn affected(&mut self, rows: u64) -> &mut Self {
        self.affected = rows;
        self
    }

    /// The next statement fails.
    pub(crate) fn failing(&mut self, sqlstate: &[u8; 5]) -> &mut Self {
        self.error = Some(*sqlstate);
        self
    }

    /// A statement without keys.
    pub(crate) fn read(&mut self, text: &str) -> &mut Self {
        self.execute(text, &[])
    }

    /// A statement with one key.
    pub(crate) fn keyed(&mut self, text: &str, key: i64) -> &mut Self {
        self.execute(text, &[&[key]])
    }

    /// A statement with several keys, each a list of elements.
    pub(crate) fn with_keys(&mut self, text: &str, keys: &[&[i64]]) -> &mut Self {
        self.execute(text, keys)
    }

    /// A statement whose rows are sampled: `columns` are `table.column`.
    pub(crate) fn rows(&mut self, text: &str, columns: &[&str], rows: Vec<Vec<i64>>) -> &mut Self {
        self.execute(text, &[]).sample(columns, &rows)
    }

    /// As [`Script::rows`] with one key.
    pub(crate) fn keyed_rows(
        &mut self,
        text: &str,
        key: i64,
        columns: &[&str],
        rows: Vec<Vec<i64>>,
    ) -> &mut Self {
        self.execute(text, &[&[key]]).sample(columns, &rows)
    }

    /// More rows of the first sampled statement, as FETCH brings them.
    pub(crate) fn fetched(&mut self, rows: Vec<Vec<i64>>) -> &mut Self {
        let sample = self.part.samples.first_mut().expect("a sample");
        sample.rows += rows.len() as u64;
        sample.values.extend(rows.iter().flatten().map(|it| hash(*it)));
        self
    }

    /// Moves all records from `index` on to a part of another session.
    pub(crate) fn cut_after(&mut self, index: usize) -> RequestPart {
        let mut other = RequestPart { session: self.part.session + 1, samples: Vec::new(), ..self.part() };
        other.records = self.part.records.split_off(index);
        other.statements = other.records.len() as u32;
        self.part.statements = index as u32;
        other
    }

    /// Knows the shapes of another script from here on.
    pub(crate) fn learn_shapes(&mut self, other: &Script) {
        self.shapes.extend(other.shapes.iter().map(|(fingerprint, known)| (*fingerprint, known.clone())));
    }

    pub(crate) fn repeat(&mut self, times: u32, mut step: impl FnMut(&mut Self, u32)) -> &mut Self {
        (0..times).for_each(|n| step(self, n));
        self
    }

    fn execute(&mut self, text: &str, keys: &[&[i64]]) -> &mut Self {
        let fingerprint = self.shape(text);
        let known = self.shapes.get(&fingerprint).expect("just added");
        let first_key = self.part.keys.len();
        for (index, elements) in keys.iter().enumerate() {
            let columns =
                if known.facts.inserted.is_empty() { &known.facts.compared } else { &known.facts.inserted };
            let parameter = columns.get(index).map_or(index as u16 + 1, |it| it.parameter);
            let hashes: Vec<u32> = elements.iter().map(|it| hash(*it)).collect();
            self.part.keys.push(KeyValue {
                parameter,
                elements: hashes.len() as u16,
                value: hashes.first().copied().unwrap_or(0),
                list_hash: hashes.iter().fold(7, |all, it| mix(all, u64::from(*it))),
            });
        }
        let others = self.others;
        let all = self.part.keys[first_key..].iter().fold(others, |all, it| mix(all, it.list_hash));
        self.now += self.turnaround_ns;
        self.part.records.push(StatementRecord {
            fingerprint,
            kind: kind(text),
            sent: Moment(self.now),
            server: ShortDuration::from_ns(self.server_ns),
            turnaround: ShortDuration::from_ns(self.turnaround_ns),
            rows: narrow(self.affected),
            bytes: narrow(50 * self.affected),
            parameters_hash: all,
            others_hash: narrow(others),
            keys_start: first_key as u16,
            key_count: keys.len() as u8,
            environment: narrow(self.environment),
            transaction: self.transaction,
            is_round_trip: self.is_round_trip,
            error: self.error.take(),
            is_retried: self.is_retried,
            ..StatementRecord::default()
        });
        self.now += self.server_ns;
        self.part.statements += 1;
        self.part.database_ns += self.server_ns;
        self.part.ended = Moment(self.now);
        self
    }

    fn sample(&mut self, columns: &[&str], rows: &[Vec<i64>]) -> &mut Self {
        let index = self.part.records.len() - 1;
        let record = &mut self.part.records[index];
        record.rows = rows.len() as u32;
        let values = rows.iter().flatten().map(|it| hash(*it));
        let known = self.part.samples.iter_mut().find(|it| it.fingerprint == record.fingerprint);
        if let Some(sample) = known {
            sample.executions += 1;
            sample.rows += rows.len() as u64;
            sample.values.extend(values);
            return self;
        }
        self.part.samples.push(RowSample {
            fingerprint: record.fingerprint,
            first_record: index as u32,
            executions: 1,
            rows: rows.len() as u64,
            columns: sample_columns(columns),
            values: values.collect(),
        });
        self
    }

    fn shape(&mut self, text: &str) -> Fingerprint {
        let fingerprint = fingerprint(text);
        self.shapes.entry(fingerprint).or_insert_with(|| known(text));
        fingerprint
    }

    pub(crate) fn part(&self) -> RequestPart {
        self.part.clone()
    }

    /// What the rules say about this part alone.
    pub(crate) fn evaluate(&self, settings: &FindingSettings) -> Vec<Detection> {
        self.evaluate_request(&Request::new(self.part()), settings)
    }

    /// What the rules say about a request whose shapes this script has used.
    pub(crate) fn evaluate_request(&self, request: &Request, settings: &FindingSettings) -> Vec<Detection> {
        let shapes = |fingerprint| self.shapes.get(&fingerprint).cloned();
        let mut catalog = Catalog::new();
        catalog.learn_request(request, &shapes);
        rules::evaluate(request, &shapes, &catalog, settings, &History::new())
    }

    /// As [`Script::evaluate`] of a process that remembers earlier requests.
    pub(crate) fn evaluate_after(&self, history: &History, settings: &FindingSettings) -> Vec<Detection> {
        let shapes = |fingerprint| self.shapes.get(&fingerprint).cloned();
        let request = Request::new(self.part());
        let mut catalog = Catalog::new();
        catalog.learn_request(&request, &shapes);
        rules::evaluate(&request, &shapes, &catalog, settings, history)
    }

    /// Lets the process remember this part.
    pub(crate) fn remember(&self, history: &mut History) {
        history.observe(&Request::new(self.part()), &|fingerprint| self.shapes.get(&fingerprint).cloned());
    }

    /// Cells of the only row of the last statement.
    pub(crate) fn cells(&mut self, cells: &[i64]) -> &mut Self {
        let start = self.part.cells.len() as u16;
        self.part.cells.extend(cells.iter().map(|it| hash(*it)));
        let record = self.part.records.last_mut().expect("a statement");
        (record.cells_start, record.cell_count) = (start, cells.len() as u8);
        self
    }

    /// A look-up by key, and the cells of the only row it gives.
    pub(crate) fn look_up(&mut self, text: &str, key: i64, columns: &[&str], row: &[i64]) -> &mut Self {
        self.keyed(text, key).cells(row);
        let fingerprint = fingerprint(text);
        if self.part.row_columns.iter().all(|(known, _)| *known != fingerprint) {
            self.part.row_columns.push((fingerprint, sample_columns(columns)));
        }
        self
    }

    /// Rows and bytes of the last statement, and the column that makes up most of them.
    pub(crate) fn wide(&mut self, rows: u64, bytes: u64, column: Option<(u16, u64)>) -> &mut Self {
        let record = self.part.records.last_mut().expect("a statement");
        (record.rows, record.bytes) = (narrow(rows), narrow(bytes));
        if let Some((position, column_bytes)) = column {
            let fingerprint = record.fingerprint;
            let label = "wide".into();
            let wide =
                WideColumn { fingerprint, position, label, column_bytes, row_bytes: bytes, executions: 1 };
            self.part.wide_columns.push(wide);
        }
        self
    }

    /// The last statement was fetched in pieces.
    pub(crate) fn in_pieces(&mut self) -> &mut Self {
        self.part.records.last_mut().expect("a statement").is_fetched_in_pieces = true;
        self
    }

    /// The client lets the transaction wait after the last statement.
    pub(crate) fn pause_ms(&mut self, ms: u64, has_written: bool) -> &mut Self {
        let last = self.part.records.last().expect("a statement");
        self.part.pauses.push(Pause {
            transaction: last.transaction,
            after: last.fingerprint,
            began: Moment(self.now),
            waited_ns: ms * MS,
            has_written,
        });
        self.now += ms * MS;
        self.part.ended = Moment(self.now);
        self
    }

    /// A background job ran this.
    pub(crate) fn background(&mut self) -> &mut Self {
        self.part.origin.is_job = true;
        self
    }
}

/// A shape whose fingerprint is the hash of its text.
pub(crate) fn known(text: &str) -> KnownShape {
    let command = match kind(text) {
        Kind::Delete => Command::Delete,
        Kind::Insert => Command::Insert,
        Kind::Other => Command::Call,
        Kind::Update => Command::Update,
        _ => Command::Select,
    };
    let shape = Shape { fingerprint: fingerprint(text), text: text.into(), command, roles: Arc::new([]) };
    KnownShape { shape: Arc::new(shape), facts: Arc::new(pgtally_parsetree::facts(text)) }
}

pub(crate) fn fingerprint(text: &str) -> Fingerprint {
    Fingerprint(text_hash(text))
}

fn kind(text: &str) -> Kind {
    match text.split(' ').next() {
        Some("CALL") => Kind::Other,
        Some("COPY") => Kind::Copy,
        Some("CREATE") => Kind::Ddl,
        Some("ANALYZE" | "VACUUM") => Kind::Other,
        Some("DELETE") => Kind::Delete,
        Some("INSERT") => Kind::Insert,
        Some("UPDATE") => Kind::Update,
        _ => Kind::Select,
    }
}

fn hash(value: i64) -> u32 {
    if value == NULL { 0 } else { value::hash_integer(value) }
}

fn mix(all: u64, one: u64) -> u64 {
    (all.rotate_left(5) ^ one).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// Columns of `table.column`.
fn sample_columns(columns: &[&str]) -> Arc<[SampleColumn]> {
    let column = |(position, name): (usize, &&str)| {
        let (table, label) = name.split_once('.').unwrap_or(("", name));
        SampleColumn {
            position: position as u16,
            table_oid: if table.is_empty() { 0 } else { 16_384 + (text_hash(table) % 10_000) as u32 },
            attribute: (text_hash(label) % 1_000) as i16 + 1,
            type_oid: 23,
            label: label.into(),
        }
    };
    columns.iter().enumerate().map(column).collect()
}

fn text_hash(text: &str) -> u64 {
    text.bytes().fold(11, |all, byte| mix(all, u64::from(byte)))
}
