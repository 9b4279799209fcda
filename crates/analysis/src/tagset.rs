//! What the comments of one text say about its request.

use std::rc::Rc;
use std::sync::Arc;

use pgtally_fingerprint::{Scan, tags};
use rustc_hash::FxHasher;

use crate::limits::{NAME_BYTES_MAX, TAG_SETS_MAX};
use crate::record::Attribution;
use std::hash::Hasher;

/// Tags of one text, as far as anything reads them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TagSet {
    /// The request's id and how much it is trusted.
    pub(crate) id: Option<(Attribution, Arc<str>)>,
    /// The request's route.
    pub(crate) route: Option<Arc<str>>,
    /// `framework`, `db_driver` or `driver`.
    pub(crate) framework: Option<Arc<str>>,
    /// `version`, or Datadog's `ddpv`: of the application.
    pub(crate) version: Option<Arc<str>>,
    /// Source location.
    pub(crate) source_location: Option<Arc<str>>,
    /// A `job` or `job_id` tag is there.
    pub(crate) is_job: bool,
}

impl TagSet {
    /// Reads the tags of all comments; `id_tags` are the names of id tags, most trusted first.
    fn read<'a>(comments: impl Iterator<Item = &'a [u8]>, id_tags: &[String]) -> Self {
        let mut found = Found::default();
        for (key, value) in comments.flat_map(tags::parse) {
            found.note(&key, &value, id_tags);
        }
        found.into_tag_set()
    }
}

/// Everything noted before precedence is decided.
#[derive(Default)]
struct Found {
    trace: Option<Arc<str>>,
    id: Option<(usize, Arc<str>)>,
    routes: [Option<Arc<str>>; 6],
    framework: Option<Arc<str>>,
    locations: [Option<Arc<str>>; 4],
    version: Option<Arc<str>>,
    is_job: bool,
}

/// Tags that name the route, most specific first; `controller` is joined with `action`.
const ROUTE_TAGS: [&str; 6] = ["route", "controller", "action", "http.route", "view", "job"];
/// Tags that name the source location; the second and fourth complete the one before.
const LOCATION_TAGS: [&str; 4] = ["source_location", "code.filepath", "code.lineno", "file"];

impl Found {
    fn note(&mut self, key: &str, value: &str, id_tags: &[String]) {
        if value.is_empty() {
            return;
        }
        self.is_job |= matches!(key, "job" | "job_id");
        let shared = || Arc::from(crate::part::cut(value, NAME_BYTES_MAX));
        if key == "traceparent" {
            self.trace = tags::trace_id(value).map(|trace| format!("trace:{trace}").into());
        } else if let Some((rank, name)) = id_tags.iter().enumerate().find(|(_, name)| *name == key) {
            if self.id.as_ref().is_none_or(|(best, _)| rank < *best) {
                self.id = Some((rank, format!("{name}:{}", crate::part::cut(value, NAME_BYTES_MAX)).into()));
            }
        } else if let Some(index) = ROUTE_TAGS.iter().position(|name| *name == key) {
            set(&mut self.routes, index, shared());
        } else if let Some(index) = LOCATION_TAGS.iter().position(|name| *name == key) {
            set(&mut self.locations, index, shared());
        } else if matches!(key, "framework" | "db_driver" | "driver") && self.framework.is_none() {
            self.framework = Some(shared());
        } else if matches!(key, "ddpv" | "version") && self.version.is_none() {
            self.version = Some(shared());
        }
    }

    fn into_tag_set(self) -> TagSet {
        let [route, controller, action, http_route, view, job] = self.routes;
        let controller = match (controller, action) {
            (Some(controller), Some(action)) => Some(Arc::from(format!("{controller}#{action}"))),
            (controller, action) => controller.or(action),
        };
        let [location, path, line, file] = self.locations;
        let path = match (path, line) {
            (Some(path), Some(line)) => Some(Arc::from(format!("{path}:{line}"))),
            (path, _) => path,
        };
        let trace = self.trace.map(|trace| (Attribution::Trace, trace));
        TagSet {
            id: trace.or(self.id.map(|(_, id)| (Attribution::Tag, id))),
            route: route.or(controller).or(http_route).or(view).or(job),
            framework: self.framework,
            source_location: location.or(path).or(file),
            version: self.version,
            is_job: self.is_job,
        }
    }
}

fn set<T, const N: usize>(slots: &mut [Option<T>; N], index: usize, value: T) {
    if let Some(slot) = slots.get_mut(index) {
        *slot = Some(value);
    }
}

/// A tag set with the hash of the comments it was read from.
type Known = (u64, Rc<TagSet>);

/// Tag sets read lately, by the hash of their comments: the statements of one request often carry the same.
#[derive(Debug)]
pub(crate) struct TagSets {
    slots: Box<[Option<Known>]>,
    id_tags: Vec<String>,
}

impl TagSets {
    pub(crate) fn new(id_tags: Vec<String>) -> Self {
        Self { slots: (0..TAG_SETS_MAX).map(|_| None).collect(), id_tags }
    }

    /// Tags of a scanned text; `None` when it has no comment.
    pub(crate) fn of(&mut self, text: &[u8], scan: &Scan) -> Option<Rc<TagSet>> {
        if scan.comments.is_empty() {
            return None;
        }
        let comment = |range: &std::ops::Range<u32>| text.get(range.start as usize..range.end as usize);
        let comments = || scan.comments.iter().filter_map(comment);
        let mut hasher = FxHasher::default();
        comments().for_each(|comment| hasher.write(comment));
        let hash = hasher.finish();
        let slot = self.slots.get_mut(hash as usize % TAG_SETS_MAX)?;
        if let Some((known, tags)) = slot
            && *known == hash
        {
            return Some(Rc::clone(tags));
        }
        let tags = Rc::new(TagSet::read(comments(), &self.id_tags));
        *slot = Some((hash, Rc::clone(&tags)));
        Some(tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(comment: &str) -> TagSet {
        TagSet::read([comment.as_bytes()].into_iter(), &["request_id".to_owned(), "job_id".to_owned()])
    }

    #[test]
    fn the_trace_id_is_the_request_not_the_span() {
        let tags =
            read("traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',request_id='7'");
        assert_eq!(tags.id, Some((Attribution::Trace, "trace:4bf92f3577b34da6a3ce929d0e0e4736".into())));
    }

    #[test]
    fn routes_come_from_the_most_specific_tag() {
        for (comment, route) in [
            ("route='%2Fposts',controller='c'", Some("/posts")),
            ("controller='posts',action='show'", Some("posts#show")),
            ("application:Shop,controller:orders,action:index", Some("orders#index")),
            ("view='v',job='j'", Some("v")),
            ("job='ImportJob'", Some("ImportJob")),
            ("just prose", None),
        ] {
            assert_eq!(read(comment).route.as_deref(), route, "{comment}");
        }
    }

    #[test]
    fn the_first_id_tag_of_the_list_wins() {
        assert_eq!(read("job_id='1',request_id='2'").id, Some((Attribution::Tag, "request_id:2".into())));
    }
}
