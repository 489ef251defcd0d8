//! Who may not come in is told why, and never by showing a password.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use qdo::store::{CassandraOptions, CassandraStore, Store, StoreError, StoreErrorKind};

use super::{beside_ca, options, servers, session};

const WRONG: &str = "not-the-password";

async fn refused(options: CassandraOptions, kind: StoreErrorKind, words: &[&str]) -> StoreError {
    let error = match CassandraStore::open(options.clone()).await {
        Ok(_) => panic!("opened with {options:?}"),
        Err(error) => error,
    };
    println!("{error}");
    assert_eq!(error.kind, kind, "{error}");
    for word in words {
        assert!(error.message.contains(word), "{word:?} is not in: {error}");
    }
    assert!(!error.message.contains(WRONG), "{error}");
    error
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown() {
    let wrong = CassandraOptions { password: Some(WRONG.to_owned()), ..options(servers()) };
    refused(wrong, StoreErrorKind::Permission, &["does not take the user and password"]).await;
    let stranger = CassandraOptions { user: Some("nobody".to_owned()), ..options(servers()) };
    refused(stranger, StoreErrorKind::Permission, &["does not take the user and password"]).await;
}

#[tokio::test]
async fn a_missing_password_is_asked_for() {
    let none = CassandraOptions { user: None, password: None, ..options(servers()) };
    refused(none, StoreErrorKind::Permission, &["asks for a user and a password", "none are set"]).await;
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_trusted() {
    let stranger = CassandraOptions { tls_ca: Some(beside_ca("stranger.pem")), ..options(servers()) };
    refused(stranger, StoreErrorKind::Unavailable, &["certificate", "check tls_ca"]).await;
}

#[tokio::test]
async fn one_side_with_tls_and_one_without_are_told_of_it() {
    let plain = CassandraOptions { tls_ca: None, ..options(servers()) };
    refused(plain, StoreErrorKind::Unavailable, &["does the server speak TLS"]).await;
    // Whoever answers there knows nothing of TLS.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 1]);
            let _ = stream.write_all(b"this is no TLS\n");
        }
    });
    let deaf = CassandraOptions {
        contact_points: vec![address.clone()],
        connect_timeout: Duration::from_secs(2),
        ..options(servers())
    };
    refused(deaf, StoreErrorKind::Unavailable, &[&address, "check tls_ca"]).await;
}

#[tokio::test]
async fn a_file_of_certificates_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, empty) = (folder.path().join("missing.pem"), folder.path().join("empty.pem"));
    std::fs::write(&empty, "no certificate").unwrap();
    let with =
        |file: &std::path::Path| CassandraOptions { tls_ca: Some(file.to_owned()), ..options(servers()) };
    refused(with(&missing), StoreErrorKind::Invalid, &["tls_ca", "missing.pem"]).await;
    refused(with(&empty), StoreErrorKind::Invalid, &["tls_ca", "empty.pem", "no certificate"]).await;
}

#[tokio::test]
async fn a_user_without_rights_is_told_which_are_missing() {
    let session = session().await;
    let create = "CREATE ROLE IF NOT EXISTS guest WITH PASSWORD = 'guest' AND LOGIN = true";
    session.query_unpaged(create, ()).await.unwrap();
    let guest = CassandraOptions {
        user: Some("guest".to_owned()),
        password: Some("guest".to_owned()),
        ..options(servers())
    };
    refused(guest.clone(), StoreErrorKind::Permission, &["guest", "conformance", "grant"]).await;
    let elsewhere = CassandraOptions { keyspace: "of_the_guest".to_owned(), ..guest.clone() };
    refused(elsewhere, StoreErrorKind::Permission, &["of_the_guest", "can't be made", "grant CREATE"]).await;
    session.query_unpaged("GRANT SELECT ON KEYSPACE conformance TO guest", ()).await.unwrap();
    session.query_unpaged("GRANT MODIFY ON KEYSPACE conformance TO guest", ()).await.unwrap();
    let begun = std::time::Instant::now();
    // Nodes remember for a while what a user may do.
    let store = loop {
        match CassandraStore::open(guest.clone()).await {
            Ok(store) => break store,
            Err(error) => assert!(begun.elapsed() < crate::common::PATIENCE, "{error}"),
        }
    };
    store.document("queue/a").await.expect("it may read");
}
