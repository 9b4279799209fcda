//! Which statements ran for which request, and what is wrong with that.
//!
//! A [`SessionObserver`] watches the bytes of one session and records [`RequestPart`]s; a [`Worker`] holds what the
//! sessions of a thread share. [`Request`] puts the parts of one request together, [`evaluate`] holds it against the
//! rules, [`FindingStore`] keeps what they found, and [`RollingBaselines`] what a route usually runs.
//!
//! Deliberately absent: sockets, clocks ([`Moment`] comes in), the environment, files, and any text with literals.
//!
//! Read next: `observer.rs` for the way in, `rules.rs` for the judgement.

pub mod limits;

mod acks;
mod affinity;
mod attribution;
mod baseline;
mod catalog;
mod columns;
mod counters;
mod definition;
mod exchange;
mod execution;
mod finding;
mod fix;
mod history;
mod linkage;
mod merge;
mod observer;
mod part;
mod record;
mod recording;
mod rewrite;
mod rules;
mod settings;
mod shape;
mod store;
mod tagset;
mod tap;
mod templates;
mod texts;
mod values;
mod worker;

#[cfg(test)]
mod testing;

pub use acks::{Ack, Acks, is_like};
pub use baseline::{
    Baseline, BaselineLimits, Change, Comparison, CountDistribution, CountRange, Generation, Judgement,
    Observed, OpenRegression, ParentLink, Regression, RollingBaselines, RollingSettings, RouteBaseline,
    RouteChange, RouteKey, RouteStanding, StatementBaseline, StatementChange, Tolerance, abbreviated,
    compare,
};
pub use catalog::Catalog;
pub use counters::{Counters, DURATION_BUCKETS, DatabaseCounters, Dropped, Durations, ShapeCounters};
pub use finding::{Confidence, Detection, FindingId, FindingKind, Growth, Parent, Severity, Times};
pub use history::History;
pub use merge::{Identity, Recorded, Request, StatementSummary};
pub use observer::SessionObserver;
pub use record::{
    Attribution, KeyValue, Moment, Origin, Pause, RequestPart, Rollback, RowSample, SampleColumn,
    ShortDuration, StatementRecord, WideColumn,
};
pub use rules::evaluate;
pub use settings::{CriticalTime, FindingSettings, GrowthSettings, TimeSettings};
pub use shape::{KnownShape, Shape};
pub use store::{Absorbed, Finding, FindingState, FindingStore, TimelineEntry};
pub use tap::{Said, Tapped, TappedBatch};
pub use worker::{ObserverSettings, Worker};
