//! `${NAME}` and `${NAME:-default}` in texts.

use std::collections::BTreeMap;

/// Replaces variables in a text. `$$` is a dollar sign; a `$` before anything else stays as it is,
/// since commands are full of them.
pub(super) fn expand(text: &str, env: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(tail) = after.strip_prefix('{') {
            let Some(end) = tail.find('}') else {
                return Err("has a `${` without its `}`: write `$$` for a dollar sign".to_owned());
            };
            out.push_str(&variable(&tail[..end], env)?);
            rest = &tail[end + 1..];
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(inner: &str, env: &BTreeMap<String, String>) -> Result<String, String> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !named {
        return Err(format!(
            "has `${{{inner}}}`, and {name:?} is not the name of a variable: write `$$` for a dollar sign"
        ));
    }
    match (env.get(name).filter(|value| !value.is_empty()), default) {
        (Some(value), _) => Ok(value.clone()),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "needs the environment variable {name}, which is not set: set it, or write ${{{name}:-default}}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env() -> BTreeMap<String, String> {
        BTreeMap::from([("HOME".to_owned(), "/home/a".to_owned()), ("EMPTY".to_owned(), String::new())])
    }

    #[test]
    fn variables_are_replaced() {
        assert_eq!(expand("${HOME}/x", &env()).as_deref(), Ok("/home/a/x"));
        assert_eq!(expand("${NOPE:-b}${EMPTY:-c}", &env()).as_deref(), Ok("bc"));
        assert_eq!(expand("$HOME costs 5$ or $$5", &env()).as_deref(), Ok("$HOME costs 5$ or $5"));
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = expand("${NOPE}", &env()).expect_err("it is not set");
        assert!(error.contains("NOPE") && error.contains(":-"), "{error}");
        assert!(expand("${", &env()).is_err());
        assert!(expand("${a b}", &env()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_expands_or_gives_an_error(text in "[$a-z{}:\\-é]{0,40}") {
            if !text.contains('$') {
                prop_assert_eq!(expand(&text, &env()), Ok(text));
            } else {
                let _ = expand(&text, &env());
            }
        }
    }
}
