//! Certificates for tests: an authority, and what it signs, in files.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    SignatureAlgorithm,
};
use tempfile::TempDir;

/// An authority with a directory of its own.
pub struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
    algorithm: &'static SignatureAlgorithm,
}

/// Certificate and key in files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

impl Identity {
    /// Text of the certificate and of the key.
    #[must_use]
    pub fn pem(&self) -> (String, String) {
        let read = |path: &PathBuf| std::fs::read_to_string(path).expect("a file of the test");
        (read(&self.certificate), read(&self.key))
    }
}

impl Authority {
    /// One whose signatures channel binding knows a hash for.
    #[must_use]
    pub fn new() -> Self {
        Self::signing_with(&PKCS_ECDSA_P256_SHA256)
    }

    /// One whose signatures define no hash for channel binding.
    #[must_use]
    pub fn ed25519() -> Self {
        Self::signing_with(&PKCS_ED25519)
    }

    fn signing_with(algorithm: &'static SignatureAlgorithm) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "pgtally test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(directory.path().join("ca.crt"), certificate.pem()).expect("a file");
        Self { directory, issuer: Issuer::new(params, key), algorithm }
    }

    /// File of its own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// Signs a certificate for `names` (host names or addresses), whose subject is `common_name`.
    #[must_use]
    pub fn sign(&self, common_name: &str, names: &[&str]) -> Identity {
        let key = KeyPair::generate_for(self.algorithm).expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let number = std::fs::read_dir(self.directory.path()).expect("a directory").count();
        let path = |ending| self.directory.path().join(format!("{number}.{ending}"));
        let identity = Identity { certificate: path("crt"), key: path("key") };
        std::fs::write(&identity.certificate, certificate.pem()).expect("a file");
        std::fs::write(&identity.key, key.serialize_pem()).expect("a file");
        identity
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
