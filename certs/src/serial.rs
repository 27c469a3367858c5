//! Serial numbers: random, so that none is ever used twice and none can be guessed.

use std::fmt;

use aws_lc_rs::error::Unspecified;
use rcgen::SerialNumber;
use serde::{Deserialize, Serialize};

/// How long a random serial number is, in bytes: RFC 5280 section 4.1.2.2 allows 20.
const BYTES: usize = 16;
/// How long any serial number may be, in hexadecimal digits.
const DIGITS_MAX: usize = 40;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A certificate's serial number, in lower-case hexadecimal digits without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Serial(String);

impl Serial {
    /// A new one. Its first digit is one from 4 to 7: positive, and of the same length always.
    pub fn random() -> Result<Self, Unspecified> {
        let mut bytes = [0; BYTES];
        aws_lc_rs::rand::fill(&mut bytes)?;
        bytes[0] = bytes[0] & 0x3f | 0x40;
        Ok(Self::from_bytes(&bytes))
    }

    /// Reads one as people write it: any case, with or without colons and leading zeros.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        let digits = digits.trim_start_matches('0').to_ascii_lowercase();
        let is_serial = !digits.is_empty()
            && digits.len() <= DIGITS_MAX
            && digits.bytes().all(|b| b.is_ascii_hexdigit());
        is_serial.then_some(Self(digits))
    }

    /// The number in big-endian bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut digits = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            digits.extend([byte >> 4, byte & 15].map(|d| char::from(DIGITS[usize::from(d)])));
        }
        Self(digits.trim_start_matches('0').to_owned())
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let digit =
            |b: &u8| DIGITS.iter().zip(0..).find(|(known, _)| *known == b).map_or(0, |(_, d)| d);
        let pairs = self.0.as_bytes().rchunks(2).rev();
        pairs.map(|pair| pair.iter().fold(0, |byte, b| byte << 4 | digit(b))).collect()
    }

    pub(crate) fn to_rcgen(&self) -> SerialNumber {
        SerialNumber::from_slice(&self.bytes())
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_positive_of_one_length_and_never_the_same() {
        let serials: std::collections::BTreeSet<_> =
            (0..1000).map(|_| Serial::random().unwrap()).collect();
        assert_eq!(serials.len(), 1000);
        for serial in serials {
            assert_eq!(serial.as_str().len(), 2 * BYTES);
            assert!(matches!(serial.as_str().as_bytes()[0], b'4'..=b'7'));
            assert_eq!(Serial::from_bytes(&serial.bytes()), serial);
        }
    }

    #[test]
    fn a_serial_number_is_read_as_people_write_it() {
        for text in ["0a:BC", "abc", "0ABC", "000abc"] {
            assert_eq!(Serial::parse(text).unwrap().as_str(), "abc", "{text}");
        }
        for text in ["", "0", "xyz", "12 34", &"1".repeat(41)] {
            assert_eq!(Serial::parse(text), None, "{text}");
        }
    }
}
