//! One link, at the worker that calls: its calls, and the task that reads the answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::call::{Call, End, TOO_LATE, too_long};
use super::error::CallError;
use super::frame::{Cancel, Data, Kind, Open};
use super::limits::{MESSAGE_BYTES_MAX, PIECE_BYTES_MAX, RETRY_AFTER};
use super::outbox::Outbox;
use super::reader::{ReadError, Reader};
use super::state::{CallState, Piece, Violation};

/// A link to another worker.
#[derive(Debug)]
pub(super) struct ClientLink {
    outbox: Arc<Outbox>,
    /// What people are told of the other side.
    name: Arc<str>,
    calls: Mutex<Calls>,
    places: Arc<Semaphore>,
    calls_max: usize,
}

#[derive(Debug)]
struct Calls {
    by_number: HashMap<u64, Arc<CallState>>,
    last: u64,
    /// New calls need another link.
    closed: bool,
    used: Instant,
}

/// Why a call was not opened at a link.
#[derive(Debug)]
pub(super) enum OpenError {
    /// It takes no more calls: another link may.
    Closed,
    Failed(CallError),
}

/// A call's place at its link. Dropped, the call is over: cancelled, if it was not ended.
#[derive(Debug)]
pub(super) struct Place {
    link: Arc<ClientLink>,
    state: Arc<CallState>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let number = self.state.number;
        self.link.with(|calls| {
            calls.by_number.remove(&number);
            calls.used = Instant::now();
        });
        if !self.state.is_ended() {
            // It may wait to be written still: then it is not.
            self.state.break_off("the call was given up here");
            self.link.outbox.push_small(Kind::Cancel(Cancel { call: number }));
        }
    }
}

impl ClientLink {
    pub fn new(outbox: Arc<Outbox>, name: Arc<str>, calls_max: usize) -> Self {
        let calls = Calls { by_number: HashMap::new(), last: 0, closed: false, used: Instant::now() };
        let places = Arc::new(Semaphore::new(calls_max.min(Semaphore::MAX_PERMITS)));
        Self { outbox, name, calls: Mutex::new(calls), places, calls_max }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Calls) -> T) -> T {
        change(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// New calls are taken.
    pub fn is_open(&self) -> bool {
        self.with(|calls| !calls.closed)
    }

    /// Opens a call with its first message, which is on its way or queued when this returns.
    pub async fn open(
        self: &Arc<Self>,
        kind: u32,
        message: Bytes,
        end: bool,
        deadline: Instant,
    ) -> Result<Call, OpenError> {
        let message_bytes = message.len();
        if message_bytes > MESSAGE_BYTES_MAX {
            return Err(OpenError::Failed(CallError::not_sent(too_long(message_bytes))));
        }
        let place = Arc::clone(&self.places).acquire_owned();
        let permit = match timeout_at(deadline, place).await {
            Ok(permit) => permit.map_err(|_| OpenError::Closed)?,
            Err(_) => return Err(self.overloaded(format!("{} calls are", self.calls_max))),
        };
        let mut rest = message;
        let body = rest.split_to(message_bytes.min(PIECE_BYTES_MAX));
        let Ok(reserved) = timeout_at(deadline, self.outbox.reserve(body.len())).await else {
            return Err(self.overloaded("as many bytes as may wait are".to_owned()));
        };
        let reserved = reserved.map_err(|_| OpenError::Closed)?;
        let more = !rest.is_empty();
        // Numbers go out in their order.
        let state = self.with(|calls| {
            if calls.closed {
                return Err(OpenError::Closed);
            }
            calls.last += 1;
            let state = Arc::new(CallState::made(calls.last));
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(OpenError::Failed(CallError::not_sent(TOO_LATE)));
            }
            let open = Open {
                call: calls.last,
                kind,
                deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
                message_bytes: message_bytes as u64,
                body,
                more,
                end: end && !more,
            };
            let pushed = self.outbox.push_request(Kind::Open(open), reserved, &state, !more);
            pushed.map_err(|_| OpenError::Closed)?;
            calls.by_number.insert(calls.last, Arc::clone(&state));
            Ok(state)
        })?;
        let place = Place { link: Arc::clone(self), state: Arc::clone(&state), _permit: permit };
        let call_end = End { state, outbox: Arc::clone(&self.outbox), deadline, place: Some(place) };
        if more {
            match timeout_at(deadline, self.put_rest(&call_end.state, rest, end)).await {
                Ok(put) => put.map_err(OpenError::Failed)?,
                Err(_) => return Err(OpenError::Failed(call_end.too_late())),
            }
        }
        Ok(Call::new(call_end, end))
    }

    /// The pieces of a first message after the one in the open frame.
    async fn put_rest(&self, state: &Arc<CallState>, mut rest: Bytes, end: bool) -> Result<(), CallError> {
        while !rest.is_empty() {
            if let Some(error) = state.error() {
                return Err(error);
            }
            let body = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
            let more = !rest.is_empty();
            let reserved = self.outbox.reserve(body.len()).await;
            let data = Data { call: state.number, body, more, end: end && !more, empty: false };
            let pushed = reserved
                .and_then(|reserved| self.outbox.push_request(Kind::Data(data), reserved, state, !more));
            if pushed.is_err() {
                return Err(state.break_off(&format!("the link to {} has broken", self.name)));
            }
        }
        Ok(())
    }

    fn overloaded(&self, what: String) -> OpenError {
        let message = format!("{what} on their way to {} already", self.name);
        OpenError::Failed(CallError::NotSent { message, retry_after: RETRY_AFTER })
    }

    /// Reads answers until the link ends, which it does by itself if nobody has called for so long.
    /// Answers why.
    pub async fn run(&self, mut reader: Reader, idle: Duration) -> String {
        let mut stuck = std::pin::pin!(self.outbox.stuck());
        let mut look = tokio::time::interval(idle.max(Duration::from_millis(4)) / 4);
        let why = loop {
            tokio::select! {
                kind = reader.next() => {
                    let taken = kind.and_then(|kind| self.take(kind).map_err(ReadError::from));
                    if let Err(error) = taken {
                        break error.to_string();
                    }
                }
                () = &mut stuck => break "the other side takes nothing any more".to_owned(),
                _ = look.tick() => if self.is_spent(idle) {
                    break "nobody used it".to_owned();
                },
            }
        };
        self.end(&format!("the link to {} has ended: {why}", self.name));
        why
    }

    /// Takes a frame.
    fn take(&self, kind: Kind) -> Result<(), Violation> {
        let (number, kind) = match kind {
            Kind::GoAway(_) => {
                self.with(|calls| calls.closed = true);
                return Ok(());
            }
            Kind::Data(data) => (data.call, Kind::Data(data)),
            Kind::Credit(credit) => (credit.call, Kind::Credit(credit)),
            Kind::Failure(failure) => (failure.call, Kind::Failure(failure)),
            _ => return Err(Violation("a frame that a server does not send")),
        };
        // Answers to calls that were given up may still come.
        let Some(call) = self.with(|calls| calls.by_number.get(&number).cloned()) else { return Ok(()) };
        match kind {
            Kind::Data(data) => call.take(data),
            Kind::Credit(credit) => call.add_credit(credit.bytes),
            Kind::Failure(failure) => {
                call.refuse(failure.into());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether it is of no more use: nobody has called for so long, or it takes no calls and has none.
    fn is_spent(&self, idle: Duration) -> bool {
        self.with(|calls| {
            let spent = calls.by_number.is_empty() && (calls.closed || calls.used.elapsed() >= idle);
            calls.closed |= spent;
            spent
        })
    }

    /// Ends the link and all its calls.
    pub fn end(&self, why: &str) {
        // In this order: nothing is written any more when it is said what was.
        self.outbox.close();
        self.places.close();
        let calls = self.with(|calls| {
            calls.closed = true;
            std::mem::take(&mut calls.by_number)
        });
        for call in calls.into_values() {
            call.break_off(why);
        }
    }
}

impl CallState {
    /// Takes a frame with a piece, or with the end.
    pub(super) fn take(&self, data: Data) -> Result<(), Violation> {
        let Data { body, more, end, empty, .. } = data;
        self.arrive((!empty).then_some(Piece { body, more }), end)
    }
}
