//! Reads what is asked about jobs: where one is and in which state (its owner knows), its body and
//! history (the store does).
//!
//! A look at the owner and the rows read after it can disagree, because a segment was dropped in
//! between; then it looks again. Keeps INV-9: what can't be found is gone or was never there, and
//! the two are told apart.

mod ahead;
mod history;
mod list;
mod output;
mod rewrite;
mod view;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::engine::{Located, PlaceOfJob, Scope, SegmentLook, StateOfJob, place_bucket};
use crate::model::row::{BlobRef, CommitRef, CommitRow, Place, SegmentName, StateRow};
use crate::model::{JobId, JobState, PartitionId};
use crate::store::{CommitKey, Store, StoreError, StoreErrorKind};
use crate::worker::RequestError;

use super::owner::bodies::Bodies;
use super::owner::core::{decode_summary, scope_name, segment_key};
use super::owner::{OwnerHandle, unavailable};

pub(crate) use list::{before_all, read_cursor, write_cursor};
pub(crate) use output::output_place;
pub(crate) use view::{events, time};

/// Looks until owner and store agree.
const LOOKS_MAX: usize = 8;
/// Places that the index may know of one job.
const PLACES_MAX: usize = 1_024;

/// Reads for one partition. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader {
    store: Arc<dyn Store>,
    bodies: Arc<Bodies>,
    owner: OwnerHandle,
    /// Rows that were read ahead, for a list.
    ahead: Option<ahead::Ahead>,
}

impl From<StoreError> for RequestError {
    fn from(error: StoreError) -> Self {
        unavailable(error.message)
    }
}

impl Reader {
    pub fn new(store: Arc<dyn Store>, bodies: Arc<Bodies>, owner: OwnerHandle) -> Self {
        Self { store, bodies, owner, ahead: None }
    }

    pub fn owner(&self) -> &OwnerHandle {
        &self.owner
    }

    fn partition(&self) -> PartitionId {
        self.owner.partition()
    }

    /// The row of a commit, if it is near its hand-out.
    pub fn row_at_hand(&self, at: CommitRef) -> Option<Arc<CommitRow>> {
        self.bodies.find(self.partition(), at)
    }

    /// The row of a commit that a hand-out needs: kept for the others of that commit.
    pub async fn row_for_hand_out(
        &self,
        segment: SegmentName,
        at: CommitRef,
    ) -> Result<Arc<CommitRow>, StoreError> {
        self.bodies
            .get_or_read(self.partition(), at, || async move {
                self.read(segment, at).await?.ok_or_else(|| missing(self.partition(), at))
            })
            .await
    }

    /// The row of a commit; none if it has been dropped.
    async fn row(&self, at: CommitRef) -> Result<Option<(SegmentName, Arc<CommitRow>)>, RequestError> {
        if let Some(found) = self.ahead.as_ref().and_then(|rows| rows.get(&at)) {
            return Ok(Some(found.clone()));
        }
        let segment = self.owner.peek(move |engine| engine.segment_of(at)).await?;
        let Some(segment) = segment else { return Ok(None) };
        if let Some(row) = self.row_at_hand(at) {
            return Ok(Some((segment, row)));
        }
        Ok(self.read(segment, at).await?.map(|(row, _)| (segment, Arc::new(row))))
    }

    async fn read(
        &self,
        segment: SegmentName,
        at: CommitRef,
    ) -> Result<Option<(CommitRow, usize)>, StoreError> {
        let key = segment_key(self.partition(), segment);
        let stored = self.store.commits(key, at.commit, 1, 1).await?;
        let Some(stored) = stored.into_iter().find(|stored| stored.commit == at.commit) else {
            return Ok(None);
        };
        let bytes = stored.row.len();
        let row = CommitRow::decode(stored.row).map_err(|error| {
            let what = format!("commit {at:?} of partition {} can't be read: {error}", self.partition());
            StoreError::new(StoreErrorKind::Damaged, what)
        })?;
        Ok(Some((row, bytes)))
    }

    /// A whole blob.
    pub async fn blob(&self, blob: BlobRef) -> Result<Bytes, StoreError> {
        let chunks = self.chunks(blob).await?;
        if let [only] = &chunks[..] {
            return Ok(only.clone());
        }
        Ok(chunks.concat().into())
    }

    async fn chunks(&self, blob: BlobRef) -> Result<Vec<Bytes>, StoreError> {
        let key = segment_key(self.partition(), blob.segment.unwrap_or_default());
        let mut chunks = Vec::new();
        for chunk in 0..blob.chunks {
            let bytes = self.store.blob(key, blob.blob, chunk).await?;
            chunks.push(bytes.ok_or_else(|| {
                let what = format!("chunk {chunk} of blob {} in segment {key:?} is missing", blob.blob);
                StoreError::new(StoreErrorKind::Damaged, what)
            })?);
        }
        Ok(chunks)
    }

    /// Where a job is and in which state.
    pub async fn state(&self, id: JobId) -> Result<StateOfJob, RequestError> {
        let mut place = None;
        for _ in 0..LOOKS_MAX {
            match self.owner.look(move |engine| engine.state_of(id, place)).await? {
                Located::Here(state) if state.state.is_some() => return Ok(state),
                Located::Here(_) => return Err(gone(id)),
                Located::NotLoaded(number) => {
                    let look = self.owner.peek(move |engine| engine.segment_named(number)).await?;
                    let Some(look) = look else { continue };
                    match self.state_in(&look, id).await? {
                        Some(FoundIn::Here(state)) => return Ok(state),
                        Some(FoundIn::MovedTo(moved_to)) => place = Some(moved_to),
                        Some(FoundIn::Deleted) => return Err(gone(id)),
                        None => return Err(unknown(id)),
                    }
                }
                Located::Elsewhere => match self.place_in_index(id).await? {
                    found if found.is_some() && found != place => place = found,
                    _ => return Err(gone(id)),
                },
                Located::Unknown => return Err(unknown(id)),
            }
        }
        Err(unavailable("the job moves too quickly to be looked at: try again"))
    }

    /// The newest place of a job that was written again.
    pub async fn place_in_index(&self, id: JobId) -> Result<Option<Place>, RequestError> {
        let scope = scope_name(Scope::Place, self.partition());
        let values = self.store.entries(&scope, place_bucket(id), &id.to_bytes(), PLACES_MAX).await?;
        Ok(values.into_iter().filter_map(|value| Place::decode(value).ok()).max())
    }

    /// Looks into the summary of a segment that is not in memory.
    async fn state_in(&self, look: &SegmentLook, id: JobId) -> Result<Option<FoundIn>, RequestError> {
        let jobs = self.jobs_of(look).await?;
        // A job that was written again in the same segment is there twice: the later row counts.
        let Some(job) = jobs.into_iter().rev().find(|job| job.id == id) else { return Ok(None) };
        if let Some(moved_to) = job.row.moved_to {
            return Ok(Some(FoundIn::MovedTo(moved_to)));
        }
        let Some(state) = JobState::from_number(job.row.state) else { return Ok(Some(FoundIn::Deleted)) };
        Ok(Some(FoundIn::Here(StateOfJob {
            state: Some(state),
            row: job.row,
            place: PlaceOfJob { segment: look.name, place: job.place },
            reason: reason_in_store(&job.row),
        })))
    }

    /// Jobs of a segment, from memory or from its summary.
    async fn jobs_of(&self, look: &SegmentLook) -> Result<Vec<crate::engine::JobLook>, RequestError> {
        if let Some(jobs) = &look.jobs {
            return Ok(jobs.clone());
        }
        let Some(as_of) = look.summary else { return Ok(Vec::new()) };
        let epoch = self.owner.peek(move |engine| engine.epoch_numbered(as_of.epoch_number)).await?;
        let Some(epoch) = epoch else { return Ok(Vec::new()) };
        let key = segment_key(self.partition(), look.name);
        let bytes = self.store.summary(key, CommitKey { epoch, commit: as_of.commit }).await?;
        let Some(bytes) = bytes else { return Ok(Vec::new()) };
        Ok(list::jobs_of_summary(self.partition(), look, &decode_summary(&bytes)?))
    }
}

enum FoundIn {
    Here(StateOfJob),
    MovedTo(Place),
    Deleted,
}

/// Why a job that is not in memory is in its state.
fn reason_in_store(row: &StateRow) -> String {
    match JobState::from_number(row.state) {
        Some(JobState::Waiting) => "many jobs are before it: it is still in the store only".into(),
        Some(JobState::Scheduled) => "it is due later".into(),
        Some(JobState::Succeeded) => format!("attempt {} succeeded", row.attempt),
        Some(JobState::Failed) => {
            format!("its attempts are used up ({} failed, {} interrupted)", row.failures, row.interruptions)
        }
        Some(JobState::Cancelled) => "it was cancelled, or its deadline passed".into(),
        _ => String::new(),
    }
}

pub(crate) fn unknown(id: JobId) -> RequestError {
    RequestError::NotFound(format!("no job {id} was ever enqueued here"))
}

pub(crate) fn gone(id: JobId) -> RequestError {
    RequestError::Gone(format!("job {id} is past its retention, or was deleted"))
}

fn missing(partition: PartitionId, at: CommitRef) -> StoreError {
    let what = format!("commit {at:?} of partition {partition} is missing");
    StoreError::new(StoreErrorKind::Damaged, what)
}
