//! A shape: what all statements of one fingerprint share.

use std::sync::Arc;

use pgtally_fingerprint::{Command, Fingerprint, Role, ShapeFacts};

/// A statement shape, known since its first statement.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// Normalized text with `$1`, `$2`, …; cut at [`pgtally_fingerprint::NORMALIZED_BYTES_MAX`].
    pub text: Arc<str>,
    /// What it does.
    pub command: Command,
    /// Role of each parameter: `roles[k]` belongs to `$k+1`.
    pub roles: Arc<[Role]>,
}

/// A shape with what its parse tree tells.
#[derive(Clone, Debug)]
pub struct KnownShape {
    /// The shape.
    pub shape: Arc<Shape>,
    /// Facts from libpg_query; the default value when the text could not be parsed.
    pub facts: Arc<ShapeFacts>,
}
