//! `docs/format.md` lists what `row.rs` stores.

use std::collections::BTreeSet;

const SOURCE: &str = include_str!("../row.rs");
const PAGE: &str = include_str!("../../../docs/format.md");

/// Message, number and name of every field, and of every value of an enumeration.
fn stored() -> BTreeSet<(String, u32, String)> {
    let mut found = BTreeSet::new();
    let (mut message, mut tag) = (String::new(), None);
    for line in SOURCE.lines().map(str::trim) {
        let name_after = |prefix: &str| line.strip_prefix(prefix)?.split([' ', '(', ':']).next();
        if let Some(name) = name_after("pub struct ").or_else(|| name_after("pub enum ")) {
            message = name.into();
        } else if let Some((_, rest)) = line.split_once("tag = \"") {
            tag = rest.split('"').next().and_then(|number| number.parse().ok());
        } else if let (Some(number), Some(name)) = (tag, name_after("pub ")) {
            found.insert((message.clone(), number, name.into()));
            tag = None;
        } else if let Some((name, number)) = line.trim_end_matches(',').split_once(" = ")
            && let Ok(number) = number.parse()
        {
            found.insert((message.clone(), number, name.into()));
        }
    }
    found
}

/// The same from the page.
fn listed() -> BTreeSet<(String, u32, String)> {
    let mut found = BTreeSet::new();
    let mut message = String::new();
    for line in PAGE.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            message = name.into();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, number, name, ..] = cells[..]
            && let Ok(number) = number.parse()
        {
            found.insert((message.clone(), number, name.trim_matches('`').into()));
        }
    }
    found
}

#[test]
fn every_stored_field_is_in_the_format_page_and_no_other() {
    let (stored, listed) = (stored(), listed());
    assert!(stored.len() > 100, "only {} fields were found in row.rs", stored.len());
    let missing: Vec<_> = stored.difference(&listed).collect();
    assert!(missing.is_empty(), "docs/format.md lacks {missing:?}");
    let wrong: Vec<_> = listed.difference(&stored).collect();
    assert!(wrong.is_empty(), "docs/format.md lists what is not stored: {wrong:?}");
}
