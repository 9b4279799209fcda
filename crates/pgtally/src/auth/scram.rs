//! The arithmetic of SCRAM-SHA-256 (RFC 5802, RFC 7677) and PostgreSQL's text form of verifiers.
//!
//! Values that are secrets have a type of their own, whose `Debug` shows nothing. Comparisons take constant time.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq;

/// Bytes of a SHA-256, and so of every key.
const KEY_BYTES: usize = 32;
/// Random bytes of a nonce, as PostgreSQL has.
const NONCE_BYTES: usize = 18;
/// Bytes of a salt, as PostgreSQL has.
const SALT_BYTES: usize = 16;
/// Rounds of hashing in verifiers that PostgreSQL makes by default.
pub(super) const ITERATIONS_DEFAULT: u32 = 4_096;
/// Most rounds a server may ask of us for the query account's password: a second of work, not a minute.
const ITERATIONS_MAX: u32 = 1_000_000;
/// How a verifier's text begins.
const PREFIX: &str = "SCRAM-SHA-256$";

/// A value that nobody may see.
#[derive(Clone)]
pub(super) struct Key([u8; KEY_BYTES]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Key {
    fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }

    pub(super) fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    fn xor(&self, other: &Self) -> Self {
        let mut mixed = self.0;
        mixed.iter_mut().zip(other.0).for_each(|(byte, other)| *byte ^= other);
        Self(mixed)
    }

    fn hash(&self) -> Self {
        Self::from_digest(digest::digest(&digest::SHA256, &self.0).as_ref())
    }

    fn sign(&self, message: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        Self::from_digest(hmac::sign(&key, message).as_ref())
    }

    fn from_digest(bytes: &[u8]) -> Self {
        let mut key = [0; KEY_BYTES];
        // Both lengths are SHA-256's.
        key.iter_mut().zip(bytes).for_each(|(byte, digest)| *byte = *digest);
        Self(key)
    }

    /// Whether both are the same, in constant time.
    fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// What a server keeps of a password.
#[derive(Clone)]
pub(crate) struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    /// Reads `SCRAM-SHA-256$iterations:salt$stored:server`; `None` for everything else, MD5 and plain passwords too.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (cost, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = cost.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|count| *count > 0)?;
        let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?;
        let (stored_key, server_key) = (Key::from_base64(stored)?, Key::from_base64(server)?);
        Some(Self { iterations, salt, stored_key, server_key })
    }

    /// That of a password, with a salt of its own.
    pub(super) fn salted(password: &str) -> Self {
        let salt = random::<SALT_BYTES>().to_vec();
        match Keys::of_password(password, &salt, ITERATIONS_DEFAULT) {
            Some(Keys { client, server }) => {
                Self { iterations: ITERATIONS_DEFAULT, salt, stored_key: client.0.hash(), server_key: server }
            }
            // Only for another number of rounds than this one.
            None => Self {
                iterations: ITERATIONS_DEFAULT,
                salt,
                stored_key: random_key(),
                server_key: random_key(),
            },
        }
    }

    /// One that looks like this user's and that no password fits.
    pub(super) fn mock(secret: &MockSecret, user: &[u8], iterations: u32) -> Self {
        let salt = secret.0.sign(user).0.iter().copied().take(SALT_BYTES).collect();
        // A random StoredKey is the hash of nothing anybody knows.
        Self { iterations, salt, stored_key: random_key(), server_key: random_key() }
    }

    /// The client's key out of its proof, if the proof is right.
    pub(super) fn recover(&self, auth_message: &str, proof: &str) -> Option<ClientKey> {
        let proof = Key::from_base64(proof)?;
        let client_key = proof.xor(&self.stored_key.sign(auth_message.as_bytes()));
        client_key.hash().is(&self.stored_key).then_some(ClientKey(client_key))
    }

    /// What tells a client that we know its verifier.
    pub(super) fn server_signature(&self, auth_message: &str) -> Key {
        self.server_key.sign(auth_message.as_bytes())
    }

    pub(super) fn salt_base64(&self) -> String {
        STANDARD.encode(&self.salt)
    }
}

/// What a client proves that it has: as good as the password, for this verifier.
#[derive(Clone, Debug)]
pub(crate) struct ClientKey(Key);

impl ClientKey {
    /// The proof for one exchange, in base64.
    pub(super) fn proof(&self, auth_message: &str) -> String {
        self.0.xor(&self.0.hash().sign(auth_message.as_bytes())).to_base64()
    }
}

/// Both keys of a password: the client's, and the one whose signature shows that the server knows the verifier.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) client: ClientKey,
    server: Key,
}

impl Keys {
    /// Those of a client that has proved its own.
    pub(super) fn proven(client: ClientKey, verifier: &Verifier) -> Self {
        Self { client, server: verifier.server_key.clone() }
    }

    /// Those of a password; `None` when the server asks for unreasonably much work.
    pub(super) fn of_password(password: &str, salt: &[u8], iterations: u32) -> Option<Self> {
        let rounds = NonZeroU32::new(iterations).filter(|rounds| rounds.get() <= ITERATIONS_MAX)?;
        // As PostgreSQL: what SASLprep refuses is used as it is.
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        let mut salted = [0; KEY_BYTES];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, prepared.as_bytes(), &mut salted);
        let salted = Key(salted);
        Some(Self { client: ClientKey(salted.sign(b"Client Key")), server: salted.sign(b"Server Key") })
    }

    /// Whether this signature, in base64, is that of a server that knows the verifier.
    pub(super) fn is_server(&self, auth_message: &str, signature: &str) -> bool {
        let expected = self.server.sign(auth_message.as_bytes());
        Key::from_base64(signature).is_some_and(|signature| signature.is(&expected))
    }
}

/// Makes the salts of users who do not exist: always the same for one user, and nobody can tell them from real ones.
#[derive(Debug)]
pub(crate) struct MockSecret(Key);

impl MockSecret {
    /// Made of a secret that outlives this process, and that other replicas have too.
    pub(crate) fn derived(secret: &str) -> Self {
        let key = Key::from_digest(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
        // For this purpose only: the secret may have others.
        Self(key.sign(b"pgtally mock authentication"))
    }

    /// One that nobody else has: users who do not exist get new salts with each start.
    pub(crate) fn random() -> Self {
        Self(random_key())
    }
}

fn random_key() -> Key {
    Key(random())
}

/// A nonce, printable.
pub(super) fn nonce() -> String {
    STANDARD.encode(random::<NONCE_BYTES>())
}

#[expect(clippy::expect_used, reason = "without random numbers every login would be open to replay")]
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system's random numbers, which block and do not fail");
    bytes
}

/// `c=` of a client-final-message: header and binding data.
pub(super) fn binding_base64(gs2_header: &str, end_point: Option<&[u8]>) -> String {
    STANDARD.encode([gs2_header.as_bytes(), end_point.unwrap_or_default()].concat())
}

/// Whether two texts that a client could guess at are the same, in constant time.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// Salt out of its base64.
pub(super) fn salt(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
impl Verifier {
    /// Of a password, as PostgreSQL makes them.
    pub(super) fn of_password(password: &str, salt: &[u8], iterations: u32) -> Self {
        let keys = Keys::of_password(password, salt, iterations).unwrap();
        Self { iterations, salt: salt.to_vec(), stored_key: keys.client.0.hash(), server_key: keys.server }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    const AUTH_MESSAGE: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
        r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
        c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const PROOF: &str = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SIGNATURE: &str = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    #[test]
    fn the_example_of_the_rfc_comes_out() {
        let salt = salt("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = Keys::of_password("pencil", &salt, 4_096).unwrap();
        assert_eq!(keys.client.proof(AUTH_MESSAGE), PROOF);
        assert!(keys.is_server(AUTH_MESSAGE, SIGNATURE));
        let verifier = Verifier::of_password("pencil", &salt, 4_096);
        assert_eq!(verifier.server_signature(AUTH_MESSAGE).to_base64(), SIGNATURE);
        let recovered = verifier.recover(AUTH_MESSAGE, PROOF).expect("a right proof");
        assert_eq!(recovered.proof("another exchange"), keys.client.proof("another exchange"));
        assert!(verifier.recover("another exchange", PROOF).is_none());
        assert!(Verifier::of_password("pencils", &salt, 4_096).recover(AUTH_MESSAGE, PROOF).is_none());
    }

    #[test]
    fn verifiers_are_read_as_postgresql_writes_them() {
        let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
            WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let verifier = Verifier::parse(text).expect("a verifier");
        assert!(verifier.recover(AUTH_MESSAGE, PROOF).is_some());
        assert_eq!(format!("{verifier:?}"), "Verifier");
        for wrong in [
            "",
            "pencil",
            "md5d41d8cd98f00b204e9800998ecf8427e",
            "SCRAM-SHA-256$0:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "SCRAM-SHA-256$4096:$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$AAAA:AAAA",
        ] {
            assert!(Verifier::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn mock_verifiers_keep_their_salt_and_fit_no_proof() {
        let secret = MockSecret::derived("correct horse");
        let mock = Verifier::mock(&secret, b"nobody", 4_096);
        assert_eq!(mock.salt, Verifier::mock(&secret, b"nobody", 4_096).salt);
        assert_ne!(mock.salt, Verifier::mock(&secret, b"somebody", 4_096).salt);
        assert_ne!(mock.salt, Verifier::mock(&MockSecret::random(), b"nobody", 4_096).salt);
        let replica = MockSecret::derived("correct horse");
        assert_eq!(mock.salt, Verifier::mock(&replica, b"nobody", 4_096).salt);
        assert_eq!(mock.salt.len(), SALT_BYTES);
        assert!(mock.recover(AUTH_MESSAGE, PROOF).is_none());
    }

    #[test]
    fn secrets_do_not_show() {
        let keys = Keys::of_password("pencil", b"salt", 1).unwrap();
        assert_eq!(format!("{keys:?}"), "Keys { client: ClientKey(***), server: *** }");
        assert!(Keys::of_password("pencil", b"salt", ITERATIONS_MAX + 1).is_none());
    }
}
