//! The PostgreSQL version 3 wire protocol as an observer needs it: bytes → frames → conversation.
//!
//! * [`startup`]: the untagged packets before a session begins.
//! * [`sasl`]: what is said while a client proves who it is.
//! * [`FrameReader`]: cuts a byte stream into frames across arbitrary chunk splits, keeping only a bounded prefix
//!   of each body.
//! * [`frontend`] and [`backend`]: borrowed views of the few message bodies that anything reads.
//! * [`Conversation`]: pairs both directions, so that every answer finds the message that asked for it.
//!
//! Deliberately absent: encoding (pgtally forwards the bytes it read; SASL is the exception), sockets, clocks, and any
//! knowledge of SQL.
//! Message layouts: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.
//!
//! Read next: `frame.rs`, then `conversation.rs`.

pub mod backend;
pub mod frontend;
pub mod limits;
pub mod sasl;
pub mod startup;

mod conversation;
mod desync;
mod frame;
mod slots;
mod wire;

pub use conversation::{
    Attachments, Conversation, Described, Failure, NameHash, Outcome, Step, TransactionStatus,
};
pub use desync::Desync;
pub use frame::{Frame, FrameReader, OpenFrame};
