//! Rust functions as handlers: whatever a function does, its attempt ends as the promise says.

mod runner_kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use qdo::model::limits::{ERROR_TEXT_CHARS_MAX, RESULT_BYTES_MAX};
use qdo::model::{Outcome, Retry};
use qdo::runner::{FnHandler, NoopHandler, Wish};
use runner_kit::*;

#[tokio::test]
async fn a_function_gets_its_attempt_and_gives_its_result_and_log() {
    let handler = FnHandler::new(async |context| {
        context.output.write(b"working\n").await;
        Ok(context.attempt.payload.clone())
    });
    let ran = Bench::new().payload("hello").run_handler(&handler).await;
    assert_eq!((ran.outcome, ran.log.as_str()), (succeeded("hello"), "working\n"));
}

#[tokio::test]
async fn an_error_is_a_failure_with_its_whole_chain() {
    let handler = FnHandler::new(async |_| Err(anyhow::anyhow!("no route to host")).context("while sending"));
    let ran = Bench::new().run_handler(&handler).await;
    assert_eq!(ran.outcome, failed("error", "while sending: no route to host", Retry::Policy));
}

#[tokio::test]
async fn an_endless_error_text_is_cut() {
    let handler = FnHandler::new(async |_| Err(anyhow::anyhow!("é".repeat(1_000_000))));
    let ran = Bench::new().run_handler(&handler).await;
    assert_eq!(ran.outcome, failed("error", &"é".repeat(ERROR_TEXT_CHARS_MAX), Retry::Policy));
}

#[tokio::test]
async fn a_function_may_wish_what_happens_next() {
    let cases = [
        (Wish::retry_after(Duration::from_secs(3), "busy"), failed("error", "busy", Retry::After(3_000))),
        (
            Wish::give_up("no such user").class("not-found"),
            failed("not-found", "no such user", Retry::GiveUp),
        ),
        (Wish::fail("odd").class("odd\n"), failed("odd", "odd", Retry::Policy)),
        (Wish::snooze(Duration::from_secs(9)), Outcome::Snoozed { delay_ms: 9_000 }),
    ];
    for (wish, outcome) in cases {
        let handler = FnHandler::new(move |_| {
            let wish = wish.clone();
            async move { Err(wish.into()) }
        });
        assert_eq!(Bench::new().run_handler(&handler).await.outcome, outcome);
    }
}

#[tokio::test]
async fn a_wish_can_be_put_around_another_error() {
    let handler = FnHandler::new(async |_| {
        Err(anyhow::anyhow!("status 404").context(Wish::give_up("the page is gone")).context("while reading"))
    });
    let ran = Bench::new().run_handler(&handler).await;
    assert_eq!(ran.outcome, failed("error", "while reading: the page is gone: status 404", Retry::GiveUp));
}

#[tokio::test]
async fn a_panic_is_a_failure_of_that_attempt_only() {
    fn at_once(_: qdo::runner::Context) -> std::future::Ready<anyhow::Result<Bytes>> {
        panic!("at the call")
    }
    let ran = Bench::new().run_handler(&FnHandler::new(at_once)).await;
    assert_eq!(ran.outcome, failed("panic", "the handler panicked: at the call", Retry::Policy));
    let handler = FnHandler::new(async |_| {
        tokio::task::yield_now().await;
        panic!("after {}", "a while")
    });
    let ran = Bench::new().run_handler(&handler).await;
    assert_eq!(ran.outcome, failed("panic", "the handler panicked: after a while", Retry::Policy));
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("while it was dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_an_overdue_function_is_dropped_is_contained() {
    let handler = FnHandler::new(async |_| {
        let _panics = PanicsWhenDropped;
        std::future::pending().await
    });
    let bench = Bench::new().attempt(|attempt| attempt.timeout_ms = 1_000);
    let ran = bench.run_handler(&handler).await;
    assert_eq!(ran.outcome, failed("panic", "the handler panicked: while it was dropped", Retry::Policy));
}

struct SaysWhenDropped(Arc<AtomicBool>);

impl Drop for SaysWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn never_ending(dropped: &Arc<AtomicBool>) -> FnHandler {
    let dropped = dropped.clone();
    FnHandler::new(move |_| {
        let says = SaysWhenDropped(dropped.clone());
        async move {
            let _says = says;
            std::future::pending().await
        }
    })
}

#[tokio::test(start_paused = true)]
async fn an_overdue_function_is_dropped() {
    let dropped = Arc::default();
    let bench = Bench::new().attempt(|attempt| attempt.timeout_ms = 1_500);
    let ran = bench.run_handler(&never_ending(&dropped)).await;
    let error = "the attempt took longer than its time limit of 1s500ms";
    assert_eq!(ran.outcome, failed("timeout", error, Retry::Policy));
    assert!(dropped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_revoked_function_is_dropped_and_interrupted() {
    let dropped = Arc::default();
    let bench = Bench::new();
    bench.revoked.cancel();
    let ran = bench.run_handler(&never_ending(&dropped)).await;
    assert!(matches!(ran.outcome, Outcome::Interrupted { .. }), "{ran:?}");
    assert!(dropped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_function_that_has_ended_is_not_called_interrupted() {
    let bench = Bench::new();
    bench.revoked.cancel();
    let ran = bench.run_handler(&FnHandler::new(async |_| Ok(Bytes::from_static(b"done")))).await;
    assert_eq!(ran.outcome, succeeded("done"));
}

#[tokio::test]
async fn a_result_over_the_limit_is_refused() {
    let handler = FnHandler::new(async |_| Ok(vec![0; RESULT_BYTES_MAX + 1].into()));
    assert_failure(&Bench::new().run_handler(&handler).await, "result", "more than the 1048576");
}

#[tokio::test]
async fn the_handler_that_does_nothing_succeeds() {
    assert_eq!(Bench::new().run_handler(&NoopHandler).await.outcome, succeeded(""));
}
