//! One stored event as bytes: written once on the way in, read on the way out with the payload as
//! a slice of what was read.
//!
//! The layout is in `DESIGN.md`, chapter "Record".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use eg_event::event::Attributes;
use eg_event::principal::Method;
use eg_event::submission::Sender;
use eg_event::{
    AttributeName, AttributeValue, Binding, CloudEvent, Data, Hold, Message, Origin, Protocol,
    Sequence, StoredEvent, Timestamp, TraceContext,
};

use crate::varint::{Damaged, Reader, put, put_text};

const SUBJECT: u16 = 1;
const TIME: u16 = 1 << 1;
const CONTENT_TYPE: u16 = 1 << 2;
const DATA_SCHEMA: u16 = 1 << 3;
const CLIENT_ID: u16 = 1 << 4;
const REMOTE_V4: u16 = 1 << 5;
const REMOTE_V6: u16 = 1 << 6;
const TRACE: u16 = 1 << 7;
const EXTENSIONS: u16 = 1 << 8;
const DATA_SHIFT: u16 = 9;
const DATA_MASK: u16 = 0b11;
const HELD: u16 = 1 << 11;
const APPLICATION: u16 = 1 << 12;
const MESSAGE: u16 = 1 << 13;

const MESSAGE_RETAIN: u8 = 1 << 2;
const MESSAGE_EXPIRY: u8 = 1 << 3;
const MESSAGE_PROPERTIES: u8 = 1 << 4;
const MESSAGE_ENVELOPE: u8 = 1 << 5;

/// The parts of an event that a record holds; its place in the journal is the block's to know.
pub(crate) struct Parts<'a> {
    pub(crate) received_at: Timestamp,
    pub(crate) event: &'a CloudEvent,
    pub(crate) sender: &'a Sender,
    pub(crate) origin: &'a Origin,
    pub(crate) trace: &'a TraceContext,
    pub(crate) held: Option<&'a Hold>,
    pub(crate) message: Option<&'a Message>,
}

/// Which event a record is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: Box<str>,
    pub(crate) source: Box<str>,
    /// It is in quarantine: the event that is delivered is another one, mended.
    pub(crate) held: bool,
}

impl<'a> Parts<'a> {
    /// The parts of an event that was stored before.
    pub(crate) fn of(stored: &'a StoredEvent) -> Self {
        let StoredEvent { received_at, event, sender, origin, trace, held, message, .. } = stored;
        let (held, message) = (held.as_deref(), message.as_deref());
        Self { received_at: *received_at, event, sender, origin, trace, held, message }
    }
}

/// Writes a record at the end of `out`.
pub(crate) fn encode(parts: &Parts<'_>, out: &mut Vec<u8>) {
    let Parts { event, origin, .. } = parts;
    let own = event.attributes();
    out.extend_from_slice(&parts.received_at.as_micros().to_le_bytes());
    out.extend_from_slice(&flags(parts).to_le_bytes());
    out.push(protocol_code(origin.protocol));
    out.push(binding_code(origin.binding));
    out.push(method_code(parts.sender.method));
    for text in [&own.id, &own.source, &own.ty] {
        put_text(out, text);
    }
    let optional = [&own.subject, &own.time, &own.datacontenttype, &own.dataschema];
    for text in optional.into_iter().flatten() {
        put_text(out, text);
    }
    put_text(out, &parts.sender.name);
    put_text(out, &origin.address);
    if let Some(client_id) = &origin.client_id {
        put_text(out, client_id);
    }
    if let Some(remote) = origin.remote {
        match remote.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
        out.extend_from_slice(&remote.port().to_le_bytes());
    }
    if !parts.trace.is_empty() {
        put(out, parts.trace.iter().count() as u64);
        for (name, value) in parts.trace.iter() {
            put_text(out, name);
            put_text(out, value);
        }
    }
    encode_extensions(event.extensions(), out);
    if let Some(Hold { application, definition, reason }) = parts.held {
        for text in [application, definition, reason] {
            put_text(out, text);
        }
    }
    if let Some(application) = &parts.sender.application {
        put_text(out, application);
    }
    if let Some(message) = parts.message {
        encode_message(message, out);
    }
    if let Some(data) = event.data() {
        out.extend_from_slice(data.bytes());
    }
}

fn encode_message(message: &Message, out: &mut Vec<u8>) {
    let present = [
        (MESSAGE_RETAIN, message.retain),
        (MESSAGE_EXPIRY, message.expiry_s.is_some()),
        (MESSAGE_PROPERTIES, !message.properties.is_empty()),
        (MESSAGE_ENVELOPE, message.envelope.is_some()),
    ];
    let flags =
        present.iter().filter(|(_, is)| *is).fold(message.qos & 3, |all, (bit, _)| all | bit);
    out.push(flags);
    if let Some(expiry_s) = message.expiry_s {
        put(out, expiry_s.into());
    }
    let (before, behind) =
        message.envelope.as_ref().map(|(before, behind)| (before, behind)).unzip();
    let properties = Some(&message.properties).filter(|properties| !properties.is_empty());
    for bytes in [properties, before, behind].into_iter().flatten() {
        put(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

fn decode_message(reader: &mut Reader) -> Result<Box<Message>, Damaged> {
    let flags = reader.u8()?;
    let has = |bit: u8| flags & bit != 0;
    let expiry_s = has(MESSAGE_EXPIRY).then(|| reader.varint()).transpose()?;
    let expiry_s = expiry_s.map(u32::try_from).transpose().map_err(|_| Damaged("an expiry"))?;
    let mut bytes = || {
        let length = usize::try_from(reader.varint()?).map_err(|_| Damaged("a length"))?;
        reader.bytes(length)
    };
    let properties = if has(MESSAGE_PROPERTIES) { bytes()? } else { Bytes::new() };
    let envelope = has(MESSAGE_ENVELOPE).then(|| Ok((bytes()?, bytes()?))).transpose()?;
    let (qos, retain) = (flags & 3, has(MESSAGE_RETAIN));
    Ok(Box::new(Message { qos, retain, expiry_s, properties, envelope }))
}

fn encode_extensions(extensions: &[(AttributeName, AttributeValue)], out: &mut Vec<u8>) {
    if extensions.is_empty() {
        return;
    }
    put(out, extensions.len() as u64);
    for (name, value) in extensions {
        put_text(out, name.as_str());
        match value {
            AttributeValue::Boolean(value) => out.extend_from_slice(&[0, u8::from(*value)]),
            AttributeValue::Integer(value) => {
                out.push(1);
                out.extend_from_slice(&value.to_le_bytes());
            }
            AttributeValue::String(text) => {
                out.push(2);
                put_text(out, text);
            }
        }
    }
}

fn flags(parts: &Parts<'_>) -> u16 {
    let own = parts.event.attributes();
    let present = [
        (SUBJECT, own.subject.is_some()),
        (TIME, own.time.is_some()),
        (CONTENT_TYPE, own.datacontenttype.is_some()),
        (DATA_SCHEMA, own.dataschema.is_some()),
        (CLIENT_ID, parts.origin.client_id.is_some()),
        (REMOTE_V4, parts.origin.remote.is_some_and(|remote| remote.is_ipv4())),
        (REMOTE_V6, parts.origin.remote.is_some_and(|remote| remote.is_ipv6())),
        (TRACE, !parts.trace.is_empty()),
        (EXTENSIONS, !own.extensions.is_empty()),
        (HELD, parts.held.is_some()),
        (APPLICATION, parts.sender.application.is_some()),
        (MESSAGE, parts.message.is_some()),
    ];
    let data = match parts.event.data() {
        None => 0,
        Some(Data::Json(_)) => 1,
        Some(Data::Text(_)) => 2,
        Some(Data::Binary(_)) => 3,
    };
    present.iter().filter(|(_, is)| *is).fold(data << DATA_SHIFT, |flags, (bit, _)| flags | bit)
}

/// The bytes of all texts of an event and of its payload: about the size of its record.
pub(crate) fn content_bytes(stored: &StoredEvent) -> usize {
    let StoredEvent { event, sender, origin, trace, held, message, .. } = stored;
    let own = event.attributes();
    let optional = [&own.subject, &own.time, &own.datacontenttype, &own.dataschema];
    let extension = |(name, value): &(AttributeName, AttributeValue)| {
        name.as_str().len()
            + match value {
                AttributeValue::Boolean(_) => 1,
                AttributeValue::Integer(_) => 4,
                AttributeValue::String(text) => text.len(),
            }
    };
    own.id.len()
        + own.source.len()
        + own.ty.len()
        + optional.into_iter().flatten().map(|text| text.len()).sum::<usize>()
        + event.extensions().iter().map(extension).sum::<usize>()
        + sender.name.len()
        + sender.application.as_ref().map_or(0, |application| application.len())
        + origin.address.len()
        + origin.client_id.as_ref().map_or(0, |client_id| client_id.len())
        + trace.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
        + held
            .as_ref()
            .map_or(0, |hold| hold.application.len() + hold.definition.len() + hold.reason.len())
        + message.as_ref().map_or(0, |message| {
            let (before, behind) =
                message.envelope.as_ref().map(|(before, behind)| (before, behind)).unzip();
            let parts = [Some(&message.properties), before, behind];
            parts.into_iter().flatten().map(Bytes::len).sum()
        })
        + event.data().map_or(0, Data::len)
}

/// Reads the record of the event at `sequence`.
pub(crate) fn decode(sequence: Sequence, record: Bytes) -> Result<StoredEvent, Damaged> {
    let mut reader = Reader::new(record);
    let received_at = Timestamp::from_micros(reader.u64()?);
    let flags = reader.u16()?;
    let has = |bit: u16| flags & bit != 0;
    let protocol = protocol_of(reader.u8()?)?;
    let binding = binding_of(reader.u8()?)?;
    let method = method_of(reader.u8()?)?;
    let (id, source, ty) = (reader.text()?, reader.text()?, reader.text()?);
    let mut optional = |bit| has(bit).then(|| reader.text()).transpose();
    let subject = optional(SUBJECT)?;
    let time = optional(TIME)?;
    let datacontenttype = optional(CONTENT_TYPE)?;
    let dataschema = optional(DATA_SCHEMA)?;
    let name = Arc::from(reader.text()?);
    let address = reader.text()?;
    let client_id = has(CLIENT_ID).then(|| reader.text().map(Arc::from)).transpose()?;
    let remote = decode_remote(&mut reader, has(REMOTE_V4), has(REMOTE_V6))?;
    let trace = if has(TRACE) { decode_trace(&mut reader)? } else { TraceContext::default() };
    let extensions = if has(EXTENSIONS) { decode_extensions(&mut reader)? } else { Vec::new() };
    let held = has(HELD).then(|| decode_hold(&mut reader)).transpose()?;
    let application = has(APPLICATION).then(|| reader.text().map(Arc::from)).transpose()?;
    let message = has(MESSAGE).then(|| decode_message(&mut reader)).transpose()?;
    let data = match flags >> DATA_SHIFT & DATA_MASK {
        1 => Some(Data::Json(reader.rest())),
        2 => Some(Data::Text(reader.rest())),
        3 => Some(Data::Binary(reader.rest())),
        _ => None,
    };
    let attributes =
        Attributes { id, source, ty, subject, time, datacontenttype, dataschema, extensions };
    Ok(StoredEvent {
        sequence,
        received_at,
        event: CloudEvent::from_checked(attributes, data),
        sender: Sender { name, method, application },
        origin: Origin { protocol, binding, remote, address, client_id },
        trace,
        held,
        message,
    })
}

/// Reads no more of a record than which event it is of.
pub(crate) fn decode_identity(record: Bytes) -> Result<Identity, Damaged> {
    let mut reader = Reader::new(record);
    reader.bytes(8)?;
    let held = reader.u16()? & HELD != 0;
    reader.bytes(3)?;
    Ok(Identity { id: reader.text()?, source: reader.text()?, held })
}

/// Reads no more of a record than when it was received.
pub(crate) fn decode_received_at(record: Bytes) -> Result<Timestamp, Damaged> {
    Reader::new(record).u64().map(Timestamp::from_micros)
}

fn decode_hold(reader: &mut Reader) -> Result<Box<Hold>, Damaged> {
    let (application, definition) = (reader.text()?, reader.text()?);
    Ok(Box::new(Hold { application, definition, reason: reader.text()? }))
}

fn decode_remote(reader: &mut Reader, v4: bool, v6: bool) -> Result<Option<SocketAddr>, Damaged> {
    let ip = if v4 {
        IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?))
    } else if v6 {
        IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?))
    } else {
        return Ok(None);
    };
    Ok(Some(SocketAddr::new(ip, reader.u16()?)))
}

fn decode_trace(reader: &mut Reader) -> Result<TraceContext, Damaged> {
    let mut trace = TraceContext::default();
    for _ in 0..reader.varint()? {
        let (name, value) = (reader.text()?, reader.text()?);
        trace.add(&name, &value);
    }
    Ok(trace)
}

fn decode_extensions(reader: &mut Reader) -> Result<Vec<(AttributeName, AttributeValue)>, Damaged> {
    let mut extensions = Vec::new();
    for _ in 0..reader.varint()? {
        let name = AttributeName::parse(&reader.text()?)
            .map_err(|_| Damaged("an attribute name breaks the naming rule"))?;
        let value = match reader.u8()? {
            0 => AttributeValue::Boolean(reader.u8()? != 0),
            1 => AttributeValue::Integer(i32::from_le_bytes(reader.array()?)),
            2 => AttributeValue::String(reader.text()?),
            _ => return Err(Damaged("an attribute has an unknown type")),
        };
        extensions.push((name, value));
    }
    Ok(extensions)
}

/// What a code on disk stands for, and back: one list for both directions.
macro_rules! codes {
    ($to:ident, $of:ident, $type:ty, $unknown:literal, { $($variant:ident = $code:literal),+ $(,)? }) => {
        fn $to(value: $type) -> u8 {
            match value {
                $(<$type>::$variant => $code,)+
                _ => u8::MAX,
            }
        }

        fn $of(code: u8) -> Result<$type, Damaged> {
            match code {
                $($code => Ok(<$type>::$variant),)+
                _ => Err(Damaged($unknown)),
            }
        }
    };
}

codes!(protocol_code, protocol_of, Protocol, "an unknown protocol", {
    Http = 0, Mqtt311 = 1, Mqtt5 = 2, Internal = 3, Kafka = 4, Nats = 5, Amqp = 6, Amqp10 = 7,
    MqttBus = 8,
});
codes!(binding_code, binding_of, Binding, "an unknown binding", {
    Binary = 0, Structured = 1, Batch = 2, KymaV1 = 3, KymaV2 = 4, Mapped = 5,
    Channel = 6,
});
codes!(method_code, method_of, Method, "an unknown method of authentication", {
    Anonymous = 0, Bearer = 1, Certificate = 2, Basic = 3, ApiKey = 4, System = 5,
    Bus = 6,
});

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An event with everything that a record can hold.
    pub(crate) fn full(sequence: u64) -> StoredEvent {
        let mut builder = CloudEvent::builder();
        for (name, text) in [
            ("specversion", "1.0"),
            ("id", "id-1"),
            ("source", "/shop"),
            ("type", "order.created"),
            ("subject", "order/7"),
            ("time", "2018-04-05T17:31:00.5+02:00"),
            ("datacontenttype", "application/json"),
            ("dataschema", "https://x.test/s"),
            ("region", "eu"),
        ] {
            builder.attribute(name, text).unwrap();
        }
        builder.extension("count", AttributeValue::Integer(-7)).unwrap();
        builder.extension("urgent", AttributeValue::Boolean(true)).unwrap();
        builder.data(Data::Json(Bytes::from_static(b"{\"n\": 1.10}")));
        let mut trace = TraceContext::default();
        trace.add("x-request-id", "r-1");
        StoredEvent {
            sequence: Sequence(sequence),
            received_at: Timestamp::from_micros(1_700_000_000_000_000),
            event: builder.build().unwrap(),
            sender: Sender {
                name: "shop".into(),
                method: Method::Bearer,
                application: Some("shop".into()),
            },
            origin: Origin {
                protocol: Protocol::Mqtt5,
                binding: Binding::Mapped,
                remote: Some("[2001:db8::1]:40000".parse().unwrap()),
                address: "shop/orders".into(),
                client_id: Some("till-3".into()),
            },
            trace,
            held: Some(Box::new(Hold {
                application: "shop".into(),
                definition: "orders".into(),
                reason: "n: expected an integer".into(),
            })),
            message: Some(Box::new(Message {
                qos: 2,
                retain: true,
                expiry_s: Some(300),
                properties: Bytes::from_static(&[1, 1]),
                envelope: Some((Bytes::from_static(b"{"), Bytes::from_static(b"}"))),
            })),
        }
    }

    fn encoded(stored: &StoredEvent) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&Parts::of(stored), &mut out);
        out
    }

    #[test]
    fn a_record_reads_back_as_it_was() {
        let stored = full(9);
        let record = Bytes::from(encoded(&stored));
        assert_eq!(decode(Sequence(9), record.clone()), Ok(stored));
        assert!((record.len() - 80..record.len()).contains(&content_bytes(&full(9))));
        let identity = Identity { id: "id-1".into(), source: "/shop".into(), held: true };
        assert_eq!(decode_identity(record.clone()), Ok(identity));
        assert_eq!(decode_received_at(record).unwrap().as_secs(), 1_700_000_000);
    }

    #[test]
    fn over_what_an_event_came_and_who_sent_it_reads_back() {
        for code in 0..=8 {
            let protocol = protocol_of(code).unwrap();
            assert_eq!((protocol_code(protocol), protocol.is_bus()), (code, code > 3));
        }
        for code in 0..=6 {
            assert_eq!(method_code(method_of(code).unwrap()), code);
        }
        assert!(protocol_of(9).is_err() && method_of(7).is_err());
    }

    #[test]
    fn an_event_with_nothing_optional_reads_back() {
        let mut stored = full(1);
        let attributes = Attributes {
            id: "1".into(),
            source: "/s".into(),
            ty: "t".into(),
            ..Attributes::default()
        };
        stored.event = CloudEvent::from_checked(attributes, None);
        stored.origin.remote = Some("127.0.0.1:9".parse().unwrap());
        stored.origin.client_id = None;
        stored.trace = TraceContext::default();
        stored.held = None;
        stored.sender.application = None;
        assert_eq!(decode(Sequence(1), encoded(&stored).into()), Ok(stored));
    }

    proptest! {
        #[test]
        fn a_damaged_record_is_an_error_and_no_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut record = encoded(&full(1));
            let index = at.index(record.len());
            record[index] = byte;
            record.truncate(cut.index(record.len()) + 1);
            drop(decode(Sequence(1), record.into()));
        }
    }
}
