//! Names with attributes of the event in them: `orders.{type}`.

use std::borrow::Cow;

use eg_event::CloudEvent;
use eg_event::attribute::AttributeName;
use eg_event::filter::attribute_text;

/// A text with places that are filled in from the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Attribute(String),
}

impl Template {
    /// Reads a template; says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            "expected a name, with attributes of the event in braces where it varies, as in \
             orders.{type}"
                .to_owned()
        };
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(expected)?;
            let core = ["id", "source", "type", "subject", "time", "dataschema"];
            if !core.contains(&name) {
                AttributeName::parse(name).map_err(|_| expected())?;
            }
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Attribute(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let texts = pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text),
            Piece::Attribute(_) => None,
        });
        let is_clean = |text: &String| !text.contains('}') && !text.contains(char::is_control);
        if pieces.is_empty() || !texts.clone().all(is_clean) {
            return Err(expected());
        }
        Ok(Self(pieces))
    }

    /// The name with `any` in place of each attribute.
    pub(crate) fn pattern(&self, any: &str) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Attribute(_) => any.to_owned(),
        };
        self.0.iter().map(piece).collect()
    }

    /// The text, where it is the same for every event.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &*self.0 {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for `event`; what it fills in is written by `escape`. An attribute that the event
    /// does not have is named in the error.
    pub fn fill<'t>(
        &'t self,
        event: &CloudEvent,
        escape: fn(&str) -> Cow<'_, str>,
    ) -> Result<Cow<'t, str>, String> {
        if let Some(text) = self.text() {
            return Ok(Cow::Borrowed(text));
        }
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Attribute(name) => {
                    let value = attribute_text(event, name).filter(|value| !value.is_empty());
                    let value = value.ok_or_else(|| {
                        format!("the event has no {name}, which the name is made of")
                    })?;
                    filled.push_str(&escape(&value));
                }
            }
        }
        Ok(Cow::Owned(filled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> CloudEvent {
        let mut builder = CloudEvent::builder();
        builder.implied_spec_version();
        for (name, text) in [("id", "1"), ("source", "/s"), ("type", "order made"), ("zone", "eu")]
        {
            builder.attribute(name, text).unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn attributes_of_the_event_are_filled_in() {
        let fill = |text: &str| {
            let template = Template::parse(text).unwrap();
            template.fill(&event(), |text| text.replace(' ', "_").into()).map(Cow::into_owned)
        };
        assert_eq!(fill("orders"), Ok("orders".to_owned()));
        assert_eq!(fill("{zone}.{type}.x"), Ok("eu.order_made.x".to_owned()));
        assert!(fill("{subject}").unwrap_err().contains("no subject"));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["", "a{", "a}", "{Type}", "{data.x}", "a\n"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
