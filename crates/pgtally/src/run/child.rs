//! The program that is run: its start, the signals it gets through pgtally, and how it ended.
//!
//! Standard input and output are the program's own. It stays in pgtally's process group, so that it can read the
//! terminal and the terminal's signals reach it as if nobody stood in between; those are not sent twice.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

/// Exit code of a program that a signal has ended is this, and the signal's number.
const SIGNALLED: u8 = 128;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Fine,
    /// With this code, which is not 0.
    Failed(u8),
    /// By this signal.
    Killed(i32),
}

impl Ending {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(0), _) => Self::Fine,
            // A code is a byte on Unix.
            (Some(code), _) => Self::Failed(u8::try_from(code & 0xff).unwrap_or(1).max(1)),
            (None, Some(signal)) => Self::Killed(signal),
            (None, None) => Self::Failed(1),
        }
    }

    /// The exit code of a shell for it.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Failed(code) => code,
            Self::Killed(signal) => SIGNALLED.saturating_add(u8::try_from(signal).unwrap_or(0)),
        }
    }
}

/// Signals on their way to the program.
pub(super) struct Forwarding {
    hang_up: Signals,
    interrupt: Signals,
    quit: Signals,
    terminate: Signals,
    user1: Signals,
    user2: Signals,
}

impl Forwarding {
    /// Hears signals from here on: before the program starts, so that none is lost.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hang_up.recv() => Signal::HUP,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.user1.recv() => Signal::USR1,
            _ = self.user2.recv() => Signal::USR2,
        }
    }

    /// Waits for the program's end and passes on what comes meanwhile.
    pub(super) async fn wait(&mut self, child: &mut Child) -> io::Result<Ending> {
        loop {
            tokio::select! {
                status = child.wait() => return Ok(Ending::of(status?)),
                signal = self.next() => {
                    if !is_sent_by_terminal(signal) {
                        send(child, signal);
                    }
                }
            }
        }
    }
}

/// Starts the program with `variables` set or, where they have no value, removed.
pub(super) fn start(command: &[OsString], variables: &[(String, Option<String>)]) -> io::Result<Child> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.spawn()
}

fn send(child: &Child, signal: Signal) {
    // No number means that it has been waited for: nobody else can have it.
    let process = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(process) = process {
        // A program that is just ending needs no signal.
        let _ = kill_process(process, signal);
    }
}

/// Whether the program has this signal already: a terminal sends it to the whole group in its foreground.
fn is_sent_by_terminal(signal: Signal) -> bool {
    if signal != Signal::INT && signal != Signal::QUIT {
        return false;
    }
    let foreground = File::open("/dev/tty").ok().and_then(|terminal| tcgetpgrp(terminal).ok());
    foreground == Some(getpgrp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Ending {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let command = ["sh", "-c", script].map(OsString::from);
            let mut child =
                start(&command, &[("PGHOST".into(), Some("x".into())), ("HOME".into(), None)]).unwrap();
            Forwarding::listen().unwrap().wait(&mut child).await.unwrap()
        })
    }

    #[test]
    fn endings_have_the_codes_of_a_shell() {
        assert_eq!(run("exit 0").code(), 0);
        assert_eq!(run("exit 7").code(), 7);
        assert_eq!(run("exit 255").code(), 255);
        assert_eq!(run("kill -9 $$").code(), 137);
        assert_eq!(run("kill -15 $$"), Ending::Killed(15));
    }

    #[test]
    fn variables_are_set_and_removed() {
        assert_eq!(run("test \"$PGHOST\" = x && test -z \"$HOME\""), Ending::Fine);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        assert_eq!(start(&["/nowhere/program".into()], &[]).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
