//! Starting and stopping a server.

mod cli_kit;

use std::net::TcpListener;
use std::process::Stdio;

use cli_kit::{Server, qdo, run, until};
use nix::sys::signal::Signal;

const SLEEPER: &str =
    "[worker]\nstop_grace = \"200ms\"\n[handlers.sleep]\nexec = [\"sleep\", \"600\"]\ngrace = \"500ms\"\n";

#[test]
fn a_start_says_where_everything_is_and_what_to_try() {
    let server = Server::start("[handlers.thumb]\nexec = [\"true\"]\n");
    let log = until("the banner", || Some(server.log()).filter(|log| log.contains("Ctrl-C")));
    for word in [server.address.as_str(), "data", "qdo.toml", "thumb", "qdo job enqueue", "qdo queue list"] {
        assert!(log.contains(word), "{word} is not in {log}");
    }
}

#[test]
fn commands_of_the_flag_run_jobs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Server::command(folder.path(), "");
    let mut child = command.args(["--handle", "hello=echo hello $(cat)"]).spawn().expect("it runs");
    let address = until("the address", || std::fs::read_to_string(folder.path().join("address")).ok());
    let enqueue = ["job", "enqueue", "default", "--kind", "hello", "world", "--wait"];
    let ran = run(qdo().args(enqueue).env("QDO_ADDRESS", address.trim()));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert_eq!(ran.code(0).stdout, "hello world\n");
}

#[test]
fn the_first_signal_ends_it_gently_and_jobs_are_kept() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut server = Server::start_in(folder.path(), SLEEPER);
        let running = server.enqueue("q", "sleep", "x");
        let waiting = server.enqueue("q", "none", "x");
        server.until_state(&running, "running");
        server.signal(signal);
        assert_eq!(server.ended().code(), Some(0), "{}", server.log());
        assert!(!folder.path().join("address").exists(), "nobody is sent to where nothing is");

        let server = Server::start_in(folder.path(), SLEEPER);
        assert_eq!(server.job(&waiting)["state"], "waiting");
        let job = server.job(&running);
        assert_eq!(job["failures"], 0, "an interruption is no failure: {job}");
        server.until_state(&running, "running");
        assert_eq!(server.job(&running)["attempt"], 2);
    }
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let config = SLEEPER.replace("200ms", "10m");
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let mut server = Server::start(&config);
        let id = server.enqueue("q", "sleep", "x");
        server.until_state(&id, "running");
        server.signal(signal);
        until("the notice", || Some(server.log()).filter(|log| log.contains("stopping")));
        assert!(
            server.run(["job", "show", &id]).code(0).stdout.contains("running"),
            "it answers until the end"
        );
        server.signal(signal);
        assert_eq!(server.ended().code(), Some(code));
    }
}

#[test]
fn a_second_server_on_the_same_folder_is_told_who_is_there() {
    let server = Server::start("");
    let ran =
        run(qdo().args(["standalone", "--listen", "127.0.0.1:0", "--data"]).arg(server.folder.join("data")));
    let pid = server.child.id().to_string();
    ran.code(4).says(&["in use", &pid, &server.address]);
    server.run(["queue", "list"]).code(0);
}

#[test]
fn a_port_in_use_is_one_sentence() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let start =
        |listen: &str| run(qdo().args(["standalone", "--listen", listen, "--data"]).arg(folder.path()));
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address").to_string();
    // It accepts and says nothing, so that asking who it is would hang without a bound.
    drop(std::thread::spawn(move || other.accept().map(drop)));
    start(&address).code(1).says(&[&address, "in use by another program", "--listen"]);

    let server = Server::start("");
    let taken = server.address.trim_start_matches("http://").to_owned();
    start(&taken).code(1).says(&["a qdo server answers at", &taken, "already"]);
    let mut elsewhere = qdo();
    elsewhere.env("QDO_INSECURE", "true").args(["standalone", "--listen", "192.0.2.1:1", "--data"]);
    run(elsewhere.arg(folder.path())).code(1).says(&["no address 192.0.2.1"]);
    start("nonsense").code(2).says(&["--listen", "127.0.0.1:7420"]);
}

#[test]
fn a_data_folder_that_cannot_be_is_one_sentence() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("it can be written");
    let ran = run(qdo().args(["standalone", "--listen", "127.0.0.1:0", "--data"]).arg(file.join("below")));
    ran.code(1).says(&["cannot make the data folder", "--data FOLDER"]);
}

#[test]
fn beyond_loopback_a_token_is_needed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ran = run(qdo().args(["standalone", "--listen", "0.0.0.0:0", "--data"]).arg(folder.path()));
    ran.code(2).says(&["token", "insecure"]);
}

#[test]
fn a_token_is_asked_for_and_never_shown() {
    let server = Server::start("token = \"0penSesame\"\n");
    server.run(["queue", "list"]).code(4).says(&["token", "QDO_TOKEN"]);
    run(server.qdo(["queue", "list"]).env("QDO_TOKEN", "wrong")).code(4);
    run(server.qdo(["queue", "list"]).env("QDO_TOKEN", "0penSesame")).code(0);
    let file = server.folder.join("token");
    std::fs::write(&file, "0penSesame\n").expect("it can be written");
    run(server.qdo(["queue", "list", "--token-file"]).arg(&file)).code(0);
    run(server.qdo(["queue", "list", "--config"]).arg(server.folder.join("qdo.toml"))).code(0);
    assert!(!server.log().contains("0penSesame"), "{}", server.log());
}

#[test]
fn kill_9_loses_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start_in(folder.path(), SLEEPER);
    let waiting = server.enqueue("q", "none", "x");
    server.signal(Signal::SIGKILL);
    server.ended();
    let server = Server::start_in(folder.path(), SLEEPER);
    assert_eq!(server.job(&waiting)["state"], "waiting");
}

#[test]
fn a_list_into_a_closed_pipe_ends_quietly() {
    let server = Server::start("");
    server.enqueue("q", "none", "x");
    let mut list = server.qdo(["job", "list", "q"]);
    let mut child = list.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
