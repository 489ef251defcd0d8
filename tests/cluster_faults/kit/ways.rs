//! A worker's ways to ZooKeeper and to the store, which can be cut.

use crate::common::proxy::Proxy;
use crate::common::servers::Servers;

/// Ways to several servers of a kind.
#[derive(Clone)]
pub struct Ways(Vec<Proxy>);

impl Ways {
    /// What goes out comes nowhere, and nothing comes in.
    pub fn silence(&self) {
        self.0.iter().for_each(Proxy::silence);
    }

    /// Connections end, and new ones at once.
    pub fn close(&self) {
        self.0.iter().for_each(Proxy::close);
    }

    pub fn open(&self) {
        self.0.iter().for_each(Proxy::open);
    }

    fn addresses(&self) -> Vec<String> {
        self.0.iter().map(Proxy::address).collect()
    }
}

/// All ways of one worker: its own, so that it can be cut off alone.
#[derive(Clone)]
pub struct WaysOut {
    pub zookeeper: Ways,
    pub store: Ways,
}

impl WaysOut {
    pub async fn start(servers: &Servers) -> Self {
        let mut zookeeper = Vec::new();
        for server in servers.zookeeper().split(',') {
            zookeeper.push(Proxy::start(server).await);
        }
        let store = Proxy::with_one_port(&servers.contact_points()).await;
        Self { zookeeper: Ways(zookeeper), store: Ways(store) }
    }

    /// The variables of the config file that say where they begin.
    pub fn variables(&self) -> Vec<(String, String)> {
        let mut variables = vec![("ZOOKEEPER".to_owned(), self.zookeeper.addresses().join(","))];
        let nodes = self.store.addresses().into_iter().enumerate();
        variables.extend(nodes.map(|(index, address)| (format!("CASSANDRA_{}", index + 1), address)));
        variables
    }
}
