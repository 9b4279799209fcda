//! Which statements ran for which request, and what is wrong with that.

pub mod limits;

mod finding;
mod record;
mod shape;

pub use finding::{Confidence, Detection, FindingId, FindingKind, Parent, Severity};
pub use record::{
    Attribution, KeyValue, Moment, Origin, RequestPart, RowSample, SampleColumn, StatementRecord,
};
pub use shape::{KnownShape, Shape};
