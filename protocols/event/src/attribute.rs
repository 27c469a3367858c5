//! Context attributes: how they are named, which values they take, and what is wrong with one that
//! is refused (CloudEvents 1.0.2, chapters "Attribute Naming Convention" and "Type System").

use std::fmt;

use crate::clock::Timestamp;

/// Names that belong to the specification, so that an extension may not take them.
const RESERVED: [&str; 10] = [
    "id",
    "source",
    "type",
    "specversion",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "data_base64",
];

/// The longest attribute name accepted, in bytes; the specification recommends at most 20.
pub const NAME_BYTES_MAX: usize = 64;

/// The name of an extension attribute: lower-case ASCII letters and digits, not a name that
/// CloudEvents itself defines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeName(Box<str>);

impl AttributeName {
    /// Checks `name` against the naming convention.
    ///
    /// ```
    /// use eg_event::AttributeName;
    /// assert!(AttributeName::parse("partitionkey").is_ok());
    /// assert!(AttributeName::parse("Partition_Key").is_err());
    /// ```
    pub fn parse(name: &str) -> Result<Self, InvalidAttribute> {
        let well_formed =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !well_formed {
            return Err(InvalidAttribute::new(name, "a name of lower-case letters and digits"));
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(InvalidAttribute::new(name, "a name of at most 64 characters"));
        }
        if RESERVED.contains(&name) {
            return Err(InvalidAttribute::new(
                name,
                "a name that CloudEvents does not define itself",
            ));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The value of an extension attribute. The types Binary, URI, URI-reference and Timestamp are
/// kept as their canonical text, which is how every text binding carries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// A truth value; canonical text `true` or `false`.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// Text without control characters.
    String(Box<str>),
}

impl AttributeValue {
    /// Takes `text` as a String value for the attribute `name`.
    pub fn text(name: &str, text: &str) -> Result<Self, InvalidAttribute> {
        check_text(name, text)?;
        Ok(Self::String(text.into()))
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::String(value) => f.write_str(value),
        }
    }
}

/// An attribute that breaks a rule of CloudEvents: which one, and what was expected instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute {name:?}: expected {expected}")]
pub struct InvalidAttribute {
    /// The attribute as the sender named it, shortened to 64 characters.
    pub name: String,
    /// What the rule asks for.
    pub expected: &'static str,
}

impl InvalidAttribute {
    /// Says that `name` does not hold what was `expected`.
    #[must_use]
    pub fn new(name: &str, expected: &'static str) -> Self {
        Self { name: name.chars().take(NAME_BYTES_MAX).collect(), expected }
    }
}

/// The String type: no control characters, no Unicode noncharacters.
pub fn check_text(name: &str, text: &str) -> Result<(), InvalidAttribute> {
    // Plain ASCII is nearly every value; one pass over the bytes settles it.
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Ok(());
    }
    if text.chars().any(is_forbidden) {
        return Err(InvalidAttribute::new(
            name,
            "text without control characters and Unicode noncharacters",
        ));
    }
    Ok(())
}

fn is_forbidden(c: char) -> bool {
    let code = u32::from(c);
    matches!(code, 0..=0x1f | 0x7f..=0x9f | 0xfdd0..=0xfdef) || code & 0xfffe == 0xfffe
}

/// A String that may not be empty.
pub fn check_non_empty(name: &str, text: &str) -> Result<(), InvalidAttribute> {
    if text.is_empty() {
        return Err(InvalidAttribute::new(name, "a non-empty text"));
    }
    check_text(name, text)
}

/// The URI-reference type (RFC 3986 section 4.1), non-empty.
pub fn check_uri_reference(name: &str, text: &str) -> Result<(), InvalidAttribute> {
    if text.is_empty() || fluent_uri::UriRef::parse(text).is_err() {
        return Err(InvalidAttribute::new(name, "a non-empty URI-reference (RFC 3986)"));
    }
    Ok(())
}

/// The URI type: absolute (RFC 3986 section 4.3 and a fragment).
pub fn check_uri(name: &str, text: &str) -> Result<(), InvalidAttribute> {
    if fluent_uri::Uri::parse(text).is_err() {
        return Err(InvalidAttribute::new(name, "an absolute URI (RFC 3986)"));
    }
    Ok(())
}

/// The Timestamp type (RFC 3339).
pub fn check_timestamp(name: &str, text: &str) -> Result<(), InvalidAttribute> {
    if Timestamp::parse_rfc3339(text).is_none() {
        return Err(InvalidAttribute::new(
            name,
            "a timestamp such as 2018-04-05T17:31:00Z (RFC 3339)",
        ));
    }
    Ok(())
}

/// A media type with optional parameters (RFC 2045 section 5.1).
pub fn check_media_type(name: &str, text: &str) -> Result<(), InvalidAttribute> {
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let mut halves = essence.splitn(2, '/');
    let is_token = |half: Option<&str>| {
        half.is_some_and(|half| !half.is_empty() && half.bytes().all(is_token_byte))
    };
    if is_token(halves.next()) && is_token(halves.next()) {
        return check_text(name, text);
    }
    Err(InvalidAttribute::new(name, "a media type such as application/json (RFC 2045)"))
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_convention() {
        for good in ["a", "traceparent", "x1", "0"] {
            assert!(AttributeName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "bad_name", "with-dash", "data", "id", "data_base64", "\u{e9}"] {
            assert!(AttributeName::parse(bad).is_err(), "{bad}");
        }
        assert!(AttributeName::parse(&"x".repeat(65)).is_err());
    }

    #[test]
    fn text_refuses_what_the_type_system_excludes() {
        for bad in ["a\u{0}", "\u{1f}", "\u{7f}", "\u{9f}", "\u{fdd0}", "\u{1ffff}", "\u{10fffe}"] {
            assert!(check_text("x", bad).is_err(), "{bad:?}");
        }
        for good in ["", "plain", "\u{20ac} \u{1f600}", "\u{a0}"] {
            assert!(check_text("x", good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn uris_are_checked_by_their_grammar() {
        for good in ["/a/b", "a", "https://x.test/a?b#c", "urn:uuid:6e8bc430", "//h/p", "?q"] {
            assert!(check_uri_reference("source", good).is_ok(), "{good}");
        }
        for bad in ["", "not a uri", "http://[::1", "a%zz", "\u{e9}", "<x>"] {
            assert!(check_uri_reference("source", bad).is_err(), "{bad}");
        }
        assert!(check_uri("dataschema", "https://x.test/s.json").is_ok());
        assert!(check_uri("dataschema", "/s.json").is_err());
    }

    #[test]
    fn media_types_have_two_tokens() {
        for good in ["text/plain", "application/json; charset=utf-8", "a/b+json"] {
            assert!(check_media_type("datacontenttype", good).is_ok(), "{good}");
        }
        for bad in ["", "json", "a/", "/b", "a b/c", "a/b/c"] {
            assert!(check_media_type("datacontenttype", bad).is_err(), "{bad}");
        }
    }
}
