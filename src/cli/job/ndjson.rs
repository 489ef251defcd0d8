//! Many jobs from a file, a JSON object a line, in batches.
//!
//! Every line gets a token of its own, so that a batch whose answer was lost can be sent again. On a
//! bad line nothing of its batch is enqueued; what was enqueued before is said.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value};

use super::super::args::EnqueueArgs;
use super::super::exit::{Exit, Failure};
use super::super::out::{Out, say};
use crate::client::{Client, ClientError, random_token};
use crate::model::limits::BATCH_BYTES_MAX;

/// Jobs of one batch: enough for the store to do many at once, few enough for the bar to move.
const BATCH_JOBS: usize = 1_000;
/// Bytes after which a batch is sent.
const BATCH_BYTES: usize = 8 << 20;

pub(super) async fn run(file: &str, args: &EnqueueArgs, client: &Client, out: &Out) -> Result<Exit, Failure> {
    let (source, bytes) = open(file)?;
    let bar = progress(bytes);
    let mut lines = Lines { source, name: file, number: 0, bytes: 0 };
    let tokens = args.token.clone().unwrap_or_else(random_token);
    let mut done: u64 = 0;
    loop {
        let mut batch = Batch::default();
        while batch.numbers.len() < BATCH_JOBS && batch.bytes.len() < BATCH_BYTES {
            let Some(line) = lines.next().map_err(|failure| after(failure, done))? else { break };
            batch.add(&line, lines.number, args.kind.as_deref(), &tokens);
        }
        if batch.numbers.is_empty() {
            break;
        }
        let count = batch.numbers.len() as u64;
        let enqueued = client
            .enqueue_lines(&args.queue, Bytes::from(batch.bytes), true)
            .await
            .map_err(|error| after(refusal(error, file, &batch.numbers), done))?;
        for job in &enqueued {
            let text = if out.is_json() {
                serde_json::to_string(job).unwrap_or_default()
            } else {
                job.id.to_string()
            };
            out.line(&text)?;
        }
        done += count;
        bar.set_position(lines.bytes);
        bar.set_message(format!("{done} jobs"));
    }
    bar.finish_and_clear();
    say(&format!("enqueued {done} jobs"));
    Ok(Exit::Ok)
}

/// What to read, and how many bytes it has if that is known.
fn open(file: &str) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    if file == "-" {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let unreadable = |error| Failure::usage(format!("cannot read {file}: {error}"));
    let opened = File::open(file).map_err(unreadable)?;
    let bytes = opened.metadata().map_err(unreadable)?.len();
    Ok((Box::new(BufReader::new(opened)), Some(bytes)))
}

fn progress(bytes: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:40} {percent:>3}%  {msg}  {elapsed}, {eta} to go"),
        None => (ProgressBar::no_length(), "{spinner}  {msg}  {elapsed}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

struct Lines<'a> {
    source: Box<dyn BufRead>,
    name: &'a str,
    /// Of the line read last, from 1.
    number: usize,
    /// Read so far.
    bytes: u64,
}

impl Lines<'_> {
    /// The next line that is not blank, as an object.
    fn next(&mut self) -> Result<Option<Map<String, Value>>, Failure> {
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut self.source).take(BATCH_BYTES_MAX as u64 + 1);
            let wrong =
                |number: usize, what: String| Failure::usage(format!("{} line {number}: {what}", self.name));
            let read = bounded
                .read_until(b'\n', &mut line)
                .map_err(|error| wrong(self.number + 1, error.to_string()))?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.bytes += read as u64;
            if read > BATCH_BYTES_MAX {
                return Err(wrong(self.number, format!("is longer than {BATCH_BYTES_MAX} bytes")));
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return match serde_json::from_slice(&line) {
                Ok(Value::Object(object)) => Ok(Some(object)),
                Ok(_) => Err(wrong(self.number, "is not a JSON object".to_owned())),
                Err(error) => Err(wrong(self.number, format!("is not JSON: {error}"))),
            };
        }
    }
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Line number of each job.
    numbers: Vec<usize>,
}

impl Batch {
    fn add(&mut self, object: &Map<String, Value>, number: usize, kind: Option<&str>, tokens: &str) {
        let mut object = object.clone();
        if let Some(kind) = kind {
            object.entry("kind").or_insert_with(|| kind.into());
        }
        object.entry("token").or_insert_with(|| format!("{tokens}-{number}").into());
        self.bytes.extend_from_slice(Value::Object(object).to_string().as_bytes());
        self.bytes.push(b'\n');
        self.numbers.push(number);
    }
}

/// A refusal, with the line of the file instead of that of the batch.
fn refusal(error: ClientError, file: &str, numbers: &[usize]) -> Failure {
    let line = match &error {
        ClientError::Refused { line: Some(line), .. } => {
            line.checked_sub(1).and_then(|at| numbers.get(at)).copied()
        }
        _ => None,
    };
    let failure = Failure::from(error);
    match line {
        Some(line) => failure.about(&format!("{file} line {line}")),
        None => failure,
    }
}

/// A failure, with how far it got.
fn after(failure: Failure, done: u64) -> Failure {
    match failure {
        Failure::Said(exit, message) => Failure::Said(exit, format!("{message} ({done} jobs are enqueued)")),
        Failure::Pipe => Failure::Pipe,
    }
}
