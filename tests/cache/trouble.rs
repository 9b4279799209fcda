//! Trouble on purpose around the cache: definitions made by text that nobody reads, keys without end, a store at its
//! limit, hints and orders of nonsense.

use pgtally_cache::Fault;
use pgtally_throwaway::Throwaway;
use support::{TestProxy, wait_for};

use crate::address;
use crate::checker::{proxy, server};
use crate::client::Client;

pub(crate) const REGISTER: &str =
    "SELECT max(version) FROM registers WHERE id = 1 /* pgtally:cache ttl=60s */";
pub(crate) const ACCOUNTS: &str = "SELECT sum(balance) FROM accounts /* pgtally:cache ttl=60s */";

/// A server with registers and a proxy with a cache.
struct World {
    _server: Throwaway,
    proxy: TestProxy,
}

impl World {
    fn new(settings: &[(&'static str, &str)]) -> Self {
        let server = server();
        let proxy = proxy(&address(&server), settings, Fault::None);
        Self { _server: server, proxy }
    }

    fn client(&self) -> Client {
        Client::connect(self.proxy.address(), "postgres", "client").expect("a session")
    }

    fn hits(&self) -> f64 {
        self.proxy.metric_sum("pgtally_cache_lookups_total", "result=\"hit\"")
    }

    /// Whether the next answer to `text` comes from the cache.
    fn is_hit(&self, client: &mut Client, text: &str) -> bool {
        let before = self.hits();
        client.query(text).expect("an answer");
        self.hits() > before
    }

    fn warm(&self, client: &mut Client, text: &str) {
        wait_for("an answer from the cache", || self.is_hit(client, text).then_some(()));
    }
}

pub(crate) fn number(client: &mut Client, text: &str) -> i64 {
    client.query(text).expect("an answer").number().expect("a number")
}

#[test]
fn text_that_nobody_reads_may_define_and_is_noticed() {
    let world = World::new(&[]);
    let (mut reader, mut writer) = (world.client(), world.client());
    world.warm(&mut reader, ACCOUNTS);
    // A trigger that no statement's tree shows: from now on writes to sources change accounts.
    let body = "BEGIN UPDATE accounts SET balance = NEW.version WHERE id = 0; RETURN NULL; END";
    let define = format!(
        "DO $do$ BEGIN EXECUTE 'CRE' || 'ATE FUNCTION pay() RETURNS trigger LANGUAGE plpgsql AS $f$ {body} $f$'; \
         EXECUTE 'CREATE TRIGGER pay AFTER UPDATE ON sources FOR EACH ROW EXECUTE FUNCTION pay()'; END $do$"
    );
    writer.query(&define).expect("an answer");
    world.warm(&mut reader, ACCOUNTS);
    for version in 1..20 {
        writer.query(&format!("UPDATE sources SET version = {version} WHERE id = 1")).expect("an answer");
        assert_eq!(number(&mut reader, ACCOUNTS), 900 + version);
        assert_eq!(number(&mut reader, ACCOUNTS), 900 + version);
    }
}

#[test]
fn a_prepared_transaction_is_what_it_has_written_whoever_commits_it() {
    let world = World::new(&[]);
    let (mut reader, mut writer, mut other) = (world.client(), world.client(), world.client());
    world.warm(&mut reader, ACCOUNTS);
    world.warm(&mut reader, REGISTER);
    for text in ["BEGIN", "UPDATE items SET version = 5 WHERE id = 1", "PREPARE TRANSACTION 'p'"] {
        writer.query(text).expect("an answer");
    }
    assert!(world.is_hit(&mut reader, REGISTER), "nothing is committed");
    other.query("COMMIT PREPARED 'p'").expect("an answer");
    assert_eq!(number(&mut reader, REGISTER), 5);
    assert!(world.is_hit(&mut reader, ACCOUNTS), "another table");
}

#[test]
fn keys_without_end_stay_within_the_limit_and_what_is_asked_often_stays() {
    const CAPACITY_BYTES: usize = 16 * 1024 * 1024;
    /// Room for what is no answer: connections, texts, definitions.
    const BESIDE_BYTES: usize = 3 * 1024 * 1024;
    let world = World::new(&[("cache.capacity", "16MiB")]);
    let mut client = world.client();
    world.warm(&mut client, ACCOUNTS);
    let before = support::memory::resident_bytes();
    for batch in 0..30 {
        for number in 0..100 {
            let id = batch * 100 + number;
            let text =
                format!("SELECT {id}, repeat('x', 16000) FROM accounts WHERE id = 1 /* pgtally:cache */");
            client.query(&text).expect("an answer");
        }
        // Often enough to be worth its room.
        for _ in 0..3 {
            client.query(ACCOUNTS).expect("an answer");
        }
        let bytes = world.proxy.metric("pgtally_cache_bytes");
        assert!(bytes <= CAPACITY_BYTES as f64, "{bytes}");
    }
    assert!(world.is_hit(&mut client, ACCOUNTS));
    assert!(world.proxy.metric_sum("pgtally_cache_evictions_total", "") > 1_000.0);
    let grown = support::memory::resident_bytes().saturating_sub(before);
    println!("{} KiB more than before, with a store of 16384 KiB", grown / 1024);
    assert!(grown <= CAPACITY_BYTES / 100 * 105 + BESIDE_BYTES, "{grown} bytes");
}

#[test]
fn hints_of_nonsense_cost_nothing_but_a_count() {
    let world = World::new(&[]);
    let mut client = world.client();
    world.warm(&mut client, ACCOUNTS);
    for hint in [
        "/* pgtally:cache ttl=999999999999999999999s */",
        "/* pgtally:cache mode=none max_bytes=-1 */",
        "/*pgtally_cache='%zz%'*/",
        "/*pgtally_cache='ttl%3D'*/",
        "/* pgtally:cache tags=,,,;;; */",
    ] {
        assert_eq!(
            number(&mut client, &format!("SELECT sum(balance) FROM accounts {hint}")),
            1_000,
            "{hint}"
        );
    }
    assert!(world.proxy.json("/api/v1/cache")["nonsense"].as_u64().expect("a count") >= 5);
}

#[test]
fn orders_about_tags_and_tables_that_nobody_knows_do_no_harm() {
    let world = World::new(&[]);
    let mut client = world.client();
    world.warm(&mut client, ACCOUNTS);
    let long = "x".repeat(100_000);
    for order in [
        r#"{"tags": ["nobody:1", ""]}"#.to_owned(),
        r#"{"tables": ["nowhere.at_all", "nothing"]}"#.to_owned(),
        format!(r#"{{"tags": ["{long}"]}}"#),
    ] {
        let (status, said) = world.proxy.post("/api/v1/cache/invalidate", &order);
        assert!(status == 200 || status == 413, "{status} {said}");
        assert!(world.is_hit(&mut client, ACCOUNTS), "it was about something else");
    }
    let (_, said) = world.proxy.post("/api/v1/cache/invalidate", r#"{"tags": ["nobody:1"]}"#);
    assert!(said.contains("\"old_entries\":0"), "{said}");
    let unknown = "UPDATE sources SET version = 1 WHERE id = 1 /* pgtally:invalidate tags=nobody:1 */";
    client.query(unknown).expect("an answer");
    assert!(world.is_hit(&mut client, ACCOUNTS), "a statement may say so too");
}
