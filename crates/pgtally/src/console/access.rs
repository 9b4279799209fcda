//! Who may use the console, and for what. Never weaker than the admin listener:
//!
//! | configured | who gets in | how |
//! | --- | --- | --- |
//! | `console.admins` or `console.viewers` | those | SCRAM, with `console.auth_file` or where logins are checked |
//! | else `admin.token` | whoever has it | SCRAM, the token is the password, any user name |
//! | else an admin listener | this machine's users, as there | Unix sockets and loopback |
//! | nothing of these | nobody | |

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::Visitor;
use crate::auth::{Denied, MockSecret, Verifiers, send};
use crate::config::{AuthMode, Config};
use crate::live::StartupSetting;
use crate::login::{deny, show_password, user};
use crate::session::Reason;
use crate::socket::Stream;
use crate::startup::{farewell, fatal};
use crate::tls::Unusable;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    All,
    /// SHOW, without statement texts.
    Look,
}

impl Rights {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Look => "look",
        }
    }
}

/// The rule that holds.
#[derive(Debug)]
enum Rule {
    Local,
    Nobody,
    Token(Verifiers),
    Users {
        /// `None` for those of the login.
        own: Option<Verifiers>,
        admins: Vec<String>,
        viewers: Vec<String>,
    },
}

/// The console as a reload leaves it.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) database: String,
    rule: Rule,
}

impl Access {
    /// Reads what the configuration names; `None` when there is to be no console.
    ///
    /// # Errors
    /// When the file of verifiers cannot be used.
    pub(crate) fn load(config: &Config, mock: &Arc<MockSecret>) -> Result<Option<Self>, Unusable> {
        let Some(database) = config.console.database.clone() else { return Ok(None) };
        let settings = &config.console;
        let is_named = !settings.admins.is_empty() || !settings.viewers.is_empty();
        let rule = if is_named {
            let file = settings.auth_file.as_deref();
            let own = file.map(|path| Verifiers::of_file(path, "console.auth_file", Arc::clone(mock)));
            Rule::Users {
                own: own.transpose()?,
                admins: settings.admins.clone(),
                viewers: settings.viewers.clone(),
            }
        } else if let Some(token) = &config.admin_token {
            Rule::Token(Verifiers::of_password(token.reveal(), Arc::clone(mock)))
        } else if config.admin.is_some() {
            Rule::Local
        } else {
            Rule::Nobody
        };
        Ok(Some(Self { database, rule }))
    }

    /// Whether its users need verifiers that nobody has named.
    pub(crate) fn lacks_verifiers(config: &Config) -> bool {
        let settings = &config.console;
        let is_named = !settings.admins.is_empty() || !settings.viewers.is_empty();
        is_named && settings.auth_file.is_none() && config.auth.mode != AuthMode::Terminate
    }
}

/// Lets a client in, or not. It has not been told of its success when this returns.
pub(super) async fn enter(
    mut client: Stream,
    visitor: &Visitor<'_>,
    setting: &StartupSetting,
    deadline: Instant,
) -> Result<(Stream, Rights), Reason> {
    let security = &setting.security;
    let Some(access) = &security.console else { return Err(Reason::AuthFailed) };
    let verifiers = match &access.rule {
        Rule::Local => {
            let is_local = visitor.peers.iter().flatten().all(|peer| peer.ip().to_canonical().is_loopback());
            if is_local {
                return Ok((client, Rights::All));
            }
            return Err(
                refuse(client, "Set admin.token or console.admins to use it from other machines.").await
            );
        }
        Rule::Nobody => {
            return Err(refuse(client, "Set console.admins, as there is no admin listener.").await);
        }
        Rule::Token(verifiers) => Some(verifiers),
        Rule::Users { own, .. } => own.as_ref().or(security.verifiers.as_ref()),
    };
    let Some(verifiers) = verifiers else {
        return Err(refuse(client, "Set console.auth_file.").await);
    };
    let shown = match user(Some(visitor.startup)).map_err(Denied::Refused) {
        Ok(user) => {
            let showing = Box::pin(show_password(&mut client, &user, verifiers, setting));
            timeout_at(deadline, showing).await.unwrap_or(Err(Denied::TimedOut))
        }
        Err(denied) => Err(denied),
    };
    let (user, proven) = match shown {
        Ok(shown) => shown,
        Err(denied) => return Err(deny(client, denied, setting).await),
    };
    let Some(rights) = rights(&access.rule, &user) else {
        return Err(refuse(client, "console.admins and console.viewers name who may use it.").await);
    };
    send(&mut client, proven.farewell()).await.map_err(|_| Reason::ClientClosed)?;
    Ok((client, rights))
}

fn rights(rule: &Rule, user: &str) -> Option<Rights> {
    let has = |users: &[String]| users.iter().any(|it| it == user);
    match rule {
        Rule::Users { admins, .. } if has(admins) => Some(Rights::All),
        Rule::Users { viewers, .. } if has(viewers) => Some(Rights::Look),
        Rule::Token(_) => Some(Rights::All),
        Rule::Local | Rule::Nobody | Rule::Users { .. } => None,
    }
}

async fn refuse(client: Stream, hint: &str) -> Reason {
    farewell(client, &fatal("28000", "pgtally's console is not open to you", Some(hint))).await;
    Reason::AuthFailed
}
