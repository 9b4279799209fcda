//! What a session's answers depend on besides its statements: asked once on the session's own connection, and again
//! after whatever may have changed it.
//!
//! The question is a group of extended messages with names of its own, so that it leaves the client's unnamed
//! statement alone. All columns of its one row together are the environment, byte for byte; the first four are read.

use std::sync::Arc;
use std::time::Duration;

use pgtally_cache::{Answer, BypassReason, Environment, Fault};
use pgtally_protocol::backend::Cells;

/// Encodings in which a byte of a character can look like a backslash: what a literal is, is hard to say.
const AMBIGUOUS_ENCODINGS: [&[u8]; 7] =
    [b"BIG5", b"GB18030", b"GBK", b"JOHAB", b"SHIFT_JIS_2004", b"SJIS", b"UHC"];

/// Settings that an answer's bytes can depend on. Those that only change how it is computed are left out.
const SETTINGS: [&str; 22] = [
    "DateStyle",
    "TimeZone",
    "IntervalStyle",
    "standard_conforming_strings",
    "search_path",
    "role",
    "row_security",
    "bytea_output",
    "extra_float_digits",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "xmlbinary",
    "xmloption",
    "default_text_search_config",
    "array_nulls",
    "transform_null_equals",
    "quote_all_identifiers",
    "backslash_quote",
    "timezone_abbreviations",
    "default_transaction_isolation",
];

/// Of the question: the session's user, the current one, and `role`.
const USER_COLUMNS: [usize; 3] = [8, 9, 15];

/// Of the question: columns before the settings, the settings included.
const FIXED_COLUMNS: usize = 10 + SETTINGS.len();

/// The messages that ask, for the settings `vary` as well.
pub(super) fn question(vary: &[Box<str>]) -> Vec<u8> {
    let mut text = "SELECT pg_catalog.pg_is_in_recovery(), \
        pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0 AND EXISTS (SELECT FROM pg_catalog.pg_class \
        WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()), \
        pg_catalog.current_setting('client_encoding', true), \
        pg_catalog.current_setting('idle_session_timeout', true), \
        pg_catalog.pg_postmaster_start_time()::pg_catalog.text, pg_catalog.inet_server_addr()::pg_catalog.text, \
        pg_catalog.inet_server_port()::pg_catalog.text, pg_catalog.current_database(), session_user, current_user"
        .to_owned();
    for setting in SETTINGS.into_iter().chain(vary.iter().map(|setting| &**setting)) {
        text.push_str(&format!(", pg_catalog.current_setting('{setting}', true)"));
    }
    group(b"pgtally environment\0", &text)
}

/// A group that asks `text` by a statement and a portal of this name (with its terminator), and forgets both.
pub(super) fn group(name: &[u8], text: &str) -> Vec<u8> {
    let parse = [name, text.as_bytes(), b"\0\0\0"].concat();
    let bind = [name, name, b"\0\0\0\0\0\0"].concat();
    let execute = [name, b"\0\0\0\0"].concat();
    let close = |kind: u8| [&[kind][..], name].concat();
    [
        // An error skips what closes it below: the last question may have left it.
        message(b'C', &close(b'S')),
        message(b'P', &parse),
        message(b'B', &bind),
        message(b'E', &execute),
        message(b'C', &close(b'P')),
        message(b'C', &close(b'S')),
        message(b'S', &[]),
    ]
    .concat()
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    // All bodies are written here, and short.
    let length = body.len() as u32 + 4;
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// Of a setting as a session has it; `None` where it is not set.
type SettingValue = Option<Box<[u8]>>;

/// What is known of a session.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) environment: Arc<Environment>,
    /// When it was asked.
    pub(super) at_ns: u64,
    pub(super) is_standby: bool,
    /// After this time without a word the server ends the session.
    pub(super) idle_timeout: Option<Duration>,
    /// The settings asked for besides, with their values.
    varying: Vec<(Box<str>, SettingValue)>,
}

impl Known {
    /// The values of these settings, for a key; `None` where one was not asked for.
    pub(super) fn values_of(&self, vary: &[Box<str>]) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for name in vary {
            let (_, value) = self.varying.iter().find(|(known, _)| known == name)?;
            bytes.extend_from_slice(name.as_bytes());
            // A name has no such byte, and a value is told from none.
            bytes.extend_from_slice(&[0, u8::from(value.is_some())]);
            let value = value.as_deref().unwrap_or_default();
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(value);
        }
        Some(bytes)
    }
}

/// Reads the answer, or says why the session's answers cannot be kept.
pub(super) fn read(
    answer: &Answer,
    vary: Vec<Box<str>>,
    at_ns: u64,
    fault: Fault,
) -> Result<Known, BypassReason> {
    let mut cells = Cells::new(&answer.row);
    let mut cell = || cells.next().flatten();
    let (Some(standby), Some(temporary), Some(encoding)) = (cell(), cell(), cell()) else {
        return Err(BypassReason::Environment);
    };
    let idle_timeout = cell().and_then(interval);
    if answer.is_failed {
        return Err(BypassReason::Environment);
    }
    if AMBIGUOUS_ENCODINGS.iter().any(|ambiguous| encoding.eq_ignore_ascii_case(ambiguous)) {
        return Err(BypassReason::ClientEncoding);
    }
    if temporary != b"f" {
        return Err(BypassReason::Temporary);
    }
    let environment = if fault.is(Fault::NoRoleInKey) {
        let others = Cells::new(&answer.row)
            .take(FIXED_COLUMNS)
            .enumerate()
            .filter(|(at, _)| !USER_COLUMNS.contains(at));
        Environment::new(&others.flat_map(|(_, cell)| cell.unwrap_or_default()).copied().collect::<Vec<_>>())
    } else {
        Environment::new(fixed(&answer.row))
    };
    let environment = Arc::new(environment);
    let mut values = Cells::new(&answer.row).skip(FIXED_COLUMNS);
    let mut varying = Vec::with_capacity(vary.len());
    for name in vary {
        let value = values.next().ok_or(BypassReason::Environment)?;
        varying.push((name, value.map(Into::into)));
    }
    Ok(Known { environment, at_ns, is_standby: standby != b"f", idle_timeout, varying })
}

/// The bytes of a row without its number of cells, and without what was asked for besides.
fn fixed(row: &[u8]) -> &[u8] {
    let cells = row.get(size_of::<u16>()..).unwrap_or_default();
    let cell_bytes = |cell: Option<&[u8]>| size_of::<u32>() + cell.map_or(0, <[u8]>::len);
    let end = Cells::new(row).take(FIXED_COLUMNS).map(cell_bytes).sum();
    cells.get(..end).unwrap_or(cells)
}

/// `10min`, as `current_setting` shows it; `None` for 0.
fn interval(text: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(text).ok()?;
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let unit_ms: u64 = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => 86_400_000,
    };
    Some(Duration::from_millis(number.saturating_mul(unit_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(cells: &[Option<&[u8]>]) -> Answer {
        let mut row = u16::try_from(cells.len()).unwrap().to_be_bytes().to_vec();
        for cell in cells {
            let length = cell.map_or(-1, |cell| i32::try_from(cell.len()).unwrap());
            row.extend_from_slice(&length.to_be_bytes());
            row.extend_from_slice(cell.unwrap_or_default());
        }
        Answer { row, is_failed: false }
    }

    fn known(cells: &[&str]) -> Result<Known, BypassReason> {
        let cells: Vec<_> = cells.iter().map(|cell| Some(cell.as_bytes())).collect();
        read(&answer(&cells), Vec::new(), 0, Fault::None)
    }

    #[test]
    fn what_an_earlier_error_has_left_is_closed_first() {
        assert!(group(b"x\0", "SELECT 1").starts_with(b"C\0\0\0\x07Sx\0P"));
    }

    #[test]
    fn sessions_whose_answers_cannot_be_kept_are_told() {
        let one = known(&["f", "f", "UTF8", "10min", "x"]).unwrap();
        assert!(!one.is_standby && one.idle_timeout == Some(Duration::from_secs(600)));
        let other = known(&["t", "f", "UTF8", "0", "y"]).unwrap();
        assert!(other.is_standby && other.idle_timeout.is_none());
        assert_ne!(one.environment, other.environment);
        assert_eq!(known(&["f", "t", "UTF8", "0"]).unwrap_err(), BypassReason::Temporary);
        assert_eq!(known(&["f", "f", "sjis", "0"]).unwrap_err(), BypassReason::ClientEncoding);
        assert_eq!(known(&["f"]).unwrap_err(), BypassReason::Environment);
        let failed = Answer { is_failed: true, ..answer(&[Some(b"f"), Some(b"f"), Some(b"UTF8"), None]) };
        assert_eq!(read(&failed, Vec::new(), 0, Fault::None).unwrap_err(), BypassReason::Environment);
    }

    #[test]
    fn settings_that_rules_name_stand_apart() {
        let row = |tenant: Option<&'static [u8]>| {
            let mut cells = vec![Some(&b"f"[..]), Some(b"f"), Some(b"UTF8"), None];
            cells.resize(FIXED_COLUMNS, Some(b"same"));
            cells.push(tenant);
            answer(&cells)
        };
        let [vary, other] = [["app.tenant"], ["app.other"]].map(|names| names.map(Box::from));
        let known = |tenant| read(&row(tenant), vary.to_vec(), 0, Fault::None).unwrap();
        let all = [known(None), known(Some(b"")), known(Some(b"one")), known(Some(b"two"))];
        assert!(all.iter().all(|it| it.environment == all[0].environment));
        let mut values: Vec<_> = all.iter().map(|it| it.values_of(&vary).unwrap()).collect();
        values.dedup();
        assert_eq!(values.len(), all.len());
        assert!(all[0].values_of(&other).is_none());
        assert_eq!(all[0].values_of(&[]), Some(Vec::new()));
        let short = read(&row(None), [vary, other].concat(), 0, Fault::None);
        assert_eq!(short.unwrap_err(), BypassReason::Environment);
    }

    #[test]
    fn intervals_are_read_as_the_server_shows_them() {
        for (text, seconds) in [("30s", 30.0), ("1500ms", 1.5), ("2h", 7_200.0), ("1d", 86_400.0)] {
            assert_eq!(interval(text.as_bytes()), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        assert_eq!(interval(b"0"), None);
    }
}
