//! Every bound of the analysis, with its reason. What lies beyond is counted, never guessed.

/// Statements recorded per request and session. A page with more is chatty anyway; the rest is counted.
pub const RECORDS_MAX: usize = 2_000;
/// Key parameters recorded per statement. Composite keys have two or three.
pub const KEYS_MAX: usize = 4;
/// Bytes of sampled row values per request.
pub const SAMPLE_BYTES_MAX: usize = 16 * 1024;
/// Sampled columns per row: enough for the keys of a wide join.
pub const SAMPLE_COLUMNS_MAX: usize = 8;
/// Sampled rows per shape: N+1 is proven long before.
pub const SAMPLE_ROWS_MAX: usize = 256;
/// Bytes of the longest text cell that counts as key-like.
pub const KEY_TEXT_BYTES_MAX: usize = 64;
