//! Jobs of a queue, a page at a time, in the order of their places.
//!
//! Which segments have such jobs the owner knows; which jobs of a segment, its memory or its
//! summary; their bodies come from the rows of exactly those commits.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::try_join_all;

use crate::engine::{JobLook, PlaceOfJob, SegmentLook, StateOfJob};
use crate::model::row::{CommitRef, Place, SummaryRow};
use crate::model::view::JobView;
use crate::model::{JobId, JobState, PartitionId, QueueNumber};
use crate::worker::catalog::QueueEntry;
use crate::worker::{JobFilter, RequestError};

use super::{Reader, reason_in_store};

/// Jobs that are looked at for one page: a filter that finds little answers a short page.
const LOOKED_AT_MAX: usize = 20_000;

/// Jobs whose rows are read at once.
const TOGETHER: usize = 128;

/// A page, and where the next begins.
pub(crate) struct Page {
    pub jobs: Vec<JobView>,
    pub next: Option<Place>,
}

impl Reader {
    /// Jobs of a queue after `after` (before it, if newest first).
    pub async fn list(
        &self,
        queue: &Arc<QueueEntry>,
        filter: &JobFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Page, RequestError> {
        let mut page = Page { jobs: Vec::new(), next: None };
        let mut looked_at = 0;
        for look in self.segments(queue.number, filter, after).await? {
            let mut jobs = self.jobs_of(&look).await?;
            let now_ms = self.owner.peek(|engine| engine.now_ms()).await?;
            jobs.iter_mut().for_each(|job| become_due(job, now_ms));
            if filter.newest_first {
                jobs.reverse();
            }
            jobs.retain(|job| wants(job, queue.number, filter, after));
            let mut wanted = &jobs[..];
            while !wanted.is_empty() {
                let room = (limit - page.jobs.len()).min(LOOKED_AT_MAX - looked_at);
                if room == 0 {
                    return Ok(page);
                }
                let (now, later) = wanted.split_at(room.min(TOGETHER).min(wanted.len()));
                let reader = self.with_rows(rows_of(now)).await?;
                let listed = now.iter().map(|job| reader.listed(&look, job, queue, filter));
                page.jobs.extend(try_join_all(listed).await?.into_iter().flatten());
                looked_at += now.len();
                page.next = now.last().map(|job| job.place);
                wanted = later;
            }
        }
        page.next = None;
        Ok(page)
    }

    /// Ids of all jobs of a queue in a state.
    pub async fn ids(&self, queue: QueueNumber, state: JobState) -> Result<Vec<JobId>, RequestError> {
        let filter = JobFilter { state: Some(state), ..JobFilter::default() };
        let mut ids = Vec::new();
        for look in self.segments(queue, &filter, None).await? {
            let mut jobs = self.jobs_of(&look).await?;
            let now_ms = self.owner.peek(|engine| engine.now_ms()).await?;
            jobs.iter_mut().for_each(|job| become_due(job, now_ms));
            ids.extend(jobs.into_iter().filter(|job| wants(job, queue, &filter, None)).map(|job| job.id));
        }
        Ok(ids)
    }

    /// Segments that may have such jobs, in the order of the list.
    async fn segments(
        &self,
        queue: QueueNumber,
        filter: &JobFilter,
        after: Option<Place>,
    ) -> Result<Vec<SegmentLook>, RequestError> {
        let (state, newest_first) = (filter.state, filter.newest_first);
        let look = move |engine: &mut crate::engine::Engine| {
            let names = engine.segments_with(queue, state);
            names.into_iter().filter_map(|name| engine.look_at(name)).collect::<Vec<_>>()
        };
        let mut segments = self.owner.look(look).await?;
        segments.retain(|look| {
            let first = (look.name.epoch_number, look.first_commit);
            let last = (look.name.epoch_number, look.first_commit + look.commits);
            after.is_none_or(|after| match newest_first {
                true => first <= (after.epoch_number, after.commit),
                false => last >= (after.epoch_number, after.commit),
            })
        });
        if newest_first {
            segments.reverse();
        }
        Ok(segments)
    }

    async fn listed(
        &self,
        look: &SegmentLook,
        job: &JobLook,
        queue: &QueueEntry,
        filter: &JobFilter,
    ) -> Result<Option<JobView>, RequestError> {
        // What has gone since is left out.
        let Some(story) = self.story(job.place, job.row.last, false).await? else { return Ok(None) };
        if filter.kind.as_ref().is_some_and(|kind| *kind != story.kind) {
            return Ok(None);
        }
        let state = StateOfJob {
            state: JobState::from_number(job.row.state),
            row: job.row,
            place: PlaceOfJob { segment: look.name, place: job.place },
            reason: reason_in_store(&job.row),
        };
        Ok(Some(self.view(job.id, &state, story, queue, false).await?))
    }
}

/// The commits that say what jobs are and what came of them last.
fn rows_of(jobs: &[JobLook]) -> BTreeSet<CommitRef> {
    let places = jobs.iter().map(|job| job.place);
    let written = places.map(|at| CommitRef { epoch_number: at.epoch_number, commit: at.commit });
    written.chain(jobs.iter().filter_map(|job| job.row.last)).collect()
}

/// Due since it was summarised.
fn become_due(job: &mut JobLook, now_ms: u64) {
    if job.row.state == JobState::Scheduled as u32 && job.row.time_ms <= now_ms {
        job.row.state = JobState::Waiting as u32;
    }
}

fn wants(job: &JobLook, queue: QueueNumber, filter: &JobFilter, after: Option<Place>) -> bool {
    let state = JobState::from_number(job.row.state);
    job.queue == queue
        && job.row.moved_to.is_none()
        && state.is_some_and(|state| filter.state.is_none_or(|wanted| wanted == state))
        && after.is_none_or(|after| if filter.newest_first { job.place < after } else { job.place > after })
}

/// Jobs of a segment by its summary and what is younger.
pub(super) fn jobs_of_summary(
    partition: PartitionId,
    look: &SegmentLook,
    summary: &SummaryRow,
) -> Vec<JobLook> {
    let foreign: HashMap<u32, JobId> = summary
        .foreign_ids
        .iter()
        .filter_map(|foreign| Some((foreign.index, JobId::from_slice(&foreign.id)?)))
        .collect();
    let younger: HashMap<u32, _> =
        look.younger.iter().filter_map(|young| Some((young.index, young.state?))).collect();
    let mut jobs = Vec::with_capacity(summary.states.len());
    let mut index = 0u32;
    for (offset, count) in summary.jobs_per_commit.iter().enumerate() {
        let at =
            CommitRef { epoch_number: look.name.epoch_number, commit: look.first_commit + offset as u64 };
        for place in 0..*count {
            let Some(state) = summary.states.get(index as usize) else { return jobs };
            let own = || JobId::new(partition, at.epoch_number, at.commit, place as u16);
            jobs.push(JobLook {
                id: foreign.get(&index).copied().unwrap_or_else(own),
                place: Place { epoch_number: at.epoch_number, commit: at.commit, place },
                queue: summary.queues.get(index as usize).copied().unwrap_or(0),
                row: younger.get(&index).copied().unwrap_or(*state),
            });
            index += 1;
        }
    }
    jobs
}

/// Where a list goes on, as text that only this queue understands.
pub(crate) fn write_cursor(queue: QueueNumber, newest_first: bool, partition: u16, place: Place) -> String {
    let order = if newest_first { "n" } else { "o" };
    let Place { epoch_number, commit, place } = place;
    let text = format!("{order}.{queue}.{partition}.{epoch_number}.{commit}.{place}");
    URL_SAFE_NO_PAD.encode(text)
}

/// The place from which a list begins, which no job has.
pub(crate) fn before_all(newest_first: bool) -> Place {
    match newest_first {
        true => Place { epoch_number: u32::MAX, commit: u64::MAX, place: u32::MAX },
        false => Place::default(),
    }
}

/// The reverse of [`write_cursor`].
pub(crate) fn read_cursor(
    queue: QueueNumber,
    newest_first: bool,
    cursor: &str,
) -> Result<(u16, Place), RequestError> {
    let wrong =
        |message: &str| RequestError::Invalid { field: Some("cursor".into()), message: message.into() };
    let no_cursor = || wrong("this is no cursor: take the one of the page before, unchanged");
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| no_cursor())?;
    let text = String::from_utf8(bytes).map_err(|_| no_cursor())?;
    let parts: Vec<&str> = text.split('.').collect();
    let [order, number, partition, epoch, commit, place] = parts[..] else { return Err(no_cursor()) };
    let number: QueueNumber = number.parse().map_err(|_| no_cursor())?;
    if number != queue {
        return Err(wrong("this cursor belongs to a list of another queue"));
    }
    if order != if newest_first { "n" } else { "o" } {
        return Err(wrong("this cursor belongs to a list in the other order"));
    }
    let partition = partition.parse().map_err(|_| no_cursor())?;
    let place = Place {
        epoch_number: epoch.parse().map_err(|_| no_cursor())?,
        commit: commit.parse().map_err(|_| no_cursor())?,
        place: place.parse().map_err(|_| no_cursor())?,
    };
    Ok((partition, place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_by_its_own_list_only(
            queue: u32, newest_first: bool, partition: u16, epoch_number: u32, commit: u64, place: u32,
        ) {
            let place = Place { epoch_number, commit, place };
            let cursor = write_cursor(queue, newest_first, partition, place);
            prop_assert_eq!(read_cursor(queue, newest_first, &cursor), Ok((partition, place)));
            prop_assert!(read_cursor(queue.wrapping_add(1), newest_first, &cursor).is_err());
            prop_assert!(read_cursor(queue, !newest_first, &cursor).is_err());
        }

        #[test]
        fn any_text_is_a_cursor_or_a_clear_error(text in "\\PC{0,60}") {
            let _ = read_cursor(1, false, &text);
        }
    }
}
