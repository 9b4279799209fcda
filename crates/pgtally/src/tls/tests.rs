use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, SignatureAlgorithm,
};
use ring::digest::{SHA256, SHA384, digest};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

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

/// Parameters of an authority of `localhost` and everything else.
fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// Parameters of a server's certificate that says to be an authority: the library refuses it before all else.
fn leaf() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// Whether `localhost` may show `leaf`, where `authority` is in the file of authorities.
fn is_accepted(leaf: &CertificateDer<'static>, authority: CertificateDer<'static>, now: UnixTime) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let verifier = UpstreamVerifier::new(Check::ChainAndName, roots, vec![authority], &provider());
    let name = ServerName::try_from("localhost").unwrap();
    verifier.verify_server_cert(leaf, &[], &name, &[], now).is_ok()
}

/// The same, with certificates made for it.
fn is_signed_accepted(authority: CertificateParams, leaf: &CertificateParams) -> bool {
    let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let authority_key = key();
    let root = authority.self_signed(&authority_key).unwrap();
    let leaf = leaf.signed_by(&key(), &Issuer::new(authority, authority_key)).unwrap();
    is_accepted(leaf.der(), root.der().clone(), UnixTime::now())
}

fn with(mut params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

#[test]
fn what_the_library_is_too_strict_for_must_be_right_in_all_else() {
    let plain = || with(leaf(), |it| it.is_ca = IsCa::NoCa);
    assert!(is_signed_accepted(authority(), &plain()));
    assert!(is_signed_accepted(authority(), &leaf()), "as OpenSSL");
    let elsewhere = NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("elsewhere.example".into())],
        excluded_subtrees: Vec::new(),
    };
    let constrained = with(authority(), |it| it.name_constraints = Some(elsewhere));
    let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
    unknown.set_criticality(true);
    let unknown = |params| with(params, |it| it.custom_extensions = vec![unknown.clone()]);
    let for_lists = with(authority(), |it| it.key_usages = vec![KeyUsagePurpose::CrlSign]);
    let for_clients = with(leaf(), |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let expired = with(leaf(), |it| it.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let cases = [
        ("the authority may not sign this name", constrained.clone(), leaf()),
        ("nor in an ordinary certificate", constrained, plain()),
        ("nobody knows what it says", authority(), unknown(leaf())),
        ("nor an ordinary one", authority(), unknown(plain())),
        ("nor the authority", unknown(authority()), leaf()),
        ("an authority for other things", for_lists, leaf()),
        ("a client's", authority(), for_clients),
        ("it is expired", authority(), expired),
    ];
    let accepted =
        cases.into_iter().filter(|(_, authority, leaf)| is_signed_accepted(authority.clone(), leaf));
    assert_eq!(accepted.map(|(what, ..)| what).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn a_signature_with_sha1_is_none() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/certificates");
    let read = |name: &str| read_certificates(&folder.join(name)).unwrap().remove(0);
    // Within the hundred years of all of them.
    let now = UnixTime::since_unix_epoch(Duration::from_secs(3_110_400_000));
    assert!(is_accepted(&read("version1.crt"), read("authority.crt"), now));
    assert!(!is_accepted(&read("sha1.crt"), read("sha1-authority.crt"), now));
}

#[test]
fn the_subject_does_not_count_beside_a_name_that_cannot_be_read() {
    // One DNS name, which is no text.
    let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 3, 0x82, 1, 0xff]);
    let unnamed = with(leaf(), |it| it.subject_alt_names.clear());
    assert!(is_signed_accepted(authority(), &unnamed), "as libpq");
    assert!(!is_signed_accepted(authority(), &with(unnamed, |it| it.custom_extensions = vec![names])));
}
