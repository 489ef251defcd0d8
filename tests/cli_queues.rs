//! Queues from the command line.

mod cli_kit;

use cli_kit::{Server, run};

const HANDLERS: &str = "[handlers.cat]\nexec = [\"cat\"]\n[handlers.sleep]\nexec = [\"sleep\", \"600\"]\n";

#[test]
fn a_queue_is_made_changed_and_shown() {
    let server = Server::start("[queue_defaults]\nmax_attempts = 9\n");
    server.run(["queue", "list"]).code(0).says(&["no queues yet"]);
    server
        .run(["queue", "create", "emails", "--timeout", "30s", "--backoff-base", "2s", "--partitions", "3"])
        .code(0);
    server.run(["queue", "create", "emails"]).code(4).says(&["there already"]);
    let queue = server.run(["queue", "show", "emails", "-o", "json"]).code(0).json();
    assert_eq!(queue["partitions"], 3);
    assert_eq!(queue["settings"]["timeout"], "30s");
    assert_eq!(queue["settings"]["max_attempts"], 9, "what is not said is the server's default");
    server.run(["queue", "set", "emails", "--backoff-cap", "1m"]).code(0);
    let queue = server.run(["queue", "show", "emails", "-o", "json"]).code(0).json();
    assert_eq!(queue["settings"]["timeout"], "30s", "what is not said stays");
    assert_eq!(queue["settings"]["backoff"]["base"], "2s");
    assert_eq!(queue["settings"]["backoff"]["cap"], "1m");
    server.run(["queue", "set", "emails"]).code(2).says(&["say what to set"]);
    server.run(["queue", "set", "emails", "--backoff-jitter", "2"]).code(2).says(&["jitter"]);
    server.run(["queue", "set", "unknown", "--timeout", "1s"]).code(3);
    let shown = server.run(["queue", "show", "emails"]).code(0).stdout;
    assert!(shown.contains("default/emails") && shown.contains("30s"), "{shown}");
    let list = server.run(["queue", "list"]).code(0).stdout;
    assert!(list.lines().count() == 2 && list.contains("emails"), "{list}");
    assert_eq!(server.run(["queue", "list", "-o", "json"]).code(0).json()[0]["name"], "emails");
}

#[test]
fn a_paused_queue_starts_nothing_until_it_is_resumed() {
    let server = Server::start(HANDLERS);
    server.run(["queue", "create", "q"]).code(0);
    server.run(["queue", "pause", "q"]).code(0);
    let id = server.enqueue("q", "cat", "x");
    server.run(["job", "wait", &id, "--timeout", "300ms"]).code(6);
    assert_eq!(server.job(&id)["attempt"], 0);
    server.run(["queue", "resume", "q"]).code(0);
    server.run(["job", "wait", &id]).code(0);
}

#[test]
fn pausing_can_end_what_runs_which_then_waits() {
    let server = Server::start(HANDLERS);
    let id = server.enqueue("q", "sleep", "x");
    server.until_state(&id, "running");
    server.run(["queue", "pause", "q", "--interrupt"]).code(0);
    let job = cli_kit::until("the end of the attempt", || {
        Some(server.job(&id)).filter(|job| job["state"] != "running")
    });
    assert!(job["state"] == "waiting" || job["state"] == "scheduled", "{job}");
    server.run(["job", "cancel", &id]).code(0);
}

#[test]
fn a_queue_with_jobs_is_deleted_only_with_a_word() {
    let server = Server::start(HANDLERS);
    let id = server.enqueue("q", "none", "x");
    server.run(["queue", "delete", "q", "--yes"]).code(4).says(&["q"]);
    server.run(["queue", "delete", "q", "--yes", "--force"]).code(0);
    server.run(["queue", "show", "q"]).code(3);
    server.run(["job", "show", &id]).code(3);
    server.run(["queue", "delete", "q", "--yes"]).code(3);
}

#[test]
fn namespaces_do_not_see_each_other() {
    let server = Server::start(HANDLERS);
    let id = server.enqueue("q", "none", "x");
    let other = |args: &[&str]| run(server.qdo(args).args(["--namespace", "other"]));
    other(&["job", "show", &id]).code(3);
    other(&["queue", "show", "q"]).code(3);
    run(server.qdo(["queue", "list"]).env("QDO_NAMESPACE", "default")).code(0);
}
