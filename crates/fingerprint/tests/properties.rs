//! Properties that hold for any bytes, and for SQL that has been mangled.

use pgtally_fingerprint::{Dialect, Scan, StatementScan, normalize, tags, unquote, value};
use proptest::prelude::*;

/// Words and symbols that steer the walk.
const PIECES: &[&str] = &[
    "select",
    "FROM",
    "where",
    "a",
    "\"b\"",
    "\"Order\"",
    "\"order\"",
    "t.x",
    "=",
    "<>",
    "-",
    "+",
    "::",
    "::int[]",
    "::numeric(1,2)",
    "in",
    "not",
    "any",
    "all",
    "array",
    "(",
    ")",
    "[",
    "]",
    ",",
    ";",
    "1",
    "-2",
    "'x'",
    "'{1,2}'",
    "E'a\\'",
    "$1",
    "$2",
    "$$d$$",
    "null",
    "true",
    "values",
    "insert into",
    "update",
    "set",
    "between",
    "and",
    "or",
    "limit",
    "order by",
    "interval",
    "date",
    "timestamp with time zone",
    "day",
    "cast(",
    "as",
    "case",
    "end",
    "begin",
    "atomic",
    "create",
    "savepoint",
    "fetch",
    "declare",
    "rollback",
    "to",
    "execute",
    "prepare",
    "set_config(",
    "filter",
    "extract(",
    ".",
    ":",
    "*",
    "/",
    "--c\n",
    "/*c*/",
    "/*",
    "'",
    "\"",
    "$",
    "@>",
    "?",
    "é",
    "\\",
    "\n",
    "_",
    "0x1f",
    "1e",
    "..",
    "!=",
];

fn sql() -> impl Strategy<Value = String> {
    prop::collection::vec((prop::sample::select(PIECES), prop::bool::weighted(0.8)), 0..40).prop_map(
        |pieces| {
            pieces.iter().flat_map(|(piece, is_spaced)| [*piece, if *is_spaced { " " } else { "" }]).collect()
        },
    )
}

fn scan(text: &[u8]) -> Vec<StatementScan> {
    let mut scan = Scan::new();
    scan.scan(text, Dialect::default(), false);
    scan.statements
}

/// Fills the holes of a template with literals, white space and comments, and changes letters' case.
fn dress(template: &str, values: &[String], gaps: &[String], is_upper: bool) -> String {
    let mut values = values.iter().cycle();
    let mut gaps = gaps.iter().cycle();
    let mut text = String::new();
    for piece in template.split(' ') {
        match piece {
            "?" => text.push_str(values.next().map_or("1", String::as_str)),
            _ if is_upper => text.push_str(&piece.to_uppercase()),
            _ => text.push_str(piece),
        }
        text.push_str(gaps.next().map_or(" ", String::as_str));
    }
    text
}

const TEMPLATES: [&str; 5] = [
    "select a , b from t where id = ? and c > ? limit ?",
    "select * from t where id in ( ? , ? , ? ) or x between ? and ?",
    "insert into t ( a , b ) values ( ? , ? ) , ( ? , ? ) returning id",
    "update t set a = ? , b = b - ? where id = ?",
    "select ( select max ( x ) from u where k = ? ) , array [ ? , ? ] from t order by a",
];

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        (-999_999_i64..999_999).prop_map(|n| n.to_string()),
        "[a-z0-9 ;/*-]{0,12}".prop_map(|s| format!("'{s}'")),
        "[a-z' ]{0,8}".prop_map(|s| format!("$q${s}$q$")),
        (1_u16..99).prop_map(|n| format!("${n}")),
        (0_u32..99).prop_map(|n| format!("{n}.5e3")),
        (0_u32..99).prop_map(|n| format!("'{n}'::int")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_accepted(bytes in prop::collection::vec(any::<u8>(), 0..300), is_standard in any::<bool>(), is_cut in any::<bool>()) {
        let dialect = Dialect { has_standard_strings: is_standard };
        let mut scan = Scan::new();
        scan.scan(&bytes, dialect, is_cut);
        for statement in &scan.statements {
            let normalized = normalize(&bytes, statement, dialect);
            prop_assert!(normalized.roles.len() >= statement.parameters.len());
        }
        let _ = tags::parse(&bytes).count();
        let _ = unquote(&bytes);
        let _ = value::literal(&bytes);
        value::array_text(&bytes, |_| {});
        value::array_binary(&bytes, |_, _| {});
    }

    #[test]
    fn normalized_text_is_its_own_normal_form(text in sql()) {
        for statement in scan(text.as_bytes()) {
            let once = normalize(text.as_bytes(), &statement, Dialect::default());
            let again = scan(once.text.as_bytes());
            prop_assert_eq!(again.len(), 1, "{:?} -> {:?}", text, once.text);
            prop_assert_eq!(again[0].fingerprint, statement.fingerprint, "{:?} -> {:?}", text, once.text);
            let twice = normalize(once.text.as_bytes(), &again[0], Dialect::default());
            prop_assert_eq!(&twice.text, &once.text, "{:?}", text);
            prop_assert_eq!(twice.roles.len(), once.roles.len());
        }
    }

    #[test]
    fn statements_cover_the_text_in_order(text in sql()) {
        let mut end = 0;
        for statement in scan(text.as_bytes()) {
            prop_assert!(end <= statement.text.start && statement.text.start < statement.text.end);
            end = statement.text.end;
        }
        prop_assert!(end as usize <= text.len());
    }

    #[test]
    fn every_prefix_is_accepted(text in sql(), at in any::<prop::sample::Index>()) {
        let cut = &text.as_bytes()[..at.index(text.len() + 1)];
        let mut scan = Scan::new();
        scan.scan(cut, Dialect::default(), true);
        for statement in scan.statements.iter().filter(|statement| statement.is_truncated) {
            let whole = self::scan(cut);
            prop_assert!(whole.iter().all(|other| other.fingerprint != statement.fingerprint));
        }
    }

    #[test]
    fn dress_does_not_matter(
        template in prop::sample::select(TEMPLATES.as_slice()),
        values in prop::collection::vec(literal(), 1..6),
        gaps in prop::collection::vec(prop::sample::select([" ", "\n", "\t ", " /* c; ' */ ", " -- c '\n"].as_slice()).prop_map(str::to_owned), 1..6),
        is_upper in any::<bool>(),
    ) {
        let plain = template.replace('?', "$1");
        let dressed = dress(template, &values, &gaps, is_upper);
        let expected = scan(plain.as_bytes());
        let found = scan(dressed.as_bytes());
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(found[0].fingerprint, expected[0].fingerprint, "{}", dressed);
    }

    #[test]
    fn joined_texts_split_again(texts in prop::collection::vec(prop::sample::select(TEMPLATES.as_slice()), 1..5)) {
        let texts: Vec<String> = texts.iter().map(|text| text.replace('?', "'a;b'")).collect();
        let joined = texts.join(" ; ");
        let alone: Vec<_> = texts.iter().flat_map(|text| scan(text.as_bytes())).map(|s| s.fingerprint).collect();
        let together: Vec<_> = scan(joined.as_bytes()).iter().map(|s| s.fingerprint).collect();
        prop_assert_eq!(alone, together);
    }
}
