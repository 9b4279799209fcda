//! Stops the server when the process that started it is killed and can't do so itself.
//!
//! A small shell waits for the end of a pipe that only this process holds. The kernel closes the pipe however the
//! process ends, so no server outlives a killed test run. An orderly end says so over the pipe first.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The pause lets the server's children end before their files go.
const SCRIPT: &str = r#"read -r _ && exit 0; kill -QUIT "$1" 2>/dev/null; sleep 1; rm -rf -- "$2""#;

#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Watches over the server `pid`, whose files are in `directory`.
    pub(crate) fn start(pid: u32, directory: &Path) -> io::Result<Self> {
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "pgtally-throwaway-watchdog", &pid.to_string()])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C in the terminal goes to the whole foreground group.
            .process_group(0)
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Watchdog {
    /// The caller has stopped the server: the watchdog ends without doing anything.
    fn drop(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            // A failure means that the shell is gone already, which is all that is wanted.
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.0.wait();
    }
}
