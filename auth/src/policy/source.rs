//! Who may use which `source`: a principal's own, the gateway's own, and how one has to be written
//! so that it can be compared.

use eg_event::InvalidInput;

use super::config::SourceBinding;
use super::pattern::{Escape, Pattern, is_unreserved};

/// What the sources of the gateway's own events begin with.
pub const RESERVED: &str = "/event-gateway";

/// The application whose own sources would be those of every MQTT client.
pub(super) const MQTT: &str = "mqtt";

/// Whether `source` is the gateway's own, however it is written, so that nobody else may use it.
#[must_use]
pub fn is_reserved(source: &str) -> bool {
    let is_below = |source: &str| {
        let rest = source.strip_prefix(RESERVED);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
    };
    is_below(source) || (!is_normal(source) && is_below(&resolved(source)))
}

/// A path without dot segments and needless escapes (RFC 3986 sections 5.2.4, 6.2.2.2).
fn resolved(path: &str) -> String {
    let mut parts = path.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if is_unreserved(byte) => {
                decoded.push(char::from(byte));
                decoded.push_str(&part[2..]);
            }
            _ => decoded.extend(["%", part]),
        }
    }
    let mut segments = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "." => {}
            // What is above the root is the root.
            ".." => segments.truncate(segments.len().saturating_sub(1).max(1)),
            segment => segments.push(segment),
        }
    }
    segments.join("/")
}

/// `source` with scheme and host in lower case and escapes in upper case (RFC 3986 section
/// 6.2.2.1), if it is not written so.
pub(super) fn in_normal_case(source: &str) -> Option<String> {
    let scheme = source.split(['/', '?', '#']).next().and_then(|first| first.find(':'));
    let host = scheme.map_or(0, |colon| match source[colon..].strip_prefix("://") {
        Some(rest) => colon + 3 + rest.find(['/', '?', '#']).unwrap_or(rest.len()),
        None => colon,
    });
    let mut normal = source[..host].to_ascii_lowercase();
    for (index, part) in source[host..].split('%').enumerate() {
        if index > 0 {
            normal.push('%');
        }
        match part.split_at_checked(2) {
            Some((digits, rest)) if index > 0 => {
                normal.extend([&*digits.to_ascii_uppercase(), rest]);
            }
            _ => normal.push_str(part),
        }
    }
    (normal != source).then_some(normal)
}

/// The patterns of a principal's own sources; none: every source.
pub(super) fn own(binding: SourceBinding) -> Result<Option<Vec<Pattern>>, InvalidInput> {
    let itself = ["${application}", "/${application}", "/mqtt/${name}"];
    let below = ["${application}/*", "/${application}/*", "/mqtt/${name}/*"];
    let texts: Vec<_> = match binding {
        SourceBinding::Application => itself.to_vec(),
        SourceBinding::Prefix => [itself, below].concat(),
        SourceBinding::None => return Ok(None),
    };
    let pattern = |text: &str| Pattern::parse("policy.source_binding", text, Escape::Percent);
    texts.into_iter().map(pattern).collect::<Result<_, _>>().map(Some)
}

/// Whether `source` has no segment `.` or `..` and escapes nothing that needs no escape: two texts
/// of which RFC 3986 section 6.2.2 says that they are the same must not be told apart by a rule.
pub(super) fn is_normal(source: &str) -> bool {
    let path = source.split(['?', '#']).next().unwrap_or_default();
    let has_dots = path.contains('.') && path.split('/').any(|one| one == "." || one == "..");
    let needless = |after: &str| {
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_none_or(is_unreserved)
    };
    !has_dots && !source.split('%').skip(1).any(needless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_only_look_different_are_not_normal() {
        let normal = ["shop", "/shop/tills/3", "/a.b/..c", "urn:x:%C3%A9", "/a%2Fb", "/a?../b"];
        for source in normal {
            assert!(is_normal(source), "{source}");
        }
        for source in ["/shop/../bank", "..", "./a", "/a/.", "/ban%6B", "/%2e%2e/bank", "/a%7Eb"] {
            assert!(!is_normal(source), "{source}");
        }
    }

    #[test]
    fn case_that_does_not_count_is_made_alike() {
        let rows = [
            ("HTTP://Shop.Example/Till?a=%c3", "http://shop.example/Till?a=%C3"),
            ("/a%2fb%C3%a9/%", "/a%2Fb%C3%A9/%"),
            ("URN:Shop:A", "urn:Shop:A"),
        ];
        for (source, normal) in rows {
            assert_eq!(in_normal_case(source).as_deref(), Some(normal));
            assert_eq!(in_normal_case(normal), None);
        }
        assert_eq!(in_normal_case("/Shop/A:B"), None, "no scheme: a path");
    }

    #[test]
    fn the_gateways_own_sources_are_known_exactly() {
        let own = ["/event-gateway", "/event-gateway/audit", "/event-gateway?x"];
        let written_otherwise = [
            "/%65vent-gateway/audit",
            "/./event-gateway",
            "/shop/../event-gateway/audit",
            "/../event%2Dgateway/audit",
            "/event-gateway/x/..",
        ];
        for source in own.into_iter().chain(written_otherwise) {
            assert!(is_reserved(source), "{source}");
        }
        for source in ["/event-gateways", "event-gateway", "/shop/event-gateway", "/shop/..x"] {
            assert!(!is_reserved(source), "{source}");
        }
    }
}
