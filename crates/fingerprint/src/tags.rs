//! Reads tags from the body of a comment, in every dialect that tools write.
//!
//! sqlcommenter `k='url%20encoded'`, marginalia `k:v`, Rails QueryLogs (either), Prisma and Datadog (`k=v` unquoted
//! too), and pgtally's own `pgtally:cache ttl=30s`. A comment in prose yields at most a word before a colon.
//! Which tags mean what is for the caller to say.

use std::borrow::Cow;

/// Tags read from one comment; later ones are ignored.
pub const TAGS_MAX: usize = 32;
/// Bytes of the longest key; a tag with a longer one is skipped.
pub const KEY_BYTES_MAX: usize = 64;
/// Bytes of the longest value, decoded; a tag with a longer one is skipped.
pub const VALUE_BYTES_MAX: usize = 256;

const OWN_PREFIX: &[u8] = b"pgtally:";

/// The tags of one comment, in order. `comment` is the body without its delimiters.
///
/// ```
/// let mut tags = pgtally_fingerprint::tags::parse(b"route='%2Forders',traceparent='00-abc'");
/// assert_eq!(tags.next(), Some(("route".into(), "/orders".into())));
/// ```
pub fn parse(comment: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let comment = comment.trim_ascii();
    let own = own_form(comment);
    let rest = if own.is_some() { &[] } else { comment };
    own.into_iter().chain(Pairs { rest }).take(TAGS_MAX)
}

/// The trace id of a `traceparent` value: 32 hex digits that aren't all zero. Versions and flags don't matter.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.trim().split('-');
    let version = parts.next()?;
    let id = parts.next()?;
    let is_version = version.len() == 2 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_version && is_id && id.bytes().any(|byte| byte != b'0')).then_some(id)
}

/// `bytes` as text. What is not UTF-8 is written as `%FF`: ids that differ in such bytes alone must not become one.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    Cow::Owned(text)
}

/// `pgtally:cache ttl=30s tags=a,b`: one key, the rest is its value.
fn own_form(comment: &[u8]) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    if !comment.starts_with(OWN_PREFIX) {
        return None;
    }
    let end = comment.iter().position(u8::is_ascii_whitespace).unwrap_or(comment.len());
    let (key, value) = comment.split_at(end);
    let value = value.trim_ascii();
    let is_word = key
        .get(OWN_PREFIX.len()..)
        .is_some_and(|word| !word.is_empty() && word.iter().all(u8::is_ascii_alphanumeric));
    (is_word && key.len() <= KEY_BYTES_MAX && value.len() <= VALUE_BYTES_MAX)
        .then(|| (text(key), text(value)))
}

/// Pairs parted by commas, as far as quotes allow.
struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            if let Some(pair) = self.pair() {
                return Some(pair);
            }
        }
        None
    }
}

impl<'a> Pairs<'a> {
    /// Takes one pair, or what stands in the place of one.
    fn pair(&mut self) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        let Some(split) = memchr::memchr3(b'=', b':', b',', self.rest) else {
            self.rest = &[];
            return None;
        };
        let (key, tail) = self.rest.split_at(split);
        let (separator, tail) = tail.split_first()?;
        self.rest = tail;
        if *separator == b',' {
            return None;
        }
        let key = key_of(key)?;
        match tail.trim_ascii_start() {
            [b'\'', quoted @ ..] => {
                let (value, rest) = quoted_value(quoted);
                self.rest = rest;
                decode(value, true).map(|value| (key, value))
            }
            _ => {
                let end = memchr::memchr(b',', tail).unwrap_or(tail.len());
                let (value, rest) = tail.split_at(end);
                self.rest = rest.get(1..).unwrap_or_default();
                let value = value.trim_ascii();
                // Only what `=` separates is encoded: marginalia writes values as they are.
                decode(value, false).filter(|value| !value.is_empty()).map(|value| (key, value))
            }
        }
    }
}

/// A key is a word of the characters that tools use; anything else is prose.
fn key_of(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let key = bytes.trim_ascii();
    let is_key = !key.is_empty()
        && key.len() <= KEY_BYTES_MAX
        && key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.-%".contains(byte));
    if !is_key {
        return None;
    }
    decode(key, false)
}

/// Splits behind the closing quote, which a backslash can escape.
fn quoted_value(quoted: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(found) = quoted.get(at..).and_then(|rest| memchr::memchr2(b'\'', b'\\', rest)) {
        at += found;
        if quoted.get(at) == Some(&b'\'') {
            let rest = quoted.get(at + 1..).unwrap_or_default();
            return (quoted.get(..at).unwrap_or_default(), rest);
        }
        at += 2;
    }
    (quoted, &[])
}

/// Resolves percent encoding, and backslashes where the value was quoted. What is broken stays as it is.
fn decode(value: &[u8], has_backslashes: bool) -> Option<Cow<'_, str>> {
    // Three bytes encode one at most.
    if value.len() > 3 * VALUE_BYTES_MAX {
        return None;
    }
    let is_plain = memchr::memchr2(b'%', b'\\', value).is_none();
    let decoded = if is_plain {
        text(value)
    } else {
        let bytes = decoded_bytes(value, has_backslashes);
        Cow::Owned(text(&bytes).into_owned())
    };
    (decoded.len() <= VALUE_BYTES_MAX).then_some(decoded)
}

fn decoded_bytes(value: &[u8], has_backslashes: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    loop {
        rest = match rest {
            [] => return bytes,
            [b'\\', escaped @ (b'\'' | b'\\'), tail @ ..] if has_backslashes => {
                bytes.push(*escaped);
                tail
            }
            [b'%', high, low, tail @ ..] if let Some(byte) = hex_byte(*high, *low) => {
                bytes.push(byte);
                tail
            }
            [byte, tail @ ..] => {
                bytes.push(*byte);
                tail
            }
        };
    }
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(comment: &str, expected: &[(&str, &str)]) {
        let tags: Vec<(String, String)> =
            parse(comment.as_bytes()).map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
        let expected: Vec<(String, String)> =
            expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(tags, expected, "{comment}");
    }

    const TRACEPARENT: &str = "00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01";

    #[test]
    fn sqlcommenter() {
        check("route='%2Forders%2F%3Aid',action='it%27s'", &[("route", "/orders/:id"), ("action", "it's")]);
        check("a='1', b = '2' ,c='x\\'y'", &[("a", "1"), ("b", "2"), ("c", "x'y")]);
        check(&format!("traceparent='{TRACEPARENT}'"), &[("traceparent", TRACEPARENT)]);
        check("a='%zz%4',b=''", &[("a", "%zz%4"), ("b", "")]);
        check("k='open", &[("k", "open")]);
        check(
            "http.route='%2Fa',db_driver='x',k='a,b=c'",
            &[("http.route", "/a"), ("db_driver", "x"), ("k", "a,b=c")],
        );
    }

    #[test]
    fn marginalia_and_rails() {
        check(
            "application:Shop,controller:orders,action:show",
            &[("application", "Shop"), ("controller", "orders"), ("action", "show")],
        );
        check("line:app/models/post.rb:12:in `load'", &[("line", "app/models/post.rb:12:in `load'")]);
        check("action='show',controller='posts'", &[("action", "show"), ("controller", "posts")]);
    }

    #[test]
    fn prisma_and_datadog() {
        check(&format!(" traceparent={TRACEPARENT} "), &[("traceparent", TRACEPARENT)]);
        check("dddbs='pg',dde='prod',ddps='shop'", &[("dddbs", "pg"), ("dde", "prod"), ("ddps", "shop")]);
        check("dddbs=pg,dde=prod", &[("dddbs", "pg"), ("dde", "prod")]);
    }

    #[test]
    fn ids_in_broken_encodings_stay_apart() {
        let value = |comment: &[u8]| parse(comment).next().map(|(_, value)| value.into_owned());
        assert_eq!(value(b"id='caf\xe9'").as_deref(), Some("caf%E9"));
        assert_eq!(value(b"id='caf%E9%C3%A9'").as_deref(), Some("caf%E9\u{e9}"));
        assert_ne!(value(b"id='\xff'"), value(b"id='\xfe'"));
        assert_eq!(
            value(&[b"id='".as_slice(), &[0xff; 200], b"'"].concat()),
            None,
            "too long when written out"
        );
    }

    #[test]
    fn own_form_is_one_tag() {
        check(
            "pgtally:cache ttl=30s tags=product:42,catalog",
            &[("pgtally:cache", "ttl=30s tags=product:42,catalog")],
        );
        check(" pgtally:nocache ", &[("pgtally:nocache", "")]);
        check("pgtally_cache='ttl%3D30s'", &[("pgtally_cache", "ttl=30s")]);
        check("pgtally: not ours", &[("pgtally", "not ours")]);
    }

    #[test]
    fn prose_and_oversized_tags_yield_little() {
        check("", &[]);
        check(" just a remark, nothing more ", &[]);
        check("see the wiki: it says = x", &[]);
        check("a b='c'", &[]);
        check(&format!("{}=1,b=2", "k".repeat(65)), &[("b", "2")]);
        check(&format!("a='{}',b='2'", "v".repeat(257)), &[("b", "2")]);
        assert_eq!(parse("a=1,".repeat(100).as_bytes()).count(), TAGS_MAX);
    }

    #[test]
    fn trace_ids() {
        let id = "5bd66ef5095369c7b0d1f8f4bd33716a";
        assert_eq!(trace_id(TRACEPARENT), Some(id));
        assert_eq!(trace_id(&format!("cc-{id}-x-03-more")), Some(id));
        assert_eq!(trace_id(&format!("00-{}-c532cb4098ac3dd2-01", "0".repeat(32))), None);
        assert_eq!(trace_id("00-5bd6"), None);
        assert_eq!(trace_id(""), None);
    }
}
