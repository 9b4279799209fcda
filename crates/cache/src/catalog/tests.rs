use pgtally_fingerprint::{Access, Effect, Function, Refusal, Table};

use super::policy::RowPolicy;
use super::rows::{CatalogRows, FunctionId, Operator, Relation, RelationKind, Routine, Volatility};
use super::{Catalog, facts_without_catalog};
use crate::facts::{BypassReason, StatementFacts, TableId};

const PRODUCTS: TableId = TableId(1);
const LINES: TableId = TableId(2);
const NOTES: TableId = TableId(3);
const EVENTS: TableId = TableId(4);
const EVENTS_MAY: TableId = TableId(5);
const CHEAP: TableId = TableId(6);
const AUDITED: TableId = TableId(7);
const AUDIT: TableId = TableId(8);
const OTHER_PRODUCTS: TableId = TableId(21);

fn relation(id: TableId, name: &str) -> Relation {
    Relation {
        id,
        schema: "public".into(),
        name: name.into(),
        kind: RelationKind::Table,
        is_unlogged: false,
        has_row_security: false,
        has_rules: false,
    }
}

fn routine(id: u32, name: &str, volatility: Volatility, is_builtin: bool) -> Routine {
    let schema = if is_builtin { "pg_catalog" } else { "public" };
    Routine {
        id: FunctionId(id),
        schema: schema.into(),
        name: name.into(),
        volatility,
        is_builtin,
        body: None,
        may_define: name == "mystery",
    }
}

fn catalog() -> Catalog {
    let odd = |id: u32, name: &str, change: &dyn Fn(&mut Relation)| {
        let mut odd = relation(TableId(id), name);
        change(&mut odd);
        odd
    };
    let audit = Routine {
        body: Some(Access { only_inserts: true, ..write("audit") }),
        ..routine(100, "note_it", Volatility::Volatile, false)
    };
    Catalog::new(CatalogRows {
        relations: vec![
            relation(PRODUCTS, "products"),
            relation(LINES, "lines"),
            relation(NOTES, "notes"),
            relation(EVENTS, "events"),
            relation(EVENTS_MAY, "events_may"),
            odd(CHEAP.0, "cheap", &|it| it.kind = RelationKind::View),
            relation(AUDITED, "audited"),
            relation(AUDIT, "audit"),
            odd(9, "secrets", &|it| it.has_row_security = true),
            odd(10, "fast", &|it| it.is_unlogged = true),
            odd(11, "far", &|it| it.kind = RelationKind::Foreign),
            odd(12, "numbers", &|it| it.kind = RelationKind::Sequence),
            odd(13, "ruled", &|it| it.has_rules = true),
            relation(TableId(14), "triggered"),
            odd(15, "today", &|it| it.kind = RelationKind::View),
            relation(TableId(16), "visits"),
            odd(OTHER_PRODUCTS.0, "products", &|it| it.schema = "other".into()),
        ],
        children: vec![(EVENTS, EVENTS_MAY)],
        cascades: vec![(PRODUCTS, LINES), (LINES, NOTES), (NOTES, LINES)],
        calls: vec![(AUDITED, FunctionId(100)), (TableId(14), FunctionId(101))],
        logins: vec![FunctionId(112)],
        policies: vec![(
            TableId(9),
            RowPolicy::new(
                "SELECT note_it(owner)",
                Access { functions: vec![function("note_it")], ..plain() },
            ),
        )],
        views: vec![
            (CHEAP, Access { reads: vec![table("public.products")], ..plain() }),
            (TableId(15), Access { refusal: Some(Refusal::SessionValue), ..plain() }),
        ],
        routines: vec![
            audit,
            routine(101, "mystery", Volatility::Volatile, false),
            routine(102, "pure", Volatility::Immutable, false),
            routine(103, "lower", Volatility::Immutable, true),
            routine(104, "now", Volatility::Stable, true),
            routine(105, "to_char", Volatility::Stable, true),
            routine(106, "random", Volatility::Volatile, true),
            routine(107, "set_config", Volatility::Volatile, true),
            routine(108, "query_to_xml", Volatility::Stable, true),
            routine(109, "mixed", Volatility::Immutable, false),
            routine(110, "mixed", Volatility::Volatile, false),
            routine(111, "looks", Volatility::Stable, false),
            Routine {
                body: Some(write("visits")),
                ..routine(112, "note_visit", Volatility::Volatile, false)
            },
        ],
        operators: vec![Operator { name: "~~~".into(), function: FunctionId(101) }],
        types: vec![("odd_type".into(), FunctionId(101))],
        row_functions: vec![FunctionId(101)],
    })
}

fn table(name: &str) -> Table {
    match name.split_once('.') {
        Some((schema, name)) => Table { schema: Some(schema.into()), name: name.into() },
        None => Table { schema: None, name: name.into() },
    }
}

fn plain() -> Access {
    Access { refusal: None, ..Access::of(Effect::Nothing) }
}

fn read(name: &str) -> Access {
    Access { reads: vec![table(name)], ..plain() }
}

fn write(name: &str) -> Access {
    Access { writes: vec![table(name)], ..Access::of(Effect::Rows) }
}

fn call(name: &str) -> Access {
    Access { functions: vec![function(name)], ..read("products") }
}

fn function(name: &str) -> Function {
    Function { schema: None, name: name.into() }
}

fn facts(access: &Access) -> StatementFacts {
    catalog().facts(access)
}

#[track_caller]
fn check_read(access: &Access, expected: Result<&[TableId], BypassReason>) {
    let facts = facts(access);
    assert_eq!(facts.read.as_ref().map(|it| it.tables()).map_err(|it| *it), expected);
    assert!(facts.writes.is_nothing() || expected.is_err());
}

#[track_caller]
fn check_write(access: &Access, tables: &[TableId]) {
    let facts = facts(access);
    assert!(!facts.writes.is_everything(), "{access:?}");
    assert_eq!(facts.writes.tables(), tables, "{access:?}");
}

#[test]
fn a_name_is_every_relation_of_that_name() {
    check_read(&read("products"), Ok(&[PRODUCTS, OTHER_PRODUCTS]));
    check_read(&read("other.products"), Ok(&[OTHER_PRODUCTS]));
    check_read(&read("nowhere.products"), Err(BypassReason::UnknownTable));
}

#[test]
fn reads_are_closed_over_views_and_partitions() {
    check_read(&read("cheap"), Ok(&[PRODUCTS, CHEAP]));
    check_read(&read("events"), Ok(&[EVENTS, EVENTS_MAY]));
    check_read(&read("events_may"), Ok(&[EVENTS_MAY]));
}

#[test]
fn reads_that_depend_on_more_are_not_kept() {
    check_read(&read("secrets"), Err(BypassReason::Function));
    check_read(&read("visits"), Err(BypassReason::LoginTrigger));
    check_read(&read("fast"), Err(BypassReason::Unlogged));
    check_read(&read("far"), Err(BypassReason::ForeignTable));
    check_read(&read("numbers"), Err(BypassReason::Sequence));
    check_read(&read("today"), Err(BypassReason::Function));
    check_read(&read("pg_class"), Err(BypassReason::SystemCatalog));
    check_read(&read("information_schema.tables"), Err(BypassReason::SystemCatalog));
    check_read(&read("pg_temp.products"), Err(BypassReason::Temporary));
    check_read(&Access { refusal: Some(Refusal::Locking), ..plain() }, Err(BypassReason::Locking));
    check_read(&Access { types: vec![function("regclass")], ..plain() }, Err(BypassReason::SystemCatalog));
}

#[test]
fn functions_are_as_bad_as_the_worst_of_their_name() {
    for name in ["lower", "to_char", "pure"] {
        check_read(&call(name), Ok(&[PRODUCTS, OTHER_PRODUCTS]));
    }
    for name in ["now", "random", "mixed", "looks", "mystery", "unheard_of", "query_to_xml"] {
        check_read(&call(name), Err(BypassReason::Function));
    }
    for name in ["lower", "now", "random", "pure", "set_config"] {
        assert!(facts(&call(name)).writes.is_nothing(), "{name}");
    }
    for name in ["looks", "mystery", "mixed", "unheard_of", "query_to_xml"] {
        let writes = facts(&call(name)).writes;
        assert!(writes.is_everything(), "{name}");
        assert_eq!(writes.may_define(), matches!(name, "mystery" | "unheard_of"), "{name}");
    }
    assert!(facts(&call("set_config")).can_change_session && !facts(&call("random")).can_change_session);
}

#[test]
fn what_calls_without_a_name_is_followed() {
    for access in [
        Access { operators: vec![function("~~~")], ..plain() },
        Access { types: vec![function("odd_type")], ..plain() },
        Access { fields: vec!["mystery".into()], ..plain() },
    ] {
        check_read(&access, Err(BypassReason::Function));
        assert!(facts(&access).writes.is_everything());
    }
}

#[test]
fn writes_are_closed_over_partitions_keys_and_views() {
    check_write(&write("events"), &[EVENTS, EVENTS_MAY]);
    check_write(&write("public.products"), &[PRODUCTS, LINES, NOTES]);
    check_write(&Access { only_inserts: true, ..write("public.products") }, &[PRODUCTS]);
    check_write(&write("cheap"), &[PRODUCTS, LINES, NOTES, CHEAP]);
    check_write(&write("pg_temp.x"), &[]);
}

#[test]
fn writes_are_closed_over_the_functions_of_triggers() {
    check_write(&write("audited"), &[AUDITED, AUDIT]);
    for name in ["triggered", "ruled", "far", "unheard_of"] {
        let facts = facts(&write(name));
        assert!(facts.writes.is_everything() && facts.can_change_session, "{name}");
    }
    check_write(&read("secrets"), &[AUDIT]);
    check_write(&write("secrets"), &[AUDIT, TableId(9)]);
    assert!(facts(&write("pg_catalog.pg_class")).writes.is_catalog());
    assert!(facts(&write("pg_settings")).can_change_session);
}

#[test]
fn effects_beyond_rows() {
    for (effect, everything, catalog, can_commit, session) in [
        (Effect::Catalog, true, true, true, true),
        (Effect::Everything, true, false, true, true),
        (Effect::Execute, true, false, false, true),
        (Effect::Nothing, false, false, false, false),
        (Effect::Session, false, false, false, true),
        (Effect::Transaction, false, false, true, false),
    ] {
        let facts = facts(&Access::of(effect));
        let found = (facts.writes.is_everything(), facts.writes.is_catalog(), facts.can_commit);
        assert_eq!(
            (found, facts.can_change_session),
            ((everything, catalog, can_commit), session),
            "{effect:?}"
        );
        assert!(facts.read.is_err());
    }
}

#[test]
fn without_a_catalog_no_answer_is_kept_and_every_write_is_one_to_everything() {
    let facts = facts_without_catalog(&read("products"));
    assert_eq!((facts.read, facts.writes.is_nothing()), (Err(BypassReason::CatalogUnknown), true));
    assert!(facts_without_catalog(&write("products")).writes.is_everything());
    assert!(facts_without_catalog(&call("lower")).writes.is_everything());
    assert!(facts_without_catalog(&Access::of(Effect::Catalog)).writes.is_catalog());
    assert!(facts_without_catalog(&Access::default()).writes.is_everything());
}
