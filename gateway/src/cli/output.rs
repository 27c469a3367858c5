//! How results are printed: tables for people, JSON for programs.

use std::fmt::Display;
use std::io::{self, Write as _};

use clap::ValueEnum;
use clap_complete::Shell;
use serde_json::Value;

use crate::config::Config;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Where results go: the standard output.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    out: io::Stdout,
}

impl Output {
    pub(super) fn new(format: Format) -> Self {
        Self { format, out: io::stdout() }
    }

    /// Prints a list of objects: as JSON as it is, or as a table of `columns`, each a heading and
    /// the path of a member.
    pub(super) fn list(&mut self, list: &Value, columns: &[(&str, &str)]) {
        if self.format == Format::Json {
            return self.json(list);
        }
        let rows = list.as_array().map(Vec::as_slice).unwrap_or_default();
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| columns.iter().map(|(_, path)| cell(member(row, path))).collect())
            .collect();
        let width = |index: usize| {
            let longest = cells.iter().map(|row| row[index].chars().count()).max().unwrap_or(0);
            longest.max(columns[index].0.len())
        };
        let widths: Vec<_> = (0..columns.len()).map(width).collect();
        let headings = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        for row in std::iter::once(headings).chain(cells) {
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            self.line(padded.collect::<Vec<_>>().join("  ").trim_end());
        }
    }

    /// Prints one object: as JSON as it is, or a line for each of its members.
    pub(super) fn object(&mut self, object: &Value) {
        if self.format == Format::Json {
            return self.json(object);
        }
        let members: Vec<_> = object.as_object().into_iter().flatten().collect();
        let width = members.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in members {
            self.line(format!("{name:<width$}  {}", text(value)).trim_end());
        }
    }

    /// Whether programs read what is printed.
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints JSON on one line, so that a stream of it can be read line by line.
    pub(super) fn json(&mut self, value: &Value) {
        self.line(&value.to_string());
    }

    /// Prints a line for people.
    pub(super) fn line(&mut self, line: &str) {
        // A reader that has gone away wants no more.
        drop(writeln!(self.out.lock(), "{line}"));
    }

    pub(super) fn completion(&mut self, shell: Shell, command: &mut clap::Command) {
        clap_complete::generate(shell, command, "event-gateway", &mut self.out.lock());
    }

    pub(super) fn config(&mut self, file: Option<impl Display>, config: &Config) {
        let file = file.map_or_else(|| "the defaults".to_owned(), |file| file.to_string());
        match (self.format, serde_json::to_value(config)) {
            (Format::Json, Ok(value)) => self.json(&value),
            _ => self.line(&format!("{file}: good")),
        }
    }

    pub(super) fn error(error: &dyn Display) {
        drop(writeln!(io::stderr().lock(), "event-gateway: {error}"));
    }
}

fn member<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, name| &value[name])
}

fn printable(character: char) -> char {
    if character.is_control() && character != '\n' {
        char::REPLACEMENT_CHARACTER
    } else {
        character
    }
}

/// A text on one line: a row is not taken for two.
fn cell(value: &Value) -> String {
    text(value).replace('\n', " ")
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        // What devices have sent must not move the cursor.
        Value::String(text) => text.chars().map(printable).collect(),
        other => other.to_string(),
    }
}
