//! Parameter values of one execution: those that stand in the text, completed by those bound to its placeholders.
//!
//! Values are kept as hashes: one over all of them, one over those that are no keys, and each key by itself.

use std::hash::Hasher;
use std::ops::Range;

use pgtally_fingerprint::value::{self, ListHash};
use pgtally_fingerprint::{Command, Parameter, Role, Value};
use rustc_hash::FxHasher;

use crate::limits::KEYS_MAX;
use crate::record::KeyValue;

/// Parameter values of one execution.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ParameterValues {
    pub(crate) keys: [KeyValue; KEYS_MAX],
    pub(crate) key_count: u8,
    /// Over all values.
    pub(crate) hash: u64,
    /// Over the values that are not in `keys`.
    pub(crate) others_hash: u64,
}

/// Placeholders in a row that hold a key. At most [`KEYS_MAX`] per text, whatever numbers it uses.
#[derive(Clone, Debug)]
pub(crate) struct KeyPlaceholders {
    /// 0-based numbers.
    pub(crate) numbers: Range<usize>,
    /// Position in [`ParameterValues::keys`].
    pub(crate) key: u8,
    pub(crate) is_array: bool,
}

impl ParameterValues {
    /// A new key slot; `None` when all are taken.
    fn add_key(&mut self, parameter: u16, elements: u32) -> Option<u8> {
        let slot = self.keys.get_mut(usize::from(self.key_count))?;
        let elements = u16::try_from(elements).unwrap_or(u16::MAX);
        *slot = KeyValue { parameter, elements, ..KeyValue::default() };
        self.key_count += 1;
        Some(self.key_count - 1)
    }

    /// Completes the values of a text by those of its placeholders, none of which is an array.
    pub(crate) fn complete(
        &mut self,
        placeholders: &[KeyPlaceholders],
        values: impl IntoIterator<Item = u32>,
    ) {
        let mut keys: [Option<BoundKey>; KEYS_MAX] = Default::default();
        for (index, value) in values.into_iter().enumerate() {
            self.hash = mix(self.hash, u64::from(value));
            let usage = placeholders.iter().find(|it| it.numbers.contains(&index));
            match usage.and_then(|it| keys.get_mut(usize::from(it.key))) {
                Some(key) => key.get_or_insert_with(BoundKey::new).push(value),
                None => self.others_hash = mix(self.others_hash, u64::from(value)),
            }
        }
        self.take(keys);
    }

    /// Takes over what was bound to keys.
    pub(crate) fn take(&mut self, keys: [Option<BoundKey>; KEYS_MAX]) {
        for (slot, key) in self.keys.iter_mut().zip(keys) {
            if let Some(key) = key {
                (slot.value, slot.elements, slot.list_hash) =
                    (key.first.unwrap_or(0), key.elements, key.list.finish());
            }
        }
    }

    /// Values that nobody knows: never like others.
    pub(crate) fn make_unique(&mut self, unique: u64) {
        self.hash = mix(self.hash, unique);
        self.others_hash = mix(self.others_hash, unique);
    }

    pub(crate) fn keys(&self) -> &[KeyValue] {
        self.keys.get(..usize::from(self.key_count)).unwrap_or(&[])
    }
}

/// The values that stand in the text; notes what its placeholders are used for.
pub(crate) fn literal_values(
    parameters: &[Parameter],
    command: Command,
    placeholders: &mut Vec<KeyPlaceholders>,
) -> ParameterValues {
    let is_kept = |role| match command {
        // It has no keys; the key of its row is among its first values.
        Command::Insert => role == Role::Value,
        // What its arguments are is for the statement to say that it runs.
        Command::Execute => true,
        _ => role == Role::Key,
    };
    let mut values = ParameterValues::default();
    for (number, parameter) in (1..).zip(parameters) {
        let key = is_kept(parameter.role).then(|| values.add_key(number, parameter.elements)).flatten();
        match parameter.value {
            Value::Literal(hash) => {
                values.hash = mix(values.hash, parameter.list_hash);
                match key.and_then(|key| values.keys.get_mut(usize::from(key))) {
                    Some(key) => (key.value, key.list_hash) = (hash, parameter.list_hash),
                    None => values.others_hash = mix(values.others_hash, parameter.list_hash),
                }
            }
            Value::Placeholder { first, count } => {
                if let Some(key) = key {
                    let start = usize::from(first.max(1)) - 1;
                    let numbers = start..start + usize::from(count);
                    placeholders.push(KeyPlaceholders { numbers, key, is_array: parameter.elements == 0 });
                }
            }
        }
    }
    values
}

/// One bound value on its way into a key.
pub(crate) struct BoundKey {
    list: ListHash,
    first: Option<u32>,
    elements: u16,
}

impl BoundKey {
    pub(crate) fn new() -> Self {
        Self { list: ListHash::new(), first: None, elements: 0 }
    }

    pub(crate) fn push(&mut self, hash: u32) {
        self.first.get_or_insert(hash);
        self.elements = self.elements.saturating_add(1);
        self.list.push(hash);
    }

    pub(crate) fn push_array(&mut self, array: &[u8], is_binary: bool) {
        if is_binary {
            value::array_binary(array, |oid, element| {
                self.push(element.map_or(0, |bytes| value::hash_binary(oid, bytes)));
            });
        } else {
            value::array_text(array, |element| self.push(element.map_or(0, value::hash_text)));
        }
    }
}

/// Both in one.
pub(crate) fn mix(hash: u64, value: u64) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u64(hash);
    hasher.write_u64(value);
    hasher.finish()
}

/// Hash of a bound value of this type.
pub(crate) fn hash_value(oid: u32, is_binary: bool, bytes: &[u8]) -> u32 {
    if is_binary { value::hash_binary(oid, bytes) } else { value::hash_text(bytes) }
}
