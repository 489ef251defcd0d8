//! The supervisor's state, and what follows from each thing that it is told.
//!
//! ```text
//! apart ─join─▶ joining ─▶ in a session: sure ◀─▶ unsure ─▶ lost ─back-off─▶ joining …
//! ```
//!
//! What is to be done next, given the state, is in `pump.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::coordination::{
    CoordinationError, CoordinationErrorKind, LockOutcome, Member, PartitionName, SessionState, View,
    WorkerId,
};
use crate::model::PartitionId;

use super::peers::{self, Oddities, STORE_KEY};
use super::places::{Place, Places};
use super::plan::{Plan, Settling};
use super::types::{Call, ClockState, Input, Level, Output, Settings};

/// First and longest pause between tries of what the coordinator did not do.
pub(super) const BACKOFF_MS: (u64, u64) = (200, 5_000);
/// A lock that no view has shown for so long is asked for again.
const CONFIRM_MS: u64 = 2_000;
/// First and longest time until a parked partition is tried here again.
const PARKED_MS: (u64, u64) = (60_000, 16 * 60_000);
/// After the catalogue was read, it is not read again for so many times as long as that took.
const READ_SHARE: u64 = 3;
/// What a view does not show as it was published is published again after so long.
const SHOW_AGAIN_MS: u64 = 500;
/// What goes on being wrong is said once in so long.
const SAY_EVERY_MS: u64 = 60_000;
/// Parked partitions that others are told of: a member has its bounds.
const CANNOT_SERVE_MAX: usize = 256;
/// Partitions that one line for people names.
const NAMED_MAX: usize = 5;

/// Where this worker stands with the coordinator.
#[derive(Debug)]
pub(super) enum Standing {
    /// No session; one is begun at that time.
    Apart {
        join_ms: u64,
    },
    Joining {
        call: Call,
    },
    In {
        state: SessionState,
        view: Option<Arc<View>>,
    },
}

/// Something to be done until it has been.
#[derive(Debug, Default)]
pub(super) struct Chore {
    pub wanted: bool,
    pub call: Option<Call>,
    tries: u32,
    not_before_ms: u64,
}

impl Chore {
    pub fn due(&self, now_ms: u64) -> bool {
        self.wanted && self.call.is_none() && self.not_before_ms <= now_ms
    }

    pub fn due_ms(&self) -> Option<u64> {
        (self.wanted && self.call.is_none()).then_some(self.not_before_ms)
    }

    /// Takes an answer in: whether it is the one that was waited for.
    fn answered(&mut self, call: Call, done: bool, now_ms: u64) -> bool {
        if self.call != Some(call) {
            return false;
        }
        self.call = None;
        if done {
            self.tries = 0;
        } else {
            self.wanted = true;
            self.not_before_ms = now_ms + backoff_ms(self.tries);
            self.tries += 1;
        }
        true
    }

    /// Not so soon again.
    fn later(&mut self, not_before_ms: u64) {
        self.not_before_ms = self.not_before_ms.max(not_before_ms);
    }

    fn reset(&mut self) {
        *self = Self { wanted: self.wanted || self.call.is_some(), ..Self::default() };
    }
}

/// A partition that somebody else has: not tried again before.
#[derive(Debug)]
pub(super) struct Wait {
    pub until_ms: u64,
    pub tries: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(super) settings: Settings,
    pub(super) me: WorkerId,
    base: Member,
    pub(super) now_ms: u64,
    calls: Call,
    chance: u64,

    pub(super) standing: Standing,
    joins_failed: u32,
    has_joined: bool,
    has_seen_others: bool,
    refused: bool,
    said_ms: BTreeMap<&'static str, u64>,
    oddities: Oddities,

    pub(super) members: BTreeMap<WorkerId, Member>,
    pub(super) settling: Settling,
    pub(super) partitions: BTreeMap<PartitionId, PartitionName>,
    pub(super) partition_list: Vec<PartitionName>,
    catalog_number: Option<u64>,
    pub(super) plan: Plan,

    pub(super) places: Places,
    pub(super) waits: BTreeMap<PartitionId, Wait>,
    /// What this worker owned when its session ended or its locks were wiped: it takes that again
    /// before anything else, and for a while nothing else, so that a wiped coordinator moves nothing.
    pub(super) before: BTreeSet<PartitionId>,
    pub(super) only_before_until_ms: u64,
    pub(super) to_lock: VecDeque<PartitionId>,
    pub(super) to_leave: VecDeque<PartitionId>,
    pub(super) review: bool,

    parked: BTreeMap<PartitionId, (u64, u32)>,
    pub(super) clock_wrong: bool,
    pub(super) draining: bool,
    pub(super) drained: bool,
    pub(super) leaving_since_ms: Option<u64>,
    pub(super) shown: Option<Member>,
    pub(super) publish: Chore,
    pub(super) reload: Chore,
    pub(super) reload_asked_ms: u64,
    pub(super) raise: Chore,
    pub(super) woken_at_ms: Option<u64>,
}

impl Machine {
    /// A worker that has not joined. The member is what it shows of itself, `chance` any number.
    pub fn new(settings: Settings, member: Member, chance: u64) -> Self {
        Self {
            settings,
            me: member.id.clone(),
            base: member,
            now_ms: 0,
            calls: 0,
            chance,
            standing: Standing::Apart { join_ms: 0 },
            joins_failed: 0,
            has_joined: false,
            has_seen_others: false,
            refused: false,
            said_ms: BTreeMap::new(),
            oddities: Oddities::default(),
            members: BTreeMap::new(),
            settling: Settling::default(),
            partitions: BTreeMap::new(),
            partition_list: Vec::new(),
            catalog_number: None,
            plan: Plan::default(),
            places: Places::default(),
            waits: BTreeMap::new(),
            before: BTreeSet::new(),
            only_before_until_ms: 0,
            to_lock: VecDeque::new(),
            to_leave: VecDeque::new(),
            review: true,
            parked: BTreeMap::new(),
            clock_wrong: false,
            draining: false,
            drained: false,
            leaving_since_ms: None,
            shown: None,
            publish: Chore::default(),
            reload: Chore::default(),
            reload_asked_ms: 0,
            raise: Chore::default(),
            woken_at_ms: None,
        }
    }

    /// Takes something in, and says what is to be done. `now_ms` is of a clock that never goes back.
    pub fn handle(&mut self, now_ms: u64, input: Input, out: &mut Vec<Output>) {
        self.now_ms = self.now_ms.max(now_ms);
        match input {
            Input::Joined { call } => self.joined(call, out),
            Input::JoinFailed { call, error } => self.join_failed(call, &error, out),
            Input::View(view) => self.view_changed(view, out),
            Input::Session(state) => self.session_changed(state, out),
            Input::Lock { call, partition, outcome } => self.lock_ended(call, partition, outcome, out),
            Input::Unlock { call, partition, outcome } => self.unlock_ended(call, partition, outcome, out),
            Input::HandedOver { call, partition } => self.handed_over(call, partition),
            Input::Published { call, outcome } => self.published(call, outcome.is_ok()),
            Input::Raised { call, outcome } => {
                self.raise.answered(call, outcome.is_ok(), self.now_ms);
            }
            Input::Catalog { call, partitions } => self.catalog_read(call, partitions),
            Input::KnownCatalog(partitions) => self.set_partitions(partitions),
            Input::CatalogChanged(partitions) => {
                self.set_partitions(partitions);
                self.raise.wanted = true;
            }
            Input::Parked(partition) => self.park(partition, out),
            Input::Clock(state) => self.clock(state, out),
            Input::Drain => self.draining = true,
            Input::Wake => self.review = true,
        }
        if !self.refused {
            self.pump(out);
        }
    }

    /// Partitions that are owned, and that should be.
    pub fn counts(&self) -> (usize, usize) {
        (self.places.owned(), self.plan.mine.len())
    }

    pub(super) fn next_call(&mut self) -> Call {
        self.calls += 1;
        self.calls
    }

    /// The member as it should be shown now.
    pub(super) fn member(&self) -> Member {
        let mut member = self.base.clone();
        member.draining |= self.draining;
        if self.clock_wrong {
            member.capacity = 0;
        }
        let parked = self.parked.keys().filter(|partition| self.is_parked(**partition));
        member.cannot_serve = parked.take(CANNOT_SERVE_MAX).map(PartitionId::to_string).collect();
        member
    }

    pub(super) fn view(&self) -> Option<&Arc<View>> {
        match &self.standing {
            Standing::In { view, .. } => view.as_ref(),
            _ => None,
        }
    }

    pub(super) fn is_sure(&self) -> bool {
        matches!(self.standing, Standing::In { state: SessionState::Sure, .. })
    }

    fn joined(&mut self, call: Call, out: &mut Vec<Output>) {
        if !matches!(self.standing, Standing::Joining { call: waited } if waited == call) {
            return;
        }
        self.standing = Standing::In { state: SessionState::Sure, view: None };
        (self.has_joined, self.joins_failed) = (true, 0);
        self.said_ms.remove("join");
        // What changed while nobody listened is read.
        self.catalog_number = None;
        out.push(Output::SetSure(true));
    }

    fn join_failed(&mut self, call: Call, error: &CoordinationError, out: &mut Vec<Output>) {
        if !matches!(self.standing, Standing::Joining { call: waited } if waited == call) {
            return;
        }
        if error.kind == CoordinationErrorKind::Refused && !self.has_joined {
            self.refused = true;
            return out.push(Output::Refuse(error.message.clone()));
        }
        let text = format!("not in the cluster: {}; trying again", error.message);
        self.say_now_and_then("join", Level::Warn, text, out);
        let pause_ms = self.jittered(backoff_ms(self.joins_failed));
        self.joins_failed += 1;
        self.standing = Standing::Apart { join_ms: self.now_ms + pause_ms };
    }

    fn session_changed(&mut self, state: SessionState, out: &mut Vec<Output>) {
        let Standing::In { state: known, .. } = &mut self.standing else { return };
        if *known == state {
            return;
        }
        *known = state;
        self.review = true;
        match state {
            SessionState::Sure => out.push(Output::SetSure(true)),
            SessionState::Unsure => {
                let text =
                    "no answer from the coordinator: nothing is started or acknowledged until there is";
                out.push(Output::Say(Level::Warn, text.to_owned()));
                out.push(Output::SetSure(false));
            }
            SessionState::Lost => self.lost(out),
        }
    }

    /// The locks may be anybody's.
    fn lost(&mut self, out: &mut Vec<Output>) {
        out.push(Output::SetSure(false));
        let all = self.places.take_all();
        let owned = all.iter().filter(|(_, place)| matches!(place, Place::Owned { .. }));
        self.before.extend(owned.map(|(partition, _)| *partition));
        for (partition, place) in &all {
            if matches!(place, Place::Owned { .. } | Place::HandingOver { .. }) {
                out.push(Output::LetGo(*partition));
            }
        }
        let text = format!("the session is over: let go of {} partitions, joining anew", self.before.len());
        out.push(Output::Say(Level::Warn, text));
        out.push(Output::Forget);
        self.waits.clear();
        self.only_before_until_ms = u64::MAX;
        let pause_ms = self.jittered(BACKOFF_MS.0);
        self.standing = Standing::Apart { join_ms: self.now_ms + pause_ms };
        for chore in [&mut self.publish, &mut self.raise] {
            chore.reset();
        }
    }

    fn view_changed(&mut self, view: Arc<View>, out: &mut Vec<Output>) {
        let Standing::In { view: known, .. } = &mut self.standing else { return };
        let last = known.replace(view.clone());
        let first = last.is_none();
        let last = last.unwrap_or_default();
        self.review = true;
        self.refused = self.oddities.look(&self.base, &view, !self.has_seen_others, out);
        self.has_seen_others = true;
        let members = peers::taking_part(&view, self.base.settings.get(STORE_KEY));
        self.settling.members(self.now_ms, self.settings.settle_ms, peers::active(&members));
        if first && self.only_before_until_ms == u64::MAX {
            self.only_before_until_ms = self.now_ms + self.settings.settle_ms;
        }
        if first || members != self.members {
            self.plan.members_changed(self.now_ms);
        } else if last.owners != view.owners {
            self.plan.owners_changed(self.partitions.len());
        }
        // Whoever is gone may have changed the catalogue and had no time to say so.
        if self.members.keys().any(|id| !members.contains_key(id)) {
            self.reload.wanted = true;
        }
        let change = peers::change(&self.me, if first { None } else { Some(&self.members) }, &members);
        out.extend(change.map(|text| Output::Say(Level::Info, text)));
        self.members = members;
        self.waits.retain(|partition, _| last.owners.get(partition) == view.owners.get(partition));
        self.look_at_locks(&view, out);
        if self.catalog_number != Some(view.catalog) {
            self.catalog_number = Some(view.catalog);
            self.reload.wanted = true;
        }
        self.look_at_myself(&last, &view);
    }

    /// A coordinator that was wiped has forgotten this worker.
    fn look_at_myself(&mut self, last: &View, view: &View) {
        let shown = view.members.get(&self.me);
        if shown.is_none() && last.members.contains_key(&self.me) {
            self.shown = None;
            self.only_before_until_ms = self.now_ms + self.settings.settle_ms;
        } else if shown != self.shown.as_ref() && self.publish.call.is_none() {
            // Or this view is older than what was published last.
            self.shown = None;
            self.publish.later(self.now_ms + SHOW_AGAIN_MS);
        }
    }

    /// Locks that were there and are gone are somebody else's to take.
    fn look_at_locks(&mut self, view: &View, out: &mut Vec<Output>) {
        let mut gone = Vec::new();
        let mut seen_now = Vec::new();
        for (partition, place) in self.places.iter() {
            let mine = view.owners.get(&partition) == Some(&self.me);
            match place {
                Place::Owned { seen: true, .. } | Place::HandingOver { seen: true, .. } if !mine => {
                    gone.push(partition);
                }
                Place::Owned { seen: false, confirm_ms, confirming } if mine => {
                    seen_now.push((partition, Place::Owned { seen: true, confirm_ms, confirming }));
                }
                Place::HandingOver { seen: false, call } if mine => {
                    seen_now.push((partition, Place::HandingOver { seen: true, call }));
                }
                _ => {}
            }
        }
        for (partition, place) in seen_now {
            self.places.set(partition, place);
        }
        if gone.is_empty() {
            return;
        }
        let named = self.named(&gone);
        out.push(Output::Say(Level::Warn, format!("locks are gone, let go: {named}")));
        for partition in gone {
            self.places.remove(partition);
            out.push(Output::LetGo(partition));
            if !view.owners.contains_key(&partition) {
                self.before.insert(partition);
            }
        }
    }

    fn lock_ended(
        &mut self,
        call: Call,
        partition: PartitionId,
        outcome: Result<LockOutcome, CoordinationError>,
        out: &mut Vec<Output>,
    ) {
        let (tries, confirmed) = match self.places.get(partition) {
            Some(Place::Locking { call: waited, tries }) if waited == call => (tries, false),
            Some(Place::Owned { confirming: Some(waited), .. }) if waited == call => (0, true),
            _ => return,
        };
        let mine = self.view().is_some_and(|view| view.owners.get(&partition) == Some(&self.me));
        let owned = Place::Owned { seen: mine, confirm_ms: self.now_ms + CONFIRM_MS, confirming: None };
        match outcome {
            Ok(LockOutcome::Locked) if !confirmed && !self.keeps(partition) => {
                self.places.set(partition, Place::unlocking(self.now_ms));
            }
            Ok(LockOutcome::Locked) => {
                self.before.remove(&partition);
                self.waits.remove(&partition);
                self.places.set(partition, owned);
                if !confirmed {
                    out.push(Output::Own(partition));
                }
                // What it was asked for may not hold any more.
                self.review = true;
            }
            Ok(LockOutcome::Held(_)) => {
                self.places.remove(partition);
                if confirmed {
                    out.push(Output::LetGo(partition));
                }
                let tries = self.waits.get(&partition).map_or(0, |wait| wait.tries + 1);
                let until_ms = self.now_ms + self.jittered(backoff_ms(tries));
                self.waits.insert(partition, Wait { until_ms, tries });
                self.before.remove(&partition);
            }
            Err(_) if confirmed => self.places.set(partition, owned),
            Err(error) => {
                let text = format!("locks of partitions can't be taken: {}; trying again", error.message);
                self.say_now_and_then("lock", Level::Warn, text, out);
                let again_ms = self.now_ms + self.jittered(backoff_ms(tries));
                self.places.set(partition, Place::Doubtful { tries: tries + 1, again_ms });
            }
        }
    }

    fn unlock_ended(
        &mut self,
        call: Call,
        partition: PartitionId,
        outcome: Result<(), CoordinationError>,
        out: &mut Vec<Output>,
    ) {
        let Some(Place::Unlocking { call: Some(waited), tries, .. }) = self.places.get(partition) else {
            return;
        };
        if waited != call {
            return;
        }
        match outcome {
            Ok(()) => {
                self.places.remove(partition);
                self.review = true;
            }
            Err(error) => {
                let text = format!("locks of partitions can't be given up: {}; trying again", error.message);
                self.say_now_and_then("unlock", Level::Warn, text, out);
                let again_ms = self.now_ms + self.jittered(backoff_ms(tries));
                self.places.set(partition, Place::Unlocking { call: None, tries: tries + 1, again_ms });
            }
        }
    }

    fn handed_over(&mut self, call: Call, partition: PartitionId) {
        if matches!(self.places.get(partition), Some(Place::HandingOver { call: waited, .. }) if waited == call)
        {
            self.places.set(partition, Place::unlocking(self.now_ms));
        }
    }

    fn published(&mut self, call: Call, done: bool) {
        if self.publish.answered(call, done, self.now_ms) && !done {
            self.shown = None;
        }
    }

    fn catalog_read(&mut self, call: Call, partitions: Option<Vec<PartitionName>>) {
        // Reading is not all that is done, however large the catalogue and however often it changes.
        self.reload.later(self.now_ms + (self.now_ms - self.reload_asked_ms) * READ_SHARE);
        if self.reload.answered(call, partitions.is_some(), self.now_ms)
            && let Some(partitions) = partitions
        {
            self.set_partitions(partitions);
        }
    }

    fn set_partitions(&mut self, partitions: Vec<PartitionName>) {
        let by_id: BTreeMap<_, _> = partitions.into_iter().map(|name| (name.id, name)).collect();
        if self.partitions != by_id {
            self.partition_list = by_id.values().cloned().collect();
            self.partitions = by_id;
            self.plan.members_changed(self.now_ms);
            self.review = true;
        }
    }

    /// Its owner is not here any more; another worker may do better.
    fn park(&mut self, partition: PartitionId, out: &mut Vec<Output>) {
        if !matches!(self.places.get(partition), Some(Place::Owned { .. })) {
            return;
        }
        out.push(Output::LetGo(partition));
        self.places.set(partition, Place::unlocking(self.now_ms));
        let times = self.parked.get(&partition).map_or(0, |(_, times)| times + 1);
        let pause_ms = doubled(PARKED_MS, times);
        self.parked.insert(partition, (self.now_ms + pause_ms, times));
        let named = self.named(&[partition]);
        out.push(Output::Say(
            Level::Error,
            format!(
                "partition {named} can't be served here: another worker may, and it is tried again here in {} s",
                pause_ms / 1_000
            ),
        ));
        self.review = true;
    }

    fn clock(&mut self, state: ClockState, out: &mut Vec<Output>) {
        let wrong = matches!(state, ClockState::Wrong(_));
        if let ClockState::Wrong(offset_ms) = state {
            let direction = if offset_ms > 0 { "ahead of" } else { "behind" };
            let seconds = offset_ms.unsigned_abs() / 1_000;
            let text = format!(
                "this machine's clock is {seconds} s {direction} the store's: this worker owns no partitions until it is right (is there an NTP service?)"
            );
            self.say_now_and_then("clock", Level::Error, text, out);
        } else if self.clock_wrong {
            self.said_ms.remove("clock");
            out.push(Output::Say(Level::Info, "this machine's clock is right again".to_owned()));
        }
        if self.clock_wrong != wrong {
            self.clock_wrong = wrong;
            self.review = true;
        }
    }

    /// Partitions that were parked, tried again, and are still good are forgotten.
    pub(super) fn forget_parked(&mut self) {
        let now_ms = self.now_ms;
        self.parked.retain(|_, (until_ms, _)| *until_ms + PARKED_MS.1 > now_ms);
    }

    pub(super) fn is_parked(&self, partition: PartitionId) -> bool {
        self.parked.get(&partition).is_some_and(|(until_ms, _)| *until_ms > self.now_ms)
    }

    /// Partitions that there are.
    pub(super) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// When a parked partition may be tried again.
    pub(super) fn next_unpark_ms(&self) -> Option<u64> {
        self.parked.values().map(|(until_ms, _)| *until_ms).filter(|until_ms| *until_ms > self.now_ms).min()
    }

    /// Whether a lock that was just taken is still of use.
    fn keeps(&self, partition: PartitionId) -> bool {
        self.leaving_since_ms.is_none() && self.partitions.contains_key(&partition)
    }

    fn say_now_and_then(&mut self, what: &'static str, level: Level, text: String, out: &mut Vec<Output>) {
        let due = self.said_ms.get(what).is_none_or(|said_ms| said_ms + SAY_EVERY_MS <= self.now_ms);
        if due {
            self.said_ms.insert(what, self.now_ms);
            out.push(Output::Say(level, text));
        }
    }

    pub(super) fn named(&self, partitions: &[PartitionId]) -> String {
        let name = |partition: &PartitionId| match self.partitions.get(partition) {
            Some(name) => name.to_string(),
            None => partition.to_string(),
        };
        let mut named: Vec<String> = partitions.iter().take(NAMED_MAX).map(name).collect();
        if partitions.len() > NAMED_MAX {
            named.push(format!("and {} more", partitions.len() - NAMED_MAX));
        }
        named.join(", ")
    }

    /// Between half of it and all of it.
    fn jittered(&mut self, pause_ms: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.chance;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        pause_ms / 2 + (bits ^ (bits >> 31)) % (pause_ms / 2 + 1)
    }
}

pub(super) fn backoff_ms(tries: u32) -> u64 {
    doubled(BACKOFF_MS, tries)
}

fn doubled((first_ms, most_ms): (u64, u64), times: u32) -> u64 {
    first_ms.saturating_mul(1 << times.min(16)).min(most_ms)
}
