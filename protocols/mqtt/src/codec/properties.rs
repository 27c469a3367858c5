//! The properties of a packet as bytes: which may stand where, how often, and with what values
//! (MQTT 5.0 section 2.2.2).

use super::Reason;

/// What is wrong with a packet, if anything.
pub(super) type Wrong = Result<(), Reason>;

/// Bytes that are read from their beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Reason::MalformedPacket)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Reason> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn binary(&mut self) -> Result<&'a [u8], Reason> {
        let length = self.take(2)?;
        self.take(usize::from(u16::from_be_bytes([length[0], length[1]])))
    }

    /// Section 1.5.4.
    pub(super) fn string(&mut self) -> Result<&'a str, Reason> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| Reason::MalformedPacket)?;
        if text.contains('\0') { Err(Reason::MalformedPacket) } else { Ok(text) }
    }

    pub(super) fn u16(&mut self) -> Result<u16, Reason> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Section 1.5.5.
    pub(super) fn variable_byte_integer(&mut self) -> Result<usize, Reason> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Reason::MalformedPacket)
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Wrong {
        if self.0.is_empty() { Ok(()) } else { Err(Reason::MalformedPacket) }
    }
}

const USER_PROPERTY: u8 = 0x26;
const AUTHENTICATION_METHOD: u8 = 0x15;
const AUTHENTICATION_DATA: u8 = 0x16;
const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
const TOPIC_ALIAS: u8 = 0x23;

/// Which properties a client may send with what, by their identifiers (section 2.2.2.2).
pub(super) const CONNECT: &[u8] = &[
    0x11,
    AUTHENTICATION_METHOD,
    AUTHENTICATION_DATA,
    0x17,
    0x19,
    0x21,
    TOPIC_ALIAS_MAXIMUM,
    USER_PROPERTY,
    0x27,
];
pub(super) const WILL: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, USER_PROPERTY];
pub(super) const PUBLISH: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, TOPIC_ALIAS, USER_PROPERTY];
pub(super) const ACKNOWLEDGEMENT: &[u8] = &[0x1f, USER_PROPERTY];
pub(super) const SUBSCRIBE: &[u8] = &[0x0b, USER_PROPERTY];
pub(super) const UNSUBSCRIBE: &[u8] = &[USER_PROPERTY];
pub(super) const DISCONNECT: &[u8] = &[0x11, 0x1c, 0x1f, USER_PROPERTY];
pub(super) const AUTH: &[u8] = &[AUTHENTICATION_METHOD, AUTHENTICATION_DATA, 0x1f, USER_PROPERTY];

/// What was seen among the properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) topic_alias: bool,
    pub(super) authentication_method: bool,
    /// How many bytes of the packet are left where it says that its sender takes no topic alias.
    pub(super) no_alias_left: Option<usize>,
}

/// Reads properties, of which only those `allowed` may occur.
pub(super) fn check(reader: &mut Reader<'_>, allowed: &[u8]) -> Result<Found, Reason> {
    let length = reader.variable_byte_integer()?;
    let mut list = Reader(reader.take(length)?);
    // One bit for each identifier; the largest is 0x2a.
    let (mut seen, mut no_alias_left) = (0_u64, None);
    while !list.0.is_empty() {
        let identifier = list.byte()?;
        if !allowed.contains(&identifier) {
            return Err(Reason::MalformedPacket);
        }
        let bit = 1 << identifier;
        if seen & bit != 0 && identifier != USER_PROPERTY {
            return Err(Reason::ProtocolError);
        }
        seen |= bit;
        if identifier == TOPIC_ALIAS_MAXIMUM && list.0.starts_with(&[0, 0]) {
            no_alias_left = Some(list.0.len() + reader.0.len());
        }
        value(&mut list, identifier)?;
    }
    let has = |identifier: u8| seen & (1 << identifier) != 0;
    let authentication_method = has(AUTHENTICATION_METHOD);
    if has(AUTHENTICATION_DATA) && !authentication_method {
        return Err(Reason::ProtocolError);
    }
    Ok(Found { topic_alias: has(TOPIC_ALIAS), authentication_method, no_alias_left })
}

/// Reads the value of a property.
fn value(list: &mut Reader<'_>, identifier: u8) -> Wrong {
    let good = match identifier {
        // Payload format indicator, request problem and response information.
        0x01 | 0x17 | 0x19 => list.byte()? <= 1,
        // Receive maximum, maximum packet size, subscription identifier.
        0x21 => list.take(2)? != [0; 2],
        0x27 => list.take(4)? != [0; 4],
        0x0b => list.variable_byte_integer()? != 0,
        TOPIC_ALIAS if list.take(2)? == [0; 2] => return Err(Reason::TopicAliasInvalid),
        TOPIC_ALIAS => true,
        // Message and session expiry, will delay.
        0x02 | 0x11 | 0x18 => list.take(4).map(|_| true)?,
        TOPIC_ALIAS_MAXIMUM => list.take(2).map(|_| true)?,
        0x09 | AUTHENTICATION_DATA => list.binary().map(|_| true)?,
        // The response topic is the name of a topic.
        0x08 => !list.string()?.contains(['+', '#']),
        USER_PROPERTY => list.string().and_then(|_| list.string()).map(|_| true)?,
        _ => list.string().map(|_| true)?,
    };
    if good { Ok(()) } else { Err(Reason::ProtocolError) }
}
