//! Who sent an event, as attributes of the event: the CloudEvents extension `authcontext`. The
//! gateway alone sets them, on the way out, from what it knows of the sender.

use crate::event::CloudEvent;
use crate::principal::Method;
use crate::submission::Sender;

/// What kind of principal it is.
pub const TYPE: &str = "authtype";
/// Which principal it is.
pub const ID: &str = "authid";
/// What else is known of it. The gateway does not set this: claims stay where they were checked.
pub const CLAIMS: &str = "authclaims";

/// The attribute of the extension that `event` has, if any: no sender may set one, or it could
/// pass for another.
#[must_use]
pub fn claimed(event: &CloudEvent) -> Option<&'static str> {
    if event.extensions().is_empty() {
        return None;
    }
    [TYPE, ID, CLAIMS].into_iter().find(|name| event.extension(name).is_some())
}

/// The attributes that say who `sender` is. Who is anonymous has no identifier.
pub fn attributes(sender: &Sender) -> impl Iterator<Item = (&'static str, &str)> {
    let id = (sender.method != Method::Anonymous).then_some((ID, &*sender.name));
    [(TYPE, kind(sender.method))].into_iter().chain(id)
}

/// The extension's word for the kind of principal that a method recognizes.
#[must_use]
pub const fn kind(method: Method) -> &'static str {
    match method {
        Method::Anonymous => "unauthenticated",
        Method::Bearer | Method::Certificate | Method::Bus => "service_account",
        Method::Basic => "user",
        Method::ApiKey => "api_key",
        Method::System => "system",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(extension: Option<&str>) -> CloudEvent {
        let mut builder = CloudEvent::builder();
        builder.implied_spec_version();
        for (name, text) in [("id", "1"), ("source", "/s"), ("type", "t"), ("zone", "eu")] {
            builder.attribute(name, text).unwrap();
        }
        if let Some(name) = extension {
            builder.attribute(name, "admin").unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn an_identity_that_a_sender_claims_is_found() {
        assert_eq!(claimed(&event(None)), None);
        for name in ["authtype", "authid", "authclaims"] {
            assert_eq!(claimed(&event(Some(name))), Some(name));
        }
        assert_eq!(claimed(&event(Some("authidx"))), None);
    }

    #[test]
    fn who_is_anonymous_has_no_identifier() {
        let of = |method| {
            let sender = Sender { name: "shop".into(), method, application: None };
            attributes(&sender).map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>()
        };
        assert_eq!(of(Method::Anonymous), ["authtype=unauthenticated"]);
        assert_eq!(of(Method::ApiKey), ["authtype=api_key", "authid=shop"]);
        assert_eq!(of(Method::Certificate), ["authtype=service_account", "authid=shop"]);
    }
}
