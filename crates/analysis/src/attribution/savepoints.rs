//! What ROLLBACK TO a savepoint takes back: settings made since.

use std::rc::Rc;

use pgtally_fingerprint::Command;

use super::{Attributor, ENVIRONMENT, RequestName, SessionSettings};
use crate::limits::SAVEPOINTS_MAX;

/// Settings as they were when a savepoint was made.
#[derive(Debug)]
pub(super) struct Savepoint {
    name_hash: u64,
    settings: SessionSettings,
    local_request: Option<Rc<RequestName>>,
    local_environment: [Option<u64>; ENVIRONMENT.len()],
}

impl Attributor {
    /// A SAVEPOINT, RELEASE or ROLLBACK TO has completed. Beyond the bound the outermost savepoint is forgotten:
    /// frameworks nest a few.
    pub(crate) fn savepoint(&mut self, command: Command, name_hash: u64) {
        // Equal names nest: the innermost is meant.
        let at = self.savepoints.iter().rposition(|it| it.name_hash == name_hash);
        match (command, at) {
            (Command::Savepoint, _) => {
                if self.savepoints.len() >= SAVEPOINTS_MAX {
                    self.savepoints.remove(0);
                }
                self.savepoints.push(Savepoint {
                    name_hash,
                    settings: self.settings.clone(),
                    local_request: self.local_request.clone(),
                    local_environment: self.local_environment,
                });
            }
            (Command::Release, Some(at)) => self.savepoints.truncate(at),
            (Command::RollbackTo, Some(at)) => {
                self.savepoints.truncate(at + 1);
                if let Some(kept) = self.savepoints.last() {
                    self.settings = kept.settings.clone();
                    self.local_request = kept.local_request.clone();
                    self.local_environment = kept.local_environment;
                }
            }
            _ => {}
        }
    }
}
