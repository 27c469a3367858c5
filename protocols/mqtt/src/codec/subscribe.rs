//! What subscribers send: SUBSCRIBE, UNSUBSCRIBE, and their side of QoS 1 and 2 (MQTT 5.0 sections
//! 3.4 to 3.11). The packets have been checked before.

use super::properties::Reader;
use super::rules::body;
use super::{Ack, Incoming, Qos, Reason, Requested, Subscribe, Version};

/// The identifier of the property Subscription Identifier.
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;

/// Reads the packet if it is one of these.
pub(super) fn read(packet: &[u8], version: Version) -> Option<Result<Incoming, Reason>> {
    let reader = Reader(body(packet));
    match packet[0] >> 4 {
        4 => Some(acknowledgement(Ack::Puback, reader)),
        5 => Some(acknowledgement(Ack::Pubrec, reader)),
        7 => Some(acknowledgement(Ack::Pubcomp, reader)),
        8 => Some(subscribe(reader, version)),
        10 => Some(unsubscribe(reader, version)),
        _ => None,
    }
}

fn acknowledgement(kind: Ack, mut reader: Reader<'_>) -> Result<Incoming, Reason> {
    let packet_id = reader.u16()?;
    // No reason code: success.
    let is_error = reader.0.first().is_some_and(|code| *code >= 0x80);
    Ok(Incoming::Acknowledged { kind, packet_id, is_error })
}

fn subscribe(mut reader: Reader<'_>, version: Version) -> Result<Incoming, Reason> {
    let packet_id = reader.u16()?;
    let identifier = match version {
        Version::V5 => subscription_identifier(&mut reader)?,
        Version::V311 => None,
    };
    let mut filters = Vec::new();
    while !reader.0.is_empty() {
        let filter = reader.string()?.to_owned();
        let options = reader.byte()?;
        let qos = match options & 0x03 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        };
        filters.push(Requested {
            filter,
            qos,
            no_local: options & 0x04 != 0,
            retain_as_published: options & 0x08 != 0,
            retain_handling: options >> 4 & 0x03,
        });
    }
    Ok(Incoming::Subscribe(Box::new(Subscribe { packet_id, identifier, filters })))
}

fn subscription_identifier(reader: &mut Reader<'_>) -> Result<Option<u32>, Reason> {
    let length = reader.variable_byte_integer()?;
    let mut list = Reader(reader.take(length)?);
    let mut found = None;
    while !list.0.is_empty() {
        if list.byte()? == SUBSCRIPTION_IDENTIFIER {
            found = u32::try_from(list.variable_byte_integer()?).ok();
        } else {
            // Nothing else may stand here but user properties.
            list.string()?;
            list.string()?;
        }
    }
    Ok(found)
}

fn unsubscribe(mut reader: Reader<'_>, version: Version) -> Result<Incoming, Reason> {
    let packet_id = reader.u16()?;
    if version == Version::V5 {
        let length = reader.variable_byte_integer()?;
        reader.take(length)?;
    }
    let mut filters = Vec::new();
    while !reader.0.is_empty() {
        filters.push(reader.string()?.to_owned());
    }
    Ok(Incoming::Unsubscribe(packet_id, filters))
}
