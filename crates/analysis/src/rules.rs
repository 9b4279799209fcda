//! The rules: what is wrong with a finished request.
//!
//! [`evaluate`] builds one `Case` (the request as the rules need it) and asks each rule about each group of equal
//! statements. Rules are plain functions; what they share is in `case.rs` (groups, exclusions) and `draft.rs` (cost,
//! severity). A request is judged by itself: nothing is remembered from one to the next.
//!
//! Read next: `rules/case.rs`, then `rules/n_plus_one.rs`.

mod case;
mod draft;
mod duplicate;
mod n_plus_one;
mod slow_statement;
mod write_loop;

#[cfg(test)]
mod tests;

use pgtally_fingerprint::Fingerprint;

use crate::catalog::Catalog;
use crate::finding::Detection;
use crate::limits::DETECTIONS_MAX;
use crate::merge::Request;
use crate::settings::FindingSettings;
use crate::shape::KnownShape;

/// Everything the rules find in one request, worst first, each finding id once.
///
/// `shapes` tells what is known of a shape; statements of unknown shapes, and shapes whose text could not be parsed,
/// can only be slow. Work is about linear in the recorded statements.
#[must_use]
pub fn evaluate(
    request: &Request,
    shapes: &dyn Fn(Fingerprint) -> Option<KnownShape>,
    catalog: &Catalog,
    settings: &FindingSettings,
) -> Vec<Detection> {
    let case = case::Case::new(request, shapes, catalog, settings);
    let mut drafts = draft::Drafts::default();
    for group in case.groups() {
        let loops = n_plus_one::find(&case, &group);
        if loops.is_empty() {
            drafts.extend(duplicate::find(&case, &group));
        }
        drafts.extend(loops);
        drafts.extend(write_loop::find(&case, &group));
    }
    drafts.extend(slow_statement::find(&case));
    let mut detections = drafts.finish(&case);
    detections.sort_by_key(|it| (std::cmp::Reverse((it.severity, it.wasted_ns)), it.id));
    detections.truncate(DETECTIONS_MAX);
    detections
}
