use super::*;

const MS: u64 = 1_000_000;

/// Plays statements on one session; the clock advances by `+<ms>` and 1 ms per statement.
///
/// `q` a counted statement, `q:<trace>` one with a fresh tag, `q~<trace>` one whose tag may be stale, `q/<route>`
/// one with a route tag only; `begin`, `commit`, `rollback`, `discard`, `reset`, `ping`, `set=<value>`,
/// `local=<value>`, `app=<name>`. Tells the requests of the counted statements as `level:key`, units as `level:#n`
/// in order of appearance.
fn play(script: &str) -> String {
    play_with(Attributor::new(1, 100 * MS, None), script)
}

fn play_with(mut attributor: Attributor, script: &str) -> String {
    let mut clock = 0;
    let mut units: Vec<Arc<str>> = Vec::new();
    let mut told = Vec::new();
    let mut status = TransactionStatus::Idle;
    for word in script.split_whitespace() {
        if let Some(gap) = word.strip_prefix('+') {
            clock += gap.parse::<u64>().unwrap() * MS;
            continue;
        }
        let (verb, value) =
            word.split_at(word.find(|byte: char| !byte.is_ascii_lowercase()).unwrap_or(word.len()));
        let has_fresh_tags = !value.starts_with('~');
        let value = value.get(1..).unwrap_or("");
        let tags = match word.as_bytes().get(verb.len()) {
            Some(b':' | b'~') => {
                Some(TagSet { id: Some((Attribution::Trace, value.into())), ..TagSet::default() })
            }
            Some(b'/') => Some(TagSet { route: Some(value.into()), ..TagSet::default() }),
            _ => None,
        }
        .map(Rc::new);
        let arrival = |command| Arrival { command, tags: tags.as_ref(), has_fresh_tags, sent: Moment(clock) };
        match verb {
            "q" => {
                let name = attributor.attribute(arrival(Command::Select));
                let key = if name.attribution.is_request() {
                    name.key.to_string()
                } else {
                    unit(&mut units, &name.key)
                };
                // The keys of settings carry their level themselves; tagged ones come from the script as they are.
                let key = key.strip_prefix("guc:").unwrap_or(&key);
                told.push(format!("{}:{key}", name.attribution.name()));
            }
            "begin" => {
                attributor.control(arrival(Command::Begin));
                status = TransactionStatus::Open;
            }
            "commit" | "rollback" => {
                let command = if verb == "commit" { Command::Commit } else { Command::Rollback };
                attributor.control(arrival(command));
                status = TransactionStatus::Idle;
            }
            "bad" => drop(attributor.failed(Command::Select, Moment(clock))),
            "discard" => drop(attributor.control(arrival(Command::DiscardAll))),
            "reset" => drop(attributor.control(arrival(Command::ResetAll))),
            "ping" => drop(attributor.control(arrival(Command::Ping))),
            "set" | "local" | "app" => {
                attributor.control(arrival(Command::Set));
                let name = if verb == "app" { "application_name" } else { "pgtally.request" };
                let scope = if verb == "local" { SettingScope::Local } else { SettingScope::Session };
                attributor.set(name, scope, Some(value.as_bytes()).filter(|value| !value.is_empty()));
            }
            _ => panic!("{word}"),
        }
        clock += MS;
        attributor.ended(Moment(clock));
        attributor.ready(status);
    }
    told.join(" ")
}

fn unit(units: &mut Vec<Arc<str>>, key: &Arc<str>) -> String {
    let index = units.iter().position(|known| known == key).unwrap_or_else(|| {
        units.push(Arc::clone(key));
        units.len() - 1
    });
    format!("#{}", index + 1)
}

#[track_caller]
fn check(script: &str, expected: &str) {
    assert_eq!(play(script), expected, "{script}");
}

#[test]
fn without_anything_the_session_is_the_unit() {
    check("q q q", "session:#1 session:#1 session:#1");
}

#[test]
fn an_idle_gap_outside_a_transaction_begins_a_unit() {
    check("q +99 q +100 q q", "session:#1 session:#1 idle:#2 idle:#2");
    check("begin q +500 q commit", "transaction:#1 transaction:#1");
    check("q +200 set=  q", "session:#1 idle:#2");
}

#[test]
fn a_ping_while_idle_begins_a_unit() {
    check("ping q q ping q", "ping:#1 ping:#1 ping:#2");
    check("ping begin q commit begin q commit", "ping:#1 ping:#1");
    check("begin q ping q commit", "transaction:#1 transaction:#1");
    check("q begin ping rollback q", "session:#1 ping:#2");
    check("ping q +200 q", "ping:#1 idle:#2");
}

#[test]
fn a_marker_ends_and_begins_units() {
    check("q discard q +200 q discard q", "session:#1 marker:#2 marker:#2 marker:#3");
    check("q reset q", "session:#1 marker:#2");
    check("discard q +1500 q", "marker:#1 idle:#2");
}

#[test]
fn transactions_are_units_only_where_nothing_runs_outside() {
    check("begin q q commit begin q rollback", "transaction:#1 transaction:#1 transaction:#2");
    check("q begin q commit q", "session:#1 session:#1 session:#1");
    check("begin q commit q begin q commit", "transaction:#1 session:#1 session:#1");
    check("q +200 begin q commit q +200 q", "session:#1 transaction:#2 idle:#2 idle:#3");
    check("q +200 bad q", "session:#1 idle:#2");
    check("q +200 begin q commit begin q commit", "session:#1 transaction:#2 transaction:#3");
}

#[test]
fn a_fresh_tag_decides() {
    check("q:a q:a q:b", "trace:a trace:a trace:b");
    check("ping q:a", "trace:a");
}

#[test]
fn a_statement_without_a_tag_inherits() {
    check("q:a q +3 q +50 q", "trace:a trace:a trace:a session:#1");
    check("begin q:a +50 q +500 q commit +50 q", "trace:a trace:a trace:a session:#1");
    check("begin:a +50 q commit", "trace:a");
    check("q:a ping q", "trace:a ping:#1");
}

#[test]
fn a_stale_tag_yields_to_the_current_request() {
    check("q:a q:b q~a", "trace:a trace:b trace:b");
    check("q:a +50 q~a", "trace:a trace:a");
    check("q:a +150 q~a", "trace:a session:#1");
    check("set=r7 q~a", "guc:r7");
}

#[test]
fn the_setting_names_requests() {
    check("set=r1 q q set=r2 q set= q", "guc:r1 guc:r1 guc:r2 session:#1");
    check("begin local=r1 q commit q", "guc:r1 session:#1");
    check("set=r1 q:a +50 set= q", "trace:a session:#1");
    check("begin set=r1 q rollback q", "guc:r1 session:#1");
    check("begin set=r1 q commit q", "guc:r1 guc:r1");
    check("set=r1 q +500 q discard q", "guc:r1 guc:r1 marker:#1");
    check("set=r1 q:a q +50 q", "trace:a trace:a guc:r1");
}

#[test]
fn the_setting_may_carry_a_route() {
    let mut attributor = Attributor::new(1, 100 * MS, None);
    attributor.set("pgtally.request", SettingScope::Session, Some(b"route=/posts,id=7"));
    let arrival = Arrival { command: Command::Select, tags: None, has_fresh_tags: true, sent: Moment(0) };
    let name = attributor.attribute(arrival);
    assert_eq!((name.key.as_ref(), name.route.as_deref()), ("guc:7", Some("/posts")));
    attributor.set("pgtally.request", SettingScope::Session, Some(b"route=/posts"));
    let first = attributor.attribute(arrival);
    attributor.set("pgtally.request", SettingScope::Session, Some(b"route=/posts"));
    assert_ne!(first.key, attributor.attribute(arrival).key, "without an id each setting begins a request");
}

#[test]
fn the_setting_routes_what_carries_an_id_and_no_route() {
    let mut attributor = Attributor::new(1, 100 * MS, Some(b"route=test_orders,id=test_orders"));
    let mut check = |route: Option<&str>, key: &str, expected: &str| {
        let id = Some((Attribution::Trace, key.into()));
        let tags = Rc::new(TagSet { id, route: route.map(Arc::from), ..TagSet::default() });
        let arrival =
            Arrival { command: Command::Select, tags: Some(&tags), has_fresh_tags: true, sent: Moment(0) };
        let name = attributor.attribute(arrival);
        assert_eq!((name.attribution, name.key.as_ref()), (Attribution::Trace, key));
        assert_eq!(name.route.as_deref(), Some(expected), "{key}");
    };
    check(None, "a", "test_orders");
    check(None, "a", "test_orders");
    check(Some("/orders"), "b", "/orders");
    check(None, "c", "test_orders");
}

#[test]
fn ids_that_differ_late_or_in_broken_bytes_are_different() {
    let mut attributor = Attributor::new(1, 100 * MS, None);
    let long = [[b'x'; 300].as_slice(), b"1"].concat();
    let other = [[b'x'; 300].as_slice(), b"2"].concat();
    let arrival = Arrival { command: Command::Select, tags: None, has_fresh_tags: true, sent: Moment(0) };
    let mut keys = std::collections::BTreeSet::new();
    for value in [&long[..], &other[..], b"\xff", b"\xfe", b"\xff"] {
        attributor.set("pgtally.request", SettingScope::Session, Some(value));
        let key = attributor.attribute(arrival).key.to_string();
        assert!(key.len() <= "guc:".len() + NAME_BYTES_MAX, "{key}");
        keys.insert(key);
    }
    assert_eq!(keys.len(), 4);
}

#[test]
fn the_startup_option_names_the_session_until_it_is_changed() {
    let attributor = Attributor::new(1, 100 * MS, Some(b"job1"));
    assert_eq!(play_with(attributor, "q set=x q set= q discard q"), "guc:job1 guc:x guc:job1 guc:job1");
}

#[test]
fn an_application_name_that_changes_names_requests() {
    check(
        "app=web q app=/a q q app=/b q",
        "session:#1 application_name:1.3 application_name:1.3 application_name:1.4",
    );
    check("app=web q +200 q", "session:#1 idle:#2");
}

#[test]
fn another_route_begins_a_unit() {
    check("q/a q/a q q/b q", "session:#1 session:#1 session:#1 session:#2 session:#2");
}

#[test]
fn every_setting_of_the_environment_counts() {
    let mut attributor = Attributor::new(1, 100 * MS, None);
    let mut set = |name: &str, scope, value: Option<&str>| {
        attributor.set(name, scope, value.map(str::as_bytes));
        attributor.environment()
    };
    let session = SettingScope::Session;
    set("search_path", session, Some("a"));
    let tenant_a = set("role", session, Some("app"));
    set("search_path", session, Some("b"));
    let tenant_b = set("role", session, Some("app"));
    assert_ne!(tenant_a, tenant_b, "the role set last hides no tenant");
    assert_ne!(set("role", SettingScope::Local, Some("b")), 0);
    assert_eq!(
        set("search_path", SettingScope::Local, Some("a")),
        set("role", SettingScope::Local, Some("b"))
    );
    assert_eq!(set("role", session, Some("app")), tenant_a);
    set("search_path", session, None);
    assert_eq!(set("role", session, None), 0);
}

#[test]
fn rolling_back_to_a_savepoint_takes_settings_back() {
    let mut attributor = Attributor::new(1, 100 * MS, None);
    let mut clock = 0;
    let mut attribute = |attributor: &mut Attributor| {
        clock += MS;
        let arrival =
            Arrival { command: Command::Select, tags: None, has_fresh_tags: true, sent: Moment(clock) };
        let name = attributor.attribute(arrival);
        attributor.ended(Moment(clock));
        if name.attribution.is_request() { name.key.to_string() } else { "unit".into() }
    };
    let set = |attributor: &mut Attributor, value: &str| {
        attributor.set("pgtally.request", SettingScope::Local, Some(value.as_bytes()));
        attributor.set("search_path", SettingScope::Session, Some(value.as_bytes()));
    };
    attributor.ready(TransactionStatus::Open);
    attributor.savepoint(Command::Savepoint, 1);
    set(&mut attributor, "a");
    attributor.savepoint(Command::Savepoint, 2);
    let environment = attributor.environment();
    set(&mut attributor, "b");
    assert_eq!(attribute(&mut attributor), "guc:b");
    attributor.savepoint(Command::RollbackTo, 2);
    assert_eq!((attribute(&mut attributor).as_str(), attributor.environment()), ("guc:a", environment));
    set(&mut attributor, "c");
    attributor.savepoint(Command::Release, 2);
    assert_eq!(attribute(&mut attributor), "guc:c", "what is released stays");
    attributor.savepoint(Command::RollbackTo, 2);
    assert_eq!(attribute(&mut attributor), "guc:c", "a savepoint that is gone takes nothing back");
    attributor.savepoint(Command::RollbackTo, 1);
    assert_eq!((attribute(&mut attributor).as_str(), attributor.environment()), ("unit", 0));
    for n in 0..100 {
        attributor.savepoint(Command::Savepoint, n);
    }
    assert_eq!(attributor.savepoints.len(), crate::limits::SAVEPOINTS_MAX);
    attributor.ready(TransactionStatus::Idle);
    assert!(attributor.savepoints.is_empty());
}

#[test]
fn tenants_of_the_startup_packet_are_told_apart() {
    let tenant = |value: &str| {
        let mut attributor = Attributor::new(1, 100 * MS, None);
        attributor.start_with("search_path", value.as_bytes());
        attributor
    };
    let mut one = tenant("a");
    let start = one.environment();
    assert!(start != 0 && start != tenant("b").environment());
    one.set("search_path", SettingScope::Session, Some(b"b"));
    assert_eq!(one.environment(), tenant("b").environment());
    one.set("search_path", SettingScope::Session, None);
    assert_eq!(one.environment(), start, "RESET goes back to the startup's");
}

#[test]
fn slow_clients_raise_the_idle_gap() {
    let slow = "q +14 ".repeat(40);
    let told = play(&format!("{slow} +150 q"));
    assert!(told.ends_with("session:#1"), "{told}");
    let told = play(&format!("{slow} +600 q"));
    assert!(told.ends_with("idle:#2"), "{told}");
    let told = play(&format!("{} +150 q", "q ".repeat(40)));
    assert!(told.ends_with("idle:#2"), "{told}");
}
