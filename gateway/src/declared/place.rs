//! Where a document has a message, and what it says there of the attributes of events.

use eg_spec::{Action, Channel, Message, Named, Operation, Spec};

use super::template::Template;

/// A message where one operation has it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The document.
    pub spec: &'a Spec,
    /// Where the message goes.
    pub channel: &'a Channel,
    /// What the application does with it.
    pub operation: Option<&'a Operation>,
    /// The message.
    pub message: &'a Message,
}

impl<'a> Place<'a> {
    /// The messages of `channel` in their order: each as often as operations have it; on a channel without any
    /// operation, once.
    #[must_use]
    pub fn all_on(spec: &'a Spec, channel: &'a Channel) -> Vec<Self> {
        let on_it = |one: &&Operation| one.channel == channel.name;
        let operations: Vec<_> = spec.operations.iter().filter(on_it).collect();
        let mut places = Vec::new();
        for message in &channel.messages {
            let place = |operation| Self { spec, channel, operation, message };
            if operations.is_empty() {
                places.push(place(None));
            }
            let with_it = operations.iter().filter(|one| one.messages.contains(&message.key));
            places.extend(with_it.map(|one| place(Some(*one))));
        }
        places
    }

    /// Whether others than the application may send it.
    #[must_use]
    pub fn is_received(&self) -> bool {
        self.operation.is_none_or(|one| one.action == Action::Receive)
    }

    /// The `type` of the events: the one that the message fixes, what `x-event-type` says, or else
    /// a name.
    #[must_use]
    pub fn ty(&self) -> Template {
        let declared = self.declared("type").map(Template::literal);
        declared.or_else(|| self.template("x-event-type")).unwrap_or_else(|| {
            Template::literal(self.message.name.as_ref().unwrap_or(&self.channel.name))
        })
    }

    /// Their `source`, if the document says it.
    #[must_use]
    pub fn source(&self) -> Option<Template> {
        let declared = self.declared("source").map(Template::literal);
        declared.or_else(|| self.template("x-event-source"))
    }

    /// An extension: of the message, the operation, the channel, or the document.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        let places: [Option<&Named>; 4] = [
            Some(&self.message.extensions),
            self.operation.map(|one| &one.extensions),
            Some(&self.channel.extensions),
            Some(&self.spec.extensions),
        ];
        let found = places.into_iter().flatten().find_map(|place| place.get(name))?;
        found.as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn template(&self, name: &str) -> Option<Template> {
        let parameters = self.channel.parameters.iter().map(|one| one.name.as_str());
        let names: Vec<_> = parameters.chain(["application"]).collect();
        self.text(name).map(|text| Template::parse(text, &names))
    }

    /// The value of an attribute that the message declares as a CloudEvent, if there is but one.
    pub(super) fn declared(&self, name: &str) -> Option<&'a str> {
        let event = self.message.cloud_event.as_ref()?;
        event.attributes.get(name)?.as_deref().filter(|value| !value.is_empty())
    }
}
