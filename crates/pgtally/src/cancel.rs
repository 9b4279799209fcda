//! CancelRequests: forwarded verbatim on an upstream connection of their own.
//!
//! The key in the packet is the upstream's, as clients got it from there; it is neither looked at nor logged. The
//! client takes the end of its connection for "delivered", so it is closed only after the upstream closed.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::limits::CANCEL_TIMEOUT;
use crate::socket::{Address, Stream};

/// Delivers one CancelRequest; true when the upstream took it.
pub(crate) async fn forward(packet: &[u8], upstream: &Address, connect_timeout: Duration) -> bool {
    let delivery = async {
        let mut stream = timeout(connect_timeout, Stream::connect(upstream)).await??;
        stream.write_all(packet).await?;
        // The server answers nothing. Should it send anything, it may not fill our memory.
        let mut ignored = [0; 64];
        while stream.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    };
    matches!(timeout(CANCEL_TIMEOUT, delivery).await, Ok(Ok(())))
}
