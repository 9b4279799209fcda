//! The sample application of the demo: a small web application whose pages have the faults that users report, each
//! with a repaired twin that answers the same.
//!
//! [`seed`] fills an empty database, [`App::start`] serves the pages over HTTP and asks the database through a pool of
//! its own, [`visit`] requests every page, and [`Page::ALL`] says which faults were planted where.
//!
//! Deliberately absent: pgtally. The application knows nothing of the proxy in front of its database, as any other.
//!
//! Read next: `page.rs` for the list of pages, then `content/` for what each one does to the database.

mod app;
mod content;
mod page;
mod pool;
mod seed;
mod statement;
mod visit;

pub use app::{App, AppError};
pub use page::{Fault, Method, Page, Planted};
pub use seed::{READER, SeedError, seed};
pub use visit::{Progress, VisitError, Visits, request, visit};
