//! `POST /api/v1/acks`: adds an entry to the file of acknowledgements, which a page's form does as well.
//!
//! The entry is checked by the reader of the file before anything is written, and counts from then on; the rest of the
//! configuration stays as it runs. Without a file nothing is acknowledged: what nobody can read in git is forgotten.

use std::fs;
use std::io;
use std::path::Path;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{Json, Response};
use pgtally_analysis::Acks;
use pgtally_report::NewAck;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{AdminState, answer, failure};
use crate::acks;
use crate::api::SCHEMA_VERSION;
use crate::judging::write_file;
use crate::limits::ACK_BYTES_MAX;
use crate::reload::ReloadError;

/// Why nothing was acknowledged.
#[derive(Debug, Error)]
pub(crate) enum AckError {
    /// The entry, or the file with it, is none.
    #[error("{0}")]
    Entry(String),
    /// The file cannot be read or written.
    #[error("{0}")]
    File(String),
    /// No file is named.
    #[error("findings.acknowledgements names no file to write it to")]
    NoFile,
    /// The proxy is stopping.
    #[error("the proxy is stopping")]
    Stopping,
}

impl From<ReloadError> for AckError {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Stopping => Self::Stopping,
            ReloadError::Config(_) | ReloadError::Slow => Self::File(error.to_string()),
        }
    }
}

impl AckError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Entry(_) => StatusCode::BAD_REQUEST,
            Self::File(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoFile => StatusCode::CONFLICT,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What a caller gives: an entry of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AckOrder {
    id: Option<String>,
    kind: Option<String>,
    route: Option<String>,
    table: Option<String>,
    #[serde(default)]
    reason: String,
    expires: Option<String>,
    max_repeat: Option<u32>,
}

impl From<AckOrder> for NewAck {
    fn from(order: AckOrder) -> Self {
        let AckOrder { id, kind, route, table, reason, expires, max_repeat } = order;
        Self { id, kind, route, table, reason, expires, max_repeat }
    }
}

pub(super) async fn add(
    State(state): State<AdminState>,
    order: Result<Json<AckOrder>, JsonRejection>,
) -> Response {
    #[derive(Serialize)]
    struct Added {
        schema_version: u32,
        complete: bool,
        file: String,
        acknowledgements: usize,
    }
    let entry = match order {
        Ok(Json(order)) => order.into(),
        Err(rejection) => return failure(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    match state.reloading.acknowledge(entry).await {
        Ok((file, acknowledgements)) => {
            answer(Some(Added { schema_version: SCHEMA_VERSION, complete: true, file, acknowledgements }))
        }
        Err(error) => failure(error.status(), &error.to_string()),
    }
}

/// Adds an entry to a file, which must be there; answers with what the file says then.
///
/// # Errors
/// When it would be no such file, or cannot be read or written: then it is as it was.
pub(crate) fn add_to_file(path: &Path, entry: &NewAck) -> Result<Acks, AckError> {
    let texts = [&entry.id, &entry.kind, &entry.route, &entry.table, &entry.expires].into_iter().flatten();
    if texts.chain([&entry.reason]).map(String::len).sum::<usize>() > ACK_BYTES_MAX {
        return Err(AckError::Entry(format!("the entry is longer than {ACK_BYTES_MAX} bytes")));
    }
    let unreadable =
        |error: io::Error| AckError::File(format!("{}: cannot be read: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let added = pgtally_report::add_ack(&text, entry).map_err(AckError::Entry)?;
    let read = acks::parse(&added).map_err(AckError::Entry)?;
    // A link stays one: the file it leads to is written.
    let path = fs::canonicalize(path).map_err(unreadable)?;
    write_file(&path, &added).map_err(|error| AckError::File(format!("{error:#}")))?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, reason: &str) -> NewAck {
        NewAck { id: Some(id.into()), reason: reason.into(), ..NewAck::default() }
    }

    #[test]
    fn entries_are_added_and_mistakes_change_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("acks.toml"), directory.path().join("link.toml"));
        fs::write(&file, "# ours\n").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let added = add_to_file(&link, &entry("63951378593f76e9", "one shop")).unwrap();
        assert_eq!(added.entries().len(), 1);
        let text = "# ours\n\n[[ack]]\nid = \"63951378593f76e9\"\nreason = \"one shop\"\n";
        let long = "x".repeat(ACK_BYTES_MAX);
        for wrong in [entry("x", "why"), entry("63951378593f76e9", " "), entry("63951378593f76e9", &long)] {
            assert!(matches!(add_to_file(&link, &wrong), Err(AckError::Entry(_))), "{wrong:?}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        assert!(link.is_symlink());
        let missing = directory.path().join("missing.toml");
        assert!(matches!(add_to_file(&missing, &entry("63951378593f76e9", "x")), Err(AckError::File(_))));
    }
}
