//! Packets as bytes, right ones and wrong ones, and what answers say.

/// A packet with this first byte and this body.
pub(crate) fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut bytes = vec![first];
    bytes.extend(variable_byte_integer(body.len()));
    bytes.extend(body);
    bytes
}

pub(crate) fn variable_byte_integer(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Bytes with their length before them: a string, or binary data.
pub(crate) fn text(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

/// Properties with their length before them.
pub(crate) fn properties(list: &[&[u8]]) -> Vec<u8> {
    let list = list.concat();
    [variable_byte_integer(list.len()), list].concat()
}

/// A user property.
pub(crate) fn user(name: &str, value: &str) -> Vec<u8> {
    [vec![0x26], text(name), text(value)].concat()
}

/// A property that is a string.
pub(crate) fn string_property(identifier: u8, value: &str) -> Vec<u8> {
    [vec![identifier], text(value)].concat()
}

pub(crate) const PINGREQ: [u8; 2] = [0xc0, 0];

/// CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) name: &'static str,
    pub(crate) level: u8,
    pub(crate) flags: u8,
    pub(crate) keep_alive_s: u16,
    pub(crate) properties: Vec<u8>,
    pub(crate) client_id: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Connect {
    /// MQTT 5, with a clean start.
    pub(crate) fn v5(client_id: impl AsRef<[u8]>) -> Self {
        Self {
            name: "MQTT",
            level: 5,
            flags: 0b10,
            keep_alive_s: 0,
            properties: Vec::new(),
            client_id: client_id.as_ref().to_vec(),
            payload: Vec::new(),
        }
    }

    /// MQTT 3.1.1, with a clean session.
    pub(crate) fn v311(client_id: impl AsRef<[u8]>) -> Self {
        Self { level: 4, ..Self::v5(client_id) }
    }

    /// In the session that there is.
    pub(crate) fn resume(mut self) -> Self {
        self.flags &= !0b10;
        self
    }

    pub(crate) fn property(mut self, property: &[u8]) -> Self {
        self.properties.extend(property);
        self
    }

    /// The session outlives the connection by so many seconds.
    pub(crate) fn expiry(self, seconds: u32) -> Self {
        self.property(&[&[0x11][..], &seconds.to_be_bytes()].concat())
    }

    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive_s = seconds;
        self
    }

    /// With this token, by enhanced authentication.
    pub(crate) fn token(self, token: &str) -> Self {
        self.property(&method(TOKEN_METHOD, Some(token)))
    }

    /// With this token as the password, behind what there is already.
    pub(crate) fn password(mut self, user: &str, token: &str) -> Self {
        self.flags |= 0xc0;
        self.payload(&[&text(user), &text(token)])
    }

    /// What follows the client identifier.
    pub(crate) fn payload(mut self, fields: &[&[u8]]) -> Self {
        self.payload.extend(fields.concat());
        self
    }

    /// A will of QoS 1; `will_properties` are left out for 3.1.1.
    pub(crate) fn will(mut self, topic: &str, payload: &str, will_properties: &[&[u8]]) -> Self {
        self.flags |= 0b1100;
        if self.level == 5 {
            self.payload.extend(properties(will_properties));
        }
        self.payload(&[&text(topic), &text(payload)])
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let level_and_flags = [self.level, self.flags];
        let keep_alive = self.keep_alive_s.to_be_bytes();
        let name = text(self.name);
        let id = text(&self.client_id);
        let properties = if self.level == 5 { properties(&[&self.properties]) } else { vec![] };
        let body: [&[u8]; 6] =
            [&name, &level_and_flags, &keep_alive, &properties, &id, &self.payload];
        packet(0x10, &body)
    }
}

/// PUBLISH.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) version: u8,
    pub(crate) flags: u8,
    pub(crate) topic: Vec<u8>,
    pub(crate) packet_id: u16,
    pub(crate) properties: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Publish {
    pub(crate) fn v5(qos: u8, packet_id: u16, topic: impl AsRef<[u8]>) -> Self {
        Self {
            version: 5,
            flags: qos << 1,
            topic: topic.as_ref().to_vec(),
            packet_id,
            properties: Vec::new(),
            payload: b"payload".to_vec(),
        }
    }

    pub(crate) fn v311(qos: u8, packet_id: u16, topic: impl AsRef<[u8]>) -> Self {
        Self { version: 4, ..Self::v5(qos, packet_id, topic) }
    }

    pub(crate) fn again(mut self) -> Self {
        self.flags |= 0b1000;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.flags |= 1;
        self
    }

    pub(crate) fn property(mut self, property: &[u8]) -> Self {
        self.properties.extend(property);
        self
    }

    pub(crate) fn payload(mut self, payload: impl AsRef<[u8]>) -> Self {
        self.payload = payload.as_ref().to_vec();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let topic = text(&self.topic);
        let id = self.packet_id.to_be_bytes();
        let id = if self.flags & 0b110 == 0 { &[][..] } else { &id };
        let properties = if self.version == 5 { properties(&[&self.properties]) } else { vec![] };
        packet(0x30 | self.flags, &[&topic, id, &properties, &self.payload])
    }
}

/// PUBREL.
pub(crate) fn pubrel(packet_id: u16) -> Vec<u8> {
    packet(0x62, &[&packet_id.to_be_bytes()])
}

/// The method of enhanced authentication that is offered.
pub(crate) const TOKEN_METHOD: &str = "OAUTH2-JWT";

/// The properties of a method, and of what it takes.
pub(crate) fn method(name: &str, data: Option<&str>) -> Vec<u8> {
    let data = data.map(|data| string_property(0x16, data)).unwrap_or_default();
    [string_property(0x15, name), data].concat()
}

/// AUTH.
pub(crate) fn auth(code: u8, data: Option<&str>) -> Vec<u8> {
    packet(0xf0, &[&[code], &properties(&[&method(TOKEN_METHOD, data)])])
}

/// What a server sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x} {:02x?} ({:?})", self.first, self.body, self.reason())
    }
}

impl Answer {
    /// The first packet of `received`, and its length.
    pub(crate) fn parse(received: &[u8]) -> Option<(Self, usize)> {
        let (length, length_bytes) = read_variable_byte_integer(received.get(1..)?)?;
        let end = 1 + length_bytes + length;
        let body = received.get(1 + length_bytes..end)?.to_vec();
        Some((Self { first: received[0], body }, end))
    }

    /// The packet identifier of an acknowledgement.
    pub(crate) fn packet_id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// The reason code of any packet but SUBACK and UNSUBACK; the return code of CONNACK.
    pub(crate) fn code(&self) -> u8 {
        let at = match self.first {
            0x20 => 1,
            0xe0 | 0xf0 => 0,
            _ => 2,
        };
        self.body.get(at).copied().unwrap_or(0)
    }

    /// CONNACK: whether the session is present.
    pub(crate) fn session_present(&self) -> bool {
        self.first == 0x20 && self.body[0] == 1
    }

    /// The properties: an identifier and the bytes of a value.
    pub(crate) fn properties(&self) -> Vec<(u8, Vec<u8>)> {
        let at = match self.first {
            0x90 | 0xb0 | 0x20 => 2,
            0xe0 | 0xf0 => 1,
            _ => 3,
        };
        let Some((length, begin)) = self.body.get(at..).and_then(read_variable_byte_integer) else {
            return Vec::new();
        };
        let mut rest = &self.body[at + begin..at + begin + length];
        let mut list = Vec::new();
        while let [identifier, after @ ..] = rest {
            let string = || usize::from(u16::from_be_bytes([after[0], after[1]])) + 2;
            let length = match identifier {
                0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
                0x13 | 0x21 | 0x22 => 2,
                0x11 | 0x27 => 4,
                0x26 => {
                    let value = &after[string()..];
                    string() + 2 + usize::from(u16::from_be_bytes([value[0], value[1]]))
                }
                _ => string(),
            };
            list.push((*identifier, after[..length].to_vec()));
            rest = &after[length..];
        }
        list
    }

    /// The value of a property that is a number, or the bytes of one that is a string.
    pub(crate) fn property(&self, identifier: u8) -> Option<Vec<u8>> {
        let list = self.properties();
        list.into_iter().find_map(|(found, value)| (found == identifier).then_some(value))
    }

    /// The reason string; empty when there is none.
    pub(crate) fn reason(&self) -> String {
        if !matches!(self.first, 0x20 | 0x40 | 0x50 | 0x70 | 0x90 | 0xe0 | 0xf0) {
            return String::new();
        }
        let value = self.property(0x1f).unwrap_or_default();
        String::from_utf8(value.get(2..).unwrap_or_default().to_vec()).unwrap()
    }

    /// The value of a user property.
    pub(crate) fn user(&self, name: &str) -> Option<String> {
        let prefix = text(name);
        self.properties().into_iter().find_map(|(identifier, value)| {
            let value = value.strip_prefix(&prefix[..]).filter(|_| identifier == 0x26)?;
            Some(String::from_utf8(value[2..].to_vec()).unwrap())
        })
    }
}

fn read_variable_byte_integer(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}
