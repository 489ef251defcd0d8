//! Rounds of work, each ended by a power cut at a random moment.

use super::*;

const ROUNDS: u32 = 200;
const PARTITIONS: u16 = 3;
/// Epochs whose segments are kept: those before are dropped.
const EPOCHS_KEPT: u32 = 3;
/// Most changes of the disk before the power is cut.
const CHANGES_MAX: u64 = 250;

/// What was acknowledged to one partition, and what was tried last.
#[derive(Clone, Debug, Default)]
struct Acknowledged {
    claimed: bool,
    commits: u64,
    progress: Vec<u64>,
    document: Option<Document>,
    /// The last document that was tried may be there as well.
    tried: Option<Bytes>,
    dropped: bool,
}

fn document_of(index: u16) -> String {
    format!("queue/{index}")
}

/// Works on a partition until the power is gone.
async fn work(store: Arc<SqliteStore>, index: u16, round: u32, document: Option<Document>) -> Acknowledged {
    let mut acknowledged = Acknowledged { document, ..Acknowledged::default() };
    let claim = Claim { epoch: epoch(round), owner: Bytes::from_static(b"w") };
    if store.insert_claim(partition(index), claim).await != WriteOutcome::Durable {
        return acknowledged;
    }
    acknowledged.claimed = true;
    if let Some(old) = round.checked_sub(EPOCHS_KEPT) {
        if store.drop_segment(segment(index, old)).await != WriteOutcome::Durable {
            return acknowledged;
        }
        acknowledged.dropped = true;
    }
    for number in 0.. {
        if store.append(commit(index, round, number)).await != AppendOutcome::Fenced {
            break;
        }
        acknowledged.commits = number + 1;
        if number % 4 != 3 {
            continue;
        }
        let key = CommitKey { epoch: epoch(round), commit: number };
        if store.put_progress(partition(index), key, row(index, number)).await != WriteOutcome::Durable {
            break;
        }
        acknowledged.progress.insert(0, number);
        let value = Bytes::from(format!("{round} {number}"));
        acknowledged.tried = Some(value.clone());
        let expected = acknowledged.document.as_ref().map(|document| document.version);
        match store.swap_document(&document_of(index), expected, Some(value.clone())).await {
            SwapOutcome::Applied(version) => acknowledged.document = Some(Document { version, value }),
            _ => break,
        }
    }
    acknowledged
}

/// Rows of a segment, which must be without a gap and as they were written.
async fn count(store: &SqliteStore, index: u16, round: u32) -> Result<u64, String> {
    let key = segment(index, round);
    let rows = store.commits(key, 0, usize::MAX, usize::MAX).await.map_err(|error| error.to_string())?;
    for (number, stored) in rows.iter().enumerate() {
        if stored.commit != number as u64 || stored.row != row(index, stored.commit) {
            return Err(format!("commit {number} of {key:?} is not what was written"));
        }
        let blob = store.blob(key, stored.commit, 0).await.map_err(|error| error.to_string())?;
        if blob != Some(stored.row.slice(..16)) {
            return Err(format!("commit {number} of {key:?} is there without its blob"));
        }
    }
    Ok(rows.len() as u64)
}

/// Whether all that was acknowledged in a round is there.
async fn check(
    store: &SqliteStore,
    index: u16,
    round: u32,
    acknowledged: &Acknowledged,
) -> Result<(), String> {
    let text = |error: StoreError| error.to_string();
    let there = count(store, index, round).await?;
    if !(acknowledged.commits..=acknowledged.commits + 1).contains(&there) {
        return Err(format!("{} commits were acknowledged, and {there} are there", acknowledged.commits));
    }
    let highest = store.highest_claim(partition(index)).await.map_err(text)?;
    if acknowledged.claimed && highest.as_ref().map(|claim| claim.epoch) != Some(epoch(round)) {
        return Err(format!("claim {round} was acknowledged, and the highest is {highest:?}"));
    }
    let progress = store.progress(partition(index), epoch(round), usize::MAX).await.map_err(text)?;
    let numbers: Vec<u64> = progress.into_iter().map(|(number, _)| number).collect();
    if !numbers.ends_with(&acknowledged.progress) || numbers.len() > acknowledged.progress.len() + 1 {
        return Err(format!(
            "progress {:?} was acknowledged, and {numbers:?} is there",
            acknowledged.progress
        ));
    }
    let document = store.document(&document_of(index)).await.map_err(text)?;
    let tried = document.as_ref().map(|document| &document.value) == acknowledged.tried.as_ref();
    if document != acknowledged.document && !tried {
        return Err(format!("{:?} was acknowledged, and {document:?} is there", acknowledged.document));
    }
    if let Some(old) = round.checked_sub(EPOCHS_KEPT) {
        let left = store.commits(segment(index, old), 0, 1, 1).await.map_err(text)?;
        if acknowledged.dropped && !left.is_empty() {
            return Err(format!("the drop of epoch {old} was acknowledged, and it is there"));
        }
    }
    Ok(())
}

/// All rounds; the first promise that was broken.
async fn play(seed: u64, synchronous: Synchronous, all_is_kept: bool) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder for the lock");
    let path = folder.path().join("test.db");
    let disk = PowerCutDisk::new(seed);
    let mut whole = [0; PARTITIONS as usize];
    let mut acknowledged_all = 0;
    for round in 0..ROUNDS {
        // One in three cuts may meet the store while it is opened.
        let random = disk.lock().random();
        let after = random / 3 % CHANGES_MAX;
        if random.is_multiple_of(3) {
            disk.cut_after(after % 20);
        }
        let store =
            Arc::new(open(&path, &disk, synchronous).map_err(|error| format!("round {round}: {error}"))?);
        let mut documents = Vec::new();
        for index in 0..PARTITIONS {
            documents.push(store.document(&document_of(index)).await);
        }
        disk.cut_after(after);
        let mut tasks = Vec::new();
        for (index, document) in (0..PARTITIONS).zip(documents) {
            // The cut meant for the opening may only come now.
            tasks.push(tokio::spawn(work(store.clone(), index, round, document.unwrap_or_default())));
        }
        let mut acknowledged = Vec::new();
        for task in tasks {
            acknowledged.push(task.await.expect("the task ends well"));
        }
        assert!(!disk.is_on(), "the tasks work until the power is gone");
        drop(store);
        disk.restart();

        let store =
            open(&path, &disk, synchronous).map_err(|error| format!("after round {round}: {error}"))?;
        for (index, acknowledged) in (0..PARTITIONS).zip(acknowledged) {
            let there = count(&store, index, round).await?;
            if all_is_kept {
                check(&store, index, round, &acknowledged)
                    .await
                    .map_err(|what| format!("after round {round}: {what}"))?;
                let before = round.checked_sub(1).map(|before| count(&store, index, before));
                let kept = match before {
                    Some(before) => before.await?,
                    None => 0,
                };
                if kept != whole[usize::from(index)] {
                    return Err(format!("round {round} took rows of the round before: {kept}"));
                }
            }
            acknowledged_all += acknowledged.commits;
            whole[usize::from(index)] = there;
        }
    }
    assert!(acknowledged_all > u64::from(ROUNDS), "only {acknowledged_all} commits in {ROUNDS} rounds");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_power_cuts() {
    assert_eq!(play(0x5EED, Synchronous::Full, true).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_syncs_the_same_check_finds_losses() {
    let broken = play(0x5EED, Synchronous::Off, true).await;
    assert!(broken.is_err(), "a disk that loses nothing shows nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_fewer_syncs_the_latest_may_be_lost_but_the_file_is_sound() {
    assert_eq!(play(0x5EED, Synchronous::Normal, false).await, Ok(()));
    let broken = play(0x5EED, Synchronous::Normal, true).await;
    assert!(broken.is_err(), "and it is lost, which is why it is not the default");
}
