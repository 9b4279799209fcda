use std::path::PathBuf;

use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    SignatureAlgorithm,
};
use ring::digest::{SHA256, SHA384, digest};
use rustls::pki_types::CertificateDer;

use super::*;
use crate::config::ClientTls;

fn settings() -> TlsSettings {
    TlsSettings {
        client_tls: ClientTls::Allow,
        certificate: None,
        key: None,
        upstream_tls: UpstreamTls::Disable,
        upstream_ca: None,
        upstream_certificate: None,
        upstream_key: None,
        upstream_negotiation: Negotiation::Postgres,
    }
}

fn made(algorithm: &'static SignatureAlgorithm) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate, key)
}

fn written(directory: &tempfile::TempDir, name: &str, text: &str) -> Option<PathBuf> {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    Some(path)
}

#[test]
fn the_end_point_is_hashed_as_the_signature_says() {
    let (p256, _) = made(&PKCS_ECDSA_P256_SHA256);
    let (p384, _) = made(&PKCS_ECDSA_P384_SHA384);
    let (ed25519, _) = made(&PKCS_ED25519);
    let hash =
        |certificate: &rcgen::Certificate| EndPoint::of(certificate.der()).map(|it| it.bytes().to_vec());
    assert_eq!(hash(&p256), Some(digest(&SHA256, p256.der()).as_ref().to_vec()));
    assert_eq!(hash(&p384), Some(digest(&SHA384, p384.der()).as_ref().to_vec()));
    assert_eq!(hash(&ed25519), None, "RFC 5929 defines none");
    assert_eq!(EndPoint::of(&CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x01])), None);
}

#[test]
fn files_of_no_use_are_named_by_their_setting() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = made(&PKCS_ECDSA_P256_SHA256);
    let (_, other_key) = made(&PKCS_ECDSA_P256_SHA256);
    let certificate = written(&directory, "server.crt", &certificate.pem());
    let key = written(&directory, "server.key", &key.serialize_pem());
    let other_key = written(&directory, "other.key", &other_key.serialize_pem());
    let garbage = written(&directory, "garbage", "-----BEGIN PRIVATE KEY-----\nsecret\n");
    let check = |certificate: &Option<PathBuf>, key: &Option<PathBuf>, expected: Option<&str>| {
        let settings = TlsSettings { certificate: certificate.clone(), key: key.clone(), ..settings() };
        let unusable = ClientLeg::load(&settings).err();
        assert_eq!(unusable.as_ref().map(|it| it.setting), expected, "{unusable:?}");
        assert!(!format!("{unusable:?}").contains("secret"));
    };
    check(&certificate, &key, None);
    check(&certificate, &other_key, Some("tls.key"));
    check(&certificate, &garbage, Some("tls.key"));
    check(&certificate, &Some("/nowhere/it".into()), Some("tls.key"));
    check(&garbage, &key, Some("tls.certificate"));
    check(&key, &key, Some("tls.certificate"));
}

#[test]
fn roots_are_read_only_where_they_count() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, _) = made(&PKCS_ECDSA_P256_SHA256);
    let file = written(&directory, "ca.crt", &certificate.pem()).map(Roots::File);
    let nothing = written(&directory, "nothing", "").map(Roots::File);
    let load = |upstream_tls, upstream_ca: &Option<Roots>| {
        let settings = TlsSettings { upstream_tls, upstream_ca: upstream_ca.clone(), ..settings() };
        UpstreamLeg::load(&settings).map(|leg| leg.is_some())
    };
    assert!(!load(UpstreamTls::Disable, &nothing).unwrap());
    assert!(load(UpstreamTls::Require, &None).unwrap());
    assert!(load(UpstreamTls::VerifyCa, &file).unwrap());
    assert_eq!(load(UpstreamTls::VerifyCa, &nothing).unwrap_err().setting, "tls.upstream_ca");
    assert_eq!(load(UpstreamTls::Require, &nothing).unwrap_err().setting, "tls.upstream_ca");
}
