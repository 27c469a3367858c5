//! Names and values as queries and forms write them (RFC 3986, WHATWG URL section 5).

/// Pairs, each percent-encoded, joined by `&`.
pub(super) fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        push(name, &mut text);
        text.push('=');
        push(value, &mut text);
    }
    text
}

/// One text, percent-encoded but for what is unreserved.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    push(text, &mut encoded);
    encoded
}

fn push(text: &str, to: &mut String) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(byte.into());
        } else {
            let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
            to.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_a_query_is_encoded() {
        let pairs = [("a b", "1&2=3"), ("k", ""), ("\u{e9}", "+%/?#~._-")];
        assert_eq!(encode(pairs), "a%20b=1%262%3D3&k=&%C3%A9=%2B%25%2F%3F%23~._-");
        assert_eq!(encode([]), "");
    }
}
