//! The command line without a server.

mod cli_kit;

use std::process::Stdio;

use cli_kit::{qdo, run};

const NOBODY: &str = "http://127.0.0.1:9";

#[test]
fn help_teaches_with_examples_and_exit_codes() {
    let help = run(qdo().arg("--help")).code(0);
    for word in ["standalone", "qdo job enqueue", "Exit codes:", "143"] {
        assert!(help.stdout.contains(word), "{word} is not in {}", help.stdout);
    }
    let help = run(qdo().args(["job", "enqueue", "--help"])).code(0);
    assert!(help.stdout.contains("Examples:"), "{}", help.stdout);
    run(&mut qdo()).code(2);
    assert!(run(qdo().arg("--version")).code(0).stdout.starts_with("qdo "));
}

#[test]
fn the_page_about_the_command_line_has_every_exit_code_and_command() {
    let page = include_str!("../docs/cli.md");
    let help = run(qdo().arg("--help")).stdout;
    let codes = help.lines().skip_while(|line| *line != "Exit codes:").skip(1);
    for line in codes.take_while(|line| !line.is_empty()) {
        let code = line.split_whitespace().next().expect("a code");
        assert!(page.contains(&format!("| {code} |")), "exit code {code} is not in docs/cli.md");
    }
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in commands.take_while(|line| !line.is_empty()) {
        let command = line.split_whitespace().next().expect("a command");
        assert!(page.contains(&format!("qdo {command}")), "qdo {command} is not in docs/cli.md");
    }
}

#[test]
fn a_wrong_flag_is_a_usage_error_with_a_hint() {
    run(qdo().args(["queue", "list", "--adress", "x"])).code(2).says(&["--adress", "--address"]);
    run(qdo().args(["job", "show", "nonsense"])).code(2).says(&["26 characters"]);
    run(qdo().args(["job", "list", "q", "--state", "lost"])).code(2).says(&["waiting, scheduled"]);
    run(qdo().args(["job", "enqueue", "q", "--kind", "k", "--priority", "10"])).code(2).says(&["1..=9"]);
    run(qdo().args(["job", "enqueue", "q", "--kind", "k", "--delay", "soon"])).code(2).says(&["250ms, 30s"]);
    run(qdo().args(["job", "enqueue", "q"])).code(2).says(&["--kind"]);
}

#[test]
fn where_no_server_is_one_sentence_says_how_to_start_one() {
    let ran = run(qdo().args(["queue", "list", "--address", NOBODY])).code(5);
    ran.says(&["no qdo server answers at http://127.0.0.1:9", "`qdo standalone`"]);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    run(qdo().args(["queue", "list"]).env("QDO_ADDRESS", NOBODY)).code(5);
    run(qdo().args(["queue", "list", "--address", "https://x"])).code(2).says(&["TLS"]);
}

#[test]
fn the_configuration_says_where_the_server_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("qdo.toml");
    std::fs::write(&file, "listen = \"0.0.0.0:9\"\ntoken = \"t\"").expect("it can be written");
    run(qdo().args(["queue", "list", "--config"]).arg(&file)).code(5).says(&["http://127.0.0.1:9:"]);
}

#[test]
fn a_wrong_configuration_is_said_with_file_and_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("qdo.toml");
    std::fs::write(&file, "\nlissten = 1\n").expect("it can be written");
    for command in [["config", "check"], ["config", "show"], ["queue", "list"]] {
        let ran = run(qdo().args(command).arg("--config").arg(&file)).code(2);
        ran.says(&["qdo.toml:2: there is no setting `lissten`: did you mean `listen`?"]);
    }
    std::fs::write(&file, "[handlers.a]\nexec = []\n").expect("it can be written");
    run(qdo().args(["config", "check", "--config"]).arg(&file)).code(2).says(&["handlers.a.exec"]);
    std::fs::write(&file, "log.filter = \"qdo=louder\"\n").expect("it can be written");
    run(qdo().args(["config", "check", "--config"]).arg(&file)).code(2).says(&["log.filter"]);
    std::fs::write(&file, "listen = \"0.0.0.0:0\"\n").expect("it can be written");
    run(qdo().args(["config", "check", "--config"]).arg(&file)).code(2).says(&["token", "insecure"]);
    run(qdo().args(["config", "check", "--config", "/nonexistent/q.toml"])).code(2).says(&["cannot read"]);
    std::fs::write(&file, "data = \"/x\"\n").expect("it can be written");
    run(qdo().args(["config", "check", "--config"]).arg(&file)).code(0).says(&["is good"]);
}

#[test]
fn the_shown_configuration_hides_secrets_and_can_be_read_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("qdo.toml");
    std::fs::write(&file, "token = \"hunter2\"\ndata = \"/x\"\n[worker]\nslots = 3\n")
        .expect("it can be written");
    for format in ["table", "json"] {
        let shown = run(qdo().args(["config", "show", "-o", format, "--config"]).arg(&file)).code(0);
        assert!(shown.stdout.contains("***") && !shown.stdout.contains("hunter2"), "{}", shown.stdout);
    }
    let shown = run(qdo().args(["config", "show", "--config"]).arg(&file)).code(0);
    std::fs::write(&file, &shown.stdout).expect("it can be written");
    let again = run(qdo().args(["config", "show", "--config"]).arg(&file)).code(0);
    assert_eq!(again.stdout, shown.stdout);
}

#[test]
fn what_destroys_needs_a_word_where_nobody_can_be_asked() {
    run(qdo().args(["queue", "delete", "q", "--address", NOBODY])).code(2).says(&["--yes"]);
    let id = "00000020000000200000004000";
    run(qdo().args(["job", "delete", id, "--address", NOBODY])).code(2).says(&["--yes"]);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    for args in [vec!["completions", "bash"], vec!["config", "reference", "markdown"]] {
        let mut child =
            qdo().args(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn completions_are_there_for_the_usual_shells() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(qdo().args(["completions", shell])).code(0).stdout.contains("qdo"));
    }
    run(qdo().args(["completions", "csh"])).code(2);
}

#[test]
fn many_jobs_from_a_wrong_file_are_refused_before_anything_is_sent() {
    let enqueue = ["job", "enqueue", "q", "--address", NOBODY, "--ndjson"];
    run(qdo().args(enqueue).arg("/nonexistent/jobs")).code(2).says(&["cannot read /nonexistent/jobs"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("jobs");
    for (text, words) in [
        ("{\"kind\":\"a\"}\n\n[1]\n", ["line 3", "not a JSON object"]),
        ("{\"kind\":\"a\"\n", ["line 1", "not a JSON object"]),
    ] {
        std::fs::write(&file, text).expect("it can be written");
        run(qdo().args(enqueue).arg(&file)).code(2).says(&words);
    }
}

#[test]
fn a_payload_that_cannot_be_is_refused() {
    let enqueue = ["job", "enqueue", "q", "--kind", "k", "--address", NOBODY];
    run(qdo().args(enqueue).arg("@/nonexistent/p")).code(2).says(&["cannot read the payload /nonexistent/p"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("big");
    let big = std::fs::File::create(&file).expect("it can be made");
    big.set_len((16 << 20) + 1).expect("it can be long");
    run(qdo().args(enqueue).arg(format!("@{}", file.display())))
        .code(2)
        .says(&["larger than 16777216 bytes"]);
}
