//! How a payload without attributes becomes an event: the topic decides its type, source and
//! subject, by templates.

use eg_event::{InvalidInput, attribute};
use serde::{Deserialize, Serialize};

use crate::topic_filter::stands_for;

/// One entry of `mqtt.mappings`.
///
/// Templates may hold `{topic}`, `{topic[1]}` (its first level, and so on), `{client_id}` and
/// `{user}`. In `source` what they stand for is percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingConfig {
    /// Which topics: a topic filter (MQTT 5.0 section 4.7).
    pub topic: String,
    /// The template of `type`.
    #[serde(default = "default_type", rename = "type")]
    pub ty: String,
    /// The template of `source`.
    #[serde(default = "default_source")]
    pub source: String,
    /// The template of `subject`; empty: none.
    #[serde(default = "default_subject")]
    pub subject: String,
    /// The media type of payloads that do not say theirs.
    #[serde(default)]
    pub datacontenttype: Option<String>,
}

fn default_type() -> String {
    "mqtt.message".to_owned()
}

fn default_source() -> String {
    "/mqtt/{client_id}".to_owned()
}

fn default_subject() -> String {
    "{topic}".to_owned()
}

/// The mappings of a configuration, checked, and the one for everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mappings {
    configured: Vec<Mapping>,
    other: Mapping,
}

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    filter: Vec<String>,
    ty: Template,
    source: Template,
    subject: Template,
    /// The media type of payloads that do not say theirs.
    pub datacontenttype: Option<String>,
}

/// A text with places that are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Topic,
    Level(usize),
    ClientId,
    User,
}

/// What templates are filled in with.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The topic name.
    pub topic: &'a str,
    /// The client identifier.
    pub client_id: &'a str,
    /// The user name; empty when there is none.
    pub user: &'a str,
}

/// The attributes that a mapping makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// `type`.
    pub ty: String,
    /// `source`.
    pub source: String,
    /// `subject`; empty: none.
    pub subject: String,
}

impl Mappings {
    /// Checks the entries of a configuration.
    pub fn new(entries: &[MappingConfig]) -> Result<Self, InvalidInput> {
        let fallback = MappingConfig {
            topic: "#".to_owned(),
            ty: default_type(),
            source: default_source(),
            subject: default_subject(),
            datacontenttype: None,
        };
        let configured = entries.iter().enumerate().map(|(index, entry)| {
            Mapping::new(entry).map_err(|wrong| InvalidInput {
                field: format!("mqtt.mappings[{index}].{}", wrong.field),
                ..wrong
            })
        });
        Ok(Self {
            configured: configured.collect::<Result<_, _>>()?,
            other: Mapping::new(&fallback)?,
        })
    }

    /// The first mapping whose filter matches `topic`, or the one for everything else.
    #[must_use]
    pub fn for_topic(&self, topic: &str) -> &Mapping {
        let found =
            self.configured.iter().find(|mapping| stands_for(levels(&mapping.filter), topic));
        found.unwrap_or(&self.other)
    }
}

impl Mapping {
    fn new(entry: &MappingConfig) -> Result<Self, InvalidInput> {
        let filter = parse_filter(&entry.topic)?;
        let source = Template::parse("source", &entry.source)?;
        let probe = source.fill(Values { topic: "a", client_id: "a", user: "a" }, percent_encode);
        attribute::check_uri_reference("source", &probe)?;
        if let Some(media_type) = &entry.datacontenttype {
            attribute::check_media_type("datacontenttype", media_type)?;
        }
        if entry.ty.is_empty() {
            return Err(InvalidInput::new("type", "expected a template that is not empty"));
        }
        Ok(Self {
            filter,
            ty: Template::parse("type", &entry.ty)?,
            source,
            subject: Template::parse("subject", &entry.subject)?,
            datacontenttype: entry.datacontenttype.clone(),
        })
    }

    /// The attributes for a message.
    #[must_use]
    pub fn apply(&self, values: Values<'_>) -> Mapped {
        Mapped {
            ty: self.ty.fill(values, push_plain),
            source: self.source.fill(values, percent_encode),
            subject: self.subject.fill(values, push_plain),
        }
    }
}

impl Template {
    fn parse(field: &str, text: &str) -> Result<Self, InvalidInput> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let (name, after) = after.split_once('}').ok_or_else(|| unknown(field, after))?;
            pieces.push(Piece::parse(name).ok_or_else(|| unknown(field, name))?);
            rest = after;
        }
        if rest.contains('}') {
            return Err(unknown(field, rest));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    fn fill(&self, values: Values<'_>, push: fn(&mut String, &str)) -> String {
        let mut filled = String::with_capacity(48);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Topic => push(&mut filled, values.topic),
                Piece::Level(level) => {
                    push(&mut filled, values.topic.split('/').nth(*level).unwrap_or_default());
                }
                Piece::ClientId => push(&mut filled, values.client_id),
                Piece::User => push(&mut filled, values.user),
            }
        }
        filled
    }
}

impl Piece {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "topic" => Some(Self::Topic),
            "client_id" => Some(Self::ClientId),
            "user" => Some(Self::User),
            _ => {
                let level = name.strip_prefix("topic[")?.strip_suffix(']')?;
                let level: usize = level.parse().ok()?;
                level.checked_sub(1).map(Self::Level)
            }
        }
    }
}

fn unknown(field: &str, found: &str) -> InvalidInput {
    let detail =
        format!("expected {{topic}}, {{topic[1]}}, {{client_id}} or {{user}}, found {found:?}");
    InvalidInput::new(field, detail)
}

fn push_plain(filled: &mut String, value: &str) {
    filled.push_str(value);
}

/// What is not unreserved (RFC 3986 section 2.3) and no `/` becomes percent-encoded UTF-8.
fn percent_encode(filled: &mut String, value: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            filled.push(char::from(byte));
        } else {
            filled.push('%');
            filled.push(char::from(HEX[usize::from(byte >> 4)]));
            filled.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

fn parse_filter(filter: &str) -> Result<Vec<String>, InvalidInput> {
    let levels: Vec<_> = filter.split('/').map(str::to_owned).collect();
    let last = levels.len() - 1;
    let well_formed = |(index, level): (usize, &String)| match level.as_str() {
        "#" => index == last,
        "+" => true,
        other => !other.contains(['#', '+', '\0']),
    };
    if filter.is_empty() || !levels.iter().enumerate().all(well_formed) {
        let detail =
            format!("expected a topic filter such as sensors/+/temperature, found {filter:?}");
        return Err(InvalidInput::new("topic", detail));
    }
    Ok(levels)
}

fn levels(filter: &[String]) -> impl Iterator<Item = &str> {
    filter.iter().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(topic: &str, ty: &str, source: &str) -> MappingConfig {
        let (topic, ty, source) = (topic.to_owned(), ty.to_owned(), source.to_owned());
        MappingConfig { topic, ty, source, subject: default_subject(), datacontenttype: None }
    }

    fn apply(mappings: &Mappings, topic: &str) -> Mapped {
        let values = Values { topic, client_id: "till 3/\u{e9}", user: "shop" };
        mappings.for_topic(topic).apply(values)
    }

    #[test]
    fn the_first_filter_that_matches_makes_the_attributes() {
        let mappings = Mappings::new(&[
            entry("sensors/+/temperature", "measured.{topic[3]}", "/plants/{topic[2]}"),
            entry("sensors/#", "sensor", "urn:{user}:{client_id}"),
        ]);
        let mappings = mappings.unwrap();
        let made = apply(&mappings, "sensors/7/temperature");
        assert_eq!((&*made.ty, &*made.source), ("measured.temperature", "/plants/7"));
        let made = apply(&mappings, "other");
        assert_eq!((&*made.ty, &*made.source), ("mqtt.message", "/mqtt/till%203/%C3%A9"));
        let made = apply(&mappings, "sensors/8");
        assert_eq!((&*made.ty, &*made.source), ("sensor", "urn:shop:till%203/%C3%A9"));
        assert_eq!(made.subject, "sensors/8");
        let made = apply(&mappings, "$dollar/8");
        assert_eq!((&*made.ty, &*made.subject), ("mqtt.message", "$dollar/8"));
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        let rows = [
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+", "a", true),
            ("+", "a/b", false),
            ("+", "$SYS", false),
            ("a/+/c", "a/b/c", true),
            ("a/+", "a/", true),
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("/+", "/a", true),
            ("+/+", "/a", true),
        ];
        for (filter, topic, expected) in rows {
            assert_eq!(
                stands_for(levels(&parse_filter(filter).unwrap()), topic),
                expected,
                "{filter} {topic}"
            );
        }
    }

    #[test]
    fn what_cannot_be_a_mapping_is_named() {
        let rows = [
            (entry("", "t", "/s"), "mqtt.mappings[0].topic"),
            (entry("a/#/b", "t", "/s"), "mqtt.mappings[0].topic"),
            (entry("a+", "t", "/s"), "mqtt.mappings[0].topic"),
            (entry("#", "", "/s"), "mqtt.mappings[0].type"),
            (entry("#", "{device}", "/s"), "mqtt.mappings[0].type"),
            (entry("#", "{topic[0]}", "/s"), "mqtt.mappings[0].type"),
            (entry("#", "{topic", "/s"), "mqtt.mappings[0].type"),
            (entry("#", "topic}", "/s"), "mqtt.mappings[0].type"),
            (entry("#", "t", "not a uri"), "mqtt.mappings[0].source"),
        ];
        for (bad, field) in rows {
            assert_eq!(Mappings::new(&[bad]).unwrap_err().field, field);
        }
    }
}
