//! What the standards demand of a client's packets and the protocol library leaves open.

use super::properties::{self, Reader, Wrong};
use super::{Reason, Version};

/// A CONNECT that is no packet of a version that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadConnect {
    /// It does not speak MQTT, or says nothing that an answer could be written for.
    Unknown,
    /// It speaks another version, older or newer than those known here.
    Older,
    /// The same, newer.
    Newer,
    /// It breaks a rule of its version.
    Wrong(Version, Reason),
}

/// A CONNECT that keeps the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GoodConnect {
    pub(super) version: Version,
    /// Where the password stands if there is no user name, which 5.0 allows.
    pub(super) lone_password_at: Option<usize>,
    /// Where it says that the client takes no topic alias, if it does.
    pub(super) no_alias_at: Option<usize>,
}

/// The body of a packet, behind its fixed header.
pub(super) fn body(packet: &[u8]) -> &[u8] {
    let length_bytes = packet[1..].iter().position(|byte| byte & 0x80 == 0).map_or(0, |at| at + 1);
    &packet[1 + length_bytes..]
}

/// Checks the body of CONNECT (MQTT 5.0 section 3.1, 3.1.1 section 3.1).
pub(super) fn connect(body: &[u8]) -> Result<GoodConnect, BadConnect> {
    let mut reader = Reader(body);
    let name = reader.binary().map_err(|_| BadConnect::Unknown)?;
    let level = reader.byte().map_err(|_| BadConnect::Unknown)?;
    let version = match (name, level) {
        (b"MQTT", 4) => Version::V311,
        (b"MQTT", 5) => Version::V5,
        (b"MQTT", 6..0x80) => return Err(BadConnect::Newer),
        (b"MQTT" | b"MQIsdp", _) => return Err(BadConnect::Older),
        _ => return Err(BadConnect::Unknown),
    };
    let left = connect_fields(&mut reader, version);
    let left = left.map_err(|reason| BadConnect::Wrong(version, reason))?;
    let [lone_password_at, no_alias_at] = left.map(|left| left.map(|left| body.len() - left));
    Ok(GoodConnect { version, lone_password_at, no_alias_at })
}

/// Makes a CONNECT say that one topic alias is taken where it says none: the library does not
/// survive that.
pub(super) fn say_one_alias(packet: &mut [u8], no_alias_at: usize) {
    let body_at = packet.len() - body(packet).len();
    if let Some(low) = packet.get_mut(body_at + no_alias_at + 1) {
        *low = 1;
    }
}

/// The same CONNECT with an empty user name before its password, without which the library takes
/// no password.
pub(super) fn with_user_name(packet: &[u8], password_at: usize) -> Vec<u8> {
    /// The flags, behind the protocol's name and level.
    const FLAGS_AT: usize = 7;
    let (before, password) = body(packet).split_at(password_at);
    let mut length = before.len() + 2 + password.len();
    let mut with = vec![packet[0]];
    while length > 0x7f {
        with.push(0x80 | u8::try_from(length & 0x7f).unwrap_or(0));
        length >>= 7;
    }
    with.push(u8::try_from(length).unwrap_or(0));
    let flags_at = with.len() + FLAGS_AT;
    with.extend_from_slice(before);
    with.extend_from_slice(&[0, 0]);
    with.extend_from_slice(password);
    with[flags_at] |= 0x80;
    with
}

/// What follows the level. Says how many bytes are left where a password without a user name
/// stands, and where no topic alias is taken.
fn connect_fields(reader: &mut Reader<'_>, version: Version) -> Result<[Option<usize>; 2], Reason> {
    let flags = reader.byte()?;
    let has = |bit: u8| flags & bit != 0;
    let (will, will_qos) = (has(0x04), flags >> 3 & 3);
    let (user_name, password) = (has(0x80), has(0x40));
    let stray_will = !will && (will_qos != 0 || has(0x20));
    let stray_password = version == Version::V311 && password && !user_name;
    if has(0x01) || will_qos == 3 || stray_will || stray_password {
        return Err(Reason::MalformedPacket);
    }
    reader.take(2)?;
    let mut no_alias = None;
    if version == Version::V5 {
        no_alias = properties::check(reader, properties::CONNECT)?.no_alias_left;
    }
    reader.string()?;
    if will {
        if version == Version::V5 {
            properties::check(reader, properties::WILL)?;
        }
        let topic = reader.string()?;
        if topic.is_empty() {
            return Err(Reason::ProtocolError);
        }
        if topic.contains(['+', '#']) {
            return Err(Reason::TopicNameInvalid);
        }
        reader.binary()?;
    }
    if user_name {
        reader.string()?;
    }
    let lone_password = (password && !user_name).then_some(reader.0.len());
    if password {
        reader.binary()?;
    }
    reader.end()?;
    Ok([lone_password, no_alias])
}

/// Checks any packet behind CONNECT.
pub(super) fn check(packet: &[u8], version: Version) -> Wrong {
    let (kind, flags) = (packet[0] >> 4, packet[0] & 0x0f);
    let mut reader = Reader(body(packet));
    if kind == 3 {
        return publish(&mut reader, flags, version);
    }
    // MQTT 5.0 section 2.1.3.
    let flags_wanted = if matches!(kind, 6 | 8 | 10) { 0b0010 } else { 0 };
    if kind == 0 || flags != flags_wanted {
        return Err(Reason::MalformedPacket);
    }
    match kind {
        4..=7 => acknowledgement(&mut reader, version),
        8 => subscribe(&mut reader, version),
        10 => unsubscribe(&mut reader, version),
        12 => reader.end(),
        14 if version == Version::V5 && reader.0.len() > 1 => {
            reader.byte()?;
            properties::check(&mut reader, properties::DISCONNECT)?;
            reader.end()
        }
        14 if version == Version::V311 => reader.end(),
        15 if version == Version::V5 => auth(&mut reader),
        _ => Ok(()),
    }
}

fn publish(reader: &mut Reader<'_>, flags: u8, version: Version) -> Wrong {
    let (qos, again) = (flags >> 1 & 3, flags & 0b1000 != 0);
    if qos == 3 || (qos == 0 && again) {
        return Err(Reason::MalformedPacket);
    }
    let topic = reader.binary()?;
    if qos > 0 {
        packet_identifier(reader)?;
    }
    if version == Version::V311 {
        return Ok(());
    }
    let found = properties::check(reader, properties::PUBLISH)?;
    // A name is missing where there is no alias that could stand for it (section 3.3.4).
    if topic.is_empty() && !found.topic_alias { Err(Reason::ProtocolError) } else { Ok(()) }
}

fn acknowledgement(reader: &mut Reader<'_>, version: Version) -> Wrong {
    packet_identifier(reader)?;
    if version == Version::V311 || reader.0.is_empty() {
        return reader.end();
    }
    reader.byte()?;
    if !reader.0.is_empty() {
        properties::check(reader, properties::ACKNOWLEDGEMENT)?;
    }
    reader.end()
}

/// That authentication has succeeded is the server's to say, and a client always names its method
/// (MQTT 5.0 sections 3.15.2.1, 3.15.2.2.2).
fn auth(reader: &mut Reader<'_>) -> Wrong {
    let code = if reader.0.is_empty() { 0 } else { reader.byte()? };
    match code {
        0 => return Err(Reason::ProtocolError),
        0x18 | 0x19 => {}
        _ => return Err(Reason::MalformedPacket),
    }
    let found = properties::check(reader, properties::AUTH)?;
    reader.end()?;
    if found.authentication_method { Ok(()) } else { Err(Reason::ProtocolError) }
}

fn subscribe(reader: &mut Reader<'_>, version: Version) -> Wrong {
    packet_identifier(reader)?;
    if version == Version::V5 {
        properties::check(reader, properties::SUBSCRIBE)?;
    }
    loop {
        let filter = filter(reader)?;
        let options = reader.byte()?;
        let reserved = if version == Version::V5 { 0xc0 } else { 0xfc };
        if options & reserved != 0 {
            return Err(Reason::MalformedPacket);
        }
        // MQTT 5.0 section 3.8.3.1: QoS 3, retain handling 3, no local where it cannot be.
        let shared_no_local = filter.starts_with("$share/") && options & 0x04 != 0;
        if options & 0x03 == 0x03 || options & 0x30 == 0x30 || shared_no_local {
            return Err(Reason::ProtocolError);
        }
        if reader.0.is_empty() {
            return Ok(());
        }
    }
}

fn unsubscribe(reader: &mut Reader<'_>, version: Version) -> Wrong {
    packet_identifier(reader)?;
    if version == Version::V5 {
        properties::check(reader, properties::UNSUBSCRIBE)?;
    }
    loop {
        filter(reader)?;
        if reader.0.is_empty() {
            return Ok(());
        }
    }
}

/// A topic filter, of which there is at least one, and which is at least one character long (MQTT
/// 5.0 sections 3.8.3, 3.10.3, 4.7.3).
fn filter<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Reason> {
    if reader.0.is_empty() {
        return Err(Reason::ProtocolError);
    }
    let filter = reader.string()?;
    if filter.is_empty() { Err(Reason::ProtocolError) } else { Ok(filter) }
}

/// MQTT 5.0 section 2.2.1.
fn packet_identifier(reader: &mut Reader<'_>) -> Wrong {
    if reader.take(2)? == [0, 0] { Err(Reason::ProtocolError) } else { Ok(()) }
}
