//! The port by which protocols ask what a payload without attributes is: a registered document
//! declares channels, and what is sent to one becomes the event that it declares.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::principal::Principal;
use crate::refusal::Refusal;

/// Knows the channels that registered documents declare.
pub trait Channels: Send + Sync {
    /// What a payload sent to a channel is; `None` when nobody declares that channel.
    ///
    /// # Errors
    /// The channel is not to be published to, or not unambiguous, or its address breaks a rule.
    fn find(&self, raw: &RawPayload<'_>) -> Result<Option<ChannelMessage>, Refusal>;
}

/// A payload without attributes, and where it was sent.
#[derive(Clone, Copy, Debug)]
pub struct RawPayload<'a> {
    /// Whose channel it is; `None`: the sender's first, then anybody's.
    pub application: Option<&'a str>,
    /// The topic, or the path below the application's channels.
    pub address: &'a str,
    /// Who sends it.
    pub principal: &'a Principal,
    /// The media type that the sender gives.
    pub content_type: Option<&'a str>,
    /// The bytes.
    pub payload: &'a [u8],
}

/// What a payload sent to a channel is declared to be.
#[derive(Clone, Debug)]
pub enum ChannelMessage {
    /// The data of an event with these attributes.
    Data(ChannelEvent),
    /// A whole event in the JSON format of CloudEvents.
    Event(Declaration),
}

/// The attributes that a channel gives its events.
#[derive(Clone, Debug)]
pub struct ChannelEvent {
    /// `type`.
    pub ty: String,
    /// `source`.
    pub source: String,
    /// `subject`.
    pub subject: String,
    /// `datacontenttype`, where the sender gives none.
    pub datacontenttype: Option<String>,
    /// `dataschema`.
    pub dataschema: Option<String>,
    /// What is asked of them beside.
    pub declaration: Declaration,
}

/// What a registered document says of an event, as it was found: protocols pass it on unseen, so
/// that a document that changes meanwhile concerns the next event.
#[derive(Clone)]
pub struct Declaration(Arc<dyn Any + Send + Sync>);

impl Declaration {
    /// Wraps what was found.
    #[must_use]
    pub fn new<T: Send + Sync + 'static>(found: Arc<T>) -> Self {
        Self(found)
    }

    /// What was wrapped, if it is a `T`.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.0).downcast().ok()
    }
}

impl fmt::Debug for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Declaration")
    }
}

/// Nothing is declared.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoChannels;

impl Channels for NoChannels {
    fn find(&self, _: &RawPayload<'_>) -> Result<Option<ChannelMessage>, Refusal> {
        Ok(None)
    }
}
