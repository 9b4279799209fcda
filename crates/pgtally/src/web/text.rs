//! Numbers, times and other people's text as people read them.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is in a segment or value of an address.
const KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Text whose characters can all be seen: control characters, and those that turn text round or have no width, would
/// let a statement look like another one, on pages and in terminals.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let is_hidden = match character {
            '\n' | '\t' => false,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' => true,
            '\u{feff}' => true,
            other => other.is_control(),
        };
        if is_hidden {
            // Writing to a string cannot fail.
            let _ = write!(shown, "⟦U+{:04X}⟧", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// As [`visible`], at most `characters` long and on one line.
pub(crate) fn short(text: &str, characters: usize) -> String {
    let cut = crate::report::shorten(text, characters);
    visible(&cut).replace(['\n', '\t'], " ")
}

/// Milliseconds with a unit that suits them.
pub(crate) fn milliseconds(milliseconds: f64) -> String {
    match milliseconds {
        it if it <= 0.0 => "0".into(),
        it if it < 1.0 => format!("{:.0} µs", it * 1_000.0),
        it if it < 10.0 => format!("{it:.1} ms"),
        it if it < 10_000.0 => format!("{it:.0} ms"),
        it if it < 600_000.0 => format!("{:.1} s", it / 1_000.0),
        it => format!("{:.0} min", it / 60_000.0),
    }
}

/// A number with its thousands apart.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

/// Bytes with a unit that suits them.
pub(crate) fn bytes(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < units.len() {
        value /= 1_024.0;
        unit += 1;
    }
    let digits = if unit == 0 { 0 } else { 1 };
    format!("{value:.digits$} {}", units.get(unit).copied().unwrap_or_default())
}

/// `2026-01-31 12:34:56` of RFC 3339.
pub(crate) fn moment(rfc3339: &str) -> String {
    rfc3339.get(..19).map_or_else(|| rfc3339.to_owned(), |text| text.replace('T', " "))
}

/// An address with a query.
pub(crate) fn href(path: &str, pairs: &[(&str, String)]) -> String {
    let mut address = path.to_owned();
    for (index, (name, value)) in pairs.iter().enumerate() {
        let _ = write!(
            address,
            "{}{name}={}",
            if index == 0 { '?' } else { '&' },
            utf8_percent_encode(value, &KEPT)
        );
    }
    address
}

/// Address of one request.
pub(crate) fn request_href(key: &str) -> String {
    format!("/requests/{}", utf8_percent_encode(key, &KEPT))
}

/// Address of the requests of a route.
pub(crate) fn route_href(route: &str) -> String {
    href("/requests", &[("route", route.to_owned())])
}

/// A statement for a shell: psql, through pgtally, with a place for every parameter.
pub(crate) fn psql(listen: &str, statement: &str) -> String {
    let (host, port) = listen.rsplit_once(':').unwrap_or((listen, "5432"));
    let parameters = parameters(statement);
    let bind: String = (1..=parameters).map(|number| format!(" 'value {number}'")).collect();
    let end = if parameters == 0 { ";".to_owned() } else { format!("\n\\bind{bind} \\g") };
    // The shell takes nothing in it for its own up to this word, so the statement must not have it on a line.
    let mut word = "SQL".to_owned();
    while statement.lines().any(|line| line.trim() == word) {
        word.push('_');
    }
    format!("psql -h {host} -p {port} <<'{word}'\n{}{end}\n{word}", visible(statement))
}

/// Number of the highest placeholder.
pub(crate) fn parameters(statement: &str) -> usize {
    let numbers = statement.split('$').skip(1).filter_map(|rest| {
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end)?.parse::<usize>().ok()
    });
    numbers.max().unwrap_or(0).min(PARAMETERS_SHOWN)
}

/// Nobody fills in more by hand.
const PARAMETERS_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_shown() {
        assert_eq!(visible("a\u{202e}b\u{0}\n<c>"), "a⟦U+202E⟧b⟦U+0000⟧\n<c>");
        assert_eq!(visible("\u{1b}[31m\u{feff}"), "⟦U+001B⟧[31m⟦U+FEFF⟧");
        assert_eq!(short("SELECT\n1 FROM x", 8), "SELECT 1…");
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(number(12), "12");
        let check =
            |milliseconds: f64, expected: &str| assert_eq!(super::milliseconds(milliseconds), expected);
        check(0.0, "0");
        check(0.25, "250 µs");
        check(1.25, "1.2 ms");
        check(1_250.0, "1250 ms");
        check(12_500.0, "12.5 s");
        assert_eq!((bytes(512.0), bytes(1_536.0)), ("512 B".into(), "1.5 KiB".into()));
    }

    #[test]
    fn addresses_hold_any_text() {
        assert_eq!(href("/x", &[("a", "b&c=d/\"".into())]), "/x?a=b%26c%3Dd%2F%22");
        assert_eq!(request_href("trace:a/b?c"), "/requests/trace%3Aa%2Fb%3Fc");
    }

    #[test]
    fn a_statement_for_psql_cannot_leave_its_quotes() {
        let text = psql("127.0.0.1:6432", "SELECT $1,\nSQL\n, $2");
        let expected =
            "psql -h 127.0.0.1 -p 6432 <<'SQL_'\nSELECT $1,\nSQL\n, $2\n\\bind 'value 1' 'value 2' \\g\nSQL_";
        assert_eq!(text, expected);
        assert!(psql("h:1", "SELECT 1").ends_with("\nSELECT 1;\nSQL"));
    }
}
