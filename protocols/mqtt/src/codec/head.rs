//! Looks at the first packet before the protocol library does, so that a connection on which nobody
//! has been recognized cannot ask for a large buffer.

use super::Reason;

/// What is known of the first packet.
#[derive(Debug)]
pub(super) enum Head {
    /// Its fixed header is not complete.
    Unread {
        /// What has come of it.
        seen: Vec<u8>,
        /// The largest that it may be, in bytes.
        bytes_max: u32,
    },
    /// It is small enough.
    Passed,
}

impl Head {
    pub(super) fn new(bytes_max: u32) -> Self {
        Self::Unread { seen: Vec::new(), bytes_max }
    }

    /// Takes note of bytes as they came; says what is wrong as soon as that shows.
    pub(super) fn check(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        const CONNECT: u8 = 0x10;
        let Self::Unread { seen, bytes_max } = self else { return Ok(()) };
        for byte in bytes {
            seen.push(*byte);
            match &seen[..] {
                [first] if *first != CONNECT => return Err(Reason::ProtocolError),
                [_] => {}
                [_, length @ ..] if byte & 0x80 == 0 => {
                    let low_first = length.iter().zip((0..).step_by(7));
                    let length: u32 =
                        low_first.map(|(b, shift)| u32::from(b & 0x7f) << shift).sum();
                    if length > *bytes_max {
                        return Err(Reason::PacketTooLarge);
                    }
                    *self = Self::Passed;
                    return Ok(());
                }
                [_, _, _, _, _, ..] => return Err(Reason::MalformedPacket),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_packet_is_a_small_connect() {
        let check = |bytes: &[u8]| {
            let mut head = Head::new(300);
            // Byte by byte, as a slow network may bring them.
            bytes.iter().try_for_each(|byte| head.check(&[*byte]))
        };
        assert_eq!(check(&[0x10, 12]), Ok(()));
        assert_eq!(check(&[0x10, 0xac, 0x02]), Ok(()), "300 bytes");
        assert_eq!(check(&[0x10, 0xad, 0x02]), Err(Reason::PacketTooLarge));
        assert_eq!(check(&[0x10, 0xff, 0xff, 0xff, 0x7f]), Err(Reason::PacketTooLarge));
        assert_eq!(check(&[0x10, 0xff, 0xff, 0xff, 0xff]), Err(Reason::MalformedPacket));
        assert_eq!(check(&[0x11, 12]), Err(Reason::ProtocolError));
        assert_eq!(check(&[0x30, 12]), Err(Reason::ProtocolError));
        assert_eq!(check(b"GET / HTTP/1.1"), Err(Reason::ProtocolError));
    }
}
