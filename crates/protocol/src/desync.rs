//! Why observation of a session ends while its bytes go on.

use thiserror::Error;

/// The byte stream is not what the protocol allows, or more than is tracked. The session becomes *blind*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Desync {
    /// The session switched to `CopyBoth`, as replication does.
    #[error("copy-both mode is not observed")]
    CopyBoth,
    /// A message body is shorter than its own fields say.
    #[error("malformed message body")]
    MalformedBody,
    /// A frame announces an impossible length.
    #[error("impossible message length")]
    MessageLength,
    /// More messages wait for their answer than are tracked.
    #[error("too many unanswered messages")]
    PendingOverflow,
    /// An answer that nothing asked for.
    #[error("unexpected answer")]
    UnexpectedAnswer,
    /// The server agreed to a protocol version newer than 3.2.
    #[error("unknown protocol version")]
    UnknownVersion,
}

impl Desync {
    /// Every reason, for metrics that must exist before they count.
    pub const ALL: [Self; 6] = [
        Self::CopyBoth,
        Self::MalformedBody,
        Self::MessageLength,
        Self::PendingOverflow,
        Self::UnexpectedAnswer,
        Self::UnknownVersion,
    ];

    /// Metric label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CopyBoth => "copy_both",
            Self::MalformedBody => "malformed_body",
            Self::MessageLength => "message_length",
            Self::PendingOverflow => "pending_overflow",
            Self::UnexpectedAnswer => "unexpected_answer",
            Self::UnknownVersion => "unknown_version",
        }
    }
}
