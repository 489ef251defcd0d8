use std::sync::Arc;

use super::*;

async fn new_store() -> (Arc<dyn Store>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let store = SqliteStore::open(&folder.path().join("test.db"), SqliteOptions::default());
    (Arc::new(store.expect("a new store opens")), folder)
}

crate::store_conformance!(new_store());

fn append(index: u16, commit: u64, row: &'static str) -> Append {
    let partition = PartitionId { group: 1, index };
    let segment = SegmentKey { partition, epoch: Epoch { number: 1, incarnation: 1 }, segment: 0 };
    Append { segment, commit, row: row.into(), blobs: Vec::new(), entries: Vec::new() }
}

#[tokio::test]
async fn writes_that_wait_share_one_transaction() {
    let (store, _folder) = new_store().await;
    let before = store.counters();
    let tasks: Vec<_> = (0..64)
        .map(|index| {
            let store = store.clone();
            tokio::spawn(async move {
                for commit in 0..20 {
                    assert_eq!(store.append(append(index, commit, "row")).await, AppendOutcome::Durable);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("the task ends well");
    }
    let after = store.counters();
    assert_eq!(after.commits - before.commits, 64 * 20);
    let transactions = after.transactions - before.transactions;
    assert!(transactions < 64 * 20 / 4, "{transactions} transactions");
    assert!(after.fsyncs - before.fsyncs < 64 * 20 / 4, "{after:?}");
}

#[test]
fn a_write_that_fails_leaves_its_neighbours_alone() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let source = Source { path: folder.path().join("test.db"), options: SqliteOptions::default() };
    source.prepare().expect("a new store is made");
    let (sender, requests) = mpsc::channel(10);
    let counters = Arc::new(Counters::default());
    let mut writer = Writer {
        source,
        requests,
        counters: counters.clone(),
        backup_runs: Arc::default(),
        log: writer::Log::default(),
        connection: None,
    };
    writer.open().expect("the new store opens");
    let claim = Claim { epoch: Epoch { number: 1, incarnation: 1 }, owner: "w".into() };
    let other = Claim { owner: "somebody else".into(), ..claim.clone() };
    let partition = PartitionId { group: 1, index: 0 };
    let writes = vec![
        Write::Append(append(1, 0, "row 0")),
        Write::Claim(partition, claim),
        Write::Claim(partition, other),
        Write::Append(append(1, 0, "row 0 otherwise")),
        Write::Append(append(1, 1, "row 1")),
    ];
    let mut outcomes = Vec::new();
    for write in writes {
        let (answer, outcome) = oneshot::channel();
        sender.try_send(Request { write, answer }).expect("the channel has room");
        outcomes.push(outcome);
    }
    drop(sender);
    // All wait before the writer begins, so they are one group.
    writer.run();
    let made: Vec<bool> = outcomes
        .into_iter()
        .map(|outcome| outcome.blocking_recv().expect("each is answered").is_ok())
        .collect();
    assert_eq!(made, [true, true, false, false, true]);
    assert_eq!(counters.read().commits, 2);
}
