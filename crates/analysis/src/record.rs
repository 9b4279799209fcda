//! What one session saw of one request: plain, bounded data, written by the session's observer and read by the
//! rules once the request is over.

use std::ops::Range;
use std::sync::Arc;

use pgtally_fingerprint::{Fingerprint, Kind};

/// Nanoseconds on the monotonic clock of the process, counted from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// Nanoseconds from `earlier` to here; 0 when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// How statements were assigned to a request, most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribution {
    /// By the trace id of a `traceparent` tag.
    Trace,
    /// By another id tag.
    Tag,
    /// By the setting `pgtally.request`.
    Guc,
    /// By an `application_name` that changes between units of work.
    ApplicationName,
    /// By a pool's reset: `DISCARD ALL`, `RESET ALL`.
    Marker,
    /// By a pool's ping while idle.
    Ping,
    /// By an explicit transaction.
    Transaction,
    /// By an idle gap.
    Idle,
    /// The session since it opened.
    Session,
}

impl Attribution {
    /// Every level, most trusted first.
    pub const ALL: [Self; 9] = [
        Self::Trace,
        Self::Tag,
        Self::Guc,
        Self::ApplicationName,
        Self::Marker,
        Self::Ping,
        Self::Transaction,
        Self::Idle,
        Self::Session,
    ];

    /// The level of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Name in metrics, API and pages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Tag => "tag",
            Self::Guc => "guc",
            Self::ApplicationName => "application_name",
            Self::Marker => "marker",
            Self::Ping => "ping",
            Self::Transaction => "transaction",
            Self::Idle => "idle",
            Self::Session => "session",
        }
    }

    /// Whether the application named the request itself; else it is a unit guessed from the wire.
    #[must_use]
    pub const fn is_request(self) -> bool {
        matches!(self, Self::Trace | Self::Tag | Self::Guc | Self::ApplicationName)
    }
}

/// Who ran the request: what the startup packet and the tags say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Database of the session.
    pub database: Arc<str>,
    /// `application_name` in force when the request began, may be empty.
    pub application_name: Arc<str>,
    /// `framework`, `db_driver` or `driver` tag, may be empty.
    pub framework: Arc<str>,
    /// Source location from `file`, `code.filepath`+`code.lineno` or `source_location` tags, may be empty.
    pub source_location: Arc<str>,
    /// `version` or `ddpv` tag: the application's version, may be empty.
    pub version: Arc<str>,
    /// A `job` or `job_id` tag names it as a background job.
    pub is_job: bool,
}

/// What background workers are called: parts of their `application_name`, in lower case.
const WORKERS: [&str; 11] = [
    "celery",
    "delayed_job",
    "dramatiq",
    "good_job",
    "hangfire",
    "huey",
    "oban",
    "quartz",
    "resque",
    "sidekiq",
    "solid_queue",
];

impl Origin {
    /// Version of the application: of its tags, else what follows `@` or `/` in its `application_name`, as in
    /// `shop@1.4.2`.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        if !self.version.is_empty() {
            return Some(&self.version);
        }
        let (_, suffix) = self.application_name.rsplit_once(['@', '/'])?;
        let is_version = |text: &str| {
            let number = text.strip_prefix('v').unwrap_or(text);
            let is_plain =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
            number.starts_with(|first: char| first.is_ascii_digit()) && text.bytes().all(is_plain)
        };
        Some(suffix).filter(|suffix| is_version(suffix))
    }

    /// Whether a background worker ran it, by its tags or by what the program calls itself.
    #[must_use]
    pub fn is_background(&self) -> bool {
        if self.is_job || self.application_name.is_empty() {
            return self.is_job;
        }
        let name = self.application_name.to_ascii_lowercase();
        WORKERS.iter().any(|it| name.contains(it))
    }
}

/// Part of a request that ran on one session.
#[derive(Clone, Debug)]
pub struct RequestPart {
    /// Identity: `trace:<32 hex>`, `<tag name>:<value>`, `guc:<value>` or `<session>.<ordinal>` for units.
    pub key: Arc<str>,
    /// How it was found.
    pub attribution: Attribution,
    /// Low-cardinality name of the request's type, `untagged` when nothing names it.
    pub route: Arc<str>,
    /// Who ran it.
    pub origin: Origin,
    /// Number of the session in this process.
    pub session: u64,
    /// First statement sent.
    pub started: Moment,
    /// Last answer complete.
    pub ended: Moment,
    /// Counted statements, recorded or not.
    pub statements: u32,
    /// Nanoseconds from each counted statement's sending to its completion, summed.
    pub database_ns: u64,
    /// Counted statements in the order of completion, at most [`crate::limits::RECORDS_MAX`].
    pub records: Vec<StatementRecord>,
    /// Key values of the records, see [`StatementRecord::keys`].
    pub keys: Vec<KeyValue>,
    /// Sampled rows of reads that returned at least two rows, at most [`crate::limits::SAMPLE_BYTES_MAX`] in all.
    pub samples: Vec<RowSample>,
    /// Row samples given up because of the bound.
    pub samples_dropped: u32,
    /// Hashes of the key-like cells of results of one row, see [`StatementRecord::cells`]; at most
    /// [`crate::limits::CELLS_MAX`].
    pub cells: Vec<u32>,
    /// What the cells of shapes executed more than once are, at most [`crate::limits::ROW_COLUMNS_MAX`] shapes.
    pub row_columns: Vec<(Fingerprint, Arc<[SampleColumn]>)>,
    /// Long pauses inside transactions, at most [`crate::limits::PAUSES_MAX`].
    pub pauses: Vec<Pause>,
    /// Rollbacks of what the part has written, in order; no more than records, and one.
    pub rollbacks: Vec<Rollback>,
    /// Wide columns of wide rows, by shape, at most [`crate::limits::WIDE_COLUMNS_MAX`].
    pub wide_columns: Vec<WideColumn>,
}

/// A transaction in which the server waited for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Ordinal of the transaction block on the session.
    pub transaction: u32,
    /// Shape of the last counted statement before; the default when none ran.
    pub after: Fingerprint,
    /// When the server began to wait.
    pub began: Moment,
    /// How long it waited, or has waited so far.
    pub waited_ns: u64,
    /// The transaction had written something by then.
    pub has_written: bool,
}

/// A transaction's writes, or those since a savepoint, were taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// Ordinal of the transaction block on the session.
    pub transaction: u32,
    /// When it was sent.
    pub sent: Moment,
}

/// The column that makes up most of a shape's wide rows, summed over the rows that were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WideColumn {
    /// Whose rows they are.
    pub fingerprint: Fingerprint,
    /// 0-based position in the row.
    pub position: u16,
    /// Label of the column; empty where no description was seen.
    pub label: Box<str>,
    /// Bytes of the column.
    pub column_bytes: u64,
    /// Bytes of the same rows in all.
    pub row_bytes: u64,
    /// Executions that gave such rows.
    pub executions: u32,
}

/// A duration in 32 bits: microseconds up to 35 minutes, milliseconds up to 24 days; a longer one counts as that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortDuration(u32);

impl ShortDuration {
    const MILLISECONDS: u32 = 1 << 31;

    /// The nearest to so many nanoseconds.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        let us = ns.saturating_add(500) / 1_000;
        if us < Self::MILLISECONDS as u64 {
            return Self(us as u32);
        }
        let ms = us / 1_000;
        Self(if ms < Self::MILLISECONDS as u64 { ms as u32 | Self::MILLISECONDS } else { u32::MAX })
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn ns(self) -> u64 {
        match self.0 & Self::MILLISECONDS {
            0 => self.0 as u64 * 1_000,
            _ => (self.0 & !Self::MILLISECONDS) as u64 * 1_000_000,
        }
    }
}

/// One counted statement. Small, because a busy session writes thousands of them to memory that no cache holds.
#[derive(Clone, Debug, Default)]
pub struct StatementRecord {
    /// Its shape.
    pub fingerprint: Fingerprint,
    /// When its last byte went to the upstream.
    pub sent: Moment,
    /// Hash over all its canonical parameter values.
    pub parameters_hash: u64,
    /// Hash over the parameters that are not in `keys`.
    pub others_hash: u32,
    /// Hash of what else belongs to the group key: `search_path` and role in force; 0 for none.
    pub environment: u32,
    /// From `sent` to the first byte of its answer.
    pub server: ShortDuration,
    /// From the first byte of its answer to its completion.
    pub transfer: ShortDuration,
    /// What the client took from the previous answer on this session to sending this statement, 0 for the first of a
    /// request.
    pub turnaround: ShortDuration,
    /// Rows returned or affected, FETCHes of its cursor included; `u32::MAX` stands for more, too.
    pub rows: u32,
    /// Bytes of its row messages; `u32::MAX` stands for more, too.
    pub bytes: u32,
    /// First of its key parameters in [`RequestPart::keys`], of an INSERT first of its first values.
    pub keys_start: u16,
    /// First of the key-like cells of its only row in [`RequestPart::cells`].
    pub cells_start: u16,
    /// Its key parameters, at most [`crate::limits::KEYS_MAX`].
    pub key_count: u8,
    /// Its cells.
    pub cell_count: u8,
    /// Its label in metrics.
    pub kind: Kind,
    /// Ordinal of the transaction block on the session; 0 in autocommit.
    pub transaction: u32,
    /// Sent after the answer to the previous statement of the session was complete.
    pub is_round_trip: bool,
    /// SQLSTATE when it failed.
    pub error: Option<[u8; 5]>,
    /// Its transaction ended in a serialization failure or deadlock, at COMMIT or before: it will run again.
    pub is_retried: bool,
    /// It ran through a cursor or portal fetched in pieces.
    pub is_fetched_in_pieces: bool,
}

impl StatementRecord {
    /// From sending to completion, in nanoseconds.
    #[must_use]
    pub const fn duration_ns(&self) -> u64 {
        self.server.ns() + self.transfer.ns()
    }

    /// Range of its key parameters in [`RequestPart::keys`].
    #[must_use]
    pub fn keys(&self) -> Range<usize> {
        let start = usize::from(self.keys_start);
        start..start + usize::from(self.key_count)
    }

    /// Range of its cells in [`RequestPart::cells`].
    #[must_use]
    pub fn cells(&self) -> Range<usize> {
        let start = usize::from(self.cells_start);
        start..start + usize::from(self.cell_count)
    }
}

/// One key parameter's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// 1-based number in the normalized text.
    pub parameter: u16,
    /// Elements: 1 for a scalar, more for a list (`IN`, `= ANY`), 0 for an empty one; 65,535 stands for more, too.
    pub elements: u16,
    /// Canonical hash of the value, of the first element for a list. 0 for NULL.
    pub value: u32,
    /// Hash over all elements (equal for equal lists).
    pub list_hash: u64,
}

/// Rows of a repeated or single read, pooled per shape within a request, reduced to hashes of key-like cells.
#[derive(Clone, Debug)]
pub struct RowSample {
    /// Shape whose rows these are (of the DECLARE for a cursor).
    pub fingerprint: Fingerprint,
    /// Index into `records` of the first execution that gave rows.
    pub first_record: u32,
    /// Executions that gave rows (a cursor's FETCHes are one).
    pub executions: u32,
    /// Rows seen in all, sampled or not.
    pub rows: u64,
    /// The sampled columns, at most [`crate::limits::SAMPLE_COLUMNS_MAX`].
    pub columns: Arc<[SampleColumn]>,
    /// Row-major canonical hashes, `columns.len()` per row, 0 for NULL; at most [`crate::limits::SAMPLE_ROWS_MAX`] rows.
    pub values: Vec<u32>,
}

/// A sampled column as RowDescription describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleColumn {
    /// 0-based position in the row.
    pub position: u16,
    /// Table's OID, 0 for an expression.
    pub table_oid: u32,
    /// Attribute number in that table, 0 for an expression.
    pub attribute: i16,
    /// Data type's OID.
    pub type_oid: u32,
    /// Label of the column, as the statement names it.
    pub label: Box<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_durations_keep_six_digits_or_a_microsecond() {
        for ns in [
            0,
            400,
            1_000,
            999_600,
            123_456_789,
            2_147_483_647_000,
            2_147_483_648_000,
            90 * 60 * 1_000_000_000,
        ] {
            let kept = ShortDuration::from_ns(ns).ns();
            assert!(kept.abs_diff(ns) <= (ns / 1_000_000).max(500), "{ns} became {kept}");
        }
        assert_eq!(ShortDuration::from_ns(u64::MAX).ns(), 2_147_483_647 * 1_000_000);
    }
}
