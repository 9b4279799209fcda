//! Which cells of a row are worth hashing, and how.

use std::hash::Hasher;
use std::rc::Rc;
use std::sync::Arc;

use pgtally_fingerprint::value;
use pgtally_protocol::backend::{self, Cells, Field};
use pgtally_protocol::frontend::Formats;
use rustc_hash::FxHasher;

use crate::limits::{KEY_TEXT_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX, SAMPLE_COLUMNS_MAX};
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
    /// Labels of the first columns, key-like or not.
    labels: Box<[Box<str>]>,
}

/// The widest column of a result's wide rows, as the first of them shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WideCells {
    pub(crate) position: u16,
    pub(crate) column_bytes: u64,
    pub(crate) row_bytes: u64,
}

impl WideCells {
    /// Measures one more row of `length` bytes, of which `body` may be only the beginning.
    pub(crate) fn add(known: Option<Self>, body: &[u8], length: u32) -> Option<Self> {
        let row_bytes = u64::from(length);
        let mut known = match known {
            Some(known) => known,
            None => Self { position: widest(body, row_bytes)?, column_bytes: 0, row_bytes: 0 },
        };
        let before = usize::from(known.position);
        let cell = match Cells::new(body).nth(before) {
            Some(cell) => cell.map_or(0, |cell| cell.len() as u64),
            // Cut: what follows the cells before it is mostly this one.
            None => row_bytes.saturating_sub(Cells::new(body).take(before).map(cell_bytes).sum()),
        };
        known.column_bytes = known.column_bytes.saturating_add(cell);
        known.row_bytes = known.row_bytes.saturating_add(row_bytes);
        Some(known)
    }
}

/// Position of the widest cell; the one after the last complete cell is as wide as what is left of the row.
fn widest(body: &[u8], row_bytes: u64) -> Option<u16> {
    let (mut widest, mut bytes, mut seen, mut count) = (0, 0, 0_u64, 0_u16);
    for cell in Cells::new(body) {
        let length = cell_bytes(cell);
        if length > bytes {
            (widest, bytes) = (count, length);
        }
        seen += length;
        count = count.checked_add(1)?;
    }
    let rest = row_bytes.saturating_sub(seen + ROW_HEAD_BYTES);
    Some(if rest > bytes { count } else { widest })
}

fn cell_bytes(cell: Option<&[u8]>) -> u64 {
    LENGTH_BYTES + cell.map_or(0, |cell| cell.len() as u64)
}

/// Bytes before a cell.
const LENGTH_BYTES: u64 = 4;
/// Length and column count of a `DataRow`, with some room for what a message counts into its length.
const ROW_HEAD_BYTES: u64 = 16;

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
        let mut labels = Vec::new();
        backend::row_description(body, |field: Field<'_>| {
            mask |= u64::from(field.is_binary) << position.min(63);
            if let Some(rank) = rank(field.type_oid) {
                candidates.push((rank, sample_column(position, &field)));
            }
            if labels.len() < LABELS_MAX {
                labels.push(label(&field));
            }
            position = position.saturating_add(1);
        });
        candidates.sort_by_key(|(rank, column)| (*rank, column.position));
        candidates.truncate(SAMPLE_COLUMNS_MAX);
        candidates.sort_by_key(|(_, column)| column.position);
        let columns = candidates.into_iter().map(|(_, column)| column).collect();
        Self { description_hash, columns, described: BinaryColumns { mask }, labels: labels.into() }
    }

    /// Label of a column, empty where it was not kept.
    pub(crate) fn label(&self, position: u16) -> &str {
        self.labels.get(usize::from(position)).map_or("", |label| label)
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
    SampleColumn {
        position,
        table_oid: field.table_oid,
        attribute: field.attribute,
        type_oid: field.type_oid,
        label: label(field),
    }
}

fn label(field: &Field<'_>) -> Box<str> {
    crate::part::cut(&String::from_utf8_lossy(field.name), NAME_BYTES_MAX).into()
}
