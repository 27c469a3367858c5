//! The payload of an event: its bytes exactly as they came, and which JSON member can hold them.

use bytes::Bytes;

/// The payload, byte for byte as the sender wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A JSON text: the `data` member of a JSON event, or a body that is declared as JSON and is.
    /// Numbers, key order and white space are the sender's.
    Json(Bytes),
    /// UTF-8 text: the content of a JSON string whose declared type is not JSON, or a `text/*` body.
    Text(Bytes),
    /// Any other bytes; `data_base64` in a JSON event.
    Binary(Bytes),
}

impl Data {
    /// Takes a body whose media type is `content_type`, as the binary content modes carry it. A
    /// body that is not what its type declares is kept as it is, as bytes.
    #[must_use]
    pub fn from_body(content_type: Option<&str>, body: Bytes) -> Self {
        match content_type {
            Some(media_type) if is_json(media_type) && is_json_text(&body) => Self::Json(body),
            Some(media_type) if is_text(media_type) && std::str::from_utf8(&body).is_ok() => {
                Self::Text(body)
            }
            _ => Self::Binary(body),
        }
    }

    /// The bytes, as every binary content mode sends them.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Json(bytes) | Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }
}

/// Whether `media_type` declares JSON: subtype `json` or suffix `+json` (JSON format, 3.1).
#[must_use]
pub fn is_json(media_type: &str) -> bool {
    let essence = essence(media_type);
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    let ends_with = |suffix: &str| {
        subtype.len() >= suffix.len()
            && subtype.as_bytes()[subtype.len() - suffix.len()..]
                .eq_ignore_ascii_case(suffix.as_bytes())
    };
    subtype.eq_ignore_ascii_case("json") || ends_with("+json")
}

fn is_text(media_type: &str) -> bool {
    let essence = essence(media_type);
    let is_utf8 = |charset: &str| {
        charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("us-ascii")
    };
    let top = essence.split('/').next().unwrap_or_default();
    (top.eq_ignore_ascii_case("text") || essence.to_ascii_lowercase().ends_with("+xml"))
        && charset(media_type).is_none_or(is_utf8)
}

/// The type and subtype without parameters.
#[must_use]
pub fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn charset(media_type: &str) -> Option<&str> {
    media_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })
}

fn is_json_text(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
        && std::str::from_utf8(body).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_it_declares_or_bytes() {
        let of =
            |ty: &str, body: &'static [u8]| Data::from_body(Some(ty), Bytes::from_static(body));
        assert!(matches!(of("application/json", b"{\"a\":1.10}"), Data::Json(_)));
        assert!(matches!(of("Application/Vnd.X+JSON; v=1", b" 1 "), Data::Json(_)));
        assert!(matches!(of("application/json", b"{broken"), Data::Binary(_)));
        assert!(matches!(of("application/json", b"\"\xff\""), Data::Binary(_)));
        assert!(matches!(of("text/plain", b"hi"), Data::Text(_)));
        assert!(matches!(of("text/plain; charset=latin1", b"hi"), Data::Binary(_)));
        assert!(matches!(of("text/plain", b"\xff"), Data::Binary(_)));
        assert!(matches!(of("image/png", b"hi"), Data::Binary(_)));
        assert!(matches!(Data::from_body(None, Bytes::from_static(b"{}")), Data::Binary(_)));
    }
}
