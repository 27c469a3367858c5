//! What external subscriptions lead to: events of the definition are pushed to those over HTTP;
//! the others are told to wait for their bus.

use std::collections::{BTreeMap, BTreeSet};

use eg_bus::{Attributes, Bus, Target};
use eg_event::filter::{Comparison, Filter};
use eg_event::subscription::{BusTopic, ContentMode};
use eg_event::{InvalidInput, Subscription};
use eg_spec::Spec;

use super::definition::{Application, Definition, ExternalSubscription};
use super::error::SpecsError;
use super::rules::under;
use crate::declared::Place;

/// What the names of subscriptions begin with that belong to definitions.
const PREFIX: &str = "spec-";
/// The direction of topics that are read.
const CONSUME: &str = "consume";

/// What an external subscription is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Events are pushed by the subscription of this name.
    Pushed(String),
    /// The topic is read, under this name.
    Consumed(String),
    /// Nothing happens; why.
    None(String),
}

/// What `external` of `definition` leads to.
#[must_use]
pub fn effect(definition: &Definition, external: &ExternalSubscription) -> Effect {
    let scheme = scheme(external);
    if !is_http(scheme) && !is_available(scheme) {
        return Effect::None(format!("buses of {scheme} are not available in this build"));
    }
    if definition.spec.data.is_none() {
        return Effect::None("the document is not there yet".to_owned());
    }
    if direction(&external.attributes) == CONSUME {
        return Effect::Consumed(name(definition, external));
    }
    Effect::Pushed(name(definition, external))
}

/// Which way events go, as `attributes` say.
#[must_use]
pub fn direction(attributes: &BTreeMap<String, String>) -> &str {
    attributes.get("direction").map_or("deliver", String::as_str)
}

/// Whether a subscription of a definition is one by which a topic is read.
#[must_use]
pub fn is_consumed(subscription: &Subscription) -> bool {
    let topic = subscription.bus.as_ref();
    topic.is_some_and(|topic| direction(&topic.attributes) == CONSUME)
}

/// The definition that the subscription called `name` belongs to; none if it is an operator's.
#[must_use]
pub fn owner(name: &str) -> Option<&str> {
    let (id, number) = name.strip_prefix(PREFIX)?.rsplit_once('-')?;
    let is_id =
        id.len() == 36 && id.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f' | b'-'));
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    (is_id && is_number).then_some(id)
}

/// What is pushed because of `definition`, whose document says `spec`.
pub(super) fn pushes(
    application: &Application,
    definition: &Definition,
    spec: &Spec,
) -> Result<Vec<Subscription>, SpecsError> {
    let filters = filters(application, spec);
    let mut pushes = Vec::new();
    for (index, external) in definition.external_subscriptions.iter().enumerate() {
        let place = format!("externalSubscriptions[{index}]");
        let name = name(definition, external);
        let mut push = if is_http(scheme(external)) {
            over_http(name, external).map_err(|error| named(&place, error))?
        } else {
            on_bus(name, external).map_err(|error| named(&place, error))?
        };
        push.filters.clone_from(&filters);
        push.auth.clone_from(&external.auth);
        push.check().map_err(|error| named(&place, error))?;
        if is_http(scheme(external)) || is_available(scheme(external)) {
            pushes.push(push);
        }
    }
    Ok(pushes)
}

/// A subscription to a topic of a bus.
fn on_bus(name: String, external: &ExternalSubscription) -> Result<Subscription, InvalidInput> {
    let mut push = Subscription::new(name, external.url.clone());
    let attributes = external.attributes.clone();
    push.bus = Some(BusTopic { topic: external.topic.clone(), attributes });
    let target = Target::of(&push)?;
    target.attributes.govern(&mut push);
    Ok(push)
}

/// A subscription to an endpoint of HTTP.
fn over_http(name: String, external: &ExternalSubscription) -> Result<Subscription, InvalidInput> {
    let attributes = Attributes::parse(Bus::Http, &external.attributes)?;
    let mut push = Subscription::new(name, endpoint(external));
    push.content_mode = match attributes.get("contentMode") {
        Some("STRUCTURED") => ContentMode::Structured,
        Some("KYMA") => ContentMode::Kyma,
        _ => ContentMode::Binary,
    };
    attributes.govern(&mut push);
    Ok(push)
}

/// Whether this program speaks to buses of that scheme.
fn is_available(scheme: &str) -> bool {
    Bus::of_scheme(scheme).is_some_and(|(bus, ..)| bus.is_available())
}

/// The error of a subscription as one of the external subscription at `place`.
pub(super) fn named(place: &str, error: InvalidInput) -> InvalidInput {
    match &*error.field {
        "endpoint" => InvalidInput::new(format!("{place}.url"), error.detail),
        "orderingKey" => InvalidInput::new(format!("{place}.attributes.orderingKey"), error.detail),
        "retry.maxDelayMs" => {
            InvalidInput::new(format!("{place}.attributes.retryMaxDelayMs"), error.detail)
        }
        field if field.starts_with("auth") => under(&format!("{place}.auth"), error),
        field => InvalidInput::new(format!("{place}.{field}"), error.detail.clone()),
    }
}

fn name(definition: &Definition, external: &ExternalSubscription) -> String {
    format!("{PREFIX}{}-{}", definition.id, external.number)
}

fn scheme(external: &ExternalSubscription) -> &str {
    external.url.split_once(':').map_or("", |(scheme, _)| scheme)
}

fn is_http(scheme: &str) -> bool {
    matches!(scheme, "http" | "https")
}

/// The URL with the topic as path below its own.
fn endpoint(external: &ExternalSubscription) -> String {
    let (base, query) = match external.url.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (&*external.url, String::new()),
    };
    let mut endpoint = base.trim_end_matches('/').to_owned();
    endpoint.push('/');
    for byte in external.topic.trim_start_matches('/').bytes() {
        // RFC 3986 section 3.3: what a path has as it is.
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            endpoint.push(char::from(byte));
        } else {
            let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value)]);
            endpoint.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    endpoint + &query
}

/// What lets pass the events of `application` that `spec` declares.
fn filters(application: &Application, spec: &Spec) -> Vec<Filter> {
    let comparison = |attribute: &str, text| Comparison { attribute: attribute.to_owned(), text };
    let exact = |attribute, text| Filter::Exact(vec![comparison(attribute, text)]);
    let below = |text| Filter::Prefix(vec![comparison("source", text)]);
    let places: Vec<_> =
        spec.channels.iter().flat_map(|channel| Place::all_on(spec, channel)).collect();
    let own = ["", "/", "/mqtt/"].map(|before| format!("{before}{}", application.name));
    let mut sources: Vec<_> = own.iter().map(|own| exact("source", own.clone())).collect();
    sources.extend(own.iter().map(|own| below(format!("{own}/"))));
    let said = places.iter().filter_map(Place::source);
    let said: BTreeSet<_> = said.map(|source| source.known(&application.name)).collect();
    // What begins with a parameter may be the source of anybody.
    sources.extend(
        said.into_iter()
            .filter(|(known, _)| !known.is_empty())
            .map(|(known, is_whole)| if is_whole { exact("source", known) } else { below(known) }),
    );
    let mut filters = vec![Filter::Any(sources)];
    if let Some(types) = types(application, &places) {
        let types = types.into_iter().map(|one| exact("type", one));
        filters.push(Filter::Any(types.collect()));
    }
    filters
}

/// The event types that a document declares; none if it does not fix them.
fn types(application: &Application, places: &[Place<'_>]) -> Option<BTreeSet<String>> {
    let types: Option<BTreeSet<String>> =
        places.iter().map(|place| event_type(application, place)).collect();
    types.filter(|types| !types.is_empty())
}

/// The type of the events that a message becomes; none if it depends on the parameters of the
/// address.
fn event_type(application: &Application, place: &Place<'_>) -> Option<String> {
    if let Some(cloud_event) = &place.message.cloud_event {
        // A CloudEvent whose type is not fixed may have any.
        return cloud_event.attributes.get("type").cloned().flatten();
    }
    let (known, is_whole) = place.ty().known(&application.name);
    is_whole.then_some(known)
}

#[cfg(test)]
mod tests {
    use eg_event::CloudEvent;

    use super::*;
    use crate::declared::fixture;
    use crate::matching::lets_pass;

    fn at(url: &str, topic: &str) -> String {
        let external = ExternalSubscription {
            number: 0,
            url: url.to_owned(),
            auth: None,
            topic: topic.to_owned(),
            attributes: BTreeMap::new(),
        };
        endpoint(&external)
    }

    #[test]
    fn the_topic_is_a_path_below_the_url() {
        assert_eq!(at("https://bus.test", "orders"), "https://bus.test/orders");
        assert_eq!(at("https://bus.test/in/", "/a b/c?"), "https://bus.test/in/a%20b/c%3F");
        assert_eq!(at("https://bus.test/in?key=1", "orders"), "https://bus.test/in/orders?key=1");
    }

    const SPEC: &str = "asyncapi: 3.0.0\ninfo: {title: Orders, version: 1.0.0}\n";

    /// Whether an event is pushed because of the document of the application `shop` that has
    /// `extension`, and messages that are called `placed`, on `orders/{region}`.
    fn is_pushed(extension: &str, source: &str, ty: &str) -> bool {
        let text = format!(
            "asyncapi: 3.0.0\ninfo: {{title: Orders, version: 1.0.0}}\n{extension}\nchannels:\n  \
             orders:\n    address: orders/{{region}}\n    parameters: {{region: {{}}}}\n    \
             messages: {{placed: {{name: placed}}}}\n"
        );
        let spec = fixture::definition("shop", "orders", &text).spec.read().unwrap().unwrap();
        let mut push = Subscription::new("spec-orders-0", "https://bus.test/");
        push.filters = filters(&fixture::application("shop"), &spec);
        let mut event = CloudEvent::builder();
        event.implied_spec_version();
        for (name, text) in [("id", "1"), ("source", source), ("type", ty)] {
            event.attribute(name, text).unwrap();
        }
        lets_pass(&push, &event.build().unwrap())
    }

    #[test]
    fn what_extensions_make_of_payloads_is_pushed() {
        for (extension, source, ty) in [
            ("x-other: x", "/shop", "placed"),
            ("x-event-type: order.placed", "/shop", "order.placed"),
            ("x-event-type: '{application}.placed'", "/shop", "shop.placed"),
            ("x-event-type: 'order.{region}'", "/shop", "order.eu"),
            ("x-event-source: /sales", "/sales", "placed"),
            ("x-event-source: '/sales/{application}'", "/sales/shop", "placed"),
            ("x-event-source: '/sales/{region}'", "/sales/eu", "placed"),
        ] {
            assert!(is_pushed(extension, source, ty), "{extension}");
        }
    }

    #[test]
    fn what_a_document_does_not_make_is_not_pushed() {
        for (extension, source, ty) in [
            ("x-other: x", "/bank", "placed"),
            ("x-event-type: order.placed", "/shop", "placed"),
            ("x-event-source: '/sales/{region}'", "/bank", "placed"),
            ("x-event-source: '{region}'", "/bank", "placed"),
        ] {
            assert!(!is_pushed(extension, source, ty), "{extension}");
        }
    }

    #[test]
    fn an_attribute_that_is_wrong_is_named() {
        for (url, name, value) in [
            ("nats://bus.test", "colour", "red"),
            ("https://bus.test", "colour", "red"),
            ("https://bus.test", "retryMaxDelayMs", "999"),
            ("https://bus.test", "retryMaxAttempts", "0"),
            ("mqtt://bus.test", "retryMaxAgeSeconds", "1d"),
            ("nats://bus.test", "requestTimeoutMs", "60001"),
            ("nats://bus.test", "orderingKey", "Data.X"),
        ] {
            let mut definition = fixture::definition("shop", "orders", SPEC);
            definition.external_subscriptions = vec![ExternalSubscription {
                number: 0,
                url: url.to_owned(),
                auth: None,
                topic: "orders".to_owned(),
                attributes: [(name.to_owned(), value.to_owned())].into(),
            }];
            let spec = definition.spec.read().unwrap().unwrap();
            let refused = pushes(&fixture::application("shop"), &definition, &spec).unwrap_err();
            let refused = refused.to_string();
            let place = format!("externalSubscriptions[0].attributes.{name}: ");
            assert!(refused.starts_with(&place), "{refused}");
        }
    }

    #[test]
    fn names_of_definitions_subscriptions_are_told_from_those_of_operators() {
        let id = "22ae22a4-f5b7-4fa1-ada9-558a10a96f3d";
        assert_eq!(owner(&format!("spec-{id}-0")), Some(id));
        for name in ["spec-orders-1", "orders", "spec-", &format!("spec-{id}"), id] {
            assert_eq!(owner(name), None, "{name}");
        }
    }
}
