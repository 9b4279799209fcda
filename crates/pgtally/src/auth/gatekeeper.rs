//! The server's side of SCRAM, towards one client: offer, challenge, verdict.
//!
//! ```text
//! Gatekeeper ──offer──▶ client ──SASLInitialResponse──▶ Gatekeeper::challenge ──▶ Challenged
//! Challenged ──server-first──▶ client ──SASLResponse──▶ Challenged::judge ──▶ Proven, or Refusal
//! ```
//! The words and codes of refusals are PostgreSQL's. A user who does not exist goes the whole way, with a verifier that
//! nothing fits.

use pgtally_protocol::sasl::{
    self, Binding, ClientFinal, ClientFirst, Malformed, SCRAM_SHA_256, SCRAM_SHA_256_PLUS,
    TLS_SERVER_END_POINT,
};

use super::scram::{Keys, Verifier, binding_base64, is_same, nonce};
use crate::tls::EndPoint;

/// Why a client is not let in, in PostgreSQL's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) sqlstate: &'static str,
    pub(crate) message: String,
    pub(crate) detail: Option<&'static str>,
    /// Label of the metric; a closed set.
    pub(crate) reason: &'static str,
}

impl Refusal {
    /// Of a wrong password, and of a user who does not exist: nobody may tell them apart.
    fn wrong_password(user: &str) -> Self {
        Self {
            sqlstate: "28P01",
            message: format!("password authentication failed for user \"{user}\""),
            detail: None,
            reason: "wrong_password",
        }
    }

    pub(super) fn malformed(detail: &'static str) -> Self {
        Self {
            sqlstate: "08P01",
            message: "malformed SCRAM message".into(),
            detail: Some(detail),
            reason: "malformed",
        }
    }

    fn binding(message: &str, detail: Option<&'static str>) -> Self {
        Self { sqlstate: "28000", message: message.into(), detail, reason: "channel_binding" }
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::malformed(malformed.0)
    }
}

/// Waits for the client's choice of a mechanism.
#[derive(Debug)]
pub(super) struct Gatekeeper {
    pub(super) user: String,
    pub(super) verifier: Verifier,
    /// What the client can bind to; `None` without TLS, or with a certificate that defines no hash.
    pub(super) end_point: Option<EndPoint>,
}

impl Gatekeeper {
    /// `AuthenticationSASL`.
    pub(super) fn offer(&self) -> Vec<u8> {
        let plus = self.end_point.as_ref().map(|_| SCRAM_SHA_256_PLUS.as_bytes());
        sasl::authentication_sasl(plus.into_iter().chain([SCRAM_SHA_256.as_bytes()]))
    }

    /// `AuthenticationSASLContinue` for a `SASLInitialResponse`.
    pub(super) fn challenge(self, body: &[u8]) -> Result<(Vec<u8>, Challenged), Refusal> {
        self.challenge_with(body, &nonce())
    }

    fn challenge_with(self, body: &[u8], own_nonce: &str) -> Result<(Vec<u8>, Challenged), Refusal> {
        let (mechanism, message) = sasl::read_initial_response(body)?;
        let is_plus = mechanism == SCRAM_SHA_256_PLUS.as_bytes();
        if (is_plus && self.end_point.is_none()) || (!is_plus && mechanism != SCRAM_SHA_256.as_bytes()) {
            return Err(Refusal {
                sqlstate: "08P01",
                message: "client selected an invalid SASL authentication mechanism".into(),
                detail: None,
                reason: "malformed",
            });
        }
        let message = message.ok_or(Refusal::malformed("The message is empty."))?;
        let first = ClientFirst::read(message)?;
        self.check_binding(first.binding, is_plus)?;
        let bound = self.end_point.as_ref().filter(|_| is_plus).map(EndPoint::bytes);
        let nonce = format!("{}{own_nonce}", first.nonce);
        let server_first =
            format!("r={nonce},s={},i={}", self.verifier.salt_base64(), self.verifier.iterations);
        let challenged = Challenged {
            binding: binding_base64(first.gs2_header, bound),
            signed: format!("{},{server_first}", first.bare),
            nonce,
            user: self.user,
            verifier: self.verifier,
        };
        Ok((sasl::authentication_continue(&server_first), challenged))
    }

    fn check_binding(&self, binding: Binding<'_>, is_plus: bool) -> Result<(), Refusal> {
        match binding {
            Binding::Used(kind) if is_plus && kind == TLS_SERVER_END_POINT => Ok(()),
            Binding::Used(_) if is_plus => {
                Err(Refusal::binding("unsupported SCRAM channel-binding type", None))
            }
            Binding::Used(_) => Err(Refusal::malformed(
                "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel \
                 binding data.",
            )),
            _ if is_plus => Err(Refusal::malformed(
                "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
            )),
            // Somebody in the middle may have taken PLUS out of our offer.
            Binding::Unoffered if self.end_point.is_some() => Err(Refusal::binding(
                "SCRAM channel binding negotiation error",
                Some(
                    "The client supports SCRAM channel binding but thinks the server does not.  However, this server \
                     does support channel binding.",
                ),
            )),
            Binding::No | Binding::Unoffered => Ok(()),
        }
    }
}

/// Waits for the client's proof.
#[derive(Debug)]
pub(super) struct Challenged {
    user: String,
    verifier: Verifier,
    /// What `c=` must be.
    binding: String,
    /// Both nonces.
    nonce: String,
    /// Both first messages.
    signed: String,
}

/// A client that has shown its password.
#[derive(Clone, Debug)]
pub(crate) struct Proven {
    pub(super) verifier: Verifier,
    pub(super) keys: Keys,
    /// `AuthenticationSASLFinal`, to be sent when the server has let us in.
    pub(super) farewell: Vec<u8>,
}

impl Proven {
    /// `AuthenticationSASLFinal`, for whoever is let in by us alone.
    pub(crate) fn farewell(&self) -> &[u8] {
        &self.farewell
    }
}

impl Challenged {
    /// The verdict on a `SASLResponse`.
    pub(super) fn judge(self, body: &[u8]) -> Result<Proven, Refusal> {
        let last = ClientFinal::read(body)?;
        if !is_same(last.binding, &self.binding) {
            return Err(Refusal::binding("SCRAM channel binding check failed", None));
        }
        if !is_same(last.nonce, &self.nonce) {
            return Err(Refusal {
                sqlstate: "08P01",
                message: "invalid SCRAM response".into(),
                detail: Some("Nonce does not match."),
                reason: "malformed",
            });
        }
        let signed = format!("{},{}", self.signed, last.without_proof);
        let client = self.verifier.recover(&signed, last.proof);
        let client = client.ok_or_else(|| Refusal::wrong_password(&self.user))?;
        let signature = self.verifier.server_signature(&signed).to_base64();
        Ok(Proven {
            keys: Keys::proven(client, &self.verifier),
            farewell: sasl::authentication_final(&format!("v={signature}")),
            verifier: self.verifier,
        })
    }
}

#[cfg(test)]
mod tests;
