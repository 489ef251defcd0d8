//! What became of an attempt: from how its program ended, what it wrote, and what it wished.

use nix::sys::signal::Signal;

use super::control::Control;
use super::pipes::{LastBytes, Stdout};
use super::process::Exit;
use super::{ExecSettings, note};
use crate::model::{Outcome, Retry, Span};
use crate::runner::text::error_text;
use crate::runner::{Context, INTERRUPTED, Report};

/// `EX_TEMPFAIL` of sysexits.h: try again later.
pub(super) const EXIT_RETRY_LATER: i32 = 75;
/// `EX_DATAERR` of sysexits.h: it will never work.
pub(super) const EXIT_GIVE_UP: i32 = 65;
/// Lines of stderr in an error text.
const ERROR_LINES_MAX: usize = 5;

/// What made a program end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Itself, or something that we know nothing of.
    Exit,
    /// Its time limit.
    Timeout,
    /// Whoever revoked the attempt.
    Revoked,
}

/// All about a program that has ended.
pub(super) struct Ended {
    pub(super) cause: Cause,
    /// None if it was killed and did not go away.
    pub(super) exit: Option<Exit>,
    pub(super) stdout: Stdout,
    pub(super) stderr_end: LastBytes,
    pub(super) control: Control,
}

/// The report, after what belongs into the log was written there.
pub(super) async fn judge(ended: Ended, settings: &ExecSettings, context: &Context) -> Report {
    let exit_code = ended.exit.map(|exit| match exit {
        Exit::Code(code) => code,
        Exit::Signal(number) => 128 + number,
    });
    let stdout_is_over = ended.stdout.is_over;
    let control = ended.control;
    let stdout = ended.stdout.into_bytes();
    let outcome = match (ended.cause, ended.exit) {
        (Cause::Revoked, _) => Outcome::Interrupted { reason: INTERRUPTED.to_owned() },
        (Cause::Timeout, _) => {
            let limit = Span::from_ms(context.attempt.timeout_ms);
            failed("timeout", format!("the attempt took longer than its time limit of {limit}"), &control)
        }
        (Cause::Exit, Some(Exit::Code(0 | EXIT_RETRY_LATER))) if control.snooze_ms.is_some() => {
            Outcome::Snoozed { delay_ms: control.snooze_ms.unwrap_or_default() }
        }
        (Cause::Exit, Some(Exit::Code(0))) if stdout_is_over => {
            let bytes_max = settings.result_bytes_max;
            failed(
                "result",
                format!("the result on stdout has more than the {bytes_max} bytes that are kept"),
                &control,
            )
        }
        (Cause::Exit, Some(Exit::Code(0))) => {
            if control.speaks_of_failure() {
                let text = "the program exited with 0, so its control lines about a failure do not count";
                note(&context.output, text).await;
            }
            return Report { outcome: Outcome::Succeeded { result: stdout }, exit_code };
        }
        (Cause::Exit, exit) => exited(exit, &ended.stderr_end.last_lines(ERROR_LINES_MAX), control),
    };
    // What is not a result may say why.
    if !stdout.is_empty() {
        context.output.write(&stdout).await;
    }
    Report { outcome, exit_code }
}

/// A program that ended by itself, and not well.
fn exited(exit: Option<Exit>, stderr_end: &str, control: Control) -> Outcome {
    let (class, how) = match exit {
        Some(Exit::Code(EXIT_RETRY_LATER)) => {
            ("retry-later", format!("exit code {EXIT_RETRY_LATER} (retry later)"))
        }
        Some(Exit::Code(EXIT_GIVE_UP)) => ("give-up", format!("exit code {EXIT_GIVE_UP} (give up)")),
        Some(Exit::Code(code)) => ("exit", format!("exit code {code}")),
        Some(Exit::Signal(number)) => ("signal", format!("killed by signal {number}{}", signal_name(number))),
        None => ("signal", "killed, and did not go away".to_owned()),
    };
    let said = control.error.as_deref().unwrap_or(stderr_end);
    let error = if said.is_empty() { how } else { format!("{how}: {said}") };
    let retry = match exit {
        Some(Exit::Code(EXIT_GIVE_UP)) => Retry::GiveUp,
        _ => control.retry.unwrap_or(Retry::Policy),
    };
    let class = control.class.unwrap_or_else(|| class.to_owned());
    Outcome::Failed { error: error_text(&error), class, retry }
}

/// A failure whose class is ours to say.
fn failed(class: &str, error: String, control: &Control) -> Outcome {
    let error = match &control.error {
        Some(said) => format!("{error}: {said}"),
        None => error,
    };
    let retry = control.retry.unwrap_or(Retry::Policy);
    Outcome::Failed { error: error_text(&error), class: class.to_owned(), retry }
}

fn signal_name(number: i32) -> String {
    match Signal::try_from(number) {
        Ok(Signal::SIGXCPU) => " (SIGXCPU): its processor time is used up".to_owned(),
        Ok(signal) => format!(" ({signal})"),
        Err(_) => String::new(),
    }
}
