//! The examples of `docs/handlers.md` do what is said there.

mod runner_kit;

use std::collections::BTreeMap;
use std::path::PathBuf;

use qdo::model::{Outcome, Retry};
use qdo::runner::HandlerSettings;
use runner_kit::*;

const DOCS: &str = include_str!("../docs/handlers.md");

/// Writes the first example in that language into a file.
fn example(bench: &Bench, language: &str) -> PathBuf {
    let start = format!("```{language}\n");
    let (_, rest) = DOCS.split_once(&start).expect("there is an example");
    let (code, _) = rest.split_once("\n```").expect("it ends");
    let path = bench.folder.path().join("example");
    std::fs::write(&path, code).unwrap();
    path
}

#[tokio::test]
async fn the_example_in_a_shell_works() {
    let bench = Bench::new().payload("x".repeat(10_000));
    let script = example(&bench, "sh");
    let command = ["sh", script.to_str().unwrap()];
    let ran = bench.run(&command).await;
    let Outcome::Succeeded { result } = &ran.outcome else { panic!("{ran:?}") };
    assert!(result.starts_with(b"\x1f\x8b") && result.len() < 1_000);
    assert!(ran.log.starts_with("compressing, attempt 3 of job "));
    let ran = bench.payload("").run(&command).await;
    assert_eq!(ran.outcome, failed("empty", "exit code 65 (give up): the payload is empty", Retry::GiveUp));
}

#[tokio::test]
async fn the_example_in_python_works() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("python3 is not installed: its example is not tried");
        return;
    }
    let bench = Bench::new();
    let script = example(&bench, "python");
    let command = ["python3", script.to_str().unwrap()];
    let bench = bench.payload(r#"{"numbers": [1, 2, 3]}"#);
    assert_eq!(bench.run(&command).await.outcome, succeeded(r#"{"sum": 6}"#));
    let bench = bench.payload(r#"{"numbers": []}"#);
    assert_eq!(bench.run(&command).await.outcome, Outcome::Snoozed { delay_ms: 300_000 });
    let ran = bench.payload("[]").run(&command).await;
    assert_failure(&ran, "payload", "exit code 65 (give up): the payload is not as agreed");
}

#[test]
fn the_settings_shown_are_settings() {
    #[derive(serde::Deserialize)]
    struct Config {
        handlers: BTreeMap<String, HandlerSettings>,
    }
    let examples: Vec<&str> =
        DOCS.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let config: Config = toml::from_str(example).unwrap();
        config.handlers["thumbnail"].check("thumbnail").unwrap();
    }
}
