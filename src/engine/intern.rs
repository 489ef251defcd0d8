//! Texts by number: kinds, runners, content types.

use std::collections::HashMap;
use std::sync::Arc;

/// Gives every text a number, from 0.
#[derive(Debug, Default, Clone)]
pub(crate) struct Interner {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    /// The number that was given last.
    last: u32,
}

impl Interner {
    /// The number of a text, a new one if it has none.
    pub fn index(&mut self, text: &str) -> u32 {
        // Few texts that come again and again are the rule.
        for known in [0, self.last] {
            if self.texts.get(known as usize).is_some_and(|other| &**other == text) {
                return known;
            }
        }
        if let Some(&number) = self.numbers.get(text) {
            self.last = number;
            return number;
        }
        let number = self.texts.len() as u32;
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        self.last = number;
        number
    }

    /// The number of a text, if it has one.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// The text of a number; empty for a number never given.
    pub fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", |text| text)
    }

    pub fn into_texts(self) -> Vec<String> {
        self.texts.iter().map(|text| text.to_string()).collect()
    }
}
