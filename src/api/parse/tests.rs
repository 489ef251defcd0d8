use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::model::limits::{BATCH_JOBS_MAX, JSON_DEPTH_MAX, PAYLOAD_BYTES_MAX, TAGS_MAX};
use crate::model::{Due, NewJob, Span};

/// 2026-01-01T00:00:00Z.
const NOW_MS: u64 = 1_767_225_600_000;

fn job(json: &str) -> Result<NewJob, InvalidRequest> {
    parse_job(json.as_bytes(), NOW_MS)
}

/// The field that is wrong.
fn wrong_field(json: &str) -> String {
    let wrong = job(json).expect_err(json);
    wrong.field.clone().unwrap_or_else(|| panic!("no field in {wrong:?} for {json}"))
}

fn query(query: &str) -> Result<NewJob, InvalidRequest> {
    parse_query(query, "text/csv", Bytes::from_static(b"a,b"), NOW_MS)
}

#[test]
fn every_field_is_taken() {
    let job = job(r#"{"kind":"resize","payload":{"a":1},"content_type":"application/vnd.x+json","key":"k",
        "priority":9,"delay":"90s","deadline":"2026-01-02T00:00:00Z","timeout":1.5,"max_attempts":3,
        "backoff":{"base":"5s","factor":3,"cap":"1m","jitter":0},"token":"t","tags":["x","y","x"],
        "headers":{"trace":"1"}}"#)
    .unwrap();
    assert_eq!((job.kind.as_str(), job.payload.as_ref()), ("resize", br#"{"a":1}"#.as_slice()));
    assert_eq!(job.content_type, "application/vnd.x+json");
    assert_eq!((job.key.as_deref(), job.token.as_deref()), (Some("k"), Some("t")));
    assert_eq!((job.lane.number(), job.due), (9, Due::After(90_000)));
    assert_eq!(
        (job.deadline_ms, job.timeout_ms, job.max_attempts),
        (Some(NOW_MS + 86_400_000), Some(1_500), Some(3))
    );
    let backoff = job.backoff.unwrap();
    assert_eq!((backoff.base, backoff.factor, backoff.jitter), (Span::from_secs(5), 3.0, 0.0));
    assert_eq!(job.tags, ["x", "y"]);
    assert_eq!(job.headers, [("trace".to_owned(), "1".to_owned())]);
}

#[test]
fn a_query_says_the_same_as_json() {
    let by_query = query(
        "kind=resize&key=k%20%C3%A4&priority=9&delay=90&timeout=1m&max_attempts=3&tags=x&tags=y\
         &backoff.base=5s&backoff.factor=3&headers.trace=1&token=a+b&deadline=2026-01-02T00:00:00Z",
    )
    .unwrap();
    let by_json =
        job(r#"{"kind":"resize","payload_base64":"YSxi","content_type":"text/csv","key":"k ä","priority":9,
        "delay":90,"timeout":"1m","max_attempts":3,"tags":["x","y"],"backoff":{"base":"5s","factor":3},
        "headers":{"trace":"1"},"token":"a b","deadline":"2026-01-02T00:00:00Z"}"#)
        .unwrap();
    assert_eq!(by_query, by_json);
}

#[test]
fn a_payload_is_kept_as_it_was_written() {
    for payload in [
        "123456789012345678901234567890.10",
        "1e999",
        r#"{"b" : 1,  "a":1, "a":2}"#,
        r#""\u00e4\/""#,
        "null",
        r#""\ud800""#,
    ] {
        let job = job(&format!(r#"{{"kind":"k","payload": {payload} }}"#)).unwrap();
        assert_eq!(job.payload, payload.as_bytes());
        assert_eq!(job.content_type, "");
    }
}

#[test]
fn a_field_that_is_wrong_is_named() {
    for (field, json) in [
        ("kind", r#"{}"#),
        ("kind", r#"{"kind":""}"#),
        ("kind", r#"{"kind":17}"#),
        ("kind", r#"{"kind":"a\nb"}"#),
        ("payload_base64", r#"{"kind":"k","payload":1,"payload_base64":"YQ=="}"#),
        ("payload", r#"{"kind":"k","payload_base64":"YQ==","payload":1}"#),
        ("payload_base64", r#"{"kind":"k","payload_base64":"?"}"#),
        ("content_type", r#"{"kind":"k","payload":1,"content_type":"text/plain"}"#),
        ("priority", r#"{"kind":"k","priority":0}"#),
        ("priority", r#"{"kind":"k","priority":10}"#),
        ("priority", r#"{"kind":"k","priority":"9"}"#),
        ("priority", r#"{"kind":"k","priority":1e400}"#),
        ("priority", r#"{"kind":"k","priority":99999999999999999999999999}"#),
        ("max_attempts", r#"{"kind":"k","max_attempts":-1}"#),
        ("max_attempts", r#"{"kind":"k","max_attempts":0}"#),
        ("run_at", r#"{"kind":"k","delay":1,"run_at":"2026-01-02T00:00:00Z"}"#),
        ("delay", r#"{"kind":"k","run_at":"2026-01-02T00:00:00Z","delay":1}"#),
        ("delay", r#"{"kind":"k","delay":"soon"}"#),
        ("delay", r#"{"kind":"k","delay":1e300}"#),
        ("delay", r#"{"kind":"k","delay":true}"#),
        ("run_at", r#"{"kind":"k","run_at":17}"#),
        ("run_at", r#"{"kind":"k","run_at":"tomorrow"}"#),
        ("deadline", r#"{"kind":"k","deadline":"2025-12-31T23:59:59Z"}"#),
        ("deadline", r#"{"kind":"k","delay":"2h","deadline":"2026-01-01T01:00:00Z"}"#),
        ("timeout", r#"{"kind":"k","timeout":0}"#),
        ("timeout", r#"{"kind":"k","timeout":"11000d"}"#),
        ("backoff", r#"{"kind":"k","backoff":2}"#),
        ("backoff.factor", r#"{"kind":"k","backoff":{"factor":0.5}}"#),
        ("backoff.factor", r#"{"kind":"k","backoff":{"factor":"2"}}"#),
        ("backoff.jiter", r#"{"kind":"k","backoff":{"jiter":0}}"#),
        ("tags", r#"{"kind":"k","tags":"x"}"#),
        ("tags", r#"{"kind":"k","tags":[1]}"#),
        ("tags", r#"{"kind":"k","tags":[""]}"#),
        ("headers", r#"{"kind":"k","headers":[]}"#),
        ("headers", r#"{"kind":"k","headers":{"a b":"x"}}"#),
        ("headers.a", r#"{"kind":"k","headers":{"a":1}}"#),
        ("headers.a", r#"{"kind":"k","headers":{"a":"x","a":"y"}}"#),
        ("headers.a", r#"{"kind":"k","headers":{"a":"x\u0000"}}"#),
        ("kind", r#"{"kind":"k","kind":"l"}"#),
        ("priorty", r#"{"kind":"k","priorty":1}"#),
        ("unique", r#"{"kind":"k","unique":{"for":"1h"}}"#),
    ] {
        assert_eq!(wrong_field(json), field, "{json}: {}", job(json).unwrap_err());
    }
}

#[test]
fn an_unknown_field_is_answered_with_the_nearest_known_one() {
    let wrong = job(r#"{"kind":"k","prioritty":9}"#).unwrap_err();
    assert_eq!(wrong.message, "`prioritty` is not a known field: did you mean `priority`?");
}

#[test]
fn what_is_not_built_yet_is_refused_as_such() {
    for field in JOB_FIELDS_LATER {
        let wrong = job(&format!(r#"{{"kind":"k","{field}":"x"}}"#)).unwrap_err();
        assert_eq!((wrong.fault, wrong.field.as_deref()), (Fault::NotSupported, Some(field)));
        assert!(wrong.message.contains("not supported yet"), "{wrong}");
    }
}

#[test]
fn null_is_the_same_as_nothing() {
    let nulls: String = JOB_FIELDS
        .iter()
        .filter(|field| !matches!(**field, "kind" | "payload"))
        .map(|field| format!(r#","{field}":null"#))
        .collect();
    assert_eq!(job(&format!(r#"{{"kind":"k"{nulls}}}"#)), job(r#"{"kind":"k"}"#));
}

#[test]
fn what_is_no_json_object_is_a_clear_error() {
    for (bytes, part) in [
        (b"".as_slice(), "the JSON is wrong"),
        (b"[]", "application/x-ndjson"),
        (b"17", "expected a JSON object"),
        (b"{\"kind\":\"k\"} x", "trailing characters at column 14"),
        (b"{\"kind\":\"k\",}", "trailing comma"),
        (b"{\"kind\":\"\xff\"}", "not UTF-8: byte 10"),
    ] {
        let wrong = parse_job(bytes, NOW_MS).unwrap_err();
        assert!(wrong.message.contains(part), "{wrong}");
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let marked = b"\xef\xbb\xbf{\"kind\":\"k\"}\n{\"kind\":\"l\"}";
    assert_eq!(parse_ndjson(marked, NOW_MS).unwrap().len(), 2);
}

#[test]
fn nesting_is_bounded_wherever_it_is() {
    let nested =
        |depth: usize| format!(r#"{{"kind":"k","payload":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(job(&nested(JSON_DEPTH_MAX - 1)).is_ok());
    assert!(job(&nested(JSON_DEPTH_MAX)).unwrap_err().message.contains("nested"));
    assert!(job(&nested(1_000_000)).unwrap_err().message.contains("nested"));
    assert!(job(&format!(r#"{{"kind":"k","payload":"{}\"{}"}}"#, "[".repeat(999), "{".repeat(999))).is_ok());
}

#[test]
fn a_payload_over_its_bound_is_too_large() {
    let payload = format!(r#"{{"kind":"k","payload":"{}"}}"#, "x".repeat(PAYLOAD_BYTES_MAX - 2));
    assert!(job(&payload).is_ok());
    let payload = format!(r#"{{"kind":"k","payload":"{}"}}"#, "x".repeat(PAYLOAD_BYTES_MAX - 1));
    let wrong = job(&payload).unwrap_err();
    assert_eq!((wrong.fault, wrong.field.as_deref()), (Fault::TooLarge, Some("payload")));
    let raw = Bytes::from(vec![0; PAYLOAD_BYTES_MAX + 1]);
    assert_eq!(parse_query("kind=k", "x/y", raw, NOW_MS).unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn a_past_time_means_now() {
    assert_eq!(job(r#"{"kind":"k","run_at":"2001-01-01T00:00:00Z"}"#).unwrap().due, Due::Now);
    assert_eq!(job(r#"{"kind":"k","run_at":"1901-01-01T00:00:00+02:00"}"#).unwrap().due, Due::Now);
    let later = job(r#"{"kind":"k","run_at":"2026-01-01T01:00:00+01:00"}"#).unwrap();
    assert_eq!(later.due, Due::Now);
    let later = job(r#"{"kind":"k","run_at":"2026-01-01T00:00:01Z"}"#).unwrap();
    assert_eq!(later.due, Due::At(NOW_MS + 1_000));
}

#[test]
fn a_wrong_line_is_named_by_its_number() {
    let lines = b"{\"kind\":\"a\"}\r\n\n  \n{\"kind\":\"b\"}\n";
    let kinds: Vec<String> = parse_ndjson(lines, NOW_MS).unwrap().into_iter().map(|job| job.kind).collect();
    assert_eq!(kinds, ["a", "b"]);
    let wrong = parse_ndjson(b"{\"kind\":\"a\"}\n\n{\"kind\":\"b\",\"key\":\"\"}\n{", NOW_MS).unwrap_err();
    assert_eq!((wrong.line, wrong.field.as_deref()), (Some(3), Some("key")));
    assert_eq!(wrong.message, "`key` is empty");
    assert_eq!(wrong.to_string(), "line 3: `key` is empty");
    assert!(parse_ndjson(b"\n \n", NOW_MS).unwrap_err().message.contains("no job"));
}

#[test]
fn jobs_of_one_request_are_bounded() {
    let most = "{\"kind\":\"a\"}\n".repeat(BATCH_JOBS_MAX);
    assert_eq!(parse_ndjson(most.as_bytes(), NOW_MS).unwrap().len(), BATCH_JOBS_MAX);
    let more = "{\"kind\":\"a\"}\n".repeat(BATCH_JOBS_MAX + 1);
    assert_eq!(parse_ndjson(more.as_bytes(), NOW_MS).unwrap_err().line, Some(BATCH_JOBS_MAX + 1));
}

#[test]
fn lists_and_objects_are_bounded_before_they_are_kept() {
    let many = vec!["1"; 100_000].join(",");
    let wrong = job(&format!(r#"{{"kind":"k","tags":[{many}]}}"#)).unwrap_err();
    assert_eq!(wrong.message, format!("`tags` has more than {TAGS_MAX} elements"));
    let many: Vec<String> = (0..100_000).map(|n| format!(r#""h{n}":"""#)).collect();
    let wrong = job(&format!(r#"{{"kind":"k","headers":{{{}}}}}"#, many.join(","))).unwrap_err();
    assert!(wrong.message.contains("more than 64 fields"), "{wrong}");
}

#[test]
fn a_query_that_is_wrong_is_a_clear_error() {
    for (text, field) in [
        ("", "kind"),
        ("kind=a&kind=b", "kind"),
        ("kind=a&payload=x", "payload"),
        ("kind=a&content_type=x", "content_type"),
        ("kind=a&prio=9", "prio"),
        ("kind=a&priority=+9", "priority"),
        ("kind=a&backoff=1", "backoff"),
        ("kind=a&backoff.bas=1", "backoff.bas"),
        ("kind=a&backoff.factor=inf", "backoff.factor"),
        ("kind=a&headers=1", "headers"),
        ("kind=a&headers.x=%00", "headers.x"),
        ("kind=%zz", "kind"),
        ("kind=%ff", "kind"),
        ("kind=%4", "kind"),
        ("kind=a&id=x", "id"),
        ("kind=a&delay=", "delay"),
    ] {
        assert_eq!(query(text).expect_err(text).field.as_deref(), Some(field), "{text}");
    }
    let tags = "&tags=x".to_owned() + &(0..TAGS_MAX).map(|n| format!("&tags={n}")).collect::<String>();
    assert_eq!(query(&format!("kind=a{tags}")).unwrap_err().field.as_deref(), Some("tags"));
}

/// What any parser may answer: a job within the bounds, or a short error.
fn is_sound(answer: Result<NewJob, InvalidRequest>) {
    match answer {
        Ok(job) => assert_eq!(crate::model::check::new_job(&job, NOW_MS), Ok(())),
        Err(wrong) => assert!(!wrong.message.is_empty() && wrong.message.len() < 1_000, "{wrong}"),
    }
}

/// Texts that look like jobs, right and wrong.
fn like_a_job() -> impl Strategy<Value = String> {
    let fields: Vec<&str> = JOB_FIELDS.iter().chain(&JOB_FIELDS_LATER).copied().chain(["", "x.y"]).collect();
    let value = prop_oneof![
        Just("null".to_owned()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        "\\PC{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        (0u64..20_000, "[dhms]{1,2}").prop_map(|(number, unit)| format!("\"{number}{unit}\"")),
        "[\\[\\]{}\",:0-9a-z\\\\]{0,12}",
        Just("[\"a\",\"b\"]".to_owned()),
        Just("{\"base\":\"1s\",\"factor\":2}".to_owned()),
        (2020i32..2040).prop_map(|year| format!("\"{year}-02-03T04:05:06Z\"")),
    ];
    let member =
        (prop::sample::select(fields), value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
    prop::collection::vec(member, 0..6)
        .prop_map(|members| format!("{{\"kind\":\"k\",{}}}", members.join(",")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_jobs_or_a_clear_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        is_sound(parse_job(&bytes, NOW_MS));
        if let Ok(jobs) = parse_ndjson(&bytes, NOW_MS) {
            jobs.into_iter().for_each(|job| is_sound(Ok(job)));
        }
    }

    #[test]
    fn anything_like_a_job_is_a_job_or_a_clear_error(text in like_a_job(), cut in 0usize..400) {
        is_sound(job(&text));
        is_sound(parse_job(&text.as_bytes()[..cut.min(text.len())], NOW_MS));
    }

    #[test]
    fn any_query_is_a_job_or_a_clear_error(text in "(kind=k&)?[a-z_.=&%+0-9]{0,80}", payload: Vec<u8>) {
        is_sound(parse_query(&text, "x/y", payload.into(), NOW_MS));
    }

    #[test]
    fn any_payload_comes_back_unchanged(payload: Vec<u8>, key in "[^\\pC]{1,20}", priority in 1u8..=9) {
        use base64::Engine as _;
        let text = serde_json::json!({
            "kind": "k", "key": key, "priority": priority,
            "payload_base64": base64::engine::general_purpose::STANDARD.encode(&payload),
        });
        let job = job(&text.to_string()).unwrap();
        prop_assert_eq!((job.payload.as_ref(), job.key.as_deref(), job.lane.number()), (payload.as_slice(), Some(key.as_str()), priority));
    }

    #[test]
    fn a_wrong_line_among_right_ones_is_found(before in 0usize..20, after in 0usize..20) {
        let right = "{\"kind\":\"k\"}\n";
        let lines = format!("{}{{\"kind\":}}\n{}", right.repeat(before), right.repeat(after));
        prop_assert_eq!(parse_ndjson(lines.as_bytes(), NOW_MS).unwrap_err().line, Some(before + 1));
    }
}
