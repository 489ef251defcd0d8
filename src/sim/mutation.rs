//! Planted bugs: each a plausible mistake in the product's code. The simulator must find every one.
//!
//! Without the feature `mutations` none is ever active and nothing of this is left in the program.

macro_rules! mutations {
    ($($name:ident $text:literal,)*) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation {
            $(#[doc = $text] $name,)*
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What is wrong, for people.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

mutations! {
    ReleaseBeforeDurable "a commit is released when it is sent, before it is durable",
    UnknownIsDurable "an append whose outcome is not known counts as durable",
    FenceBegunEarly "a fence read covers what is durable when it ends, not when it began",
    NoFence "commits are released without a fence read",
    FenceIgnoresHigherClaim "a fence read that shows a higher claim passes",
    ReleaseOutOfOrder "a commit is released although one before it is not durable",
    TicketWithoutFence "a reply without a commit of its own does not wait for a fence read",
    GapIgnoredAtCut "rows beyond a gap are accepted at the cut",
    TailNotRepeated "the accepted tail is not written again before row 0",
    RepeatUnknownIsDurable "a tail row whose repetition is not known to have happened counts as durable",
    RowZeroWithoutOrigin "row 0 does not name the head that it goes on from",
    HeadWithoutRowZero "an epoch whose row 0 was not seen is accepted as head",
    OldestCandidateFirst "journals are looked at from the oldest epoch up",
    ListedBeforeClaim "claims are listed only before the own claim",
    ClaimUnknownIsDurable "a claim that is not known to have happened counts as durable",
    SameNumberTolerated "another claim with the own number is tolerated",
    SameIncarnation "the incarnation of a claim is not random: two workers draw the same",
    OnePageOfRows "a take-over reads only one page of a segment",
    OneSegmentOfRows "a take-over does not look into the segment after the last one with rows",
    ProgressBeforeRelease "progress is written when its commit is sent, before it is released",
    ProgressBeforeSummaries "progress is written before the summaries that it names are durable",
    DropWithoutProgress "a segment is dropped without progress that does without it",
    DropWithoutFence "a segment is dropped without a fence read after progress",
    PruneBeforeProgress "older progress is deleted before the new one is durable",
    PruneWithoutFence "older progress is deleted without a fence read after the new one",
    PageOfClaimsOnly "only the first page of claims is looked at",
    ChainOfProgressLost "the chain that progress carries is not handed on",
}

#[cfg(feature = "mutations")]
mod planted {
    use std::cell::Cell;

    use super::Mutation;

    thread_local! {
        static ACTIVE: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// Plants a bug in everything that this thread runs (none: takes it out again).
    pub fn plant(mutation: Option<Mutation>) {
        ACTIVE.set(mutation);
    }

    /// True if that bug is planted.
    pub fn active(mutation: Mutation) -> bool {
        ACTIVE.get() == Some(mutation)
    }
}

#[cfg(feature = "mutations")]
pub use planted::{active, plant};

/// True if that bug is planted: never, in a program built without the feature.
#[cfg(not(feature = "mutations"))]
pub const fn active(_mutation: Mutation) -> bool {
    false
}
