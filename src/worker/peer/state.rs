//! One call, as both its ends and the link see it: what has arrived, what may be sent, whether it is
//! over. All transitions are here, under one lock, without I/O.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::error::CallError;
use super::limits::{CALL_WINDOW_BYTES, PIECE_BYTES_MAX, PIECE_COST_BYTES};

/// A message, or a piece of one.
#[derive(Debug)]
pub(super) struct Piece {
    pub body: Bytes,
    pub more: bool,
}

/// The other side does not keep to the protocol: its link is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Violation(pub &'static str);

/// A call.
#[derive(Debug)]
pub(super) struct CallState {
    pub number: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Pieces, and what is given back for each once it is read.
    inbox: VecDeque<(Piece, usize)>,
    /// The other side has sent all.
    ended: bool,
    /// The other side has failed it.
    refused: bool,
    /// It is over before its time, and why.
    failed: Option<CallError>,
    /// Bytes that are left of the first message, which needs no credit.
    first_left: Option<usize>,
    /// Bytes that the other side may still send.
    allowance: usize,
    /// Bytes that were read and not yet given back.
    consumed: usize,
    /// Bytes that may be sent.
    credit: usize,
    submission: Submission,
    reader: Option<Waker>,
    writer: Option<Waker>,
    watcher: Option<Waker>,
}

/// How far the request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Submission {
    /// Its last frame waits here: it can't have been served.
    Waiting,
    /// It is on its way.
    Sent,
    /// It was given up while it waited: it is not sent.
    Withdrawn,
}

impl CallState {
    /// A call that is made: an answer is expected.
    pub fn made(number: u64) -> Self {
        Self::new(number, None, CALL_WINDOW_BYTES, 0, Submission::Waiting)
    }

    /// A call that has arrived, whose first message has so many bytes.
    pub fn arrived(number: u64, message_bytes: usize) -> Self {
        Self::new(number, Some(message_bytes), 0, CALL_WINDOW_BYTES, Submission::Sent)
    }

    fn new(
        number: u64,
        first_left: Option<usize>,
        allowance: usize,
        credit: usize,
        submission: Submission,
    ) -> Self {
        let inner = Inner {
            inbox: VecDeque::new(),
            ended: false,
            refused: false,
            failed: None,
            first_left,
            allowance,
            consumed: 0,
            credit,
            submission,
            reader: None,
            writer: None,
            watcher: None,
        };
        Self { number, inner: Mutex::new(inner) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Something has arrived: a piece (or none), and perhaps the end.
    pub fn arrive(&self, piece: Option<Piece>, end: bool) -> Result<(), Violation> {
        let reader = self.with(|inner| {
            if inner.failed.is_some() {
                // Given up here, which the other side may not know yet.
                return Ok(None);
            }
            if inner.ended {
                return Err(Violation("a call goes on after its end"));
            }
            if let Some(piece) = piece {
                if end && piece.more {
                    return Err(Violation("a call ends within a message"));
                }
                let cost = inner.admit(&piece)?;
                inner.inbox.push_back((piece, cost));
            }
            inner.ended = end;
            Ok(inner.reader.take())
        })?;
        wake(reader);
        Ok(())
    }

    /// The other side may be sent so much more.
    pub fn add_credit(&self, bytes: u64) -> Result<(), Violation> {
        let writer = self.with(|inner| {
            let more = usize::try_from(bytes).ok().and_then(|bytes| inner.credit.checked_add(bytes));
            match more {
                Some(credit) if credit <= CALL_WINDOW_BYTES => inner.credit = credit,
                _ => return Err(Violation("more credit than a window")),
            }
            Ok(inner.writer.take())
        })?;
        wake(writer);
        Ok(())
    }

    /// It is over, for that reason. What has arrived before is still read; a request that was not yet
    /// on its way is not sent any more. If it had failed before, that stays; answers why.
    pub fn fail(&self, error: CallError) -> CallError {
        let (error, wakers) = self.with(|inner| inner.fail(error));
        wakers.into_iter().for_each(wake);
        error
    }

    /// The same, said by the other side.
    pub fn refuse(&self, error: CallError) {
        self.with(|inner| inner.refused = true);
        self.fail(error);
    }

    /// The link is gone, or the caller's time is over: what that means for the call.
    pub fn break_off(&self, why: &str) -> CallError {
        let (error, wakers) = self.with(|inner| {
            let sent = inner.submission == Submission::Sent;
            inner.fail(if sent { CallError::unknown(why) } else { CallError::not_sent(why) })
        });
        wakers.into_iter().for_each(wake);
        error
    }

    /// A frame of the request is about to be written, its last or not. False: it must not be.
    pub fn submit(&self, last: bool) -> bool {
        self.with(|inner| {
            if inner.submission == Submission::Withdrawn {
                return false;
            }
            if last {
                inner.submission = Submission::Sent;
            }
            true
        })
    }

    /// The other side has sent all, or has failed it.
    pub fn is_ended(&self) -> bool {
        self.with(|inner| inner.ended || inner.refused)
    }

    /// Why it has failed, if it has.
    pub fn error(&self) -> Option<CallError> {
        self.with(|inner| inner.failed.clone())
    }

    /// The next piece, and credit to be given for what was read; none after the end.
    pub fn poll_piece(&self, context: &mut Context<'_>) -> Poll<(Option<Result<Piece, CallError>>, usize)> {
        self.with(|inner| {
            if let Some((piece, cost)) = inner.inbox.pop_front() {
                return Poll::Ready((Some(Ok(piece)), inner.give_back(cost)));
            }
            if inner.ended {
                return Poll::Ready((None, 0));
            }
            if let Some(error) = &inner.failed {
                return Poll::Ready((Some(Err(error.clone())), 0));
            }
            inner.reader = Some(context.waker().clone());
            Poll::Pending
        })
    }

    /// Takes the credit for a piece of so many bytes, once it is there.
    pub fn poll_credit(&self, context: &mut Context<'_>, bytes: usize) -> Poll<Result<(), CallError>> {
        // Otherwise both sides could wait for each other.
        const { assert!(PIECE_BYTES_MAX + PIECE_COST_BYTES <= CALL_WINDOW_BYTES / 2) };
        self.with(|inner| {
            if let Some(error) = &inner.failed {
                return Poll::Ready(Err(error.clone()));
            }
            match inner.credit.checked_sub(bytes + PIECE_COST_BYTES) {
                Some(credit) => {
                    inner.credit = credit;
                    Poll::Ready(Ok(()))
                }
                None => {
                    inner.writer = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    /// Ready once the call has failed.
    pub fn poll_failed(&self, context: &mut Context<'_>) -> Poll<()> {
        self.with(|inner| {
            if inner.failed.is_some() {
                return Poll::Ready(());
            }
            inner.watcher = Some(context.waker().clone());
            Poll::Pending
        })
    }

    /// After the first message: a window for those that follow, if there are any. Its bytes.
    pub fn open_window(&self) -> Option<usize> {
        self.with(|inner| {
            if inner.ended {
                return None;
            }
            inner.allowance = CALL_WINDOW_BYTES;
            Some(CALL_WINDOW_BYTES)
        })
    }
}

impl Inner {
    fn fail(&mut self, error: CallError) -> (CallError, [Option<Waker>; 3]) {
        if self.submission == Submission::Waiting {
            self.submission = Submission::Withdrawn;
        }
        let error = self.failed.get_or_insert(error).clone();
        (error, [self.reader.take(), self.writer.take(), self.watcher.take()])
    }

    /// Whether the other side may send that; what is given back once it is read.
    fn admit(&mut self, piece: &Piece) -> Result<usize, Violation> {
        if piece.body.len() > PIECE_BYTES_MAX || (piece.more && piece.body.is_empty()) {
            return Err(Violation("a piece of a wrong length"));
        }
        if let Some(left) = self.first_left {
            let left = left.checked_sub(piece.body.len()).ok_or(Violation("a message longer than said"))?;
            if piece.more == (left == 0) {
                return Err(Violation("a message that is not as long as said"));
            }
            self.first_left = piece.more.then_some(left);
            return Ok(0);
        }
        let cost = piece.body.len() + PIECE_COST_BYTES;
        self.allowance = self.allowance.checked_sub(cost).ok_or(Violation("more bytes than credit"))?;
        Ok(cost)
    }

    /// What was read is given back in large steps.
    fn give_back(&mut self, cost: usize) -> usize {
        self.consumed += cost;
        if self.ended || self.failed.is_some() || self.consumed < CALL_WINDOW_BYTES / 2 {
            return 0;
        }
        let grant = std::mem::take(&mut self.consumed);
        self.allowance += grant;
        grant
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
