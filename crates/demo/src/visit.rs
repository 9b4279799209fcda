//! The visitors: an HTTP client that requests every page, several times, two at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};
use ureq::Agent;

use crate::page::{Method, Page};

/// Two, so that requests overlap, and the pages of one don't queue for the cores of a small machine.
const VISITORS: usize = 2;

/// The slowest page takes a tenth of a second or a few.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A page could not be visited.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// The request got no answer.
    #[error("{page} could not be requested")]
    Request {
        /// Method and path.
        page: String,
        /// What the HTTP client said.
        source: ureq::Error,
    },
    /// The page answered with an error.
    #[error("{page} answered {status}: {body}")]
    Status {
        /// Method and path.
        page: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        body: String,
    },
    /// A visitor ended before its time.
    #[error("a visitor ended early")]
    Visitor(#[source] JoinError),
}

/// How far the visits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Requests answered.
    pub done: usize,
    /// Requests to make.
    pub total: usize,
}

/// What was visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visits {
    /// Requests made, all answered well.
    pub requests: usize,
    /// Bytes of the answers.
    pub bytes: usize,
}

/// Requests every page `rounds` times and tells `on_progress` about each answer.
///
/// # Errors
///
/// With the first page that does not answer well.
pub async fn visit(
    address: SocketAddr,
    rounds: usize,
    mut on_progress: impl FnMut(Progress),
) -> Result<Visits, VisitError> {
    let total = Page::ALL.len().saturating_mul(rounds);
    let (sender, mut answers) = mpsc::channel(VISITORS);
    let next = Arc::new(AtomicUsize::new(0));
    let visitors = [(); VISITORS].map(|()| {
        let (sender, next) = (sender.clone(), Arc::clone(&next));
        spawn_blocking(move || visit_next(address, &next, total, &sender))
    });
    drop(sender);
    let mut visits = Visits { requests: 0, bytes: 0 };
    while let Some(answer) = answers.recv().await {
        visits.requests += 1;
        visits.bytes += answer?.len();
        on_progress(Progress { done: visits.requests, total });
    }
    for visitor in visitors {
        visitor.await.map_err(VisitError::Visitor)?;
    }
    Ok(visits)
}

/// Requests one page.
///
/// # Errors
///
/// When it does not answer well.
pub async fn request(address: SocketAddr, page: &'static Page) -> Result<String, VisitError> {
    let fetched = spawn_blocking(move || fetch(&agent(), address, page));
    fetched.await.map_err(VisitError::Visitor)?
}

fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(ANSWER_WITHIN));
    config.build().into()
}

/// One visitor: takes the next page until all are visited, or nobody wants to know any more.
fn visit_next(
    address: SocketAddr,
    next: &AtomicUsize,
    total: usize,
    answers: &mpsc::Sender<Result<String, VisitError>>,
) {
    let agent = agent();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= total {
            return;
        }
        let page = &Page::ALL[number % Page::ALL.len()];
        if answers.blocking_send(fetch(&agent, address, page)).is_err() {
            return;
        }
    }
}

/// The text of a page.
fn fetch(agent: &Agent, address: SocketAddr, page: &Page) -> Result<String, VisitError> {
    let url = format!("http://{address}{}", page.path);
    let answer = match page.method {
        Method::Get => agent.get(url).call(),
        Method::Post => agent.post(url).send_empty(),
    };
    let failed = |source| VisitError::Request { page: page.route(), source };
    let mut answer = answer.map_err(failed)?;
    let body = answer.body_mut().read_to_string().map_err(failed)?;
    match answer.status().as_u16() {
        200 => Ok(body),
        status => Err(VisitError::Status { page: page.route(), status, body }),
    }
}
