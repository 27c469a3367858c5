//! Events to put into a journal.

use std::sync::Arc;

use eg_auth::{Authenticate as _, Authenticator, Credential, Peer};
use eg_event::{
    Binding, CloudEvent, Data, Handshake, Hold, Origin, Principal, Protocol, Submission,
};
use eg_storage::StorageConfig;

/// Somebody who may publish.
pub(crate) async fn anyone() -> Arc<Principal> {
    let here = "127.0.0.1:1".parse().unwrap();
    let authenticator = Authenticator::anonymous_on_loopback();
    authenticator.authenticate(&Credential::None, &Peer::new(here)).await.unwrap()
}

/// An event with a payload of `size` bytes that follows from its id.
pub(crate) fn submission(principal: &Arc<Principal>, id: &str, size: usize) -> Submission {
    let mut builder = CloudEvent::builder();
    for (name, text) in [("specversion", "1.0"), ("id", id), ("source", "/test"), ("type", "t")] {
        builder.attribute(name, text).unwrap();
    }
    builder.data(Data::Binary(payload(id, size).into()));
    let origin = Origin {
        protocol: Protocol::Internal,
        binding: Binding::Binary,
        remote: None,
        address: "".into(),
        client_id: None,
    };
    Submission::new(builder.build().unwrap(), Arc::clone(principal), origin)
}

/// The same, to be kept in quarantine.
pub(crate) fn held(mut submission: Submission) -> Submission {
    let reason = format!("{} is wrong", submission.event.id()).into();
    let hold = Hold { application: "shop".into(), definition: "orders".into(), reason };
    submission.held = Some(Box::new(hold));
    submission
}

/// The same under a handshake.
pub(crate) fn once(mut submission: Submission, client: &str, packet_id: u16) -> Submission {
    submission.handshake = Some(Handshake { client_id: client.into(), packet_id });
    submission
}

/// An event without a payload whose subject is `subject`.
pub(crate) fn with_subject(id: &str, subject: &str) -> CloudEvent {
    let mut builder = CloudEvent::builder();
    let attributes = [
        ("specversion", "1.0"),
        ("id", id),
        ("source", "/test"),
        ("type", "t"),
        ("subject", subject),
    ];
    for (name, text) in attributes {
        builder.attribute(name, text).unwrap();
    }
    builder.build().unwrap()
}

/// The payload of the event `id`.
pub(crate) fn payload(id: &str, size: usize) -> Vec<u8> {
    id.bytes().cycle().take(size).collect()
}

/// Limits small enough for a test to reach them.
pub(crate) fn small() -> StorageConfig {
    StorageConfig {
        segment_bytes: 1 << 17,
        cache_bytes: 1 << 20,
        commit_log_bytes: 1 << 15,
        fresh_bytes_max: 1 << 16,
        disk_free_bytes_min: 1 << 20,
        ..StorageConfig::default()
    }
}
