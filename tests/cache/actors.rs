//! Who reads and writes in a run of the checker, each with a session of its own, and what it has seen.

use std::io;
use std::thread;
use std::time::Duration;

use pgtally::Address;
use support::frontend;
use support::wire::Value;

use crate::checker::{Shared, WRITERS};
use crate::client::{Answer, Client};
use crate::history::{History, Outcome, Read, Write};
use crate::nemesis::Dice;
use crate::routes::ROUTES;

/// Sum of all accounts, at every moment.
const BALANCE: i64 = 1_000;
const REGISTER: &str = "SELECT max(version) FROM registers WHERE id =";

/// The proxy may refuse while it still mourns the session before.
fn connect(address: &Address, name: &str) -> Client {
    for _ in 0..100 {
        if let Ok(client) = Client::connect(address, "postgres", name) {
            return client;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("no session within a second");
}

/// Writes one register.
pub(crate) struct Writer<'a> {
    pub(crate) register: usize,
    pub(crate) shared: &'a Shared,
    pub(crate) address: &'a Address,
}

impl Writer<'_> {
    /// Writes one version after the other. Each is read back by the same session: in every mode but `ttl` the answer
    /// is at least as new.
    pub(crate) fn write(&self) -> History {
        let mut dice = Dice::new(self.register as u64 + 1);
        let mut client = self.connect();
        let mut history = History::default();
        let mut version = 0;
        while !self.shared.is_over() {
            version += 1;
            let route = &ROUTES[dice.below(ROUTES.len())];
            let sent = self.shared.clock.now();
            let outcome = (route.write)(&mut client, self.register, version).unwrap_or(Outcome::Unknown);
            let known = self.shared.clock.now();
            let (register, route) = (self.register, route.name);
            history.writes.push(Write { register, version, route, sent, known, outcome });
            let is_lost = match outcome {
                Outcome::Unknown => true,
                Outcome::RolledBack => false,
                Outcome::Committed => self.read_back(&mut client, version, route, &mut history).is_err(),
            };
            if is_lost {
                client = self.connect();
            }
            self.shared.count_write();
        }
        history
    }

    fn read_back(
        &self,
        client: &mut Client,
        version: i64,
        route: &str,
        history: &mut History,
    ) -> io::Result<()> {
        let found = ask(client, "simple", self.register, &self.shared.hint)?.number();
        let found = found.ok_or(io::ErrorKind::ConnectionAborted)?;
        if self.shared.sees_own_writes && found < version {
            history.faults.push(format!("own write: {found} read back after {version} by {route}"));
        }
        Ok(())
    }

    fn connect(&self) -> Client {
        let mut client = connect(self.address, "writer");
        // A transaction prepared by the session before, perhaps.
        let _ = client.query(&format!("ROLLBACK PREPARED 'w{}'", self.register));
        client
    }
}

/// Moves money from one account to another: the sum stays.
pub(crate) struct Transferrer<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) address: &'a Address,
}

impl Transferrer<'_> {
    pub(crate) fn transfer(&self) -> History {
        let mut dice = Dice::new(500);
        let mut client = connect(self.address, "transferrer");
        while !self.shared.is_over() {
            let (from, to) = (dice.below(10), dice.below(10));
            let take = format!("UPDATE accounts SET balance = balance - 1 WHERE id = {from}");
            let give = format!("UPDATE accounts SET balance = balance + 1 WHERE id = {to}");
            let texts = match dice.below(3) {
                0 => vec!["BEGIN".to_owned(), take, give, "COMMIT".to_owned()],
                1 => vec![format!("{take}; {give}")],
                _ => vec![format!("DO $$ BEGIN {take}; {give}; END $$")],
            };
            for text in texts {
                let answer = client.query(&text).expect("an answer");
                assert!(answer.error.is_none(), "{text}: {:?}", answer.error);
            }
            thread::sleep(Duration::from_millis(2));
        }
        History::default()
    }
}

/// Reads registers in all forms, the sum of accounts, and as somebody who may not.
pub(crate) struct Reader<'a> {
    pub(crate) number: usize,
    pub(crate) shared: &'a Shared,
    pub(crate) address: &'a Address,
}

impl Reader<'_> {
    pub(crate) fn read(&self) -> History {
        let mut dice = Dice::new(1_000 + self.number as u64);
        let mut client = connect(self.address, "reader");
        client.exchange(&named(&self.shared.hint)).expect("a prepared statement");
        let mut history = History::default();
        while !self.shared.is_over() {
            match dice.below(20) {
                0 => self.read_sum(&mut client, &mut history),
                1 => self.read_as_visitor(&mut client, &mut dice, &mut history),
                _ => self.read_register(&mut client, &mut dice, &mut history),
            }
            self.shared.count_read();
        }
        history
    }

    fn read_register(&self, client: &mut Client, dice: &mut Dice, history: &mut History) {
        const FORMS: [&str; 5] = ["simple", "unnamed", "named", "described", "bound again"];
        let register = dice.below(WRITERS);
        let form = FORMS[dice.below(FORMS.len())];
        if form == "bound again" {
            // Its statement is what the one before has defined, wherever that was answered.
            let _ = ask(client, "unnamed", dice.below(WRITERS), &self.shared.hint).expect("an answer");
        }
        let sent = self.shared.clock.now();
        let answer = ask(client, form, register, &self.shared.hint).expect("an answer");
        let got = self.shared.clock.now();
        match answer.number() {
            Some(version) => history.reads.push(Read { register, version, form, sent, got }),
            None => history.faults.push(format!("I6: {form}: {:?}", answer.error)),
        }
    }

    fn read_sum(&self, client: &mut Client, history: &mut History) {
        let text = format!("SELECT sum(balance) FROM accounts {}", self.shared.hint);
        let sum = client.query(&text).expect("an answer").number();
        if sum != Some(BALANCE) {
            history.faults.push(format!("I4: the sum is {sum:?}"));
        }
    }

    fn read_as_visitor(&self, client: &mut Client, dice: &mut Dice, history: &mut History) {
        client.query("SET ROLE visitor").expect("an answer");
        let answer = ask(client, "simple", dice.below(WRITERS), &self.shared.hint).expect("an answer");
        client.query("RESET ROLE").expect("an answer");
        if !answer.error.as_deref().is_some_and(|error| error.contains("42501")) {
            history.faults.push(format!("I5: a visitor was told {:?}", answer.cells));
        }
    }
}

fn named(hint: &str) -> Vec<u8> {
    let text = format!("{REGISTER} $1::int {hint}");
    [frontend::parse("r", &text, &[]), frontend::sync()].concat()
}

/// Asks for a register in one of the forms.
pub(crate) fn ask(client: &mut Client, form: &str, register: usize, hint: &str) -> io::Result<Answer> {
    if form == "simple" {
        return client.query(&format!("{REGISTER} {register} {hint}"));
    }
    let value = [Value::text(register)];
    let name = if form == "named" { "r" } else { "" };
    let mut bytes = Vec::new();
    if matches!(form, "unnamed" | "described") {
        bytes.extend(frontend::parse("", &format!("{REGISTER} $1::int {hint}"), &[]));
    }
    bytes.extend(frontend::bind("", name, &value, false));
    if form == "described" {
        bytes.extend(frontend::describe(b'P', ""));
    }
    bytes.extend(frontend::execute("", 0));
    bytes.extend(frontend::sync());
    client.exchange(&bytes)
}
