//! Unsigned numbers in as few bytes as they need (LEB128), and the reader that every stored value
//! is taken apart with.

use bytes::Bytes;

/// A stored value does not have the shape that its version promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged: {0}")]
pub struct Damaged(pub &'static str);

/// Writes `value` at the end of `out`: seven bits a byte, lowest first, the high bit on all but
/// the last.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

fn low_byte(value: u64) -> u8 {
    (value & 0x7f) as u8
}

/// Writes a text with its length before it.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Takes a stored value apart from its beginning; never reads past its end.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(value: Bytes) -> Self {
        Self { rest: value }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damaged> {
        Ok(self.bytes(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Damaged> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damaged> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damaged("a number does not end"))
    }

    pub(crate) fn length(&mut self) -> Result<usize, Damaged> {
        usize::try_from(self.varint()?).map_err(|_| Damaged("a length is too large"))
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<Bytes, Damaged> {
        if count > self.rest.len() {
            return Err(Damaged("a value ends too early"));
        }
        Ok(self.rest.split_to(count))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let bytes = self.bytes(N)?;
        bytes[..].try_into().map_err(|_| Damaged("a value ends too early"))
    }

    pub(crate) fn text(&mut self) -> Result<Box<str>, Damaged> {
        let length = self.length()?;
        let bytes = self.bytes(length)?;
        std::str::from_utf8(&bytes).map(Box::from).map_err(|_| Damaged("a text is not UTF-8"))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(self) -> Bytes {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_read_back(value: u64) {
            let mut out = Vec::new();
            put(&mut out, value);
            let mut reader = Reader::new(out.into());
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert!(reader.rest().is_empty());
        }

        #[test]
        fn damaged_values_are_told_not_believed(bytes: Vec<u8>) {
            let mut reader = Reader::new(bytes.into());
            while reader.text().is_ok_and(|text| !text.is_empty()) {}
        }
    }
}
