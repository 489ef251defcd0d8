//! Lengths of time as people write them: `250ms`, `30s`, `5m`, `1h30m`, `3d`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::limits::DURATION_MS_MAX;

/// A length of time in whole milliseconds, at most ten years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Milliseconds.
    pub ms: u64,
}

/// Why a text is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpan {
    /// Not of the form.
    #[error("{0:?} is not a length of time: write 250ms, 30s, 5m, 1h30m or 3d")]
    Form(String),
    /// Too long.
    #[error("{0:?} is longer than ten years")]
    TooLong(String),
}

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    /// So many milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self { ms }
    }

    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self { ms: secs * 1_000 }
    }
}

impl From<Span> for std::time::Duration {
    fn from(span: Span) -> Self {
        Self::from_millis(span.ms)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.ms;
        for (unit, unit_ms) in UNITS {
            if rest >= unit_ms {
                write!(f, "{}{unit}", rest / unit_ms)?;
                rest %= unit_ms;
            }
        }
        Ok(())
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let form = || InvalidSpan::Form(text.chars().take(40).collect());
        let too_long = || InvalidSpan::TooLong(text.chars().take(40).collect());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(form());
        }
        let mut total_ms: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let after = &rest[digits..];
            let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
            let (number, unit) = (&rest[..digits], &after[..letters]);
            if digits == 0 || letters == 0 {
                return Err(form());
            }
            let unit_ms = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(form)?.1;
            let number: u64 = number.parse().map_err(|_| too_long())?;
            total_ms =
                number.checked_mul(unit_ms).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(too_long)?;
            rest = &after[letters..];
        }
        if total_ms > DURATION_MS_MAX { Err(too_long()) } else { Ok(Self { ms: total_ms }) }
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct SpanVisitor;

impl serde::de::Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a length of time like \"30s\", or a number of seconds")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, secs: u64) -> Result<Span, E> {
        match secs.checked_mul(1_000) {
            Some(ms) if ms <= DURATION_MS_MAX => Ok(Span { ms }),
            _ => Err(E::custom("a length of time is at most ten years")),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, secs: i64) -> Result<Span, E> {
        let secs = u64::try_from(secs).map_err(|_| E::custom("a length of time is not negative"))?;
        self.visit_u64(secs)
    }

    fn visit_f64<E: serde::de::Error>(self, secs: f64) -> Result<Span, E> {
        let ms = secs * 1_000.0;
        if !(0.0..=DURATION_MS_MAX as f64).contains(&ms) {
            return Err(E::custom("a length of time is between 0 and ten years"));
        }
        Ok(Span { ms: ms.round() as u64 })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(ms in 0..=DURATION_MS_MAX) {
            prop_assert_eq!(Span { ms }.to_string().parse::<Span>(), Ok(Span { ms }));
        }

        #[test]
        fn any_text_is_a_length_or_a_clear_error(text in "\\PC{0,40}") {
            if let Ok(span) = text.parse::<Span>() {
                prop_assert!(span.ms <= DURATION_MS_MAX);
            }
        }
    }

    #[test]
    fn numbers_are_seconds() {
        assert_eq!(serde_json::from_str::<Span>("1.5").unwrap().ms, 1_500);
        assert_eq!(serde_json::from_str::<Span>("\"1h30m\"").unwrap().ms, 5_400_000);
        assert!(serde_json::from_str::<Span>("-1").is_err());
        assert!(serde_json::from_str::<Span>("1e300").is_err());
    }
}
