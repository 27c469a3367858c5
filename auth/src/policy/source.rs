//! Who may use which `source`: a principal's own, the gateway's own, and how one has to be written
//! so that it can be compared.

use eg_event::InvalidInput;

use super::config::SourceBinding;
use super::pattern::{Escape, Pattern, is_unreserved};

/// What the sources of the gateway's own events begin with.
pub const RESERVED: &str = "/event-gateway";

/// Whether `source` is the gateway's own, so that nobody else may use it.
#[must_use]
pub fn is_reserved(source: &str) -> bool {
    let rest = source.strip_prefix(RESERVED);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
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
    fn the_gateways_own_sources_are_known_exactly() {
        for source in ["/event-gateway", "/event-gateway/audit", "/event-gateway?x"] {
            assert!(is_reserved(source), "{source}");
        }
        for source in ["/event-gateways", "event-gateway", "/shop/event-gateway"] {
            assert!(!is_reserved(source), "{source}");
        }
    }
}
