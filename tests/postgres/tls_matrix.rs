//! Every combination of TLS, certificates, authentication and channel binding, with libpq 18's verdict on each.
//!
//! None may be weaker than it says: a row that demands channel binding either binds or fails, and the server itself says
//! whether its leg is encrypted.

use pgtally::Address;
use support::{Attempt, Authority, Identity, Libpq, TestProxy};

use crate::address;
use crate::terminated::auth_file;
use crate::tls::{SERVER_TLS, connected, conninfo, server_builder, text};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    Plain,
    Tls,
    DirectTls,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Certificate {
    /// The server's own.
    Same,
    Other,
    /// One whose signature defines no hash for channel binding.
    OtherEd25519,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Binding {
    Disable,
    Prefer,
    Require,
}

/// What libpq has to say where a row does not connect.
const NO_TLS: &str = "channel binding required, but SSL not in use";
const NOT_OFFERED: &str = "channel binding is required, but server did not offer an authentication method that supports channel binding";
const CHECK_FAILED: &str = "SCRAM channel binding check failed";
/// libpq's own words about a certificate without a hash.
const NO_DIGEST: &str = "could not find digest for NID UNDEF";

/// The documented outcome of a row: `Ok`, or the words of the refusal.
fn expected(
    client: Client,
    is_upstream_tls: bool,
    certificate: Certificate,
    is_terminated: bool,
    binding: Binding,
) -> Result<(), &'static str> {
    match (client, binding) {
        (_, Binding::Disable) | (Client::Plain, Binding::Prefer) => Ok(()),
        (Client::Plain, Binding::Require) => Err(NO_TLS),
        _ if is_terminated => match (certificate, binding) {
            (Certificate::OtherEd25519, Binding::Require) => Err(NOT_OFFERED),
            _ => Ok(()),
        },
        (_, Binding::Prefer) if !is_upstream_tls => Ok(()),
        (_, Binding::Require) if !is_upstream_tls => Err(NOT_OFFERED),
        _ => match certificate {
            Certificate::Same => Ok(()),
            Certificate::Other => Err(CHECK_FAILED),
            Certificate::OtherEd25519 => Err(NO_DIGEST),
        },
    }
}

struct Bench {
    server: Address,
    authority: Authority,
    ed25519: Authority,
    own: Identity,
    other: Identity,
    other_ed25519: Identity,
    auth_file: tempfile::TempPath,
    libpq: Libpq,
    rows: usize,
}

impl Bench {
    /// All rows of one proxy.
    fn check(&mut self, certificate: Certificate, is_upstream_tls: bool, is_terminated: bool) {
        let identity = match certificate {
            Certificate::Same => &self.own,
            Certificate::Other => &self.other,
            Certificate::OtherEd25519 => &self.other_ed25519,
        };
        let ca = self.authority.certificate();
        let mut settings = vec![
            ("tls.client_tls", "allow"),
            ("tls.certificate", text(&identity.certificate)),
            ("tls.key", text(&identity.key)),
        ];
        if is_upstream_tls {
            settings.extend([("tls.upstream_tls", "verify-full"), ("tls.upstream_ca", text(&ca))]);
        }
        if is_terminated {
            settings.extend([("auth.mode", "terminate"), ("auth.auth_file", text(&self.auth_file))]);
        }
        let proxy = TestProxy::with(&self.server, &settings);
        let trusted = match certificate {
            Certificate::OtherEd25519 => self.ed25519.certificate(),
            _ => ca.clone(),
        };
        for client in [Client::Plain, Client::Tls, Client::DirectTls] {
            for binding in [Binding::Disable, Binding::Prefer, Binding::Require] {
                let row = format!(
                    "client {client:?}, upstream TLS {is_upstream_tls}, certificate {certificate:?}, terminated \
                     {is_terminated}, channel_binding {binding:?}"
                );
                let tls = format!("sslmode=verify-full sslrootcert={}", text(&trusted));
                let leg = match client {
                    Client::Plain => "sslmode=disable".to_owned(),
                    Client::Tls => tls,
                    Client::DirectTls => format!("{tls} sslnegotiation=direct"),
                };
                let name = format!("{binding:?}").to_lowercase();
                let conninfo = conninfo(&proxy, &format!("{leg} channel_binding={name}"));
                let attempt = self.libpq.connect(&conninfo, &[SERVER_TLS]);
                let server_tls = if is_upstream_tls { "t" } else { "f" };
                match expected(client, is_upstream_tls, certificate, is_terminated, binding) {
                    Ok(()) => {
                        assert_eq!(attempt, connected(client != Client::Plain, &[server_tls]), "{row}");
                    }
                    Err(words) => {
                        let is_so = matches!(&attempt, Attempt::Refused(error) if error.contains(words));
                        assert!(is_so, "{row}: {words:?} was expected: {attempt:?}");
                    }
                }
                self.rows += 1;
            }
        }
    }
}

#[test]
fn every_combination_is_as_documented() {
    let (authority, ed25519) = (Authority::new(), Authority::ed25519());
    let own = authority.sign("own", &["127.0.0.1"]);
    let server = server_builder(&own).start().unwrap();
    let mut libpq = Libpq::start();
    let mut bench = Bench {
        auth_file: auth_file(&address(&server), &mut libpq),
        server: address(&server),
        other: authority.sign("other", &["127.0.0.1"]),
        other_ed25519: ed25519.sign("other", &["127.0.0.1"]),
        own,
        authority,
        ed25519,
        libpq,
        rows: 0,
    };
    for certificate in [Certificate::Same, Certificate::Other, Certificate::OtherEd25519] {
        for is_upstream_tls in [false, true] {
            for is_terminated in [false, true] {
                bench.check(certificate, is_upstream_tls, is_terminated);
            }
        }
    }
    assert_eq!(bench.rows, 3 * 2 * 2 * 9);
}
