//! The order to fill the cache: checks what is asked, and waits for what becomes of it (`cached/warming.rs`).

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::Response;
use pgtally_cache::hot::QUESTIONS_MAX;

use super::{AdminState, answer, failure};
use crate::cached::views::Warming;

pub(super) async fn warm(
    State(state): State<AdminState>,
    order: Result<Json<Warming>, JsonRejection>,
) -> Response {
    let Json(order) = match order {
        Ok(order) => order,
        Err(rejection) => return failure(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    if !(1..=QUESTIONS_MAX).contains(&order.max) {
        return failure(StatusCode::BAD_REQUEST, &format!("max is from 1 to {QUESTIONS_MAX}"));
    }
    let Some(cache) = &state.asker.cache else {
        return failure(StatusCode::CONFLICT, "there is no cache: cache.enabled is off");
    };
    match cache.warm(state.asker.clock, &order.tags, order.max).await {
        Some(warmed) => answer(Some(warmed)),
        None => failure(StatusCode::CONFLICT, "the cache is being warmed already"),
    }
}
