//! The upstreams, reached as a session would reach them, up to the server's first word about authentication.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Diagnosis;
use crate::config::Config;
use crate::logging::with_causes;
use crate::security::{MISMATCH_REMEDIES, Snapshot};
use crate::socket::{Address, Stream};
use crate::tls::{Leg, connect};

/// Time left on a certificate from which somebody should look after it.
const RENEW_WITHIN: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Longest first answer that is read; PostgreSQL's have some 100 bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024;
/// Protocol 3.0, and who asks. There is no such user, and none logs in.
const STARTUP: &[u8] =
    b"\0\x03\0\0user\0pgtally_doctor\0database\0postgres\0application_name\0pgtally doctor\0\0";

/// Looks at every upstream.
pub(super) fn all(config: &Config, security: &Snapshot) -> Vec<Diagnosis> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![Diagnosis::broken("runtime", error.to_string(), "")],
    };
    let diagnoses = config.upstreams.iter().flat_map(|address| {
        runtime.block_on(async { one(address, config.socket.connect_timeout, security).await })
    });
    diagnoses.collect()
}

async fn one(address: &Address, patience: Duration, security: &Snapshot) -> Vec<Diagnosis> {
    let subject = format!("upstream {address}");
    let started = Instant::now();
    let leg = match timeout(patience, connect(address, security.upstream.as_ref())).await {
        Ok(Ok(leg)) => leg,
        Ok(Err(error)) => {
            let remedy = if error.is_tls() {
                "check tls.upstream_tls and tls.upstream_ca"
            } else {
                "is PostgreSQL running there, and may this machine reach it?"
            };
            return vec![Diagnosis::broken(&subject, with_causes(&error), remedy)];
        }
        Err(_) => {
            let words = format!("no answer within {patience:?}");
            return vec![Diagnosis::broken(&subject, words, "does a firewall drop the packets?")];
        }
    };
    let reached = started.elapsed();
    let Leg { mut stream, certificate, .. } = leg;
    let answer = timeout(patience, first_answer(&mut stream)).await;
    let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let way = if certificate.is_some() { "TLS" } else { "plain" };
    let reached = format!("reached in {:.1} ms ({way})", reached.as_secs_f64() * 1e3);
    let mut diagnoses = vec![judge(&subject, &reached, answer)];
    if let Some(certificate) = certificate {
        let subject = format!("certificate of {address}");
        diagnoses.push(expiry(&subject, &certificate, "renew it at the server"));
        if security.has_mismatch(&certificate) {
            let words = "clients that insist on channel binding cannot get in: it is another than theirs";
            diagnoses.push(Diagnosis::doubtful(&subject, words, MISMATCH_REMEDIES));
        }
    }
    diagnoses
}

/// Tag and body of the server's first message.
async fn first_answer(stream: &mut Stream) -> io::Result<(u8, Vec<u8>)> {
    let length = u32::try_from(STARTUP.len() + 4).unwrap_or_default();
    stream.write_all(&[&length.to_be_bytes()[..], STARTUP].concat()).await?;
    stream.flush().await?;
    let tag = stream.read_u8().await?;
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    let body = length.checked_sub(4).filter(|body| *body <= ANSWER_BYTES_MAX);
    let mut body = vec![0; body.ok_or(io::ErrorKind::InvalidData)?];
    stream.read_exact(&mut body).await?;
    Ok((tag, body))
}

fn judge(subject: &str, reached: &str, answer: io::Result<(u8, Vec<u8>)>) -> Diagnosis {
    match answer {
        Ok((b'R', _)) => Diagnosis::fine(subject, format!("{reached}, and it is PostgreSQL")),
        Ok((b'E', body)) => {
            let (code, message) = (field(&body, b'C'), field(&body, b'M'));
            let words = format!("{reached}, and it says: {message} ({code})");
            // No such user, no such line in pg_hba.conf: the answer of a server that is well.
            if code.starts_with("28") {
                return Diagnosis::fine(subject, format!("{reached}, and it is PostgreSQL"));
            }
            Diagnosis::doubtful(subject, words, "look into PostgreSQL's log")
        }
        Ok(_) => Diagnosis::broken(subject, "what answers there is not PostgreSQL", "check relay.upstream"),
        Err(error) => Diagnosis::broken(
            subject,
            format!("{reached}, and then: {error}"),
            "is it PostgreSQL that listens there?",
        ),
    }
}

/// A field of an ErrorResponse.
fn field(body: &[u8], wanted: u8) -> String {
    let fields = body.split(|byte| *byte == 0);
    let found = fields.filter_map(|field| field.split_first()).find(|(tag, _)| **tag == wanted);
    found.map(|(_, text)| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
}

/// How long a certificate is still valid.
pub(super) fn expiry(subject: &str, certificate: &CertificateDer<'_>, remedy: &str) -> Diagnosis {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Diagnosis::doubtful(subject, "its dates cannot be read", remedy);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    match end.checked_sub(now).map(Duration::from_secs) {
        None => Diagnosis::broken(subject, "it is no longer valid", remedy),
        Some(left) => {
            let words = format!("valid for {} more days", left.as_secs() / (24 * 60 * 60));
            if left < RENEW_WITHIN {
                Diagnosis::doubtful(subject, words, remedy)
            } else {
                Diagnosis::fine(subject, words)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn the_first_answer_tells_what_listens_there() {
        let check = |answer: io::Result<(u8, Vec<u8>)>, expected: Health| {
            assert_eq!(judge("upstream", "reached", answer).health, expected);
        };
        check(Ok((b'R', vec![0, 0, 0, 10])), Health::Fine);
        check(Ok((b'E', b"SFATAL\0C28000\0Mrole does not exist\0\0".to_vec())), Health::Fine);
        check(Ok((b'E', b"SFATAL\0C53300\0Msorry\0\0".to_vec())), Health::Doubtful);
        check(Ok((b'E', b"".to_vec())), Health::Doubtful);
        check(Ok((b'H', Vec::new())), Health::Broken);
        check(Err(io::ErrorKind::UnexpectedEof.into()), Health::Broken);
    }

    #[test]
    fn certificates_are_told_before_they_end() {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let check = |end: SystemTime, expected: Health| {
            let mut parameters = rcgen::CertificateParams::new(vec!["db".to_owned()]).unwrap();
            parameters.not_after = end.into();
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = parameters.self_signed(&key).unwrap();
            assert_eq!(expiry("it", certificate.der(), "renew it").health, expected, "{end:?}");
        };
        check(SystemTime::now() + 90 * DAY, Health::Fine);
        check(SystemTime::now() + 3 * DAY, Health::Doubtful);
        check(SystemTime::now() - DAY, Health::Broken);
    }
}
