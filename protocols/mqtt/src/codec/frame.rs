//! Cuts bytes as they come into packets, before anything else looks at them (MQTT 5.0 section 2.1).

use std::borrow::Cow;

use super::Reason;

const CONNECT: u8 = 0x10;
/// Capacity up to which the buffer for a packet in parts is kept, in bytes.
const KEPT_BYTES_MAX: usize = 1024;

/// What has come of a packet that is not complete.
#[derive(Debug)]
pub(super) struct Frames {
    begun: Vec<u8>,
    /// The first packet is through.
    connected: bool,
    /// Somebody has been recognized.
    admitted: bool,
    connect_bytes_max: usize,
    packet_bytes_max: usize,
}

impl Frames {
    /// No packet may be larger than `packet_bytes_max`, and before somebody has been recognized
    /// none larger than `connect_bytes_max`; the first has to be a CONNECT.
    pub(super) fn new(packet_bytes_max: u32, connect_bytes_max: u32) -> Self {
        let size = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            begun: Vec::new(),
            connected: false,
            admitted: false,
            connect_bytes_max: size(connect_bytes_max),
            packet_bytes_max: size(packet_bytes_max),
        }
    }

    /// From here on packets may be as large as packets may be.
    pub(super) fn admit(&mut self) {
        self.admitted = true;
    }

    /// The next packet of `bytes`, which is left with what follows it; none when its end has not
    /// come. What is wrong with a fixed header is said as soon as that shows.
    pub(super) fn next<'a>(
        &mut self,
        bytes: &mut &'a [u8],
    ) -> Result<Option<Cow<'a, [u8]>>, Reason> {
        if self.begun.is_empty() {
            let Some(length) = self.length(bytes)?.filter(|length| *length <= bytes.len()) else {
                self.begun.extend_from_slice(bytes);
                *bytes = &[];
                return Ok(None);
            };
            let (packet, rest) = bytes.split_at(length);
            *bytes = rest;
            self.connected = true;
            return Ok(Some(Cow::Borrowed(packet)));
        }
        loop {
            let wanted = match self.length(&self.begun)? {
                Some(length) if length == self.begun.len() => break,
                Some(length) => length - self.begun.len(),
                None => 1,
            };
            if bytes.is_empty() {
                return Ok(None);
            }
            let (more, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.begun.extend_from_slice(more);
            *bytes = rest;
        }
        self.connected = true;
        let keep = self.begun.capacity() <= KEPT_BYTES_MAX;
        let empty = Vec::with_capacity(if keep { self.begun.capacity() } else { 0 });
        Ok(Some(Cow::Owned(std::mem::replace(&mut self.begun, empty))))
    }

    /// How long the packet is that begins like this; none while that cannot be said.
    fn length(&self, begun: &[u8]) -> Result<Option<usize>, Reason> {
        let Some((first, rest)) = begun.split_first() else { return Ok(None) };
        if !self.connected && *first != CONNECT {
            return Err(Reason::ProtocolError);
        }
        let mut remaining = 0;
        for (at, byte) in rest.iter().take(4).enumerate() {
            remaining |= usize::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                let limit =
                    if self.admitted { self.packet_bytes_max } else { self.connect_bytes_max };
                let length = 2 + at + remaining;
                return if length > limit { Err(Reason::PacketTooLarge) } else { Ok(Some(length)) };
            }
        }
        if rest.len() >= 4 { Err(Reason::MalformedPacket) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_packet_is_a_small_connect() {
        let check = |bytes: &[u8]| {
            let mut frames = Frames::new(1000, 303);
            // Byte by byte, as a slow network may bring them.
            bytes.iter().try_for_each(|byte| frames.next(&mut &[*byte][..]).map(drop))
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

    #[test]
    fn packets_are_the_same_however_the_bytes_come() {
        let mut stream = vec![0x10, 3, 1, 2, 3, 0xc0, 0, 0x30, 0xac, 0x02];
        stream.extend([7; 300]);
        stream.extend([0xc0, 0]);
        for size in 1..stream.len() {
            let mut frames = Frames::new(1000, 100);
            frames.admit();
            let mut lengths = Vec::new();
            for mut bytes in stream.chunks(size) {
                while let Some(packet) = frames.next(&mut bytes).unwrap() {
                    lengths.push(packet.len());
                }
            }
            assert_eq!(lengths, [5, 2, 303, 2], "{size} at once");
        }
    }
}
