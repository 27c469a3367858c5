//! Attribute values in HTTP and NATS headers: percent-encoded UTF-8, decoded leniently and encoded
//! strictly (CloudEvents HTTP binding, 3.1.3.2).

use std::borrow::Cow;

/// Why a header value is not an attribute value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    /// The decoded bytes are not UTF-8.
    #[error("percent-encoded UTF-8 text")]
    NotUtf8,
    /// A quoted string does not end.
    #[error("a quoted string that is closed")]
    OpenQuote,
}

/// Reads a header value: a quoted string (RFC 7230 section 3.2.6) is unquoted, then one round of
/// percent-decoding; a `%` that two hex digits do not follow stands for itself.
///
/// ```
/// use eg_event::header::decode;
/// assert_eq!(decode(b"Euro%20%e2%82%ac").unwrap(), "Euro \u{20ac}");
/// assert_eq!(decode(b"\"quo\\\"ted\"").unwrap(), "quo\"ted");
/// assert!(decode(b"%C0%A0").is_err());
/// ```
pub fn decode(value: &[u8]) -> Result<Cow<'_, str>, InvalidHeader> {
    let unquoted = match value {
        [b'"', rest @ ..] => Cow::Owned(unquote(rest)?),
        plain => Cow::Borrowed(plain),
    };
    if !unquoted.contains(&b'%') {
        return match unquoted {
            Cow::Borrowed(bytes) => {
                std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| InvalidHeader::NotUtf8)
            }
            Cow::Owned(bytes) => {
                String::from_utf8(bytes).map(Cow::Owned).map_err(|_| InvalidHeader::NotUtf8)
            }
        };
    }
    let mut decoded = Vec::with_capacity(unquoted.len());
    let mut rest = &*unquoted;
    while let Some((&first, tail)) = rest.split_first() {
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            decoded.push(high << 4 | low);
            rest = after;
        } else {
            decoded.push(first);
            rest = tail;
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| InvalidHeader::NotUtf8)
}

fn unquote(after_quote: &[u8]) -> Result<Vec<u8>, InvalidHeader> {
    let mut text = Vec::with_capacity(after_quote.len());
    let mut bytes = after_quote.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if bytes.len() == 0 => return Ok(text),
            b'\\' => text.push(bytes.next().ok_or(InvalidHeader::OpenQuote)?),
            other => text.push(other),
        }
    }
    Err(InvalidHeader::OpenQuote)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Writes a header value: space, `"`, `%` and everything outside U+0021 to U+007E becomes
/// percent-encoded UTF-8 with upper-case digits.
#[must_use]
pub fn encode(text: &str) -> Cow<'_, str> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let is_plain = |b: u8| (0x21..=0x7e).contains(&b) && b != b'"' && b != b'%';
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    Cow::Owned(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decoding_is_lenient_and_one_round() {
        let rows: [(&[u8], &str); 9] = [
            (b"plain", "plain"),
            (b"a%20b", "a b"),
            (b"%41", "A"),
            (b"%2541", "%41"),
            (b"100%", "100%"),
            (b"5%zz", "5%zz"),
            (b"%", "%"),
            (b"\"a%20b\"", "a b"),
            (b"", ""),
        ];
        for (given, expected) in rows {
            assert_eq!(decode(given).unwrap(), expected, "{given:?}");
        }
        for bad in [&b"\xff"[..], b"%FF", b"\"open", b"\"open\\\"", b"%ed%a0%80"] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn encoding_is_strict() {
        assert_eq!(encode("Euro \u{20ac} \u{1f600}"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(encode("a\"b%c"), "a%22b%25c");
        assert!(matches!(encode("~!@#$&*()"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text in "\\PC*") {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|b| (0x21..=0x7e).contains(&b)));
            prop_assert_eq!(decode(encoded.as_bytes()).unwrap(), text.as_str());
        }
    }
}
