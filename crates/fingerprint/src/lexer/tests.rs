use super::*;

fn check(text: &str, expected: &[&str]) {
    let mut comments = Vec::new();
    let mut lexer = Lexer::new(text.as_bytes(), 0, true, &mut comments);
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next();
        if token.kind == TokenKind::End {
            break;
        }
        tokens.push(std::str::from_utf8(lexer.bytes(token)).expect("utf-8"));
    }
    assert_eq!(tokens, expected, "{text}");
}

#[test]
fn tokens_are_cut_like_postgresql_does() {
    check("a=-1", &["a", "=", "-", "1"]);
    check("a@-1", &["a", "@-", "1"]);
    check("a->>'b'", &["a", "->>", "'b'"]);
    check(
        "1e5 .5 1.e-3 0xFF 1_000 1..2 1.5e",
        &["1e5", ".5", "1.e-3", "0xFF", "1_000", "1", "..", "2", "1.5", "e"],
    );
    check("'a''b' E'a\\'b' U&'d' B'01' n'x'", &["'a''b'", "E'a\\'b'", "U&'d'", "B'01'", "n'x'"]);
    check("'a'\n 'b' 'c'", &["'a'\n 'b'", "'c'"]);
    check("$$a$b$$ $x$ $$ $x$ $1 $ a$b", &["$$a$b$$", "$x$ $$ $x$", "$1", "$", "a$b"]);
    check("\"a\"\"b\" U&\"x\" u&y", &["\"a\"\"b\"", "U&\"x\"", "u", "&", "y"]);
    check("a/* x /* y */ z */b--c\nd", &["a", "b", "d"]);
    check("a*/*x*/b", &["a", "*", "b"]);
    check("a::int[1:2]", &["a", "::", "int", "[", "1", ":", "2", "]"]);
    check("'open", &["'open"]);
    check("$x$open", &["$x$open"]);
    check("\\ {}", &["\\", "{", "}"]);
}

#[test]
fn comment_bodies_are_noted_but_not_hints() {
    let text = b"/*+ hint */ /* a */ select '/* no */' -- b\n/* c";
    let mut comments = Vec::new();
    let mut lexer = Lexer::new(text, 0, true, &mut comments);
    while lexer.next().kind != TokenKind::End {}
    let bodies: Vec<&[u8]> =
        comments.iter().map(|range| &text[range.start as usize..range.end as usize]).collect();
    assert_eq!(bodies, [b" a ".as_slice(), b" b", b" c"]);
}

#[test]
fn backslashes_escape_when_strings_are_not_standard() {
    let mut comments = Vec::new();
    let mut lexer = Lexer::new(b"'a\\'b' c", 0, false, &mut comments);
    assert_eq!(lexer.next().end, 6);
}
