//! A live copy of what sessions run, made only while somebody listens.
//!
//! The worker holds a buffer while it is tapped and none while it is not: then a statement costs one look at an empty
//! pointer. The buffer is bounded; what does not fit is counted, never waited for.
//!
//! Deliberately absent: texts (a fingerprint names them), who listens, and what they want to see.

use std::sync::Arc;

use pgtally_fingerprint::{Fingerprint, Kind};

use crate::limits::TAPPED_MAX;
use crate::record::{Attribution, Moment, Origin};

/// One statement that has just ended, transaction control and settings included.
#[derive(Clone, Debug)]
pub struct Tapped {
    /// Number of the session in this process.
    pub session: u64,
    /// Key of the request it belongs to; empty before the first counted statement of one.
    pub request: Arc<str>,
    /// How the request was found.
    pub attribution: Attribution,
    /// Route of the request, as known by now.
    pub route: Arc<str>,
    /// Who runs it.
    pub origin: Origin,
    /// Last byte sent.
    pub sent: Moment,
    /// Which shape; the default when its text is not known.
    pub fingerprint: Fingerprint,
    /// Its label in metrics.
    pub kind: Kind,
    /// Whether it counts as a query of its request.
    pub is_counted: bool,
    /// Last byte sent to first byte of the answer.
    pub server_ns: u64,
    /// First byte of the answer to its end.
    pub transfer_ns: u64,
    /// Rows returned or affected.
    pub rows: u64,
    /// Bytes of its rows.
    pub bytes: u64,
    /// Sent after the answer to the previous statement of the session was complete.
    pub is_round_trip: bool,
    /// SQLSTATE when it failed.
    pub error: Option<[u8; 5]>,
    /// What the client has sent, word for word. The analysis never knows: whoever passes it on may, where the operator
    /// allows it.
    pub said: Option<Box<Said>>,
}

/// A statement as its client has sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its text, with the values that stand in it.
    pub text: Arc<str>,
    /// Values bound to `$1`, `$2`, … as texts; `None` is NULL.
    pub values: Vec<Option<String>>,
}

/// What was tapped since the last take.
#[derive(Clone, Debug, Default)]
pub struct TappedBatch {
    /// In the order in which they ended, at most [`TAPPED_MAX`].
    pub statements: Vec<Tapped>,
    /// Statements that did not fit.
    pub dropped: u64,
}

impl TappedBatch {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.dropped == 0
    }
}

/// The buffer of a tapped worker.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    batch: TappedBatch,
}

impl Tap {
    pub(crate) fn push(&mut self, tapped: Tapped) {
        if self.batch.statements.len() < TAPPED_MAX {
            self.batch.statements.push(tapped);
        } else {
            self.batch.dropped += 1;
        }
    }

    pub(crate) fn statements_mut(&mut self) -> &mut [Tapped] {
        &mut self.batch.statements
    }

    pub(crate) fn take(&mut self) -> TappedBatch {
        std::mem::take(&mut self.batch)
    }
}
