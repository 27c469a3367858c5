//! Attributes that are told with places for the parameters of an address.

use eg_spec::ChannelMatcher;

/// A text with places that are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A parameter of the address, or `application`.
    Parameter(String),
}

/// The parameters of an address, with what stands for them.
pub(super) type Parameters<'a> = [(&'a str, &'a str)];

impl Template {
    /// A text as it is.
    pub(super) fn literal(text: &str) -> Self {
        Self(vec![Piece::Text(text.to_owned())])
    }

    /// A text with parameters in braces, of which `names` are known; any other brace is text.
    pub(super) fn parse(text: &str, names: &[&str]) -> Self {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            let known = after.split_once('}').filter(|(name, _)| names.contains(name));
            if let Some((name, behind)) = known {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
                pieces.push(Piece::Parameter(name.to_owned()));
                rest = behind;
            } else {
                plain.push('{');
                rest = after;
            }
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Self(pieces)
    }

    /// The text with `parameters` put in by `push`.
    pub(super) fn fill(&self, parameters: &Parameters<'_>, push: fn(&mut String, &str)) -> String {
        let mut filled = String::with_capacity(48);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Parameter(wanted) => {
                    let found = parameters.iter().find(|(name, _)| name == wanted);
                    push(&mut filled, found.map_or("", |(_, value)| value));
                }
            }
        }
        filled
    }

    /// What it matches, if it has parameters.
    pub(super) fn pattern(&self) -> Option<ChannelMatcher> {
        let is_parameter = |piece: &Piece| matches!(piece, Piece::Parameter(_));
        self.0.iter().any(is_parameter).then_some(())?;
        ChannelMatcher::parse(&self.text()).ok()
    }

    /// The text with its parameters in braces.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.iter().fold(String::new(), |text, piece| match piece {
            Piece::Text(plain) => text + plain,
            Piece::Parameter(name) => format!("{text}{{{name}}}"),
        })
    }

    /// The text of what `application` sends, as far as no address is needed to know it, and whether
    /// that is all of it.
    #[must_use]
    pub fn known(&self, application: &str) -> (String, bool) {
        let mut known = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => known.push_str(plain),
                Piece::Parameter(name) if name == "application" => known.push_str(application),
                Piece::Parameter(_) => return (known, false),
            }
        }
        (known, true)
    }
}

pub(super) fn push_plain(filled: &mut String, value: &str) {
    filled.push_str(value);
}

/// What is not unreserved (RFC 3986 section 2.3) becomes percent-encoded UTF-8.
pub(super) fn push_encoded(filled: &mut String, value: &str) {
    use std::fmt::Write as _;
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            filled.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            write!(filled, "%{byte:02X}").unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_put_in_and_other_braces_stay() {
        let template = Template::parse("a.{id}.{x}{id}{", &["id"]);
        assert_eq!(template.fill(&[("id", "7/8")], push_plain), "a.7/8.{x}7/8{");
        assert_eq!(template.fill(&[("id", "7/8")], push_encoded), "a.7%2F8.{x}7%2F8{");
        assert_eq!(Template::literal("{id}").fill(&[("id", "7")], push_plain), "{id}");
    }

    #[test]
    fn what_is_known_ends_where_the_first_parameter_of_the_address_is() {
        let known = |text| Template::parse(text, &["id", "application"]).known("shop");
        assert_eq!(known("/{application}/x"), ("/shop/x".to_owned(), true));
        assert_eq!(known("/{application}/{id}/x"), ("/shop/".to_owned(), false));
    }

    #[test]
    fn only_what_has_parameters_is_a_pattern() {
        assert!(Template::parse("a.b", &["id"]).pattern().is_none());
        let pattern = Template::parse("order.{id}.made", &["id"]).pattern().unwrap();
        assert!(pattern.matches("order.7.made").is_some());
        assert!(pattern.matches("order.made").is_none());
    }
}
