//! Memory of this process, for tests that claim a bound. Linux only, as the service itself.

use std::fs;

/// Resident bytes of this process.
///
/// # Panics
/// When the kernel does not tell.
#[must_use]
pub fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("the process's status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: usize = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).expect("VmRSS");
    kib * 1024
}
