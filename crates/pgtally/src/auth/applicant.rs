//! The client's side of SCRAM, towards the server: with the keys of a client that has proved its own, or with the
//! password of the account that asks for verifiers.
//!
//! Binds to the server's certificate wherever the server offers that, and holds the server to its own proof: a server
//! that does not know the verifier is refused.

use pgtally_protocol::sasl::{
    self, Malformed, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ServerFirst, TLS_SERVER_END_POINT,
};
use thiserror::Error;

use super::gatekeeper::Proven;
use super::scram::{Keys, binding_base64, nonce, salt};
use crate::config::Secret;
use crate::tls::EndPoint;

/// Why we cannot log in, told to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum LogInFailure {
    /// The server's verifier has another salt or another number of rounds.
    #[error(
        "the verifier that pgtally has is not the server's: refresh auth.auth_file, or correct auth.auth_query"
    )]
    OtherVerifier,
    /// A server on a plain connection cannot offer that, but somebody in the middle can.
    #[error("the server offers channel binding on a connection without TLS")]
    PlusWithoutTls,
    /// A certificate that anybody could show, and that nothing binds the login to.
    #[error(
        "the server's certificate defines no channel binding and nobody has checked it: use tls.upstream_tls = \"verify-full\""
    )]
    NoBinding,
    /// Something that cannot be read, or not asked for.
    #[error("the server's part of SCRAM is malformed")]
    Malformed,
    /// Whoever answers does not know the verifier.
    #[error("the server does not prove that it knows the password")]
    NotTheServer,
    /// Neither SCRAM nor trust.
    #[error(
        "the server asks for another method than scram-sha-256: change it in pg_hba.conf, or use auth.mode = \"relay\""
    )]
    OtherMethod,
}

impl LogInFailure {
    /// Label of the metric.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OtherVerifier => "verifier_mismatch",
            Self::NoBinding => "no_binding",
            Self::PlusWithoutTls | Self::Malformed => "malformed",
            Self::NotTheServer => "server_signature",
            Self::OtherMethod => "unsupported_method",
        }
    }
}

impl From<Malformed> for LogInFailure {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// With what we log in.
#[derive(Debug)]
pub(super) enum Credential {
    /// What a client has proved.
    Proven(Proven),
    /// A password of our own.
    Password(Secret),
}

impl Credential {
    fn keys(&self, first: &ServerFirst<'_>) -> Result<Keys, LogInFailure> {
        let salt = salt(first.salt).ok_or(LogInFailure::Malformed)?;
        match self {
            Self::Proven(proven) => {
                let is_ours = proven.verifier.salt == salt && proven.verifier.iterations == first.iterations;
                if is_ours { Ok(proven.keys.clone()) } else { Err(LogInFailure::OtherVerifier) }
            }
            Self::Password(password) => {
                Keys::of_password(password.reveal(), &salt, first.iterations).ok_or(LogInFailure::Malformed)
            }
        }
    }
}

/// What we know about the leg to the server.
#[derive(Clone, Debug)]
pub(super) enum Channel {
    Plain,
    /// With what SCRAM can bind to, where the certificate defines it.
    Tls(Option<EndPoint>),
    /// With a certificate that defines nothing and was not checked: whoever stands in between could choose such a one.
    Unbound,
}

/// Waits for the server's challenge.
#[derive(Debug)]
pub(super) struct Applicant {
    credential: Credential,
    gs2_header: String,
    end_point: Option<EndPoint>,
    bare: String,
    nonce: String,
}

impl Applicant {
    /// Chooses among the mechanisms offered; `SASLInitialResponse` comes with it.
    pub(super) fn apply(
        credential: Credential,
        offered: &[&[u8]],
        channel: Channel,
    ) -> Result<(Vec<u8>, Self), LogInFailure> {
        let offers = |name: &str| offered.contains(&name.as_bytes());
        let (has_plus, has_scram) = (offers(SCRAM_SHA_256_PLUS), offers(SCRAM_SHA_256));
        let (mechanism, header, end_point) = match channel {
            Channel::Plain if has_plus => return Err(LogInFailure::PlusWithoutTls),
            Channel::Unbound if has_plus => return Err(LogInFailure::NoBinding),
            Channel::Tls(Some(end_point)) if has_plus => {
                (SCRAM_SHA_256_PLUS, format!("p={TLS_SERVER_END_POINT},,"), Some(end_point))
            }
            _ if !has_scram => return Err(LogInFailure::OtherMethod),
            Channel::Tls(None) if has_plus => (SCRAM_SHA_256, "n,,".to_owned(), None),
            // "I could, and the server did not offer it": a server that did will refuse.
            Channel::Tls(_) | Channel::Unbound => (SCRAM_SHA_256, "y,,".to_owned(), None),
            Channel::Plain => (SCRAM_SHA_256, "n,,".to_owned(), None),
        };
        let nonce = nonce();
        let bare = format!("n=,r={nonce}");
        let response = sasl::initial_response(mechanism, &format!("{header}{bare}"));
        Ok((response, Self { credential, gs2_header: header, end_point, bare, nonce }))
    }

    /// Whether [`Applicant::answer`] takes long: the server asks for rounds of hashing, up to a second of them.
    pub(super) const fn is_slow(&self) -> bool {
        matches!(self.credential, Credential::Password(_))
    }

    /// `SASLResponse` for a `server-first-message`.
    pub(super) fn answer(self, message: &[u8]) -> Result<(Vec<u8>, Answered), LogInFailure> {
        let first = ServerFirst::read(message)?;
        let text = std::str::from_utf8(message).map_err(|_| LogInFailure::Malformed)?;
        let is_fresh = first.nonce.len() > self.nonce.len() && first.nonce.starts_with(&self.nonce);
        if !is_fresh {
            return Err(LogInFailure::Malformed);
        }
        let keys = self.credential.keys(&first)?;
        let binding = binding_base64(&self.gs2_header, self.end_point.as_ref().map(EndPoint::bytes));
        let without_proof = format!("c={binding},r={}", first.nonce);
        let signed = format!("{},{text},{without_proof}", self.bare);
        let proof = keys.client.proof(&signed);
        Ok((sasl::response(&format!("{without_proof},p={proof}")), Answered { keys, signed }))
    }
}

/// Waits for the server's proof.
#[derive(Debug)]
pub(super) struct Answered {
    keys: Keys,
    signed: String,
}

impl Answered {
    /// Whether the `server-final-message` is that of a server that knows the verifier.
    pub(super) fn check(self, message: &[u8]) -> Result<(), LogInFailure> {
        let signature = sasl::server_signature(message)?;
        if self.keys.is_server(&self.signed, signature) { Ok(()) } else { Err(LogInFailure::NotTheServer) }
    }
}
