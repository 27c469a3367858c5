//! The rules that both versions of Kyma's body share: patterns, lengths, and how a member is read.

use bytes::Bytes;
use eg_event::{Timestamp, json};
use serde_json::value::RawValue;

use super::answer::Rejection;

/// The longest source and the longest type, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 253;
/// The longest type version, in bytes.
pub(super) const VERSION_BYTES_MAX: usize = 4;

/// What a body says: its text fields, in the order of `names`, and its payload.
pub(super) struct Fields<'a, const N: usize> {
    pub(super) texts: [Option<String>; N],
    pub(super) data: Option<&'a RawValue>,
    /// Members that are none of these.
    pub(super) others: Vec<json::Member<'a>>,
}

/// Reads a body whose text fields are `names`. An empty text counts as none, and so does `null`;
/// the payload counts as none when it is `null` or the empty string.
pub(super) fn fields<'a, const N: usize>(
    body: &'a Bytes,
    names: [&str; N],
) -> Result<Fields<'a, N>, Rejection> {
    let members =
        json::members(body).map_err(|invalid| Rejection::bad_payload(invalid.to_string()))?;
    let mut texts = [const { None }; N];
    let mut data = None;
    let mut others = Vec::new();
    for (name, value) in members {
        if name == "data" {
            data = Some(value).filter(|value| !matches!(value.get(), "null" | "\"\""));
        } else if let Some(at) = names.iter().position(|known| *known == name) {
            texts[at] = text(&name, value)?;
        } else {
            others.push((name, value));
        }
    }
    Ok(Fields { texts, data, others })
}

fn text(name: &str, value: &RawValue) -> Result<Option<String>, Rejection> {
    if value.get() == "null" {
        return Ok(None);
    }
    let text = json::string(value)
        .ok_or_else(|| Rejection::bad_payload(format!("{name}: expected a string")))?;
    Ok(Some(text.into_owned()).filter(|text| !text.is_empty()))
}

/// The field `name`, which is required.
pub(super) fn required<T>(value: Option<T>, name: &str) -> Result<T, Rejection> {
    value.ok_or_else(|| Rejection::missing(name))
}

/// A field that holds at most `max` bytes.
pub(super) fn length(text: &str, name: &str, max: usize) -> Result<(), Rejection> {
    if text.len() > max { Err(Rejection::too_long(name, max)) } else { Ok(()) }
}

/// A field that holds what it should.
pub(super) fn valid(holds: bool, name: &str) -> Result<(), Rejection> {
    if holds { Ok(()) } else { Err(Rejection::invalid(name, "")) }
}

/// Whether `name` can be an application's.
#[must_use]
pub fn is_application(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && is_dotted_name(name)
}

/// Letters, digits and hyphens in parts divided by full stops, each part beginning and ending with
/// a letter or digit: the pattern of sources and types.
pub(super) fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|part| match part.as_bytes() {
        [only] => only.is_ascii_alphanumeric(),
        [first, middle @ .., last] => {
            first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && middle.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        }
        [] => false,
    })
}

/// Letters and digits.
pub(super) fn is_version(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// An RFC 3339 timestamp.
pub(super) fn is_time(text: &str) -> bool {
    Timestamp::parse_rfc3339(text).is_some()
}

/// A UUID (RFC 9562 section 4) of whatever version, in either case.
pub(super) fn is_uuid(text: &str) -> bool {
    const SHAPE: &[u8] = b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    text.len() == SHAPE.len()
        && text.bytes().zip(SHAPE).all(|(found, shape)| match shape {
            b'x' => found.is_ascii_hexdigit(),
            _ => found == b'-',
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_take_what_kyma_takes() {
        for good in ["a", "order.created", "A-1.b", "0.0.0", "a--b"] {
            assert!(is_dotted_name(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "\u{e9}", "a.-b"] {
            assert!(!is_dotted_name(bad), "{bad}");
        }
        for (text, good) in [("v1", true), ("1", true), ("", false), ("v.1", false), ("v-1", false)]
        {
            assert_eq!(is_version(text), good, "{text}");
        }
        assert!(is_uuid("22AE22a4-f5b7-4fa1-ada9-558a10a96f3d"));
        for bad in ["", "22ae22a4f5b74fa1ada9558a10a96f3d", "g2ae22a4-f5b7-4fa1-ada9-558a10a96f3d"]
        {
            assert!(!is_uuid(bad), "{bad}");
        }
    }
}
