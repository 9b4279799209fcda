//! Words of a transcript's line: bare ones and quoted ones with escapes.

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) is_quoted: bool,
}

/// Splits a line. `\n`, `\t`, `\\` and `\"` are escapes within quotes.
pub(crate) fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let (text, length) = quoted(rest)?;
            tokens.push(Token { text, is_quoted: true });
            rest = rest.get(length..).unwrap_or_default().trim_start();
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            tokens.push(Token { text: word.to_owned(), is_quoted: false });
            rest = after.trim_start();
        }
    }
    Ok(tokens)
}

/// The quoted word in front of `text`, and its length with quotes.
fn quoted(text: &str) -> Result<(String, usize), String> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, at + 1)),
            '\\' => value.push(match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(escaped @ ('\\' | '"')) => escaped,
                other => return Err(format!("unknown escape {other:?}")),
            }),
            _ => value.push(character),
        }
    }
    Err("a quote is not closed".into())
}
