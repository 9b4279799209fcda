//! Certificates and keys: reading them from files, and the end point that channel binding hashes.

use std::fmt;
use std::path::Path;

use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest file of certificates or keys that is read. A system's whole list of authorities has some 220 KiB.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Object identifiers of signature algorithms with the hash that `tls-server-end-point` (RFC 5929) takes for them:
/// the signature's own, but SHA-256 in place of MD5 and SHA-1. Ed25519 and RSASSA-PSS define none.
const END_POINT_HASHES: [(&str, &Algorithm); 10] = [
    ("1.2.840.113549.1.1.4", &SHA256),
    ("1.2.840.113549.1.1.5", &SHA256),
    ("1.2.840.10045.4.1", &SHA256),
    ("1.2.840.113549.1.1.11", &SHA256),
    ("1.2.840.10045.4.3.2", &SHA256),
    ("1.2.840.113549.1.1.12", &SHA384),
    ("1.2.840.10045.4.3.3", &SHA384),
    ("1.2.840.113549.1.1.13", &SHA512),
    ("1.2.840.10045.4.3.4", &SHA512),
    ("1.2.840.10040.4.3", &SHA256),
];

/// What SCRAM binds to: the hash of a server's certificate.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EndPoint(Vec<u8>);

impl EndPoint {
    /// Of this certificate; `None` where its signature algorithm defines no hash.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let identifier = parsed.signature_algorithm.algorithm.to_id_string();
        let (_, algorithm) = END_POINT_HASHES.iter().find(|(known, _)| *known == identifier)?;
        Some(Self(digest(algorithm, certificate).as_ref().to_vec()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Debug for EndPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndPoint")
    }
}

/// All certificates of a PEM file, the leaf first. Errors name the file.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|_| format!("{} is not PEM", path.display()))?;
    if certificates.is_empty() {
        return Err(format!("{} holds no certificate", path.display()));
    }
    Ok(certificates)
}

/// The first private key of a PEM file. Errors name the file.
pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read(path)?;
    // The library's words are left out: they might repeat a line of the file.
    let key = PrivateKeyDer::from_pem_slice(&pem);
    let nothing = "holds no private key in PEM; a key with a passphrase cannot be used";
    key.map_err(|_| format!("{} {nothing}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error| format!("{} cannot be read: {error}", path.display());
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("{} has more than {FILE_BYTES_MAX} bytes", path.display()));
    }
    std::fs::read(path).map_err(unreadable)
}

/// Whether `key` belongs to `certificate`. rustls's own comparison refuses X.509 version 1, which stock PostgreSQL
/// set-ups use and which must be presentable where the server presents it.
pub(super) fn key_fits(certificate: &CertificateDer<'_>, key: &dyn SigningKey) -> Result<bool, String> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| "it is not a certificate of X.509".to_owned())?;
    // Keys of ring all know their public half.
    let public = key.public_key();
    Ok(public.is_none_or(|public| public.as_ref() == parsed.public_key().raw))
}
