//! A job's history: its markers, found by following each to the one before.

use crate::model::row::{CommitRef, JobRow, MarkerKind, MarkerRow, Place, SegmentName};
use crate::worker::RequestError;

use super::Reader;

/// Commits that are looked at for one job.
const STEPS_MAX: usize = 10_000;

/// A marker, with what it points to by index or by place.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    /// When, Unix ms.
    pub time_ms: u64,
    /// The marker. Its outputs name their segment.
    pub marker: MarkerRow,
    /// Runner of a start.
    pub runner: String,
}

/// A job as it was written, and what happened to it since.
pub(crate) struct Story {
    pub job: JobRow,
    pub kind: String,
    pub content_type: String,
    pub enqueued_ms: u64,
    /// Oldest first.
    pub history: Vec<Happened>,
}

impl Reader {
    /// The body of the job at a place, and its history; none if a row has gone meanwhile.
    pub(super) async fn story(
        &self,
        place: Place,
        last: Option<CommitRef>,
        whole: bool,
    ) -> Result<Option<Story>, RequestError> {
        let at = CommitRef { epoch_number: place.epoch_number, commit: place.commit };
        let Some((_, row)) = self.row(at).await? else { return Ok(None) };
        let Some(job) = row.jobs.get(place.place as usize).cloned() else { return Ok(None) };
        let text = |index: u32| row.strings.get(index as usize).cloned().unwrap_or_default();
        let kind = text(job.kind);
        let content_type = job.content_type.checked_sub(1).map(text).unwrap_or_default();
        let enqueued_ms = if job.enqueued_ms == 0 { row.time_ms } else { job.enqueued_ms };
        let Some(mut history) = self.follow(place, last, whole).await? else { return Ok(None) };
        if let Some(again) = job.again.as_ref().filter(|_| whole || history.is_empty()) {
            let earlier = again.history.iter().map(|marker| Happened {
                time_ms: marker.time_ms,
                runner: name_of(&again.strings, marker.runner),
                marker: marker.clone(),
            });
            history.splice(0..0, earlier);
        }
        Ok(Some(Story { job, kind, content_type, enqueued_ms, history }))
    }

    /// Markers since the job was written at that place: all, or those of the latest commit only.
    async fn follow(
        &self,
        place: Place,
        last: Option<CommitRef>,
        whole: bool,
    ) -> Result<Option<Vec<Happened>>, RequestError> {
        let mut newest_first = Vec::new();
        let mut next = last;
        for _ in 0..STEPS_MAX {
            let Some(at) = next else { break };
            let Some((segment, row)) = self.row(at).await? else { return Ok(None) };
            let mut before = None;
            for marker in row.markers.iter().rev().filter(|marker| marker.job == Some(place)) {
                before = marker.previous;
                newest_first.push(happened(marker, segment, row.time_ms, &row.strings));
            }
            next = before.filter(|before| *before < at && whole);
        }
        newest_first.reverse();
        Ok(Some(newest_first))
    }
}

impl Story {
    /// The runner that an attempt was started for, if that is on record.
    pub fn runner_of(&self, attempt: u32) -> Option<String> {
        let started =
            self.history.iter().rev().find(|happened| {
                happened.kind() == MarkerKind::Started && happened.marker.attempt == attempt
            });
        started.map(|happened| happened.runner.clone())
    }
}

fn happened(marker: &MarkerRow, segment: SegmentName, commit_ms: u64, strings: &[String]) -> Happened {
    let mut marker = marker.clone();
    if marker.time_ms == 0 {
        marker.time_ms = commit_ms;
    }
    for output in &mut marker.output {
        output.segment.get_or_insert(segment);
    }
    Happened { time_ms: marker.time_ms, runner: name_of(strings, marker.runner), marker }
}

fn name_of(strings: &[String], runner: u32) -> String {
    runner.checked_sub(1).and_then(|index| strings.get(index as usize)).cloned().unwrap_or_default()
}

impl Happened {
    pub fn kind(&self) -> MarkerKind {
        self.marker.kind()
    }
}
