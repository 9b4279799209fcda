//! Speaks to the admin listener of a running pgtally, for the commands that look at one.

use std::io::BufRead;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use thiserror::Error;

use crate::config::DEFAULT_ADMIN;

/// Time an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer at most: a list of a thousand findings with long statements.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where the running pgtally is, on the command line.
#[derive(Clone, Debug, Args)]
pub(crate) struct AdminArgs {
    /// Admin listener of the running pgtally [default: http://127.0.0.1:9187]
    #[arg(long, value_name = "URL", env = "PGTALLY_ADMIN_URL")]
    url: Option<String>,
    /// Its token, where it demands one
    #[arg(long, value_name = "TOKEN", env = "PGTALLY__ADMIN__TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    #[error("{url} does not answer: is pgtally running, and is this its admin listener?")]
    Unreachable { url: String, source: Box<ureq::Error> },
    /// The listener's own words.
    #[error("{0}")]
    Refused(String),
    #[error("the answer is not what pgtally answers")]
    Unreadable(#[source] std::io::Error),
}

/// A running pgtally.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    url: String,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(args: &AdminArgs) -> Self {
        let url = args.url.clone().unwrap_or_else(|| format!("http://{DEFAULT_ADMIN}"));
        let url = if url.contains("://") { url } else { format!("http://{url}") };
        Self { url: url.trim_end_matches('/').to_owned(), token: args.token.clone() }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The JSON of a resource below `/api/v1`.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, ClientError> {
        read(self.call(path, query, Some(ANSWER_TIMEOUT))?)
    }

    /// The lines of a resource that does not end.
    ///
    /// # Errors
    /// When it does not begin.
    pub(crate) fn stream(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<impl BufRead + use<>, ClientError> {
        Ok(std::io::BufReader::new(self.call(path, query, None)?.into_body().into_reader()))
    }

    fn call(
        &self,
        path: &str,
        query: &[(&str, &str)],
        timeout: Option<Duration>,
    ) -> Result<ureq::http::Response<ureq::Body>, ClientError> {
        let request = agent(timeout).get(format!("{}/api/v1/{path}", self.url));
        self.checked(self.signed(request.query_pairs(query.iter().copied())).call())
    }

    /// The answer to an order.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn post(&self, path: &str, order: &Value) -> Result<Value, ClientError> {
        self.post_within(path, order, ANSWER_TIMEOUT)
    }

    /// As [`Client::post`], for an order that takes its time.
    ///
    /// # Errors
    /// When there is none by then.
    pub(crate) fn post_within(
        &self,
        path: &str,
        order: &Value,
        limit: Duration,
    ) -> Result<Value, ClientError> {
        let request = self.signed(agent(Some(limit)).post(format!("{}/api/v1/{path}", self.url)));
        let request = request.content_type("application/json");
        read(self.checked(request.send(order.to_string()))?)
    }

    fn signed<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn checked(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<ureq::http::Response<ureq::Body>, ClientError> {
        let unreachable =
            |source| ClientError::Unreachable { url: self.url.clone(), source: Box::new(source) };
        let mut answer = answer.map_err(unreachable)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let words = answer.body_mut().read_to_vec().ok();
        let words = words.and_then(|body| serde_json::from_slice::<Value>(&body).ok());
        let words = words.and_then(|answer| Some(answer.get("error")?.as_str()?.to_owned()));
        Err(ClientError::Refused(words.unwrap_or_else(|| format!("{} answers {status}", self.url))))
    }
}

fn agent(timeout: Option<Duration>) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(ANSWER_TIMEOUT))
        .timeout_recv_response(Some(ANSWER_TIMEOUT))
        .timeout_global(timeout);
    config.build().into()
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> Result<Value, ClientError> {
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let body = body.map_err(|error| ClientError::Unreadable(error.into_io()))?;
    serde_json::from_slice(&body).map_err(|error| ClientError::Unreadable(error.into()))
}
