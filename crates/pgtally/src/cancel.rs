//! CancelRequests: forwarded verbatim on an upstream connection of their own.
//!
//! The key in the packet is the upstream's, as clients got it from there; it is neither looked at nor logged. With
//! several upstreams all are told, as nobody remembers whose key it is; those that do not know it do nothing. The
//! client takes the end of its connection for "delivered", so it is closed only after the upstreams closed. It goes over
//! the upstream's TLS, however it came: old drivers send it in plain always.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::limits::CANCEL_TIMEOUT;
use crate::live::StartupSetting;
use crate::security::Snapshot;
use crate::socket::Address;
use crate::tls::connect;

/// Delivers one CancelRequest; true when an upstream took it.
pub(crate) async fn forward(packet: &[u8], setting: &StartupSetting) -> bool {
    let connect_timeout = setting.socket.connect_timeout;
    let mut deliveries = JoinSet::new();
    for server in setting.upstreams.all() {
        let (packet, address) = (packet.to_vec(), server.address.clone());
        let security = Arc::clone(&setting.security);
        let delivery = async move { deliver(&packet, &address, &security, connect_timeout).await };
        deliveries.spawn(async { matches!(timeout(CANCEL_TIMEOUT, delivery).await, Ok(Ok(()))) });
    }
    deliveries.join_all().await.contains(&true)
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
