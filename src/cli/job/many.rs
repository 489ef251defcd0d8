//! Many jobs from a file, one a line, in batches.
//!
//! Every line gets a token of its own, so that a batch whose answer was lost can be sent again. On a
//! bad line nothing of its batch is enqueued; what was enqueued before is said.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::super::args::EnqueueArgs;
use super::super::exit::{Exit, Failure};
use super::super::out::{Out, say};
use super::super::progress;
use super::enqueue;
use crate::client::{Client, ClientError, random_token};
use crate::model::limits::BATCH_BYTES_MAX;

/// Jobs of one batch: enough for the store to do many at once, few enough for the bar to move.
const BATCH_JOBS: usize = 1_000;
/// Bytes after which a batch is sent.
const BATCH_BYTES: usize = 8 << 20;

pub(super) async fn run(args: &EnqueueArgs, client: &Client, out: &Out) -> Result<Exit, Failure> {
    let (file, form) = match (&args.ndjson, &args.lines) {
        (Some(file), _) => (file, Form::Objects),
        (None, Some(file)) => (file, Form::Payloads),
        (None, None) => return Err(Failure::usage("say --ndjson FILE or --lines FILE")),
    };
    let (source, bytes) = open(file)?;
    let bar = progress::bar(bytes);
    let mut lines = Lines { source, name: file, number: 0, bytes: 0 };
    let tokens = args.token.clone().unwrap_or_else(random_token);
    let mut done: u64 = 0;
    loop {
        let mut batch = Batch::default();
        while batch.numbers.len() < BATCH_JOBS && batch.bytes.len() < BATCH_BYTES {
            let Some(line) = lines.next().map_err(|failure| after(failure, done))? else { break };
            let token = format!("{tokens}-{}", lines.number);
            let job = form.job(&line, args, token);
            batch.add(&job.map_err(|what| after(lines.wrong(&what), done))?, lines.number);
        }
        if batch.numbers.is_empty() {
            break;
        }
        let enqueued = client
            .enqueue_lines(&args.queue, Bytes::from(batch.bytes), true)
            .await
            .map_err(|error| after(refusal(error, file, &batch.numbers), done))?;
        done += batch.numbers.len() as u64;
        bar.set_position(lines.bytes);
        bar.set_message(format!("{done} jobs"));
        let mut text = String::new();
        for job in &enqueued {
            match out.is_json() {
                true => text.push_str(&serde_json::to_string(job).unwrap_or_default()),
                false => text.push_str(&job.id.to_string()),
            }
            text.push('\n');
        }
        bar.suspend(|| out.raw(text.as_bytes()))?;
    }
    bar.finish_and_clear();
    say(&format!("enqueued {done} jobs"));
    Ok(Exit::Ok)
}

/// What a line is.
#[derive(Clone, Copy)]
enum Form {
    /// A job, as in the HTTP API.
    Objects,
    /// A payload.
    Payloads,
}

impl Form {
    /// The job of a line, as the API takes it; or what is wrong.
    fn job(self, line: &[u8], args: &EnqueueArgs, token: String) -> Result<Vec<u8>, String> {
        if let Self::Payloads = self {
            let spec = enqueue::spec(args, line, token);
            return serde_json::to_vec(&spec).map_err(|error| error.to_string());
        }
        let object: BTreeMap<String, IgnoredAny> =
            serde_json::from_slice(line).map_err(|error| format!("is not a JSON object: {error}"))?;
        let mut added = Map::new();
        if let Some(kind) = args.kind.as_ref().filter(|_| !object.contains_key("kind")) {
            added.insert("kind".to_owned(), kind.as_str().into());
        }
        if !object.contains_key("token") {
            added.insert("token".to_owned(), token.into());
        }
        Ok(with_members(line.trim_ascii(), !object.is_empty(), added))
    }
}

/// Puts members into a JSON object as text, so that all else stays as it was written.
fn with_members(object: &[u8], has_members: bool, added: Map<String, Value>) -> Vec<u8> {
    let rest = object.get(1..).unwrap_or_default();
    if added.is_empty() {
        return object.to_vec();
    }
    let mut text = Value::Object(added).to_string().into_bytes();
    text.pop();
    if has_members {
        text.push(b',');
    }
    text.extend_from_slice(rest);
    text
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

struct Lines<'a> {
    source: Box<dyn BufRead>,
    name: &'a str,
    /// Of the line read last, from 1.
    number: usize,
    /// Read so far.
    bytes: u64,
}

impl Lines<'_> {
    /// The next line that is not blank, without its end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut self.source).take(BATCH_BYTES_MAX as u64 + 1);
            let read = bounded.read_until(b'\n', &mut line);
            self.number += 1;
            let read = read.map_err(|error| self.wrong(&format!("cannot be read: {error}")))?;
            if read == 0 {
                return Ok(None);
            }
            self.bytes += read as u64;
            if read > BATCH_BYTES_MAX {
                return Err(self.wrong(&format!("is longer than {BATCH_BYTES_MAX} bytes")));
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(line));
            }
        }
    }

    /// What is wrong with the line read last.
    fn wrong(&self, what: &str) -> Failure {
        Failure::usage(format!("{} line {}: {what}", self.name, self.number))
    }
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Line number of each job.
    numbers: Vec<usize>,
}

impl Batch {
    fn add(&mut self, job: &[u8], number: usize) {
        self.bytes.extend_from_slice(job);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gets_its_token_and_else_stays_as_it_was_written() {
        let added = || Map::from_iter([("token".to_owned(), Value::from("t"))]);
        let line = br#"{ "payload": 12345678901234567890.10 }"#;
        let job = String::from_utf8(with_members(line, true, added())).expect("text");
        assert_eq!(job, r#"{"token":"t", "payload": 12345678901234567890.10 }"#);
        assert_eq!(with_members(b"{}", false, added()), br#"{"token":"t"}"#);
        assert_eq!(with_members(b"{}", false, Map::new()), b"{}");
    }
}
