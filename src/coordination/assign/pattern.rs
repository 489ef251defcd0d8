//! Patterns with `*`, for names in rules.

/// Whether the text is the pattern, where `*` stands for any characters, or none.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    // There is always a first part, and without a star it is the only one.
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_or_none() {
        for (pattern, text) in [
            ("default/emails", "default/emails"),
            ("default/*", "default/emails"),
            ("*/emails", "default/emails"),
            ("*", ""),
            ("**", "default/emails"),
            ("d*/e*s", "default/emails"),
            ("a*a", "aa"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("default/emails", "default/emails2"), ("a*a", "a"), ("*b", "abc"), ("", "a"), ("x*", "ax")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
