//! CancelRequests: forwarded verbatim on an upstream connection of their own.
//!
//! The key in the packet is the upstream's, as clients got it from there; it is neither looked at nor logged. With
//! several upstreams all are told, as nobody remembers whose key it is; those that do not know it do nothing. The
//! client takes the end of its connection for "delivered", so it is closed only after the upstreams closed; those that
//! could not be reached lately are told as well, but nobody waits for them. It goes over the upstream's TLS, however it
//! came: old drivers send it in plain always. Anybody may send one, without a password, so their number is bounded.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::admission::{Admission, Admitted, Limit};
use crate::config::SessionLimits;
use crate::limits::{CANCEL_TIMEOUT, CANCELS_MAX, CANCELS_PER_SOURCE_MAX, DOUBTFUL_CANCELS_MAX};
use crate::live::StartupSetting;
use crate::security::Snapshot;
use crate::socket::Address;
use crate::tls::connect;
use crate::upstreams::Server;

/// CancelRequests that are on their way.
#[derive(Debug)]
pub(crate) struct Cancels {
    counts: Arc<Admission>,
    /// For upstreams that could not be reached lately.
    doubtful: Arc<Semaphore>,
}

impl Default for Cancels {
    fn default() -> Self {
        Self { counts: Arc::default(), doubtful: Arc::new(Semaphore::new(DOUBTFUL_CANCELS_MAX)) }
    }
}

impl Cancels {
    /// Counts one more until the answer is dropped; or says which limit does not allow it.
    pub(crate) fn admit(&self, source: Option<IpAddr>) -> Result<Admitted, Limit> {
        let (total, per_source) = (Some(CANCELS_MAX), Some(CANCELS_PER_SOURCE_MAX));
        self.counts.admit(&SessionLimits { total, per_source, per_user: None }, source)
    }
}

/// Delivers one CancelRequest; true when an upstream took it.
pub(crate) async fn forward(packet: &[u8], setting: &StartupSetting) -> bool {
    let now = setting.clock.now();
    let (doubtful, sound): (Vec<_>, Vec<_>) =
        setting.upstreams.all().iter().partition(|server| server.is_doubtful(now));
    let (awaited, others) = if sound.is_empty() { (doubtful, sound) } else { (sound, doubtful) };
    for server in others {
        // Whose key it is nobody knows, so these are told too, as far as there is room: they are most likely down.
        let Ok(slot) = Arc::clone(&setting.entrance.cancels.doubtful).try_acquire_owned() else { break };
        let delivery = delivery(packet, server, setting);
        tokio::spawn(async move {
            delivery.await;
            drop(slot);
        });
    }
    let mut deliveries = JoinSet::new();
    for server in awaited {
        deliveries.spawn(delivery(packet, server, setting));
    }
    deliveries.join_all().await.contains(&true)
}

/// The delivery to one server; true when it took it.
fn delivery(packet: &[u8], server: &Server, setting: &StartupSetting) -> impl Future<Output = bool> + use<> {
    let (packet, address) = (packet.to_vec(), server.address.clone());
    let (security, connect_timeout) = (Arc::clone(&setting.security), setting.socket.connect_timeout);
    async move {
        let delivery = deliver(&packet, &address, &security, connect_timeout);
        matches!(timeout(CANCEL_TIMEOUT, delivery).await, Ok(Ok(())))
    }
}

async fn deliver(
    packet: &[u8],
    upstream: &Address,
    security: &Snapshot,
    connect_timeout: Duration,
) -> io::Result<()> {
    let leg = timeout(connect_timeout, connect(upstream, security.upstream.as_ref())).await?;
    let mut stream = leg.map_err(io::Error::other)?.stream;
    stream.write_all(packet).await?;
    stream.flush().await?;
    // The server answers nothing. Should it send anything, it may not fill our memory.
    let mut ignored = [0; 64];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}
