//! Writing for people and for programs.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use serde::Serialize;

use super::exit::Failure;

/// What data looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Tables for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

/// When there is colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Even into a pipe.
    Always,
    /// Not at all.
    Never,
}

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    format: Format,
    color: bool,
}

impl Out {
    pub fn new(format: Format, color: Color) -> Self {
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => colour_is_welcome() && io::stdout().is_terminal(),
        };
        Self { format, color }
    }

    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One value: as indented JSON, or as what `table` makes of it.
    pub fn value<T: Serialize>(&self, value: &T, table: impl FnOnce(&Self) -> String) -> Result<(), Failure> {
        self.line(&self.rendered(value, table)?)
    }

    /// The same, not yet written.
    pub fn rendered<T: Serialize>(
        &self,
        value: &T,
        table: impl FnOnce(&Self) -> String,
    ) -> Result<String, Failure> {
        if !self.is_json() {
            return Ok(table(self));
        }
        serde_json::to_string_pretty(value)
            .map_err(|error| Failure::failed(format!("the answer cannot be written as JSON: {error}")))
    }

    /// A line of text.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') && !text.is_empty() {
            stdout.write_all(b"\n")?;
        }
        Ok(stdout.flush()?)
    }

    /// Bytes as they are.
    pub fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// A table as text; each row has as many cells as there are headings.
    pub fn table(&self, headings: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headings.iter().map(|heading| self.cell(heading, Ink::Heading)));
        table.add_rows(rows);
        if self.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.trim_fmt()
    }

    /// A cell of a table, in that colour if there is colour.
    pub fn cell(&self, text: impl ToString, ink: Ink) -> Cell {
        let cell = Cell::new(text.to_string());
        match ink {
            Ink::Heading => cell.add_attribute(Attribute::Bold),
            Ink::Faint => cell.add_attribute(Attribute::Dim),
            Ink::Good => cell.fg(comfy_table::Color::Green),
            Ink::Bad => cell.fg(comfy_table::Color::Red),
            Ink::Busy => cell.fg(comfy_table::Color::Yellow),
        }
    }

    /// A list of names and values.
    pub fn facts(&self, facts: &[(&str, String)]) -> String {
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let shown = facts.iter().filter(|(_, value)| !value.is_empty());
        let lines = shown.map(|(name, value)| {
            let indented = value.replace('\n', &format!("\n{:width$}  ", ""));
            format!("{}  {indented}\n", self.paint(&format!("{name:<width$}"), Ink::Heading))
        });
        lines.collect()
    }

    /// The text in that colour, if there is colour.
    pub fn paint(&self, text: &str, ink: Ink) -> String {
        if self.color { paint(text, ink) } else { text.to_owned() }
    }
}

/// What a colour is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ink {
    Heading,
    Good,
    Bad,
    Busy,
    Faint,
}

fn paint(text: &str, ink: Ink) -> String {
    use anstyle::{AnsiColor, Style};
    let style = match ink {
        Ink::Heading => Style::new().bold(),
        Ink::Good => AnsiColor::Green.on_default(),
        Ink::Bad => AnsiColor::Red.on_default(),
        Ink::Busy => AnsiColor::Yellow.on_default(),
        Ink::Faint => Style::new().dimmed(),
    };
    format!("{style}{text}{style:#}")
}

fn colour_is_welcome() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn on_stderr(text: &str, ink: Ink) -> String {
    if colour_is_welcome() && io::stderr().is_terminal() { paint(text, ink) } else { text.to_owned() }
}

/// Says something to the person, on standard error. If nobody reads that, it is not said.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says what failed.
pub(super) fn say_error(text: &str) {
    say(&format!("{} {text}", on_stderr("error:", Ink::Bad)));
}

/// Says what looks wrong.
pub(super) fn say_warning(text: &str) {
    say(&format!("{} {text}", on_stderr("warning:", Ink::Busy)));
}

/// Whether something may be destroyed: because it was said, or because somebody can be asked.
pub(super) fn can_ask(yes: bool) -> Result<(), Failure> {
    if yes || (io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    Err(Failure::usage("nobody can be asked here, and this cannot be undone: say --yes to do it"))
}

/// Asks before something is destroyed.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    can_ask(yes)?;
    if yes {
        return Ok(());
    }
    let mut stderr = io::stderr();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was done")),
    }
}

/// A text from outside, safe for a terminal: control characters are shown, not obeyed.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// The same on one line, at most so many characters.
pub(super) fn brief(text: &str, chars_max: usize) -> String {
    let one_line: String = printable(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if one_line.chars().count() <= chars_max {
        return one_line;
    }
    one_line.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_command_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\tc"), "a\\u{1b}[2Jb\tc");
        assert_eq!(brief("one\ntwo  three", 9), "one two …");
    }

    #[test]
    fn facts_without_a_value_are_left_out() {
        let out = Out { format: Format::Table, color: false };
        let text =
            out.facts(&[("id", "7".to_owned()), ("error", String::new()), ("state", "a\nb".to_owned())]);
        assert_eq!(text, "id     7\nstate  a\n       b\n");
    }
}
