//! Talking to a partition's owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::engine::{AttemptEnd, Engine, Event, Reply, Ticket};
use crate::model::{Epoch, JobId, JobState, PartitionId, QueueNumber, QueueSettings};
use crate::store::StoreError;
use crate::worker::RequestError;

/// Gives the answer to whoever asked.
pub(super) type Deliver = Box<dyn FnOnce() + Send>;
/// Looks at the engine.
pub(super) type Look = Box<dyn FnOnce(&mut Engine) -> Deliver + Send>;

/// When to come back after an overload.
const OVERLOADED_RETRY: Duration = Duration::from_secs(1);
/// How long a request waits for a store in trouble to heal, before it is told.
const TROUBLE_PATIENCE: Duration = Duration::from_secs(1);
/// When to come back while the store is away.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(2);

/// What an owner is told from outside.
pub(super) enum Message {
    /// A request for the engine, answered with its reply.
    Ask {
        event: Box<dyn FnOnce(Ticket) -> Event + Send>,
        reply: oneshot::Sender<Answer>,
        permit: Option<OwnedSemaphorePermit>,
    },
    /// Settings of a queue.
    Queue { number: QueueNumber, settings: Box<QueueSettings>, paused: bool },
    /// The slot map of the group may be another one, or who owns where slots are wanted.
    Slots,
    /// Answered when what was seen is released and fenced.
    Look(Look),
    /// Answered at once.
    Peek(Look),
    /// The sender hears of the job's end.
    Subscribe { job: JobId, ended: oneshot::Sender<JobState> },
    /// Something happened at a runner.
    Event(Event),
    /// Start nothing more, write progress and end.
    Stop { done: oneshot::Sender<()> },
    /// End at once: the lock may be somebody else's.
    LetGo,
    /// End the present claim if it is of an epoch before that one; answered once that is so.
    Supersede { by: Epoch, done: oneshot::Sender<()> },
}

/// Nothing was done: the partition is on its way to another worker.
pub(super) struct Moved;

/// Answer to [`Message::Ask`].
pub(super) type Answer = Result<Reply, Moved>;

/// A partition's owner, as the rest of the worker sees it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OwnerHandle {
    pub(super) partition: PartitionId,
    pub(super) messages: mpsc::UnboundedSender<Message>,
    /// Requests that may be waiting: the bound of `messages`, but for a few per slot and reader.
    pub(super) permits: Arc<Semaphore>,
    pub(super) trouble: watch::Receiver<Option<StoreError>>,
    /// Unix ms; 0 before it is open for the first time.
    pub(super) open_since: watch::Receiver<u64>,
    /// It takes no more requests.
    pub(super) leaving: Arc<AtomicBool>,
    /// It has given up.
    pub(super) parked: Arc<AtomicBool>,
}

impl OwnerHandle {
    /// The partition.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// What is wrong with the store, as this owner sees it.
    pub fn trouble(&self) -> Option<StoreError> {
        self.trouble.borrow().clone()
    }

    /// True for two handles of one owner.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.permits, &other.permits)
    }

    /// It takes no more requests: the partition goes, or has gone, to another worker.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Its take-overs have failed so often that it has given up.
    pub fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Acquire)
    }

    /// Since when it is open, Unix ms; 0 if it has not been yet.
    pub fn open_since_ms(&self) -> u64 {
        *self.open_since.borrow()
    }

    /// Asks the engine; answers when all that the answer rests on is durable and fenced.
    pub async fn ask(
        &self,
        event: impl FnOnce(Ticket) -> Event + Send + 'static,
    ) -> Result<Reply, RequestError> {
        let permit = self.permit()?;
        let (reply, answer) = oneshot::channel();
        self.send(Message::Ask { event: Box::new(event), reply, permit: Some(permit) })?;
        self.answered(answer).await?.map_err(|Moved| self.moved())
    }

    /// Room for one more request that waits for commits. While the store does not take those, nobody
    /// is let in to wait.
    fn permit(&self) -> Result<OwnedSemaphorePermit, RequestError> {
        if self.is_leaving() {
            return Err(self.moved());
        }
        if let Some(trouble) = self.trouble() {
            return Err(unavailable(trouble.message));
        }
        self.permits.clone().try_acquire_owned().map_err(|_| RequestError::Overloaded {
            message: "too many requests wait for this partition".into(),
            retry_after: OVERLOADED_RETRY,
        })
    }

    /// Reports how an attempt ended. It is on its way when this returns; what comes of it tells
    /// [`OwnerHandle::reported`].
    pub fn report(&self, job: JobId, attempt: u32, end: AttemptEnd) -> Report {
        let (reply, answer) = oneshot::channel();
        let event = Box::new(move |ticket| Event::Finish { ticket, job, attempt, end });
        let _ = self.send(Message::Ask { event, reply, permit: None });
        Report(answer)
    }

    /// Waits until a report is released; an error if the owner changed before: then it is made again.
    pub async fn reported(&self, report: Report) -> Result<Reply, RequestError> {
        match report.0.await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(Moved)) => Err(self.moved()),
            Err(_) => Err(owner_gone()),
        }
    }

    /// Looks at the engine; answers when what was seen is released and fenced.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        let (look, answer) = with_answer(look, Some(self.permit()?));
        self.send(Message::Look(look))?;
        self.answered(answer).await
    }

    /// Looks at the engine; the answer is a hint, or about what never changes.
    pub async fn peek<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        let (look, answer) = with_answer(look, None);
        self.send(Message::Peek(look))?;
        answer.await.map_err(|_| owner_gone())
    }

    /// Waits for an answer that rests on the store; if that is in trouble, not for long.
    async fn answered<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, RequestError> {
        let mut trouble = self.trouble.clone();
        let lasting_trouble = async {
            loop {
                let Ok(found) = trouble.wait_for(Option::is_some).await.map(|found| found.clone()) else {
                    // The owner has ended, and whoever asked hears that.
                    return std::future::pending().await;
                };
                let healed = trouble.wait_for(Option::is_none);
                if tokio::time::timeout(TROUBLE_PATIENCE, healed).await.is_err() {
                    return found.map(|error| error.message).unwrap_or_default();
                }
            }
        };
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| owner_gone()),
            why = lasting_trouble => {
                Err(unavailable(format!("{why}; what was asked for may be done once the store works again")))
            }
        }
    }

    /// Hears of a job's end from now on.
    pub fn subscribe(&self, job: JobId) -> Result<oneshot::Receiver<JobState>, RequestError> {
        let (ended, end) = oneshot::channel();
        self.send(Message::Subscribe { job, ended })?;
        Ok(end)
    }

    /// New settings of a queue.
    pub fn set_queue(&self, number: QueueNumber, settings: QueueSettings, paused: bool) {
        // An owner that has ended needs no settings.
        let _ = self.send(Message::Queue { number, settings: Box::new(settings), paused });
    }

    /// The slot map of its group may be another one, or who owns where slots are wanted.
    pub fn slots_changed(&self) {
        // An owner that has ended moves no slots.
        let _ = self.send(Message::Slots);
    }

    /// Something happened at a runner. What is sent is bounded by the number of slots.
    pub fn tell(&self, event: Event) {
        let _ = self.send(Message::Event(event));
    }

    /// Writes progress, then takes no more requests, starts nothing more and ends, within a bound. What
    /// runs goes on.
    pub async fn hand_over(&self) {
        let (done, stopped) = oneshot::channel();
        if self.send(Message::Stop { done }).is_ok() {
            let _ = stopped.await;
        }
    }

    /// Ends at once, whatever is on its way.
    pub fn let_go(&self) {
        self.leaving.store(true, Ordering::Release);
        // One that has ended has nothing to let go.
        let _ = self.send(Message::LetGo);
    }

    /// It has ended, and hands nothing out any more.
    pub fn has_ended(&self) -> bool {
        self.messages.is_closed()
    }

    /// Returns when it has ended.
    pub async fn ended(&self) {
        self.messages.closed().await;
    }

    /// Returns once nothing is handed out any more in an epoch before that one.
    pub async fn supersede(&self, by: Epoch) {
        let (done, superseded) = oneshot::channel();
        if self.send(Message::Supersede { by, done }).is_ok() {
            let _ = superseded.await;
        }
    }

    fn send(&self, message: Message) -> Result<(), RequestError> {
        self.messages.send(message).map_err(|_| match self.is_leaving() {
            true => self.moved(),
            false => owner_gone(),
        })
    }

    fn moved(&self) -> RequestError {
        let partition = self.partition;
        RequestError::Moved(format!("partition {partition} is on its way to another worker: try again"))
    }
}

/// A report that is on its way.
pub(crate) struct Report(oneshot::Receiver<Answer>);

fn with_answer<T: Send + 'static>(
    look: impl FnOnce(&mut Engine) -> T + Send + 'static,
    permit: Option<OwnedSemaphorePermit>,
) -> (Look, oneshot::Receiver<T>) {
    let (sender, answer) = oneshot::channel();
    let look: Look = Box::new(move |engine| {
        let seen = look(engine);
        Box::new(move || {
            drop(permit);
            // Whoever asked may have gone.
            let _ = sender.send(seen);
        })
    });
    (look, answer)
}

/// The store is away or refuses.
pub(crate) fn unavailable(message: impl Into<String>) -> RequestError {
    RequestError::Unavailable { message: message.into(), retry_after: UNAVAILABLE_RETRY }
}

fn owner_gone() -> RequestError {
    unavailable("the partition has no owner at the moment: whether it was done is not known")
}
