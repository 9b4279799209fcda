use super::super::applicant::{Applicant, Channel, Credential, LogInFailure};
use super::*;
use crate::config::Secret;

fn end_point(byte: u8) -> EndPoint {
    EndPoint::from_bytes(&[byte; 32])
}

fn gatekeeper(end_point: Option<EndPoint>) -> Gatekeeper {
    let verifier = Verifier::of_password("pencil", b"salt", 5);
    Gatekeeper { user: "ann".into(), verifier, end_point }
}

/// What the gatekeeper says to a client that logs in with `password` over `channel`.
fn log_in(password: &str, own: Option<EndPoint>, channel: Channel) -> Result<Proven, Refusal> {
    let gatekeeper = gatekeeper(own);
    let offer = gatekeeper.offer();
    let Ok(sasl::Authentication::Sasl(offered)) = sasl::authentication(&offer[5..]) else { panic!() };
    let secret = Secret::new(password.into());
    let (initial, applicant) =
        Applicant::apply(Credential::Password(secret.clone()), &offered, channel).expect("a mechanism");
    let (challenge, challenged) = gatekeeper.challenge(&initial[5..])?;
    let (answer, answered) = applicant.answer(&challenge[9..]).expect("an answer");
    let proven = challenged.judge(&answer[5..])?;
    assert_eq!(answered.check(&proven.farewell[9..]), Ok(()));
    Ok(proven)
}

fn reason(result: Result<Proven, Refusal>) -> &'static str {
    result.map_or_else(|refusal| refusal.reason, |_| "in")
}

#[test]
fn the_right_password_gets_in_on_every_channel() {
    for (own, channel) in [
        (None, Channel::Plain),
        (None, Channel::Tls(Some(end_point(1)))),
        (Some(end_point(1)), Channel::Tls(Some(end_point(1)))),
        (None, Channel::Tls(None)),
        (Some(end_point(1)), Channel::Tls(None)),
    ] {
        let what = format!("{own:?} {channel:?}");
        if matches!((&own, &channel), (Some(_), Channel::Tls(None))) {
            // A client that cannot bind takes the mechanism without it, with `n`.
            assert_eq!(reason(log_in("pencil", own, channel)), "in", "{what}");
            continue;
        }
        assert_eq!(reason(log_in("pencil", own.clone(), channel.clone())), "in", "{what}");
        let refusal = log_in("pen", own, channel).expect_err("a wrong password");
        assert_eq!(refusal.sqlstate, "28P01");
        assert_eq!(refusal.message, "password authentication failed for user \"ann\"");
    }
}

#[test]
fn somebody_in_the_middle_is_noticed() {
    // Another certificate than ours.
    let refusal =
        log_in("pencil", Some(end_point(1)), Channel::Tls(Some(end_point(2)))).expect_err("a refusal");
    assert_eq!((refusal.sqlstate, refusal.message.as_str()), ("28000", "SCRAM channel binding check failed"));
    // PLUS taken out of our offer: the client says `y`.
    let initial = sasl::initial_response(SCRAM_SHA_256, "y,,n=,r=abc");
    let refusal = gatekeeper(Some(end_point(1))).challenge(&initial[5..]).expect_err("a refusal");
    assert_eq!((refusal.sqlstate, refusal.reason), ("28000", "channel_binding"));
    // PLUS put into an offer on a plain leg.
    let secret = Secret::new("pencil".into());
    let offered = [SCRAM_SHA_256_PLUS.as_bytes(), SCRAM_SHA_256.as_bytes()];
    let apply = |offered: &[&[u8]], channel| {
        let applied = Applicant::apply(Credential::Password(secret.clone()), offered, channel);
        applied.map(|(initial, _)| String::from_utf8_lossy(&initial[5..]).into_owned())
    };
    assert_eq!(apply(&offered, Channel::Plain), Err(LogInFailure::PlusWithoutTls));
    // A certificate of their choice, which nothing can bind to and nobody has checked.
    assert_eq!(apply(&offered, Channel::Unbound), Err(LogInFailure::NoBinding));
    // And PLUS taken out of the server's offer: it must learn that we could.
    for channel in [Channel::Unbound, Channel::Tls(None), Channel::Tls(Some(end_point(1)))] {
        assert!(apply(&offered[1..], channel).is_ok_and(|initial| initial.contains("y,,n=")));
    }
}

#[test]
fn a_client_that_has_proved_itself_logs_in_at_the_server() {
    let proven = log_in("pencil", None, Channel::Plain).unwrap();
    let server = gatekeeper(Some(end_point(7)));
    let offer = server.offer();
    let Ok(sasl::Authentication::Sasl(offered)) = sasl::authentication(&offer[5..]) else { panic!() };
    let channel = Channel::Tls(Some(end_point(7)));
    let (initial, applicant) =
        Applicant::apply(Credential::Proven(proven.clone()), &offered, channel).unwrap();
    let (challenge, challenged) = server.challenge(&initial[5..]).unwrap();
    let (answer, answered) = applicant.answer(&challenge[9..]).unwrap();
    let verdict = challenged.judge(&answer[5..]).expect("the client's key fits the server's verifier");
    assert_eq!(answered.check(&verdict.farewell[9..]), Ok(()));
}

#[test]
fn another_verifier_than_the_servers_is_no_login() {
    let proven = log_in("pencil", None, Channel::Plain).unwrap();
    let apply = || {
        let offered = [SCRAM_SHA_256.as_bytes()];
        let (initial, applicant) =
            Applicant::apply(Credential::Proven(proven.clone()), &offered, Channel::Plain).unwrap();
        let (_, message) = sasl::read_initial_response(&initial[5..]).unwrap();
        let nonce = ClientFirst::read(message.unwrap()).unwrap().nonce.to_owned();
        (applicant, nonce)
    };
    let (applicant, nonce) = apply();
    let other_salt = format!("r={nonce}x,s=b3RoZXI=,i=5");
    assert_eq!(applicant.answer(other_salt.as_bytes()).err(), Some(LogInFailure::OtherVerifier));
    let (applicant, _) = apply();
    let other_nonce = b"r=stale,s=c2FsdA==,i=5";
    assert_eq!(applicant.answer(other_nonce).err(), Some(LogInFailure::Malformed));
    let (applicant, nonce) = apply();
    assert_eq!(
        applicant.answer(format!("r={nonce},s=c2FsdA==,i=5").as_bytes()).err(),
        Some(LogInFailure::Malformed)
    );
    let (applicant, nonce) = apply();
    let (_, answered) = applicant.answer(format!("r={nonce}x,s=c2FsdA==,i=5").as_bytes()).unwrap();
    assert_eq!(answered.check(b"v=AAAA"), Err(LogInFailure::NotTheServer));
    let offered: [&[u8]; 1] = [b"OAUTHBEARER"];
    let applied = Applicant::apply(Credential::Proven(proven.clone()), &offered, Channel::Plain);
    assert_eq!(applied.err(), Some(LogInFailure::OtherMethod));
}

#[test]
fn malformed_messages_have_postgresqls_code() {
    let check = |body: Vec<u8>, own: Option<EndPoint>| {
        let refusal = gatekeeper(own).challenge(&body[5..]).expect_err("a refusal");
        assert_eq!(refusal.sqlstate, "08P01", "{refusal:?}");
    };
    check(sasl::initial_response("PLAIN", "x"), None);
    check(sasl::initial_response(SCRAM_SHA_256_PLUS, "p=tls-server-end-point,,n=,r=x"), None);
    check(sasl::initial_response(SCRAM_SHA_256_PLUS, "n,,n=,r=x"), Some(end_point(1)));
    check(sasl::initial_response(SCRAM_SHA_256, "p=tls-server-end-point,,n=,r=x"), Some(end_point(1)));
    check(sasl::initial_response(SCRAM_SHA_256, ""), None);
    check(sasl::response("garbage"), None);
    let initial = sasl::initial_response(SCRAM_SHA_256, "n,,n=,r=abc");
    for (last, sqlstate) in [
        ("", "08P01"),
        ("c=biws,r=abcd,p=AAAA", "08P01"),
        ("c=eSws,r=abcfixed,p=AAAA", "28000"),
        ("c=biws,r=abcfixed,p=AAAA", "28P01"),
    ] {
        let (_, challenged) = gatekeeper(None).challenge_with(&initial[5..], "fixed").unwrap();
        assert_eq!(challenged.judge(last.as_bytes()).expect_err(last).sqlstate, sqlstate, "{last}");
    }
}
