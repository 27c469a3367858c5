//! JSON with the place of every value: `serde_json` judges the text, a scan over what it took
//! finds the places.

use std::collections::HashMap;

use serde_json::Value;

use crate::Limits;
use crate::text::{Malformed, Parts, Place, Position};

/// The value of a text, and where its parts stand. The place of a member is that of its name.
pub(crate) fn read(text: &str, limits: &Limits) -> Result<(Value, Place), Malformed> {
    let value = serde_json::from_str(text).map_err(|error| {
        let full = error.to_string();
        let reason = full.split(" at line ").next().unwrap_or_default();
        let position = Position { line: error.line().max(1), column: error.column().max(1) };
        Malformed::at(position, format!("JSON: {reason}"))
    })?;
    let mut scan = Scan { rest: text, line: 1, column: 1, depth_max: limits.depth_max };
    let place = scan.value(0)?;
    Ok((value, place))
}

/// A walk over a text that is known to be JSON.
struct Scan<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
    depth_max: usize,
}

impl<'a> Scan<'a> {
    fn value(&mut self, depth: usize) -> Result<Place, Malformed> {
        self.skip_space();
        let position = self.position();
        if depth > self.depth_max {
            let expected = format!("at most {} values inside one another", self.depth_max);
            return Err(Malformed::at(position, expected));
        }
        let parts = match self.rest.as_bytes().first() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => {
                self.string();
                Parts::None
            }
            _ => {
                let end = self.rest.find([',', '}', ']', ' ', '\n', '\r', '\t']);
                self.take(end.unwrap_or(self.rest.len()));
                Parts::None
            }
        };
        Ok(Place { position, parts })
    }

    fn object(&mut self, depth: usize) -> Result<Parts, Malformed> {
        let mut members = HashMap::new();
        while !self.ends(b'}') {
            let position = self.position();
            let name: String = serde_json::from_str(self.string())
                .map_err(|error| Malformed::at(position, error.to_string()))?;
            self.skip_space();
            self.take(1); // the colon
            let place = Place { position, ..self.value(depth + 1)? };
            if members.insert(name.clone(), place).is_some() {
                return Err(Malformed::at(position, format!("{name:?} only once")));
            }
        }
        Ok(Parts::Members(members))
    }

    fn array(&mut self, depth: usize) -> Result<Parts, Malformed> {
        let mut items = Vec::new();
        while !self.ends(b']') {
            items.push(self.value(depth + 1)?);
        }
        Ok(Parts::Items(items))
    }

    /// Takes the bracket or comma before the next part; whether it was the last bracket.
    fn ends(&mut self, bracket: u8) -> bool {
        self.skip_space();
        let first = self.rest.as_bytes().first().copied();
        if first == Some(bracket) || first.is_none() {
            self.take(1);
            return true;
        }
        if matches!(first, Some(b'{' | b'[' | b',')) {
            self.take(1);
        }
        self.skip_space();
        let empty = self.rest.as_bytes().first() == Some(&bracket);
        if empty {
            self.take(1);
        }
        empty
    }

    /// A string with its quotes.
    fn string(&mut self) -> &'a str {
        let mut escaped = false;
        let end = self.rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        self.take(end.map_or(self.rest.len(), |end| end + 2))
    }

    fn skip_space(&mut self) {
        let end = self.rest.find(|c: char| !c.is_ascii_whitespace());
        self.take(end.unwrap_or(self.rest.len()));
    }

    fn position(&self) -> Position {
        Position { line: self.line, column: self.column }
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        for c in taken.chars() {
            self.column += 1;
            if c == '\n' {
                (self.line, self.column) = (self.line + 1, 1);
            }
        }
        self.rest = rest;
        taken
    }
}
