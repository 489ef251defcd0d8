//! The story of a run: a hash of all that happened, for comparing two runs, and text on request.

use super::heap::Time;

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub fn new(keep: bool) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, lines: keep.then(Vec::new) }
    }

    /// Takes note of something: numbers into the hash (FNV-1a), a sentence into the story.
    pub fn note(&mut self, now: Time, numbers: &[u64], text: impl FnOnce() -> String) {
        for number in [now].iter().chain(numbers) {
            for byte in number.to_le_bytes() {
                self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
            }
        }
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>12.3} ms  {}", now as f64 / 1_000.0, text()));
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
