//! Handlers of the API's lists, and of the live tap.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use pgtally_fingerprint::Fingerprint;
use serde::Deserialize;

use super::{AdminState, answer, failure};
use crate::filter::{Filter, FilterError};
use crate::limits::ROWS_MAX;
use crate::live::Live;
use crate::lookups::{Listing, Order};
use crate::tap::TapStream;

/// What callers may say about a list.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ListQuery {
    #[serde(default)]
    pub(crate) filter: String,
    /// Of lists of requests: only of this route.
    pub(crate) route: Option<String>,
    pub(crate) sort: Option<Order>,
    #[serde(default)]
    pub(crate) offset: usize,
    pub(crate) limit: Option<usize>,
}

impl ListQuery {
    /// The part of a list that is meant.
    ///
    /// # Errors
    /// When the filter is none.
    pub(crate) fn listing(&self) -> Result<Listing, FilterError> {
        Ok(Listing {
            filter: Filter::parse(&self.filter)?,
            route: None,
            order: self.sort,
            offset: self.offset,
            limit: self.limit.unwrap_or(ROWS_MAX).min(ROWS_MAX),
        })
    }
}

type Asked = Result<Query<ListQuery>, QueryRejection>;

/// The listing, or the refusal to be answered.
fn listing(asked: Asked) -> Result<Listing, Box<Response>> {
    let Query(query) =
        asked.map_err(|rejection| Box::new(failure(StatusCode::BAD_REQUEST, &rejection.body_text())))?;
    query.listing().map_err(|error| Box::new(failure(StatusCode::BAD_REQUEST, &error.to_string())))
}

pub(super) async fn findings(State(state): State<AdminState>, asked: Asked) -> Response {
    match listing(asked) {
        Ok(listing) => {
            let mut findings = state.asker.findings().await;
            if let Some(answer) = &mut findings {
                answer.findings.retain(|finding| listing.filter.lets_through(&finding.subject()));
            }
            answer(findings)
        }
        Err(refusal) => *refusal,
    }
}

pub(super) async fn routes(State(state): State<AdminState>, asked: Asked) -> Response {
    match listing(asked) {
        Ok(listing) => answer(state.asker.routes(listing).await),
        Err(refusal) => *refusal,
    }
}

pub(super) async fn sessions(State(state): State<AdminState>, asked: Asked) -> Response {
    match listing(asked) {
        Ok(listing) => answer(Some(state.asker.sessions(&listing).await)),
        Err(refusal) => *refusal,
    }
}

pub(super) async fn statements(State(state): State<AdminState>, asked: Asked) -> Response {
    match listing(asked) {
        Ok(listing) => answer(state.asker.statements(listing).await),
        Err(refusal) => *refusal,
    }
}

pub(super) async fn statement(State(state): State<AdminState>, Path(fingerprint): Path<String>) -> Response {
    let Some(fingerprint) = fingerprint_of(&fingerprint) else {
        return failure(StatusCode::NOT_FOUND, "a fingerprint has 16 hexadecimal digits");
    };
    match state.asker.statement(fingerprint).await {
        Some(None) => failure(StatusCode::NOT_FOUND, "no such statement, or its text is no longer kept"),
        found => answer(found.flatten()),
    }
}

/// Reads 16 hexadecimal digits.
pub(crate) fn fingerprint_of(text: &str) -> Option<Fingerprint> {
    let is_hexadecimal = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hexadecimal.then(|| u64::from_str_radix(text, 16).ok().map(Fingerprint)).flatten()
}

#[derive(Deserialize)]
pub(super) struct TapQuery {
    #[serde(default)]
    filter: String,
    /// Transaction control, settings and pings too.
    #[serde(default)]
    all: bool,
}

/// A listener's stream, which ends when a reload switches the tap off: with its next event, or heartbeat.
struct WhileOn {
    stream: TapStream,
    live: Live,
}

impl Stream for WhileOn {
    type Item = <TapStream as Stream>::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.stream).poll_next(context);
        if next.is_ready() && !self.live.borrow().has_tap { Poll::Ready(None) } else { next }
    }
}

pub(super) async fn tap(
    State(state): State<AdminState>,
    asked: Result<Query<TapQuery>, QueryRejection>,
) -> Response {
    let query = match asked {
        Ok(Query(query)) => query,
        Err(rejection) => return failure(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    if !state.live.borrow().has_tap {
        return failure(StatusCode::FORBIDDEN, "the live tap is switched off: admin.tap");
    }
    let filter = match Filter::parse(&query.filter) {
        Ok(filter) => filter,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match state.asker.tap(filter, query.all).await {
        Some(Some(stream)) => {
            let stream = WhileOn { stream, live: state.live.clone() };
            ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
        }
        Some(None) => failure(StatusCode::SERVICE_UNAVAILABLE, "too many are listening to the tap already"),
        None => failure(StatusCode::SERVICE_UNAVAILABLE, "the aggregator is too busy to answer; try again"),
    }
}
