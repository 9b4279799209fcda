//! What the demo shows of the cache: a page asked for again and again, a write in between, and the page again.

use std::time::Duration;

use anyhow::Context;
use pgtally_demo::{App, Page};
use tokio::time::{Instant, sleep};

use crate::proxy::Running;

const CATALOGUE: &str = "/catalogue";
const REPRICE: &str = "/catalogue/reprice";
/// Requests of the page before the write.
const REQUESTS: usize = 20;
/// The definitions of the database have to be read before the first answer is kept.
const KEPT_WITHIN: Duration = Duration::from_secs(10);

/// Asks for the catalogue, changes it, and says in two lines what came from the cache. Whether it was as promised.
pub(super) async fn show(app: &App, proxy: &Running) -> anyhow::Result<bool> {
    let [catalogue, reprice] =
        [CATALOGUE, REPRICE].map(|path| Page::ALL.iter().find(|page| page.path == path));
    let (catalogue, reprice) =
        (catalogue.context("no page of the catalogue")?, reprice.context("no page that changes it")?);
    let address = app.address();
    let started = Instant::now();
    let mut before = pgtally_demo::request(address, catalogue).await?;
    while saved(proxy).0 == 0 && started.elapsed() < KEPT_WITHIN {
        sleep(Duration::from_millis(50)).await;
        before = pgtally_demo::request(address, catalogue).await?;
    }
    let (hits_before, saved_before) = saved(proxy);
    for _ in 0..REQUESTS {
        pgtally_demo::request(address, catalogue).await?;
    }
    let (hits, saved_ms) = saved(proxy);
    let (hits, saved_ms) = (hits - hits_before, saved_ms - saved_before);
    println!(
        "catalogue: {hits} of {REQUESTS} requests answered from the cache, {saved_ms:.0} ms of database time saved"
    );
    pgtally_demo::request(address, reprice).await?;
    let is_seen = pgtally_demo::request(address, catalogue).await? != before;
    let what = if is_seen { "the next request shows it" } else { "NOT SEEN by the next request" };
    println!("           then a price changes, and {what}\n");
    Ok(is_seen && hits > 0)
}

/// Answers from the cache for the catalogue, and the milliseconds that they saved.
fn saved(proxy: &Running) -> (u64, f64) {
    let tags = proxy.cache().map(|cache| cache.tags).unwrap_or_default();
    let catalogue = tags.iter().find(|tag| tag.tag == "catalogue");
    catalogue.map_or((0, 0.0), |tag| (tag.hits, tag.saved_ms))
}
