//! Bodies of requests, read within a bound for each and a bound for all (INV-8).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::error::{Problem, ProblemKind};
use super::front::App;

/// When to come back if there is no room for a body.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bytes that may be held by all bodies together.
#[derive(Debug)]
pub(super) struct Room {
    used: AtomicUsize,
    most: usize,
}

impl Room {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most })
    }

    fn take(&self, bytes: usize) -> bool {
        let grown = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }
}

/// A share of the room, given back on drop.
struct Share {
    room: Arc<Room>,
    bytes: usize,
}

impl Share {
    fn grow(&mut self, bytes: usize) -> bool {
        let grown = self.room.take(bytes);
        self.bytes += if grown { bytes } else { 0 };
        grown
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body that was read whole. Its room is taken until it is dropped.
pub(super) struct HeldBody {
    pub bytes: Bytes,
    _share: Share,
}

impl FromRequest<Arc<App>> for HeldBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        read(&parts.headers, body.into_data_stream(), app).await
    }
}

async fn read(headers: &HeaderMap, mut stream: BodyDataStream, app: &App) -> Result<HeldBody, Problem> {
    let settings = &app.settings;
    let too_large = || {
        let detail = format!("the body has more than {} bytes", settings.body_bytes_max);
        Problem::new(ProblemKind::TooLarge, detail)
    };
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|bytes| bytes > settings.body_bytes_max) {
        return Err(too_large());
    }
    let mut share = Share { room: Arc::clone(&app.room), bytes: 0 };
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    let end = Instant::now() + settings.body_total;
    loop {
        let until = end.min(Instant::now() + settings.body_idle);
        let frame = match timeout_at(until, stream.next()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err(Problem::new(ProblemKind::Invalid, "the body was cut off")),
            Ok(None) => break,
            Err(_) => return Err(Problem::new(ProblemKind::Timeout, "the body came too slowly")),
        };
        if share.bytes + frame.len() > settings.body_bytes_max {
            return Err(too_large());
        }
        if !share.grow(frame.len()) {
            let detail = "too many bytes of other requests are being worked on";
            return Err(Problem::overloaded(detail, RETRY_AFTER));
        }
        if first.is_empty() {
            first = frame;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&frame);
        }
    }
    let bytes = if all.is_empty() { first } else { all.freeze() };
    Ok(HeldBody { bytes, _share: share })
}

/// The essence of a Content-Type, in lower case: `application/json` of `Application/JSON; charset=utf-8`.
pub(super) fn media_type(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(String::new()) };
    let text = value.to_str().map_err(|_| Problem::field("content_type", "is not text"))?;
    Ok(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// A body that must be JSON, or empty.
pub(super) fn json_only(headers: &HeaderMap, body: &HeldBody) -> Result<(), Problem> {
    let media_type = media_type(headers)?;
    if body.bytes.is_empty() || media_type == "application/json" {
        return Ok(());
    }
    let detail = "the body must be sent as `content-type: application/json`";
    Err(Problem::new(ProblemKind::UnsupportedMediaType, detail))
}

/// An answer that is not JSON.
pub(super) fn text_body(content_type: &'static str, text: impl Into<Body>) -> axum::response::Response {
    use axum::response::IntoResponse as _;
    ([(header::CONTENT_TYPE, content_type)], text.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_that_was_taken_comes_back() {
        let room = Room::new(10);
        let mut share = Share { room: Arc::clone(&room), bytes: 0 };
        assert!(share.grow(10));
        assert!(!share.grow(1));
        drop(share);
        let mut next = Share { room, bytes: 0 };
        assert!(next.grow(10));
        assert!(!next.grow(usize::MAX));
    }
}
