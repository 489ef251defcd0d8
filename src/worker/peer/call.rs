//! The ends of a call that its maker and its server hold.
//!
//! Messages go both ways at once, whole, in order. A reader that is slow stops its sender after a
//! window (512 KiB unread), and nobody else: the link itself always reads.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use super::client::Place;
use super::error::CallError;
use super::frame::{Cancel, Credit, Data, Failure, Kind};
use super::limits::{MESSAGE_BYTES_MAX, PIECE_BYTES_MAX};
use super::outbox::Outbox;
use super::state::CallState;
use crate::worker::RequestError;

/// Why a call has ended at its deadline.
pub(super) const TOO_LATE: &str = "the call's time is over";

/// What both halves of one end share.
#[derive(Debug)]
pub(super) struct End {
    pub state: Arc<CallState>,
    pub outbox: Arc<Outbox>,
    pub deadline: Instant,
    /// At the maker's end: its place at the link.
    pub place: Option<Place>,
}

impl End {
    fn number(&self) -> u64 {
        self.state.number
    }

    /// The time is over: what that means for the call.
    pub fn too_late(&self) -> CallError {
        self.state.break_off(TOO_LATE)
    }
}

/// Sends messages. Dropped before [`CallSender::end`], it gives the call up.
#[derive(Debug)]
pub struct CallSender {
    end: Arc<End>,
    ended: bool,
}

impl CallSender {
    pub(super) fn new(end: Arc<End>, ended: bool) -> Self {
        Self { end, ended }
    }

    /// Sends a message; waits while the other side has too much unread.
    pub async fn send(&mut self, message: Bytes) -> Result<(), CallError> {
        self.put(message, false).await
    }

    /// Sends the last message.
    pub async fn send_last(&mut self, message: Bytes) -> Result<(), CallError> {
        self.put(message, true).await
    }

    /// There are no more messages.
    pub fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            let data = Data { call: self.end.number(), end: true, empty: true, ..Data::default() };
            self.end.outbox.push_small(Kind::Data(data));
        }
    }

    async fn put(&mut self, message: Bytes, last: bool) -> Result<(), CallError> {
        if self.ended {
            return Err(CallError::not_sent("the call was ended before"));
        }
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(CallError::not_sent(too_long(message.len())));
        }
        let end = Arc::clone(&self.end);
        match timeout_at(end.deadline, put_pieces(&end, message, last)).await {
            Ok(put) => put?,
            Err(_) => return Err(end.too_late()),
        }
        self.ended = last;
        Ok(())
    }
}

async fn put_pieces(end: &End, mut message: Bytes, last: bool) -> Result<(), CallError> {
    loop {
        let body = message.split_to(message.len().min(PIECE_BYTES_MAX));
        let more = !message.is_empty();
        poll_fn(|context| end.state.poll_credit(context, body.len())).await?;
        let reserved = end.outbox.reserve(body.len()).await;
        let data = Data { call: end.number(), body, more, end: last && !more, empty: false };
        let pushed = reserved.and_then(|reserved| end.outbox.push(Kind::Data(data), reserved));
        if pushed.is_err() {
            return Err(end.state.break_off("the link has broken"));
        }
        if !more {
            return Ok(());
        }
    }
}

impl Drop for CallSender {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let call = self.end.number();
        let maker = self.end.place.is_some();
        let why = if maker { "the call was given up here" } else { "the call was given up by its server" };
        let error = self.end.state.fail(CallError::unknown(why));
        self.end.outbox.push_small(match maker {
            true => Kind::Cancel(Cancel { call }),
            false => Kind::Failure(Failure::new(call, error)),
        });
    }
}

/// Receives messages.
#[derive(Debug)]
pub struct CallReceiver {
    end: Arc<End>,
    partial: BytesMut,
}

impl CallReceiver {
    pub(super) fn new(end: Arc<End>) -> Self {
        Self { end, partial: BytesMut::new() }
    }

    /// The next message; none after the last one. Nothing is lost if this is dropped while it waits.
    pub async fn recv(&mut self) -> Option<Result<Bytes, CallError>> {
        let end = Arc::clone(&self.end);
        match timeout_at(end.deadline, self.message()).await {
            Ok(message) => message,
            Err(_) => Some(Err(end.too_late())),
        }
    }

    async fn message(&mut self) -> Option<Result<Bytes, CallError>> {
        loop {
            let (piece, credit) = poll_fn(|context| self.end.state.poll_piece(context)).await;
            if credit > 0 {
                let credit = Credit { call: self.end.number(), bytes: credit as u64 };
                self.end.outbox.push_small(Kind::Credit(credit));
            }
            let piece = match piece? {
                Ok(piece) => piece,
                Err(error) => return Some(Err(error)),
            };
            if !piece.more && self.partial.is_empty() {
                return Some(Ok(piece.body));
            }
            if self.partial.len() + piece.body.len() > MESSAGE_BYTES_MAX {
                let error = CallError::unknown(too_long(self.partial.len() + piece.body.len()));
                return Some(Err(self.end.state.fail(error)));
            }
            self.partial.extend_from_slice(&piece.body);
            if !piece.more {
                return Some(Ok(std::mem::take(&mut self.partial).freeze()));
            }
        }
    }
}

pub(super) fn too_long(bytes: usize) -> String {
    format!("a message between workers of {bytes} bytes, and {MESSAGE_BYTES_MAX} is the most")
}

/// A call, at its maker. Dropped before its end it is cancelled at the other side.
#[derive(Debug)]
pub struct Call {
    sender: CallSender,
    receiver: CallReceiver,
}

impl Call {
    pub(super) fn new(end: End, ended: bool) -> Self {
        let end = Arc::new(end);
        Self { sender: CallSender::new(Arc::clone(&end), ended), receiver: CallReceiver::new(end) }
    }

    /// Sends a message; waits while the other side has too much unread.
    pub async fn send(&mut self, message: Bytes) -> Result<(), CallError> {
        self.sender.send(message).await
    }

    /// There are no more messages from here; those of the other side go on.
    pub fn end(&mut self) {
        self.sender.end();
    }

    /// The next message; none after the last one.
    pub async fn recv(&mut self) -> Option<Result<Bytes, CallError>> {
        self.receiver.recv().await
    }

    /// For sending and receiving at the same time: who sends without reading may wait for ever for
    /// somebody who does the same.
    pub fn split(self) -> (CallSender, CallReceiver) {
        (self.sender, self.receiver)
    }
}

/// A call, at its server. It must be answered, refused or ended: dropped before that it tells the
/// other side that it is not known what was done.
#[derive(Debug)]
pub struct ServerCall {
    end: Arc<End>,
    sender: CallSender,
    receiver: CallReceiver,
    window_is_open: bool,
}

impl ServerCall {
    pub(super) fn new(end: Arc<End>, receiver: CallReceiver) -> Self {
        Self { sender: CallSender::new(Arc::clone(&end), false), receiver, end, window_is_open: false }
    }

    /// When the caller stops waiting. The service's future is dropped then.
    pub fn deadline(&self) -> Instant {
        self.end.deadline
    }

    /// The one answer.
    pub async fn answer(mut self, message: Bytes) {
        // If it can't be sent, nobody waits for it.
        let _ = self.sender.send_last(message).await;
    }

    /// It was not done, and why. Messages that were sent before are read before.
    pub fn refuse(mut self, error: RequestError) {
        self.sender.ended = true;
        let failure = Failure::new(self.end.number(), CallError::Refused(error));
        self.end.outbox.push_small(Kind::Failure(failure));
    }

    /// Sends a message; waits while the other side has too much unread.
    pub async fn send(&mut self, message: Bytes) -> Result<(), CallError> {
        self.sender.send(message).await
    }

    /// There are no more messages.
    pub fn end(mut self) {
        self.sender.end();
    }

    /// The next message after the first; none after the last one.
    pub async fn recv(&mut self) -> Option<Result<Bytes, CallError>> {
        self.open_window();
        self.receiver.recv().await
    }

    /// For sending and receiving at the same time.
    pub fn split(mut self) -> (CallSender, CallReceiver) {
        self.open_window();
        (self.sender, self.receiver)
    }

    fn open_window(&mut self) {
        if !std::mem::replace(&mut self.window_is_open, true)
            && let Some(bytes) = self.end.state.open_window()
        {
            self.end.outbox.push_small(Kind::Credit(Credit { call: self.end.number(), bytes: bytes as u64 }));
        }
    }
}
