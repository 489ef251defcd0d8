//! What goes wrong in a run, by kind, and how often it did.

use super::rng::Rng;

macro_rules! faults {
    ($($name:ident => $text:literal,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Fault { $($name,)* }

        impl Fault {
            pub const ALL: &[Fault] = &[$(Fault::$name,)*];

            pub fn text(self) -> &'static str {
                match self { $(Fault::$name => $text,)* }
            }
        }
    };
}

faults! {
    LostRequest => "request lost on the way to a replica",
    LateRequest => "request that arrives after its time-out",
    HintedHandOff => "write delivered minutes or hours later",
    TwiceDelivered => "write delivered twice",
    LostAnswer => "answer of a replica lost",
    CoordinatorFails => "coordinator gone after the write",
    ReplicaDown => "replica away",
    ReplicaReplaced => "replica lost with all it had, and rebuilt",
    DiskFull => "write refused for a full disk",
    Crash => "worker killed and restarted",
    Pause => "worker paused",
    LateEffect => "pause between the fence's answer and its effect",
    SessionExpired => "session expired, and its owner not told",
    TwoHolders => "lock given to two",
    ClockJump => "clock of a worker set forward or back",
    QuietHour => "an hour in which nobody enqueues",
}

/// Which kinds may happen in a run, and how often each did.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    allowed: u32,
    counts: [u64; Fault::ALL.len()],
    /// Set once the faults are over.
    over: bool,
}

/// All kinds.
pub(crate) const ALL_FAULTS: u32 = (1 << Fault::ALL.len() as u32) - 1;

impl Faults {
    /// A run has about half of the kinds: what is always there hides what it prevents.
    pub fn draw(rng: &mut Rng, mask: u32) -> Self {
        let drawn = if rng.chance(100_000) { ALL_FAULTS } else { rng.bits() as u32 & ALL_FAULTS };
        Self { allowed: drawn & mask, counts: [0; Fault::ALL.len()], over: false }
    }

    pub fn allows(&self, fault: Fault) -> bool {
        !self.over && self.allowed >> fault as u32 & 1 == 1
    }

    /// True so many times in a million, if that kind may happen; it is counted then.
    pub fn strikes(&mut self, rng: &mut Rng, fault: Fault, per_million: u64) -> bool {
        let strikes = self.allows(fault) && rng.chance(per_million);
        if strikes {
            self.counts[fault as usize] += 1;
        }
        strikes
    }

    /// It has happened.
    pub fn count(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }

    /// From now on everything works.
    pub fn end(&mut self) {
        self.over = true;
    }

    pub fn counts(&self) -> [u64; Fault::ALL.len()] {
        self.counts
    }
}
