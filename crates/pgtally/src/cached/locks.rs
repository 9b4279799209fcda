//! What a transaction has written, as the server sees it: asked on the session's own connection just before `COMMIT`.
//!
//! A lock stronger than a reader's, on a relation, means that it may have been written; rows that triggers, keys and
//! dynamic SQL have written need one like all others. Definitions show in the statistics of the system's tables, as they
//! release their locks at once. Whatever is not as expected is no answer, and what was marked without it stays.
//!
//! Asked only where `cache.ask_locks` wants it: an error inside the client's transaction would end it.

use pgtally_cache::{Answer, TableId};
use pgtally_protocol::backend::Cells;

use super::environment::group;

/// OIDs below are the system's own.
const SYSTEM_OIDS: u32 = 16_384;
/// What `COMMIT` itself runs has locked nothing yet: constraint triggers that are deferred, cursors to be held. Where there
/// may be some, what was known stays. Those that are internal, for foreign keys, write nothing when they are deferred.
///
/// The statistics count what transactions before have defined as well, for a while: that only costs the answer.
const QUESTION: &str = "SELECT pg_catalog.current_setting('track_counts') OPERATOR(pg_catalog.=) 'on' AND NOT EXISTS \
    (SELECT FROM pg_catalog.pg_stat_xact_sys_tables WHERE schemaname OPERATOR(pg_catalog.=) 'pg_catalog' \
    AND (n_tup_ins OPERATOR(pg_catalog.>) 0 OR n_tup_upd OPERATOR(pg_catalog.>) 0 \
    OR n_tup_del OPERATOR(pg_catalog.>) 0)) \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgdeferrable AND NOT tgisinternal) \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable), \
    pg_catalog.array_to_string(ARRAY(SELECT DISTINCT relation::pg_catalog.int8 FROM pg_catalog.pg_locks \
    WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() \
    AND locktype OPERATOR(pg_catalog.=) 'relation' AND granted \
    AND mode OPERATOR(pg_catalog.<>) 'AccessShareLock' AND mode OPERATOR(pg_catalog.<>) 'RowShareLock'), ',')";

/// The messages that ask.
pub(super) fn question() -> Vec<u8> {
    group(b"pgtally locks\0", QUESTION)
}

/// Tables that the transaction may have written; `None` where that is not known, it has defined something, or `COMMIT` runs
/// something.
pub(super) fn read(answer: &Answer) -> Option<Vec<TableId>> {
    let mut cells = Cells::new(&answer.row);
    let is_all = cells.next()??;
    let locked = std::str::from_utf8(cells.next()??).ok()?;
    if answer.is_failed || is_all != b"t" {
        return None;
    }
    let oids = locked.split(',').filter(|oid| !oid.is_empty()).map(|oid| oid.parse().ok());
    let oids: Vec<u32> = oids.collect::<Option<_>>()?;
    let is_users = oids.iter().all(|oid| *oid >= SYSTEM_OIDS);
    is_users.then(|| oids.into_iter().map(TableId).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_about_tables_of_users_counts() {
        let read_cells = |cells: &[&str]| {
            let mut row = u16::try_from(cells.len()).unwrap().to_be_bytes().to_vec();
            for cell in cells {
                row.extend(u32::try_from(cell.len()).unwrap().to_be_bytes());
                row.extend_from_slice(cell.as_bytes());
            }
            read(&Answer { row, is_failed: false }).map(|tables| tables.len())
        };
        assert_eq!(read_cells(&["t", "16384,20000"]), Some(2));
        assert_eq!(read_cells(&["t", ""]), Some(0));
        for other in [&["f", "16384"][..], &["t", "16384,1259"], &["t", "16384,x"], &["t"], &[]] {
            assert_eq!(read_cells(other), None, "{other:?}");
        }
    }
}
