//! What goes over the link: protobuf messages, each after its length (a varint).
//!
//! Fields are only ever added; a kind of frame that is not known here is skipped.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

use super::limits::{FRAME_BYTES_MAX, GREETING_BYTES_MAX};

/// A frame.
#[derive(Clone, PartialEq, Message)]
pub struct Frame {
    /// None: of a later version.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11")]
    pub kind: Option<Kind>,
}

/// What a frame says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// A call begins.
    #[prost(message, tag = "1")]
    Open(Open),
    /// More of a call.
    #[prost(message, tag = "2")]
    Data(Data),
    /// The caller waits no more.
    #[prost(message, tag = "3")]
    Cancel(Cancel),
    /// The call has failed.
    #[prost(message, tag = "4")]
    Failure(Failure),
    /// So much was read: as much may be sent again.
    #[prost(message, tag = "5")]
    Credit(Credit),
    /// No more calls are taken; what is being served goes on.
    #[prost(message, tag = "6")]
    GoAway(GoAway),
    /// Client: who it is, whom it wants.
    #[prost(message, tag = "7")]
    Hello(Hello),
    /// Server: its nonce.
    #[prost(message, tag = "8")]
    Challenge(Challenge),
    /// Client: that it knows the secret.
    #[prost(message, tag = "9")]
    Proof(Proof),
    /// Server: that it knows it too. The link is up.
    #[prost(message, tag = "10")]
    Welcome(Proof),
    /// Server: there will be no link.
    #[prost(message, tag = "11")]
    Refusal(Refusal),
}

/// A call begins. Its first message is in this frame and, if it is long, in those after it.
#[derive(Clone, PartialEq, Message)]
pub struct Open {
    /// Number of the call, higher than that of the one before.
    #[prost(uint64, tag = "1")]
    pub call: u64,
    /// What is asked for.
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    /// Time that is left, ms.
    #[prost(uint64, tag = "3")]
    pub deadline_ms: u64,
    /// Bytes of the whole first message.
    #[prost(uint64, tag = "4")]
    pub message_bytes: u64,
    /// The first message, or its first piece.
    #[prost(bytes = "bytes", tag = "5")]
    pub body: Bytes,
    /// The message goes on.
    #[prost(bool, tag = "6")]
    pub more: bool,
    /// It is the only message.
    #[prost(bool, tag = "7")]
    pub end: bool,
}

/// A message of a call, or a piece of one.
#[derive(Clone, PartialEq, Message)]
pub struct Data {
    /// Number of the call.
    #[prost(uint64, tag = "1")]
    pub call: u64,
    /// The bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub body: Bytes,
    /// The message goes on.
    #[prost(bool, tag = "3")]
    pub more: bool,
    /// It is the last message of this direction.
    #[prost(bool, tag = "4")]
    pub end: bool,
    /// There is no message: this direction just ends.
    #[prost(bool, tag = "5")]
    pub empty: bool,
}

/// The caller waits no more.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Cancel {
    /// Number of the call.
    #[prost(uint64, tag = "1")]
    pub call: u64,
}

/// The call has failed.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Failure {
    /// Number of the call.
    #[prost(uint64, tag = "1")]
    pub call: u64,
    /// Whether it may have had an effect.
    #[prost(enumeration = "Effect", tag = "2")]
    pub effect: i32,
    /// Which error.
    #[prost(enumeration = "Reason", tag = "3")]
    pub reason: i32,
    /// The sentence for people.
    #[prost(string, tag = "4")]
    pub message: String,
    /// The field that is wrong.
    #[prost(string, optional, tag = "5")]
    pub field: Option<String>,
    /// When to try again, ms.
    #[prost(uint64, tag = "6")]
    pub retry_after_ms: u64,
}

/// What a failed call has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Effect {
    /// Not known.
    Unknown = 0,
    /// It was served, and this is the answer.
    Answered = 1,
    /// It was not served.
    None = 2,
}

/// The variants of [`crate::worker::RequestError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Reason {
    /// Of a later version.
    Other = 0,
    /// There is no such thing.
    NotFound = 1,
    /// There was one.
    Gone = 2,
    /// Not in a state for that.
    Conflict = 3,
    /// Wrong.
    Invalid = 4,
    /// A bound is reached.
    Overloaded = 5,
    /// Something is away.
    Unavailable = 6,
    /// On its way to another worker: nothing was done.
    Moved = 7,
}

/// So much was read.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Credit {
    /// Number of the call.
    #[prost(uint64, tag = "1")]
    pub call: u64,
    /// Bytes, and the cost of each piece.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}

/// No more calls are taken.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct GoAway {}

/// Who the client is, whom it wants.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Hello {
    /// Its own id.
    #[prost(string, tag = "1")]
    pub from: String,
    /// The id of the worker that it expects.
    #[prost(string, tag = "2")]
    pub to: String,
    /// Drawn for this link.
    #[prost(bytes = "bytes", tag = "3")]
    pub nonce: Bytes,
}

/// The server's nonce.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Challenge {
    /// Drawn for this link.
    #[prost(bytes = "bytes", tag = "1")]
    pub nonce: Bytes,
}

/// Shows that the secret is known.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Proof {
    /// HMAC-SHA256.
    #[prost(bytes = "bytes", tag = "1")]
    pub proof: Bytes,
}

/// There will be no link.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Refusal {
    /// Why, for the program.
    #[prost(enumeration = "RefusalReason", tag = "1")]
    pub reason: i32,
}

/// Why there is no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum RefusalReason {
    /// Of a later version.
    Other = 0,
    /// The secrets differ.
    Secret = 1,
    /// The worker that was asked for is not this one.
    Worker = 2,
    /// Too many links.
    Full = 3,
    /// It is about to end.
    Ending = 4,
}

impl Frame {
    /// Appends it after its length.
    pub fn write(kind: Kind, to: &mut BytesMut) {
        let frame = Self { kind: Some(kind) };
        frame.encode_length_delimited(to).expect("a BytesMut grows");
    }
}

impl Kind {
    /// Bytes of message in it.
    pub fn body_bytes(&self) -> usize {
        match self {
            Self::Open(open) => open.body.len(),
            Self::Data(data) => data.body.len(),
            _ => 0,
        }
    }
}

/// Why bytes are no frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Beyond the bound.
    #[error("a frame of more than {0} bytes")]
    TooLong(usize),
    /// Not protobuf, or not these messages.
    #[error("a frame that can't be read: {0}")]
    Unreadable(#[from] prost::DecodeError),
}

/// Bytes in, frames out. It holds less than one frame between [`Decoder::next`] answering none and
/// the next [`Decoder::feed`].
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    frame_bytes_max: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), frame_bytes_max: GREETING_BYTES_MAX }
    }
}

impl Decoder {
    /// From now on, frames may be as long as calls need.
    pub fn greeted(&mut self) {
        self.frame_bytes_max = FRAME_BYTES_MAX;
    }

    /// Takes what has arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame. After an error nothing that follows means anything.
    #[expect(clippy::should_implement_trait, reason = "none is not the end")]
    pub fn next(&mut self) -> Result<Option<Kind>, FrameError> {
        loop {
            let Some((header, length)) = self.length()? else { return Ok(None) };
            let Some(frame) = self.buffer.get(header..header + length) else { return Ok(None) };
            // From a slice, so that a small body is a copy of its own and does not hold the buffer.
            let frame = Frame::decode(frame)?;
            self.buffer.advance(header + length);
            if frame.kind.is_some() {
                return Ok(frame.kind);
            }
        }
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of the length, and the length, once they are there.
    fn length(&self) -> Result<Option<(usize, usize)>, FrameError> {
        let mut length = 0usize;
        for (place, byte) in self.buffer.iter().enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * place);
            if length > self.frame_bytes_max {
                break;
            }
            if byte & 0x80 == 0 {
                return Ok(Some((place + 1, length)));
            }
            // Four bytes hold any length that is allowed; zeroes after them are no reason to go on.
            if place == 3 {
                break;
            }
        }
        if length > self.frame_bytes_max || self.buffer.len() >= 4 {
            return Err(FrameError::TooLong(self.frame_bytes_max));
        }
        Ok(None)
    }
}
