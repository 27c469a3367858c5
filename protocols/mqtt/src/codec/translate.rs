//! From the protocol library's packets to ours, and from our words to its properties.

use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, AuthenticationMethod, Properties, Property, Qos as LibraryQos,
    ReasonString, ReceiveMaximum, ServerKeepAlive, SessionExpiryInterval, TopicAliasMaximum,
    UserProperty, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::AuthReasonCode;

use super::publish::Message;
use super::{
    Accept, Auth, AuthStep, Connect, Disconnect, Incoming, Publish, Qos, Reason, Secret, Version,
    Will,
};

pub(super) fn qos(qos: LibraryQos) -> Qos {
    match qos {
        LibraryQos::AtMostOnce => Qos::AtMostOnce,
        LibraryQos::AtLeastOnce => Qos::AtLeastOnce,
        LibraryQos::ExactlyOnce => Qos::ExactlyOnce,
    }
}

/// Checks what the library leaves open (MQTT 5.0 sections 3.3.2.1 and 3.3.4).
pub(super) fn publish(publish: Publish) -> Result<Incoming, Reason> {
    let topic = publish.topic();
    if topic.contains('\0') {
        return Err(Reason::MalformedPacket);
    }
    if topic.is_empty() || topic.contains(['+', '#']) {
        return Err(Reason::TopicNameInvalid);
    }
    if publish.names_a_subscription() {
        return Err(Reason::ProtocolError);
    }
    Ok(Incoming::Publish(publish))
}

pub(super) fn connect_v311(connect: &v3_1_1::Connect) -> Connect {
    let will = connect.will_flag().then(|| Will {
        message: Publish {
            packet: Message::Will {
                topic: connect.will_topic().unwrap_or_default().to_owned(),
                payload: connect.will_payload().unwrap_or_default().to_vec(),
                properties: Properties::new(),
            },
            qos: qos(connect.will_qos()),
            packet_id: 0,
            retain: connect.will_retain(),
        },
        delay_s: 0,
    });
    Connect {
        version: Version::V311,
        client_id: connect.client_id().to_owned(),
        clean_start: connect.clean_session(),
        keep_alive_s: connect.keep_alive(),
        // A session that is not clean has no end of its own (3.1.1 section 3.1.2.4).
        session_expiry_s: if connect.clean_session() { 0 } else { u32::MAX },
        user_name: connect.user_name().map(str::to_owned),
        password: connect.password().map(Secret::new),
        authentication_method: None,
        authentication_data: None,
        problem_information: true,
        receive_maximum: u16::MAX,
        topic_alias_maximum: 0,
        will,
    }
}

pub(super) fn connect_v5(connect: &v5_0::Connect) -> Connect {
    let mut session_expiry_s = 0;
    let mut problem_information = true;
    let mut receive_maximum = u16::MAX;
    let mut topic_alias_maximum = 0;
    let mut authentication_method = None;
    let mut authentication_data = None;
    for property in connect.props() {
        match property {
            Property::SessionExpiryInterval(value) => session_expiry_s = value.val(),
            Property::RequestProblemInformation(value) => problem_information = value.val() != 0,
            Property::ReceiveMaximum(value) => receive_maximum = value.val(),
            Property::TopicAliasMaximum(value) => topic_alias_maximum = value.val(),
            Property::AuthenticationMethod(value) => {
                authentication_method = Some(value.val().to_owned());
            }
            Property::AuthenticationData(value) => {
                authentication_data = Some(Secret::new(value.val()));
            }
            _ => {}
        }
    }
    let will = connect.will_flag().then(|| {
        let delay = connect.will_props().iter().find_map(|property| match property {
            Property::WillDelayInterval(value) => Some(value.val()),
            _ => None,
        });
        Will {
            message: Publish {
                packet: Message::Will {
                    topic: connect.will_topic().unwrap_or_default().to_owned(),
                    payload: connect.will_payload().unwrap_or_default().to_vec(),
                    properties: connect.will_props().clone(),
                },
                qos: qos(connect.will_qos()),
                packet_id: 0,
                retain: connect.will_retain(),
            },
            delay_s: delay.unwrap_or(0),
        }
    });
    Connect {
        version: Version::V5,
        client_id: connect.client_id().to_owned(),
        clean_start: connect.clean_start(),
        keep_alive_s: connect.keep_alive(),
        session_expiry_s,
        user_name: connect.user_name().map(str::to_owned),
        password: connect.password().map(Secret::new),
        authentication_method,
        authentication_data,
        problem_information,
        receive_maximum,
        topic_alias_maximum,
        will,
    }
}

/// The largest packet that the client takes, in bytes.
pub(super) fn packet_bytes_max(connect: &v5_0::Connect) -> usize {
    let maximum = connect.props().iter().find_map(|property| match property {
        Property::MaximumPacketSize(value) => usize::try_from(value.val()).ok(),
        _ => None,
    });
    maximum.unwrap_or(usize::MAX)
}

pub(super) fn disconnect_v5(packet: &v5_0::Disconnect) -> Disconnect {
    let expiry = packet.props().iter().flatten().find_map(|property| match property {
        Property::SessionExpiryInterval(value) => Some(value.val()),
        _ => None,
    });
    let normal = packet.reason_code().is_none_or(|code| code as u8 == 0);
    Disconnect { with_will: !normal, session_expiry_s: expiry }
}

/// Without a step that is a client's there is nothing to do.
pub(super) fn auth_v5(packet: &v5_0::Auth) -> Result<Incoming, Reason> {
    let step = match packet.reason_code() {
        Some(AuthReasonCode::ContinueAuthentication) => AuthStep::Continue,
        Some(AuthReasonCode::ReAuthenticate) => AuthStep::Again,
        Some(AuthReasonCode::Success) | None => return Err(Reason::ProtocolError),
    };
    let mut auth = Auth { step, method: String::new(), data: None };
    for property in packet.props().iter().flatten() {
        match property {
            Property::AuthenticationMethod(value) => value.val().clone_into(&mut auth.method),
            Property::AuthenticationData(value) => auth.data = Some(Secret::new(value.val())),
            _ => {}
        }
    }
    Ok(Incoming::Auth(auth))
}

pub(super) fn accept_properties(accept: &Accept) -> Properties {
    let mut properties = Properties::new();
    let mut add = |property: Option<Property>| properties.extend(property);
    add(ReceiveMaximum::new(accept.receive_maximum).ok().map(Property::ReceiveMaximum));
    if accept.topic_alias_maximum > 0 {
        let maximum = TopicAliasMaximum::new(accept.topic_alias_maximum);
        add(maximum.ok().map(Property::TopicAliasMaximum));
    }
    if let Some(client_id) = &accept.assigned_client_id {
        let assigned = AssignedClientIdentifier::new(client_id.as_str());
        add(assigned.ok().map(Property::AssignedClientIdentifier));
    }
    if let Some(seconds) = accept.session_expiry_s {
        let interval = SessionExpiryInterval::new(seconds);
        add(interval.ok().map(Property::SessionExpiryInterval));
    }
    if let Some(seconds) = accept.keep_alive_s {
        add(ServerKeepAlive::new(seconds).ok().map(Property::ServerKeepAlive));
    }
    add(accept.authentication_method.as_deref().and_then(authentication_method));
    properties
}

pub(super) fn authentication_method(name: &str) -> Option<Property> {
    AuthenticationMethod::new(name).ok().map(Property::AuthenticationMethod)
}

/// A text that a packet cannot hold (too long, a control character) is left out.
pub(super) fn reason_string(text: &str) -> Option<Property> {
    ReasonString::new(text).ok().map(Property::ReasonString)
}

pub(super) fn user_property(name: &str, value: &str) -> Option<Property> {
    UserProperty::new(name, value).ok().map(Property::UserProperty)
}
