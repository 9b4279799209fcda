//! Texts seen before, as templates for those that differ in their literals only.
//!
//! Buckets are found by the text's first bytes and hold a few templates, the last used first. A bucket that is full
//! takes a new template only now and then, so that more shapes than fit do not cost an allocation each time.

use std::hash::Hasher;

use pgtally_fingerprint::{Dialect, Parameter, Scan, Template};
use rustc_hash::FxHasher;

use crate::limits::{TEMPLATE_BUCKETS, TEMPLATES_PER_BUCKET};
use crate::texts::Statement;

/// Bytes of a text that choose its bucket.
const PREFIX_BYTES: usize = 32;
/// A full bucket takes every n-th newcomer.
const REPLACE_EVERY: u32 = 64;

/// A template with what its text meant, without its values.
struct Known {
    template: Template,
    statement: Statement,
}

#[derive(Default)]
struct Bucket {
    known: Vec<Known>,
    refused: u32,
}

/// The templates of one worker.
pub(crate) struct Templates {
    buckets: Box<[Bucket]>,
    parameters: Vec<Parameter>,
}

impl Templates {
    pub(crate) fn new() -> Self {
        Self { buckets: (0..TEMPLATE_BUCKETS).map(|_| Bucket::default()).collect(), parameters: Vec::new() }
    }

    /// The statement that `text` holds, with values of no use, and the parameters of the text.
    pub(crate) fn find(&mut self, text: &[u8]) -> Option<(Statement, &[Parameter])> {
        let bucket = self.buckets.get_mut(bucket_of(text))?;
        let parameters = &mut self.parameters;
        let index = bucket.known.iter().position(|known| known.template.read(text, parameters))?;
        bucket.known.swap(0, index);
        let statement = bucket.known.first()?.statement.clone();
        Some((statement, parameters))
    }

    /// The statement that `text` holds, with values of no use.
    pub(crate) fn statement(&mut self, text: &[u8]) -> Option<&Statement> {
        let bucket = self.buckets.get_mut(bucket_of(text))?;
        let index = bucket.known.iter().position(|known| known.template.matches(text))?;
        bucket.known.swap(0, index);
        bucket.known.first().map(|known| &known.statement)
    }

    /// Keeps a scanned text as a template, where it can be one.
    pub(crate) fn learn(&mut self, text: &[u8], scan: &Scan, dialect: Dialect, statement: &Statement) {
        let Some(bucket) = self.buckets.get_mut(bucket_of(text)) else { return };
        let is_full = bucket.known.len() >= TEMPLATES_PER_BUCKET;
        if is_full && bucket.refused < REPLACE_EVERY {
            bucket.refused += 1;
            return;
        }
        let Some(template) = Template::of(text, scan, dialect) else { return };
        bucket.refused = 0;
        bucket.known.truncate(TEMPLATES_PER_BUCKET - 1);
        bucket.known.push(Known { template, statement: statement.without_values() });
    }
}

fn bucket_of(text: &[u8]) -> usize {
    let mut hasher = FxHasher::default();
    hasher.write(text.get(..PREFIX_BYTES).unwrap_or(text));
    (hasher.finish() >> 20) as usize % TEMPLATE_BUCKETS
}
