//! A connection that is given up if its client takes nothing, and that closes so that its client
//! gets to read the last answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// A client that takes not one byte of an answer for so long is given up.
const TAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// After the last answer, what the client still sends is taken until it sends nothing for so long.
const LINGER: Duration = Duration::from_secs(1);
/// At most for so long.
const LINGER_TOTAL: Duration = Duration::from_secs(10);
/// And at most so much of it.
const LINGER_BYTES_MAX: usize = 64 << 20;

/// A TCP connection with two habits.
///
/// A write that is stuck fails: an answer that nobody reads would otherwise hold its place among
/// the requests in flight for ever. And closing first ends our side only and takes what is still
/// on its way: the system would otherwise reset the connection, and a client in the middle of a
/// large body would see that instead of the answer that refuses it.
pub(super) struct Patient {
    stream: TcpStream,
    /// Was read before.
    read: Bytes,
    stuck: Option<Pin<Box<Sleep>>>,
    linger: Option<Linger>,
}

struct Linger {
    quiet: Pin<Box<Sleep>>,
    end: Instant,
    bytes: usize,
}

impl Linger {
    fn new() -> Self {
        Self { quiet: Box::pin(sleep(LINGER)), end: Instant::now() + LINGER_TOTAL, bytes: 0 }
    }

    fn is_over(&self) -> bool {
        self.bytes >= LINGER_BYTES_MAX || Instant::now() >= self.end
    }
}

impl Patient {
    /// That connection, of which so much was read before.
    pub fn new(stream: TcpStream, read: Bytes) -> Self {
        Self { stream, read, stuck: None, linger: None }
    }

    fn or_stuck<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        ready!(self.stuck.get_or_insert_with(|| Box::pin(sleep(TAKE_TIMEOUT))).as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read.is_empty() {
            let length = self.read.len().min(buffer.remaining());
            buffer.put_slice(&self.read[..length]);
            self.read.advance(length);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.or_stuck(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.or_stuck(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, linger, .. } = &mut *self;
        if linger.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
        }
        let linger = linger.get_or_insert_with(Linger::new);
        let mut thrown_away = [0u8; 16 << 10];
        while !linger.is_over() {
            let mut buffer = ReadBuf::new(&mut thrown_away);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    linger.bytes += buffer.filled().len();
                    linger.quiet.as_mut().reset(Instant::now() + LINGER);
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(linger.quiet.as_mut().poll(context));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
