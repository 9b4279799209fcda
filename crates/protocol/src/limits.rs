//! Every bound of the protocol tracking, with its reason.

/// Prepared statements tracked per session. Beyond it a statement is relayed and counted, but its text is unknown.
pub const STATEMENTS_MAX: usize = 4_096;
/// Portals tracked per session at one time. Drivers use one, cursors a few.
pub const PORTALS_MAX: usize = 256;
/// Messages without an answer per session. A pipeline of 10,000 groups has 50,000; more ends observation. With what
/// is attached to each, a session that reaches it holds some 30 MB.
pub const PENDING_MAX: usize = 65_536;
/// Bytes of a statement's or portal's name that count (`NAMEDATALEN` - 1).
pub const NAME_BYTES_MAX: usize = 63;
/// Bytes kept of a statement text (`Query`, `Parse`): longer texts are cut and marked as such.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Bytes kept of a `Bind`: parameters beyond it are not looked at.
pub const BIND_BYTES_MAX: usize = 64 * 1024;
/// Bytes kept of a `DataRow`: keys beyond it are not sampled.
pub const ROW_BYTES_MAX: usize = 8 * 1024;
/// Bytes kept of any other message that is looked at (`RowDescription`, `ErrorResponse`, …).
pub const OTHER_BYTES_MAX: usize = 64 * 1024;
/// Longest body a frontend message may announce: PostgreSQL refuses more (`PQ_LARGE_MESSAGE_LIMIT`), and so does
/// its own sending side (`MaxAllocSize`).
pub const BODY_BYTES_MAX: u32 = 0x3fff_ffff;
