//! What ran: a file outside qdo that every handler appends to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use nix::time::{ClockId, clock_gettime};
use qdo::model::JobId;

/// The payload is how many seconds it takes. A line is one write, so that lines do not mix.
const HANDLER: &str = r#"
read -r pause
note() {
    read -r up rest </proc/uptime
    printf '%s %s %s %s %s %s\n' "$1" "$QDO_JOB_ID" "$QDO_ATTEMPT" "$QDO_EPOCH" "$up" "$WORKER" >>"$LEDGER"
}
note start
[ "$pause" = 0 ] || sleep "$pause"
note end
"#;

/// The clock of the ledger, which counts in hundredths of a second.
pub fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap();
    (now.tv_sec() as u64 * 100 + now.tv_nsec() as u64 / 10_000_000) * 10
}

/// One attempt, as its handler wrote it down.
#[derive(Clone, Debug)]
pub struct Run {
    pub attempt: u32,
    pub epoch: u32,
    pub worker: String,
    pub start_ms: u64,
    pub end_ms: Option<u64>,
}

/// See the module.
pub struct Ledger {
    file: PathBuf,
    script: PathBuf,
    read: u64,
    runs: BTreeMap<JobId, Vec<Run>>,
    twice: Vec<String>,
}

impl Ledger {
    pub fn create(folder: &Path) -> Self {
        let (file, script) = (folder.join("ledger"), folder.join("handler.sh"));
        File::create(&file).unwrap();
        fs::write(&script, HANDLER).unwrap();
        Self { file, script, read: 0, runs: BTreeMap::new(), twice: Vec::new() }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn script(&self) -> &Path {
        &self.script
    }

    /// Reads what has come since the last time.
    pub fn read(&mut self) -> &BTreeMap<JobId, Vec<Run>> {
        let mut file = File::open(&self.file).unwrap();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        text[..whole].lines().for_each(|line| self.take(line));
        &self.runs
    }

    /// Attempts that began or ended more than once.
    pub fn twice(&self) -> &[String] {
        &self.twice
    }

    fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, job, attempt, epoch, up, worker] = words[..] else {
            panic!("a line of the ledger: {line}")
        };
        let (job, attempt): (JobId, u32) = (job.parse().unwrap(), attempt.parse().unwrap());
        let at_ms = uptime_ms(up);
        let runs = self.runs.entry(job).or_default();
        let known = runs.iter_mut().find(|run| run.attempt == attempt);
        match (what, known) {
            ("start", None) => {
                let (epoch, worker) = (epoch.parse().unwrap(), worker.to_owned());
                runs.push(Run { attempt, epoch, worker, start_ms: at_ms, end_ms: None });
            }
            ("end", Some(run)) if run.end_ms.is_none() && run.worker == worker => run.end_ms = Some(at_ms),
            _ => self.twice.push(line.to_owned()),
        }
    }
}

/// `12345.67`, as the system says it.
fn uptime_ms(text: &str) -> u64 {
    let (seconds, hundredths) = text.split_once('.').unwrap();
    seconds.parse::<u64>().unwrap() * 1_000 + hundredths.parse::<u64>().unwrap() * 10
}
