//! The profile: every part of the page asks for the same settings.

use serde_json::{Value, json};
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

use super::Request;

const USER: i32 = 1042;

pub(super) async fn profile(request: &Request) -> Result<Value, Error> {
    // Header, menu, body and footer.
    for _ in 0..3 {
        settings(request).await?;
    }
    profile_fixed(request).await
}

pub(super) async fn profile_fixed(request: &Request) -> Result<Value, Error> {
    let settings = settings(request).await?;
    let [theme, locale] =
        ["theme", "locale"].map(|column| settings.as_ref().map(|row| row.get::<_, &str>(column)));
    Ok(json!({ "user": USER, "theme": theme, "locale": locale }))
}

async fn settings(request: &Request) -> Result<Option<Row>, Error> {
    request.row("SELECT theme, locale FROM settings WHERE user_id = $1", &[(&USER, Type::INT4)]).await
}
