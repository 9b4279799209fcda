//! Cache on is cache off, over generated scripts of every form of the protocol.
//!
//! `PGTALLY_CACHE_SCRIPTS` sets their number, `PGTALLY_CACHE_SEED` the first one.

use support::frontend;
use support::wire::Value;

use crate::nemesis::Dice;
use crate::routes::SCHEMA;
use crate::twin::Twins;

/// Steps of one script.
const STEPS: usize = 60;
/// Scripts on the same two servers.
const SCRIPTS: u64 = 6;
const SESSIONS: [&str; 3] = ["postgres/1", "postgres/2", "postgres/3"];
const HINT: &str = "/* pgtally:cache ttl=60s tags=t */";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Settings of a session, any of which may be changed.
const SETTINGS: [&str; 8] = [
    "SET TimeZone = 'UTC'",
    "SET TimeZone = 'Asia/Tokyo'",
    "SET extra_float_digits = 0",
    "SET bytea_output = 'escape'",
    "RESET ALL",
    "SET search_path = public",
    "SET LOCAL search_path = pg_catalog",
    "DISCARD ALL",
];

/// Reads; each has one parameter where it is prepared.
const READS: [&str; 6] = [
    "SELECT max(version) FROM registers WHERE id = $1",
    "SELECT id, version FROM seen_items WHERE id = $1 ORDER BY 2",
    "SELECT to_char(now() - now(), 'HH'), $1::int",
    "SELECT id, version::text || '' FROM copies WHERE id < $1 ORDER BY id",
    "SELECT 1 / $1::int FROM parents WHERE id < 3",
    "SELECT count(*) FROM nowhere WHERE id = $1",
];

struct Script<'t> {
    twins: &'t mut Twins,
    dice: Dice,
    /// The session with an open transaction: others only read then, as they would wait for its locks.
    open: Option<usize>,
    /// Names of statements that each session has prepared, with the place of their texts.
    prepared: [Vec<usize>; SESSIONS.len()],
    versions: i64,
    /// Texts name their request.
    has_tags: bool,
}

impl Script<'_> {
    fn run(&mut self) {
        for _ in 0..STEPS {
            let session = self.dice.below(SESSIONS.len());
            if self.dice.below(2) == 0 {
                self.twins.settle();
            }
            match self.dice.below(16) {
                0..5 => self.read_simply(session),
                5..8 => self.read_unnamed(session),
                8..10 => self.read_prepared(session),
                10 => self.read_in_two_steps(session),
                11 => self.read_several(session),
                12 if self.may_write(session) => self.write(session),
                13 if self.may_write(session) => self.transaction(session),
                14 if self.open.is_none() => self.setting(session),
                _ => self.odd(session),
            }
        }
        if let Some(session) = self.open.take() {
            self.text(session, "ROLLBACK");
        }
        for session in 0..SESSIONS.len() {
            self.prepared[session].clear();
            self.text(session, "DISCARD ALL");
        }
    }

    fn may_write(&self, session: usize) -> bool {
        self.open.is_none_or(|open| open == session)
    }

    fn text(&mut self, session: usize, text: &str) {
        self.twins.query(SESSIONS[session], text);
    }

    fn send(&mut self, session: usize, what: &str, bytes: &[u8]) {
        self.twins.step(SESSIONS[session], what, bytes);
    }

    fn value(&mut self) -> String {
        self.dice.below(3).to_string()
    }

    fn read_simply(&mut self, session: usize) {
        let value = self.value();
        let read = READS[self.dice.below(READS.len())].replace("$1", &value);
        let text = match self.dice.below(8) {
            0 => read,
            1 => format!("{HINT} {read}"),
            2 => format!("{read} {HINT};"),
            _ => format!("{read} {HINT}"),
        };
        self.text(session, &text);
        // Somebody asks the same right behind, more often than not.
        for _ in 0..self.dice.below(3) {
            let session = self.dice.below(SESSIONS.len());
            self.text(session, &text);
        }
    }

    fn parse(&mut self, name: &str) -> (usize, Vec<u8>) {
        let at = self.dice.below(READS.len());
        let types: &[u32] = if self.dice.below(2) == 0 { &[23] } else { &[] };
        let mut text = format!("{} {HINT}", READS[at]);
        if self.has_tags {
            // Another one for nearly every text, as tracing has it.
            let trace = self.dice.below(1_000);
            text.push_str(&format!("/*route='r',traceparent='00-{trace:032x}-00f067aa0ba902b7-01'*/"));
        }
        (at, frontend::parse(name, &text, types))
    }

    /// `Bind`, perhaps `Describe`, `Execute`.
    fn bound(&mut self, name: &str) -> Vec<u8> {
        let value = [Value::text(self.value())];
        let mut bytes = frontend::bind("", name, &value, self.dice.below(3) == 0);
        if self.dice.below(2) == 0 {
            bytes.extend(frontend::describe(b'P', ""));
        }
        // Fetched in pieces now and then.
        bytes.extend(frontend::execute("", if self.dice.below(6) == 0 { 1 } else { 0 }));
        bytes
    }

    fn read_unnamed(&mut self, session: usize) {
        let (_, mut bytes) = self.parse("");
        if self.dice.below(3) == 0 {
            bytes.extend(frontend::describe(b'S', ""));
        }
        bytes.extend(self.bound(""));
        bytes.extend(frontend::sync());
        for _ in 0..=self.dice.below(3) {
            self.send(session, "unnamed", &bytes);
        }
        // Its statement is still there for whoever binds it again, be the first answer from the cache or not.
        if self.dice.below(3) == 0 {
            let mut bytes = self.bound("");
            bytes.extend(frontend::sync());
            self.send(session, "unnamed again", &bytes);
        }
    }

    fn read_prepared(&mut self, session: usize) {
        let known = self.prepared[session].len();
        if known == 0 || self.dice.below(4) == 0 {
            let name = format!("s{known}");
            let (at, mut bytes) = self.parse(&name);
            bytes.extend(frontend::sync());
            self.prepared[session].push(at);
            self.send(session, &name, &bytes);
        }
        let name = format!("s{}", self.dice.below(self.prepared[session].len()));
        let mut bytes = self.bound(&name);
        bytes.extend(frontend::sync());
        for _ in 0..=self.dice.below(3) {
            self.send(session, &name, &bytes);
        }
    }

    /// `Parse` and `Describe` first, as drivers do that need to know the types, then the rest.
    fn read_in_two_steps(&mut self, session: usize) {
        let (_, mut bytes) = self.parse("");
        bytes.extend(frontend::describe(b'S', ""));
        bytes.extend(frontend::sync());
        self.send(session, "described", &bytes);
        if self.dice.below(2) == 0 {
            self.read_simply(session);
        }
        let mut bytes = self.bound("");
        bytes.extend(frontend::sync());
        self.send(session, "bound later", &bytes);
    }

    /// More in one group, or in one text, than can come from the cache.
    fn read_several(&mut self, session: usize) {
        if self.dice.below(2) == 0 {
            let value = self.value();
            let read = READS[0].replace("$1", &value);
            self.text(session, &format!("{read} {HINT}; {read} {HINT}"));
        } else {
            let (_, mut bytes) = self.parse("");
            bytes.extend(self.bound(""));
            bytes.extend(self.bound(""));
            bytes.extend(frontend::sync());
            self.send(session, "bound twice", &bytes);
        }
    }

    fn write(&mut self, session: usize) {
        self.versions += 1;
        let (version, id) = (self.versions, self.dice.below(4));
        let text = match self.dice.below(8) {
            0 => format!("INSERT INTO items VALUES ({id}, {version})"),
            1 => format!("UPDATE sources SET version = {version} WHERE id = {id}"),
            2 => format!("UPDATE parents SET version = {version} WHERE id = {id}"),
            3 => format!("SELECT set_version({id}, {version})"),
            4 => format!("DO $$ BEGIN UPDATE items SET version = {version} WHERE id = {id}; END $$"),
            5 => format!("DELETE FROM seen_items WHERE id = {id} AND version < {version} - 5"),
            6 => "ALTER TABLE copies ALTER version SET STATISTICS 100".to_owned(),
            _ => format!("UPDATE items SET version = {version} WHERE id = {id} RETURNING id"),
        };
        self.text(session, &text);
    }

    fn transaction(&mut self, session: usize) {
        if self.open.take().is_none() {
            self.open = Some(session);
            self.text(session, "BEGIN");
            return;
        }
        match self.dice.below(4) {
            0 => self.text(session, "ROLLBACK"),
            1 => self.text(session, "COMMIT"),
            2 => self.send(session, "commit", &frontend::extended("COMMIT", &[], &[], false)),
            _ => {
                self.open = Some(session);
                self.text(session, "COMMIT AND CHAIN");
            }
        }
    }

    fn setting(&mut self, session: usize) {
        let setting = SETTINGS[self.dice.below(SETTINGS.len())];
        if setting == "DISCARD ALL" {
            self.prepared[session].clear();
        }
        self.text(session, setting);
    }

    fn odd(&mut self, session: usize) {
        match self.dice.below(12) {
            0..4 => self.text(session, ""),
            4 => self.text(session, "SELEKT 1"),
            5..8 => self.send(session, "sync", &frontend::sync()),
            8..11 => {
                let mut bytes = frontend::close(b'S', "");
                bytes.extend(frontend::sync());
                self.send(session, "close", &bytes);
            }
            _ => {
                let mut bytes = self.bound("missing");
                bytes.extend(frontend::sync());
                self.send(session, "missing", &bytes);
            }
        }
        // An error ends what a transaction can do, not the transaction.
    }
}

fn run_scripts(twins: &mut Twins, has_tags: bool) {
    let first = number("PGTALLY_CACHE_SEED", 1);
    for seed in first..first + number("PGTALLY_CACHE_SCRIPTS", SCRIPTS) {
        println!("PGTALLY_CACHE_SEED={seed}");
        let prepared = std::array::from_fn(|_| Vec::new());
        Script { twins: &mut *twins, dice: Dice::new(seed), open: None, prepared, versions: 0, has_tags }
            .run();
    }
    let cache = twins.proxy.json("/api/v1/cache");
    assert!(twins.hits() > 20.0, "only {} answers came from the cache: {cache}", twins.hits());
}

#[test]
fn cache_on_is_cache_off() {
    run_scripts(&mut Twins::new(SCHEMA), false);
}

/// What the cache forwards, and what it restores, has its tags taken out on the way to the server.
#[test]
fn cache_on_is_cache_off_with_comments_lifted() {
    let mut twins = Twins::with(SCHEMA, &[("relay.lift_comments", "on")]);
    run_scripts(&mut twins, true);
    let lifted = twins.proxy.metric_sum("pgtally_lifted_parses_total", "");
    assert!(lifted > 10.0, "only {lifted} texts were lifted");
}
