//! Frames that wait to be written, and the HTTP body that writes them.
//!
//! Nothing is delayed: the connection takes what is there whenever it can write, all of it (up to a
//! bound) as one chunk. So an idle link writes a frame at once, and a busy one writes many together.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame as HttpFrame};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::frame::{Frame, Kind};
use super::limits::{CHUNK_BYTES_MAX, PIECE_COST_BYTES, SMALL_FRAMES_MAX};
use super::state::CallState;

/// The link takes no more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// Room for a message's piece among what waits.
#[derive(Debug)]
pub(super) struct Reserved(usize);

/// Frames that wait to be written.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    /// Bytes that have room.
    room: Semaphore,
    /// Fires when the other side takes nothing of what it makes us say.
    stuck: CancellationToken,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Waiting>,
    small: usize,
    state: State,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Waiting {
    kind: Kind,
    reserved: usize,
    /// The request that it is of, and whether it is its last frame.
    request: Option<(Arc<CallState>, bool)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// What waits is written, then it ends.
    Finishing,
    Closed,
}

impl Outbox {
    /// One that holds so many bytes of messages.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            queue: Mutex::default(),
            room: Semaphore::new(bytes_max.min(Semaphore::MAX_PERMITS)),
            stuck: CancellationToken::new(),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        change(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for room for a piece of so many bytes, first come, first served.
    pub async fn reserve(&self, bytes: usize) -> Result<Reserved, Closed> {
        let bytes = bytes + PIECE_COST_BYTES;
        let permits = u32::try_from(bytes).map_err(|_| Closed)?;
        self.room.acquire_many(permits).await.map_err(|_| Closed)?.forget();
        Ok(Reserved(bytes))
    }

    /// Puts in a frame with a piece. Closed: it will not be written.
    pub fn push(&self, kind: Kind, reserved: Reserved) -> Result<(), Closed> {
        self.put(Waiting { kind, reserved: reserved.0, request: None })
    }

    /// The same for a frame of a request, which may be withdrawn while it waits.
    pub fn push_request(
        &self,
        kind: Kind,
        reserved: Reserved,
        call: &Arc<CallState>,
        last: bool,
    ) -> Result<(), Closed> {
        self.put(Waiting { kind, reserved: reserved.0, request: Some((Arc::clone(call), last)) })
    }

    /// Puts in a small frame, which needs no room.
    pub fn push_small(&self, kind: Kind) {
        // If it is closed, nobody waits for it.
        let _ = self.put(Waiting { kind, reserved: 0, request: None });
    }

    fn put(&self, waiting: Waiting) -> Result<(), Closed> {
        let put = self.with(|queue| {
            if queue.state != State::Open {
                return Err(Closed);
            }
            if waiting.reserved == 0 {
                queue.small += 1;
                if queue.small > SMALL_FRAMES_MAX {
                    self.stuck.cancel();
                    return Err(Closed);
                }
            }
            queue.frames.push_back(waiting);
            Ok(queue.writer.take())
        });
        put.map(wake)
    }

    /// Fires when the other side takes nothing any more.
    pub async fn stuck(&self) {
        self.stuck.cancelled().await;
    }

    /// Takes no more; what waits is written.
    pub fn finish(&self) {
        self.stop(State::Finishing);
    }

    /// Takes no more, and throws away what waits.
    pub fn close(&self) {
        self.stop(State::Closed);
    }

    fn stop(&self, state: State) {
        self.room.close();
        let (frames, writer) = self.with(|queue| {
            let closed = state == State::Closed;
            if closed || queue.state == State::Open {
                queue.state = state;
            }
            (closed.then(|| std::mem::take(&mut queue.frames)), queue.writer.take())
        });
        drop(frames);
        wake(writer);
    }

    /// Takes frames for one chunk.
    fn poll_take(&self, context: &mut Context<'_>, to: &mut Vec<Waiting>) -> Poll<()> {
        self.with(|queue| {
            if queue.frames.is_empty() && queue.state == State::Open {
                queue.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            let mut bytes = 0;
            while bytes < CHUNK_BYTES_MAX {
                let Some(waiting) = queue.frames.pop_front() else { break };
                bytes += waiting.reserved.max(PIECE_COST_BYTES);
                queue.small -= usize::from(waiting.reserved == 0);
                to.push(waiting);
            }
            Poll::Ready(())
        })
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The HTTP body that writes an outbox; without one it is empty.
#[derive(Debug, Default)]
pub struct PeerBody {
    outbox: Option<Arc<Outbox>>,
    taken: Vec<Waiting>,
}

impl PeerBody {
    pub(super) fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox: Some(outbox), taken: Vec::new() }
    }

    /// Writes the frames that were taken, but for withdrawn ones.
    fn write(&mut self, outbox: &Outbox) -> Bytes {
        let bytes: usize =
            self.taken.iter().map(|waiting| waiting.kind.body_bytes() + PIECE_COST_BYTES).sum();
        let mut chunk = BytesMut::with_capacity(bytes);
        let mut freed = 0;
        for Waiting { kind, reserved, request } in self.taken.drain(..) {
            freed += reserved;
            if request.is_none_or(|(call, last)| call.submit(last)) {
                Frame::write(kind, &mut chunk);
            }
        }
        outbox.room.add_permits(freed);
        chunk.freeze()
    }
}

impl Body for PeerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<HttpFrame<Bytes>, Infallible>>> {
        let Some(outbox) = self.outbox.clone() else { return Poll::Ready(None) };
        loop {
            let this = &mut *self;
            std::task::ready!(outbox.poll_take(context, &mut this.taken));
            if this.taken.is_empty() {
                this.outbox = None;
                return Poll::Ready(None);
            }
            let chunk = this.write(&outbox);
            if !chunk.is_empty() {
                return Poll::Ready(Some(Ok(HttpFrame::data(chunk))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.outbox.is_none()
    }
}

/// Whoever waits for room hears that there is no writer any more.
impl Drop for PeerBody {
    fn drop(&mut self) {
        if let Some(outbox) = self.outbox.take() {
            outbox.close();
        }
    }
}
