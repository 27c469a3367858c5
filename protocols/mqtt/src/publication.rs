//! An event as subscribers get it: encoded once for each version of the protocol, whoever gets it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use eg_event::{Data, Protocol, Sequence, StoredEvent, Timestamp, Topic, Topics, json};

use crate::codec::{PropertiesWriter, Qos, Version};

/// How many events are kept encoded, and how many bytes of them.
const RECENT_EVENTS_MAX: usize = 8192;
const RECENT_BYTES_MAX: usize = 32 << 20;

/// An event on its way to subscribers.
#[derive(Debug)]
pub(crate) struct Publication {
    /// The event.
    pub(crate) event: Arc<StoredEvent>,
    /// Its topic, if it did not come by MQTT.
    topic: Option<Topic>,
    v5: OnceLock<Form>,
    v311: OnceLock<Form>,
}

/// What of a packet is the same for everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// Properties, as they are sent.
    pub(crate) properties: Bytes,
    /// The payload, in parts.
    pub(crate) payload: [Bytes; 3],
}

impl Form {
    /// How many bytes the payload has.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload.iter().map(Bytes::len).sum()
    }
}

impl Publication {
    /// Takes an event up; `topics` knows those that did not come by MQTT.
    pub(crate) fn new(event: Arc<StoredEvent>, topics: &dyn Topics) -> Self {
        let topic = (!is_mqtt(&event)).then(|| topics.of(&event));
        Self { event, topic, v5: OnceLock::new(), v311: OnceLock::new() }
    }

    /// A value of the server's own, as if it had come by MQTT.
    pub(crate) fn of_system(event: StoredEvent) -> Self {
        Self { event: Arc::new(event), topic: None, v5: OnceLock::new(), v311: OnceLock::new() }
    }

    /// The topic name.
    pub(crate) fn topic(&self) -> &str {
        self.topic.as_ref().map_or(&self.event.origin.address, |topic| &topic.name)
    }

    /// How surely it was published.
    pub(crate) fn qos(&self) -> Qos {
        match &self.event.message {
            Some(message) if message.qos == 1 => Qos::AtLeastOnce,
            Some(message) if message.qos == 0 => Qos::AtMostOnce,
            None if is_mqtt(&self.event) => Qos::AtMostOnce,
            // What other protocols bring is not lost.
            Some(_) | None => Qos::ExactlyOnce,
        }
    }

    /// The flag RETAIN, as it was published.
    pub(crate) fn retain(&self) -> bool {
        self.event.message.as_ref().is_some_and(|message| message.retain)
    }

    /// Whether the payload has no bytes, which ends what is retained of the topic (MQTT 5.0 section
    /// 3.3.1.3).
    pub(crate) fn is_empty(&self) -> bool {
        let has_envelope = self.event.message.as_ref().is_some_and(|one| one.envelope.is_some());
        !has_envelope && self.event.event.data().is_none_or(|data| data.len() == 0)
    }

    /// About how large it is, in bytes.
    pub(crate) fn bytes(&self) -> u32 {
        let data = self.event.event.data().map_or(0, Data::len);
        let message = self.event.message.as_ref();
        let properties = message.map_or(0, |message| message.properties.len());
        u32::try_from(self.topic().len() + data + properties).unwrap_or(u32::MAX)
    }

    /// When it is of no more use.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        if is_mqtt(&self.event) {
            let expiry_s = self.event.message.as_ref()?.expiry_s?;
            return Some(self.event.received_at.after(Duration::from_secs(expiry_s.into())));
        }
        match self.event.event.extension("expirytime")? {
            eg_event::AttributeValue::String(text) => Timestamp::parse_rfc3339(text),
            _ => None,
        }
    }

    /// What `version` has of it.
    pub(crate) fn form(&self, version: Version) -> &Form {
        match version {
            Version::V5 => self.v5.get_or_init(|| self.make(version)),
            Version::V311 => self.v311.get_or_init(|| self.make(version)),
        }
    }

    fn make(&self, version: Version) -> Form {
        let Some(topic) = &self.topic else { return self.as_it_came(version) };
        let event = &self.event.event;
        match version {
            Version::V311 if !topic.is_raw => {
                let mut payload = Vec::new();
                json::encode(event, &mut payload);
                let payload = [payload.into(), Bytes::new(), Bytes::new()];
                Form { properties: Bytes::new(), payload }
            }
            Version::V311 => Form {
                properties: Bytes::new(),
                payload: [self.data(), Bytes::new(), Bytes::new()],
            },
            Version::V5 => {
                let mut properties = PropertiesWriter::default();
                if matches!(event.data(), Some(Data::Json(_) | Data::Text(_))) {
                    properties.text();
                }
                if let Some(media_type) = event.datacontenttype() {
                    properties.content_type(media_type);
                }
                properties.user_property("specversion", eg_event::event::SPEC_VERSION);
                for (name, value) in event.text_attributes() {
                    properties.user_property(name, &value);
                }
                let payload = [self.data(), Bytes::new(), Bytes::new()];
                Form { properties: properties.finish().into(), payload }
            }
        }
    }

    /// A message that was published by MQTT: the bytes that its sender sent.
    fn as_it_came(&self, version: Version) -> Form {
        let message = self.event.message.as_deref();
        let properties = message.filter(|_| version == Version::V5);
        let properties = properties.map_or_else(Bytes::new, |message| message.properties.clone());
        let envelope = message.and_then(|message| message.envelope.clone());
        let payload = match envelope {
            // The whole payload, where the data does not stand in it as it is.
            Some((whole, behind)) if behind.is_empty() => [whole, Bytes::new(), Bytes::new()],
            Some((before, behind)) => [before, self.data(), behind],
            None => [self.data(), Bytes::new(), Bytes::new()],
        };
        Form { properties, payload }
    }

    fn data(&self) -> Bytes {
        self.event.event.data().map_or_else(Bytes::new, |data| data.bytes().clone())
    }
}

fn is_mqtt(event: &StoredEvent) -> bool {
    matches!(event.origin.protocol, Protocol::Mqtt311 | Protocol::Mqtt5)
}

/// The latest events that somebody gets, for those who are not far behind.
#[derive(Debug, Default)]
pub(crate) struct Recent(RwLock<Ring>);

#[derive(Debug, Default)]
struct Ring {
    publications: VecDeque<Arc<Publication>>,
    bytes: usize,
}

impl Recent {
    /// Adds events behind those that are there.
    pub(crate) fn push(&self, publications: Vec<Arc<Publication>>) {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for publication in publications {
            ring.bytes += publication.bytes() as usize;
            ring.publications.push_back(publication);
        }
        while ring.publications.len() > RECENT_EVENTS_MAX
            || (ring.bytes > RECENT_BYTES_MAX && ring.publications.len() > 1)
        {
            let Some(oldest) = ring.publications.pop_front() else { return };
            ring.bytes -= oldest.bytes() as usize;
        }
    }

    /// The events at `sequences`, each if it is there.
    pub(crate) fn get(
        &self,
        sequences: impl Iterator<Item = Sequence>,
    ) -> Vec<Option<Arc<Publication>>> {
        let ring = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let publications = &ring.publications;
        // Those that are asked for together mostly stand beside each other.
        let mut likely = 0;
        let find = |sequence| {
            let is_there =
                publications.get(likely).is_some_and(|one| one.event.sequence == sequence);
            let at = if is_there {
                likely
            } else {
                publications.binary_search_by_key(&sequence, |one| one.event.sequence).ok()?
            };
            likely = at + 1;
            Some(Arc::clone(&publications[at]))
        };
        sequences.map(find).collect()
    }
}
