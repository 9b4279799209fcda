//! Which cells of a row are worth hashing, and how.

use std::hash::Hasher;
use std::rc::Rc;
use std::sync::Arc;

use pgtally_fingerprint::value;
use pgtally_protocol::backend::{self, Cells, Field};
use pgtally_protocol::frontend::Formats;
use rustc_hash::FxHasher;

use crate::limits::{KEY_TEXT_BYTES_MAX, NAME_BYTES_MAX, SAMPLE_COLUMNS_MAX};
use crate::record::SampleColumn;

/// OIDs of `pg_type.dat`: int8, int2, int4, oid, uuid.
const INTEGER_OR_UUID: [u32; 5] = [20, 21, 23, 26, 2950];
/// char, name, text, bpchar, varchar, numeric.
const TEXT: [u32; 6] = [18, 19, 25, 1042, 1043, 1700];

/// Which result columns are binary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BinaryColumns {
    /// One bit per column; columns from the 64th on share the last bit.
    mask: u64,
}

impl BinaryColumns {
    /// As a `Bind` asks for them.
    pub(crate) fn asked(formats: &Formats<'_>) -> Self {
        Self { mask: formats.mask() }
    }

    fn is_binary(self, position: u16) -> bool {
        self.mask >> position.min(63) & 1 == 1
    }
}

/// The sampled columns of a result, worked out once per `RowDescription`.
#[derive(Debug)]
pub(crate) struct ColumnPlan {
    description_hash: u64,
    /// Sorted by position.
    pub(crate) columns: Arc<[SampleColumn]>,
    /// Formats as described; meaningless in the description of a prepared statement.
    pub(crate) described: BinaryColumns,
}

/// One row reduced to the hashes of its sampled cells.
pub(crate) type RowHashes = [u32; SAMPLE_COLUMNS_MAX];

impl ColumnPlan {
    /// The plan of a `RowDescription`, taken from `known` when that was made of the same one.
    pub(crate) fn of(body: &[u8], known: Option<&Rc<Self>>) -> Rc<Self> {
        let mut hasher = FxHasher::default();
        hasher.write(body);
        let hash = hasher.finish();
        match known {
            Some(known) if known.description_hash == hash => Rc::clone(known),
            _ => Rc::new(Self::new(body, hash)),
        }
    }

    fn new(body: &[u8], description_hash: u64) -> Self {
        let mut candidates = Vec::new();
        let mut mask = 0;
        let mut position = 0_u16;
        backend::row_description(body, |field: Field<'_>| {
            mask |= u64::from(field.is_binary) << position.min(63);
            if let Some(rank) = rank(field.type_oid) {
                candidates.push((rank, sample_column(position, &field)));
            }
            position = position.saturating_add(1);
        });
        candidates.sort_by_key(|(rank, column)| (*rank, column.position));
        candidates.truncate(SAMPLE_COLUMNS_MAX);
        candidates.sort_by_key(|(_, column)| column.position);
        let columns = candidates.into_iter().map(|(_, column)| column).collect();
        Self { description_hash, columns, described: BinaryColumns { mask } }
    }

    /// Hashes of the sampled cells of one row; 0 for NULL and for what is too long to be a key.
    pub(crate) fn hash_row(&self, body: &[u8], binary: BinaryColumns) -> RowHashes {
        let mut hashes = [0; SAMPLE_COLUMNS_MAX];
        let mut cells = Cells::new(body);
        let mut next = 0_u16;
        for (column, slot) in self.columns.iter().zip(&mut hashes) {
            let Some(cell) = cells.nth(usize::from(column.position - next)) else { break };
            next = column.position + 1;
            *slot = match cell {
                Some(cell) if cell.len() > KEY_TEXT_BYTES_MAX => 0,
                Some(cell) if binary.is_binary(column.position) => value::hash_binary(column.type_oid, cell),
                Some(cell) => value::hash_text(cell),
                None => 0,
            };
        }
        hashes
    }
}

/// Integers and uuids first: they are the keys of most schemas.
fn rank(type_oid: u32) -> Option<u8> {
    if INTEGER_OR_UUID.contains(&type_oid) { Some(0) } else { TEXT.contains(&type_oid).then_some(1) }
}

fn sample_column(position: u16, field: &Field<'_>) -> SampleColumn {
    let label = String::from_utf8_lossy(field.name);
    SampleColumn {
        position,
        table_oid: field.table_oid,
        attribute: field.attribute,
        type_oid: field.type_oid,
        label: crate::part::cut(&label, NAME_BYTES_MAX).into(),
    }
}
