//! The account the server runs under: the caller's own, or an unprivileged one when the caller is root, because
//! PostgreSQL refuses to run as root.

use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::StartError;

/// User and group to run as; `None` inside means the caller's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account(Option<(u32, u32)>);

impl Account {
    /// The account for this process's servers.
    pub(crate) fn choose() -> Result<Self, StartError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(StartError::prepare("/etc/passwd"))?;
        let ids = ["postgres", "nobody"].iter().find_map(|user| ids_of(&passwd, user));
        ids.map(|ids| Self(Some(ids))).ok_or(StartError::NoUnprivilegedUser)
    }

    /// Makes `command` run under this account and free of the caller's PostgreSQL environment.
    pub(crate) fn apply(self, command: &mut Command, directory: &Path) {
        if let Some((uid, gid)) = self.0 {
            command.uid(uid).gid(gid);
        }
        for name in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS"] {
            command.env_remove(name);
        }
        // The account may not be allowed to enter the caller's directory.
        command.env("LC_ALL", "C").current_dir(directory);
    }

    /// Gives `path` to this account.
    pub(crate) fn own(self, path: &Path) -> io::Result<()> {
        match self.0 {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }
}

fn ids_of(passwd: &str, user: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != user {
            return None;
        }
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::ids_of;

    #[test]
    fn ids_are_read_from_the_right_line() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\npostgres2:x:7:8::/:\npostgres:x:101:104:p,,,:/var:/bin/sh\n";
        assert_eq!(ids_of(passwd, "postgres"), Some((101, 104)));
        assert_eq!(ids_of(passwd, "broken"), None);
        assert_eq!(ids_of(passwd, "nobody"), None);
    }
}
