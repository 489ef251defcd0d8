//! `qdo bench` measures something, and cleans up.

mod cli_kit;

use cli_kit::{qdo, run};

#[test]
fn a_quick_bench_measures_all_there_is_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ran = run(qdo().args(["bench", "--quick", "-o", "json", "--folder"]).arg(folder.path())).code(0);
    let report = ran.json();
    let measures = report["measures"].as_array().expect("a list");
    assert_eq!(measures.len(), 5, "{report}");
    for measure in measures {
        assert!(measure["jobs"].as_u64() > Some(0), "{measure}");
        assert!(measure["jobs_per_second"].as_f64() > Some(0.0), "{measure}");
        assert!(measure["commits"].as_u64() > Some(0) && measure["fsyncs"].as_u64() > Some(0), "{measure}");
    }
    let batches = &measures[2];
    assert!(batches["jobs_per_commit"].as_f64() >= Some(100.0), "one row serves many jobs: {batches}");
    assert!(measures[4]["p99_ms"].as_f64() >= measures[4]["p50_ms"].as_f64());
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
}
