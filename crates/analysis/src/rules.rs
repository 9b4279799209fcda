//! The rules: what is wrong with a finished request.
//!
//! [`evaluate`] builds one `Case` (the request as the rules need it) and asks each rule about each group of equal
//! statements. Rules are plain functions; what they share is in `case.rs` (groups, exclusions) and `draft.rs` (cost,
//! severity). A request is judged by itself and by what [`History`] tells of earlier ones.
//!
//! Read next: `rules/case.rs`, then `rules/n_plus_one.rs`.

mod case;
mod count_then_select;
mod draft;
mod duplicate;
mod large_result;
mod n_plus_one;
mod reread;
mod sequential;
mod slow_statement;
mod whole_request;
mod write_loop;

#[cfg(test)]
mod tests;

use pgtally_fingerprint::Fingerprint;

use crate::catalog::Catalog;
use crate::finding::Detection;
use crate::history::History;
use crate::limits::DETECTIONS_MAX;
use crate::merge::Request;
use crate::settings::FindingSettings;
use crate::shape::KnownShape;

/// Everything the rules find in one request, worst first, each finding id once. `history` knows of earlier requests.
///
/// `shapes` tells what is known of a shape; statements of unknown shapes, and shapes whose text could not be parsed,
/// can only be slow. Work is about linear in the recorded statements.
#[must_use]
pub fn evaluate(
    request: &Request,
    shapes: &dyn Fn(Fingerprint) -> Option<KnownShape>,
    catalog: &Catalog,
    settings: &FindingSettings,
    history: &History,
) -> Vec<Detection> {
    let case = case::Case::new(request, shapes, catalog, settings.of(request.route()), history);
    let mut drafts = draft::Drafts::default();
    let groups = case.groups();
    for group in &groups {
        let loops = n_plus_one::find(&case, group);
        if loops.is_empty() {
            drafts.extend(duplicate::find(&case, group));
        }
        drafts.extend(loops);
        drafts.extend(write_loop::find(&case, group));
        drafts.extend(reread::find(&case, group));
        drafts.extend(count_then_select::find(&case, &groups, group));
        drafts.extend(large_result::find_unbounded(&case, group));
        drafts.extend(large_result::find_wide(&case, group));
    }
    drafts.extend(slow_statement::find(&case));
    drafts.extend(sequential::find(&case));
    drafts.extend(whole_request::find_chatty(&case));
    drafts.extend(whole_request::find_idle(&case));
    let mut detections = drafts.finish(&case);
    detections.sort_by_key(|it| (std::cmp::Reverse((it.severity, it.wasted_ns)), it.id));
    detections.truncate(DETECTIONS_MAX);
    detections
}
