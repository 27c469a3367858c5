//! What applications, runtimes and definitions may be, as Compass has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::Uri;
use eg_event::InvalidInput;
use eg_event::outbound::Auth;
use eg_event::subscription::is_http_url;
use eg_http::{is_application, is_same_origin};
use eg_spec::Limits;
use serde_json::Value;

use super::change::{
    ApplicationInput, AuthChange, DefinitionInput, ExternalInput, RuntimeInput, SpecInput,
};
use super::definition::{ApplicationLimits, Version};
use super::external::direction;

const NAME_CHARACTERS_MAX: usize = 100;
const DESCRIPTION_CHARACTERS_MAX: usize = 2000;
const PROVIDER_CHARACTERS_MAX: usize = 256;
const GROUP_CHARACTERS_MAX: usize = 36;
const VERSION_CHARACTERS_MAX: usize = 256;
const LABELS_MAX: usize = 64;
const LABELS_BYTES_MAX: usize = 16_384;
const FETCH_URL_CHARACTERS_MAX: usize = 256;
const BUS_URL_CHARACTERS_MAX: usize = 2048;
const TOPIC_BYTES_MAX: usize = 1024;
/// Retention by bytes goes in steps of about this size.
const RETENTION_BYTES_MIN: u64 = 1 << 20;
const ATTRIBUTES_MAX: usize = 32;
const ATTRIBUTES_BYTES_MAX: usize = 8192;
/// The most buses that one definition names.
const EXTERNAL_SUBSCRIPTIONS_MAX: usize = 16;

/// Applications cannot be called so: the sources of all MQTT clients, and of the gateway itself,
/// begin with it.
const RESERVED: [&str; 2] = ["mqtt", "event-gateway"];

/// The schemes of the buses that can be named.
pub(super) const SCHEMES: [&str; 12] = [
    "kafka", "kafkas", "nats", "tls+nats", "amqp", "amqps", "amqp10", "amqps10", "mqtt", "mqtts",
    "http", "https",
];

type Checked = Result<(), InvalidInput>;

pub(super) fn application(input: &ApplicationInput) -> Checked {
    if !is_application(&input.name) {
        let detail = "expected letters, digits and hyphens in parts divided by full stops, at \
            most 253 bytes";
        return Err(InvalidInput::new("name", detail));
    }
    if RESERVED.contains(&&*input.name) {
        let detail = "expected another: sources of this name are those of others";
        return Err(InvalidInput::new("name", detail));
    }
    description(input.description.as_deref())?;
    prose("providerName", input.provider_name.as_deref(), PROVIDER_CHARACTERS_MAX)?;
    labels(&input.labels)
}

pub(super) fn limits(limits: &ApplicationLimits) -> Checked {
    let at_least = |field: &str, value: Option<u64>, least: u64| {
        if value.is_none_or(|value| value >= least) {
            return Ok(());
        }
        let detail = format!("expected at least {least}, or null for none of its own");
        Err(InvalidInput::new(field, detail))
    };
    at_least("retentionHours", limits.retention_hours.map(u64::from), 1)?;
    at_least("retentionBytes", limits.retention_bytes, RETENTION_BYTES_MIN)?;
    at_least("quotaBytes", limits.quota_bytes, 1)?;
    at_least("eventsPerSecond", limits.events_per_second.map(u64::from), 1)?;
    at_least("burstEvents", limits.burst_events.map(u64::from), 1)?;
    let mqtt = [
        ("mqttConnections", limits.mqtt_connections.map(u64::from)),
        ("mqttSubscriptions", limits.mqtt_subscriptions.map(u64::from)),
        ("mqttQueueMessages", limits.mqtt_queue_messages),
        ("mqttQueueBytes", limits.mqtt_queue_bytes),
        ("mqttInflightMessages", limits.mqtt_inflight_messages.map(u64::from)),
    ];
    for (field, value) in mqtt {
        at_least(field, value, 1)?;
    }
    if limits.burst_events.is_some() && limits.events_per_second.is_none() {
        return Err(InvalidInput::new("burstEvents", "expected none without eventsPerSecond"));
    }
    Ok(())
}

pub(super) fn runtime(input: &RuntimeInput) -> Checked {
    name(&input.name)?;
    description(input.description.as_deref())?;
    labels(&input.labels)
}

pub(super) fn definition(input: &DefinitionInput) -> Checked {
    input.name.as_deref().map_or(Ok(()), name)?;
    description(input.description.as_deref())?;
    prose("group", input.group.as_deref(), GROUP_CHARACTERS_MAX)?;
    input.version.as_ref().map_or(Ok(()), version)?;
    spec(&input.spec)?;
    // It is for those who consume; the gateway itself connects nowhere by it.
    auth("auth", &input.auth, "https://receiver.invalid/")?;
    if input.external_subscriptions.len() > EXTERNAL_SUBSCRIPTIONS_MAX {
        let detail = format!("expected at most {EXTERNAL_SUBSCRIPTIONS_MAX}");
        return Err(InvalidInput::new("externalSubscriptions", detail));
    }
    let mut seen = Vec::new();
    for (index, one) in input.external_subscriptions.iter().enumerate() {
        let place = format!("externalSubscriptions[{index}]");
        external(&place, one)?;
        let named = (&one.url, &one.topic, direction(&one.attributes));
        if seen.contains(&named) {
            let detail = "expected each url and topic once in each direction";
            return Err(InvalidInput::new(format!("{place}.topic"), detail));
        }
        seen.push(named);
    }
    Ok(())
}

/// The rule for names that are for people.
pub(crate) fn name(name: &str) -> Checked {
    let is_printable = name.bytes().all(|b| matches!(b, b' '..=b'~'));
    if is_printable && name.trim() == name && (1..=NAME_CHARACTERS_MAX).contains(&name.len()) {
        return Ok(());
    }
    let detail = format!(
        "expected 1 to {NAME_CHARACTERS_MAX} printable ASCII characters, with no space at either \
         end"
    );
    Err(InvalidInput::new("name", detail))
}

fn description(text: Option<&str>) -> Checked {
    prose("description", text, DESCRIPTION_CHARACTERS_MAX)
}

fn prose(field: &str, text: Option<&str>, characters_max: usize) -> Checked {
    if text.is_none_or(|text| text.chars().count() <= characters_max) {
        return Ok(());
    }
    Err(InvalidInput::new(field, format!("expected at most {characters_max} characters")))
}

fn labels(labels: &BTreeMap<String, Value>) -> Checked {
    let wrong = |detail: String| Err(InvalidInput::new("labels", detail));
    let is_key = |key: &String| {
        (1..=256).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b))
    };
    if !labels.keys().all(is_key) {
        return wrong("expected keys of letters, digits and any of _-./".to_owned());
    }
    let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.to_string().len()).sum();
    if labels.len() > LABELS_MAX || bytes > LABELS_BYTES_MAX {
        return wrong(format!("expected at most {LABELS_MAX}, of {LABELS_BYTES_MAX} bytes in all"));
    }
    Ok(())
}

fn version(version: &Version) -> Checked {
    prose("version.value", Some(&version.value), VERSION_CHARACTERS_MAX)?;
    let since = version.deprecated_since.as_deref();
    prose("version.deprecatedSince", since, VERSION_CHARACTERS_MAX)?;
    if is_semantic(&version.value) {
        return Ok(());
    }
    Err(InvalidInput::new("version.value", "expected a semantic version, such as 1.0.2"))
}

/// Semantic Versioning 2.0.0: three numbers, then maybe `-` or `+` and identifiers.
fn is_semantic(text: &str) -> bool {
    let (version, build) = text.split_once('+').map_or((text, None), |(v, b)| (v, Some(b)));
    let (core, pre) = version.split_once('-').map_or((version, None), |(c, p)| (c, Some(p)));
    let is_number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let is_identifier = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let is_plain = |part: &str| !part.bytes().all(|b| b.is_ascii_digit()) || is_number(part);
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| is_identifier(part) && is_plain(part)))
        && build.is_none_or(|build| build.split('.').all(is_identifier))
}

fn spec(input: &SpecInput) -> Checked {
    match (&input.data, &input.fetch) {
        (Some(data), None) => {
            let max = Limits::default().document_bytes_max;
            if data.len() <= max {
                return Ok(());
            }
            Err(InvalidInput::new("spec.data", format!("expected at most {max} bytes")))
        }
        (None, Some(fetch)) => {
            if !is_http_url(&fetch.url) || fetch.url.len() > FETCH_URL_CHARACTERS_MAX {
                let detail = format!(
                    "expected an http or https URL of at most {FETCH_URL_CHARACTERS_MAX} \
                     characters without user information or fragment"
                );
                return Err(InvalidInput::new("spec.fetchRequest.url", detail));
            }
            let filter = fetch.filter.as_deref();
            prose("spec.fetchRequest.filter", filter, VERSION_CHARACTERS_MAX)?;
            auth("spec.fetchRequest.auth", &fetch.auth, &fetch.url)
        }
        _ => Err(InvalidInput::new("spec", "expected exactly one of data and fetchRequest")),
    }
}

fn external(place: &str, input: &ExternalInput) -> Checked {
    let wrong =
        |field: &str, detail: String| Err(InvalidInput::new(format!("{place}.{field}"), detail));
    let uri: Option<Uri> = input.url.parse().ok();
    let is_known = uri.as_ref().is_some_and(|uri| {
        uri.scheme_str().is_some_and(|scheme| SCHEMES.contains(&scheme))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.host().is_some_and(|host| !host.is_empty())
            && !input.url.contains('#')
    });
    if !is_known || input.url.len() > BUS_URL_CHARACTERS_MAX {
        let detail = format!(
            "expected a URL of at most {BUS_URL_CHARACTERS_MAX} characters without user \
             information and fragment, with one of the schemes {}",
            SCHEMES.join(", ")
        );
        return wrong("url", detail);
    }
    let has_control = input.topic.chars().any(char::is_control);
    if has_control || !(1..=TOPIC_BYTES_MAX).contains(&input.topic.len()) {
        let detail = format!("expected 1 to {TOPIC_BYTES_MAX} bytes without control characters");
        return wrong("topic", detail);
    }
    let bytes: usize = input.attributes.iter().map(|(name, text)| name.len() + text.len()).sum();
    if input.attributes.len() > ATTRIBUTES_MAX || bytes > ATTRIBUTES_BYTES_MAX {
        let detail =
            format!("expected at most {ATTRIBUTES_MAX}, of {ATTRIBUTES_BYTES_MAX} bytes in all");
        return wrong("attributes", detail);
    }
    // Certificates are shown in handshakes of TLS alone.
    let scheme = uri.as_ref().and_then(Uri::scheme_str).unwrap_or_default();
    let is_tls = ["kafkas", "tls+nats", "amqps", "amqps10", "mqtts", "https"].contains(&scheme);
    let has_certificate =
        matches!(&input.auth, AuthChange::Set(auth) if auth.certificate.is_some());
    if has_certificate && !is_tls {
        let detail = "expected none, or a URL with TLS: it is shown during TLS handshakes";
        return wrong("auth.certificate", detail.to_owned());
    }
    auth(&format!("{place}.auth"), &input.auth, &input.url)
}

fn auth(place: &str, given: &AuthChange, endpoint: &str) -> Checked {
    let AuthChange::Set(auth) = given else { return Ok(()) };
    auth.check(endpoint).map_err(|error| under(place, error))
}

/// The same error about the field below `place` instead of below `auth`.
pub(crate) fn under(place: &str, error: InvalidInput) -> InvalidInput {
    let rest = error.field.strip_prefix("auth").unwrap_or_default();
    InvalidInput::new(format!("{place}{rest}"), error.detail)
}

/// The authentication that holds from now on. Secrets do not follow to another origin: who may
/// change where they are presented is not thereby told what they are.
pub(super) fn kept_auth(
    place: &str,
    given: &AuthChange,
    known: Option<(&str, Option<&Arc<Auth>>)>,
    url: &str,
) -> Result<Option<Arc<Auth>>, InvalidInput> {
    match (given, known) {
        (AuthChange::Set(auth), _) => Ok(Some(Arc::clone(auth))),
        (AuthChange::Remove, _) | (AuthChange::Keep, None | Some((_, None))) => Ok(None),
        (AuthChange::Keep, Some((known, Some(auth)))) => {
            let origins = (known.parse::<Uri>(), url.parse::<Uri>());
            if matches!(&origins, (Ok(one), Ok(other)) if is_same_origin(one, other)) {
                return Ok(Some(Arc::clone(auth)));
            }
            let detail = "expected it anew, or null: the url is at another host, and secrets that \
                were given for the old one are not sent there";
            Err(InvalidInput::new(place, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semantic_version_is_three_numbers_and_maybe_more() {
        for good in ["0.0.1", "1.2.3", "1.0.0-alpha.1", "1.0.0+build.01", "1.0.0-x-y.0+z"] {
            assert!(is_semantic(good), "{good}");
        }
        for bad in ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3-", "1.2.3-01", "v1.2.3"] {
            assert!(!is_semantic(bad), "{bad}");
        }
    }

    #[test]
    fn secrets_do_not_follow_to_another_origin() {
        let auth = Arc::new(Auth::default());
        let known = Some(("https://a.test/x", Some(&auth)));
        let keep = |url| kept_auth("auth", &AuthChange::Keep, known, url);
        assert!(keep("https://a.test:443/y").unwrap().is_some());
        for other in ["https://b.test/x", "http://a.test/x", "https://a.test:444/x"] {
            assert_eq!(keep(other).unwrap_err().field, "auth", "{other}");
        }
        let removed = kept_auth("auth", &AuthChange::Remove, known, "https://b.test/");
        assert_eq!(removed.unwrap(), None);
    }
}
