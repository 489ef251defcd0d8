//! Every row, shown to whoever looks at all of them.

use super::*;

/// The rows that a dump shows, until there are `most`.
async fn dumped(store: &TestStore, most: usize) -> Vec<StoredRow> {
    let mut rows = Vec::new();
    let mut see = |row| {
        rows.push(row);
        rows.len() < most
    };
    store.dump(&mut see).await.expect("all of it can be read");
    rows
}

pub async fn a_dump_shows_every_row_once(store: TestStore) {
    let own = segment().epoch;
    let (later, large) = (as_of(own, 9), Bytes::from(vec![7; 900_000]));
    let chunk = BlobChunk { blob: u64::MAX, chunk: 1, bytes: bytes("blob") };
    let entry =
        |value: Bytes| IndexEntry { scope: "token/7/3".into(), bucket: u64::MAX, term: bytes("t"), value };
    let long = entry(Bytes::from(vec![b'v'; 9_000]));
    let version = applied(&store, "queue/a", None, Some("{}")).await;
    let gone = applied(&store, "queue/b", None, Some("[]")).await;
    applied(&store, "queue/b", Some(gone), None).await;
    write(|| store.insert_claim(partition(0), claim(1, 11))).await;
    for number in 0..40 {
        append(&store, &commit_of(segment(), number, &format!("row {number}"))).await;
    }
    let whole = Append {
        segment: SegmentKey { segment: 1, ..segment() },
        commit: 40,
        row: large.clone(),
        blobs: vec![chunk.clone()],
        entries: vec![entry(bytes("v")), long.clone()],
    };
    append(&store, &whole).await;
    write(|| store.put_summary(segment(), later, large.clone())).await;
    write(|| store.put_progress(partition(0), later, large.clone())).await;

    let document = Document { version, value: bytes("{}") };
    let mut expected = vec![
        StoredRow::Document("queue/a".to_owned(), document),
        StoredRow::Claim(partition(0), claim(1, 11)),
    ];
    expected
        .extend((0..40).map(|number| StoredRow::Commit(segment(), number, bytes(&format!("row {number}")))));
    expected.extend([
        StoredRow::Commit(whole.segment, 40, large.clone()),
        StoredRow::Blob(whole.segment, chunk.blob, chunk.chunk, chunk.bytes),
        StoredRow::Summary(segment(), later, large.clone()),
        StoredRow::Progress(partition(0), later, large),
        StoredRow::Entry(entry(bytes("v"))),
        StoredRow::Entry(long),
    ]);
    let mut rows = dumped(&store, usize::MAX).await;
    // Segments come in any order.
    rows.sort_by_key(|row| match row {
        StoredRow::Commit(_, number, _) => (1, *number),
        StoredRow::Document(..) | StoredRow::Claim(..) => (0, 0),
        _ => (2, 0),
    });
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.into_iter().zip(expected) {
        assert!(row == expected, "{:.200} is not {:.200}", format!("{row:?}"), format!("{expected:?}"));
    }
    assert_eq!(dumped(&store, 2).await.len(), 2, "it stops when it is told to");
}
