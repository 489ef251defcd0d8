//! Handlers as the config file names them.

mod runner_kit;

use std::collections::BTreeMap;
use std::sync::Arc;

use qdo::runner::{HandlerSettings, Handlers, NoopHandler};
use runner_kit::*;

fn settings(text: &str) -> BTreeMap<String, HandlerSettings> {
    toml::from_str(text).unwrap()
}

fn problem(text: &str) -> String {
    let bench = Bench::new();
    match Handlers::from_settings(&settings(text), &bench.runs) {
        Ok(_) => panic!("taken: {text}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn handlers_come_from_the_config_and_from_code() {
    let bench = Bench::new();
    let text = r#"
        [upper]
        exec = ["tr", "a-z", "A-Z"]
        env = { LANG = "C" }
        pass_env = ["DISPLAY"]
        grace = "3s"
        result_bytes_max = 1000
        memory_bytes_max = 1073741824
        cpu_time_max = "1m"
        open_files_max = 64
    "#;
    let mut handlers = Handlers::from_settings(&settings(text), &bench.runs).unwrap();
    handlers.insert("noop", Arc::new(NoopHandler));
    assert_eq!(handlers.kinds().map(AsRef::as_ref).collect::<Vec<&str>>(), ["noop", "upper"]);
    assert!(handlers.get("other").is_none());
    let bench = bench.payload("shout");
    let ran = bench.run_handler(&*handlers.get("upper").unwrap()).await;
    assert_eq!(ran.outcome, succeeded("SHOUT"));
}

#[test]
fn a_wrong_setting_is_refused_with_its_key_and_what_to_do() {
    let cases = [
        ("[a]", "handlers.a: does not say how to run; set exec ="),
        ("[a]\nexec = []", "handlers.a.exec: names no program"),
        ("[a]\nexec = [\"\"]", "handlers.a.exec: names no program"),
        ("[a]\nexec = [\"x\", \"\\u0000\"]", "handlers.a.exec: holds a NUL character"),
        ("[a]\nexec = [\"x\"]\nenv = { \"A=B\" = \"1\" }", "handlers.a.env: "),
        ("[a]\nexec = [\"x\"]\nenv = { QDO_JOB_ID = \"1\" }", "handlers.a.env: names that begin with QDO_"),
        ("[a]\nexec = [\"x\"]\npass_env = [\"\"]", "handlers.a.pass_env: "),
        ("[a]\nexec = [\"x\"]\nresult_bytes_max = 1048577", "handlers.a.result_bytes_max: is above 1048576"),
        ("[a]\nexec = [\"x\"]\ncpu_time_max = \"500ms\"", "handlers.a.cpu_time_max: is not a whole number"),
        ("[a]\nexec = [\"x\"]\nmemory_bytes_max = 5", "handlers.a.memory_bytes_max: is below 1 MiB"),
        ("[a]\nexec = [\"x\"]\nopen_files_max = 1", "handlers.a.open_files_max: is below 8"),
        ("[\"\"]\nexec = [\"x\"]", "handlers.: a kind is a name of 1 to 128 bytes"),
    ];
    for (text, expected) in cases {
        let said = problem(text);
        assert!(said.starts_with(expected), "{text}: {said}");
    }
}

#[test]
fn an_unknown_key_is_refused() {
    let error = toml::from_str::<BTreeMap<String, HandlerSettings>>("[a]\nexce = [\"x\"]").unwrap_err();
    assert!(error.message().contains("unknown field `exce`"), "{error}");
}

#[test]
fn settings_are_read_as_they_are_written() {
    let all = settings("[a]\nexec = [\"x\"]\ngrace = \"3s\"\n[b]\nexec = [\"y\"]");
    assert_eq!(settings(&toml::to_string(&all).unwrap()), all);
}
