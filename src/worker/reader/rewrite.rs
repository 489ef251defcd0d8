//! Bodies and history of jobs that the engine writes again.

use std::time::Duration;

use bytes::Bytes;
use tracing::{error, warn};

use crate::engine::{RewriteRequest, RewrittenJob};
use crate::model::limits::HISTORY_KEPT_MAX;
use crate::model::row::{BlobRef, CommitRef, MarkerKind, MarkerRow, Place, SegmentName};
use crate::store::StoreError;
use crate::worker::RequestError;

use super::Reader;
use super::history::{Happened, Story};

/// Bytes of blobs that one answer brings along; what is left is asked for again.
const BLOB_BYTES_MAX: usize = 16 << 20;
/// Delay before a read that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// What can't be read at all is not asked for in a circle.
const UNREADABLE: Duration = Duration::from_secs(30);

impl Reader {
    /// Reads jobs to be written again. May give fewer than were asked for: the others are asked for
    /// again.
    pub async fn for_rewrite(&self, segment: SegmentName, jobs: Vec<RewriteRequest>) -> Vec<RewrittenJob> {
        let mut read = Vec::with_capacity(jobs.len());
        let mut bytes = 0;
        let mut asked = 0;
        while let Some(request) = jobs.get(asked).filter(|_| bytes < BLOB_BYTES_MAX) {
            match self.one_for_rewrite(segment, *request).await {
                Ok(Some(job)) => {
                    bytes += job.blobs.iter().flat_map(|(_, chunks)| chunks).map(Bytes::len).sum::<usize>();
                    read.push(job);
                    asked += 1;
                }
                // It has gone meanwhile.
                Ok(None) => asked += 1,
                Err(RequestError::Unavailable { message, .. }) if self.owner.trouble().is_some() => {
                    warn!(%message, "a job to be written again can't be read: trying again");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    error!(%error, ?request, "a job to be written again can't be read");
                    tokio::time::sleep(UNREADABLE).await;
                    asked += 1;
                }
            }
        }
        read
    }

    async fn one_for_rewrite(
        &self,
        segment: SegmentName,
        request: RewriteRequest,
    ) -> Result<Option<RewrittenJob>, RequestError> {
        let place =
            Place { epoch_number: segment.epoch_number, commit: request.commit, place: request.place };
        let Some(story) = self.story(place, request.last, true).await? else { return Ok(None) };
        Ok(Some(self.bring_along(story, request).await?))
    }

    async fn bring_along(&self, story: Story, request: RewriteRequest) -> Result<RewrittenJob, StoreError> {
        let Story { job: row, kind, content_type, enqueued_ms, history } = story;
        let (history, strings) = self.trim(history).await?;
        let mut blobs = Vec::new();
        let named = history.iter().flat_map(|marker| marker.output.iter().copied().chain(marker.result_blob));
        for blob in row.payload_blob.into_iter().chain(named) {
            blobs.push((blob, self.chunks(blob).await?));
        }
        let last: Option<CommitRef> = request.last;
        Ok(RewrittenJob {
            index: request.index,
            row,
            kind,
            content_type,
            history,
            strings,
            blobs,
            enqueued_ms,
            last,
        })
    }

    /// The latest markers, with the output of the latest attempt only.
    async fn trim(&self, mut history: Vec<Happened>) -> Result<(Vec<MarkerRow>, Vec<String>), StoreError> {
        let surplus = history.len().saturating_sub(HISTORY_KEPT_MAX);
        history.drain(..surplus);
        let latest = history.iter().rposition(|happened| !happened.marker.output.is_empty());
        let mut strings: Vec<String> = Vec::new();
        let mut markers = Vec::with_capacity(history.len());
        for (index, mut happened) in history.into_iter().enumerate() {
            if Some(index) != latest {
                happened.marker.output.clear();
            } else if happened.kind() == MarkerKind::Started {
                // Where it ends is known by what is there.
                for output in &mut happened.marker.output {
                    *output = self.measured(*output).await?;
                }
            }
            happened.marker.runner = match happened.runner.is_empty() {
                true => 0,
                false => {
                    let known = strings.iter().position(|text| *text == happened.runner);
                    let index = known.unwrap_or_else(|| {
                        strings.push(happened.runner.clone());
                        strings.len() - 1
                    });
                    index as u32 + 1
                }
            };
            markers.push(happened.marker);
        }
        Ok((markers, strings))
    }

    async fn measured(&self, blob: BlobRef) -> Result<BlobRef, StoreError> {
        let mut measured = blob;
        while let Some(bytes) = self.output_chunk(measured, measured.chunks).await? {
            measured.chunks += 1;
            measured.bytes += bytes.len() as u64;
        }
        Ok(measured)
    }
}
