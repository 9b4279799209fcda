//! Certificates as PostgreSQL's own documentation makes them, which libpq accepts and webpki does not read: X.509 version
//! 1, a self-signed one that is its own authority, a name in the subject only.
//!
//! The checks are complete and narrow: the certificate itself, or one issuer, must stand in the file of authorities. What
//! the library would have said had it gone on is said here: what is not understood, and names an authority may not
//! sign, are refused.

use std::net::IpAddr;

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{
    OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA, OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME, Oid,
};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Version};

/// Extensions that are looked at here, or by who compares the name.
const UNDERSTOOD: [Oid<'_>; 4] = [
    OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_SUBJECT_ALT_NAME,
];
/// Signatures that the parser would check, and that OpenSSL no longer takes.
const BROKEN_SIGNATURES: [Oid<'_>; 2] = [OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA];

/// Whether one of `authorities` is this certificate, or has signed it.
pub(super) fn is_issued_by(
    certificate: &CertificateDer<'_>,
    authorities: &[CertificateDer<'_>],
    now: UnixTime,
) -> bool {
    let time = i64::try_from(now.as_secs()).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    let (Some(leaf), Some(time)) = (parsed(certificate), time) else { return false };
    if !leaf.validity().is_valid_at(time) || !is_for_servers(&leaf) || !is_understood(&leaf) {
        return false;
    }
    authorities.iter().any(|authority| {
        authority == certificate
            || parsed(authority).is_some_and(|authority| {
                authority.validity().is_valid_at(time)
                    && is_authority(&authority)
                    && authority.subject() == leaf.issuer()
                    && !BROKEN_SIGNATURES.contains(&leaf.signature_algorithm.algorithm)
                    && leaf.verify_signature(Some(authority.public_key())).is_ok()
            })
    })
}

/// Whether the subject names this host. As in libpq, only where there are no alternative names.
pub(super) fn is_named(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let Some(leaf) = parsed(certificate) else { return false };
    let alternatives = leaf.subject_alternative_name();
    let has_names = match &alternatives {
        Ok(Some(names)) => {
            // One that cannot be read may be meant to be one.
            let is_name = |name: &GeneralName<'_>| {
                matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_) | GeneralName::Invalid(..))
            };
            names.value.general_names.iter().any(is_name)
        }
        Ok(None) => false,
        // Two of them, or one that cannot be read: whose names would count?
        Err(_) => true,
    };
    let common_name = leaf.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    !has_names && common_name.is_some_and(|name| is_match(name, host))
}

/// The key of a certificate.
pub(super) fn public_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    parsed(certificate).map(|leaf| SubjectPublicKeyInfoDer::from(leaf.public_key().raw.to_vec()))
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(certificate).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, leaf)| leaf)
}

/// Version 1 has no extension that could say so; who puts one into the file of authorities has said it.
fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    let is_any = match certificate.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        Ok(None) => certificate.version() == X509Version::V1,
        Err(_) => false,
    };
    let may_sign =
        certificate.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
    // Which names it may sign is not compared here: one with such limits is left to the library.
    let is_unlimited = certificate.name_constraints().is_ok_and(|limits| limits.is_none());
    is_any && may_sign && is_unlimited && is_understood(certificate)
}

/// Whether it asks for nothing that is not looked at.
fn is_understood(certificate: &X509Certificate<'_>) -> bool {
    let mut critical = certificate.extensions().iter().filter(|extension| extension.critical);
    critical.all(|extension| UNDERSTOOD.contains(&extension.oid))
}

fn is_for_servers(certificate: &X509Certificate<'_>) -> bool {
    match certificate.extended_key_usage() {
        Ok(Some(usage)) => usage.value.server_auth || usage.value.any,
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Whether `name` is `host`, or `*.` and all of a host name but its first label.
fn is_match(name: &str, host: &str) -> bool {
    let is_same = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
    match name.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(label, parent)| {
            let is_address = host.parse::<IpAddr>().is_ok();
            !label.is_empty() && !is_address && rest.contains('.') && is_same(rest, parent)
        }),
        None => !name.is_empty() && is_same(name, host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_one_label() {
        for (name, host, expected) in [
            ("db.example", "DB.example", true),
            ("*.db.example", "a.db.example", true),
            ("*.db.example", "a.b.db.example", false),
            ("*.db.example", "db.example", false),
            ("*.example", "db.example", false),
            ("*", "db", false),
            ("", "", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("*.0.0.1", "127.0.0.1", false),
        ] {
            assert_eq!(is_match(name, host), expected, "{name} {host}");
        }
    }
}
