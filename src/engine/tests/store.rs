//! What the store holds, and reading it as a worker would.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::world::PARTITION;
use crate::engine::*;
use crate::model::JobId;
use crate::model::row::{BlobRef, CommitRef, CommitRow, JobRow, MarkerRow, Place, SegmentName, TokensRow};

/// One commit: its segment, its bytes, and what is read from them.
#[derive(Clone, Debug)]
pub struct StoredRow {
    pub segment: SegmentName,
    pub bytes: u64,
    pub row: Arc<CommitRow>,
}

/// A job's row, its kind and its content type.
pub struct Body {
    pub row: JobRow,
    pub kind: String,
    pub content_type: String,
}

#[derive(Default)]
pub struct FakeStore {
    pub rows: BTreeMap<(u32, u64), StoredRow>,
    pub blobs: HashMap<(SegmentName, u64, u32), Bytes>,
    pub entries: Vec<Entry>,
    pub summaries: BTreeMap<(SegmentName, CommitRef), Bytes>,
    pub progress: BTreeMap<(u32, u64), Bytes>,
    pub dropped: BTreeSet<SegmentName>,
}

impl FakeStore {
    /// Writes a commit, and what has to be durable with it.
    pub fn append(&mut self, segment: SegmentName, commit: &Commit) {
        assert!(!self.dropped.contains(&segment), "a commit of a segment that was dropped");
        let bytes = commit.row.encode_to_vec();
        let row = Arc::new(CommitRow::decode(&bytes[..]).expect("a commit"));
        let stored = StoredRow { segment, bytes: bytes.len() as u64, row };
        self.rows.insert((segment.epoch_number, commit.commit), stored);
        for (blob, chunk, bytes) in &commit.blobs {
            self.blobs.insert((segment, *blob, *chunk), bytes.clone());
        }
        self.entries.extend(commit.entries.iter().cloned());
    }

    pub fn drop_segment(&mut self, name: SegmentName) {
        self.rows.retain(|_, stored| stored.segment != name);
        self.blobs.retain(|(segment, ..), _| *segment != name);
        self.summaries.retain(|(segment, _), _| *segment != name);
        self.dropped.insert(name);
    }

    fn row(&self, at: CommitRef) -> &CommitRow {
        let stored = self.rows.get(&(at.epoch_number, at.commit));
        &stored.unwrap_or_else(|| panic!("no commit {at:?} to read")).row
    }

    pub fn body(&self, place: Place) -> Body {
        let commit = self.row(CommitRef { epoch_number: place.epoch_number, commit: place.commit });
        let row = commit.jobs[place.place as usize].clone();
        let kind = commit.strings[row.kind as usize].clone();
        let content_type = match row.content_type {
            0 => String::new(),
            number => commit.strings[number as usize - 1].clone(),
        };
        Body { row, kind, content_type }
    }

    pub fn read_for_rewrite(&self, name: SegmentName, request: &RewriteRequest) -> RewrittenJob {
        let place = Place { epoch_number: name.epoch_number, commit: request.commit, place: request.place };
        let Body { row, kind, content_type } = self.body(place);
        let mut history = Vec::new();
        let mut strings = Vec::new();
        if let Some(again) = &row.again {
            strings.extend(again.strings.iter().cloned());
            history.extend(again.history.iter().cloned());
        }
        let mut markers: Vec<MarkerRow> = Vec::new();
        let mut next = request.last;
        while let Some(at) = next {
            let commit = self.row(at);
            let of_job: Vec<&MarkerRow> =
                commit.markers.iter().filter(|marker| marker.job == Some(place)).collect();
            assert!(!of_job.is_empty(), "the way back through a history ends nowhere");
            next = of_job[0].previous.filter(|previous| *previous != at);
            for marker in of_job.into_iter().rev() {
                let mut marker = marker.clone();
                if marker.runner > 0 {
                    strings.push(commit.strings[marker.runner as usize - 1].clone());
                    marker.runner = strings.len() as u32;
                }
                if marker.time_ms == 0 {
                    marker.time_ms = commit.time_ms;
                }
                markers.push(marker);
            }
        }
        history.extend(markers.into_iter().rev());
        let mut blobs: Vec<BlobRef> = row.payload_blob.into_iter().collect();
        for marker in &history {
            blobs.extend(marker.result_blob);
            blobs.extend(marker.output.iter().filter(|blob| blob.segment.is_some()));
        }
        let chunks = |blob: &BlobRef| {
            let segment = blob.segment.expect("a kept blob names its segment");
            (0..blob.chunks)
                .map(|chunk| {
                    self.blobs.get(&(segment, blob.blob, chunk)).expect("a blob's chunk is there").clone()
                })
                .collect()
        };
        RewrittenJob {
            index: request.index,
            enqueued_ms: row.enqueued_ms,
            kind,
            content_type,
            blobs: blobs.iter().map(|blob| (*blob, chunks(blob))).collect(),
            row,
            history,
            strings,
            last: request.last,
        }
    }

    /// Places of a job in the index, newest first.
    pub fn places_of(&self, job: JobId) -> Vec<Place> {
        let of_job = |entry: &&Entry| {
            entry.scope == Scope::Place
                && entry.bucket == place_bucket(job)
                && entry.term[..] == job.to_bytes()
        };
        let mut places: Vec<Place> = self
            .entries
            .iter()
            .filter(of_job)
            .map(|entry| Place::decode(&entry.value[..]).expect("a place"))
            .collect();
        places.sort_unstable();
        places.reverse();
        places
    }

    /// Tokens that may still count.
    pub fn tokens(&self, now_ms: u64) -> Vec<(TokenHash, JobId, u64)> {
        let bucket = now_ms / TOKEN_BUCKET_MS;
        let mut tokens = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.scope == Scope::Token) {
            if entry.bucket != bucket && entry.bucket + 1 != bucket {
                continue;
            }
            let epoch_number = u32::from_be_bytes(entry.term[..4].try_into().expect("an epoch"));
            let commit = u64::from_be_bytes(entry.term[4..].try_into().expect("a commit"));
            let row = TokensRow::decode(&entry.value[..]).expect("tokens");
            for (hash, place) in row.hashes.chunks(16).zip(&row.places) {
                let id = JobId::new(PARTITION, epoch_number, commit, *place as u16);
                tokens.push((hash.try_into().expect("16 bytes"), id, row.time_ms));
            }
        }
        tokens
    }
}
