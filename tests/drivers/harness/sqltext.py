"""Cuts SQL texts into commands and says which of them count as statements.

This is a second, independent reading of the counting rule: it shares no code with pgtally, so a mistake in one of
the two shows as a difference. Speed does not matter here; plain scanning does.
"""

import re

# First words of commands that the rule leaves out, see the README's definition of a counted statement.
UNCOUNTED = frozenset(
    "begin start commit end rollback abort savepoint release "
    "set reset show discard deallocate listen unlisten fetch move close".split()
)

DOLLAR_QUOTE = re.compile(r"\$([A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$")
PING = re.compile(r"select\s+(?:[+-]?\d+(?:\.\d+)?|'(?:[^']|'')*')$", re.IGNORECASE)
REQUEST_SETTING = re.compile(
    r"""select\s+(?:pg_catalog\s*\.\s*)?set_config\s*\(\s*
        '(pgtally\.request)'(?:\s*::\s*\w+)?\s*,
        \s*(?:'(?:[^']|'')*'|\$\d+)(?:\s*::\s*\w+)?\s*,
        \s*(?:true|false|\$\d+)(?:\s*::\s*\w+)?\s*\)
        (?:\s+as\s+\S+)?$""",
    re.IGNORECASE | re.VERBOSE,
)


def skip_quoted(text, start, quote, has_escapes):
    """Returns the position behind the literal or quoted identifier that opens at `start`."""
    i = start + 1
    while i < len(text):
        if has_escapes and text[i] == "\\":
            i += 2
        elif text[i] == quote:
            if text[i + 1 : i + 2] == quote:
                i += 2
            else:
                return i + 1
        else:
            i += 1
    return len(text)


def skip_block_comment(text, start):
    """Returns the position behind the comment that opens at `start`; PostgreSQL's comments nest."""
    depth, i = 1, start + 2
    while i < len(text) and depth:
        if text.startswith("/*", i):
            depth, i = depth + 1, i + 2
        elif text.startswith("*/", i):
            depth, i = depth - 1, i + 2
        else:
            i += 1
    return i


def skip_token(text, i):
    """Returns (position behind the token at `i`, whether the token is a comment)."""
    if text.startswith("--", i):
        end = text.find("\n", i)
        return (len(text) if end < 0 else end), True
    if text.startswith("/*", i):
        return skip_block_comment(text, i), True
    char = text[i]
    if char == "'":
        before = text[i - 1 : i] if i else ""
        is_escape_string = before in ("e", "E") and not re.match(r"\w", text[i - 2 : i - 1] if i > 1 else "")
        return skip_quoted(text, i, "'", is_escape_string), False
    if char == '"':
        return skip_quoted(text, i, '"', False), False
    if char == "$" and not (i and re.match(r"\w", text[i - 1])):
        opened = DOLLAR_QUOTE.match(text, i)
        if opened:
            end = text.find(opened.group(0), opened.end())
            return (len(text) if end < 0 else end + len(opened.group(0))), False
    return i + 1, False


def commands(text):
    """Splits a text at its top-level semicolons; comments and empty commands are left out."""
    found, current, i = [], [], 0
    while i < len(text):
        if text[i] == ";":
            found.append("".join(current))
            current, i = [], i + 1
            continue
        end, is_comment = skip_token(text, i)
        current.append(" " if is_comment else text[i:end])
        i = end
    found.append("".join(current))
    return [command for command in (c.strip() for c in found) if command]


def is_counted(command):
    """Whether one command, without comments, counts as a statement."""
    word = re.match(r"\(*\s*([A-Za-z]+)", command)
    if word is None:
        return True
    name = word.group(1).lower()
    if name in UNCOUNTED or re.match(r"prepare\s+transaction\b", command, re.IGNORECASE):
        return False
    return not (PING.match(command) or REQUEST_SETTING.match(command))


def counted(text):
    """Number of counted statements in a text that ran as a whole."""
    return sum(1 for command in commands(text) if is_counted(command))


# What the rule says about texts as drivers send them: (text, counted statements).
EXAMPLES = [
    ("", 0),
    (";", 0),
    ("-- ping", 0),
    ("SELECT 1", 0),
    ("select 'up' ;", 0),
    ("SELECT 1 FROM blog_post", 1),
    ("SELECT 1 /*traceparent='00-00000000000000000000000000000001-0000000000000001-01'*/", 0),
    ("SELECT 1, 2", 1),
    ("BEGIN", 0),
    ("BEGIN READ WRITE;", 0),
    ("START TRANSACTION ISOLATION LEVEL READ COMMITTED;", 0),
    ("SAVEPOINT \"s1\"", 0),
    ("RELEASE SAVEPOINT s1", 0),
    ("ROLLBACK TO s1", 0),
    ("PREPARE TRANSACTION 'x'", 0),
    ("SET standard_conforming_strings=on;SET client_min_messages TO warning;SHOW server_version", 0),
    ("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;", 1),
    ("FETCH FORWARD (5) FROM \"_django_curs_1\"", 0),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM blog_post", 1),
    ("CLOSE \"c\"", 0),
    ("SELECT set_config('TimeZone', 'UTC', false)", 1),
    ("SELECT set_config('pgtally.request', 'id=7', true)", 0),
    ("SELECT set_config('pgtally.request', $1, $2)", 0),
    ("SELECT set_config('pgtally.request', 'id=7', true), name FROM blog_author", 1),
    ("UPDATE a SET b = 'x;y'; DELETE FROM a /* ; */ WHERE c = $$;$$ -- ;\n;", 2),
    ("/* outer /* inner ; */ ; */ SELECT name FROM a", 1),
    ("INSERT INTO a VALUES (E'it\\'s; one')", 1),
    ("SELECT \"a;b\" FROM c; SELECT $x$ ; $x$ FROM c; BEGIN", 2),
    ("COPY a FROM STDIN", 1),
    ("WITH x AS (SELECT 1) SELECT * FROM x", 1),
]
