//! Commits whose outcome nobody has told, as their session ended in between: nothing is served of what they may have
//! written until the server shows that they can change nothing any more.
//!
//! A backend that is no longer listed in `pg_stat_activity` has done or undone its transaction: it leaves the list
//! after that. Asked with the account of `[inspect]`, over and over while there is something to ask. Which of several
//! upstreams it was is not kept: all of them have to answer. Where one cannot be asked, or the backend is not known,
//! `cache.ambiguous_hold` has to do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pgtally_cache::{OpenCommit, Versions};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::info;

use crate::catalog::{CatalogError, open};
use crate::live::{Live, StartupSetting};

/// Time between two questions, of which each is a connection.
const PAUSE: Duration = Duration::from_millis(250);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Commits in doubt at a time, each with the backend it ran in; for those beyond, time has to do.
const DOUBTS_MAX: usize = 10_000;
/// A standby's backends write nothing.
const QUESTION: &str = "SELECT pid FROM pg_catalog.pg_stat_activity WHERE NOT pg_catalog.pg_is_in_recovery()";

/// One commit.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) open: OpenCommit,
    /// Process that may still be at it.
    pub(super) backend_pid: Option<u32>,
    pub(super) database: Arc<str>,
}

#[derive(Debug)]
struct Waiting {
    doubt: Doubt,
    /// From when on time has to do, where nobody can be asked.
    until: Instant,
}

/// All that are open.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    waiting: Mutex<Vec<Waiting>>,
    changed: Notify,
}

impl Doubts {
    pub(super) fn add(&self, doubt: Doubt, hold: Duration) {
        info!(
            ?hold,
            backend = doubt.backend_pid,
            "a commit's outcome is unknown: what it may have written is not served"
        );
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let backend_pid = doubt.backend_pid.filter(|_| waiting.len() < DOUBTS_MAX);
        waiting.push(Waiting { doubt: Doubt { backend_pid, ..doubt }, until: Instant::now() + hold });
        self.changed.notify_one();
    }

    /// Settles what can be, until the proxy ends.
    pub(super) async fn settle_forever(&self, versions: &Versions, live: Live) {
        loop {
            let database = self.next_database();
            let Some(database) = database else {
                self.changed.notified().await;
                continue;
            };
            // Before the question: what comes while it is asked may have begun after it.
            let asked = self.len();
            let setting = Arc::clone(&live.borrow());
            let backends = timeout(ANSWER_TIMEOUT, backends(&database, &setting)).await;
            self.settle(asked, backends.ok().and_then(Result::ok).as_deref(), versions);
            sleep(PAUSE).await;
        }
    }

    fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn next_database(&self) -> Option<Arc<str>> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.first().map(|it| Arc::clone(&it.doubt.database))
    }

    /// Ends the doubts among the first `asked` whose backends are gone. Without an answer, or a backend to look for,
    /// those whose time has passed.
    fn settle(&self, asked: usize, backends: Option<&[u32]>, versions: &Versions) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let asked = asked.min(waiting.len());
        let later = waiting.split_off(asked);
        for one in std::mem::take(&mut *waiting) {
            let is_over = match (one.doubt.backend_pid, backends) {
                (Some(pid), Some(backends)) => !backends.contains(&pid),
                _ => now >= one.until,
            };
            if is_over {
                versions.finish(one.doubt.open);
            } else {
                waiting.push(one);
            }
        }
        waiting.extend(later);
    }
}

/// Processes of all sessions, of all servers.
async fn backends(database: &str, setting: &StartupSetting) -> Result<Vec<u32>, CatalogError> {
    let account = setting.inspect.as_ref().ok_or(CatalogError::NoAccount)?;
    let mut pids = Vec::new();
    for server in setting.upstreams.all() {
        let (client, connection) = open(&server.address, database, setting, account).await?;
        let answer = tokio::select! {
            rows = client.simple_query(QUESTION) => rows?,
            ended = connection => return Err(ended.err().map_or(CatalogError::NoUpstream, Into::into)),
        };
        pids.extend(answer.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse::<u32>().ok(),
            _ => None,
        }));
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use pgtally_cache::{DatabaseId, ReadSet, TableId, WriteSet};

    use super::*;

    #[test]
    fn a_commit_is_in_doubt_until_its_backend_is_gone() {
        let versions = Versions::new();
        let doubts = Doubts::default();
        let is_dirty =
            |table: u32| versions.token(DatabaseId(1), &ReadSet::of([TableId(table)]), true, &[]).is_none();
        for (table, backend_pid) in [(1, Some(7)), (2, None)] {
            let mut open = OpenCommit::default();
            versions.begin(DatabaseId(1), &WriteSet::of([TableId(table)]), &mut open);
            doubts.add(Doubt { open, backend_pid, database: "x".into() }, Duration::ZERO);
        }
        // Somebody who came after the question was asked is not judged by its answer.
        doubts.settle(0, Some(&[]), &versions);
        assert!(is_dirty(1) && is_dirty(2));
        // The backend is still there: time does not help. Of the other one nothing can be known but that.
        doubts.settle(2, Some(&[7, 8]), &versions);
        assert!(is_dirty(1) && !is_dirty(2));
        doubts.settle(1, Some(&[8]), &versions);
        assert!(!is_dirty(1) && doubts.len() == 0);
    }
}
