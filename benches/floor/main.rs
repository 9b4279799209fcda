//! The floor: a relay that reads and writes and does nothing else. What a proxy in tokio costs at least.
//!
//! `floor LISTEN UPSTREAM`, both HOST:PORT. One thread, one scratch buffer, one task per session, as pgtally's relay
//! has it; no startup, no observer, no metrics, and no care for a peer that closes only one direction.
//! Part of the benchmark only.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

const SCRATCH_BYTES: usize = 64 * 1024;

type Scratch = Rc<RefCell<Vec<u8>>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream] = arguments.as_slice() else {
        eprintln!("usage: floor LISTEN UPSTREAM");
        return ExitCode::from(2);
    };
    match run(listen, upstream) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(listen: &str, upstream: &str) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, accept(listen, upstream.to_owned()))
}

async fn accept(listen: &str, upstream: String) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let scratch: Scratch = Rc::new(RefCell::new(vec![0; SCRATCH_BYTES]));
    loop {
        let (client, _) = listener.accept().await?;
        let (upstream, scratch) = (upstream.clone(), Rc::clone(&scratch));
        tokio::task::spawn_local(async move {
            // A session that breaks is the client's to notice.
            let _ = session(client, &upstream, &scratch).await;
        });
    }
}

async fn session(mut client: TcpStream, upstream: &str, scratch: &Scratch) -> io::Result<()> {
    let mut upstream = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (mut to_upstream, mut to_client) = (Vec::new(), Vec::new());
    poll_fn(|cx| {
        let scratch = &mut *scratch.borrow_mut();
        if let Poll::Ready(end) = poll_direction(&mut client, &mut upstream, &mut to_upstream, scratch, cx) {
            return Poll::Ready(end);
        }
        poll_direction(&mut upstream, &mut client, &mut to_client, scratch, cx)
    })
    .await
}

/// Moves chunks until a socket makes it wait; ready when one closes. `owed` is what the writer has not taken yet.
fn poll_direction(
    reader: &mut TcpStream,
    writer: &mut TcpStream,
    owed: &mut Vec<u8>,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    loop {
        while !owed.is_empty() {
            let written = ready!(Pin::new(&mut *writer).poll_write(cx, owed))?;
            owed.drain(..written);
        }
        let mut buf = ReadBuf::new(scratch);
        ready!(Pin::new(&mut *reader).poll_read(cx, &mut buf))?;
        let chunk = buf.filled();
        if chunk.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let written = match Pin::new(&mut *writer).poll_write(cx, chunk) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        owed.extend_from_slice(chunk.get(written..).unwrap_or_default());
    }
}
