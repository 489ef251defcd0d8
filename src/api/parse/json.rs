//! JSON with bounds: text, depth, number of members. Values stay as they were written.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::InvalidRequest;
use crate::model::limits::JSON_DEPTH_MAX;

/// Members of an object that is a request; none of them has as many fields.
const MEMBERS_MAX: usize = 64;

/// The members of an object, in the order in which they were written.
pub(crate) type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// The text of a body that is to be JSON: UTF-8, and not too deep. A byte order mark is skipped.
pub(crate) fn body_text(bytes: &[u8]) -> Result<&str, InvalidRequest> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        InvalidRequest::whole(format!("the body is not UTF-8: byte {} is wrong", error.valid_up_to() + 1))
    })?;
    depth_is_bounded(bytes)?;
    Ok(text)
}

/// Readers of nested values recurse, so the depth is checked before anything else is.
fn depth_is_bounded(bytes: &[u8]) -> Result<(), InvalidRequest> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            let message = format!("the JSON is nested more than {JSON_DEPTH_MAX} deep");
            return Err(InvalidRequest::whole(message));
        }
    }
    Ok(())
}

/// The members of a JSON object; a member that is there twice is an error.
pub(crate) fn members(text: &str) -> Result<Members<'_>, InvalidRequest> {
    let Bounded(members) =
        serde_json::from_str::<Bounded<Members<'_>>>(text).map_err(|error| syntax(&error))?;
    for (index, (name, _)) in members.iter().enumerate() {
        if members[..index].iter().any(|(earlier, _)| earlier == name) {
            return Err(InvalidRequest::field(name, "is there twice"));
        }
    }
    Ok(members)
}

/// The elements of a JSON list of at most so many.
pub(super) fn elements(text: &str, most: usize) -> Result<Vec<&RawValue>, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    serde::de::DeserializeSeed::deserialize(Elements { most, lifetime: PhantomData }, &mut reader)
        .map_err(|error| without_place(&error))
}

/// What is wrong with the JSON, and where.
fn syntax(error: &serde_json::Error) -> InvalidRequest {
    let place = match error.line() {
        0 => String::new(),
        1 => format!(" at column {}", error.column()),
        line => format!(" at line {line}, column {}", error.column()),
    };
    InvalidRequest::whole(format!("the JSON is wrong: {}{place}", without_place(error)))
}

/// The sentence without `at line 1 column 2`: inside of one field the place only misleads.
pub(super) fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

struct Bounded<T>(T);

impl<'de: 'a, 'a> Deserialize<'de> for Bounded<Members<'a>> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor(PhantomData)).map(Bounded)
    }
}

struct MembersVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for MembersVisitor<'a> {
    type Value = Members<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'a>, A::Error> {
        let mut members = Members::new();
        while let Some(Name(name)) = map.next_key::<Name<'a>>()? {
            if members.len() == MEMBERS_MAX {
                return Err(serde::de::Error::custom(format_args!(
                    "an object has more than {MEMBERS_MAX} fields"
                )));
            }
            members.push((name, map.next_value()?));
        }
        Ok(members)
    }
}

/// A member's name, borrowed if it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for NameVisitor<'a> {
            type Value = Name<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'a>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'a>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor(PhantomData))
    }
}

struct Elements<'a> {
    most: usize,
    lifetime: PhantomData<&'a ()>,
}

impl<'de: 'a, 'a> serde::de::DeserializeSeed<'de> for Elements<'a> {
    type Value = Vec<&'a RawValue>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Elements<'a> {
    type Value = Vec<&'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            if elements.len() == self.most {
                return Err(serde::de::Error::custom(format_args!("has more than {} elements", self.most)));
            }
            elements.push(element);
        }
        Ok(elements)
    }
}
