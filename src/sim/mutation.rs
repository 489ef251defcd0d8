//! Planted bugs: each is a plausible mistake in the product, and the simulator must find it.
//!
//! With the feature `mutations` one of them can be planted for the calling thread; without it
//! [`active`] is `false` at compile time and nothing of them is left in the program.

use std::fmt;

macro_rules! mutations {
    ($($name:ident => $text:literal,)*) => {
        /// One planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the text beside each is what it prints")]
        pub enum Mutation { $($name,)* }

        impl Mutation {
            /// All of them.
            pub const ALL: &[Mutation] = &[$(Mutation::$name,)*];

            /// The mistake, in words.
            pub fn text(self) -> &'static str {
                match self { $(Mutation::$name => $text,)* }
            }
        }
    };
}

mutations! {
    AcknowledgeBeforeDurable => "a commit counts as durable when it is sent",
    UnknownCountsAsDurable => "an append whose outcome is not known counts as durable",
    FenceBegunTooEarly => "a fence read covers what became durable while it was on its way",
    NoFenceRead => "what is durable is released without a fence read",
    ReleaseOutOfOrder => "a durable commit is released before the one ahead of it",
    FenceComparesNumbers => "the fence compares numbers without incarnations",
    TicketWithoutFence => "a reply that rests on no commit is given without a fence read",
    TicketTakesOlderFence => "a reply takes a fence read that began before its request",
    ClaimNotAwaited => "journals are read before the claim is known to be durable",
    ClaimBelowQuorum => "a claim whose outcome is not known counts as durable",
    SameNumberTolerated => "a claimant ignores another claim of its own number",
    GapIgnoredAtCut => "the head's rows beyond a gap are accepted",
    EmptyClaimIsHead => "a claim without row 0 is taken for the head",
    TailNotRepeated => "the accepted tail is not written again",
    FirstRowWithoutHead => "row 0 does not name its predecessor",
    TailAfterProgressForgotten => "rows after the latest progress are not read",
    ProgressBeforeRelease => "progress is written before its commit is released",
    ProgressBeforeSummaries => "progress is written before its summaries are durable",
    PruneWithoutFence => "old progress and summaries go without a fence read",
    DropWithoutProgress => "a condemned segment is dropped before progress without it is durable",
    DropWithoutFence => "a condemned segment is dropped without a fence read",
    DropBeforeRelease => "a segment is dropped before the commit that condemns it is released",
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[cfg(feature = "mutations")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// True if that bug is planted.
#[cfg(feature = "mutations")]
pub(crate) fn active(mutation: Mutation) -> bool {
    PLANTED.with(std::cell::Cell::get) == Some(mutation)
}

/// True if that bug is planted: never, in this build.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub(crate) const fn active(_mutation: Mutation) -> bool {
    false
}

/// Plants a bug (or none) for the calling thread while `run` runs.
#[cfg(feature = "mutations")]
pub fn with<T>(mutation: Option<Mutation>, run: impl FnOnce() -> T) -> T {
    struct Undo(Option<Mutation>);
    impl Drop for Undo {
        fn drop(&mut self) {
            PLANTED.with(|planted| planted.set(self.0));
        }
    }
    let _undo = Undo(PLANTED.with(|planted| planted.replace(mutation)));
    run()
}
