//! Retained messages as management clients see them.

use async_graphql::SimpleObject;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_mqtt::{RetainedContent, RetainedMessage};

use crate::admin::page::PageInfo;

/// A retained message, without its payload.
#[derive(Clone, Debug, SimpleObject)]
pub struct MqttRetainedMessage {
    topic: String,
    /// The place of its event in the journal.
    sequence: u64,
    /// The quality of service that it was published with.
    qos: u8,
    /// About how large it is, in bytes.
    bytes: u32,
    /// When it is of no more use.
    expires_at: Option<String>,
}

impl MqttRetainedMessage {
    pub(super) fn cursor(&self) -> String {
        self.topic.clone()
    }
}

/// A page of retained messages.
#[derive(Clone, Debug, SimpleObject)]
pub struct MqttRetainedPage {
    /// The messages, in the order of their topics.
    pub(super) data: Vec<MqttRetainedMessage>,
    /// Where the page lies.
    pub(super) page_info: PageInfo,
    /// How many there are in all.
    pub(super) total_count: usize,
}

/// A retained message with the beginning of its payload.
#[derive(Clone, Debug, SimpleObject)]
pub struct MqttRetainedContent {
    #[graphql(flatten)]
    message: MqttRetainedMessage,
    /// When the gateway took it.
    received_at: String,
    /// Who published it.
    sender: String,
    /// The client that published it.
    client_id: Option<String>,
    content_type: Option<String>,
    /// How large the whole payload is, in bytes.
    payload_bytes: usize,
    /// Whether less than the whole payload is shown.
    is_cut: bool,
    /// The payload, or its beginning, if it is text (UTF-8).
    payload: Option<String>,
    /// The same bytes in base64, whatever they are.
    payload_base64: String,
}

impl From<RetainedMessage> for MqttRetainedMessage {
    fn from(message: RetainedMessage) -> Self {
        Self {
            topic: message.topic.into(),
            sequence: message.sequence.0,
            qos: message.qos as u8,
            bytes: message.bytes,
            expires_at: message.expires_at.map(|at| at.to_string()),
        }
    }
}

impl From<RetainedContent> for MqttRetainedContent {
    fn from(content: RetainedContent) -> Self {
        let RetainedContent { message, event, payload, payload_bytes } = content;
        let is_cut = payload.len() < payload_bytes;
        Self {
            message: message.into(),
            received_at: event.received_at.to_string(),
            sender: event.sender.name.as_ref().to_owned(),
            client_id: event.origin.client_id.as_deref().map(str::to_owned),
            content_type: event.event.datacontenttype().map(str::to_owned),
            payload_bytes,
            is_cut,
            payload: text(&payload, is_cut),
            payload_base64: BASE64.encode(&payload),
        }
    }
}

/// The text that the bytes are; a character that was cut in two at the end is left out.
fn text(payload: &[u8], is_cut: bool) -> Option<String> {
    match std::str::from_utf8(payload) {
        Ok(text) => Some(text.to_owned()),
        Err(error) if is_cut && error.error_len().is_none() => {
            std::str::from_utf8(&payload[..error.valid_up_to()]).ok().map(str::to_owned)
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_other_bytes_are_none() {
        let cut = &"a\u{e4}".as_bytes()[..2];
        assert_eq!(text(cut, true).as_deref(), Some("a"));
        assert_eq!(text(cut, false), None);
        assert_eq!(text(b"\xff\x00", true), None);
        assert_eq!(text(b"whole", false).as_deref(), Some("whole"));
    }
}
