//! Documents.

use super::*;

pub async fn a_document_is_written_only_on_its_version(store: TestStore) {
    assert_eq!(read(|| store.document("queue/a")).await, None);
    assert_eq!(swap(&store, "queue/a", Some(1), Some("early")).await, SwapOutcome::Conflict(None));
    let first = applied(&store, "queue/a", None, Some("one")).await;
    let there = Document { version: first, value: bytes("one") };
    assert_eq!(read(|| store.document("queue/a")).await, Some(there.clone()));

    assert_eq!(
        swap(&store, "queue/a", None, Some("again")).await,
        SwapOutcome::Conflict(Some(there.clone()))
    );
    assert_eq!(swap(&store, "queue/a", Some(first + 100), None).await, SwapOutcome::Conflict(Some(there)));
    let second = applied(&store, "queue/a", Some(first), Some("two")).await;
    assert!(second > first, "versions rise");
    let there = Document { version: second, value: bytes("two") };
    assert_eq!(swap(&store, "queue/a", Some(first), Some("stale")).await, SwapOutcome::Conflict(Some(there)));

    applied(&store, "queue/a", Some(second), None).await;
    assert_eq!(read(|| store.document("queue/a")).await, None);
    assert_eq!(swap(&store, "queue/a", Some(second), Some("late")).await, SwapOutcome::Conflict(None));
}

pub async fn a_document_made_anew_never_has_an_old_version(store: TestStore) {
    let mut versions = Vec::new();
    for round in 0..5 {
        let version = applied(&store, "token/x", None, Some(&format!("value {round}"))).await;
        assert!(!versions.contains(&version), "version {version} was there before");
        versions.push(version);
        applied(&store, "token/x", Some(version), None).await;
    }
}

pub async fn documents_are_listed_by_prefix_in_pages(store: TestStore) {
    for key in ["queue/c", "queue/a", "queue", "queues/x", "queue/b/deep", "queue/b", "namespace/a"] {
        applied(&store, key, None, Some(key)).await;
    }
    let keys = async |prefix: &str, after: &str, limit| {
        let page = read(|| store.documents(prefix, after, limit)).await;
        for (key, document) in &page {
            assert_eq!(document.value, key.as_bytes(), "each key has its own document");
        }
        page.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(keys("queue/", "", 10).await, ["queue/a", "queue/b", "queue/b/deep", "queue/c"]);
    assert_eq!(keys("queue/", "", 2).await, ["queue/a", "queue/b"]);
    assert_eq!(keys("queue/", "queue/b", 2).await, ["queue/b/deep", "queue/c"]);
    assert_eq!(keys("queue/", "queue/bb", 10).await, ["queue/c"]);
    assert_eq!(keys("queue/", "queue/c", 10).await, Vec::<String>::new());
    assert_eq!(keys("queue/", "zebra", 10).await, Vec::<String>::new());
    assert_eq!(keys("queue/", "a", 10).await.len(), 4, "an `after` before the prefix hides nothing");
    assert_eq!(keys("queue/", "", 0).await, Vec::<String>::new());
    assert_eq!(keys("", "", 100).await.len(), 7);
    assert_eq!(keys("nothing", "", 100).await, Vec::<String>::new());
}

pub async fn a_prefix_is_taken_literally(store: TestStore) {
    let keys =
        ["a%", "a%b", "a_b", "axb", "a*", "A%b", "ä/1", "ä/2", "a\u{10FFFF}", "a\u{10FFFF}z", "b", "a'b"];
    for key in keys {
        applied(&store, key, None, Some(key)).await;
    }
    for prefix in ["a%", "a_", "a*", "ä", "a\u{10FFFF}", "a'", "a", "A"] {
        let mut expected: Vec<&str> = keys.into_iter().filter(|key| key.starts_with(prefix)).collect();
        expected.sort_unstable();
        let page = read(|| store.documents(prefix, "", 100)).await;
        let found: Vec<&str> = page.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(found, expected, "documents of the prefix {prefix:?}");
    }
}

pub async fn senseless_documents_are_refused(store: TestStore) {
    let large = Bytes::from(vec![0; (1 << 20) + 1]);
    let long = "k".repeat(1_025);
    for (key, value) in [("", bytes("x")), ("a\0b", bytes("x")), (long.as_str(), bytes("x")), ("a", large)] {
        let outcome = loop {
            match store.swap_document(key, None, Some(value.clone())).await {
                SwapOutcome::Unknown(_) => {}
                SwapOutcome::Refused(error) if may_be_repeated(&error) => {}
                outcome => break outcome,
            }
        };
        assert!(
            matches!(&outcome, SwapOutcome::Refused(error) if error.kind == StoreErrorKind::Invalid),
            "{outcome:?}"
        );
    }
    assert_eq!(read(|| store.documents("", "", 10)).await, Vec::new());
}
