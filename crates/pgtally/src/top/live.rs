//! The live stream of `top`: statements as they end, read by a thread of its own so that a silent stream holds no key.
//!
//! A stream that is no longer wanted ends with its next line, a heartbeat at the latest: reading cannot be broken off.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde_json::Value;

use super::REFRESH;
use crate::client::Client;
use crate::logging::with_causes;
use crate::tap::command::dropped;

/// Lines that wait to be drawn. Whoever draws too slowly has the server drop the rest, which it tells.
const LINES_MAX: usize = 1_000;

/// What a stream has told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    /// Statements that were not shown.
    Dropped(u64),
    /// What went wrong.
    Problem(String),
    /// One statement.
    Statement(Value),
}

/// Reads one stream at a time.
pub(super) struct Follower {
    client: Client,
    /// Number of the stream that is wanted.
    wanted: Arc<AtomicU64>,
    lines: SyncSender<(u64, Told)>,
    told: Receiver<(u64, Told)>,
}

impl Follower {
    pub(super) fn new(client: Client) -> Self {
        let (lines, told) = sync_channel(LINES_MAX);
        Self { client, wanted: Arc::default(), lines, told }
    }

    /// Follows what `filter` lets through from now on, and nothing else.
    pub(super) fn follow(&self, filter: &str) {
        let stream =
            Stream { number: self.stop(), wanted: Arc::clone(&self.wanted), lines: self.lines.clone() };
        let (client, filter) = (self.client.clone(), filter.to_owned());
        thread::spawn(move || stream.read(&client, &filter));
    }

    /// Follows nothing from now on; answers with the number of the next stream.
    pub(super) fn stop(&self) -> u64 {
        self.wanted.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What the stream has told since.
    pub(super) fn news(&self) -> Vec<Told> {
        let wanted = self.wanted.load(Ordering::Relaxed);
        self.told
            .try_iter()
            .take(LINES_MAX)
            .filter(|(number, _)| *number == wanted)
            .map(|(_, told)| told)
            .collect()
    }
}

struct Stream {
    number: u64,
    wanted: Arc<AtomicU64>,
    lines: SyncSender<(u64, Told)>,
}

impl Stream {
    /// Until somebody wants another one, again and again where it breaks.
    fn read(&self, client: &Client, filter: &str) {
        while self.is_wanted() {
            let problem = match client.stream("tap", &[("filter", filter)]) {
                Ok(lines) => self.pass_on(lines),
                Err(error) => Some(with_causes(&error)),
            };
            let Some(problem) = problem else { return };
            if self.lines.send((self.number, Told::Problem(problem))).is_err() {
                return;
            }
            thread::sleep(REFRESH);
        }
    }

    fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) == self.number
    }

    /// Answers with what broke it; `None` when nobody wants it any more.
    fn pass_on(&self, mut lines: impl BufRead) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            match lines.read_line(&mut line) {
                Ok(0) => return Some("the stream has ended".into()),
                Ok(_) => {}
                Err(error) => return Some(error.to_string()),
            }
            if !self.is_wanted() {
                return None;
            }
            let Some(told) = told(&line) else { continue };
            self.lines.send((self.number, told)).ok()?;
        }
    }
}

/// What a line of the stream says; `None` for those between events.
fn told(line: &str) -> Option<Told> {
    let json = line.strip_prefix("data: ")?;
    match dropped(json) {
        Some(dropped) => Some(Told::Dropped(dropped)),
        None => serde_json::from_str(json).ok().map(Told::Statement),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_told_until_another_stream_is_wanted() {
        let (lines, told) = sync_channel(10);
        let stream = Stream { number: 1, wanted: Arc::new(AtomicU64::new(1)), lines };
        let text =
            ": listening\n\ndata: {\"rows\":1}\n\nevent: dropped\ndata: {\"dropped\":7}\n\ndata: broken\n\n";
        assert_eq!(stream.pass_on(text.as_bytes()).as_deref(), Some("the stream has ended"));
        let all: Vec<_> = told.try_iter().map(|(_, told)| told).collect();
        assert_eq!(all, [Told::Statement(json!({ "rows": 1 })), Told::Dropped(7)]);
        stream.wanted.store(2, Ordering::Relaxed);
        assert_eq!(stream.pass_on(text.as_bytes()), None);
        assert_eq!(told.try_iter().count(), 0);
    }
}
