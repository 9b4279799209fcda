//! Where a token is demanded, a browser gives it once, in a form, and has a cookie from then on.
//!
//! The cookie holds no token but a keyed hash of it, with a key that lives and dies with the process; a changed token
//! makes it worthless. It is sent to nobody else (`SameSite=Strict`), and no script can read it (`HttpOnly`).

use std::time::Duration;

use askama::Template;
use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;
use ring::rand::SystemRandom;
use serde::Deserialize;
use tokio::time::sleep;

use super::page;
use crate::admin::{AdminState, is_local_name, is_of_other_page};

const COOKIE: &str = "pgtally_session";
/// Waited after a wrong token, so that guessing takes its time.
const WRONG_TOKEN_DELAY: Duration = Duration::from_millis(300);

/// Makes and checks the cookies of one process.
pub(crate) struct CookieKey(hmac::Key);

impl CookieKey {
    /// `None` when the system has no randomness: then nobody can log in.
    pub(crate) fn generate() -> Option<Self> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok().map(Self)
    }

    fn cookie(&self, token: &str) -> String {
        hmac::sign(&self.0, token.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn is_of(&self, cookie: &str, token: &str) -> bool {
        let digits = cookie.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
        let bytes: Option<Vec<u8>> =
            digits.map(|pair| u8::from_str_radix(pair.filter(|pair| pair.len() == 2)?, 16).ok()).collect();
        bytes.is_some_and(|bytes| hmac::verify(&self.0, token.as_bytes(), &bytes).is_ok())
    }
}

/// Whether the request carries a cookie that a login has given.
pub(crate) fn has_cookie(state: &AdminState, headers: &HeaderMap, token: &str) -> bool {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let cookie = pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value);
    let key = state.cookie_key.as_deref();
    cookie.zip(key).is_some_and(|(cookie, key)| key.is_of(cookie, token))
}

/// Lets a browser see a page, or sends it to the login.
pub(super) async fn admit_page(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let token = state.live.borrow().admin_token.clone();
    match token {
        Some(token) if !has_cookie(&state, headers, token.reveal()) => {
            let asked = request.uri().path_and_query().map_or("/", |it| it.as_str());
            let asked = utf8_percent_encode(asked, NON_ALPHANUMERIC);
            Redirect::to(&format!("/login?next={asked}")).into_response()
        }
        None if !is_local_name(headers) => {
            (StatusCode::FORBIDDEN, "address the admin listener by its IP address or as localhost\n")
                .into_response()
        }
        _ if is_of_other_page(headers) => {
            (StatusCode::FORBIDDEN, "pages of other origins may not use this one\n").into_response()
        }
        _ => next.run(request).await,
    }
}

/// Whether a form was sent by a page of this listener. Browsers say where a form stands; what does not is none of ours.
pub(super) fn is_own_form(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) && !is_of_other_page(headers)
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    next: String,
    problem: Option<&'static str>,
}

#[derive(Deserialize)]
pub(super) struct Target {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Credentials {
    token: String,
    #[serde(default)]
    next: String,
}

pub(super) async fn form(
    State(state): State<AdminState>,
    query: Result<Query<Target>, QueryRejection>,
) -> Response {
    let next = local(query.map(|query| query.0.next).unwrap_or_default());
    if state.live.borrow().admin_token.is_none() {
        return Redirect::to(&next).into_response();
    }
    page(&LoginPage { next, problem: None })
}

pub(super) async fn log_in(
    State(state): State<AdminState>,
    headers: HeaderMap,
    form: Result<Form<Credentials>, FormRejection>,
) -> Response {
    if is_of_other_page(&headers) {
        return (StatusCode::FORBIDDEN, "pages of other origins may not log in here\n").into_response();
    }
    let Ok(Form(Credentials { token: given, next })) = form else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let next = local(next);
    let token = state.live.borrow().admin_token.clone();
    let (Some(token), Some(key)) = (token, state.cookie_key.as_deref()) else {
        return Redirect::to(&next).into_response();
    };
    // Compares hashes of equal length: timing tells nothing about the token.
    if !key.is_of(&key.cookie(given.trim()), token.reveal()) {
        sleep(WRONG_TOKEN_DELAY).await;
        let form = page(&LoginPage { next, problem: Some("That is not the token.") });
        return (StatusCode::UNAUTHORIZED, form).into_response();
    }
    set_cookie(&format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict", key.cookie(token.reveal())), &next)
}

pub(super) async fn log_out(headers: HeaderMap) -> Response {
    if is_of_other_page(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    set_cookie(&format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"), "/login")
}

fn set_cookie(cookie: &str, next: &str) -> Response {
    match HeaderValue::from_str(cookie) {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// An address of this listener; the first page for any other.
fn local(next: String) -> String {
    let is_local = next.starts_with('/')
        && !next.starts_with("//")
        && !next.starts_with("/login")
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_local { next } else { "/".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_of_one_token_and_one_process() {
        let (key, other) = (CookieKey::generate().unwrap(), CookieKey::generate().unwrap());
        let cookie = key.cookie("0123456789abcdef");
        assert!(key.is_of(&cookie, "0123456789abcdef"));
        assert!(!cookie.contains("0123456789abcdef"));
        assert!(!key.is_of(&cookie, "another token of it"));
        assert!(!other.is_of(&cookie, "0123456789abcdef"));
        for garbage in ["", "zz", "é", &cookie[1..], &cookie[2..]] {
            assert!(!key.is_of(garbage, "0123456789abcdef"), "{garbage}");
        }
    }

    #[test]
    fn a_login_leads_nowhere_else() {
        let check = |next: &str, expected: &str| assert_eq!(local(next.into()), expected, "{next}");
        check("/requests?route=%2Fx", "/requests?route=%2Fx");
        check("//evil.example/", "/");
        check("https://evil.example/", "/");
        check("/\\evil.example", "/");
        check("/x\r\nSet-Cookie: a=b", "/");
        check("", "/");
    }
}
