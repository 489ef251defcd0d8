//! The index.

use super::*;

fn entry(bucket: u64, term: &[u8], value: &str) -> IndexEntry {
    IndexEntry { scope: "place/7/0".into(), bucket, term: Bytes::copy_from_slice(term), value: bytes(value) }
}

pub async fn a_term_has_several_values(store: TestStore) {
    let entries = vec![entry(1, b"t", "b"), entry(1, b"t", "a"), entry(1, b"tt", "c"), entry(1, b"t", "")];
    write(|| store.put_entries(entries.clone())).await;
    write(|| store.put_entries(entries.clone())).await;
    write(|| store.put_entries(Vec::new())).await;
    assert_eq!(read(|| store.entries("place/7/0", 1, b"t", 10)).await, ["", "a", "b"].map(bytes));
    assert_eq!(read(|| store.entries("place/7/0", 1, b"t", 2)).await, ["", "a"].map(bytes));
    assert_eq!(read(|| store.entries("place/7/0", 1, b"tt", 10)).await, ["c"].map(bytes));
    for (scope, bucket, term) in [("place/7/0", 2, "t"), ("place/7/1", 1, "t"), ("place/7/0", 1, "T")] {
        let found = read(|| store.entries(scope, bucket, term.as_bytes(), 10)).await;
        assert_eq!(found, Vec::<Bytes>::new(), "{scope} {bucket} {term}");
    }
}

pub async fn a_scan_never_splits_a_term(store: TestStore) {
    let terms: [&[u8]; 6] = [b"\x00", b"a", b"a\x00", b"b", b"\x80", b"\xFF\xFF"];
    let mut all = Vec::new();
    for (number, term) in terms.into_iter().enumerate() {
        // The third term has five values, more than a page below takes.
        for value in 0..if number == 2 { 5 } else { 1 + number % 2 } {
            all.push(entry(u64::MAX, term, &format!("value {value}")));
        }
    }
    let mut shuffled = all.clone();
    shuffled.reverse();
    write(|| store.put_entries(shuffled.clone())).await;
    write(|| store.put_entries(vec![entry(0, b"a", "another bucket")])).await;
    let expected: Vec<(Bytes, Bytes)> = all.into_iter().map(|entry| (entry.term, entry.value)).collect();
    for limit in [1, 2, 3, 4, 6, 100] {
        let mut found: Vec<(Bytes, Bytes)> = Vec::new();
        loop {
            let after = found.last().map(|(term, _)| term.clone()).unwrap_or_default();
            let page = read(|| store.scan_entries("place/7/0", u64::MAX, &after, limit)).await;
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= limit || page.iter().all(|(term, _)| *term == page[0].0), "{page:?}");
            found.extend(page);
        }
        assert_eq!(found, expected, "in pages of {limit}");
    }
    assert_eq!(read(|| store.scan_entries("place/7/0", u64::MAX, b"", 0)).await, Vec::new());
}

pub async fn a_bucket_is_dropped_whole(store: TestStore) {
    let many: Vec<IndexEntry> =
        (0..3_000u32).map(|number| entry(1 << 63, &number.to_be_bytes(), "value")).collect();
    for part in many.chunks(500) {
        write(|| store.put_entries(part.to_vec())).await;
    }
    let neighbours = [
        entry(0, b"t", "v"),
        entry((1 << 63) + 1, b"t", "v"),
        IndexEntry { scope: "place/7/1".into(), ..entry(1 << 63, b"t", "v") },
    ];
    write(|| store.put_entries(neighbours.to_vec())).await;
    for _ in 0..2 {
        write(|| store.drop_bucket("place/7/0", 1 << 63)).await;
        assert_eq!(read(|| store.scan_entries("place/7/0", 1 << 63, b"", 10)).await, Vec::new());
    }
    for entry in neighbours {
        assert_eq!(read(|| store.entries(&entry.scope, entry.bucket, b"t", 10)).await, [bytes("v")]);
    }
}
