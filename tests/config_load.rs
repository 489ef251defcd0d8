//! What a configuration means, and what is said of a wrong one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use qdo::config::{Config, Loaded, LogFormat, Sources};
use qdo::model::Span;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("qdo.toml");
    std::fs::write(&file, text).expect("it can be written");
    let sources = Sources { file: Some(file), env: env(variables), flags: Vec::new() };
    sources.load().map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "DIR"))
}

fn config(text: &str) -> Config {
    load_with(text, &[]).expect("a good configuration").config
}

fn refusal(text: &str) -> String {
    load_with(text, &[]).expect_err("a wrong configuration")
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(config(""), Config::default());
}

#[test]
fn the_samples_equal_the_defaults_and_are_what_the_code_makes() {
    let made = [
        ("etc/standalone.toml", qdo::config::reference_toml()),
        ("etc/cluster.toml", qdo::config::reference_cluster_toml()),
    ];
    for (sample, made) in made {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join(sample);
        let sources = Sources { file: Some(sample.clone()), ..Sources::default() };
        assert_eq!(sources.load().expect("a good sample").config, Config::default());
        assert_eq!(std::fs::read_to_string(sample).expect("the sample"), made, "run scripts/docs");
    }
}

#[test]
fn what_the_sample_shows_as_comments_is_valid_too() {
    let sample = qdo::config::reference_toml();
    let setting = |line: &&str| {
        let rest = line.trim_start_matches("# ");
        let (key, value) = rest.split_once(" = ").unwrap_or(("", ""));
        let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        (is_key && !value.is_empty()) || rest.starts_with('[')
    };
    let uncommented: Vec<&str> =
        sample.lines().filter(setting).map(|line| line.trim_start_matches("# ")).collect();
    // Settings that exclude each other, or need what is not there.
    let text: Vec<&str> = uncommented
        .into_iter()
        .filter(|line| !line.starts_with("token =") && !line.starts_with("include"))
        .collect();
    let config = config(&text.join("\n"));
    assert_eq!(config.worker.slots, Some(8));
    assert_eq!(config.handlers["checksum"].exec.as_ref().expect("set")[0], "sh");
}

#[test]
fn the_page_about_settings_is_what_the_code_makes() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = std::fs::read_to_string(page).expect("the page");
    assert_eq!(text, qdo::config::reference_markdown(), "run scripts/docs");
}

#[test]
fn hosts_are_a_list_or_in_a_variable_a_text_with_commas() {
    let hosts = ["queue.example.org".to_owned(), "10.0.0.1:7420".to_owned()];
    assert_eq!(config("hosts = [\"queue.example.org\", \"10.0.0.1:7420\"]").hosts, hosts);
    let loaded = load_with("", &[("QDO_HOSTS", "queue.example.org, 10.0.0.1:7420")]).expect("right");
    assert_eq!(loaded.config.hosts, hosts);
    for wrong in ["hosts = [\"http://a/b\"]", "hosts = [\"a@b\"]", "hosts = [\"\"]", "hosts = 1"] {
        assert!(refusal(wrong).contains("hosts"), "{}", refusal(wrong));
    }
}

#[test]
fn every_kind_of_setting_is_read() {
    let config = config(
        r#"
        listen = "localhost:0"
        data = "/srv/qdo"
        [log]
        format = "json"
        [worker]
        slots = 3
        stop_grace = "1m"
        [queue_defaults]
        timeout = "15m"
        [queue_defaults.backoff]
        factor = 3
        [handlers."image.resize"]
        exec = ["sh", "-c", "echo $HOME"]
        env = { A = "b" }
        "#,
    );
    assert_eq!(config.listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.data, Some(PathBuf::from("/srv/qdo")));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.worker.slots, Some(3));
    assert_eq!(config.worker.stop_grace, Span::from_secs(60));
    assert_eq!(config.queue_defaults.timeout, Span::from_secs(900));
    assert_eq!(config.queue_defaults.backoff.factor, 3.0);
    assert_eq!(config.queue_defaults.max_attempts, 5);
    assert_eq!(
        config.handlers["image.resize"].exec.as_deref(),
        Some(&["sh", "-c", "echo $HOME"].map(str::to_owned)[..])
    );
}

#[test]
fn an_unknown_key_is_refused_with_file_line_and_the_nearest() {
    assert_eq!(
        refusal("insecure = false\nlissten = \"127.0.0.1:1\"\n"),
        "DIR/qdo.toml:2: there is no setting `lissten`: did you mean `listen`?"
    );
    assert_eq!(
        refusal("[worker]\nslot = 3\n"),
        "DIR/qdo.toml:2: there is no setting `worker.slot`: did you mean `worker.slots`?"
    );
    assert_eq!(
        refusal("[handlers.a]\nexce = []\n"),
        "DIR/qdo.toml:2: there is no setting `handlers.a.exce`: did you mean `handlers.a.exec`?"
    );
    assert_eq!(refusal("zzz = 1"), "DIR/qdo.toml:1: there is no setting `zzz`");
}

#[test]
fn a_wrong_type_names_the_key_and_the_line() {
    for (text, start) in [
        ("\n[worker]\nslots = \"many\"", "DIR/qdo.toml:3: `worker.slots`: invalid type: string \"many\""),
        (
            "[worker]\npartitions = 70000",
            "DIR/qdo.toml:2: `worker.partitions`: invalid value: integer `70000`",
        ),
        ("[worker]\npartitions = 0", "DIR/qdo.toml:2: `worker.partitions`: 0 is not between 1 and 1024"),
        ("[worker]\nslots = -1", "DIR/qdo.toml:2: `worker.slots`: invalid value: integer `-1`"),
        ("listen = 7420", "DIR/qdo.toml:1: `listen`: invalid type: integer `7420`"),
        ("listen = \"here\"", "DIR/qdo.toml:1: `listen`: \"here\" is not an address to listen at"),
        ("worker = 5", "DIR/qdo.toml:1: `worker`: invalid type: integer `5`"),
        (
            "[queue_defaults]\ntimeout = \"soon\"",
            "DIR/qdo.toml:2: `queue_defaults.timeout`: \"soon\" is not a length of time",
        ),
        (
            "[log]\nformat = \"xml\"",
            "DIR/qdo.toml:2: `log.format`: unknown variant `xml`, expected `text` or `json`",
        ),
        (
            "[queue_defaults.backoff]\njitter = 2.0",
            "DIR/qdo.toml:2: `queue_defaults.backoff.jitter`: 2 is not",
        ),
        ("[handlers.a]\nexec = \"true\"", "DIR/qdo.toml:2: `handlers.a.exec`: invalid type: string"),
        (
            "[handlers.a]\nexec = [\"a\", 5]",
            "DIR/qdo.toml:2: `handlers.a.exec[1]`: invalid type: integer `5`",
        ),
        ("data = 99999999999999999999", "DIR/qdo.toml:1: `data`: the number does not fit into 64 bits"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.starts_with(start), "{text:?} gave {refusal:?}");
        assert!(!refusal.contains('\n'), "{refusal:?} is more than one line");
    }
}

#[test]
fn broken_toml_names_the_line() {
    let refusal = refusal("listen = \"127.0.0.1:1\"\n[worker\n");
    assert!(refusal.starts_with("DIR/qdo.toml:2: "), "{refusal}");
}

#[test]
fn a_wrong_token_is_not_shown() {
    let refusal = refusal("token = 12345678");
    assert_eq!(refusal, "DIR/qdo.toml:1: `token`: must be a text");
}

#[test]
fn variables_in_texts_are_expanded_also_to_numbers() {
    let text = "token = \"${SECRET}\"\n[worker]\nslots = \"${SLOTS:-7}\"\n";
    let loaded = load_with(text, &[("SECRET", "s3"), ("SLOTS", "9")]).expect("good");
    assert_eq!(loaded.config.token.expect("set").reveal(), "s3");
    assert_eq!(loaded.config.worker.slots, Some(9));
    let loaded = load_with(text, &[("SECRET", "0123")]).expect("good");
    assert_eq!(loaded.config.token.expect("set").reveal(), "0123");
    assert_eq!(loaded.config.worker.slots, Some(7));
    let error = load_with(text, &[]).expect_err("SECRET is not set");
    assert!(error.starts_with("DIR/qdo.toml:1: `token` needs the environment variable SECRET"), "{error}");
}

#[test]
fn variables_override_the_file() {
    let variables = [
        ("QDO_LISTEN", "127.0.0.1:9"),
        ("QDO_WORKER__SLOTS", "2"),
        ("QDO_INSECURE", "true"),
        ("QDO_LOG__FILTER", "debug"),
        ("QDO_HANDLERS__THUMB__GRACE", "9s"),
        ("QDO_WORKER__AUTO_CREATE", ""),
    ];
    let loaded = load_with("listen = \"127.0.0.1:8\"\n[handlers.thumb]\nexec = [\"true\"]\n", &variables)
        .expect("good");
    assert_eq!(loaded.config.listen.port(), 9);
    assert_eq!(loaded.config.worker.slots, Some(2));
    assert!(loaded.config.insecure && loaded.config.worker.auto_create);
    assert_eq!(loaded.config.log.filter, "debug");
    assert_eq!(loaded.config.handlers["thumb"].exec, Some(vec!["true".to_owned()]));
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn a_wrong_variable_is_refused_or_warned_of() {
    let error = load_with("", &[("QDO_WORKER__SLOT", "2")]).expect_err("no such setting");
    assert_eq!(
        error,
        "the environment (QDO_WORKER__SLOT): there is no setting `worker.slot`: did you mean `QDO_WORKER__SLOTS`?"
    );
    let error = load_with("", &[("QDO_LOG", "debug")]).expect_err("a section");
    assert!(error.contains("QDO_LOG__FILTER"), "{error}");
    let error = load_with("", &[("QDO_WORKER__SLOTS", "x")]).expect_err("not a number");
    assert!(error.starts_with("the environment (QDO_WORKER__SLOTS): `worker.slots`: "), "{error}");
    let loaded = load_with(
        "",
        &[("QDO_LISTN", "x"), ("QDO_JOB_ID", "1"), ("QDO_HEADER_A", "1"), ("QDO_CONTROL", "/x")],
    )
    .expect("good");
    assert_eq!(loaded.warnings, ["QDO_LISTN is not a setting and is ignored: did you mean QDO_LISTEN?"]);
}

#[test]
fn flags_have_the_last_word() {
    let sources = Sources {
        file: None,
        env: env(&[("QDO_LISTEN", "127.0.0.1:9")]),
        flags: vec![("listen", "127.0.0.1:10".to_owned())],
    };
    assert_eq!(sources.load().expect("good").config.listen.port(), 10);
    let sources = Sources { flags: vec![("listen", "nowhere".to_owned())], ..Sources::default() };
    let error = sources.load().expect_err("no address").to_string();
    assert!(error.starts_with("the command line (--listen): `listen`: "), "{error}");
}

#[test]
fn included_files_come_first_and_paths_are_meant_from_their_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("it can be written");
    };
    std::fs::create_dir(folder.path().join("more")).expect("a folder");
    write("qdo.toml", "include = [\"more/a.toml\"]\nlisten = \"127.0.0.1:2\"\n");
    write(
        "more/a.toml",
        "listen = \"127.0.0.1:1\"\ntoken_file = \"token\"\n[handlers.a]\nexec = [\"true\"]\n",
    );
    write("more/token", " t0ken\n");
    let sources = Sources { file: Some(folder.path().join("qdo.toml")), ..Sources::default() };
    let loaded = sources.load().expect("good");
    assert_eq!(loaded.config.listen.port(), 2);
    assert_eq!(loaded.config.token_file, Some(folder.path().join("more/token")));
    assert_eq!(loaded.token().expect("readable").expect("set").reveal(), "t0ken");
    assert_eq!(loaded.files.len(), 2);

    write("more/a.toml", "include = [\"../more/a.toml\"]");
    let error = sources.load().expect_err("a circle").to_string();
    assert!(error.contains("deep") || error.contains("itself"), "{error}");
    write("more/a.toml", "include = [\"gone.toml\"]");
    let error = sources.load().expect_err("not there").to_string();
    assert!(error.contains("more/a.toml:1: cannot read") && error.contains("gone.toml"), "{error}");
    write("more/a.toml", "slots = 1");
    let error = sources.load().expect_err("unknown key").to_string();
    assert!(error.contains("more/a.toml:1: there is no setting `slots`"), "{error}");
}

#[test]
fn a_token_file_with_anything_else_in_it_is_refused() {
    for text in ["", "two words", "ü", &"x".repeat(2_000)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("token"), text).expect("it can be written");
        let file = folder.path().join("qdo.toml");
        std::fs::write(&file, "token_file = \"token\"").expect("it can be written");
        let loaded = Sources { file: Some(file), ..Sources::default() }.load().expect("good");
        let error = loaded.token().expect_err("no token").to_string();
        assert!(error.contains("must hold one secret"), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    for (file, word) in [("/nonexistent/qdo.toml", "No such file"), ("/", "directory")] {
        let sources = Sources { file: Some(PathBuf::from(file)), ..Sources::default() };
        let error = sources.load().expect_err("unreadable").to_string();
        assert!(error.contains(file) && error.contains(word), "{error}");
    }
    let refusal = refusal(&format!("# {}", "x".repeat(1 << 20)));
    assert!(refusal.contains("larger than"), "{refusal}");
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_a_clear_refusal(text in "\\PC{0,200}") {
        if let Err(refusal) = load_with(&text, &[]) {
            prop_assert!(refusal.starts_with("DIR/qdo.toml"), "{}", refusal);
        }
    }

    #[test]
    fn any_value_at_any_key_is_a_configuration_or_a_clear_refusal(
        key in "(listen|token|data|worker|worker\\.slots|worker\\.partitions|queue_defaults\\.backoff|queue_defaults\\.timeout|handlers|handlers\\.a|handlers\\.a\\.exec|include|store\\.synchronous|[a-z.]{1,9})",
        value in "(-?[0-9]{1,25}|-?[0-9]{1,3}\\.[0-9]{1,30}|\"[a-z0-9${}.:-]{0,12}\"|true|\\[[0-9, ]{0,9}\\]|\\{ ?[a-z]{1,4} = [0-9]{1,3} ?\\}|nan|inf|1979-05-27)",
    ) {
        if let Err(refusal) = load_with(&format!("{key} = {value}\n"), &[]) {
            prop_assert!(refusal.starts_with("DIR/qdo.toml:"), "{}", refusal);
            prop_assert!(!refusal.contains('\n'), "{}", refusal);
        }
    }
}
