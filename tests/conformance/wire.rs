//! The packets of MQTT 3.1.1 and 5 as these tests write and read them, apart from the server's codec.

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V3,
    V5,
}

/// For what both specifications demand.
pub(crate) const BOTH: [Version; 2] = [Version::V3, Version::V5];

/// Identifiers of properties (MQTT 5.0 section 2.2.2.2).
pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
pub(crate) const CONTENT_TYPE: u8 = 0x03;
pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
pub(crate) const CORRELATION_DATA: u8 = 0x09;
pub(crate) const SUBSCRIPTION_ID: u8 = 0x0b;
pub(crate) const SESSION_EXPIRY: u8 = 0x11;
pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(crate) const AUTH_METHOD: u8 = 0x15;
pub(crate) const AUTH_DATA: u8 = 0x16;
pub(crate) const REQUEST_PROBLEM: u8 = 0x17;
pub(crate) const WILL_DELAY: u8 = 0x18;
pub(crate) const REQUEST_RESPONSE: u8 = 0x19;
pub(crate) const RESPONSE_INFORMATION: u8 = 0x1a;
pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
pub(crate) const TOPIC_ALIAS: u8 = 0x23;
pub(crate) const USER_PROPERTY: u8 = 0x26;
pub(crate) const MAXIMUM_PACKET: u8 = 0x27;

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u32),
    Bytes(Vec<u8>),
    Pair(String, String),
}

/// How a property is written: as a number of so many bytes (0: variable), as bytes or as a pair.
enum Form {
    Number(usize),
    Bytes,
    Pair,
}

fn form(property: u8) -> Form {
    match property {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => Form::Number(1),
        0x13 | 0x21..=0x23 => Form::Number(2),
        0x02 | 0x11 | 0x18 | 0x27 => Form::Number(4),
        0x0b => Form::Number(0),
        0x26 => Form::Pair,
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => Form::Bytes,
        other => panic!("there is no property 0x{other:02x}"),
    }
}

/// Properties in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties(pub(crate) Vec<(u8, Value)>);

impl Properties {
    pub(crate) fn number(mut self, property: u8, value: u32) -> Self {
        self.0.push((property, Value::Number(value)));
        self
    }

    pub(crate) fn text(mut self, property: u8, value: impl AsRef<[u8]>) -> Self {
        self.0.push((property, Value::Bytes(value.as_ref().to_vec())));
        self
    }

    pub(crate) fn pair(mut self, name: &str, value: &str) -> Self {
        self.0.push((USER_PROPERTY, Value::Pair(name.to_owned(), value.to_owned())));
        self
    }

    pub(crate) fn numbers(&self, property: u8) -> Vec<u32> {
        let of = self.0.iter().filter(|(id, _)| *id == property);
        of.filter_map(|(_, value)| if let Value::Number(n) = value { Some(*n) } else { None })
            .collect()
    }

    pub(crate) fn get(&self, property: u8) -> Option<u32> {
        self.numbers(property).first().copied()
    }

    pub(crate) fn bytes(&self, property: u8) -> Option<&[u8]> {
        self.0.iter().find_map(|(id, value)| match value {
            Value::Bytes(bytes) if *id == property => Some(&bytes[..]),
            _ => None,
        })
    }

    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        let pair = |value| match value {
            &Value::Pair(ref name, ref value) => Some((&name[..], &value[..])),
            _ => None,
        };
        self.0.iter().filter_map(|(_, value)| pair(value)).collect()
    }

    pub(crate) fn has(&self, property: u8) -> bool {
        self.0.iter().any(|(id, _)| *id == property)
    }

    fn encode(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (property, value) in &self.0 {
            all.push(*property);
            match (form(*property), value) {
                (Form::Number(0), Value::Number(number)) => all.extend(variable(*number as usize)),
                (Form::Number(size), Value::Number(number)) => {
                    all.extend(&number.to_be_bytes()[4 - size..]);
                }
                (Form::Bytes, Value::Bytes(bytes)) => field(&mut all, bytes),
                (Form::Pair, Value::Pair(name, value)) => {
                    field(&mut all, name);
                    field(&mut all, value);
                }
                (_, value) => panic!("0x{property:02x} cannot be {value:?}"),
            }
        }
        all
    }

    fn decode(mut bytes: &[u8]) -> Self {
        let mut all = Self::default();
        while !bytes.is_empty() {
            let property = take(&mut bytes, 1)[0];
            let value = match form(property) {
                Form::Number(0) => {
                    let number = take_variable(&mut bytes);
                    Value::Number(u32::try_from(number).unwrap())
                }
                Form::Number(size) => {
                    let number = take(&mut bytes, size);
                    Value::Number(number.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)))
                }
                Form::Bytes => Value::Bytes(take_field(&mut bytes).to_vec()),
                Form::Pair => Value::Pair(take_text(&mut bytes), take_text(&mut bytes)),
            };
            all.0.push((property, value));
        }
        all
    }
}

/// A variable byte integer.
pub(crate) fn variable(mut number: usize) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        all.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return all;
        }
    }
}

/// A string or binary data, after its length.
pub(crate) fn field(to: &mut Vec<u8>, bytes: impl AsRef<[u8]>) {
    let length = u16::try_from(bytes.as_ref().len()).unwrap();
    to.extend(length.to_be_bytes());
    to.extend(bytes.as_ref());
}

fn properties(version: Version, to: &mut Vec<u8>, properties: &Properties) {
    if version == Version::V5 {
        let encoded = properties.encode();
        to.extend(variable(encoded.len()));
        to.extend(encoded);
    }
}

/// A packet from its first byte and what follows the remaining length.
pub(crate) fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    [&[first], &variable(rest.len())[..], rest].concat()
}

/// What is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    /// The packet identifier; none with QoS 0.
    pub(crate) id: u16,
    pub(crate) properties: Properties,
}

impl Message {
    pub(crate) fn new(topic: impl Into<String>, payload: impl AsRef<[u8]>) -> Self {
        let payload = payload.as_ref().to_vec();
        Self { topic: topic.into(), payload, ..Self::default() }
    }

    pub(crate) fn qos(self, qos: u8) -> Self {
        Self { qos, ..self }
    }

    pub(crate) fn id(self, id: u16) -> Self {
        Self { id, ..self }
    }

    pub(crate) fn dup(self) -> Self {
        Self { dup: true, ..self }
    }

    pub(crate) fn retained(self) -> Self {
        Self { retain: true, ..self }
    }

    pub(crate) fn with(self, properties: Properties) -> Self {
        Self { properties, ..self }
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.payload).unwrap()
    }

    pub(crate) fn encode(&self, version: Version) -> Vec<u8> {
        let mut rest = Vec::new();
        field(&mut rest, &self.topic);
        if self.qos > 0 {
            rest.extend(self.id.to_be_bytes());
        }
        properties(version, &mut rest, &self.properties);
        rest.extend(&self.payload);
        let flags = u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        packet(0x30 | flags, &rest)
    }
}

/// CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) properties: Properties,
    pub(crate) will: Option<Message>,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
}

impl Connect {
    /// With a clean start and the keep alive of a minute.
    pub(crate) fn new(version: Version, client_id: impl Into<String>) -> Self {
        Self {
            version,
            client_id: client_id.into(),
            clean: true,
            keep_alive: 60,
            properties: Properties::default(),
            will: None,
            user_name: None,
            password: None,
        }
    }

    /// Goes on with a session, which is kept for ten minutes.
    pub(crate) fn resume(mut self) -> Self {
        self.clean = false;
        self.lasting(600)
    }

    /// Keeps the session for so many seconds after the connection.
    pub(crate) fn lasting(self, seconds: u32) -> Self {
        if self.version == Version::V3 { self } else { self.number(SESSION_EXPIRY, seconds) }
    }

    pub(crate) fn keep_alive(self, seconds: u16) -> Self {
        Self { keep_alive: seconds, ..self }
    }

    pub(crate) fn number(mut self, property: u8, value: u32) -> Self {
        self.properties = self.properties.number(property, value);
        self
    }

    pub(crate) fn text(mut self, property: u8, value: impl AsRef<[u8]>) -> Self {
        self.properties = self.properties.text(property, value);
        self
    }

    pub(crate) fn will(self, will: Message) -> Self {
        Self { will: Some(will), ..self }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        field(&mut rest, "MQTT");
        rest.push(if self.version == Version::V3 { 4 } else { 5 });
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(self.user_name.is_some()) << 7 | u8::from(self.password.is_some()) << 6;
        rest.push(flags);
        rest.extend(self.keep_alive.to_be_bytes());
        properties(self.version, &mut rest, &self.properties);
        field(&mut rest, &self.client_id);
        if let Some(will) = &self.will {
            properties(self.version, &mut rest, &will.properties);
            field(&mut rest, &will.topic);
            field(&mut rest, &will.payload);
        }
        if let Some(name) = &self.user_name {
            field(&mut rest, name);
        }
        if let Some(password) = &self.password {
            field(&mut rest, password);
        }
        packet(0x10, &rest)
    }
}

/// SUBSCRIBE with filters and their options.
pub(crate) fn subscribe(
    version: Version,
    id: u16,
    of: &Properties,
    filters: &[(&str, u8)],
) -> Vec<u8> {
    let mut rest = id.to_be_bytes().to_vec();
    properties(version, &mut rest, of);
    for (filter, options) in filters {
        field(&mut rest, filter);
        rest.push(*options);
    }
    packet(0x82, &rest)
}

/// UNSUBSCRIBE.
pub(crate) fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut rest = id.to_be_bytes().to_vec();
    properties(version, &mut rest, &Properties::default());
    for filter in filters {
        field(&mut rest, filter);
    }
    packet(0xa2, &rest)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP, by the first byte; a reason code of 0 is left out.
pub(crate) fn acknowledge(first: u8, id: u16, code: u8) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    if code == 0 { packet(first, &[high, low]) } else { packet(first, &[high, low, code]) }
}

pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;
pub(crate) const PINGREQ: &[u8] = &[0xc0, 0];
pub(crate) const DISCONNECT: &[u8] = &[0xe0, 0];

/// What a server has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Connack {
        flags: u8,
        code: u8,
        properties: Properties,
    },
    Publish(Message),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP, with its first byte.
    Acknowledge {
        first: u8,
        id: u16,
        code: u8,
        properties: Properties,
    },
    /// SUBACK (0x90) or UNSUBACK (0xb0); the latter has no codes in 3.1.1.
    Granted {
        first: u8,
        id: u16,
        codes: Vec<u8>,
        properties: Properties,
    },
    Pingresp,
    Disconnect {
        code: u8,
        properties: Properties,
    },
    Auth {
        code: u8,
        properties: Properties,
    },
}

impl Packet {
    /// Stops the test where the packet does not keep to the specification.
    pub(crate) fn decode(version: Version, first: u8, mut rest: &[u8]) -> Self {
        let rest = &mut rest;
        let packet = match first >> 4 {
            2 => {
                let (flags, code) = (take(rest, 1)[0], take(rest, 1)[0]);
                // A version that a server does not know is refused in the form of another.
                let form = match code {
                    0x01 => Version::V3,
                    0x84 => Version::V5,
                    _ => version,
                };
                Self::Connack { flags, code, properties: take_properties(form, rest) }
            }
            3 => return Self::Publish(publication(version, first, rest)),
            4..=7 => {
                let (id, code, properties) = (take_two(rest), take_code(rest), reasons(rest));
                assert!(version == Version::V5 || (code, properties.0.len()) == (0, 0));
                Self::Acknowledge { first, id, code, properties }
            }
            9 | 11 => {
                let (id, properties) = (take_two(rest), take_properties(version, rest));
                let codes = std::mem::take(rest).to_vec();
                Self::Granted { first, id, codes, properties }
            }
            13 => Self::Pingresp,
            14 => Self::Disconnect { code: take_code(rest), properties: reasons(rest) },
            15 => Self::Auth { code: take_code(rest), properties: reasons(rest) },
            _ => panic!("a server does not send 0x{first:02x}"),
        };
        assert!(rest.is_empty(), "{packet:?} is followed by {rest:02x?}");
        let flags = if first >> 4 == 6 { 2 } else { 0 };
        assert_eq!(first & 0x0f, flags, "flags of {packet:?}");
        packet
    }
}

fn publication(version: Version, first: u8, rest: &mut &[u8]) -> Message {
    let (dup, qos, retain) = (first & 8 > 0, first >> 1 & 3, first & 1 > 0);
    assert!(qos < 3, "QoS 3");
    let topic = take_text(rest);
    let id = if qos > 0 { take_two(rest) } else { 0 };
    let properties = take_properties(version, rest);
    Message { topic, payload: rest.to_vec(), qos, retain, dup, id, properties }
}

fn take<'a>(from: &mut &'a [u8], size: usize) -> &'a [u8] {
    let (taken, rest) = from.split_at(size);
    *from = rest;
    taken
}

fn take_two(from: &mut &[u8]) -> u16 {
    u16::from_be_bytes(take(from, 2).try_into().unwrap())
}

fn take_field<'a>(from: &mut &'a [u8]) -> &'a [u8] {
    let size = take_two(from);
    take(from, size.into())
}

fn take_text(from: &mut &[u8]) -> String {
    String::from_utf8(take_field(from).to_vec()).unwrap()
}

fn take_variable(from: &mut &[u8]) -> usize {
    let mut number = 0;
    for place in 0..4 {
        let byte = take(from, 1)[0];
        number |= usize::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            assert!(place == 0 || byte > 0, "a variable byte integer is as short as can be");
            return number;
        }
    }
    panic!("a variable byte integer of more than four bytes");
}

/// A reason code, which may be left out at the end.
fn take_code(from: &mut &[u8]) -> u8 {
    if from.is_empty() { 0 } else { take(from, 1)[0] }
}

fn take_properties(version: Version, from: &mut &[u8]) -> Properties {
    if version == Version::V3 {
        return Properties::default();
    }
    let size = take_variable(from);
    Properties::decode(take(from, size))
}

/// Properties after a reason code, which may be left out.
fn reasons(from: &mut &[u8]) -> Properties {
    if from.is_empty() { Properties::default() } else { take_properties(Version::V5, from) }
}
