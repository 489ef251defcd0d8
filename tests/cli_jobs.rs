//! Jobs from the command line, run by a real server.

mod cli_kit;

use cli_kit::{Server, run, run_with, until};

const HANDLERS: &str = r#"
[queue_defaults]
max_attempts = 1
[handlers.cat]
exec = ["cat"]
[handlers.fail]
exec = ["sh", "-c", "echo went wrong >&2; exit 3"]
[handlers.sleep]
exec = ["sleep", "600"]
grace = "1s"
[handlers.again]
exec = ["sh", "-c", "echo attempt $QDO_ATTEMPT >&2; [ $QDO_ATTEMPT -gt 1 ]"]
"#;

#[test]
fn a_job_that_is_waited_for_prints_its_result() {
    let server = Server::start(HANDLERS);
    let ran = server.run(["job", "enqueue", "q", "--kind", "cat", "{\"a\":1}", "--wait"]).code(0);
    assert_eq!(ran.stdout, "{\"a\":1}\n");
    assert!(ran.stderr.starts_with("enqueued "), "{}", ran.stderr);

    let bytes: Vec<u8> = (0..=255).collect();
    let mut enqueue = server.qdo(["job", "enqueue", "q", "--kind", "cat", "-", "--wait"]);
    assert_eq!(run_with(&mut enqueue, &bytes).code(0).bytes, bytes, "bytes come back as they were");

    let file = server.folder.join("payload");
    std::fs::write(&file, "from a file\n").expect("it can be written");
    let from_file = format!("@{}", file.display());
    let ran =
        server.run(["job", "enqueue", "q", "--kind", "cat", &from_file, "--wait", "-o", "json"]).code(0);
    assert_eq!(ran.json()["result"], "from a file\n");
    assert_eq!(ran.json()["content_type"], "text/plain; charset=utf-8");
}

#[test]
fn the_exit_code_says_how_a_job_ended() {
    let server = Server::start(HANDLERS);
    let ran = server.run(["job", "enqueue", "q", "--kind", "fail", "--wait"]).code(7);
    ran.says(&["failed", "exit code 3", "went wrong"]);
    server.run(["job", "enqueue", "q", "--kind", "sleep", "--wait=50ms"]).code(6).says(&["is still"]);

    let id = server.enqueue("q", "sleep", "x");
    server.until_state(&id, "running");
    server.run(["job", "wait", &id, "--timeout", "10ms"]).code(6);
    server.run(["job", "cancel", &id]).code(0);
    server.run(["job", "wait", &id]).code(8);

    let good = server.enqueue("q", "cat", "x");
    let bad = server.enqueue("q", "fail", "x");
    server.run(["job", "wait", &good, &bad]).code(7);
    server.run(["job", "wait", &good]).code(0);
}

#[test]
fn a_kind_without_a_handler_waits_and_says_so() {
    let server = Server::start(HANDLERS);
    let id = server.enqueue("q", "unheard-of", "x");
    let job = server.job(&id);
    assert_eq!(job["state"], "waiting");
    let shown = server.run(["job", "show", &id]).code(0).stdout;
    assert!(shown.contains("no runner for kind \"unheard-of\""), "{shown}");
}

#[test]
fn a_job_can_be_looked_at_and_changed() {
    let server = Server::start(HANDLERS);
    let id = server
        .run([
            "job",
            "enqueue",
            "q",
            "--kind",
            "cat",
            "x",
            "--delay",
            "1h",
            "--priority",
            "9",
            "--tag",
            "a",
            "--header",
            "h=v",
        ])
        .code(0)
        .word();
    let job = server.job(&id);
    assert_eq!((&job["state"], &job["priority"]), (&"scheduled".into(), &9.into()));
    assert_eq!((&job["tags"][0], &job["headers"]["h"]), (&"a".into(), &"v".into()));
    server.run(["job", "priority", &id, "1"]).code(0);
    assert_eq!(server.job(&id)["priority"], 1);
    server.run(["job", "run-now", &id]).code(0);
    server.run(["job", "wait", &id, "--timeout", "1m"]).code(0);
    let history = server.run(["job", "history", &id, "-o", "json"]).code(0).json();
    let events: Vec<&str> =
        history.as_array().expect("a list").iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!((events.first(), events.last()), (Some(&"enqueued"), Some(&"succeeded")), "{history}");
    server.run(["job", "cancel", &id]).code(4).says(&[&id]);
    server.run(["job", "delete", &id, "--yes"]).code(0);
    server.run(["job", "show", &id]).code(3).says(&[&id]);
    server.run(["job", "show", "00000FFFFFFFFFFFFFFFFFFFFF"]).code(3);
}

#[test]
fn a_failed_job_is_kept_and_tried_again() {
    let server = Server::start(HANDLERS);
    let id = server.enqueue("q", "again", "x");
    server.run(["job", "wait", &id]).code(7);
    let output = server.run(["job", "output", &id]).code(0);
    assert_eq!(output.stdout, "attempt 1\n");
    server.run(["job", "retry", &id]).code(0);
    server.run(["job", "wait", &id]).code(0);
    assert_eq!(server.run(["job", "output", &id, "--attempt", "1"]).code(0).stdout, "attempt 1\n");
    assert_eq!(server.run(["job", "output", &id, "--follow"]).code(0).stdout, "attempt 2\n");

    let ids = [server.enqueue("p", "again", "x"), server.enqueue("p", "again", "y")];
    server.run(["queue", "wait", "p"]).code(7);
    let affected = server.run(["job", "retry", "--all-failed", "p", "-o", "json"]).code(0).json();
    assert_eq!(affected["jobs"], 2);
    for id in &ids {
        server.run(["job", "wait", id]).code(0);
    }
    server.run(["queue", "wait", "p"]).code(0);
}

#[test]
fn a_list_shows_jobs_of_a_state_in_either_order() {
    let server = Server::start(HANDLERS);
    let ids: Vec<String> = (0..5).map(|at| server.enqueue("q", "unheard-of", &at.to_string())).collect();
    let listed = |args: &[&str]| {
        let mut command = server.qdo(["job", "list", "q", "-o", "json"]);
        let list = run(command.args(args)).code(0).json();
        let jobs = list.as_array().expect("a list").iter();
        jobs.map(|job| job["id"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(listed(&[]), sorted);
    assert_eq!(listed(&["--limit", "2"]), sorted[..2]);
    sorted.reverse();
    assert_eq!(listed(&["--newest-first", "--state", "waiting"]), sorted);
    assert_eq!(listed(&["--state", "failed"]), Vec::<String>::new());
    server.run(["job", "list", "q", "--cursor", "nonsense"]).code(2);
    server.run(["job", "list", "unknown-queue"]).code(3);
}

#[test]
fn many_jobs_come_from_lines_and_a_repetition_makes_none_anew() {
    let server = Server::start(HANDLERS);
    let objects: String = (0..2_500).map(|at| format!("{{\"kind\":\"none\",\"payload\":{at}}}\n")).collect();
    let mut enqueue = server.qdo(["job", "enqueue", "q", "--ndjson", "-", "--token", "once"]);
    let ran = run_with(&mut enqueue, objects.as_bytes()).code(0);
    ran.says(&["enqueued 2500 jobs"]);
    let first: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(first.len(), 2_500);
    let again = run_with(
        &mut server.qdo(["job", "enqueue", "q", "--ndjson", "-", "--token", "once"]),
        objects.as_bytes(),
    );
    assert_eq!(again.code(0).stdout, ran.stdout, "the same tokens give the same jobs");
    let counts = server.run(["queue", "show", "q", "-o", "json"]).code(0).json()["counts"].clone();
    assert_eq!(counts["waiting"], 2_500);

    let mut enqueue = server.qdo(["job", "enqueue", "lines", "--kind", "cat", "--lines", "-"]);
    let ran = run_with(&mut enqueue, b"one\n\ntwo").code(0);
    let ids: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(ids.len(), 2, "blank lines are none");
    server.run(["job", "wait", ids[1]]).code(0);
    assert_eq!(server.job(ids[1])["result"], "two");
}

#[test]
fn a_bad_line_names_its_place_in_the_file_and_says_how_far_it_got() {
    let server = Server::start(HANDLERS);
    let mut objects = "{\"kind\":\"none\"}\n".repeat(1_200);
    objects.push_str("{\"kind\":\"none\",\"priority\":11}\n");
    let ran = run_with(&mut server.qdo(["job", "enqueue", "q", "--ndjson", "-"]), objects.as_bytes()).code(2);
    ran.says(&["line 1201", "priority", "1000 jobs are enqueued"]);
    let counts = server.run(["queue", "show", "q", "-o", "json"]).code(0).json()["counts"].clone();
    assert_eq!(counts["waiting"], 1_000);
}

#[test]
fn the_same_token_is_the_same_job() {
    let server = Server::start(HANDLERS);
    let enqueue = ["job", "enqueue", "q", "--kind", "cat", "x", "--token", "t"];
    let first = server.run(enqueue).code(0).word();
    let second = server.run(enqueue).code(0);
    assert_eq!(second.word(), first);
    second.says(&["seen before"]);
}

#[test]
fn what_the_server_calls_wrong_is_one_sentence() {
    let server = Server::start(HANDLERS);
    for (args, words) in [
        (vec!["--deadline", "2020-01-01T00:00:00Z"], vec!["deadline"]),
        (vec!["--max-attempts", "0"], vec!["max_attempts"]),
        (vec!["--tag", ""], vec!["tag"]),
    ] {
        let mut enqueue = server.qdo(["job", "enqueue", "q", "--kind", "cat", "x"]);
        let ran = run(enqueue.args(&args)).code(2);
        ran.says(&words);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
    server.run(["job", "enqueue", "a/b", "--kind", "cat", "x"]).code(2);
}

#[test]
fn output_is_followed_while_the_attempt_runs() {
    let gate = tempfile::tempdir().expect("a temporary folder");
    let gate_file = gate.path().join("gate");
    let config = format!(
        "[handlers.gated]\nexec = [\"sh\", \"-c\", \"echo before >&2; while [ ! -e {} ]; do sleep 0.05; done; echo after >&2\"]\n",
        gate_file.display()
    );
    let server = Server::start(&config);
    let id = server.enqueue("q", "gated", "x");
    server.until_state(&id, "running");
    let log = server.folder.join("followed");
    let into = std::fs::File::create(&log).expect("it can be made");
    let mut follower = server.qdo(["job", "output", &id, "--follow"]).stdout(into).spawn().expect("it runs");
    until("the first line", || std::fs::read_to_string(&log).ok().filter(|text| text.contains("before")));
    assert!(follower.try_wait().expect("it can be asked").is_none(), "it goes on until the attempt ends");
    std::fs::write(&gate_file, "").expect("it can be written");
    assert!(follower.wait().expect("it ends").success());
    assert_eq!(std::fs::read_to_string(&log).expect("the log"), "before\nafter\n");
}
