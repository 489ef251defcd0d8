//! The protocol on scripted answers. Whole clusters run in [`crate::sim`].

use bytes::Bytes;
use prost::Message;

use super::*;
use crate::model::row::{ChainLink, CommitRef, CommitRow, Origin, ProgressRow, SegmentName, SegmentRow};
use crate::store::{
    AppendOutcome, Claim, CommitKey, SegmentKey, StoreError, StoreErrorKind, StoredCommit, WriteOutcome,
};

const PARTITION: PartitionId = PartitionId { group: 3, index: 1 };
const INCARNATION: u64 = 77;

fn epoch(number: u32, incarnation: u64) -> Epoch {
    Epoch { number, incarnation }
}

fn claim(epoch: Epoch) -> Claim {
    Claim { epoch, owner: Bytes::from_static(b"somebody") }
}

fn segment(epoch: Epoch, segment: u32) -> SegmentKey {
    SegmentKey { partition: PARTITION, epoch, segment }
}

/// A row; row 0 names its head.
fn row(time_ms: u64, origin: Option<Option<(Epoch, u64)>>) -> Bytes {
    let head = |(epoch, cut): (Epoch, u64)| link(epoch, cut);
    let origin = origin.map(|of| Origin { head: of.map(head) });
    CommitRow { time_ms, origin, ..CommitRow::default() }.encode_to_vec().into()
}

fn link(epoch: Epoch, cut: u64) -> ChainLink {
    ChainLink { epoch_number: epoch.number, incarnation: epoch.incarnation, cut }
}

fn rows(from: u64, rows: impl IntoIterator<Item = Bytes>) -> Reply {
    let numbered = rows.into_iter().zip(from..).map(|(row, commit)| StoredCommit { commit, row });
    Reply::Commits(Ok(numbered.collect()))
}

fn progress(chain: Vec<ChainLink>, growing: SegmentKey) -> Bytes {
    let name = SegmentName {
        epoch_number: growing.epoch.number,
        incarnation: growing.epoch.incarnation,
        segment: growing.segment,
    };
    let segments = vec![SegmentRow { name: Some(name), ..SegmentRow::default() }];
    ProgressRow { min_reader: 1, chain, segments, ..ProgressRow::default() }.encode_to_vec().into()
}

fn away() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "no answer in time")
}

/// A protocol, its open calls, and what else it said.
struct Script {
    protocol: Protocol,
    now_ms: u64,
    calls: Vec<(u64, Request)>,
    said: Vec<Effect>,
    claimed: bool,
}

impl Script {
    fn new() -> Self {
        let protocol = Protocol::new(PARTITION, Bytes::from_static(b"us"), ProtocolSettings::default());
        let mut script =
            Self { protocol, now_ms: 1_000, calls: Vec::new(), said: Vec::new(), claimed: false };
        script.event(Event::Start { incarnation: INCARNATION });
        script
    }

    fn event(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.protocol.handle(self.now_ms, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Call { call, request } => self.calls.push((call, request)),
                Effect::Claimed => self.claimed = true,
                other => self.said.push(other),
            }
        }
    }

    /// Answers the oldest open call, which is returned.
    fn answer(&mut self, reply: Reply) -> Request {
        assert!(!self.calls.is_empty(), "nothing is asked");
        let (call, request) = self.calls.remove(0);
        self.event(Event::Reply { call, reply });
        request
    }

    /// Claims on top of those, newest first; everything is durable.
    fn claimed(&mut self, others: &[Epoch]) -> Epoch {
        let newest = others.first().copied().map(claim);
        self.answer(Reply::Claims(Ok(newest.into_iter().collect())));
        assert!(!self.claimed);
        let Request::InsertClaim { claim: own, .. } = self.answer(Reply::Written(WriteOutcome::Durable))
        else {
            panic!("it claims");
        };
        assert!(self.claimed, "reads may begin");
        let all = [own.epoch].iter().chain(others).copied().map(claim).collect();
        self.answer(Reply::Claims(Ok(all)));
        own.epoch
    }

    fn taken_over(&mut self) -> Box<Accepted> {
        let at = self.said.iter().position(|effect| matches!(effect, Effect::TakenOver(_)));
        match self.said.remove(at.expect("it has taken over")) {
            Effect::TakenOver(accepted) => accepted,
            other => panic!("{other:?}"),
        }
    }

    /// An owner of a new partition.
    fn owner() -> (Self, Epoch) {
        let mut script = Self::new();
        let own = script.claimed(&[]);
        script.taken_over();
        (script, own)
    }

    fn commit(&mut self, commit: u64) {
        let new = NewCommit {
            segment: 0,
            commit,
            row: row(commit, (commit == 0).then_some(None)),
            blobs: Vec::new(),
            entries: Vec::new(),
        };
        self.event(Event::Commit(new));
    }

    fn released(&self) -> Option<u64> {
        self.said.iter().rev().find_map(|effect| match effect {
            Effect::Released { up_to } => Some(*up_to),
            _ => None,
        })
    }

    /// Answers the first open call of that kind.
    fn answer_first(&mut self, is: impl Fn(&Request) -> bool, reply: Reply) -> Request {
        let at = self.calls.iter().position(|(_, request)| is(request)).expect("it is asked");
        let (call, request) = self.calls.remove(at);
        self.event(Event::Reply { call, reply });
        request
    }

    fn append_answered(&mut self, commit: u64, outcome: AppendOutcome) {
        let is = |request: &Request| matches!(request, Request::Append { append } if append.commit == commit);
        self.answer_first(is, Reply::Appended(outcome));
    }

    fn fence_answered(&mut self, highest: Epoch) {
        self.answer_first(is_fence, Reply::Highest(Ok(Some(claim(highest)))));
    }

    fn is_asked(&self, is: impl Fn(&Request) -> bool) -> bool {
        self.calls.iter().any(|(_, request)| is(request))
    }
}

fn is_fence(request: &Request) -> bool {
    matches!(request, Request::Highest { .. })
}

fn is_drop(request: &Request) -> bool {
    matches!(request, Request::DropSegment { .. })
}

fn is_prune(request: &Request) -> bool {
    matches!(request, Request::Prune { .. })
}

fn is_progress(request: &Request) -> bool {
    matches!(request, Request::PutProgress { .. })
}

#[test]
fn a_new_partition_is_taken_over_with_one_more_than_no_claim() {
    let mut script = Script::new();
    let own = script.claimed(&[]);
    let accepted = script.taken_over();
    assert_eq!(own, epoch(1, INCARNATION));
    assert_eq!((accepted.epoch, accepted.origin.head, accepted.chain.len()), (own, None, 0));
    assert!(script.protocol.can_append());
}

#[test]
fn of_two_claims_with_one_number_the_one_who_sees_the_other_goes() {
    for other in [epoch(1, INCARNATION - 1), epoch(1, INCARNATION + 1)] {
        let mut script = Script::new();
        script.answer(Reply::Claims(Ok(Vec::new())));
        script.answer(Reply::Written(WriteOutcome::Durable));
        let mut all = vec![claim(epoch(1, INCARNATION)), claim(other)];
        all.sort_by_key(|claim| std::cmp::Reverse(claim.epoch));
        script.answer(Reply::Claims(Ok(all)));
        assert!(matches!(script.said[..], [Effect::Superseded { by }] if by == other), "{:?}", script.said);
        let is_read = |request: &Request| matches!(request, Request::Progress { .. });
        assert!(script.calls.iter().all(|(_, request)| is_read(request)), "nothing of its epoch is written");
    }
}

#[test]
fn a_claim_of_unknown_outcome_is_repeated_with_the_same_bytes_before_anything_is_read() {
    let mut script = Script::new();
    script.answer(Reply::Claims(Ok(vec![claim(epoch(4, 1))])));
    let first = script.answer(Reply::Written(WriteOutcome::Unknown(away())));
    assert!(script.calls.is_empty(), "it waits before the next try");
    script.now_ms += 60;
    script.event(Event::Wake);
    assert_eq!(script.calls.len(), 1);
    assert_eq!(script.calls[0].1, first);
}

#[test]
fn a_take_over_with_progress_reads_that_and_the_rows_after_it_only() {
    let old = epoch(5, 50);
    let mut script = Script::new();
    let own = script.claimed(&[old, epoch(4, 40)]);
    let kept = progress(vec![link(epoch(4, 40), 7), link(old, 10)], segment(old, 2));
    let asked = script.answer(Reply::Progress(Ok(vec![(10, kept), (3, Bytes::new())])));
    assert!(matches!(asked, Request::Progress { epoch, .. } if epoch == old));
    let asked = script.answer(rows(11, [row(11, None), row(12, None)]));
    assert!(matches!(asked, Request::Commits { segment: of, from: 11, .. } if of == segment(old, 2)));
    let asked = script.answer(rows(13, []));
    assert!(matches!(asked, Request::Commits { segment: of, from: 11, .. } if of == segment(old, 3)));
    for commit in [11, 12] {
        let Request::Repeat { append } = script.answer(Reply::Written(WriteOutcome::Durable)) else {
            panic!("the tail is written again");
        };
        assert_eq!((append.segment, append.commit), (segment(old, 2), commit));
        assert_eq!(append.row, row(commit, None), "the same bytes");
    }
    let accepted = script.taken_over();
    assert_eq!(accepted.epoch, own);
    assert_eq!(accepted.chain, [link(epoch(4, 40), 7), link(old, 12)]);
    assert_eq!(accepted.origin.head, Some(link(old, 12)));
    assert_eq!(accepted.progress.map(|(at, _)| at), Some(CommitRef { epoch_number: 5, commit: 10 }));
    assert_eq!(accepted.tail.iter().map(|commit| commit.commit).collect::<Vec<_>>(), [11, 12]);
}

#[test]
fn progress_is_asked_for_along_with_the_claims_and_used_only_if_nobody_came_between() {
    let (old, between) = (epoch(5, 50), epoch(6, 60));
    let read_after = |others: &[Epoch]| {
        let mut script = Script::new();
        script.answer(Reply::Claims(Ok(vec![claim(old)])));
        script.answer(Reply::Written(WriteOutcome::Durable));
        let own = epoch(6, INCARNATION);
        // Its progress is there before the claims are.
        let kept = progress(vec![link(old, 10)], segment(old, 2));
        let is_progress = |request: &Request| matches!(request, Request::Progress { .. });
        script.answer_first(is_progress, Reply::Progress(Ok(vec![(10, kept)])));
        let all = [own].iter().chain(others).chain([&old]).copied().map(claim).collect();
        script.answer(Reply::Claims(Ok(all)));
        script
    };
    let script = read_after(&[]);
    assert!(script.is_asked(|request| matches!(request, Request::Commits { from: 11, .. })));
    let lower = Epoch { number: 5, incarnation: 51 };
    let mut script = read_after(&[lower]);
    let asked = script.answer(Reply::Progress(Ok(Vec::new())));
    assert!(matches!(asked, Request::Progress { epoch, .. } if epoch == lower), "of the newest lower claim");
    // That one has no row 0: the next is the one whose progress is known.
    script.answer(rows(0, []));
    script.answer(rows(0, []));
    assert!(script.is_asked(|request| matches!(request, Request::Commits { from: 11, .. })));
    assert!(matches!(read_after(&[between]).said[..], [Effect::Superseded { by }] if by == between));
}

#[test]
fn a_full_page_is_followed_by_the_rest_of_the_segment() {
    let old = epoch(1, 10);
    let mut script = Script::new();
    let page = ProtocolSettings::default().page_rows_max as u64;
    script.claimed(&[old]);
    script.answer(Reply::Progress(Ok(Vec::new())));
    script.answer(rows(0, (0..page).map(|commit| row(commit, (commit == 0).then_some(None)))));
    // What was read of the next segment may be of no use: it goes on after rows that are not known yet.
    script.answer(rows(page + 1, [row(page + 1, None)]));
    let asked = script.answer(rows(page, [row(page, None)]));
    assert!(
        matches!(asked, Request::Commits { segment: of, from, .. } if of == segment(old, 0) && from == page)
    );
    script.answer(rows(page + 1, [row(page + 1, None)]));
    let asked = script.answer(rows(page + 2, []));
    assert!(matches!(asked, Request::Commits { segment: of, .. } if of == segment(old, 2)), "{asked:?}");
    script.answer(rows(page + 2, []));
    while !script.calls.is_empty() {
        script.answer(Reply::Written(WriteOutcome::Durable));
    }
    let accepted = script.taken_over();
    assert_eq!(accepted.origin.head, Some(link(old, page + 1)));
    assert_eq!(accepted.tail.len() as u64, page + 2);
}

#[test]
fn without_progress_the_chain_is_followed_down_to_the_first_epoch() {
    let (first, second) = (epoch(1, 10), epoch(2, 20));
    let mut script = Script::new();
    script.claimed(&[second, first]);
    script.answer(Reply::Progress(Ok(Vec::new())));
    script.answer(rows(0, [row(9, Some(Some((first, 1))))]));
    script.answer(rows(1, []));
    script.answer(Reply::Progress(Ok(Vec::new())));
    // What the first epoch wrote after the cut is void.
    script.answer(rows(0, [row(1, Some(None)), row(2, None), row(3, None)]));
    script.answer(rows(4, []));
    for _ in 0..3 {
        script.answer(Reply::Written(WriteOutcome::Durable));
    }
    let accepted = script.taken_over();
    assert_eq!(accepted.chain, [link(first, 1), link(second, 0)]);
    assert_eq!(accepted.tail.iter().map(|commit| commit.row.time_ms).collect::<Vec<_>>(), [1, 2, 9]);
}

#[test]
fn a_row_after_a_gap_is_not_accepted() {
    let old = epoch(1, 10);
    let mut script = Script::new();
    script.claimed(&[old]);
    script.answer(Reply::Progress(Ok(Vec::new())));
    let read =
        [0, 1, 3].map(|commit| StoredCommit { commit, row: row(commit, (commit == 0).then_some(None)) });
    script.answer(Reply::Commits(Ok(read.into())));
    script.answer(rows(4, []));
    script.answer(Reply::Written(WriteOutcome::Durable));
    script.answer(Reply::Written(WriteOutcome::Durable));
    assert_eq!(script.taken_over().origin.head, Some(link(old, 1)));
}

#[test]
fn an_epoch_with_a_hole_in_what_its_chain_names_is_passed_over() {
    let (first, second) = (epoch(1, 10), epoch(2, 20));
    let mut script = Script::new();
    script.claimed(&[second, first]);
    script.answer(Reply::Progress(Ok(Vec::new())));
    script.answer(rows(0, [row(9, Some(Some((first, 1))))]));
    script.answer(rows(1, []));
    script.answer(Reply::Progress(Ok(Vec::new())));
    // Row 1 of the first epoch, which the second names, is not there, and row 2 is beyond its cut:
    // this page must not be read for ever.
    let read = [0, 2].map(|commit| StoredCommit { commit, row: row(commit, (commit == 0).then_some(None)) });
    script.answer(Reply::Commits(Ok(read.into())));
    script.answer(rows(3, []));
    let asked = script.answer(Reply::Progress(Ok(Vec::new())));
    assert!(matches!(asked, Request::Progress { epoch, .. } if epoch == first), "the next candidate");
    script.answer(rows(0, [row(1, Some(None))]));
    script.answer(rows(1, []));
    script.answer(Reply::Written(WriteOutcome::Durable));
    assert_eq!(script.taken_over().origin.head, Some(link(first, 0)));
}

#[test]
fn a_page_with_nothing_but_rows_beyond_the_cut_is_read_once() {
    let (first, second) = (epoch(1, 10), epoch(2, 20));
    let mut script = Script::new();
    script.claimed(&[second, first]);
    script.answer(Reply::Progress(Ok(Vec::new())));
    script.answer(rows(0, [row(9, Some(Some((first, 1))))]));
    script.answer(rows(1, []));
    script.answer(Reply::Progress(Ok(Vec::new())));
    script.answer(rows(5, [row(5, None)]));
    script.answer(rows(6, []));
    assert!(script.is_asked(|request| matches!(request, Request::Progress { epoch, .. } if *epoch == first)));
}

#[test]
fn a_claim_without_row_0_is_never_the_head() {
    let (first, empty) = (epoch(1, 10), epoch(2, 20));
    let mut script = Script::new();
    script.claimed(&[empty, first]);
    script.answer(Reply::Progress(Ok(Vec::new())));
    script.answer(rows(0, []));
    script.answer(rows(1, []));
    script.answer(Reply::Progress(Ok(Vec::new())));
    script.answer(rows(0, [row(1, Some(None))]));
    script.answer(rows(1, []));
    script.answer(Reply::Written(WriteOutcome::Durable));
    assert_eq!(script.taken_over().origin.head, Some(link(first, 0)));
}

#[test]
fn what_makes_no_sense_parks_the_partition() {
    let old = epoch(5, 50);
    let read = |reply: fn(Epoch) -> Vec<Reply>| {
        let mut script = Script::new();
        script.claimed(&[old]);
        reply(old).into_iter().for_each(|reply| drop(script.answer(reply)));
        script.said.pop()
    };
    type Replies = fn(Epoch) -> Vec<Reply>;
    let cases: [(&str, Replies); 6] = [
        ("progress that is no progress", |_| {
            vec![Reply::Progress(Ok(vec![(1, Bytes::from_static(b"\xff\xff"))]))]
        }),
        ("progress that does not end with its own epoch", |old| {
            let kept = progress(vec![link(epoch(4, 4), 1)], segment(old, 0));
            vec![Reply::Progress(Ok(vec![(1, kept)]))]
        }),
        ("progress that names no segment of its epoch", |old| {
            let kept = progress(vec![link(old, 1)], segment(epoch(4, 4), 0));
            vec![Reply::Progress(Ok(vec![(1, kept)]))]
        }),
        ("a row that is no row", |_| {
            vec![Reply::Progress(Ok(Vec::new())), rows(0, [Bytes::from_static(b"\xff\xff")]), rows(1, [])]
        }),
        ("row 0 that does not say what it goes on from", |_| {
            vec![Reply::Progress(Ok(Vec::new())), rows(0, [row(1, None)]), rows(1, [])]
        }),
        ("row 0 that goes on from itself", |old| {
            let first = row(1, Some(Some((old, 0))));
            vec![Reply::Progress(Ok(Vec::new())), rows(0, [first]), rows(1, [])]
        }),
    ];
    for (what, replies) in cases {
        let said = read(replies);
        let damaged = |error: &StoreError| error.kind == StoreErrorKind::Damaged;
        assert!(matches!(&said, Some(Effect::Failed(error)) if damaged(error)), "{what}: {said:?}");
    }
}

#[test]
fn progress_of_a_newer_version_is_refused_as_that() {
    let old = epoch(5, 50);
    let mut script = Script::new();
    script.claimed(&[old]);
    let row = ProgressRow { min_reader: 9, ..ProgressRow::default() }.encode_to_vec();
    script.answer(Reply::Progress(Ok(vec![(1, row.into())])));
    let newer = |error: &StoreError| error.kind == StoreErrorKind::NewerFormat;
    assert!(matches!(script.said.last(), Some(Effect::Failed(error)) if newer(error)));
}

#[test]
fn a_durable_commit_is_released_by_a_fence_read_begun_after_that() {
    let (mut script, own) = Script::owner();
    script.commit(0);
    assert!(!script.is_asked(is_fence), "nothing is durable yet");
    script.append_answered(0, AppendOutcome::Durable);
    script.commit(1);
    // While the fence read is on its way, commit 1 becomes durable: that read does not cover it.
    script.append_answered(1, AppendOutcome::Durable);
    script.fence_answered(own);
    assert_eq!(script.released(), Some(0));
    script.fence_answered(own);
    assert_eq!(script.released(), Some(1));
    assert!(script.calls.is_empty());
}

#[test]
fn commits_are_released_in_order_whatever_order_they_are_durable_in() {
    let (mut script, own) = Script::owner();
    (0..3).for_each(|commit| script.commit(commit));
    script.append_answered(2, AppendOutcome::Fenced);
    script.append_answered(1, AppendOutcome::Durable);
    assert_eq!(script.released(), None);
    script.append_answered(0, AppendOutcome::Fenced);
    assert_eq!(script.released(), Some(0), "1 is not covered by a fence read begun after it was durable");
    script.fence_answered(own);
    assert_eq!(script.released(), Some(2));
}

#[test]
fn a_higher_claim_ends_it_and_nothing_more_is_released() {
    let (mut script, own) = Script::owner();
    script.commit(0);
    script.append_answered(0, AppendOutcome::Durable);
    let higher = epoch(own.number, own.incarnation + 1);
    script.fence_answered(higher);
    assert!(matches!(script.said[..], [Effect::Superseded { by }] if by == higher));
    script.said.clear();
    script.commit(1);
    script.event(Event::Fence { ticket: 1 });
    script.event(Event::Wake);
    assert!(script.said.is_empty() && script.calls.is_empty());
    assert!(!script.protocol.can_append());
}

#[test]
fn an_append_that_is_refused_as_superseded_ends_it() {
    let (mut script, _) = Script::owner();
    script.commit(0);
    script.append_answered(0, AppendOutcome::Superseded(epoch(2, 1)));
    assert!(matches!(script.said[..], [Effect::Superseded { by }] if by == epoch(2, 1)));
}

#[test]
fn an_append_of_unknown_outcome_is_repeated_with_the_same_bytes_and_growing_delays() {
    let (mut script, _) = Script::owner();
    script.commit(0);
    let Request::Append { append } = script.calls[0].1.clone() else { panic!("it appends") };
    let mut delays = Vec::new();
    for outcome in [AppendOutcome::Unknown(away()), AppendOutcome::Refused(away())].iter().cycle().take(9) {
        script.append_answered(0, outcome.clone());
        let at_ms = script.said.iter().rev().find_map(|effect| match effect {
            Effect::WakeAt(at_ms) => Some(*at_ms),
            _ => None,
        });
        delays.push(at_ms.expect("it will be woken") - script.now_ms);
        script.now_ms = at_ms.expect("it will be woken");
        script.event(Event::Wake);
        assert_eq!(script.calls[0].1, Request::Append { append: append.clone() });
    }
    assert!(delays.is_sorted() && delays[0] == 50 && delays[8] == 2_000, "{delays:?}");
    let troubles = |script: &Script| {
        script
            .said
            .iter()
            .filter_map(|effect| match effect {
                Effect::Trouble(trouble) => Some(trouble.is_some()),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(troubles(&script), [true], "said once");
    script.append_answered(0, AppendOutcome::Fenced);
    assert_eq!(troubles(&script), [true, false], "and that it is over");
    assert_eq!(script.released(), Some(0));
}

#[test]
fn a_clock_that_is_set_back_does_not_stretch_a_delay() {
    let (mut script, _) = Script::owner();
    script.now_ms = 10_000_000;
    script.commit(0);
    script.append_answered(0, AppendOutcome::Unknown(away()));
    script.now_ms = 5_000;
    script.event(Event::Wake);
    script.now_ms += 2_000;
    script.event(Event::Wake);
    assert_eq!(script.calls.len(), 1, "it is sent again");
}

#[test]
fn commits_that_are_durable_and_not_released_take_room() {
    let (mut script, own) = Script::owner();
    (0..8).for_each(|commit| script.commit(commit));
    assert!(!script.protocol.can_append());
    (0..8).for_each(|commit| script.append_answered(commit, AppendOutcome::Durable));
    assert!(!script.protocol.can_append(), "the fence read has covered the first only");
    script.fence_answered(own);
    assert!(script.protocol.can_append());
}

#[test]
fn a_reply_waits_for_its_commits_and_for_a_fence_read_begun_after_it() {
    let (mut script, own) = Script::owner();
    script.commit(0);
    script.append_answered(0, AppendOutcome::Durable);
    script.event(Event::Fence { ticket: 5 });
    script.fence_answered(own);
    let passed = |script: &Script| {
        script.said.iter().any(|effect| matches!(effect, Effect::FencePassed { ticket: 5 }))
    };
    assert!(script.released() == Some(0) && !passed(&script), "that read began before the question");
    script.fence_answered(own);
    assert!(passed(&script));
}

#[test]
fn an_append_sent_after_a_question_and_answered_fenced_answers_it() {
    let (mut script, _) = Script::owner();
    script.commit(0);
    script.append_answered(0, AppendOutcome::Fenced);
    script.commit(1);
    script.event(Event::Fence { ticket: 5 });
    script.commit(2);
    script.append_answered(1, AppendOutcome::Fenced);
    let passed = |script: &Script| {
        script.said.iter().any(|effect| matches!(effect, Effect::FencePassed { ticket: 5 }))
    };
    assert!(!passed(&script), "commit 1 was sent before the question");
    script.append_answered(2, AppendOutcome::Fenced);
    assert!(passed(&script));
}

/// Progress as of a commit, with one summary.
fn new_progress(own: Epoch, as_of: u64) -> NewProgress {
    NewProgress {
        as_of,
        row: progress(vec![link(own, as_of)], segment(own, 1)),
        summaries: vec![(segment(own, 0), Bytes::from_static(b"summary"))],
        in_use: vec![(segment(own, 0), CommitKey { epoch: own, commit: as_of })],
    }
}

#[test]
fn progress_follows_its_commit_and_its_summaries_and_pruning_follows_a_fence_read() {
    let (mut script, own) = Script::owner();
    script.commit(0);
    script.event(Event::Progress(new_progress(own, 0)));
    script.append_answered(0, AppendOutcome::Durable);
    assert!(!script.is_asked(|request| matches!(request, Request::PutSummary { .. })), "not released yet");
    script.fence_answered(own);
    assert!(!script.is_asked(is_progress), "the summary is not durable yet");
    script.answer(Reply::Written(WriteOutcome::Durable));
    assert!(script.is_asked(is_progress));
    script.answer(Reply::Written(WriteOutcome::Durable));
    assert!(script.said.iter().any(|effect| matches!(effect, Effect::ProgressDurable { as_of: 0 })));
    assert!(!script.is_asked(is_prune), "a successor may have read what went before");
    script.fence_answered(own);
    assert!(script.is_asked(is_prune));
}

#[test]
fn a_condemned_segment_goes_after_release_progress_and_a_fence_read() {
    let (mut script, own) = Script::owner();
    script.commit(0);
    script.append_answered(0, AppendOutcome::Fenced);
    script.commit(1);
    let condemned = segment(epoch(1, 5), 0);
    script.event(Event::Drop { segment: condemned, condemned_by: 1 });
    // Progress before the commit that condemns it does not count.
    script.event(Event::Progress(new_progress(own, 0)));
    script.answer_first(
        |request| matches!(request, Request::PutSummary { .. }),
        Reply::Written(WriteOutcome::Durable),
    );
    script.answer_first(is_progress, Reply::Written(WriteOutcome::Durable));
    script.fence_answered(own);
    script.append_answered(1, AppendOutcome::Fenced);
    assert!(!script.is_asked(is_drop));
    script.event(Event::Progress(new_progress(own, 1)));
    script.answer_first(
        |request| matches!(request, Request::PutSummary { .. }),
        Reply::Written(WriteOutcome::Durable),
    );
    script.answer_first(is_progress, Reply::Written(WriteOutcome::Durable));
    assert!(!script.is_asked(is_drop), "no fence read began after that");
    script.fence_answered(own);
    script.answer_first(is_drop, Reply::Written(WriteOutcome::Durable));
    assert!(
        script
            .said
            .iter()
            .any(|effect| matches!(effect, Effect::Dropped { segment } if *segment == condemned))
    );
}

#[test]
fn after_a_stop_nothing_comes_out() {
    let (mut script, _) = Script::owner();
    script.commit(0);
    script.event(Event::Stop);
    script.append_answered(0, AppendOutcome::Fenced);
    script.event(Event::Wake);
    assert!(script.said.is_empty() && script.calls.is_empty());
}

#[test]
fn a_late_answer_to_a_call_that_is_done_counts_for_nothing() {
    let (mut script, _) = Script::owner();
    script.commit(0);
    let call = script.calls[0].0;
    script.append_answered(0, AppendOutcome::Fenced);
    script.said.clear();
    script.event(Event::Reply { call, reply: Reply::Appended(AppendOutcome::Unknown(away())) });
    assert!(script.said.is_empty() && script.calls.is_empty());
}

#[test]
fn what_looks_damaged_is_said_only_after_a_fence_read_begun_after_that() {
    let (mut script, own) = Script::owner();
    script.commit(0);
    script.append_answered(0, AppendOutcome::Durable);
    let gone = StoreError::new(StoreErrorKind::Damaged, "a summary is gone");
    script.event(Event::Damaged(gone.clone()));
    script.fence_answered(own);
    let failed = |effect: &Effect| matches!(effect, Effect::Failed(_));
    assert!(!script.said.iter().any(failed), "that read began before the damage was seen");
    script.fence_answered(own);
    assert!(matches!(script.said.last(), Some(Effect::Failed(error)) if *error == gone));
    assert!(!script.protocol.can_append());
}

#[test]
fn a_claim_that_was_overtaken_while_it_opened_is_superseded_and_not_damaged() {
    let (mut script, own) = Script::owner();
    let gone = StoreError::new(StoreErrorKind::Damaged, "a summary is gone");
    script.event(Event::Damaged(gone));
    let higher = epoch(own.number + 1, 9);
    script.fence_answered(higher);
    assert!(matches!(script.said[..], [Effect::Superseded { by }] if by == higher));
}
