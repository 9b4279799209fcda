//! A session that cannot be followed any more: nothing is served to it, and what it may write is dirty.
//!
//! A copy in both directions, as replication uses it, is no reason for that until something else than a copy is said.

use std::mem;

use pgtally_cache::WriteSet;
use pgtally_protocol::{Desync, FrameReader, frontend};

use super::CachedSession;

impl CachedSession {
    /// The session cannot be followed any more: nothing is served to it, and until it ends anything may be written.
    pub(super) fn go_blind(&mut self, desync: Desync) {
        let Some(front) = self.front.take() else { return };
        self.fill = None;
        self.blind = front.into_open();
        self.desk.cache.versions.forget_prepared();
        if desync == Desync::CopyBoth {
            // What asked for the copy has its outcome, and nothing is executed until it is over.
            self.desk.cache.versions.finish(mem::take(&mut self.blind));
            self.walsender = Some(FrameReader::new(|_| 0));
        } else {
            self.write_anything();
        }
    }

    /// Until the session ends it may write anything.
    fn write_anything(&mut self) {
        self.desk.cache.versions.begin(self.place.id, &WriteSet::catalog(), &mut self.blind);
    }

    /// A copy in both directions may be followed by SQL.
    pub(super) fn watch_walsender(&mut self, mut chunk: &[u8]) {
        let Some(reader) = &mut self.walsender else { return };
        let is_over = loop {
            match reader.next(&mut chunk) {
                Ok(None) => break false,
                Ok(Some(frame)) if is_of_copy(frame.tag) => {}
                Ok(Some(_)) | Err(_) => break true,
            }
        };
        if is_over {
            self.walsender = None;
            self.write_anything();
        }
    }
}

/// Whether a message of this tag has a place in a copy, or ends the session.
fn is_of_copy(tag: u8) -> bool {
    matches!(tag, b'd' | frontend::COPY_DONE | frontend::COPY_FAIL | frontend::SYNC | b'X')
}
