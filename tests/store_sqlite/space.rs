//! A full disk: the size of files is limited in another process.

use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use qdo::store::{AppendOutcome, Store, StoreErrorKind};

use crate::content::{append, claim, commit, count_gapless, open};

/// No file may become larger than this.
const FILE_BYTES_MAX: u64 = 6 << 20;
const ROW_BYTES: usize = 50_000;

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "space::fills_the_disk"])
        .env("QDO_TEST_STORE", folder.path().join("jobs.db"))
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run by a_full_disk_refuses_writes_and_loses_nothing"]
async fn fills_the_disk() {
    let path = std::path::PathBuf::from(std::env::var_os("QDO_TEST_STORE").unwrap());
    // SAFETY: no handler is installed, the signal is ignored.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let store = open(&path).unwrap();
    claim(&*store, 0).await;
    let mut acknowledged = 0;
    for round in 0..3 {
        setrlimit(Resource::RLIMIT_FSIZE, FILE_BYTES_MAX * (round + 1), hard).unwrap();
        loop {
            match store.append(commit(0, acknowledged, ROW_BYTES)).await {
                AppendOutcome::Fenced => acknowledged += 1,
                AppendOutcome::Refused(error) => {
                    assert_eq!(error.kind, StoreErrorKind::Full, "{error}");
                    assert!(error.message.contains("no space left for"), "{error}");
                    break;
                }
                outcome => panic!("{outcome:?}"),
            }
            assert!(acknowledged < 10_000, "the limit is never met");
        }
        for _ in 0..3 {
            let outcome = store.append(commit(0, acknowledged, ROW_BYTES)).await;
            assert!(matches!(&outcome, AppendOutcome::Refused(_)), "{outcome:?}");
        }
        assert_eq!(count_gapless(&*store, 0).await, Ok(acknowledged), "reading goes on");

        // There is space again.
        setrlimit(Resource::RLIMIT_FSIZE, FILE_BYTES_MAX * (round + 2), hard).unwrap();
        for _ in 0..10 {
            append(&*store, 0, acknowledged, ROW_BYTES).await;
            acknowledged += 1;
        }
    }
    assert!(acknowledged > 100);
    drop(store);
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    let store = open(&path).unwrap();
    assert_eq!(count_gapless(&*store, 0).await, Ok(acknowledged));
}
