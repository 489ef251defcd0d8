//! The plan of a copy, kept in the target: which numbers it uses, and how far it is.
//!
//! ```text
//! planned ──both counters raised──▶ copying ──every group published──▶ finished
//! ```
//!
//! A counter that is raised notes by which copy, so that a run that was killed in between is no riddle.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::sqlite::SqliteStore;
use super::super::stored::Table;
use super::super::{Document, Store, StoreError, StoreErrorKind, SwapOutcome};
use super::catalog::{SourceCatalog, TargetCatalog};
use super::mark::{self, Mark};
use super::renumber::Renumber;
use super::write::{Trial, Writer, refused, unknown};
use super::{CopyError, CopyOptions};
use crate::model::CounterDocument;

/// The document of the target.
const KEY: &str = "copy/from";
/// Tries of raising a counter that others raise as well.
const RAISES_MAX: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    Planned,
    Copying,
    Finished,
}

/// Numbers of groups, or of queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Numbers {
    /// The last that the target had given.
    pub found: u32,
    /// What the source's are raised by; 0 if they stay.
    pub raised_by: u32,
    /// The last that the target has given with the copy.
    pub last: u32,
}

impl Numbers {
    /// For numbers from `lowest` to `highest`, in a target that has given those up to `found`.
    fn after(found: u32, (lowest, highest): (u32, u32), what: &'static str) -> Result<Self, CopyError> {
        let raised_by = if found < lowest { 0 } else { found };
        let last = highest.checked_add(raised_by).ok_or(CopyError::NumbersUsedUp { what })?;
        Ok(Self { found, raised_by, last })
    }
}

/// Before which row everything is durable in the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct At {
    /// Namespace and name of a group; all before it are published.
    pub group: String,
    /// A partition of it; all before it are complete.
    pub partition: u16,
    /// A table of it; none is before the first.
    pub table: Option<Table>,
    /// A row of it; none is before the first.
    pub after: Option<String>,
    /// The group is published as well.
    pub published: bool,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Drawn for each copy; the source's mark has it too.
    pub id: String,
    /// The source, for people.
    pub from: String,
    stage: Stage,
    /// What the source was like when it began.
    fingerprint: String,
    pub groups: Numbers,
    pub queues: Numbers,
    pub at: Option<At>,
    /// Rows so far.
    pub rows: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

impl Plan {
    pub fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }

    pub fn finish(&mut self) {
        self.stage = Stage::Finished;
    }

    pub fn renumber(&self) -> Renumber {
        Renumber::new(&self.groups, &self.queues)
    }
}

/// A plan as it is in the target.
pub(super) struct Planned {
    pub plan: Plan,
    version: Option<u64>,
    /// It is an earlier run's.
    pub resumed: bool,
}

impl Planned {
    /// Writes the plan.
    pub async fn store(&mut self, writer: &Writer<'_>) -> Result<(), CopyError> {
        let value = encode(&self.plan)?;
        let version = Mutex::new(self.version);
        let note = |new| *version.lock().unwrap_or_else(PoisonError::into_inner) = new;
        let expected = || *version.lock().unwrap_or_else(PoisonError::into_inner);
        let write = || async {
            match writer.store.swap_document(KEY, expected(), Some(value.clone())).await {
                SwapOutcome::Applied(new) => {
                    note(Some(new));
                    Trial::DONE
                }
                SwapOutcome::Conflict(Some(there)) if there.value == value => {
                    note(Some(there.version));
                    Trial::DONE
                }
                // A write of a run that was killed came late. The source has one owner, so it is over.
                SwapOutcome::Conflict(Some(there)) if self.is_of(&there) => {
                    note(Some(there.version));
                    unknown(StoreError::new(
                        StoreErrorKind::Unavailable,
                        "the plan of the copy is fought for",
                    ))
                }
                SwapOutcome::Conflict(there) => Trial::failed(CopyError::Unfinished {
                    from: there
                        .and_then(|there| decode::<Plan>(KEY, &there).ok())
                        .map_or_else(|| "another store, whose plan is gone".to_owned(), |plan| plan.from),
                }),
                SwapOutcome::Unknown(error) => unknown(error),
                SwapOutcome::Refused(error) => refused(error),
            }
        };
        writer.repeated(write).await?;
        self.version = expected();
        Ok(())
    }

    fn is_of(&self, there: &Document) -> bool {
        decode::<Plan>(KEY, there).is_ok_and(|plan| plan.id == self.plan.id)
    }

    /// Raises both counters, planning anew what others were faster with.
    async fn reserve(&mut self, writer: &Writer<'_>, source: &SourceCatalog) -> Result<(), CopyError> {
        let id = self.plan.id.clone();
        while let Some(found) = raise("counter/groups", self.plan.groups, &id, writer).await? {
            self.plan.groups = Numbers::after(found, source.group_numbers, "group")?;
            self.store(writer).await?;
        }
        while let Some(found) = raise("counter/queues", self.plan.queues, &id, writer).await? {
            self.plan.queues = Numbers::after(found, source.queue_numbers, "queue")?;
            self.store(writer).await?;
        }
        self.plan.stage = Stage::Copying;
        self.store(writer).await
    }
}

/// The last number that a counter has given.
async fn counter(store: &dyn Store, key: &str) -> Result<(Option<CounterDocument>, Option<u64>), StoreError> {
    let Some(document) = store.document(key).await? else { return Ok((None, None)) };
    Ok((Some(decode(key, &document)?), Some(document.version)))
}

/// Raises a counter as planned; gives the last number given if that is another than was planned with.
async fn raise(key: &str, numbers: Numbers, id: &str, writer: &Writer<'_>) -> Result<Option<u32>, CopyError> {
    let mut failed = None;
    for _ in 0..RAISES_MAX {
        let (found, version) = counter(writer.store, key).await?;
        if let Some(CounterDocument::Raised { by, .. }) = &found
            && by == id
        {
            return Ok(None);
        }
        let last = found.as_ref().map_or(0, CounterDocument::last);
        if last != numbers.found {
            return Ok(Some(last));
        }
        let raised = CounterDocument::Raised { last: numbers.last, by: id.to_owned() };
        match writer.store.swap_document(key, version, Some(encode(&raised)?)).await {
            SwapOutcome::Applied(_) => return Ok(None),
            SwapOutcome::Conflict(_) => {}
            SwapOutcome::Unknown(error) => failed = Some(error),
            SwapOutcome::Refused(error) => return Err(error.into()),
        }
    }
    let fought = || StoreError::new(StoreErrorKind::Unavailable, format!("{key} is fought for: try again"));
    Err(failed.unwrap_or_else(fought).into())
}

/// The plan of an earlier run, or a new one, and the source's mark with it. Refuses before anything is
/// written.
pub(super) async fn find_or_make(
    from: &SqliteStore,
    to: &dyn Store,
    source: &SourceCatalog,
    target: &TargetCatalog,
    options: &CopyOptions,
) -> Result<Planned, CopyError> {
    let writer = Writer::new(to, options.patience);
    let mark = mark::read(from).await?.map(|(mark, _)| mark);
    let there = match to.document(KEY).await? {
        Some(document) => Some((decode::<Plan>(KEY, &document)?, document.version)),
        None => None,
    };
    let marked =
        |id: &str, finished| Mark { id: id.to_owned(), to: options.to.clone(), keep: options.keep, finished };
    let ours = there.as_ref().filter(|(plan, _)| mark.as_ref().is_some_and(|mark| mark.id == plan.id));
    if let Some((plan, version)) = ours {
        let same = plan.fingerprint == source.fingerprint;
        if same && (plan.is_finished() || !options.anew) {
            if !plan.is_finished() {
                target.refuse_names(source, Some(&plan.renumber()))?;
            }
            mark::write(from, Some(&marked(&plan.id, plan.is_finished()))).await?;
            let mut planned = Planned { plan: plan.clone(), version: Some(*version), resumed: true };
            if plan.stage == Stage::Planned {
                planned.reserve(&writer, source).await?;
            }
            return Ok(planned);
        }
        if !plan.is_finished() && !options.anew {
            return Err(CopyError::Changed);
        }
    }
    if let Some(mark) = mark.as_ref().filter(|mark| !mark.keep && mark.to != options.to) {
        return Err(CopyError::Moved { to: mark.to.clone() });
    }
    if let Some((plan, _)) = there.as_ref().filter(|(plan, _)| !plan.is_finished() && !options.anew) {
        return Err(CopyError::Unfinished { from: plan.from.clone() });
    }
    target.refuse_names(source, None)?;
    let id = match mark.filter(|mark| mark.to == options.to && ours.is_none() && !options.anew) {
        // Killed between the mark and the plan, whose write may still be under way.
        Some(mark) => mark.id,
        None => new_id()?,
    };
    let found = async |key| {
        let (found, _) = counter(to, key).await?;
        Ok::<_, StoreError>(found.as_ref().map_or(0, CounterDocument::last))
    };
    let plan = Plan {
        id,
        from: options.from.clone(),
        stage: Stage::Planned,
        fingerprint: source.fingerprint.clone(),
        groups: Numbers::after(found("counter/groups").await?, source.group_numbers, "group")?,
        queues: Numbers::after(found("counter/queues").await?, source.queue_numbers, "queue")?,
        at: None,
        rows: 0,
        bytes: 0,
    };
    mark::write(from, Some(&marked(&plan.id, false))).await?;
    let mut planned = Planned { plan, version: there.map(|(_, version)| version), resumed: false };
    planned.store(&writer).await?;
    planned.reserve(&writer, source).await?;
    Ok(planned)
}

fn new_id() -> Result<String, StoreError> {
    let drawn = getrandom::u64().map_err(|error| {
        StoreError::new(StoreErrorKind::Unavailable, format!("the system gives no random bits: {error}"))
    })?;
    Ok(format!("{drawn:016x}"))
}

/// A document's value.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Bytes, StoreError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| {
        StoreError::new(StoreErrorKind::Invalid, format!("a document can't be written: {error}"))
    })
}

/// The reverse.
pub(super) fn decode<T: DeserializeOwned>(key: &str, document: &Document) -> Result<T, StoreError> {
    serde_json::from_slice(&document.value).map_err(|error| damaged(key, &error))
}

pub(super) fn damaged(key: &str, error: &serde_json::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, format!("document {key} can't be read: {error}"))
}
