//! Messages of SASL authentication, and what SCRAM writes inside them.
//!
//! Only reading and framing: no keys, no hashes, no base64 (see the shell's `auth`). Everything here is hostile input
//! until the exchange is over, so each reader takes exactly what PostgreSQL takes and says what it missed. Layouts:
//! <https://www.postgresql.org/docs/current/sasl-authentication.html> and RFC 5802, section 7.

use thiserror::Error;

use crate::wire::Fields;

/// The mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism with channel binding.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// The only channel binding PostgreSQL knows.
pub const TLS_SERVER_END_POINT: &str = "tls-server-end-point";
/// Tag of the client's answers during authentication (`PasswordMessage`, `SASLInitialResponse`, `SASLResponse`).
pub const RESPONSE: u8 = b'p';
/// Longest message a client may send during SASL (`PG_MAX_SASL_MESSAGE_LENGTH`).
pub const RESPONSE_BYTES_MAX: usize = 1_024;

const OK: u32 = 0;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// What PostgreSQL says about a message it cannot read, as the detail of "malformed SCRAM message".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Body of a message whose tag is `R`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// The client is in.
    Ok,
    /// The mechanisms offered, in order of preference.
    Sasl(Vec<&'a [u8]>),
    /// `server-first-message`.
    SaslContinue(&'a [u8]),
    /// `server-final-message`.
    SaslFinal(&'a [u8]),
    /// Another method, by its code.
    Other(u32),
}

/// Reads the body of an authentication message.
///
/// # Errors
/// [`Malformed`] when it is too short, or a list of mechanisms without end.
pub fn authentication(body: &[u8]) -> Result<Authentication<'_>, Malformed> {
    let mut fields = Fields::new(body);
    let code = fields.uint32().map_err(|_| Malformed("The message is too short."))?;
    Ok(match code {
        OK => Authentication::Ok,
        SASL => Authentication::Sasl(mechanisms(fields)?),
        SASL_CONTINUE => Authentication::SaslContinue(fields.rest()),
        SASL_FINAL => Authentication::SaslFinal(fields.rest()),
        other => Authentication::Other(other),
    })
}

fn mechanisms(mut fields: Fields<'_>) -> Result<Vec<&[u8]>, Malformed> {
    let mut names = Vec::new();
    loop {
        let name = fields.string().map_err(|_| Malformed("The list of mechanisms has no end."))?;
        if name.is_empty() {
            return Ok(names);
        }
        names.push(name);
    }
}

/// `AuthenticationOk`, framed.
#[must_use]
pub fn authentication_ok() -> Vec<u8> {
    request(OK, b"")
}

/// `AuthenticationSASL`, framed.
#[must_use]
pub fn authentication_sasl<'a>(mechanisms: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut list = Vec::new();
    for name in mechanisms {
        list.extend_from_slice(name);
        list.push(0);
    }
    list.push(0);
    request(SASL, &list)
}

/// `AuthenticationSASLContinue`, framed.
#[must_use]
pub fn authentication_continue(message: &str) -> Vec<u8> {
    request(SASL_CONTINUE, message.as_bytes())
}

/// `AuthenticationSASLFinal`, framed.
#[must_use]
pub fn authentication_final(message: &str) -> Vec<u8> {
    request(SASL_FINAL, message.as_bytes())
}

/// `SASLInitialResponse`, framed.
#[must_use]
pub fn initial_response(mechanism: &str, message: &str) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let body = [mechanism.as_bytes(), &[0], &length.to_be_bytes(), message.as_bytes()];
    frame(RESPONSE, &body.concat())
}

/// `SASLResponse`, framed.
#[must_use]
pub fn response(message: &str) -> Vec<u8> {
    frame(RESPONSE, message.as_bytes())
}

fn request(code: u32, rest: &[u8]) -> Vec<u8> {
    frame(crate::backend::AUTHENTICATION, &[&code.to_be_bytes()[..], rest].concat())
}

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// Mechanism and message of a `SASLInitialResponse`; the message may come later, in a `SASLResponse`.
///
/// # Errors
/// [`Malformed`] when the lengths do not fit.
pub fn read_initial_response(body: &[u8]) -> Result<(&[u8], Option<&[u8]>), Malformed> {
    let cut = |_| Malformed("The initial response is cut off.");
    let mut fields = Fields::new(body);
    let mechanism = fields.string().map_err(cut)?;
    let message = fields.value().map_err(cut)?;
    if fields.rest().is_empty() {
        Ok((mechanism, message))
    } else {
        Err(Malformed("The initial response is longer than it says."))
    }
}

/// What a client says about channel binding, in front of its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding<'a> {
    /// It cannot or does not want to.
    No,
    /// It could, and believes that the server cannot.
    Unoffered,
    /// It binds with the named type.
    Used(&'a str),
}

/// `client-first-message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientFirst<'a> {
    /// What stands in front of the bare message; signed by way of `c=`.
    pub gs2_header: &'a str,
    /// What it says.
    pub binding: Binding<'a>,
    /// The message without header: a part of what both sides sign.
    pub bare: &'a str,
    /// The client's nonce.
    pub nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    /// Reads a `client-first-message`. The user name in it is ignored, as PostgreSQL does: the startup packet's counts.
    ///
    /// # Errors
    /// [`Malformed`], with PostgreSQL's detail.
    pub fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let text = text(message)?;
        let (flag, rest) =
            text.split_once(',').ok_or(Malformed("Comma expected, but found end of string."))?;
        let binding = match flag {
            "n" => Binding::No,
            "y" => Binding::Unoffered,
            _ => Binding::Used(flag.strip_prefix("p=").ok_or(Malformed("Unexpected channel-binding flag."))?),
        };
        let bare = rest
            .strip_prefix(',')
            .ok_or(Malformed("The client uses authorization identity, but it is not supported."))?;
        let gs2_header = text.get(..text.len() - bare.len()).unwrap_or_default();
        let mut attributes = bare.split(',');
        if bare.starts_with("m=") {
            return Err(Malformed("The client requires an unsupported SCRAM extension."));
        }
        attribute(attributes.next(), "n=")?;
        let nonce = attribute(attributes.next(), "r=")?;
        if nonce.is_empty() || !is_printable(nonce) {
            return Err(Malformed("Non-printable characters in SCRAM nonce."));
        }
        attributes.try_for_each(extension)?;
        Ok(Self { gs2_header, binding, bare, nonce })
    }
}

/// `client-final-message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientFinal<'a> {
    /// The message up to its proof: a part of what both sides sign.
    pub without_proof: &'a str,
    /// Header and binding data, in base64.
    pub binding: &'a str,
    /// Both nonces.
    pub nonce: &'a str,
    /// The proof, in base64.
    pub proof: &'a str,
}

impl<'a> ClientFinal<'a> {
    /// Reads a `client-final-message`.
    ///
    /// # Errors
    /// [`Malformed`], with PostgreSQL's detail.
    pub fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let text = text(message)?;
        let (without_proof, proof) =
            text.rsplit_once(",p=").ok_or(Malformed("Attribute \"p\" expected, but not found."))?;
        if proof.contains(',') {
            return Err(Malformed("Garbage found at the end of client-final-message."));
        }
        let mut attributes = without_proof.split(',');
        let binding = attribute(attributes.next(), "c=")?;
        let nonce = attribute(attributes.next(), "r=")?;
        attributes.try_for_each(extension)?;
        Ok(Self { without_proof, binding, nonce, proof })
    }
}

/// `server-first-message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerFirst<'a> {
    /// Both nonces.
    pub nonce: &'a str,
    /// In base64.
    pub salt: &'a str,
    /// Rounds of the password's hashing.
    pub iterations: u32,
}

impl<'a> ServerFirst<'a> {
    /// Reads a `server-first-message`.
    ///
    /// # Errors
    /// [`Malformed`] when an attribute is missing or no number.
    pub fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut attributes = text(message)?.split(',');
        let nonce = attribute(attributes.next(), "r=")?;
        let salt = attribute(attributes.next(), "s=")?;
        let iterations = attribute(attributes.next(), "i=")?;
        let iterations = iterations.parse().ok().filter(|count| *count > 0);
        let iterations = iterations.ok_or(Malformed("The iteration count is invalid."))?;
        attributes.try_for_each(extension)?;
        Ok(Self { nonce, salt, iterations })
    }
}

/// The server's signature out of a `server-final-message`, in base64.
///
/// # Errors
/// [`Malformed`] when there is none.
pub fn server_signature(message: &[u8]) -> Result<&str, Malformed> {
    attribute(text(message)?.split(',').next(), "v=")
}

fn text(message: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(message).map_err(|_| Malformed("The message is not UTF-8."))?;
    match text {
        "" => Err(Malformed("The message is empty.")),
        _ if text.contains('\0') => Err(Malformed("Message length does not match input length.")),
        _ => Ok(text),
    }
}

fn attribute<'a>(written: Option<&'a str>, name: &str) -> Result<&'a str, Malformed> {
    written.and_then(|text| text.strip_prefix(name)).ok_or(Malformed("An expected attribute was not found."))
}

/// Attributes nobody knows are allowed and ignored, as long as they are attributes.
fn extension(written: &str) -> Result<(), Malformed> {
    match written.as_bytes() {
        [name, b'=', ..] if name.is_ascii_alphabetic() => Ok(()),
        _ => Err(Malformed("Attribute expected, but found invalid character.")),
    }
}

fn is_printable(nonce: &str) -> bool {
    nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_whole_exchange_is_read_back() {
        let offer = authentication_sasl([SCRAM_SHA_256_PLUS.as_bytes(), SCRAM_SHA_256.as_bytes()]);
        assert_eq!(
            authentication(&offer[5..]),
            Ok(Authentication::Sasl(vec![b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"]))
        );
        let initial = initial_response(SCRAM_SHA_256, "n,,n=,r=abc");
        let (mechanism, message) = read_initial_response(&initial[5..]).unwrap();
        assert_eq!((mechanism, message), (&b"SCRAM-SHA-256"[..], Some(&b"n,,n=,r=abc"[..])));
        let first = ClientFirst::read(message.unwrap()).unwrap();
        assert_eq!((first.gs2_header, first.bare, first.nonce), ("n,,", "n=,r=abc", "abc"));
        let continued = authentication_continue("r=abcdef,s=c2FsdA==,i=4096");
        let Ok(Authentication::SaslContinue(message)) = authentication(&continued[5..]) else { panic!() };
        let server = ServerFirst::read(message).unwrap();
        assert_eq!(server, ServerFirst { nonce: "abcdef", salt: "c2FsdA==", iterations: 4_096 });
        let last = ClientFinal::read(b"c=biws,r=abcdef,p=AA==").unwrap();
        assert_eq!(last.without_proof, "c=biws,r=abcdef");
        assert_eq!((last.binding, last.nonce, last.proof), ("biws", "abcdef", "AA=="));
        assert_eq!(server_signature(b"v=sig="), Ok("sig="));
        assert_eq!(authentication(&authentication_ok()[5..]), Ok(Authentication::Ok));
    }

    #[test]
    fn channel_binding_flags_are_told_apart() {
        let check = |text: &str, header: &str, expected: Binding<'_>| {
            let first = ClientFirst::read(text.as_bytes()).unwrap();
            assert_eq!((first.gs2_header, first.binding), (header, expected));
        };
        check("n,,n=,r=x", "n,,", Binding::No);
        check("y,,n=ann,r=x,t=1", "y,,", Binding::Unoffered);
        check(
            "p=tls-server-end-point,,n=,r=x",
            "p=tls-server-end-point,,",
            Binding::Used(TLS_SERVER_END_POINT),
        );
    }

    #[test]
    fn what_postgresql_refuses_is_malformed() {
        for first in [
            "",
            "n",
            "n,",
            "n,a=ann,n=,r=x",
            "z,,n=,r=x",
            "n,,m=1,n=,r=x",
            "n,,r=x",
            "n,,n=",
            "n,,n=,r=",
            "n,,n=,r=\u{e4}",
            "n,,n=,r=a b",
            "n,,n=,r=x,1=2",
            "n,,n=,r=x,",
            "n,,n=,r=x\0",
        ] {
            assert!(ClientFirst::read(first.as_bytes()).is_err(), "{first}");
        }
        for last in
            ["", "c=biws,r=x", "r=x,c=biws,p=x", "c=biws,p=x", "c=biws,r=x,p=x,y=z", "c=biws,r=x,?,p=x"]
        {
            assert!(ClientFinal::read(last.as_bytes()).is_err(), "{last}");
        }
        for first in
            ["", "r=x", "r=x,s=y", "r=x,s=y,i=", "r=x,s=y,i=0", "r=x,s=y,i=-1", "r=x,s=y,i=5000000000"]
        {
            assert!(ServerFirst::read(first.as_bytes()).is_err(), "{first}");
        }
        assert!(server_signature(b"e=other-error").is_err());
        assert!(read_initial_response(b"SCRAM-SHA-256\0\0\0\0\x09n").is_err());
        assert!(read_initial_response(b"SCRAM-SHA-256\0\0\0\0\x01nn").is_err());
        assert_eq!(
            read_initial_response(b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
            Ok((&b"SCRAM-SHA-256"[..], None))
        );
        assert!(authentication(&[0, 0, 0]).is_err());
        assert!(authentication(b"\0\0\0\x0aSCRAM").is_err());
        assert_eq!(authentication(&[0, 0, 0, 5, 1, 2, 3, 4]), Ok(Authentication::Other(5)));
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64), cut in "[nyp=,ar=mx0]{0,24}") {
            for input in [&bytes[..], cut.as_bytes()] {
                let _ = authentication(input);
                let _ = read_initial_response(input);
                let _ = ClientFirst::read(input);
                let _ = ClientFinal::read(input);
                let _ = ServerFirst::read(input);
                let _ = server_signature(input);
            }
        }
    }
}
