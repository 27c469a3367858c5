//! What a schema cannot say: names that must exist elsewhere in the document, or only once.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::parameter_names;
use crate::document::Version;
use crate::library::{Library, Node};
use crate::{ChannelMatcher, SpecError};

/// Finds what breaks the rules of a version.
pub(crate) fn check(
    root: Node<'_>,
    version: Version,
    errors: &mut Vec<SpecError>,
    library: &Library<'_>,
) {
    let mut rules = Rules { root, errors, library: *library };
    match version {
        Version::V2 => rules.v2(),
        Version::V3_0 | Version::V3_1 => rules.v3(),
    }
}

struct Rules<'a, 'e> {
    root: Node<'a>,
    errors: &'e mut Vec<SpecError>,
    library: Library<'a>,
}

impl<'a> Rules<'a, '_> {
    fn wrong(&mut self, node: &Node<'_>, expected: impl Into<String>) {
        self.errors.push(self.library.error(&node.at, expected));
    }

    /// What stands behind a reference; one that leads nowhere is told elsewhere.
    fn behind(&self, node: &Node<'a>) -> Node<'a> {
        self.library.follow(node).unwrap_or_else(|_| node.clone())
    }

    fn v2(&mut self) {
        let root = self.root.clone();
        self.tags(&root);
        for (_, server) in root.members("servers") {
            let server = self.behind(&server);
            let url = server.text("url").unwrap_or_default();
            self.described(&server, "variables", &url);
            self.security(&server);
        }
        let (mut operations, mut messages) = (BTreeMap::new(), BTreeMap::new());
        for (address, channel) in root.members("channels") {
            self.address(&channel, address);
            let channel = self.behind(&channel);
            self.described(&channel, "parameters", address);
            self.servers(&channel);
            for word in ["publish", "subscribe"] {
                let Some(operation) = channel.member(word) else { continue };
                self.tags(&operation);
                self.security(&operation);
                self.once(&operation, "operationId", &mut operations);
                for message in self.messages(&operation) {
                    self.tags(&message);
                    self.once(&message, "messageId", &mut messages);
                }
            }
        }
    }

    fn messages(&self, operation: &Node<'a>) -> Vec<Node<'a>> {
        let Some(message) = operation.member("message").map(|node| self.behind(&node)) else {
            return Vec::new();
        };
        if message.value.get("oneOf").is_none() {
            return vec![message];
        }
        message.items("oneOf").iter().map(|item| self.behind(item)).collect()
    }

    fn v3(&mut self) {
        let root = self.root.clone();
        for (_, server) in root.members("servers") {
            let server = self.behind(&server);
            let address = server.text("host").unwrap_or_default()
                + &server.text("pathname").unwrap_or_default();
            self.described(&server, "variables", &address);
        }
        for (_, channel) in root.members("channels") {
            let channel = self.behind(&channel);
            if let Some(address) = channel.text("address") {
                if let Some(node) = channel.member("address") {
                    self.address(&node, &address);
                }
                self.described(&channel, "parameters", &address);
            }
            for server in channel.items("servers") {
                self.refers(&server, "#/servers/", "a reference to a server of this document");
            }
        }
        for (_, operation) in root.members("operations") {
            let operation = self.behind(&operation);
            let Some(channel) = operation.member("channel") else { continue };
            self.refers(&channel, "#/channels/", "a reference to a channel of this document");
            let prefix = format!("{}/messages/", channel.reference().unwrap_or_default());
            for message in operation.items("messages") {
                self.refers(
                    &message,
                    &prefix,
                    "a reference to a message of the operation's channel",
                );
            }
        }
    }

    fn refers(&mut self, node: &Node<'_>, prefix: &str, expected: &str) {
        let inside = node.reference().is_none_or(|reference| reference.starts_with(prefix));
        if !inside {
            self.wrong(node, expected);
        }
    }

    fn address(&mut self, node: &Node<'_>, address: &str) {
        if address.contains(['?', '#']) {
            self.wrong(node, "an address without \"?\" and \"#\"");
        } else if let Err(error) = ChannelMatcher::parse(address) {
            self.wrong(node, error.to_string());
        }
    }

    /// What an address names in braces is what is described, if anything is.
    fn described(&mut self, node: &Node<'a>, member: &str, address: &str) {
        let Some(object) = node.member(member) else { return };
        let names: BTreeSet<&str> = parameter_names(address).collect();
        let described = node.members(member);
        let missing = names.iter().filter(|name| described.iter().all(|(other, _)| other != *name));
        for name in missing {
            self.wrong(&object, format!("the member {name:?}, which {address:?} names"));
        }
        for (name, surplus) in described.iter().filter(|(name, _)| !names.contains(name)) {
            self.wrong(surplus, format!("no member {name:?}, which {address:?} does not name"));
        }
    }

    fn servers(&mut self, channel: &Node<'a>) {
        let known: Vec<&str> = self.root.members("servers").iter().map(|(name, _)| *name).collect();
        for server in channel.items("servers") {
            if server.value.as_str().is_some_and(|name| !known.contains(&name)) {
                self.wrong(&server, "the name of a server of this document");
            }
        }
    }

    fn security(&mut self, node: &Node<'a>) {
        let components = self.root.member("components");
        let schemes: BTreeMap<&str, Node<'a>> = components
            .map(|node| node.members("securitySchemes"))
            .unwrap_or_default()
            .into_iter()
            .collect();
        for requirement in node.items("security") {
            for (name, value) in requirement.value.as_object().into_iter().flatten() {
                let at = Node { value, at: requirement.at.join(name) };
                match schemes.get(&**name).map(|scheme| self.behind(scheme)) {
                    None => self.wrong(&at, "the name of a security scheme of this document"),
                    Some(scheme) => self.scopes(&at, &scheme),
                }
            }
        }
    }

    fn scopes(&mut self, required: &Node<'_>, scheme: &Node<'_>) {
        if scheme.text("type").as_deref() != Some("oauth2") {
            return;
        }
        let flows = scheme.members("flows").into_iter();
        let granted: BTreeSet<&str> =
            flows.flat_map(|(_, flow)| flow.members("scopes")).map(|(name, _)| name).collect();
        for (index, scope) in required.value.as_array().into_iter().flatten().enumerate() {
            if scope.as_str().is_some_and(|scope| !granted.contains(scope)) {
                let at = Node { value: scope, at: required.at.join(&index.to_string()) };
                self.wrong(&at, "a scope that the security scheme grants");
            }
        }
    }

    fn tags(&mut self, node: &Node<'a>) {
        let mut seen = BTreeSet::new();
        for tag in node.items("tags") {
            let name = self.behind(&tag).text("name");
            if name.is_some_and(|name| !seen.insert(name)) {
                self.wrong(&tag, "a tag that is not there yet");
            }
        }
    }

    fn once(
        &mut self,
        node: &Node<'a>,
        member: &str,
        seen: &mut BTreeMap<String, crate::Location>,
    ) {
        let Some(id) = node.member(member) else { return };
        let Some(name) = id.value.as_str() else { return };
        let first = seen.entry(name.to_owned()).or_insert_with(|| node.at.clone());
        if *first != node.at {
            self.wrong(&id, format!("{member:?} that no other has"));
        }
    }
}
