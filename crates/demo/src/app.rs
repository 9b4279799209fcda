//! The HTTP side: one axum route per page, on a free port of 127.0.0.1.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::content::{self, Request};
use crate::page::{Method, Page};
use crate::pool::Pool;
use crate::statement::Trace;

/// The application could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The URL is not one.
    #[error("not a connection URL of PostgreSQL")]
    DatabaseUrl(#[source] tokio_postgres::Error),
    /// No port to listen on.
    #[error("can't listen on 127.0.0.1")]
    Listen(#[source] io::Error),
}

/// The running application. It ends when this is dropped; [`App::stop`] also waits for it.
pub struct App {
    address: SocketAddr,
    pool: Arc<Pool>,
    // Its end, however it comes, ends the server.
    until: oneshot::Sender<()>,
    server: JoinHandle<io::Result<()>>,
}

impl App {
    /// Serves the pages with the database at `database_url`, to which it connects with the first request.
    ///
    /// # Errors
    ///
    /// When the URL can't be read or there is no port to listen on.
    pub async fn start(database_url: &str) -> Result<Self, AppError> {
        let pool = Arc::new(Pool::new(database_url).map_err(AppError::DatabaseUrl)?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(AppError::Listen)?;
        let address = listener.local_addr().map_err(AppError::Listen)?;
        let (until, end) = oneshot::channel();
        let serve = axum::serve(listener, router(&pool)).with_graceful_shutdown(async {
            // Both a message and a dropped sender mean the end.
            let _ = end.await;
        });
        let server = tokio::spawn(serve.into_future());
        Ok(Self { address, pool, until, server })
    }

    /// Where the pages are.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the application: requests first, then its connections to the database.
    pub async fn stop(self) {
        drop(self.until);
        // The server runs until told; an error while stopping changes nothing any more.
        let _ = self.server.await;
        self.pool.close().await;
    }
}

fn router(pool: &Arc<Pool>) -> Router {
    let mut router = Router::new().route("/", get(async || Html(index())));
    for page in Page::ALL {
        let filter = match page.method {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
        };
        let pool = Arc::clone(pool);
        router = router.route(page.path, on(filter, move || answer(pool, page)));
    }
    router
}

/// Links to what a browser can request.
fn index() -> String {
    let readable = Page::ALL.iter().filter(|page| page.method == Method::Get);
    let links: String = readable.map(|page| format!("<li><a href=\"{0}\">{0}</a></li>", page.path)).collect();
    format!(
        "<!doctype html><title>pgtally demo</title><h1>Sample application of pgtally</h1><ul>{links}</ul>"
    )
}

async fn answer(pool: Arc<Pool>, page: &'static Page) -> Response {
    match content_of(&pool, page).await {
        Ok(content) => Json(content).into_response(),
        Err(error) => {
            let cause = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
            (StatusCode::INTERNAL_SERVER_ERROR, cause).into_response()
        }
    }
}

async fn content_of(pool: &Pool, page: &Page) -> Result<serde_json::Value, tokio_postgres::Error> {
    // The semaphore is never closed.
    let _permit = pool.permits().acquire().await;
    let mut request = Request { client: pool.take().await?, trace: Trace::new(&page.route()) };
    let content = content::of(page.content, &mut request).await?;
    // After an error the state of the connection is unknown: it is given back only here.
    pool.give_back(request.client);
    Ok(content)
}
