//! The unnamed statement that a served `Parse` would have defined: the server learns of it before it matters.

use pgtally_cache::Fault;
use pgtally_protocol::frontend;

use super::{CachedSession, SYNC};

impl CachedSession {
    /// What restores the unnamed statement, where `chunk` may need it. Nothing is unanswered while it is owed.
    pub(super) fn restoring(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        self.restore.as_ref()?;
        let is_needed = needs_unnamed(chunk);
        let is_lost = self.desk.cache.settings.fault.is(Fault::ParseLost);
        let restore = self.restore.take().filter(|_| is_needed && !is_lost);
        let mut restore = restore?;
        // A group of its own: the client's may begin a transaction that allows nothing before it, and an error or a
        // lock of this one is none of its business.
        restore.extend_from_slice(SYNC);
        self.expect_group();
        Some(restore)
    }
}

/// Whether the server has to believe of the unnamed statement what the client does, before it gets `chunk`: not where
/// the first thing that concerns the statement ends or redefines it.
fn needs_unnamed(chunk: &[u8]) -> bool {
    let mut rest = chunk;
    while let Some((&[tag, a, b, c, d], body)) = rest.split_first_chunk::<5>() {
        match (tag, body) {
            (frontend::QUERY, _) | (frontend::PARSE, [0, ..]) => return false,
            (frontend::CLOSE, [b'S', 0, ..]) => return false,
            (frontend::BIND | frontend::DESCRIBE | frontend::PARSE, []) => return true,
            (frontend::BIND | frontend::DESCRIBE, _) => return true,
            (b'X', _) => return false,
            _ => {}
        }
        let length = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4);
        let Some(behind) = body.get(length..) else { break };
        rest = behind;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
    }

    #[test]
    fn the_unnamed_statement_is_restored_before_it_is_used() {
        let check = |messages: &[(u8, &[u8])], expected: bool| {
            let chunk: Vec<u8> = messages.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
            assert_eq!(needs_unnamed(&chunk), expected, "{messages:?}");
        };
        check(&[(b'Q', b"SELECT 1\0")], false);
        check(&[(b'P', b"\0SELECT 1\0\0\0"), (b'B', b"\0\0")], false);
        check(&[(b'C', b"S\0"), (b'S', b"")], false);
        check(&[(b'B', b"\0\0"), (b'E', b"\0\0\0\0\0"), (b'S', b"")], true);
        check(&[(b'P', b"s1\0SELECT 1\0\0\0"), (b'B', b"\0\0")], true);
        check(&[(b'D', b"S\0"), (b'S', b"")], true);
        check(&[(b'S', b"")], true);
        check(&[(b'X', b"")], false);
        assert!(needs_unnamed(b"B\0\0"));
    }
}
