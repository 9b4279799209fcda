//! The file of `auth.auth_file`: one user per line, `"name" "SCRAM-SHA-256$…"`, as PgBouncer's `userlist.txt`.
//!
//! A quote inside quotes is doubled; lines that begin with `;` or `#` are comments. Plain passwords and MD5 hashes are
//! errors: whoever writes one must learn that it is not used.

use std::collections::HashMap;

use super::scram::Verifier;

/// Most users of one file: each takes some 200 bytes.
const USERS_MAX: usize = 100_000;

/// Reads the text of such a file.
///
/// # Errors
/// Words with the number of the first line that is wrong. They repeat nothing of it.
pub(super) fn parse(text: &str) -> Result<HashMap<String, Verifier>, String> {
    let mut users = HashMap::new();
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        let wrong = |problem: &str| format!("line {number}: {problem}");
        let (name, rest) = quoted(line).ok_or_else(|| wrong("not two texts in double quotes"))?;
        let (secret, rest) =
            quoted(rest.trim_start()).ok_or_else(|| wrong("not two texts in double quotes"))?;
        if !rest.trim_start().is_empty() && !rest.trim_start().starts_with([';', '#']) {
            return Err(wrong("something follows the verifier"));
        }
        let verifier = Verifier::parse(&secret).ok_or_else(|| {
            wrong(
                "no SCRAM-SHA-256 verifier (rolpassword of pg_authid); plain and MD5 passwords are not used",
            )
        })?;
        if users.len() == USERS_MAX {
            return Err(wrong(&format!("more than {USERS_MAX} users")));
        }
        if users.insert(name, verifier).is_some() {
            return Err(wrong("the user stands in an earlier line already"));
        }
    }
    Ok(users)
}

/// The text in quotes at the beginning, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut inner = String::new();
    loop {
        let (part, behind) = rest.split_once('"')?;
        inner.push_str(part);
        match behind.strip_prefix('"') {
            Some(behind) => {
                inner.push('"');
                rest = behind;
            }
            None => return Some((inner, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn users_are_read_with_their_quotes() {
        let text = format!(
            "; a comment\n\n\"ann\" \"{VERIFIER}\"\n\"o\"\"neil\"\t\"{VERIFIER}\" ; his\n# another\n\"\" \"{VERIFIER}\"\n"
        );
        let mut names: Vec<_> = parse(&text).unwrap().into_keys().collect();
        names.sort();
        assert_eq!(names, ["", "ann", "o\"neil"]);
    }

    #[test]
    fn a_file_has_a_maximum_of_users() {
        let line = |number: usize| format!("\"user {number}\" \"{VERIFIER}\"\n");
        let text: String = (0..USERS_MAX).map(line).collect();
        assert_eq!(parse(&text).unwrap().len(), USERS_MAX);
        let error = parse(&(text + &line(USERS_MAX))).expect_err("one too many");
        assert!(error.ends_with("more than 100000 users"), "{error}");
    }

    #[test]
    fn errors_name_the_line_and_repeat_nothing() {
        for line in [
            "ann secret".to_owned(),
            "\"ann\" \"secret\"".to_owned(),
            "\"ann\" \"md5secret\"".to_owned(),
            "\"ann\" \"secret".to_owned(),
            "\"ann\"".to_owned(),
            format!("\"ann\" \"{VERIFIER}\" \"secret\""),
            format!("\"ann\" \"{VERIFIER}\"\n\"ann\" \"{VERIFIER}\""),
        ] {
            let error = parse(&line).expect_err(&line);
            assert!(error.starts_with("line ") && !error.contains("secret"), "{error}");
        }
    }
}
