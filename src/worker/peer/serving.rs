//! One link, at the worker that is called: its calls, each in a task of its own.

use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::PeerSettings;
use super::call::{CallReceiver, End, ServerCall, TOO_LATE, too_long};
use super::error::CallError;
use super::frame::{Failure, GoAway, Kind, Open};
use super::limits::{DEADLINE_MAX, DRAIN, MESSAGE_BYTES_MAX, RETRY_AFTER};
use super::outbox::Outbox;
use super::reader::{ReadError, Reader};
use super::state::{CallState, Piece, Violation};
use crate::coordination::WorkerId;
use crate::worker::RequestError;

/// What a worker does for others.
#[async_trait]
pub trait PeerService: Send + Sync + 'static {
    /// Serves one call with its first message. It is dropped when the caller stops waiting, at its
    /// deadline, and when the link breaks; what must not be left half done belongs in a task.
    async fn serve(&self, from: WorkerId, kind: u32, message: Bytes, call: ServerCall);
}

/// What all links of a server share.
pub(super) struct Serving {
    pub service: Arc<dyn PeerService>,
    pub settings: PeerSettings,
    /// Bytes of requests that have room.
    pub room: Arc<Semaphore>,
}

/// A link from another worker.
pub(super) struct ServerLink {
    from: WorkerId,
    serving: Arc<Serving>,
    outbox: Arc<Outbox>,
    calls: Mutex<Calls>,
    /// Calls that are being served.
    busy: watch::Sender<usize>,
}

#[derive(Default)]
struct Calls {
    by_number: HashMap<u64, Arc<CallState>>,
    last: u64,
    closed: bool,
}

impl ServerLink {
    pub fn new(from: WorkerId, serving: Arc<Serving>, outbox: Arc<Outbox>) -> Arc<Self> {
        let busy = watch::Sender::new(0);
        Arc::new(Self { from, serving, outbox, calls: Mutex::default(), busy })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Calls) -> T) -> T {
        change(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves calls until the link ends or `shutdown` fires; then calls that are being served get a
    /// bounded time. Answers why it has ended.
    pub async fn run(self: &Arc<Self>, mut reader: Reader, shutdown: &CancellationToken) -> String {
        // Its connection may end first, and then this is dropped.
        let _ends = Ends(self);
        let why = tokio::select! {
            error = self.read(&mut reader) => error.to_string(),
            () = self.outbox.stuck() => "the other side takes nothing any more".to_owned(),
            () = shutdown.cancelled() => {
                self.with(|calls| calls.closed = true);
                self.outbox.push_small(Kind::GoAway(GoAway {}));
                let mut busy = self.busy.subscribe();
                let drained = async {
                    tokio::select! {
                        _ = busy.wait_for(|calls| *calls == 0) => {}
                        _ = self.read(&mut reader) => {}
                    }
                };
                let _ = timeout(DRAIN, drained).await;
                "this worker ends".to_owned()
            }
        };
        self.end(&why);
        why
    }

    async fn read(self: &Arc<Self>, reader: &mut Reader) -> ReadError {
        loop {
            let taken = reader.next().await.and_then(|kind| self.take(kind).map_err(ReadError::from));
            if let Err(error) = taken {
                return error;
            }
        }
    }

    /// All calls are over. What waits to be written is still written.
    fn end(&self, why: &str) {
        let calls = self.with(|calls| {
            calls.closed = true;
            std::mem::take(&mut calls.by_number)
        });
        for call in calls.into_values() {
            let error = CallError::unknown(format!("the link has ended: {why}"));
            self.fail(call.number, error.clone());
            call.fail(error);
        }
        self.outbox.finish();
    }

    fn fail(&self, call: u64, error: CallError) {
        self.outbox.push_small(Kind::Failure(Failure::new(call, error)));
    }

    /// Takes a frame.
    fn take(self: &Arc<Self>, kind: Kind) -> Result<(), Violation> {
        let get = |number| self.with(|calls| calls.by_number.get(&number).cloned());
        // Frames of calls that are over here may still come.
        match kind {
            Kind::Open(open) => self.open(open),
            Kind::Data(data) => get(data.call).map_or(Ok(()), |call| call.take(data)),
            Kind::Credit(credit) => get(credit.call).map_or(Ok(()), |call| call.add_credit(credit.bytes)),
            Kind::Cancel(cancel) => {
                if let Some(call) = self.with(|calls| calls.by_number.remove(&cancel.call)) {
                    call.refuse(CallError::unknown("the caller has given the call up"));
                }
                Ok(())
            }
            _ => Err(Violation("a frame that a client does not send")),
        }
    }

    fn open(self: &Arc<Self>, open: Open) -> Result<(), Violation> {
        let message_bytes = usize::try_from(open.message_bytes).unwrap_or(usize::MAX);
        let room = match self.admit(&open, message_bytes)? {
            Ok(room) => room,
            Err(error) => {
                self.fail(open.call, error);
                return Ok(());
            }
        };
        let state = Arc::new(CallState::arrived(open.call, message_bytes));
        state.arrive(Some(Piece { body: open.body, more: open.more }), open.end)?;
        self.with(|calls| calls.by_number.insert(open.call, Arc::clone(&state)));
        self.busy.send_modify(|calls| *calls += 1);
        let time = Duration::from_millis(open.deadline_ms).min(DEADLINE_MAX);
        let end = End {
            state: Arc::clone(&state),
            outbox: Arc::clone(&self.outbox),
            deadline: Instant::now() + time,
            place: None,
        };
        let served = Served { link: Arc::clone(self), state, _room: room };
        tokio::spawn(async move { served.serve(open.kind, Arc::new(end)).await });
        Ok(())
    }

    /// Whether there is room for a call; its share of that for messages.
    fn admit(
        &self,
        open: &Open,
        message_bytes: usize,
    ) -> Result<Result<OwnedSemaphorePermit, CallError>, Violation> {
        let Serving { settings, room, .. } = &*self.serving;
        let (closed, calls) = self.with(|calls| {
            if open.call <= calls.last {
                return Err(Violation("a call's number is not higher than that of the one before"));
            }
            calls.last = open.call;
            Ok((calls.closed, calls.by_number.len()))
        })?;
        let overloaded = |message| CallError::NotSent { message, retry_after: RETRY_AFTER };
        if closed {
            return Ok(Err(CallError::not_sent("that worker is about to end")));
        }
        if message_bytes > MESSAGE_BYTES_MAX {
            let error = RequestError::Invalid { field: None, message: too_long(message_bytes) };
            return Ok(Err(CallError::Refused(error)));
        }
        if calls >= settings.calls_max {
            return Ok(Err(overloaded(format!(
                "{calls} calls of one worker are being served, which is the most"
            ))));
        }
        let permits = u32::try_from(message_bytes).unwrap_or(u32::MAX);
        Ok(Arc::clone(room).try_acquire_many_owned(permits).map_err(|_| {
            let most = settings.served_bytes_max;
            overloaded(format!("requests of {most} bytes are being served, which is the most"))
        }))
    }
}

/// Ends a link when it is dropped, if it has not ended before.
struct Ends<'a>(&'a ServerLink);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.end("its connection has broken");
    }
}

/// A call that is being served.
struct Served {
    link: Arc<ServerLink>,
    state: Arc<CallState>,
    _room: OwnedSemaphorePermit,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.link.with(|calls| calls.by_number.remove(&self.state.number));
        self.link.busy.send_modify(|calls| *calls -= 1);
    }
}

impl Served {
    async fn serve(&self, kind: u32, end: Arc<End>) {
        let deadline = end.deadline;
        let work = async {
            let mut receiver = CallReceiver::new(Arc::clone(&end));
            let message = match receiver.recv().await {
                Some(Ok(message)) => message,
                // Given up before it was whole: nobody waits for an answer.
                Some(Err(_)) | None => return,
            };
            let link = &self.link;
            let call = ServerCall::new(end, receiver);
            let served = link.serving.service.serve(Arc::clone(&link.from), kind, message, call);
            if AssertUnwindSafe(served).catch_unwind().await.is_err() {
                tracing::error!(kind, from = %link.from, "serving a call of another worker panicked");
            }
        };
        let too_late = async {
            sleep_until(deadline).await;
            // Before the service is dropped, which tells the caller.
            self.state.break_off(TOO_LATE);
        };
        tokio::select! {
            () = work => {}
            () = poll_fn(|context| self.state.poll_failed(context)) => {}
            () = too_late => {}
        }
    }
}
