//! `${...}` in patterns: what it stands for depends on who asks.

use eg_event::InvalidInput;

use super::request::Request;

/// What can stand between `${` and `}`, beside `claim.NAME`.
const KNOWN: [&str; 6] = ["application", "claim.NAME", "client_id", "name", "role", "user"];

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    Name,
    Application,
    ClientId,
    /// Any one of the roles.
    Role,
    Claim(Box<str>),
}

impl Variable {
    /// Reads what stands between `${` and `}`.
    pub(super) fn parse(field: &str, text: &str) -> Result<Self, InvalidInput> {
        match text {
            "name" | "user" => Ok(Self::Name),
            "application" => Ok(Self::Application),
            "client_id" => Ok(Self::ClientId),
            "role" => Ok(Self::Role),
            _ => match text.strip_prefix("claim.") {
                Some(claim) if !claim.is_empty() => Ok(Self::Claim(claim.into())),
                _ => Err(unknown(field, text)),
            },
        }
    }

    /// The value for `request`; none when there is none, or an empty one. `role` is the role that
    /// is being tried.
    pub(super) fn value<'a>(
        &self,
        request: &Request<'a>,
        role: Option<&'a str>,
    ) -> Option<&'a str> {
        let value = match self {
            Self::Name => Some(request.subject.name),
            Self::Application => request.subject.application,
            Self::ClientId => request.resource.client_id,
            Self::Role => role,
            Self::Claim(claim) => request.subject.claims.get(&**claim).map(String::as_str),
        };
        value.filter(|value| !value.is_empty())
    }
}

impl std::fmt::Display for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name => f.write_str("${name}"),
            Self::Application => f.write_str("${application}"),
            Self::ClientId => f.write_str("${client_id}"),
            Self::Role => f.write_str("${role}"),
            Self::Claim(claim) => write!(f, "${{claim.{claim}}}"),
        }
    }
}

fn unknown(field: &str, found: &str) -> InvalidInput {
    let known = KNOWN.map(|name| format!("${{{name}}}")).join(", ");
    let mut detail = format!("expected one of the variables {known}, found ${{{found}}}");
    let nearest = KNOWN
        .iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .filter(|(distance, name)| *distance <= name.len().max(found.len()) / 2)
        .min();
    if let Some((_, name)) = nearest {
        detail = format!("{detail}; did you mean ${{{name}}}?");
    }
    InvalidInput::new(field, detail)
}
