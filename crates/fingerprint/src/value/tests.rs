use super::*;

const UUID_TEXT: &[u8] = b"7d444840-9dc0-11d1-b245-5ffdce74fad2";
const UUID_BYTES: [u8; 16] =
    [0x7d, 0x44, 0x48, 0x40, 0x9d, 0xc0, 0x11, 0xd1, 0xb2, 0x45, 0x5f, 0xfd, 0xce, 0x74, 0xfa, 0xd2];

#[test]
fn one_integer_has_one_hash() {
    let expected = hash_integer(1004);
    for token in [
        "1004",
        "'1004'",
        "+1004",
        "$$1004$$",
        "$tag$1004$tag$",
        "E'1004'",
        "0x3ec",
        "0b1111101100",
        "N'1004'",
    ] {
        assert_eq!(literal(token.as_bytes()), expected, "{token}");
    }
    assert_eq!(hash_text(b"1004"), expected);
    assert_eq!(hash_binary(21, &1004_i16.to_be_bytes()), expected);
    assert_eq!(hash_binary(23, &1004_i32.to_be_bytes()), expected);
    assert_eq!(hash_binary(20, &1004_i64.to_be_bytes()), expected);
    assert_eq!(hash_binary(0, &1004_i64.to_be_bytes()), expected);
    assert_eq!(literal(b"- 7"), hash_integer(-7));
    assert_eq!(hash_text(b"-9223372036854775808"), hash_integer(i64::MIN));
    assert_eq!(hash_binary(26, &u32::MAX.to_be_bytes()), hash_integer(u32::MAX.into()));
}

#[test]
fn other_values_are_their_text() {
    assert_eq!(literal(b"'it''s'"), hash_text(b"it's"));
    assert_eq!(literal(b"E'a\\nb\\'c and some more'"), hash_text(b"a\nb'c and some more"));
    assert_eq!(literal(b"'one'\n  'two'"), hash_text(b"onetwo"));
    assert_eq!(hash_binary(25, b"abc"), hash_text(b"abc"));
    assert_eq!(literal(b"null"), NULL);
    assert_ne!(hash_text(b"99999999999999999999"), hash_text(b"9999999999999999999"));
    assert_ne!(hash_text(b""), NULL);
    assert_ne!(literal(b"1.50"), literal(b"1.5"));
}

#[test]
fn uuids_are_sixteen_bytes() {
    assert_eq!(hash_text(UUID_TEXT), hash_uuid(&UUID_BYTES));
    assert_eq!(hash_text(&UUID_TEXT.to_ascii_uppercase()), hash_uuid(&UUID_BYTES));
    let bare: Vec<u8> = UUID_TEXT.iter().copied().filter(|byte| *byte != b'-').collect();
    assert_eq!(hash_text(&bare), hash_uuid(&UUID_BYTES));
    assert_eq!(hash_binary(2950, &UUID_BYTES), hash_uuid(&UUID_BYTES));
    assert_eq!(hash_binary(0, &UUID_BYTES), hash_uuid(&UUID_BYTES));
    assert_ne!(hash_binary(17, &UUID_BYTES), hash_uuid(&UUID_BYTES));
}

#[test]
fn a_list_of_one_is_its_value() {
    let mut list = ListHash::new();
    assert_eq!(list.finish(), 0);
    list.push(hash_integer(5));
    assert_eq!(list.finish(), u64::from(hash_integer(5)));
    list.push(hash_integer(6));
    let mut other = ListHash::new();
    other.push(hash_integer(6));
    other.push(hash_integer(5));
    assert_ne!(list.finish(), other.finish());
    assert_eq!(list.len(), 2);
}

fn elements(array: &str) -> Vec<Option<String>> {
    let mut out = Vec::new();
    array_text(array.as_bytes(), |e| out.push(e.map(|e| String::from_utf8_lossy(e).into_owned())));
    out
}

#[test]
fn arrays_in_text_form() {
    let some = |list: &[&str]| list.iter().map(|e| Some((*e).to_owned())).collect::<Vec<_>>();
    assert_eq!(elements("{1,2,3}"), some(&["1", "2", "3"]));
    assert_eq!(elements("{}"), some(&[]));
    assert_eq!(elements("{{1,2},{3,4}}"), some(&["1", "2", "3", "4"]));
    assert_eq!(elements(r#"{"a,b",c d, NULL}"#), [Some("a,b".to_owned()), Some("c d".to_owned()), None]);
    assert_eq!(elements(r#"[0:1]={"a\"b",x}"#), some(&[r#"a\"b"#, "x"]));
    assert_eq!(elements("garbage"), some(&[]));
    assert_eq!(elements(r#"{"open"#), some(&["open"]));
}

#[test]
fn arrays_in_binary_form() {
    let mut array = Vec::new();
    for word in [1_u32, 1, 23, 3, 1] {
        array.extend(word.to_be_bytes());
    }
    array.extend([0, 0, 0, 4, 0, 0, 0, 9]);
    array.extend([0xff; 4]);
    array.extend([0, 0, 0, 4, 0, 0, 0, 8]);
    let mut out = Vec::new();
    array_binary(&array, |oid, element| out.push(element.map(|e| hash_binary(oid, e))));
    assert_eq!(out, [Some(hash_integer(9)), None, Some(hash_integer(8))]);
    for end in 0..array.len() {
        array_binary(&array[..end], |_, _| {});
    }
    array[4 * 3..4 * 4].copy_from_slice(&[0x7f; 4]);
    array_binary(&array, |_, _| {});
}

#[test]
fn tokens_unquote_to_their_values() {
    use crate::unquote;
    for (token, expected) in [
        ("'a''b'", "a'b"),
        ("E'a\\tb'", "a\tb"),
        ("\"Abc\"\"d\"", "Abc\"d"),
        ("Abc", "abc"),
        ("$x$a'b$x$", "a'b"),
        ("42", "42"),
        ("''", ""),
        ("'open", "open"),
    ] {
        assert_eq!(unquote(token.as_bytes()), expected.as_bytes(), "{token}");
    }
}
