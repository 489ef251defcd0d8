//! `qdo job enqueue`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::super::args::EnqueueArgs;
use super::super::exit::{Exit, Failure};
use super::super::out::{Out, printable, say};
use super::{exit_of, many, payload, view};
use crate::client::{Client, JobSpec, Wait, random_token};
use crate::model::view::JobView;

pub(super) async fn run(args: EnqueueArgs, client: &Client, out: &Out) -> Result<Exit, Failure> {
    if args.ndjson.is_some() || args.lines.is_some() {
        return many::run(&args, client, out).await;
    }
    let bytes = payload::read(args.payload.as_deref())?;
    let token = args.token.clone().unwrap_or_else(random_token);
    let enqueued = client.enqueue(&args.queue, &spec(&args, &bytes, token)).await?;
    let Some(wait) = args.wait else {
        if enqueued.repeated {
            say("this token was seen before: it is the first one's id");
        }
        out.value(&enqueued, |_| enqueued.id.to_string())?;
        return Ok(Exit::Ok);
    };
    say(&format!("enqueued {}", enqueued.id));
    match client.wait(enqueued.id, Some(wait.into())).await? {
        Wait::Final(job) => {
            if out.is_json() {
                view::job(&job, out)?;
            } else {
                print_result(&job, out)?;
            }
            if let Some(error) = job.error.as_ref().filter(|_| exit_of(job.state) != Exit::Ok) {
                say(&format!("{} {}: {}", job.id, job.state.name(), printable(error)));
            }
            Ok(exit_of(job.state))
        }
        Wait::TimedOut(job) => {
            say(&format!("{} is still {}: {}", job.id, job.state.name(), printable(&job.reason)));
            Ok(Exit::TimedOut)
        }
    }
}

/// The job that the arguments describe, with that payload.
pub(super) fn spec(args: &EnqueueArgs, payload: &[u8], token: String) -> JobSpec {
    let content_type = args.content_type.clone();
    JobSpec {
        kind: args.kind.clone().unwrap_or_default(),
        payload_base64: Some(BASE64_STANDARD.encode(payload)),
        content_type: content_type.or_else(|| Some(payload::content_type(payload).to_owned())),
        key: args.key.clone(),
        priority: args.priority,
        delay: args.delay,
        run_at: args.run_at.map(|time| time.to_string()),
        deadline: args.deadline.map(|time| time.to_string()),
        timeout: args.timeout,
        max_attempts: args.max_attempts,
        backoff: None,
        token: Some(token),
        tags: args.tags.clone(),
        headers: args.headers.iter().cloned().collect(),
    }
}

/// The result's bytes as the handler wrote them.
fn print_result(job: &JobView, out: &Out) -> Result<(), Failure> {
    match (&job.result, &job.result_base64) {
        (Some(Value::String(text)), _) => out.line(text),
        (Some(value), _) => out.line(&value.to_string()),
        (None, Some(base64)) => {
            let bytes = BASE64_STANDARD
                .decode(base64)
                .map_err(|error| Failure::failed(format!("the server's answer is damaged: {error}")))?;
            out.raw(&bytes)
        }
        (None, None) => Ok(()),
    }
}
