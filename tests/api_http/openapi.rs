//! The description of the API is the one that is committed.

use std::collections::BTreeSet;

use qdo::api::openapi;
use qdo::api::parse::JOB_FIELDS;
use qdo::model::QueueSettings;
use serde_json::Value;

use crate::support::{start, taken};

/// Set to write the file anew.
const REWRITE: &str = "QDO_REWRITE_OPENAPI";

fn as_committed() -> String {
    openapi().to_pretty_json().unwrap() + "\n"
}

#[test]
fn the_committed_description_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(path, as_committed()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == as_committed(), "docs/openapi.json is old: run this test with {REWRITE}=1");
}

#[tokio::test]
async fn the_served_description_is_the_same() {
    let server = start().await;
    let response = server.get("/v1/openapi.json").await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let served: Value = taken(response, 200).await;
    assert_eq!(served, serde_json::from_str::<Value>(&as_committed()).unwrap());
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
}

#[test]
fn the_described_fields_of_a_job_are_those_that_are_taken() {
    let description: Value = serde_json::from_str(&as_committed()).unwrap();
    let described = &description["components"]["schemas"]["EnqueueRequest"]["properties"];
    let described: BTreeSet<&str> = described.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(described, BTreeSet::from(JOB_FIELDS));
}

#[test]
fn the_described_fields_of_a_queue_are_its_settings_and_partitions() {
    let description: Value = serde_json::from_str(&as_committed()).unwrap();
    let schema = &description["components"]["schemas"]["QueueRequest"];
    assert_eq!(schema["additionalProperties"], Value::Bool(false));
    let described: BTreeSet<&str> =
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let settings = serde_json::to_value(QueueSettings::default()).unwrap();
    let settings = settings.as_object().unwrap().keys().map(String::as_str);
    assert_eq!(described, settings.chain(["partitions"]).collect());
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let description: Value = serde_json::from_str(&as_committed()).unwrap();
    let mut names = BTreeSet::new();
    for methods in description["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name), "{name} is there twice");
        }
    }
}

#[test]
fn every_route_is_in_the_documentation() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/http-api.md")).unwrap();
    let description: Value = serde_json::from_str(&as_committed()).unwrap();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let route = format!("`{} {path}`", method.to_uppercase());
            assert!(docs.contains(&route), "{route} is not in docs/http-api.md");
        }
    }
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let description: Value = serde_json::from_str(&as_committed()).unwrap();
    let mut found = Vec::new();
    references(&description, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }
}
