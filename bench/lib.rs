//! Events and packets for the benchmarks: 256 bytes of payload, as the comparisons have them.

use std::sync::Arc;

use bytes::Bytes;
use eg_auth::{Authenticate as _, Authenticator, Credential, Peer};
use eg_event::{Binding, CloudEvent, Data, Origin, Principal, Protocol, Submission};

/// The size of a payload, in bytes.
pub const PAYLOAD_BYTES: usize = 256;

/// CONNECT of MQTT 5 with a clean start.
pub const CONNECT: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01c";

/// PUBLISH of MQTT 5 with QoS 1, on a topic of three levels.
#[must_use]
pub fn publish(packet_id: u16) -> Vec<u8> {
    let mut body = b"\x00\x13plant/press-1/celsi".to_vec();
    body.extend_from_slice(&packet_id.to_be_bytes());
    body.push(0);
    body.resize(body.len() + PAYLOAD_BYTES, b'x');
    // The remaining length is 280.
    [&[0x32, 0x98, 0x02], &*body].concat()
}

/// An event in the JSON format.
#[must_use]
pub fn structured(id: u64) -> Bytes {
    let payload = "x".repeat(PAYLOAD_BYTES - 2);
    let text = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/plant/press-1\",\
         \"type\":\"com.example.temperature\",\"subject\":\"celsius\",\
         \"time\":\"2026-05-04T09:12:31.195Z\",\"region\":\"eu\",\"data\":\"{payload}\"}}"
    );
    text.into()
}

/// Somebody who may publish.
pub async fn anyone() -> Arc<Principal> {
    let here = ([127, 0, 0, 1], 1).into();
    let authenticator = Authenticator::anonymous_on_loopback();
    let found = authenticator.authenticate(&Credential::None, &Peer::new(here)).await;
    found.unwrap_or_else(|_| unreachable!("anyone is let in"))
}

/// An event on its way to the journal.
#[must_use]
pub fn submission(principal: &Arc<Principal>, id: u64) -> Submission {
    let mut builder = CloudEvent::builder();
    builder.implied_spec_version();
    let id = id.to_string();
    let attributes = [("id", &*id), ("source", "/plant/press-1"), ("type", "temperature")];
    for (name, text) in attributes {
        builder.attribute(name, text).unwrap_or_else(|error| unreachable!("{error}"));
    }
    builder.data(Data::Binary(vec![b'x'; PAYLOAD_BYTES].into()));
    let origin = Origin {
        protocol: Protocol::Mqtt5,
        binding: Binding::Mapped,
        remote: None,
        address: "plant/press-1/celsius".into(),
        client_id: Some("press-1".into()),
    };
    let event = builder.build().unwrap_or_else(|error| unreachable!("{error}"));
    Submission::new(event, Arc::clone(principal), origin)
}
