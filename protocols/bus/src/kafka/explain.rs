//! What an operator is to mend, by what brokers and their client say.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What a client that cannot be made as configured says, without secrets.
pub(super) fn misfit(error: &KafkaError) -> String {
    let said = error.to_string();
    let rows = [
        ("ssl.ca", "attributes.caCertificates: expected certificates in PEM"),
        ("ssl.key", "auth.certificate: expected a private key in PEM that fits the certificate"),
        ("ssl.certificate", "auth.certificate: expected a chain of certificates in PEM"),
    ];
    let hint = rows.iter().find(|(part, _)| said.contains(part)).map(|(_, hint)| *hint);
    hint.map_or_else(|| format!("the client cannot be made: {said}"), str::to_owned)
}

/// Words for `code`, which came of an attempt to use `topic`; `complaint` is what was said last
/// about connections.
pub(super) fn of(code: Code, topic: &str, complaint: Option<&str>) -> String {
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            format!("no broker knows the topic {topic}: make it, or let brokers make topics")
        }
        Code::TopicAuthorizationFailed => {
            format!("not authorized for the topic {topic}: allow the user to use it in the ACLs")
        }
        Code::GroupAuthorizationFailed => {
            "not authorized for the consumer group: allow the user to READ it in the ACLs, or set \
             the attribute group to one that is allowed"
                .to_owned()
        }
        Code::ClusterAuthorizationFailed => {
            "not authorized for the cluster: allow the user IDEMPOTENT_WRITE in the ACLs".to_owned()
        }
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => {
            format!("the event is larger than max.message.bytes of the topic {topic}")
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            format!("fewer replicas of {topic} are in sync than min.insync.replicas")
        }
        Code::InvalidTopic => format!("no broker takes {topic} as the name of a topic"),
        Code::PolicyViolation => format!("a policy of the cluster refuses events for {topic}"),
        Code::QueueFull => "too much waits for the brokers already".to_owned(),
        code => {
            let said = complaint.map_or_else(|| code.to_string(), complaint_of);
            match code {
                Code::MessageTimedOut => format!("not confirmed in time: {said}"),
                _ => said,
            }
        }
    }
}

/// What was said about a connection, with what is to be mended.
pub(super) fn complaint_of(said: &str) -> String {
    let rows = [
        (
            "certificate verify failed",
            "the certificate of the broker is not trusted: name its authority in the attribute \
             caCertificates, and a host that the certificate is for in the URL",
        ),
        (
            "PLAINTEXT broker listener",
            "the broker speaks no TLS there: use kafka:// or its TLS port",
        ),
        (
            "SSL listener",
            "the broker does not speak plain Kafka there: use kafkas:// if it wants TLS",
        ),
        (
            "Invalid response size",
            "what answers does not speak plain Kafka: mend host or port of the URL, or use kafkas:// \
             if it wants TLS",
        ),
        ("might require SASL", "the broker closes the connection: it may want auth.credential"),
        (
            "Unsupported SASL mechanism",
            "the broker lets nobody in that way: set the attribute authentication to a mechanism \
             that it has",
        ),
        (
            "SASL",
            "the broker does not let the gateway in: check auth.credential and the attribute \
             authentication",
        ),
        (
            "in state SSL_HANDSHAKE",
            "the broker ends the handshake: it speaks no TLS there (use kafka:// or its TLS port), or \
             wants a client certificate (set auth.certificate)",
        ),
        ("certificate required", "the broker wants a client certificate: set auth.certificate"),
    ];
    match rows.iter().find(|(part, _)| said.contains(part)) {
        Some((_, hint)) => format!("{hint} ({})", brief(said)),
        None => brief(said),
    }
}

/// What was said, without how long it took, how often it was said, which setting of the client it is
/// about, and what the client calls a broker that it does not know yet.
fn brief(said: &str) -> String {
    let ends = [" (after ", " (0..", ": broker certificate could not be verified"];
    let end = ends.iter().filter_map(|end| said.find(end)).min().unwrap_or(said.len());
    said[..end].replacen("/bootstrap: ", ": ", 1).replacen("SSL handshake failed: ", "", 1)
}

/// Words for brokers that say nothing, and of which the client says no more than `error`.
pub(super) fn silence(error: Option<&KafkaError>) -> String {
    match error.map(|error| (code(error), error)) {
        None | Some((Code::BrokerTransportFailure | Code::OperationTimedOut, _)) => {
            "no broker answers: is Kafka spoken there, TLS just if the scheme is kafkas, and is a \
             login wanted that auth.credential has to give?"
                .to_owned()
        }
        Some((_, error)) => error.to_string(),
    }
}

/// The code of an error.
pub(super) fn code(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Fail)
}
