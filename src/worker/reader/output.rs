//! An attempt's output, also while it runs.

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;

use crate::model::row::{BlobRef, MarkerKind};
use crate::store::StoreError;
use crate::worker::owner::core::segment_key;
use crate::worker::{OutputStream, RequestError};

use super::Reader;
use super::history::Story;

/// Where an attempt's output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutputPlace {
    pub attempt: u32,
    pub blob: BlobRef,
    /// The attempt's end is on record: `blob.chunks` is all there is.
    pub complete: bool,
}

struct Cursor {
    reader: Reader,
    blob: BlobRef,
    next: u32,
    complete: bool,
    live: Option<watch::Receiver<u32>>,
}

impl Reader {
    pub(super) async fn output_chunk(&self, blob: BlobRef, chunk: u32) -> Result<Option<Bytes>, StoreError> {
        let key = segment_key(self.partition(), blob.segment.unwrap_or_default());
        self.store.blob(key, blob.blob, chunk).await
    }

    /// Output from its start. With `live`, which counts the chunks that are durable, until that closes.
    pub fn stream(&self, place: OutputPlace, live: Option<watch::Receiver<u32>>) -> OutputStream {
        let cursor =
            Cursor { reader: self.clone(), blob: place.blob, next: 0, complete: place.complete, live };
        Box::pin(stream::try_unfold(cursor, |mut cursor| async move {
            let chunk = cursor.next_chunk().await?;
            Ok(chunk.map(|chunk| (chunk, cursor)))
        }))
    }
}

impl Cursor {
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, RequestError> {
        if self.complete && self.next >= self.blob.chunks {
            return Ok(None);
        }
        if let Some(live) = &mut self.live {
            let next = self.next;
            // An error means that the attempt has ended: what is there by now is all.
            if live.wait_for(|chunks| *chunks > next).await.is_err() {
                self.live = None;
            }
        }
        let chunk = self.reader.output_chunk(self.blob, self.next).await?;
        self.next += 1;
        Ok(chunk)
    }
}

/// Where the output of an attempt (none: the latest) is.
pub(crate) fn output_place(story: &Story, attempt: Option<u32>) -> Option<OutputPlace> {
    let wanted = attempt.or_else(|| story.history.iter().map(|happened| happened.marker.attempt).max())?;
    let of_attempt = story.history.iter().filter(|happened| happened.marker.attempt == wanted);
    let mut found = None;
    for happened in of_attempt {
        let Some(&blob) = happened.marker.output.first() else { continue };
        let complete = happened.kind() != MarkerKind::Started || blob.chunks > 0;
        if found.is_none() || complete {
            found = Some(OutputPlace { attempt: wanted, blob, complete });
        }
    }
    found
}
