//! Real Cassandra and ZooKeeper servers for a test, by `scripts/servers`.
//!
//! Tests of one program share a set through a `OnceLock`. A set ends when it is dropped, and in any
//! case when the test's process ends, however that is: the script that holds it sees the end of its
//! standard input. Sets with the same port offset follow each other.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Ports are this far from a server's own, so that a set started by hand is left alone.
const OFFSET: &str = "1000";
/// Whoever runs tests in several checkouts at once gives each another offset.
const OFFSET_VARIABLE: &str = "QDO_TEST_SERVERS_OFFSET";
/// Another release of Cassandra than the usual one, as in `4.1.10`.
const CASSANDRA_VARIABLE: &str = "QDO_TEST_CASSANDRA_VERSION";
/// Pause between two looks at a server.
const PAUSE: Duration = Duration::from_millis(50);

/// Which servers a test needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    only: Option<&'static str>,
    three: bool,
    auth: bool,
    tls: bool,
}

impl Wanted {
    /// One Cassandra node and one ZooKeeper server.
    pub fn both() -> Self {
        Self::default()
    }

    /// One Cassandra node.
    pub fn cassandra() -> Self {
        Self { only: Some("cassandra"), ..Self::default() }
    }

    /// One ZooKeeper server.
    pub fn zookeeper() -> Self {
        Self { only: Some("zookeeper"), ..Self::default() }
    }

    /// Three of each instead of one.
    pub fn three(self) -> Self {
        Self { three: true, ..self }
    }

    /// Passwords: the user is [`USER`], for Cassandra with the password [`PASSWORD`].
    pub fn auth(self) -> Self {
        Self { auth: true, ..self }
    }

    /// A private certificate authority.
    pub fn tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// Starts these servers, without data, and waits until they are ready.
    pub fn start(self) -> Servers {
        Servers::start(self)
    }

    fn options(self) -> Vec<&'static str> {
        let mut options = vec!["--nodes", if self.three { "3" } else { "1" }];
        options.extend(self.only.iter().flat_map(|kind| ["--only", kind]));
        options.extend(self.auth.then_some("--auth"));
        options.extend(self.tls.then_some("--tls"));
        options
    }
}

/// With [`Wanted::auth`], Cassandra's first user, who may do everything.
pub const USER: &str = "cassandra";
pub const PASSWORD: &str = "cassandra";

/// What the script says of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub name: String,
    /// `up`, `starting`, `paused`, `dead` or `down`.
    pub state: String,
    /// For ZooKeeper `alone`, `leader`, `follower` or `looking`, else `-`.
    pub role: String,
    pub address: SocketAddr,
}

/// Running servers. They end when dropped.
pub struct Servers {
    holder: Child,
    folder: PathBuf,
    facts: HashMap<String, String>,
}

/// The project's script.
pub fn script() -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers"));
    command.stdin(Stdio::null());
    command
}

/// The port offset of all tests in this checkout.
pub fn offset() -> String {
    std::env::var(OFFSET_VARIABLE).unwrap_or_else(|_| OFFSET.to_owned())
}

impl Servers {
    fn start(wanted: Wanted) -> Self {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers");
        let (folder, log) =
            (base.join(format!("test-{}", offset())), base.join(format!("test-{}.log", offset())));
        fs::create_dir_all(&base).unwrap();
        let mut command = script();
        command.arg("up").args(wanted.options()).args(["--fresh", "--hold", "--offset", &offset()]);
        command.arg("--folder").arg(&folder);
        if let Ok(version) = std::env::var(CASSANDRA_VARIABLE) {
            command.args(["--cassandra", &version]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut holder = command.spawn().expect("scripts/servers can be run");
        let mut facts = HashMap::new();
        let mut ready = false;
        // It has a deadline of its own, and ends the lines when it fails.
        for line in BufReader::new(holder.stdout.take().expect("it is piped")).lines() {
            let line = line.unwrap();
            if let Some((key, value)) = line.split_once('=') {
                facts.insert(key.to_owned(), value.to_owned());
            } else if line == "ready" {
                ready = true;
                break;
            }
        }
        if !ready {
            let status = holder.wait().unwrap();
            let said = fs::read_to_string(&log).unwrap_or_default();
            panic!("scripts/servers up: {status}\n{said}");
        }
        Self { holder, folder, facts }
    }

    fn fact(&self, key: &str) -> &str {
        self.facts.get(key).unwrap_or_else(|| panic!("these servers have no {key}: {:?}", self.facts))
    }

    /// Address and port of every Cassandra node.
    pub fn contact_points(&self) -> Vec<String> {
        self.fact("cassandra").split(',').map(ToOwned::to_owned).collect()
    }

    /// The connect string of ZooKeeper.
    pub fn zookeeper(&self) -> &str {
        self.fact("zookeeper")
    }

    /// The connect string of ZooKeeper for TLS.
    pub fn zookeeper_tls(&self) -> &str {
        self.fact("zookeeper_tls")
    }

    /// The certificate of the authority that has signed the servers'. Beside it are `client.pem`
    /// with `client.key`, and `stranger.pem`, an authority that has signed nothing here.
    pub fn ca(&self) -> PathBuf {
        self.fact("ca").into()
    }

    /// Where the servers have their data and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends servers by `kill -9`: names like `cassandra-2`, or `zookeeper` for all of a kind.
    pub fn kill(&self, names: &[&str]) {
        self.run("kill", names);
    }

    /// Freezes servers.
    pub fn pause(&self, names: &[&str]) {
        self.run("pause", names);
    }

    /// Lets frozen servers go on.
    pub fn resume(&self, names: &[&str]) {
        self.run("resume", names);
    }

    /// Starts killed servers again and waits until they are ready.
    pub fn start_again(&self, names: &[&str]) {
        self.run("start", names);
    }

    /// Kills all of ZooKeeper, and starts it again with nothing in it.
    pub fn wipe_zookeeper(&self) {
        self.run("wipe", &["zookeeper"]);
    }

    /// What state each server is in.
    pub fn status(&self) -> Vec<Status> {
        let output = script().arg("status").arg("--folder").arg(&self.folder).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
        text.lines().skip(1).map(parse_status).collect()
    }

    /// The name of the ensemble's leader, once there is one.
    pub fn zookeeper_leader(&self) -> String {
        self.wait_for("a leader", |servers| servers.iter().find(|one| one.role == "leader").cloned()).name
    }

    /// Waits until `look` finds what it looks for.
    pub fn wait_for<T>(&self, what: &str, look: impl Fn(&[Status]) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let servers = self.status();
            if let Some(found) = look(&servers) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "no {what} after {PATIENCE:?}: {servers:?}");
            thread::sleep(PAUSE);
        }
    }

    fn run(&self, command: &str, names: &[&str]) {
        let output = script().arg(command).args(names).arg("--folder").arg(&self.folder).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scripts/servers {command} {names:?}: {said}");
    }
}

fn parse_status(line: &str) -> Status {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, state, role, _pid, address] = words[..] else { panic!("a line of status: {line}") };
    Status {
        name: name.to_owned(),
        state: state.to_owned(),
        role: role.to_owned(),
        address: address.parse().unwrap(),
    }
}

/// What a ZooKeeper server answers to a four-letter word; an error if it does not answer in time.
pub fn four_letters(address: &SocketAddr, word: &str, within: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(address, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

impl Drop for Servers {
    fn drop(&mut self) {
        // The end of its input is what the script waits for.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
