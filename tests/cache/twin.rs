//! Two servers that begin alike: one is asked directly, the other through the cache. Whatever a script does, both must
//! say the same, byte for byte.
//!
//! A script is a list of steps, each of one session, and each step is answered before the next one is sent: in mode
//! `commit` there is only one right answer then.

use pgtally_cache::Fault;
use pgtally_throwaway::Throwaway;
use support::{TestProxy, frontend};

use crate::checker::proxy;
use crate::client::{Answer, Client};
use crate::{address, execute, session};

/// Both servers, and one session on each for every name that a script mentions.
pub(crate) struct Twins {
    pub(crate) proxy: TestProxy,
    direct: Throwaway,
    /// Behind the proxy.
    _cached: Throwaway,
    sessions: Vec<(String, Client, Client)>,
}

impl Twins {
    /// Two servers with this schema, and a proxy with a cache in front of one.
    pub(crate) fn new(schema: &str) -> Self {
        Self::with(schema, &[])
    }

    /// As [`Twins::new`], with settings of the proxy.
    pub(crate) fn with(schema: &str, settings: &[(&'static str, &str)]) -> Self {
        let start = || {
            let server = crate::builder().start().expect("a throwaway PostgreSQL");
            execute(&mut session(&address(&server), "postgres"), schema);
            server
        };
        let (direct, cached) = (start(), start());
        let proxy = proxy(&address(&cached), settings, Fault::None);
        Self { proxy, direct, _cached: cached, sessions: Vec::new() }
    }

    /// Sends `bytes` in the session `name` (`user` or `user/anything`), on both.
    ///
    /// # Panics
    /// When the answers differ.
    pub(crate) fn step(&mut self, name: &str, what: &str, bytes: &[u8]) {
        let (one, other) = self.both(name);
        let direct = one.exchange(bytes).expect("an answer");
        let cached = other.exchange(bytes).unwrap_or_else(|error| panic!("{name}: {what}: {error}"));
        assert_eq!(shown(&cached), shown(&direct), "{name}: {what}");
    }

    /// As [`Twins::step`], with one simple query.
    pub(crate) fn query(&mut self, name: &str, text: &str) {
        self.step(name, text, &frontend::query(text));
    }

    fn both(&mut self, name: &str) -> (&mut Client, &mut Client) {
        let at = match self.sessions.iter().position(|(known, ..)| known == name) {
            Some(at) => at,
            None => {
                let user = name.split('/').next().expect("a user");
                let addresses = [&address(&self.direct), self.proxy.address()];
                let [one, other] = addresses.map(|it| Client::connect(it, user, "twin").expect("a session"));
                self.sessions.push((name.to_owned(), one, other));
                self.sessions.len() - 1
            }
        };
        let (_, one, other) = &mut self.sessions[at];
        (one, other)
    }

    /// Waits until the proxy has read what was defined.
    pub(crate) fn settle(&self) {
        let known = self.proxy.json("/api/v1/cache/explain?database=postgres&sql=SELECT+1");
        assert_eq!(known["complete"], true, "{known}");
    }

    /// Answers from the cache so far.
    pub(crate) fn hits(&self) -> f64 {
        self.proxy.metric_sum("pgtally_cache_lookups_total", "result=\"hit\"")
    }
}

fn shown(answer: &Answer) -> Vec<String> {
    let frame = |(tag, body): &(u8, Vec<u8>)| {
        format!("{} {}", char::from(*tag), String::from_utf8_lossy(body).escape_debug())
    };
    answer.frames.iter().map(frame).collect()
}
