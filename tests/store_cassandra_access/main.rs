//! The store in Cassandra, on a real node that asks for a password and speaks TLS with certificates
//! of a private authority; and the commands that look into a store, on the same node.
#![cfg(feature = "cassandra")]

#[path = "../cassandra_kit/mod.rs"]
mod cassandra_kit;
#[path = "../cli_kit/mod.rs"]
mod cli_kit;
#[path = "../common/mod.rs"]
mod common;

mod commands;
mod refused;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use qdo::store::{CassandraOptions, Replication, Store};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

use common::servers::{PASSWORD, Servers, USER, Wanted};

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let servers = Wanted::cassandra().auth().tls().start();
        cassandra_kit::make_keyspace(&options(&servers));
        servers
    })
}

fn options(servers: &Servers) -> CassandraOptions {
    CassandraOptions {
        contact_points: servers.contact_points(),
        keyspace: "conformance".to_owned(),
        replication: Replication::Factor(1),
        user: Some(USER.to_owned()),
        password: Some(PASSWORD.to_owned()),
        tls_ca: Some(servers.ca()),
        ..CassandraOptions::default()
    }
}

/// A session past the store, to prepare what it should find.
async fn session() -> Session {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(servers().ca()).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.unwrap().with_root_certificates(roots).with_no_client_auth();
    let builder = SessionBuilder::new().known_nodes(servers().contact_points());
    builder.user(USER, PASSWORD).tls_context(Some(Arc::new(tls))).build().await.unwrap()
}

/// A file beside the authority's.
fn beside_ca(name: &str) -> std::path::PathBuf {
    servers().ca().parent().unwrap_or(Path::new("/")).join(name)
}

async fn new_store() -> (Arc<dyn Store>, ()) {
    (cassandra_kit::isolated(options(servers())).await, ())
}

qdo::store_conformance!(new_store());
