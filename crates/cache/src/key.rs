//! What an answer is kept under: everything that can change a byte of it.
//!
//! Server, database, user, role and settings stand in the [`Environment`]; the text without comments, the types,
//! formats and values of its parameters, the formats of the result and the kind of protocol in the key's bytes. A hit
//! compares them all: a hash alone would one day hand out somebody else's rows.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quick_cache::Equivalent;
use rustc_hash::FxHasher;

use crate::policy::Mode;
use crate::unit::Unit;

/// Bytes of the longest key; texts and values that are longer are not worth keeping an answer for.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// Where a session's statements run: its server, database, user and role, and every setting that answers depend on,
/// as the server told them. Equal bytes mean equal environments.
#[derive(Debug)]
pub struct Environment {
    bytes: Box<[u8]>,
    hash: u64,
}

impl PartialEq for Environment {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.bytes == other.bytes
    }
}

impl Environment {
    /// The environment that these bytes describe.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut hasher = FxHasher::default();
        hasher.write(bytes);
        Self { bytes: bytes.into(), hash: hasher.finish() }
    }
}

/// A key in the store.
#[derive(Clone, Debug)]
pub struct Key {
    environment: Arc<Environment>,
    bytes: Arc<[u8]>,
}

/// A key that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct KeyRef<'a> {
    /// See [`Environment`].
    pub environment: &'a Arc<Environment>,
    /// Written by [`write_key`].
    pub bytes: &'a [u8],
}

impl KeyRef<'_> {
    /// The key to keep something under.
    #[must_use]
    pub fn to_key(self) -> Key {
        Key { environment: Arc::clone(self.environment), bytes: self.bytes.into() }
    }
}

impl Key {
    /// This key, to look for it.
    #[must_use]
    pub fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { environment: &self.environment, bytes: &self.bytes }
    }

    /// Bytes on the heap, apart from the environment, which many keys share.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.bytes.len() + 2 * size_of::<usize>()
    }
}

fn are_equal(one: KeyRef<'_>, other: KeyRef<'_>) -> bool {
    let is_same = Arc::ptr_eq(one.environment, other.environment) || one.environment == other.environment;
    is_same && one.bytes == other.bytes
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        are_equal(self.as_ref(), other.as_ref())
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.environment.hash);
        state.write(self.bytes);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        are_equal(*self, key.as_ref())
    }
}

/// Writes the bytes of a unit's key into `bytes`; false where it would be too long. `text` is bare, `types` are those
/// of its definition. `tags` make answers old: one that was kept under others does not hear of these. `varying` are the
/// settings, with their values, that the answer depends on besides its environment.
#[must_use]
pub fn write_key(
    mode: Mode,
    unit: &Unit<'_>,
    (text, types): (&[u8], &[u8]),
    tags: &[Box<str>],
    varying: &[u8],
    bytes: &mut Vec<u8>,
) -> bool {
    bytes.clear();
    let (kind, bound): (u8, &[u8]) = match unit {
        Unit::Simple { .. } => (b'Q', &[]),
        Unit::Extended { bound, is_described: true, .. } => (b'D', bound),
        Unit::Extended { bound, .. } => (b'E', bound),
    };
    let tags_bytes: usize = tags.iter().map(|tag| size_of::<u32>() + tag.len()).sum();
    if text.len() + types.len() + bound.len() + tags_bytes + varying.len() > KEY_BYTES_MAX {
        return false;
    }
    // Each mode keeps its answers by rules of its own.
    bytes.extend_from_slice(&[kind, mode as u8]);
    bytes.extend_from_slice(&(tags.len() as u32).to_le_bytes());
    for part in tags.iter().map(|tag| tag.as_bytes()).chain([varying, text, types]) {
        // Each part with its length, or one could begin where another ends.
        bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes.extend_from_slice(bound);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(unit: &Unit<'_>, text: &[u8], types: &[u8]) -> Vec<u8> {
        tagged(unit, text, types, &[])
    }

    fn tagged(unit: &Unit<'_>, text: &[u8], types: &[u8], tags: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let tags: Vec<Box<str>> = tags.iter().map(|tag| Box::from(*tag)).collect();
        assert!(write_key(Mode::Ttl, unit, (text, types), &tags, b"", &mut bytes));
        bytes
    }

    #[test]
    fn whatever_changes_an_answer_changes_the_key() {
        let unit = |bound, is_described| Unit::Extended { parse: None, statement: b"s", bound, is_described };
        let keys = [
            key(&Unit::Simple { text: b"" }, b"SELECT 1", b""),
            key(&Unit::Simple { text: b"" }, b"SELECT 2", b""),
            key(&unit(b"", false), b"SELECT 1", b""),
            key(&unit(b"", true), b"SELECT 1", b""),
            key(&unit(b"\0\0", false), b"SELECT 1", b""),
            key(&unit(b"", false), b"SELECT ", b"1"),
            key(&unit(b"1", false), b"SELECT ", b""),
            key(&unit(b"", false), b"SELECT 1", b"\0\0\0\x17"),
            tagged(&unit(b"", false), b"SELECT 1", b"", &["a"]),
            tagged(&unit(b"", false), b"SELECT 1", b"", &["b"]),
            tagged(&unit(b"", false), b"SELECT 1", b"", &["a", "b"]),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(keys.iter().skip(index + 1).all(|other| one != other), "{index}");
        }
        let long = vec![b'x'; KEY_BYTES_MAX + 1];
        assert!(!write_key(Mode::Ttl, &Unit::Simple { text: b"" }, (&long, b""), &[], b"", &mut Vec::new()));
    }

    #[test]
    fn environments_part_equal_texts() {
        let [one, same, other] = ["a", "a", "b"].map(|text| Arc::new(Environment::new(text.as_bytes())));
        let key = KeyRef { environment: &one, bytes: b"x" }.to_key();
        assert!(KeyRef { environment: &same, bytes: b"x" }.equivalent(&key));
        assert!(!KeyRef { environment: &other, bytes: b"x" }.equivalent(&key));
        assert!(!KeyRef { environment: &one, bytes: b"y" }.equivalent(&key));
    }
}
