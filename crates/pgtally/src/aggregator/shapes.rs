//! Shapes with their texts and facts, bounded. libpg_query is asked here, once per shape that somebody wants to know
//! about: most of a flood of shapes are only counted.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use pgtally_analysis::{KnownShape, Shape};
use pgtally_fingerprint::{Fingerprint, ShapeFacts};
use rustc_hash::FxHashMap;

use crate::limits::{SHAPE_TEXT_BYTES_MAX, SHAPES_MAX};

/// All shapes known at present.
#[derive(Default)]
pub(super) struct Shapes {
    entries: FxHashMap<Fingerprint, Entry>,
    text_bytes: usize,
    /// Counts uses: the order in which entries were used last.
    uses: Cell<u64>,
}

struct Entry {
    shape: Arc<Shape>,
    facts: OnceCell<Arc<ShapeFacts>>,
    used: Cell<u64>,
}

impl Shapes {
    /// Adds a shape if it is new; answers with the number of shapes that had to go for it.
    pub(super) fn insert(&mut self, shape: Arc<Shape>) -> u64 {
        if self.touch(shape.fingerprint) {
            return 0;
        }
        let is_full =
            self.entries.len() >= SHAPES_MAX || self.text_bytes + shape.text.len() > SHAPE_TEXT_BYTES_MAX;
        let evicted = if is_full { self.evict() } else { 0 };
        self.text_bytes += shape.text.len();
        let used = Cell::new(self.next_use());
        self.entries.insert(shape.fingerprint, Entry { shape, facts: OnceCell::new(), used });
        evicted
    }

    /// Drops the tenth part that was unused longest: one by one would search them all each time.
    fn evict(&mut self) -> u64 {
        let mut used: Vec<u64> = self.entries.values().map(|entry| entry.used.get()).collect();
        let tenth = used.len() / 10;
        let (_, bound, _) = used.select_nth_unstable(tenth);
        let bound = *bound;
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.used.get() > bound);
        self.text_bytes = self.entries.values().map(|entry| entry.shape.text.len()).sum();
        (before - self.entries.len()) as u64
    }

    fn next_use(&self) -> u64 {
        self.uses.set(self.uses.get() + 1);
        self.uses.get()
    }

    /// Marks a shape as used; false when it is not known.
    pub(super) fn touch(&self, fingerprint: Fingerprint) -> bool {
        let entry = self.entries.get(&fingerprint);
        if let Some(entry) = entry {
            entry.used.set(self.next_use());
        }
        entry.is_some()
    }

    pub(super) fn known(&self, fingerprint: Fingerprint) -> Option<KnownShape> {
        let Entry { shape, facts, .. } = self.entries.get(&fingerprint)?;
        let facts = facts.get_or_init(|| Arc::new(pgtally_parsetree::facts(&shape.text)));
        Some(KnownShape { shape: Arc::clone(shape), facts: Arc::clone(facts) })
    }

    pub(super) fn text(&self, fingerprint: Fingerprint) -> Option<Arc<str>> {
        self.entries.get(&fingerprint).map(|entry| Arc::clone(&entry.shape.text))
    }
}

#[cfg(test)]
mod tests {
    use pgtally_fingerprint::Command;

    use super::*;

    fn shape(fingerprint: u64, text: String) -> Arc<Shape> {
        let fingerprint = Fingerprint(fingerprint);
        Arc::new(Shape { fingerprint, text: text.into(), command: Command::Select, roles: Arc::default() })
    }

    #[test]
    fn shapes_used_lately_survive_a_flood() {
        let mut shapes = Shapes::default();
        let mut evicted = 0;
        for n in 0..SHAPES_MAX as u64 * 2 {
            // No statement at all: the flood need not be parsed to be one.
            evicted += shapes.insert(shape(n, String::new()));
            shapes.touch(Fingerprint(7));
        }
        assert!(shapes.entries.len() <= SHAPES_MAX);
        assert_eq!(evicted as usize, SHAPES_MAX * 2 - shapes.entries.len());
        assert!(shapes.text(Fingerprint(7)).is_some());
    }

    #[test]
    fn texts_are_bounded_in_bytes() {
        let mut shapes = Shapes::default();
        let text = ";".repeat(1024 * 1024);
        for n in 0..40 {
            shapes.insert(shape(n, text.clone()));
        }
        assert!(shapes.text_bytes <= SHAPE_TEXT_BYTES_MAX);
    }
}
