//! Shows tapped statements to those who listen: text, marks, filter, and one piece of JSON for all of them.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

use pgtally_analysis::{FindingKind, FindingStore, Said, Tapped, TappedBatch};
use pgtally_fingerprint::Fingerprint;
use rustc_hash::{FxHashMap, FxHashSet};

use super::shapes::Shapes;
use super::views::milliseconds;
use crate::clock::{Clock, rfc3339};
use crate::explain::with_values;
use crate::filter::Subject;
use crate::limits::{TAP_REPEATS_MAX, TAP_TEXT_BYTES_MAX};
use crate::metrics::Metrics;
use crate::tap::{Listener, TapView};
use crate::web::text::visible;

/// Everybody who listens.
#[derive(Default)]
pub(super) struct Taps {
    listeners: Vec<Listener>,
    /// How often each statement ran in its request.
    repeats: FxHashMap<(Arc<str>, Fingerprint), u32>,
}

/// What the aggregator knows beyond the statements themselves.
pub(super) struct Surroundings<'a> {
    pub(super) clock: &'a Clock,
    pub(super) findings: &'a FindingStore,
    pub(super) metrics: &'a Metrics,
    pub(super) shapes: &'a Shapes,
    pub(super) slow_ns: u64,
}

impl Taps {
    pub(super) fn add(&mut self, listener: Listener) {
        self.listeners.push(listener);
    }

    /// Passes a worker's statements on.
    pub(super) fn show(&mut self, batch: TappedBatch, around: &Surroundings<'_>) {
        self.listeners.retain(|listener| !listener.chunks.is_closed());
        if self.listeners.is_empty() {
            self.repeats = FxHashMap::default();
            return;
        }
        around.metrics.dropped_because("tap", batch.dropped);
        let n_plus_ones = n_plus_ones(around.findings);
        let now = around.clock.now();
        let chunk = |listener: &mut Listener| {
            listener.allowance.refill(now);
            Chunk::new(listener.allowance.events)
        };
        let mut chunks: Vec<Chunk> = self.listeners.iter_mut().map(chunk).collect();
        let wants_all = self.listeners.iter().any(|listener| listener.wants_all);
        let mut unseen = 0;
        for tapped in &batch.statements {
            let repeat = self.count(tapped);
            // In a flood nobody has room: then not even filters are asked, which cost more than all the rest.
            if chunks.iter().all(Chunk::is_full) {
                unseen += u64::from(tapped.is_counted || wants_all);
                continue;
            }
            self.show_one(tapped, repeat, &n_plus_ones, around, &mut chunks);
        }
        around.metrics.dropped_because("tap", unseen);
        for (listener, chunk) in self.listeners.iter_mut().zip(chunks) {
            let lost = listener.send(chunk, batch.dropped + unseen);
            around.metrics.dropped_because("tap", lost);
        }
    }

    fn count(&mut self, tapped: &Tapped) -> u32 {
        if !tapped.is_counted {
            return 1;
        }
        if self.repeats.len() >= TAP_REPEATS_MAX {
            self.repeats.clear();
        }
        let repeat = self.repeats.entry((Arc::clone(&tapped.request), tapped.fingerprint)).or_default();
        *repeat = repeat.saturating_add(1);
        *repeat
    }

    fn show_one(
        &self,
        tapped: &Tapped,
        repeat: u32,
        n_plus_ones: &FxHashSet<(Arc<str>, Fingerprint)>,
        around: &Surroundings<'_>,
        chunks: &mut [Chunk],
    ) {
        let text = around.shapes.text(tapped.fingerprint);
        let first_word = text.as_deref().map_or(Cow::Borrowed(""), first_word);
        let fingerprint = tapped.fingerprint.to_string();
        let error = tapped.error.map(|sqlstate| sqlstate.escape_ascii().to_string());
        let duration_ns = tapped.server_ns.saturating_add(tapped.transfer_ns);
        let framework = &tapped.origin.framework;
        let is_n_plus_one = n_plus_ones.contains(&(Arc::clone(&tapped.route), tapped.fingerprint));
        let subject = Subject {
            texts: text.as_deref().into_iter().chain([&*tapped.route, &*tapped.request]).collect(),
            routes: vec![&tapped.route],
            operations: vec![tapped.kind.name(), &first_word],
            duration_ns: Some(duration_ns),
            count: Some(u64::from(repeat)),
            rows: Some(tapped.rows),
            sqlstates: error.iter().map(String::as_str).collect(),
            tags: vec![&tapped.request, framework, &tapped.origin.source_location],
            database: Some(&tapped.origin.database),
            application: Some(&tapped.origin.application_name),
            request: Some(&tapped.request),
            session: Some(tapped.session),
            fingerprints: [Some(&fingerprint), None],
            is_error: error.is_some(),
            is_n_plus_one,
            is_slow: tapped.is_counted && duration_ns >= around.slow_ns,
            ..Subject::default()
        };
        let mut json = None;
        for (listener, chunk) in self.listeners.iter().zip(chunks) {
            if !(tapped.is_counted || listener.wants_all) || !listener.filter.lets_through(&subject) {
                continue;
            }
            let event = json.get_or_insert_with(|| {
                let statement = text.as_deref().map(cut);
                let view = TapView {
                    at: rfc3339(around.clock.unix_seconds(tapped.sent)),
                    session: tapped.session,
                    request: &tapped.request,
                    route: &tapped.route,
                    attribution: tapped.attribution.name(),
                    database: &tapped.origin.database,
                    application: &tapped.origin.application_name,
                    op: &first_word,
                    kind: tapped.kind.name(),
                    fingerprint: &fingerprint,
                    statement: statement.as_deref(),
                    text: tapped.said.as_ref().map(|said| &*said.text),
                    values: tapped.said.as_ref().map(|said| &*said.values),
                    psql: tapped.said.as_deref().map(runnable),
                    duration_ms: milliseconds(duration_ns),
                    server_ms: milliseconds(tapped.server_ns),
                    rows: tapped.rows,
                    bytes: tapped.bytes,
                    repeat,
                    round_trip: tapped.is_round_trip,
                    counted: tapped.is_counted,
                    n_plus_one: is_n_plus_one,
                    slow: subject.is_slow,
                    error: error.as_deref(),
                };
                serde_json::to_vec(&view).unwrap_or_default()
            });
            chunk.add(event);
        }
    }
}

/// What psql runs as the client did.
fn runnable(said: &Said) -> String {
    let values = said.values.iter().map(Option::as_deref);
    visible(&with_values(&said.text, Some(values)))
}

/// Events of one batch for one listener.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    events: u64,
    /// How many there may be.
    events_max: u64,
    /// Events beyond those.
    dropped: u64,
}

impl Chunk {
    fn new(events_max: u64) -> Self {
        Self { events_max, ..Self::default() }
    }

    fn is_full(&self) -> bool {
        self.events >= self.events_max
    }

    fn add(&mut self, json: &[u8]) {
        if self.is_full() {
            self.dropped += 1;
            return;
        }
        self.events += 1;
        self.bytes.extend_from_slice(b"data: ");
        self.bytes.extend_from_slice(json);
        self.bytes.extend_from_slice(b"\n\n");
    }
}

impl Listener {
    /// Sends a chunk, and how much was lost; answers with the number of events lost here. `unseen` statements never
    /// reached the filter.
    fn send(&mut self, mut chunk: Chunk, unseen: u64) -> u64 {
        self.dropped += chunk.dropped + unseen;
        self.allowance.events = self.allowance.events.saturating_sub(chunk.events);
        if chunk.bytes.is_empty() && self.dropped == 0 {
            return 0;
        }
        if self.dropped > 0 {
            // Writing to memory cannot fail.
            let _ = write!(chunk.bytes, "event: dropped\ndata: {{\"dropped\":{}}}\n\n", self.dropped);
        }
        if self.chunks.try_send(chunk.bytes).is_ok() {
            self.dropped = 0;
            return chunk.dropped;
        }
        self.dropped += chunk.events;
        chunk.dropped + chunk.events
    }
}

/// Routes with the repeated statements of their N+1s.
pub(super) fn n_plus_ones(findings: &FindingStore) -> FxHashSet<(Arc<str>, Fingerprint)> {
    let loops = findings.iter().map(|finding| &finding.worst);
    loops
        .filter(|it| matches!(it.kind, FindingKind::NPlusOne | FindingKind::NPlusOneWrite))
        .map(|it| (Arc::clone(&it.route), it.fingerprint))
        .collect()
}

/// First words of almost all statements, and the names people look for them by.
const FIRST_WORDS: [(&str, &str); 12] = [
    ("select", "select"),
    ("insert", "insert"),
    ("update", "update"),
    ("delete", "delete"),
    ("with", "with"),
    ("begin", "begin"),
    ("commit", "commit"),
    ("rollback", "rollback"),
    ("set", "set"),
    ("abort", "rollback"),
    ("end", "commit"),
    ("start", "begin"),
];

/// The first word of a statement in lower case, by the name people look for.
pub(super) fn first_word(text: &str) -> Cow<'static, str> {
    let end = text.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(text.len());
    let word = text.get(..end).unwrap_or_default();
    match FIRST_WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)) {
        Some((_, name)) => Cow::Borrowed(name),
        None => Cow::Owned(word.to_ascii_lowercase()),
    }
}

/// As much of a text as an event holds, with a mark where something is missing.
fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= TAP_TEXT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let kept = text.get(..text.floor_char_boundary(TAP_TEXT_BYTES_MAX)).unwrap_or_default();
    Cow::Owned(format!("{kept}…"))
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::filter::Filter;
    use crate::limits::TAP_EVENTS_MAX;
    use crate::tap::Allowance;

    #[test]
    fn a_slow_listener_is_told_what_it_has_lost() {
        let (chunks, mut receiver) = mpsc::channel(1);
        let (filter, allowance) = (Filter::default(), Allowance::default());
        let mut listener = Listener { filter, wants_all: false, chunks, dropped: 0, allowance };
        let chunk = |events: u64| {
            let mut chunk = Chunk::new(TAP_EVENTS_MAX);
            (0..events).for_each(|_| chunk.add(b"{}"));
            chunk
        };
        assert_eq!(listener.send(chunk(2), 0), 0);
        assert_eq!(listener.send(chunk(3), 0), 3);
        assert_eq!(listener.send(chunk(TAP_EVENTS_MAX + 4), 5), 4 + TAP_EVENTS_MAX);
        assert_eq!(listener.allowance.events, 0);
        let first = String::from_utf8(receiver.try_recv().unwrap()).unwrap();
        assert_eq!(first, "data: {}\n\ndata: {}\n\n");
        listener.send(chunk(1), 0);
        let second = String::from_utf8(receiver.try_recv().unwrap()).unwrap();
        let lost = 3 + 4 + 5 + TAP_EVENTS_MAX;
        assert_eq!(second, format!("data: {{}}\n\nevent: dropped\ndata: {{\"dropped\":{lost}}}\n\n"));
    }

    #[test]
    fn long_texts_are_cut_and_say_so() {
        assert_eq!(cut("SELECT 1"), "SELECT 1");
        let long = cut(&"é".repeat(TAP_TEXT_BYTES_MAX)).into_owned();
        assert!(long.ends_with("é…") && long.len() <= TAP_TEXT_BYTES_MAX + '…'.len_utf8(), "{}", long.len());
    }

    #[test]
    fn first_words_go_by_the_names_people_look_for() {
        assert_eq!(first_word("START TRANSACTION"), "begin");
        assert_eq!(first_word("end"), "commit");
        assert_eq!(first_word("SELECT 1"), "select");
        assert_eq!(first_word(""), "");
        assert_eq!(first_word("(SELECT 1)"), "");
    }
}
