//! Random identifiers.

/// A random UUID (RFC 9562 section 5.4) as text.
#[must_use]
pub fn random_uuid() -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let random: u128 = rand::random();
    // Version 4, variant 10.
    let bits = random & !(0xf << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let mut text = String::with_capacity(36);
    for (index, byte) in bits.to_be_bytes().into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_uuid_has_its_version_and_variant() {
        let (one, other) = (random_uuid(), random_uuid());
        assert_ne!(one, other);
        for text in [one, other] {
            assert_eq!(text.len(), 36, "{text}");
            assert_eq!(text.as_bytes()[14], b'4', "{text}");
            assert!(b"89ab".contains(&text.as_bytes()[19]), "{text}");
            assert!(text.bytes().enumerate().all(|(index, b)| match index {
                8 | 13 | 18 | 23 => b == b'-',
                _ => b.is_ascii_hexdigit(),
            }));
        }
    }
}
