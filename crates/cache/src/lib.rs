//! Which answers may be given again, and until when: the cache of tagged reads without its sockets.
//!
//! * [`catalog`]: what the names of a statement mean, closed over views, keys, triggers and functions.
//! * [`clock_words`]: literals that mean another time each time.
//! * [`facts`]: what a statement reads and writes, as the shell finds out.
//! * [`versions`]: when a kept answer is still what the server would say. **Start reading there.**
//!
//! * [`hint`] and [`policy`]: what is asked for, and what of that is allowed.
//! * [`unit`](mod@unit), [`bare`](mod@bare) and [`key`]: what a client's bytes ask, and what the answer is kept under.
//! * [`front`]: one session, followed closely enough to know what each message may commit.
//! * [`skeleton`]: what texts of the simple protocol share, however their literals differ.
//! * [`two_phase`]: what prepared transactions have written.
//! * [`sieve`]: takes the answers to pgtally's own messages out of the server's.
//! * [`capture`]: copies an answer while it is relayed.
//! * [`fault`]: mistakes on purpose, for the tests.
//! * [`store`] and [`flight`]: the answers that are kept, and those on their way.
//! * [`hot`] and [`again`]: what is asked most, and how it is asked again.
//!
//! Deliberately absent: sockets, clocks, threads, and any guess: what is not known goes to PostgreSQL.

pub mod again;
pub mod bare;
pub mod capture;
pub mod catalog;
pub mod clock_words;
pub mod facts;
pub mod fault;
pub mod flight;
pub mod front;
pub mod hint;
pub mod hot;
pub mod key;
pub mod policy;
pub mod sieve;
pub mod skeleton;
pub mod store;
pub mod two_phase;
pub mod unit;
pub mod versions;

pub use again::{AnswerCopy, Question};
pub use bare::bare;
pub use capture::{Capture, Captured, Refused};
pub use catalog::{Catalog, CatalogRows};
pub use facts::{BypassReason, ReadSet, StatementFacts, TableId, WriteSet};
pub use fault::Fault;
pub use flight::{Flights, Lead};
pub use front::{Forgets, Front, Heard, Reader, Statement};
pub use hint::Hint;
pub use hot::{Hot, HotQuestion};
pub use key::{Environment, Key, KeyRef, write_key};
pub use policy::{Decision, Limits, Mode, Plan, Policy, Rule, Subject};
pub use sieve::{Answer, Sieve};
pub use skeleton::write_skeleton;
pub use store::{Entry, NewEntry, Store};
pub use two_phase::TwoPhase;
pub use unit::{Definition, Unit};
pub use versions::{DatabaseId, OpenCommit, Token, Versions};
