//! What a program's requests ran, judged, in the formats that people and CI read.
//!
//! A [`Capture`] is what `pgtally run` collects. [`judge()`] holds it against [`Budgets`] and a [`BaselineFile`] and makes
//! a [`Report`], which [`text`] and the other formats show.
//!
//! Deliberately absent: files, clocks, the environment, and the proxy.

mod acks;
mod annotations;
mod api;
mod baseline;
mod budgets;
mod capture;
mod html;
mod json;
mod judge;
mod junit;
mod markdown;
mod sarif;
mod text;
mod words;

pub use acks::{NewAck, add_ack};
pub use annotations::annotations;
pub use baseline::{BASELINE_VERSION, BaselineFile, BaselineRoute, BaselineStatement};
pub use budgets::{Budget, BudgetError, Budgets, parse_tolerance, update as update_budgets};
pub use capture::{
    CAPTURE_LIMITS, CAPTURE_VERSION, Capture, CaptureError, Finding, Parent, Queries, Route, Statement,
    fingerprint,
};
pub use html::html;
pub use json::{Differences, schema};
pub use judge::{
    Blame, Changed, EXIT_INCOMPLETE, EXIT_OVER, FailOn, Judged, Judging, Over, REPORT_VERSION, Range, Report,
    changes, growth, judge,
};
pub use junit::junit;
pub use markdown::{changes as changes_markdown, markdown};
pub use sarif::sarif;
pub use text::{changes as changes_text, text};
