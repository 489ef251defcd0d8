//! The machine alone, and many of them in a small world of locks.

mod alone;
mod chaos;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::types::Settings;
use crate::coordination::assign::AssignSettings;
use crate::coordination::{Member, PartitionName};
use crate::model::PartitionId;

const SETTLE_MS: u64 = 3_000;

fn settings() -> Settings {
    Settings { assign: AssignSettings::default(), settle_ms: SETTLE_MS }
}

fn member(number: usize) -> Member {
    Member {
        id: format!("w{number}:1:{number:016x}").into(),
        name: format!("w{number}"),
        address: format!("http://127.0.0.1:{}", 7_000 + number),
        version: "0".to_owned(),
        assign_version: 1,
        slots: 4,
        capacity: 100,
        labels: BTreeMap::new(),
        cannot_serve: Vec::new(),
        draining: false,
        settings: BTreeMap::new(),
        started_ms: number as u64,
    }
}

fn name(index: u16) -> PartitionName {
    PartitionName {
        id: PartitionId { group: 1, index },
        namespace: Arc::from("default"),
        group: Arc::from("emails"),
    }
}

fn names(count: u16) -> Vec<PartitionName> {
    (0..count).map(name).collect()
}
