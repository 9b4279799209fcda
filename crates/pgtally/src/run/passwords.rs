//! The file of passwords (`~/.pgpass`, or `PGPASSFILE`) for a program that connects to the proxy: its entries name the
//! database by host and port, which are the proxy's now.
//!
//! The program gets a copy with every entry of the database repeated for the proxy. What it says of other servers stays.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::target::Place;
use crate::Address;

/// Bytes of a file of passwords; more was not written by a person.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The copy for a program; gone when this is dropped.
pub(super) struct Passwords(NamedTempFile);

impl Passwords {
    /// Makes the copy; `None` where there is no such file, or none that libpq would read.
    ///
    /// # Errors
    /// When the copy cannot be written.
    pub(super) fn copy(
        variable: &dyn Fn(&str) -> Option<String>,
        upstreams: &[Address],
        proxy: &Place,
    ) -> io::Result<Option<Self>> {
        let Some(text) = path(variable).and_then(|path| readable(&path)) else { return Ok(None) };
        // Only its owner can read a file of this kind.
        let mut file = tempfile::Builder::new().prefix("pgtally-").suffix(".pgpass").tempfile()?;
        file.write_all(through(&text, upstreams, proxy).as_bytes())?;
        file.flush()?;
        Ok(Some(Self(file)))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Where libpq looks.
fn path(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    set("PGPASSFILE").map(PathBuf::from).or_else(|| Some(Path::new(&set("HOME")?).join(".pgpass")))
}

/// The text of a file that libpq would read: one that others cannot.
fn readable(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let is_private = metadata.permissions().mode() & 0o077 == 0;
    let is_usual = metadata.is_file() && metadata.len() <= FILE_BYTES_MAX;
    if is_private && is_usual { fs::read_to_string(path).ok() } else { None }
}

/// The entries of `upstreams` for the proxy, and after them everything as it was.
fn through(text: &str, upstreams: &[Address], proxy: &Place) -> String {
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((host, rest)) = field(line) else { continue };
        let Some((port, rest)) = field(rest) else { continue };
        if upstreams.iter().any(|upstream| is_of(upstream, &host, &port)) {
            out.push_str(&format!(
                "{}:{}:{rest}\n",
                proxy.host.replace('\\', "\\\\").replace(':', "\\:"),
                proxy.port
            ));
        }
    }
    out.push_str(text);
    out
}

/// The first field of an entry without its escapes, and the rest after its colon.
fn field(entry: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = entry.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            ':' => return Some((value, entry.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// Whether an entry is about this server. A socket's directory is called `localhost`, as libpq calls its own.
fn is_of(upstream: &Address, host: &str, port: &str) -> bool {
    let (name, number) = match upstream {
        Address::Tcp(name, number) => (name.clone(), number.to_string()),
        Address::Unix(path) => {
            let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let number = file.strip_prefix(".s.PGSQL.").unwrap_or_default();
            (path.parent().map(|path| path.display().to_string()).unwrap_or_default(), number.to_owned())
        }
    };
    let is_socket = matches!(upstream, Address::Unix(_));
    let is_host = host == "*" || host == name || (host == "localhost" && is_socket);
    is_host && (port == "*" || port == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            host: "127.0.0.1".into(),
            port: 6432,
            sslmode: "disable".into(),
            admin_url: None,
            system_user: "me".into(),
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let upstreams = [
            Address::Tcp("db.example".into(), 5432),
            Address::Tcp("::1".into(), 5433),
            Address::Unix("/run/postgresql/.s.PGSQL.5434".into()),
        ];
        let all = through(text, &upstreams, &place());
        assert!(all.ends_with(text), "{all}");
        let added: Vec<&str> = all[..all.len() - text.len()].lines().collect();
        assert_eq!(added, expected, "{text}");
    }

    #[test]
    fn entries_of_the_database_are_repeated_for_the_proxy() {
        check("db.example:5432:shop:app:pa\\:ss\\\\w\n", &["127.0.0.1:6432:shop:app:pa\\:ss\\\\w"]);
        check("*:5432:*:app:x", &["127.0.0.1:6432:*:app:x"]);
        check("db.example:*:*:*:x", &["127.0.0.1:6432:*:*:x"]);
        check("\\:\\:1:5433:*:*:x", &["127.0.0.1:6432:*:*:x"]);
        check(
            "/run/postgresql:5434:*:*:x\nlocalhost:5434:*:*:y",
            &["127.0.0.1:6432:*:*:x", "127.0.0.1:6432:*:*:y"],
        );
        check("other.example:5432:*:*:x\ndb.example:5433:*:*:x\nlocalhost:5432:*:*:x", &[]);
        check("# db.example:5432:*:*:x\n\nnonsense\ndb.example\\", &[]);
    }

    #[test]
    fn a_file_that_others_can_read_is_not_read() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".pgpass");
        fs::write(&file, "*:*:*:*:x\n").unwrap();
        let directory = home.path().display().to_string();
        let variable = |name: &str| (name == "HOME").then(|| directory.clone());
        let upstreams = [Address::Tcp("db.example".into(), 5432)];
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Passwords::copy(&variable, &upstreams, &place()).unwrap().is_none());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let copy = Passwords::copy(&variable, &upstreams, &place()).unwrap().unwrap();
        assert_eq!(fs::read_to_string(copy.path()).unwrap(), "127.0.0.1:6432:*:*:x\n*:*:*:*:x\n");
        assert_eq!(fs::metadata(copy.path()).unwrap().permissions().mode() & 0o077, 0);
        let path = copy.path().to_owned();
        drop(copy);
        assert!(!path.exists());
        assert!(Passwords::copy(&|_| None, &upstreams, &place()).unwrap().is_none());
    }
}
