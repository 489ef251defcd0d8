//! Taking a partition over: claim, find the head, read what it has accepted, make that durable.
//!
//! ```text
//! highest? ─▶ claim ─▶ all claims ─▶ candidate: newest lower epoch
//!                                       │ progress? rows from there; else rows from 0 and on to its head
//!                        next older ◀───┤ row 0 not seen, or a hole in what its chain names
//!                                       ▼
//!                                    write the tail again ─▶ done
//! ```
//!
//! A partition stands still meanwhile, so what does not depend on each other is asked at once, as long
//! as all of it begins after the claim is durable: progress of the epoch that was the highest along
//! with all claims, and the rows of a segment along with those of the next.
//!
//! A candidate's epoch has a chain if its row 0 was read, or progress of its own was (which is
//! written only after release, so its row 0 was durable). Everything that the chain names must be
//! read: an epoch with a hole there released nothing and is passed over. What is read after the
//! latest progress is not known to be durable, and is written again before row 0 may be.

use std::collections::VecDeque;

use bytes::Bytes;
use prost::Message;

use crate::engine::TailCommit;
use crate::model::limits::COMMIT_BYTES_MAX;
use crate::model::row::{ChainLink, CommitRef, CommitRow, Origin, ProgressRow, SegmentName};
use crate::model::{Epoch, PartitionId};
use crate::store::{Append, Claim, SegmentKey, StoreError, StoreErrorKind, StoredCommit};

use super::calls::{Reply, Request, damaged};
use super::{Accepted, ProtocolSettings};
use crate::sim::mutation::{Mutation, active};

/// Version of the reader that this is: progress that asks for a newer one is refused.
const READER: u32 = 2;
/// Claims of one page.
const CLAIMS_PAGE: usize = 256;
/// Progress rows of one epoch that are looked at.
const PROGRESS_ROWS: usize = 16;
/// Rows of the tail that are written again at a time.
const REPEATS_AT_ONCE: usize = 32;

/// Which of two calls that are made at once an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The one that the take-over needs in any case.
    First,
    /// The one that it is likely to need next.
    Ahead,
}

/// What a take-over does next.
pub(super) enum Next {
    Ask(Vec<(Part, Request)>),
    /// It waits for another call's answer.
    Wait,
    /// The head, and writes that make all of it durable.
    Found(Box<Accepted>, Vec<(Part, Request)>),
    /// It is durable.
    Done,
    Superseded(Epoch),
    Failed(StoreError),
}

/// One epoch of a candidate's chain, as far as it has been read.
#[derive(Debug)]
struct Link {
    epoch: Epoch,
    /// The last commit that its successor accepted; none for the candidate itself.
    cut: Option<u64>,
    /// Next commit to be read.
    from: u64,
    segment: u32,
    /// Nothing more of it can be there.
    exhausted: bool,
    rows: Vec<(SegmentKey, StoredCommit, CommitRow)>,
    /// A row beyond a gap has been seen: nothing after it counts.
    closed: bool,
}

#[derive(Debug)]
enum Step {
    Highest,
    Claiming,
    /// With the progress of the epoch that was the highest before the claim.
    AllClaims,
    Progress,
    /// What has come of the segment and of the next.
    Rows {
        here: Option<Vec<StoredCommit>>,
        ahead: Option<Vec<StoredCommit>>,
    },
    Repeating {
        waiting: usize,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct TakeOver {
    partition: PartitionId,
    owner: Bytes,
    incarnation: u64,
    settings: ProtocolSettings,
    step: Step,
    own: Epoch,
    /// Lower claims that are still to be looked at, newest first.
    candidates: VecDeque<Epoch>,
    lowest_listed: Option<Epoch>,
    own_seen: bool,
    /// The highest claim before the own one, and its progress once that has been read.
    before: Option<Epoch>,
    progress_before: Option<Vec<(u64, Bytes)>>,
    /// The candidate's chain, newest first.
    links: Vec<Link>,
    progress: Option<(CommitRef, ProgressRow)>,
    repeats: VecDeque<Append>,
    passed_over: usize,
}

impl TakeOver {
    pub fn start(partition: PartitionId, owner: Bytes, incarnation: u64, settings: ProtocolSettings) -> Self {
        Self {
            partition,
            owner,
            incarnation,
            settings,
            step: Step::Highest,
            own: Epoch { number: 0, incarnation },
            candidates: VecDeque::new(),
            lowest_listed: None,
            own_seen: false,
            before: None,
            progress_before: None,
            links: Vec::new(),
            progress: None,
            repeats: VecDeque::new(),
            passed_over: 0,
        }
    }

    pub fn first_request(&self) -> Request {
        let limit = if active(Mutation::ListedBeforeClaim) { CLAIMS_PAGE } else { 1 };
        Request::Claims { partition: self.partition, below: None, limit }
    }

    /// The epoch claimed.
    pub fn epoch(&self) -> Epoch {
        self.own
    }

    /// The next answer says that the claim is durable.
    pub fn is_claiming(&self) -> bool {
        matches!(self.step, Step::Claiming)
    }

    /// Takes the answer to what was asked last.
    pub fn go_on(&mut self, part: Part, reply: Reply) -> Next {
        match (&mut self.step, reply) {
            (Step::Highest, Reply::Claims(Ok(claims))) => {
                if active(Mutation::ListedBeforeClaim) {
                    self.candidates = claims.iter().map(|claim| claim.epoch).collect();
                }
                self.claim(claims.first().map(|claim| claim.epoch))
            }
            (Step::Claiming, Reply::Written(_)) if active(Mutation::ListedBeforeClaim) => {
                self.next_candidate()
            }
            (Step::Claiming, Reply::Written(_)) => {
                self.step = Step::AllClaims;
                let (partition, limit) = (self.partition, self.claims_page());
                let mut requests = vec![(Part::First, Request::Claims { partition, below: None, limit })];
                if let Some(epoch) = self.before {
                    requests
                        .push((Part::Ahead, Request::Progress { partition, epoch, limit: PROGRESS_ROWS }));
                }
                Next::Ask(requests)
            }
            (Step::AllClaims, Reply::Claims(Ok(claims))) => self.listed(claims),
            // The claims are not all there yet, or another epoch's progress is waited for.
            (_, Reply::Progress(Ok(rows))) if part == Part::Ahead => self.progress_of_before(rows),
            (Step::Progress, Reply::Progress(Ok(rows))) => self.progress_read(rows),
            (Step::Rows { here, ahead }, Reply::Commits(Ok(rows))) => {
                match part {
                    Part::First => *here = Some(rows),
                    Part::Ahead => *ahead = Some(rows),
                }
                if here.is_none() || ahead.is_none() {
                    return Next::Wait;
                }
                let (here, ahead) = (here.take().unwrap_or_default(), ahead.take().unwrap_or_default());
                self.rows_read(here, ahead)
            }
            (Step::Repeating { waiting }, Reply::Written(_)) => {
                *waiting -= 1;
                self.repeat()
            }
            (step, reply) => Next::Failed(damaged(format!("{reply:?} is no answer while {step:?}"))),
        }
    }

    fn ask(&self, request: Request) -> Next {
        Next::Ask(vec![(Part::First, request)])
    }

    fn claim(&mut self, highest: Option<Epoch>) -> Next {
        let number = highest.map_or(0, |epoch| epoch.number) + 1;
        if number > Epoch::NUMBER_MAX {
            return Next::Failed(StoreError::new(
                StoreErrorKind::Unsupported,
                format!("partition {} has used up its epoch numbers", self.partition),
            ));
        }
        self.own = Epoch { number, incarnation: self.incarnation };
        self.before = highest.filter(|_| !active(Mutation::ListedBeforeClaim));
        self.step = Step::Claiming;
        let claim = Claim { epoch: self.own, owner: self.owner.clone() };
        self.ask(Request::InsertClaim { partition: self.partition, claim })
    }

    fn claims_page(&self) -> usize {
        self.settings.page_rows_max.clamp(1, CLAIMS_PAGE)
    }

    fn listed(&mut self, claims: Vec<Claim>) -> Next {
        let limit = self.claims_page();
        let full = claims.len() >= limit && !active(Mutation::PageOfClaimsOnly);
        for Claim { epoch, .. } in claims {
            self.lowest_listed = Some(epoch);
            // Of two claims with one number at least one sees the other, and goes: a number never
            // stands for two epochs with rows.
            let same_number = epoch.number == self.own.number && epoch != self.own;
            if epoch > self.own && !same_number || same_number && !active(Mutation::SameNumberTolerated) {
                return Next::Superseded(epoch);
            }
            if epoch == self.own {
                self.own_seen = true;
            } else {
                self.candidates.push_back(epoch);
            }
        }
        if full {
            let (partition, below) = (self.partition, self.lowest_listed);
            return self.ask(Request::Claims { partition, below, limit });
        }
        // A mutant that takes an unknown claim for durable is for the oracle to find.
        if !self.own_seen && !active(Mutation::ClaimUnknownIsDurable) {
            return Next::Failed(damaged(format!(
                "the claim {} of partition {} was durable and is not there",
                self.own, self.partition
            )));
        }
        self.next_candidate()
    }

    fn next_candidate(&mut self) -> Next {
        self.passed_over += usize::from(!self.links.is_empty());
        self.links.clear();
        self.progress = None;
        let oldest_first = active(Mutation::OldestCandidateFirst);
        let next = if oldest_first { self.candidates.pop_back() } else { self.candidates.pop_front() };
        match next {
            Some(epoch) => self.follow(epoch, None),
            None => Next::Found(self.accepted(), Vec::new()),
        }
    }

    /// Goes on to an epoch of the candidate's chain.
    fn follow(&mut self, epoch: Epoch, cut: Option<u64>) -> Next {
        let link =
            Link { epoch, cut, from: 0, segment: 0, exhausted: false, rows: Vec::new(), closed: false };
        self.links.push(link);
        self.step = Step::Progress;
        if self.before != Some(epoch) {
            return self.ask(Request::Progress { partition: self.partition, epoch, limit: PROGRESS_ROWS });
        }
        match self.progress_before.clone() {
            Some(rows) => self.progress_read(rows),
            None => Next::Wait,
        }
    }

    /// Progress that was asked for along with the claims.
    fn progress_of_before(&mut self, rows: Vec<(u64, Bytes)>) -> Next {
        let waited_for = matches!(self.step, Step::Progress)
            && self.links.last().is_some_and(|link| Some(link.epoch) == self.before);
        self.progress_before = Some(rows.clone());
        if waited_for { self.progress_read(rows) } else { Next::Wait }
    }

    fn progress_read(&mut self, rows: Vec<(u64, Bytes)>) -> Next {
        let Some(link) = self.links.last_mut() else { return self.next_candidate() };
        // Progress as of a commit beyond the cut is not on the chain.
        let found = rows.into_iter().find(|(as_of, _)| link.cut.is_none_or(|cut| *as_of <= cut));
        if let Some((as_of, bytes)) = found {
            let row = match ProgressRow::decode(bytes) {
                Ok(row) => row,
                Err(error) => {
                    return Next::Failed(damaged(format!(
                        "progress of partition {} as of {}/{as_of} can't be read: {error}",
                        self.partition, link.epoch
                    )));
                }
            };
            if row.min_reader > READER {
                return Next::Failed(StoreError::new(
                    StoreErrorKind::NewerFormat,
                    format!("partition {} was written by a newer version of qdo", self.partition),
                ));
            }
            let own = (link.epoch.number, link.epoch.incarnation);
            let names = row.segments.iter().filter_map(|segment| segment.name);
            let growing = names
                .filter(|name| (name.epoch_number, name.incarnation) == own)
                .map(|name| name.segment)
                .max();
            let written_in = row.chain.last().map(|last| (last.epoch_number, last.incarnation, last.cut));
            let Some(growing) = growing.filter(|_| written_in == Some((own.0, own.1, as_of))) else {
                return Next::Failed(damaged(format!(
                    "progress of partition {} as of {}/{as_of} does not name its own epoch and segment",
                    self.partition, link.epoch
                )));
            };
            link.from = as_of + 1;
            link.segment = growing;
            let at = CommitRef { epoch_number: link.epoch.number, commit: as_of };
            self.progress = Some((at, row));
        }
        self.read_on()
    }

    /// Reads on in the oldest epoch of the chain so far, or goes on from there.
    fn read_on(&mut self) -> Next {
        let Some(link) = self.links.last() else { return self.next_candidate() };
        let complete = link.cut.is_some_and(|cut| link.from > cut);
        if complete || link.closed || link.exhausted {
            return self.epoch_read();
        }
        let segment = SegmentKey { partition: self.partition, epoch: link.epoch, segment: link.segment };
        let next = SegmentKey { segment: link.segment + 1, ..segment };
        let (from, limit, bytes_max) = (link.from, self.settings.page_rows_max, self.settings.page_bytes_max);
        let rows_of = |segment| Request::Commits { segment, from, limit, bytes_max };
        let alone = active(Mutation::OneSegmentOfRows);
        self.step = Step::Rows { here: None, ahead: alone.then(Vec::new) };
        let mut requests = vec![(Part::First, rows_of(segment))];
        if !alone {
            requests.push((Part::Ahead, rows_of(next)));
        }
        Next::Ask(requests)
    }

    /// One page of a segment and one of the next. Where both are at their end and the second has no
    /// row, so is the journal: a segment begins only after the one before has rows.
    fn rows_read(&mut self, here: Vec<StoredCommit>, ahead: Vec<StoredCommit>) -> Next {
        let more_here = !self.is_last_page(&here) && !active(Mutation::OnePageOfRows);
        let more_ahead = !self.is_last_page(&ahead) && !active(Mutation::OnePageOfRows);
        let goes_on = !ahead.is_empty();
        if let Err(error) = self.take_rows(here) {
            return Next::Failed(error);
        }
        if more_here {
            return self.read_on();
        }
        self.next_segment();
        if let Err(error) = self.take_rows(ahead) {
            return Next::Failed(error);
        }
        if !more_ahead {
            self.next_segment();
        }
        if let Some(link) = self.links.last_mut() {
            link.exhausted = !goes_on;
        }
        self.read_on()
    }

    /// Whether there is nothing after this page: one more row of the largest size would have found
    /// room in it.
    fn is_last_page(&self, rows: &[StoredCommit]) -> bool {
        let bytes: usize = rows.iter().map(|row| row.row.len()).sum();
        rows.len() < self.settings.page_rows_max
            && (rows.is_empty() || bytes + COMMIT_BYTES_MAX <= self.settings.page_bytes_max)
    }

    fn next_segment(&mut self) {
        if let Some(link) = self.links.last_mut() {
            link.segment += 1;
        }
    }

    /// Rows of the current segment, as far as they go on from what has been read.
    fn take_rows(&mut self, rows: Vec<StoredCommit>) -> Result<(), StoreError> {
        let Some(link) = self.links.last_mut() else { return Ok(()) };
        let key = SegmentKey { partition: self.partition, epoch: link.epoch, segment: link.segment };
        for row in rows {
            if link.closed {
                break;
            }
            if row.commit != link.from && active(Mutation::GapIgnoredAtCut) && link.from > 0 {
                link.from = row.commit;
            }
            if row.commit != link.from || link.cut.is_some_and(|cut| row.commit > cut) {
                link.closed = true;
                break;
            }
            let decoded = CommitRow::decode(row.row.clone()).map_err(|error| {
                damaged(format!(
                    "commit {} of epoch {} of partition {} can't be read: {error}",
                    row.commit, link.epoch, self.partition
                ))
            })?;
            link.from += 1;
            link.rows.push((key, row, decoded));
        }
        Ok(())
    }

    /// All that is there of one epoch has been read: does it make sense, and where does it go on?
    fn epoch_read(&mut self) -> Next {
        let is_candidate = self.links.len() == 1;
        let Some(link) = self.links.last() else { return self.next_candidate() };
        if link.cut.is_some_and(|cut| link.from <= cut) {
            return self.next_candidate();
        }
        if self.progress.is_some() {
            return self.head_found();
        }
        let Some((_, _, first)) = link.rows.first() else {
            // A claim without row 0 is never the head; on a chain it is a hole.
            debug_assert!(is_candidate, "an epoch with a cut has at least its row 0");
            if active(Mutation::HeadWithoutRowZero) {
                return self.head_found();
            }
            return self.next_candidate();
        };
        let below = link.epoch;
        let Some(origin) = &first.origin else {
            return Next::Failed(damaged(format!(
                "row 0 of epoch {below} of partition {} does not say what it goes on from",
                self.partition
            )));
        };
        match origin.head {
            Some(head) => {
                let epoch = Epoch { number: head.epoch_number, incarnation: head.incarnation };
                if epoch.number >= below.number {
                    return Next::Failed(damaged(format!(
                        "epoch {below} of partition {} goes on from {epoch}, which is not before it",
                        self.partition
                    )));
                }
                self.follow(epoch, Some(head.cut))
            }
            None => self.head_found(),
        }
    }

    /// The candidate is the head. What was read after its progress is written again.
    fn head_found(&mut self) -> Next {
        let tail = self.links.iter().rev().flat_map(|link| &link.rows);
        self.repeats = tail
            .map(|(segment, stored, _)| Append {
                segment: *segment,
                commit: stored.commit,
                row: stored.row.clone(),
                // A row is seen only after its blobs and entries were durable: `Store::append`.
                blobs: Vec::new(),
                entries: Vec::new(),
            })
            .collect();
        if active(Mutation::TailNotRepeated) {
            self.repeats.clear();
        }
        self.step = Step::Repeating { waiting: 0 };
        let accepted = self.accepted();
        Next::Found(accepted, self.next_repeats())
    }

    fn repeat(&mut self) -> Next {
        let requests = self.next_repeats();
        match (&self.step, requests.is_empty()) {
            (_, false) => Next::Ask(requests),
            (Step::Repeating { waiting: 0 }, true) => Next::Done,
            (_, true) => Next::Wait,
        }
    }

    fn next_repeats(&mut self) -> Vec<(Part, Request)> {
        let Step::Repeating { waiting } = &mut self.step else { return Vec::new() };
        let mut requests = Vec::new();
        while *waiting < REPEATS_AT_ONCE
            && let Some(append) = self.repeats.pop_front()
        {
            *waiting += 1;
            requests.push((Part::First, Request::Repeat { append: Box::new(append) }));
        }
        requests
    }

    fn accepted(&mut self) -> Box<Accepted> {
        let mut links = std::mem::take(&mut self.links);
        links.reverse();
        let mut chain: Vec<ChainLink> =
            self.progress.as_ref().map_or_else(Vec::new, |(_, progress)| progress.chain.clone());
        // Its last link is the epoch that it was written in, which went on after it.
        chain.pop();
        if active(Mutation::ChainOfProgressLost) {
            chain.clear();
        }
        chain.extend(links.iter().map(|link| ChainLink {
            epoch_number: link.epoch.number,
            incarnation: link.epoch.incarnation,
            // At least row 0 was read of every link.
            cut: link.from.saturating_sub(1),
        }));
        let origin = Origin { head: chain.last().copied() };
        let tail = links.into_iter().flat_map(|link| link.rows);
        let tail = tail
            .map(|(segment, stored, row)| TailCommit {
                segment: SegmentName {
                    epoch_number: segment.epoch.number,
                    incarnation: segment.epoch.incarnation,
                    segment: segment.segment,
                },
                commit: stored.commit,
                bytes: stored.row.len() as u64,
                row,
            })
            .collect();
        let (progress, passed_over) = (self.progress.take(), self.passed_over);
        Box::new(Accepted { epoch: self.own, chain, origin, progress, tail, passed_over })
    }
}
