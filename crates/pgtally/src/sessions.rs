//! What sessions are being relayed right now, for the API: who each is, and what it works for.
//!
//! Each worker keeps a list of its own sessions, changed when one begins or ends and never in between.

use std::net::SocketAddr;

use pgtally_analysis::{Moment, RequestPart};
use pgtally_protocol::startup::Startup;

use crate::clock::{Clock, rfc3339};
use crate::filter::Subject;
use crate::lookups::SessionRow;

/// Who a session is, as its beginning told.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) client: Option<SocketAddr>,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) application: String,
    pub(crate) opened: Moment,
}

impl About {
    pub(crate) fn new(startup: Option<&Startup>, client: Option<SocketAddr>, opened: Moment) -> Self {
        let parameter = |name| {
            let value = startup.and_then(|startup| startup.parameter(name)).unwrap_or_default();
            String::from_utf8_lossy(value.get(..NAME_BYTES_MAX).unwrap_or(value)).into_owned()
        };
        let (user, mut database) = (parameter("user"), parameter("database"));
        if database.is_empty() {
            // What PostgreSQL takes then.
            database.clone_from(&user);
        }
        Self { client, database, user, application: parameter("application_name"), opened }
    }

    /// The session as the API shows it. `part` is the request it works for.
    pub(crate) fn row(
        &self,
        session: u64,
        state: &'static str,
        part: Option<&RequestPart>,
        clock: &Clock,
    ) -> SessionRow {
        let quiet_ns = part.map(|part| clock.now().since(part.ended));
        let application = part.map_or(&*self.application, |part| &*part.origin.application_name);
        let last = part.and_then(|part| part.records.last());
        SessionRow {
            session,
            state,
            database: self.database.clone(),
            user: self.user.clone(),
            application: application.to_owned(),
            client: self.client.map(|address| address.to_string()),
            opened: rfc3339(clock.unix_seconds(self.opened)),
            request: part.map(|part| part.key.to_string()),
            route: part.map(|part| part.route.to_string()),
            queries: part.map_or(0, |part| part.statements),
            quiet_ms: quiet_ns.map(|quiet_ns| (quiet_ns as f64 / 1e5).round() / 10.0),
            fingerprint: last.map(|record| record.fingerprint.to_string()),
        }
    }
}

impl SessionRow {
    /// What a filter may ask about it.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            texts: vec![
                &self.application,
                &self.database,
                &self.user,
                self.client.as_deref().unwrap_or_default(),
                self.route.as_deref().unwrap_or_default(),
            ],
            routes: self.route.as_deref().into_iter().collect(),
            count: Some(self.queries.into()),
            state: Some(self.state),
            database: Some(&self.database),
            application: Some(&self.application),
            request: self.request.as_deref(),
            session: Some(self.session),
            fingerprints: [self.fingerprint.as_deref(), None],
            is_open: self.request.is_some(),
            ..Subject::default()
        }
    }
}

/// Bytes kept of a name in the startup packet; PostgreSQL's own names have 63.
const NAME_BYTES_MAX: usize = 256;
