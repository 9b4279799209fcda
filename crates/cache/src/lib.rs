//! Which answers may be given again, and until when: the cache of tagged reads without its sockets.
//!
//! * [`catalog`]: what the names of a statement mean, closed over views, keys, triggers and functions.
//! * [`facts`]: what a statement reads and writes, as the shell finds out.
//! * [`versions`]: when a kept answer is still what the server would say. **Start reading there.**
//!
//! Deliberately absent: sockets, clocks, threads, and any guess: what is not known goes to PostgreSQL.

pub mod catalog;
pub mod facts;
pub mod versions;

pub use catalog::{Catalog, CatalogRows};
pub use facts::{BypassReason, ReadSet, StatementFacts, TableId, WriteSet};
pub use versions::{DatabaseId, OpenCommit, Token, Versions};
