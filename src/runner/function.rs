//! Rust functions as handlers, for embedders.
//!
//! A function's future is dropped when its attempt is revoked or its time is up, at the next point
//! where it waits. A panic, in the function or while its future is dropped, is a failure of that
//! attempt and nothing else (INV-4).

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;

use super::text::{class_text, error_text};
use super::{Context, Handler, INTERRUPTED, Report, time_limit};
use crate::model::limits::{DURATION_MS_MAX, RESULT_BYTES_MAX};
use crate::model::{Outcome, Retry, Span};

type Running = Pin<Box<dyn Future<Output = anyhow::Result<Bytes>> + Send>>;

/// Runs a Rust function for each attempt.
pub struct FnHandler {
    run: Box<dyn Fn(Context) -> Running + Send + Sync>,
}

impl FnHandler {
    /// A handler of that function.
    pub fn new<F, R>(run: F) -> Self
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = anyhow::Result<Bytes>> + Send + 'static,
    {
        Self { run: Box::new(move |context| Box::pin(run(context))) }
    }
}

/// What a function may ask for in place of its queue's retry policy.
///
/// ```
/// # use qdo::runner::Wish;
/// # use std::time::Duration;
/// fn quota(used_up: bool) -> anyhow::Result<()> {
///     if used_up {
///         return Err(Wish::retry_after(Duration::from_secs(3600), "the quota is used up").class("quota").into());
///     }
///     Ok(())
/// }
/// # assert!(quota(true).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    what: What,
    class: Option<String>,
    error: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Retry(Retry),
    Snooze { delay_ms: u64 },
}

impl Wish {
    /// The attempt has failed; the next one, if any are left, is after `delay`.
    pub fn retry_after(delay: Duration, error: impl Into<String>) -> Self {
        Self { what: What::Retry(Retry::After(delay_ms(delay))), class: None, error: error.into() }
    }

    /// The job has failed; there is to be no further attempt.
    pub fn give_up(error: impl Into<String>) -> Self {
        Self { what: What::Retry(Retry::GiveUp), class: None, error: error.into() }
    }

    /// The attempt has failed and is retried by the policy; for use with [`Wish::class`].
    pub fn fail(error: impl Into<String>) -> Self {
        Self { what: What::Retry(Retry::Policy), class: None, error: error.into() }
    }

    /// Nothing has failed: run the job again after `delay`, without using up an attempt.
    pub fn snooze(delay: Duration) -> Self {
        Self { what: What::Snooze { delay_ms: delay_ms(delay) }, class: None, error: String::new() }
    }

    /// The class of the error, for policies and groups; it is `error` otherwise.
    pub fn class(mut self, class: impl Into<String>) -> Self {
        self.class = Some(class.into());
        self
    }
}

fn delay_ms(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).map_or(DURATION_MS_MAX, |ms| ms.min(DURATION_MS_MAX))
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Snooze { delay_ms } => write!(f, "snoozed for {}", Span::from_ms(delay_ms)),
            What::Retry(_) => f.write_str(&self.error),
        }
    }
}

impl Error for Wish {}

#[async_trait]
impl Handler for FnHandler {
    async fn run(&self, context: Context) -> Report {
        let revoked = context.revoked.clone();
        let timeout_ms = context.attempt.timeout_ms;
        // The call itself may panic before there is a future.
        let called = catch_unwind(AssertUnwindSafe(|| (self.run)(context)));
        let mut running = match called {
            Ok(running) => AssertUnwindSafe(running).catch_unwind(),
            Err(panic) => return report(panicked(panic)),
        };
        let outcome = tokio::select! {
            biased;
            ended = &mut running => match ended {
                Ok(Ok(result)) => succeeded(result),
                Ok(Err(error)) => failed(&error),
                Err(panic) => panicked(panic),
            },
            () = revoked.cancelled() => Outcome::Interrupted { reason: INTERRUPTED.to_owned() },
            () = time_limit(timeout_ms) => timed_out(timeout_ms),
        };
        match catch_unwind(AssertUnwindSafe(|| drop(running))) {
            Ok(()) => report(outcome),
            Err(panic) => report(panicked(panic)),
        }
    }
}

fn report(outcome: Outcome) -> Report {
    Report { outcome, exit_code: None }
}

fn succeeded(result: Bytes) -> Outcome {
    if result.len() <= RESULT_BYTES_MAX {
        return Outcome::Succeeded { result };
    }
    failure(
        "result",
        format!("the result has {} bytes, more than the {RESULT_BYTES_MAX} that are kept", result.len()),
    )
}

fn failed(error: &anyhow::Error) -> Outcome {
    let text = format!("{error:#}");
    match error.downcast_ref::<Wish>() {
        None => failure("error", text),
        Some(Wish { what: What::Snooze { delay_ms }, .. }) => Outcome::Snoozed { delay_ms: *delay_ms },
        Some(Wish { what: What::Retry(retry), class, .. }) => {
            let class = class.as_deref().map(class_text).filter(|class| !class.is_empty());
            Outcome::Failed {
                error: error_text(&text),
                class: class.unwrap_or_else(|| "error".to_owned()),
                retry: *retry,
            }
        }
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> Outcome {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        (None, None) => "without a text",
    };
    failure("panic", format!("the handler panicked: {text}"))
}

fn timed_out(timeout_ms: u64) -> Outcome {
    failure(
        "timeout",
        format!("the attempt took longer than its time limit of {}", Span::from_ms(timeout_ms)),
    )
}

fn failure(class: &str, error: String) -> Outcome {
    Outcome::Failed { error: error_text(&error), class: class.to_owned(), retry: Retry::Policy }
}
