//! The subject of a certificate: who it speaks of.

use std::fmt;

use rcgen::{DistinguishedName, DnType};
use x509_parser::x509::X509Name;

/// The attributes that have short names, in the order in which a certificate has them.
const KNOWN: [(&str, &str); 6] = [
    ("C", "2.5.4.6"),
    ("ST", "2.5.4.8"),
    ("L", "2.5.4.7"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("CN", "2.5.4.3"),
];
/// The longest value, in bytes (RFC 5280 appendix A.1, `ub-common-name`).
const VALUE_BYTES_MAX: usize = 64;

/// A subject: attributes and their values.
#[derive(Clone, Debug, Default)]
pub struct Subject(Vec<(String, String)>);

/// A text is no subject that this authority gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected attributes such as OU=Sales,O=Shop,CN=name, each of C, ST, L, O, OU and CN at most once and of 1 to 64 characters without comma and the like, found {0:?}"
)]
pub struct InvalidSubject(String);

impl Subject {
    /// Reads a subject such as `OU=Sales,O=Shop,C=DE`.
    pub fn parse(text: &str) -> Result<Self, InvalidSubject> {
        let mut subject = Self::default();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let read = part.split_once('=').and_then(|(name, value)| {
                let is_new = subject.value(name).is_none();
                let is_known = KNOWN.iter().any(|(known, _)| *known == name);
                (is_new && is_known && is_value(value) && (name != "C" || value.len() == 2))
                    .then(|| (name.to_owned(), value.to_owned()))
            });
            subject.0.push(read.ok_or_else(|| InvalidSubject(text.to_owned()))?);
        }
        Ok(subject)
    }

    /// The same with `name` set to `value`.
    pub fn with(mut self, name: &str, value: &str) -> Result<Self, InvalidSubject> {
        let attribute = format!("{name}={value}");
        let Self(added) = Self::parse(&attribute)?;
        if added.len() != 1 {
            return Err(InvalidSubject(attribute));
        }
        self.0.retain(|(known, _)| known != name);
        self.0.extend(added);
        Ok(self)
    }

    /// The value of the attribute `name`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Whether this and `other` have the same attributes with the same values, none more.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let sorted = |Self(attributes): &Self| {
            let mut attributes = attributes.clone();
            attributes.sort();
            attributes
        };
        sorted(self) == sorted(other)
    }

    /// What a certificate or a request says. An attribute without short name goes by its number.
    pub(crate) fn of(name: &X509Name<'_>) -> Self {
        let attribute = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            let number = attribute.attr_type().to_id_string();
            let known = KNOWN.iter().find(|(_, known)| *known == number);
            let value = attribute
                .as_str()
                .map_or_else(|_| format!("{:?}", attribute.as_slice()), str::to_owned);
            (known.map_or(number, |(short, _)| (*short).to_owned()), value)
        };
        Self(name.iter_attributes().map(attribute).collect())
    }

    pub(crate) fn to_rcgen(&self) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        for (short, _) in KNOWN {
            let Some(value) = self.value(short) else { continue };
            let kind = match short {
                "C" => DnType::CountryName,
                "ST" => DnType::StateOrProvinceName,
                "L" => DnType::LocalityName,
                "O" => DnType::OrganizationName,
                "OU" => DnType::OrganizationalUnitName,
                _ => DnType::CommonName,
            };
            name.push(kind, value);
        }
        name
    }
}

impl fmt::Display for Subject {
    /// As Kyma writes it: the most specific place first, the common name last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for name in ["OU", "O", "L", "ST", "C", "CN"] {
            if let Some(value) = self.value(name) {
                write!(f, "{separator}{name}={value}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

/// Whether a value needs no escaping in any of the ways in which subjects are written.
fn is_value(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= VALUE_BYTES_MAX
        && value.trim() == value
        && !value.chars().any(|c| c.is_control() || ",=+<>#;\"\\/".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_compared_whatever_the_order_of_its_attributes() {
        let one = Subject::parse("OU=Sales,O=Shop,CN=blue").unwrap();
        assert!(one.is_same(&Subject::parse("CN=blue,OU=Sales,O=Shop").unwrap()));
        assert!(!one.is_same(&Subject::parse("CN=blue,OU=Sales").unwrap()));
        assert!(!one.is_same(&Subject::parse("OU=Sales,O=Shop,CN=blue,C=DE").unwrap()));
        assert_eq!(one.to_string(), "OU=Sales,O=Shop,CN=blue");
        assert_eq!(one.with("CN", "red").unwrap().value("CN"), Some("red"));
    }

    #[test]
    fn what_would_have_to_be_escaped_or_is_unknown_is_refused() {
        let long = format!("CN={}", "x".repeat(65));
        for text in ["CN", "CN=", "XX=1", "CN=a,CN=b", "CN=a/b", "CN= a", "C=DEU", "CN=a\n", &long]
        {
            assert!(Subject::parse(text).is_err(), "{text}");
        }
        assert!(Subject::default().with("CN", "a,O=b").is_err());
    }
}
