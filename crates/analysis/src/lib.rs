//! Which statements ran for which request, and what is wrong with that.

pub mod limits;

mod attribution;
mod columns;
mod counters;
mod execution;
mod finding;
mod observer;
mod part;
mod record;
mod recording;
mod shape;
mod tagset;
mod texts;
mod worker;

pub use counters::{Counters, DURATION_BUCKETS, DatabaseCounters, Dropped, Durations, ShapeCounters};
pub use finding::{Confidence, Detection, FindingId, FindingKind, Parent, Severity};
pub use observer::SessionObserver;
pub use record::{
    Attribution, KeyValue, Moment, Origin, RequestPart, RowSample, SampleColumn, StatementRecord,
};
pub use shape::{KnownShape, Shape};
pub use worker::{ObserverSettings, Worker};
