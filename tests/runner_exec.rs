//! `exec` handlers with real programs: whatever a program does, its attempt ends, is bounded, and
//! leaves nothing behind.

mod runner_kit;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use qdo::model::{Outcome, Retry, Span};
use qdo::runner::ExecSettings;
use runner_kit::*;

#[tokio::test]
async fn the_payload_is_on_stdin_and_stdout_is_the_result() {
    let ran = Bench::new().payload("hello\0world").run(&["tr", "a-z", "A-Z"]).await;
    assert_eq!(ran.outcome, succeeded("HELLO\0WORLD"));
    assert_eq!(ran.exit_code, Some(0));
}

#[tokio::test]
async fn stderr_is_the_log() {
    let ran = Bench::new().sh("echo to the log >&2; echo result").await;
    assert_eq!((ran.outcome, ran.log.as_str()), (succeeded("result\n"), "to the log\n"));
}

#[tokio::test]
async fn the_log_can_be_read_while_the_program_runs() {
    let bench = Bench::new();
    let go = bench.folder.path().join("go");
    let script = format!("echo early >&2; while ! test -e {}; do sleep 0.01; done", go.display());
    let running = bench.sh(&script);
    let looking = async {
        eventually(|| bench.log().contains("early"), "output while the program runs").await;
        std::fs::write(&go, "").unwrap();
    };
    let (ran, ()) = tokio::join!(running, looking);
    assert_eq!(ran.outcome, succeeded(""));
}

#[tokio::test]
async fn an_exit_code_is_a_failure_and_the_error_says_what_the_program_said() {
    let ran = Bench::new().sh("echo half a result; echo noise >&2; echo no such file >&2; exit 3").await;
    assert_eq!(ran.outcome, failed("exit", "exit code 3: noise\nno such file", Retry::Policy));
    assert_eq!(ran.exit_code, Some(3));
    assert!(ran.log.contains("half a result"), "what would have been the result is in the log: {}", ran.log);
}

#[tokio::test]
async fn two_exit_codes_have_a_meaning() {
    let ran = Bench::new().sh("exit 75").await;
    assert_eq!(ran.outcome, failed("retry-later", "exit code 75 (retry later)", Retry::Policy));
    let ran = Bench::new().sh("exit 65").await;
    assert_eq!(ran.outcome, failed("give-up", "exit code 65 (give up)", Retry::GiveUp));
}

#[tokio::test]
async fn a_signal_is_a_failure_of_its_own_class() {
    let ran = Bench::new().sh("kill -SEGV $$").await;
    assert_eq!(ran.outcome, failed("signal", "killed by signal 11 (SIGSEGV)", Retry::Policy));
    assert_eq!(ran.exit_code, Some(128 + 11));
}

#[tokio::test]
async fn wishes_are_taken_from_the_control_file() {
    let write = |line: &str, code: u8| format!("echo '{line}' >> \"$QDO_CONTROL\"; exit {code}");
    let bench = Bench::new();
    let ran = bench.sh(&write(r#"{"retry_after":"30s","error":"busy","class":"rate"}"#, 1)).await;
    assert_eq!(ran.outcome, failed("rate", "exit code 1: busy", Retry::After(30_000)));
    let ran = bench.sh(&write(r#"{"snooze":"5m"}"#, 0)).await;
    assert_eq!(ran.outcome, Outcome::Snoozed { delay_ms: 300_000 });
    let ran = bench.sh(&write(r#"{"snooze":"5m"}"#, 2)).await;
    assert_eq!(ran.outcome, failed("exit", "exit code 2", Retry::Policy));
    let ran = bench.sh(&write(r#"{"give_up":true}"#, 75)).await;
    assert_eq!(ran.outcome, failed("retry-later", "exit code 75 (retry later)", Retry::GiveUp));
    let ran = bench.sh(&write(r#"{"give_up":true}"#, 0)).await;
    assert_eq!(ran.outcome, succeeded(""));
    assert!(ran.log.contains("do not count"), "{}", ran.log);
}

#[tokio::test]
async fn a_hostile_control_file_is_no_more_than_a_note_in_the_log() {
    for script in [
        r#"mkfifo "$QDO_CONTROL""#,
        r#"ln -s /dev/zero "$QDO_CONTROL""#,
        r#"mkdir -p "$QDO_CONTROL"/sub"#,
        r#"printf '\377\000{"' > "$QDO_CONTROL""#,
        r#"truncate -s 100G "$QDO_CONTROL""#,
    ] {
        let bench = Bench::new();
        let ran = bench.sh(script).await;
        assert_eq!(ran.outcome, succeeded(""), "{script}");
        assert!(ran.log.starts_with("qdo: "), "{script}: {}", ran.log);
        assert_eq!(bench.left_behind(), Vec::<String>::new(), "{script}");
    }
}

#[tokio::test]
async fn the_last_wish_counts_even_after_a_megabyte_of_progress() {
    let script = r#"yes '{"progress":0.5}' | head -n 100000 > "$QDO_CONTROL"
        echo '{"give_up":true}' >> "$QDO_CONTROL"; exit 1"#;
    let ran = Bench::new().sh(script).await;
    assert_eq!(ran.outcome, failed("exit", "exit code 1", Retry::GiveUp));
}

#[tokio::test]
async fn the_environment_holds_the_facts_and_little_else() {
    let bench = Bench::new().attempt(|attempt| {
        attempt.key = "customer 7".to_owned();
        attempt.deadline_ms = 1_700_000_000_000;
        attempt.headers = vec![("trace-id".to_owned(), "a\0b".to_owned())];
        attempt.failures = 2;
    });
    let text = bench.run(&["env"]).await.result();
    let expected = [
        "QDO_ATTEMPT=3",
        "QDO_EPOCH=7",
        "QDO_NAMESPACE=default",
        "QDO_QUEUE=emails",
        "QDO_KIND=kind",
        "QDO_KEY=customer 7",
        "QDO_CONTENT_TYPE=application/json",
        "QDO_DEADLINE=2023-11-14T22:13:20Z",
        "QDO_FAILURES=2",
        "QDO_MAX_ATTEMPTS=5",
        "QDO_HEADER_TRACE_ID=ab",
    ];
    for line in expected {
        assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
    }
    assert!(text.contains(&format!("QDO_JOB_ID={}\n", bench.attempt.job)));
    assert!(!text.contains("CARGO"), "the worker's own environment is passed: {text}");
}

#[tokio::test]
async fn variables_are_passed_and_set_as_the_settings_say() {
    let settings = ExecSettings {
        env: [("COLOUR".to_owned(), "red".to_owned())].into(),
        pass_env: vec!["CARGO_PKG_NAME".to_owned()],
        ..ExecSettings::new(["sh", "-c", "printf %s $COLOUR-$CARGO_PKG_NAME"])
    };
    assert_eq!(Bench::new().run_with(settings).await.outcome, succeeded("red-qdo"));
}

#[tokio::test]
async fn an_attempt_runs_in_a_clean_folder_that_is_removed() {
    let bench = Bench::new();
    let script = "ls -A; stat -c %a .; test \"$PWD\" = \"$TMPDIR\" && pwd
        mkdir -p a/b; echo x > a/b/c; chmod 400 a/b/c; chmod 500 a/b a";
    let text = bench.sh(script).await.result();
    let (mode, folder) = text.trim_end().split_once('\n').unwrap();
    assert_eq!(mode, "700");
    assert!(folder.ends_with(&format!("{}-3", bench.attempt.job)));
    assert_eq!(bench.left_behind(), Vec::<String>::new());
}

#[tokio::test]
async fn removing_the_folder_follows_no_link_out_of_it() {
    let bench = Bench::new();
    let outside = bench.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("precious"), "x").unwrap();
    std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o555)).unwrap();
    let script =
        format!("ln -s {0} link; mkdir sub; ln -s {0} sub/link; ln -s {0}/precious file", outside.display());
    assert_eq!(bench.sh(&script).await.outcome, succeeded(""));
    assert_eq!(bench.left_behind(), Vec::<String>::new());
    assert!(outside.join("precious").exists());
    assert_eq!(std::fs::metadata(&outside).unwrap().permissions().mode() & 0o777, 0o555);
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_a_clear_failure() {
    let bench = Bench::new();
    let script = bench.folder.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let script = script.to_str().unwrap();
    let cases = [
        ("no-such-program", "is not in the worker's PATH"),
        ("/no/such/program", "is not there; install it"),
        ("/", "is a folder"),
        (script, "is not executable for the worker; chmod +x it"),
    ];
    for (program, problem) in cases {
        let ran = bench.run(&[program]).await;
        assert_failure(&ran, "spawn", problem);
        assert_failure(&ran, "spawn", "handlers.kind.exec");
    }
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_failure(&bench.run(&[script]).await, "spawn", "names an interpreter that is not there");
    let settings = ExecSettings { folder: Some("/no/such".into()), ..ExecSettings::new(["true"]) };
    assert_failure(&bench.run_with(settings).await, "spawn", "folder \"/no/such\" is not there");
    assert_eq!(bench.left_behind(), Vec::<String>::new());
}

#[tokio::test]
async fn a_program_that_never_reads_a_large_payload_hangs_nothing() {
    let bench = Bench::new().payload(vec![b'x'; 16 << 20]);
    assert_eq!(bench.run(&["true"]).await.outcome, succeeded(""));
    assert_eq!(bench.sh("exec <&-; echo closed").await.outcome, succeeded("closed\n"));
    assert_eq!(bench.sh("head -c 3; echo; sleep 0.05").await.outcome, succeeded("xxx\n"));
    assert_eq!(bench.sh("wc -c").await.outcome, succeeded("16777216\n"));
}

#[tokio::test]
async fn a_gigabyte_of_output_costs_bounded_memory() {
    let bench = Bench::new();
    let before = resident_bytes_max();
    let ran = bench.sh("echo first >&2; head -c 1000000000 /dev/zero >&2; echo last >&2").await;
    assert_eq!(ran.outcome, succeeded(""));
    assert!(ran.log.starts_with("first\n") && ran.log.ends_with("last\n"));
    assert!(ran.log.contains("bytes left out …]"));
    let grown = resident_bytes_max().saturating_sub(before);
    assert!(grown < 200 << 20, "memory grew by {grown} bytes");
}

#[tokio::test]
async fn a_result_over_the_limit_is_refused_and_goes_into_the_log() {
    let limited = |bytes| ExecSettings {
        result_bytes_max: bytes,
        ..ExecSettings::new(["printf", "%s", "elevenbytes"])
    };
    let bench = Bench::new();
    let ran = bench.run_with(limited(10)).await;
    assert_failure(&ran, "result", "more than the 10 bytes that are kept");
    assert_eq!(ran.log, "elevenbytes");
    assert_eq!(bench.run_with(limited(11)).await.outcome, succeeded("elevenbytes"));
    let ran = bench.sh("head -c 1000000000 /dev/zero").await;
    assert_failure(&ran, "result", "more than the 1048576 bytes that are kept");
}

#[tokio::test]
async fn a_program_over_its_time_limit_is_told_to_end_and_may_clean_up() {
    let bench = Bench::new().attempt(|attempt| attempt.timeout_ms = 500);
    let ran = bench.sh("trap 'echo cleaned >&2; exit 0' TERM; echo ready >&2; sleep 60 & wait").await;
    assert_failure(&ran, "timeout", "longer than its time limit of 500ms");
    assert!(ran.log.contains("cleaned"), "{}", ran.log);
}

#[tokio::test]
async fn a_program_that_ignores_term_is_killed_after_the_grace() {
    let bench = Bench::new().attempt(|attempt| attempt.timeout_ms = 500);
    let script = "trap '' TERM; while :; do sleep 60; done";
    let settings = ExecSettings { grace: Span::from_ms(100), ..ExecSettings::new(["sh", "-c", script]) };
    let ran = bench.run_with(settings).await;
    assert_failure(&ran, "timeout", "longer than its time limit");
    assert_eq!(ran.exit_code, Some(128 + 9));
}

#[tokio::test]
async fn a_stopped_program_is_ended_as_well() {
    let bench = Bench::new().attempt(|attempt| attempt.timeout_ms = 300);
    let ran = bench.sh("kill -STOP $$").await;
    assert_failure(&ran, "timeout", "longer than its time limit");
    assert_eq!(ran.exit_code, Some(128 + 15), "it was woken to hear TERM");
}

#[tokio::test]
async fn a_revoked_attempt_is_interrupted_with_all_its_processes() {
    let bench = Bench::new();
    let running = bench.sh("sleep 60 & echo $! >&2; sleep 60");
    let revoking = async {
        eventually(|| bench.log().ends_with('\n'), "the program to start").await;
        bench.revoked.cancel();
    };
    let (ran, ()) = tokio::join!(running, revoking);
    assert!(matches!(ran.outcome, Outcome::Interrupted { .. }), "{ran:?}");
    let child: i32 = ran.log.trim().parse().unwrap();
    eventually(|| !is_running(child), "the other process to end").await;
}

#[tokio::test]
async fn an_attempt_revoked_before_its_start_is_given_back_unstarted() {
    let bench = Bench::new();
    bench.revoked.cancel();
    let started = bench.folder.path().join("started");
    let ran = bench.sh(&format!("touch {}", started.display())).await;
    assert_eq!(ran.outcome, Outcome::Released);
    assert!(!started.exists());
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipes_hangs_nothing() {
    let start = Instant::now();
    let ran = Bench::new().sh("sleep 60 & echo $! >&2; echo done").await;
    assert_eq!(ran.outcome, succeeded("done\n"));
    assert!(start.elapsed() < Duration::from_secs(20), "the pipes were waited for");
    let grandchild: i32 = ran.log.trim().parse().unwrap();
    eventually(|| !is_running(grandchild), "the grandchild to end").await;
}

#[tokio::test]
async fn a_program_that_forks_and_leaves_ends_its_attempt() {
    let start = Instant::now();
    let bench = Bench::new();
    let pid_file = bench.folder.path().join("pid");
    // It waits until the other one has a session of its own.
    let script = format!(
        "setsid sh -c 'echo $$ > {0}; exec sleep 30' & while ! test -s {0}; do sleep 0.01; done; echo left",
        pid_file.display()
    );
    let ran = bench.sh(&script).await;
    assert_eq!(ran.outcome, succeeded("left\n"));
    assert!(start.elapsed() < Duration::from_secs(20), "the pipes were waited for");
    let left = std::fs::read_to_string(pid_file).unwrap();
    std::process::Command::new("kill").arg(left.trim()).status().unwrap();
}

#[tokio::test]
async fn a_background_process_without_pipes_ends_with_its_attempt() {
    let text = Bench::new().sh("sleep 60 >/dev/null 2>&1 </dev/null & echo $!").await.result();
    let pid: i32 = text.trim().parse().unwrap();
    eventually(|| !is_running(pid), "the background process to end").await;
}

#[tokio::test]
async fn a_dropped_attempt_takes_its_processes_along() {
    let bench = Bench::new();
    {
        let running = bench.sh("echo $$ >&2; exec sleep 60");
        let started = eventually(|| bench.log().ends_with('\n'), "the program to start");
        tokio::select! {
            ran = running => panic!("{ran:?}"),
            () = started => {}
        }
    }
    let pid: i32 = bench.log().trim().parse().unwrap();
    eventually(|| !is_running(pid), "the program to end").await;
    assert_eq!(bench.left_behind(), Vec::<String>::new());
}

#[tokio::test]
async fn memory_is_limited() {
    let script = "ulimit -v; head -c 600M /dev/zero | tail -n 1 > /dev/null";
    let settings =
        ExecSettings { memory_bytes_max: Some(256 << 20), ..ExecSettings::new(["sh", "-c", script]) };
    let ran = Bench::new().run_with(settings).await;
    assert_failure(&ran, "exit", "memory exhausted");
    assert!(ran.log.contains("262144\n"), "{}", ran.log);
}

#[tokio::test]
async fn processor_time_is_limited() {
    let command = ["sh", "-c", "while :; do :; done"];
    let settings = ExecSettings { cpu_time_max: Some(Span::from_secs(1)), ..ExecSettings::new(command) };
    assert_failure(&Bench::new().run_with(settings).await, "signal", "its processor time is used up");
}

#[tokio::test]
async fn open_files_are_limited() {
    let settings = ExecSettings { open_files_max: Some(16), ..ExecSettings::new(["sh", "-c", "ulimit -n"]) };
    assert_eq!(Bench::new().run_with(settings).await.outcome, succeeded("16\n"));
}

#[tokio::test]
async fn many_attempts_at_once_leave_nothing_behind() {
    let bench = Bench::new();
    let attempts = (0..32).map(|number| {
        let bench = bench.attempt_again(number);
        async move { bench.sh("mkdir d; echo $QDO_ATTEMPT | tee d/f").await.outcome }
    });
    let outcomes = futures_util::future::join_all(attempts).await;
    for (number, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome, succeeded(&format!("{number}\n")));
    }
    assert_eq!(bench.left_behind(), Vec::<String>::new());
}

#[tokio::test]
async fn a_program_gets_three_descriptors_and_plain_signals() {
    let bench = Bench::new();
    // The fourth is the folder that is listed.
    assert_eq!(bench.run(&["ls", "/proc/self/fd"]).await.outcome, succeeded("0\n1\n2\n3\n"));
    let blocked = bench.run(&["grep", "SigBlk", "/proc/self/status"]).await;
    assert_eq!(blocked.outcome, succeeded("SigBlk:\t0000000000000000\n"));
    let ran = bench.sh("yes | head -n 1").await;
    assert_eq!((ran.outcome, ran.log.as_str()), (succeeded("y\n"), ""), "PIPE is not ignored");
}

#[tokio::test]
async fn a_real_time_signal_is_a_signal() {
    let ran = Bench::new().sh("kill -40 $$").await;
    assert_eq!(ran.outcome, failed("signal", "killed by signal 40", Retry::Policy));
}
