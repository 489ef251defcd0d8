//! Bounds of the link. Those that both sides count by are part of the protocol: changing one is a new
//! version of it.

use std::time::Duration;

use crate::model::limits::BATCH_BYTES_MAX;

/// Bytes of one message: a batch of jobs, and what else a request says.
pub const MESSAGE_BYTES_MAX: usize = BATCH_BYTES_MAX + (4 << 20);
/// Bytes of a message in one frame; a longer message is cut, so that it does not hold up small ones.
pub(super) const PIECE_BYTES_MAX: usize = 64 << 10;
/// Bytes of one frame, without its length.
pub const FRAME_BYTES_MAX: usize = PIECE_BYTES_MAX + (1 << 10);
/// The same before the other side has shown that it knows the secret.
pub(super) const GREETING_BYTES_MAX: usize = 2 << 10;
/// Bytes of frames that are written as one chunk.
pub(super) const CHUNK_BYTES_MAX: usize = 128 << 10;
/// Unread bytes of one direction of one call. (Protocol.)
pub(super) const CALL_WINDOW_BYTES: usize = 512 << 10;
/// What a piece counts besides its bytes, so that empty ones are bounded too. (Protocol.)
pub(super) const PIECE_COST_BYTES: usize = 64;
/// Bytes of an error's text.
pub(super) const ERROR_BYTES_MAX: usize = 16 << 10;
/// Bytes of a worker's id.
pub(super) const WORKER_ID_BYTES_MAX: usize = 512;
/// Small frames (credits, ends, errors) that wait to be written; a peer that takes none is cut off.
pub(super) const SMALL_FRAMES_MAX: usize = 64 << 10;
/// HTTP/2's own window of the one stream; what is in it is read at once.
pub(super) const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// Bytes of an HTTP/2 DATA frame.
pub(super) const HTTP_FRAME_BYTES_MAX: u32 = 128 << 10;
/// Bytes of the headers of the request that makes a link.
pub(super) const HEADERS_BYTES_MAX: u32 = 8 << 10;
/// Longest deadline of a call.
pub(super) const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// A TCP connection is there after so long, or given up.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Both sides have shown that they know the secret after so long, or the link is given up.
pub(super) const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Links that are being made at once, at a server.
pub(super) const GREETINGS_MAX: usize = 256;
/// First pause after a link could not be made; doubled after each further time.
pub(super) const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
/// Longest pause.
pub(super) const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// When to try again what was refused because a bound is reached.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(200);
/// At shutdown, calls that are being served get so long.
pub(super) const DRAIN: Duration = Duration::from_secs(5);
/// The same complaint is logged once in so long.
pub(super) const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);
