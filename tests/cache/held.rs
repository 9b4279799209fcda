//! Writes that show at a commit and not in its statements: definitions that come meanwhile, what `COMMIT` itself runs,
//! sessions of replication.

use support::{Peer, frontend, wait_for};

use crate::serving::{World, ask, cached, cell};
use crate::session;

const AUDIT: &str = "CREATE TABLE audit (id int); GRANT ALL ON audit TO ann; \
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
    $$ BEGIN EXECUTE 'INSERT INTO audit VALUES (1)'; RETURN NULL; END $$";

fn run(peer: &mut Peer, text: &str) {
    let answer = ask(peer, &frontend::query(text));
    assert!(!answer.iter().any(|frame| frame.tag == b'E'), "{text}: {answer:?}");
}

#[test]
fn a_trigger_that_comes_while_a_statement_waits_is_of_its_commit() {
    let world = World::new(&[]);
    run(&mut world.direct(), AUDIT);
    let (mut reader, mut writer, mut watcher) = (world.client(), world.client(), world.direct());
    let mut definer = session(world.proxy.address(), "postgres");
    let question = cached("SELECT count(*) FROM audit");
    world.warm(&mut reader, &question);
    run(&mut definer, "BEGIN");
    run(&mut definer, "CREATE TRIGGER note AFTER UPDATE ON products FOR EACH ROW EXECUTE FUNCTION note()");
    run(&mut writer, "BEGIN");
    writer.send(&frontend::query("UPDATE products SET price = 0 WHERE id = 1"));
    let waiting = frontend::query("SELECT 1 FROM pg_locks WHERE NOT granted");
    wait_for("a statement that waits", || {
        ask(&mut watcher, &waiting).iter().any(|frame| frame.tag == b'D').then_some(())
    });
    run(&mut definer, "COMMIT");
    let _ = writer.frames_until_ready();
    world.warm(&mut reader, &question);
    assert_eq!(cell(&ask(&mut reader, &question)), "0");
    run(&mut writer, "COMMIT");
    assert_eq!(cell(&ask(&mut reader, &question)), "1");
}

#[test]
fn what_a_commit_runs_is_not_what_it_has_locked_before() {
    let world = World::new(&[("cache.ask_locks", "on")]);
    run(&mut world.direct(), AUDIT);
    let (mut reader, mut writer) = (world.client(), world.client());
    let question = cached("SELECT count(*) FROM audit");
    run(
        &mut world.direct(),
        "CREATE CONSTRAINT TRIGGER note AFTER UPDATE ON products DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION note()",
    );
    for count in 0..3 {
        world.warm(&mut reader, &question);
        assert_eq!(cell(&ask(&mut reader, &question)), count.to_string());
        for text in ["BEGIN", "UPDATE products SET price = 0 WHERE id = 1", "COMMIT"] {
            run(&mut writer, text);
        }
        assert_eq!(cell(&ask(&mut reader, &question)), (count + 1).to_string());
    }
}

#[test]
fn a_cursor_to_be_held_is_run_by_the_commit() {
    let world = World::new(&[("cache.ask_locks", "on")]);
    run(
        &mut world.direct(),
        &format!(
            "{AUDIT}; CREATE FUNCTION add() RETURNS int LANGUAGE plpgsql AS \
             $$ BEGIN EXECUTE 'INSERT INTO audit VALUES (1)'; RETURN 1; END $$"
        ),
    );
    let (mut reader, mut writer) = (world.client(), world.client());
    let question = cached("SELECT count(*) FROM audit");
    world.warm(&mut reader, &question);
    for text in ["BEGIN", "DECLARE c CURSOR WITH HOLD FOR SELECT add()", "COMMIT"] {
        run(&mut writer, text);
    }
    assert_eq!(cell(&ask(&mut reader, &question)), "1");
}

#[test]
fn a_session_of_replication_writes_too() {
    let world = World::new(&[]);
    let question = cached("SELECT sum(price) FROM products");
    let mut reader = world.client();
    let mut sender = Peer::connect(world.proxy.address());
    let parameters = [("user", "postgres"), ("database", "postgres"), ("replication", "database")];
    sender.send(&frontend::startup(&parameters));
    let _ = sender.frames_until_ready();
    let update = "UPDATE products SET price = price + 1 WHERE id = 1";
    for sum in 5_051..5_054 {
        world.warm(&mut reader, &question);
        run(&mut sender, update);
        assert_eq!(cell(&ask(&mut reader, &question)), sum.to_string());
    }
    // A tagged read of it is nothing that the simple protocol alone could be asked about.
    assert_eq!(cell(&ask(&mut sender, &question)), "5053");
    let position = cell_at(&ask(&mut sender, &frontend::query("IDENTIFY_SYSTEM")), 2);
    sender.send(&frontend::query(&format!("START_REPLICATION PHYSICAL {position}")));
    wait_for("the stream", || (sender.frame().tag == b'W').then_some(()));
    // A stream alone writes nothing.
    world.warm(&mut reader, &question);
    sender.send(&frontend::copy_done());
    wait_for("its end", || (sender.frame().tag == b'Z').then_some(()));
    assert!(world.is_hit(&mut reader, &question));
    run(&mut sender, update);
    assert_eq!(cell(&ask(&mut reader, &question)), "5054");
    run(&mut sender, update);
    assert_eq!(cell(&ask(&mut reader, &question)), "5055");
}

/// A cell of the first row, as text.
fn cell_at(frames: &[support::wire::Frame], at: usize) -> String {
    let row = frames.iter().find(|frame| frame.tag == b'D').expect("a row");
    let mut cells = pgtally_protocol::backend::Cells::new(&row.body);
    String::from_utf8_lossy(cells.nth(at).flatten().expect("a cell")).into_owned()
}
