//! Over which protocols a channel is reached, and what its senders must present.

use eg_event::principal::Method;
use eg_event::{Principal, Protocol, Refusal};
use eg_spec::{Channel, Operation, Requirement, SecurityScheme, Spec};

/// What a document asks of whoever sends to a channel.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// The servers that are ours, by protocol; with none and nothing elsewhere, all are.
    servers: Vec<Server>,
    /// The protocols of the servers that are not.
    elsewhere: Vec<String>,
    /// What the operation asks beside: one of these.
    operation: Vec<Required>,
}

#[derive(Debug)]
struct Server {
    protocols: &'static [Protocol],
    /// One of these.
    security: Vec<Required>,
}

/// All of these.
#[derive(Debug)]
struct Required(Vec<Scheme>);

#[derive(Debug)]
enum Scheme {
    Certificate,
    Bearer { scopes: Vec<String> },
    Password,
    ApiKey,
}

impl Access {
    /// What `spec` asks for an operation on `channel`; `warn` hears what cannot be held to.
    pub(super) fn of(
        spec: &Spec,
        channel: &Channel,
        operation: Option<&Operation>,
        warn: &mut impl FnMut(String),
    ) -> Self {
        let mut access = Self::default();
        let carries = |name: &String| channel.servers.is_empty() || channel.servers.contains(name);
        for server in spec.servers.iter().filter(|server| carries(&server.name)) {
            match protocols(&server.protocol) {
                Some(protocols) => {
                    let security = required(spec, &server.security, warn);
                    access.servers.push(Server { protocols, security });
                }
                None => access.elsewhere.push(server.protocol.clone()),
            }
        }
        if let Some(operation) = operation {
            access.operation = required(spec, &operation.security, warn);
        }
        access
    }

    /// Whether `principal` may send to `channel` over `protocol`, as far as the document says.
    pub(super) fn check(
        &self,
        (channel, application): (&str, &str),
        principal: &Principal,
        protocol: Protocol,
    ) -> Result<(), Refusal> {
        let whose = format_args!("as the channel {channel:?} of {application} asks");
        let open = self.servers.is_empty() && self.elsewhere.is_empty();
        let mut reached = self.servers.iter().filter(|one| one.protocols.contains(&protocol));
        let over = protocol.as_str();
        if !open && self.servers.iter().all(|one| !one.protocols.contains(&protocol)) {
            let ours = self.servers.iter().flat_map(|one| one.protocols).map(|one| one.as_str());
            let mut named: Vec<_> = ours.chain(self.elsewhere.iter().map(String::as_str)).collect();
            named.sort_unstable();
            named.dedup();
            let text = format!("protocol: expected {}, {whose}, found {over}", named.join(" or "));
            return Err(Refusal::Forbidden(text.into()));
        }
        let by_server = open || reached.any(|one| satisfied(&one.security, principal));
        if by_server && satisfied(&self.operation, principal) {
            return Ok(());
        }
        let servers = self.servers.iter().filter(|one| one.protocols.contains(&protocol));
        let asked = if by_server {
            words(self.operation.iter())
        } else {
            words(servers.flat_map(|one| &one.security))
        };
        let found = principal.method();
        let text = format!("authentication: expected {asked}, {whose}, found {found}");
        Err(Refusal::Forbidden(text.into()))
    }
}

/// The protocols of ours that the name of one in a document stands for.
fn protocols(name: &str) -> Option<&'static [Protocol]> {
    match &*name.to_ascii_lowercase() {
        "http" | "https" => Some(&[Protocol::Http]),
        // WebSocket carries MQTT here.
        "mqtt" | "mqtts" | "secure-mqtt" | "ws" | "wss" => {
            Some(&[Protocol::Mqtt311, Protocol::Mqtt5])
        }
        "mqtt5" | "mqtts5" | "secure-mqtt5" => Some(&[Protocol::Mqtt5]),
        _ => None,
    }
}

fn required(
    spec: &Spec,
    requirements: &[Requirement],
    warn: &mut impl FnMut(String),
) -> Vec<Required> {
    let one = |requirement: &Requirement| {
        let schemes = requirement.schemes.iter().filter_map(|(name, scopes)| {
            let scheme = spec.security_schemes.get(name)?;
            let found = Scheme::of(scheme, scopes);
            if found.is_none() {
                warn(format!("the security scheme {name:?} ({}) is not checked", scheme.kind));
            }
            found
        });
        Required(schemes.collect())
    };
    requirements.iter().map(one).collect()
}

fn satisfied(required: &[Required], principal: &Principal) -> bool {
    let all = |one: &Required| one.0.iter().all(|scheme| scheme.is_met(principal));
    required.is_empty() || required.iter().any(all)
}

fn words<'a>(required: impl Iterator<Item = &'a Required>) -> String {
    let one = |required: &Required| {
        required.0.iter().map(Scheme::words).collect::<Vec<_>>().join(" and ")
    };
    required.map(one).collect::<Vec<_>>().join(", or ")
}

impl Scheme {
    fn of(scheme: &SecurityScheme, scopes: &[String]) -> Option<Self> {
        let bearer = || Self::Bearer { scopes: scopes.to_vec() };
        let http = || scheme.value.get("scheme").and_then(serde_json::Value::as_str);
        match &*scheme.kind {
            "X509" => Some(Self::Certificate),
            "oauth2" | "openIdConnect" => Some(bearer()),
            "http" => match http()?.to_ascii_lowercase().as_str() {
                "bearer" => Some(bearer()),
                "basic" => Some(Self::Password),
                _ => None,
            },
            "userPassword" => Some(Self::Password),
            "apiKey" | "httpApiKey" => Some(Self::ApiKey),
            _ => None,
        }
    }

    fn is_met(&self, principal: &Principal) -> bool {
        match (self, principal.method()) {
            (Self::Certificate, Method::Certificate)
            | (Self::Password, Method::Basic)
            | (Self::ApiKey, Method::ApiKey) => true,
            (Self::Bearer { scopes }, Method::Bearer) => {
                // A token that says nothing of scopes is good for what its policy allows.
                let Some(granted) = principal.claims().get("scope") else { return true };
                scopes.iter().all(|scope| granted.split(' ').any(|one| one == scope))
            }
            _ => false,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Certificate => "a client certificate".to_owned(),
            Self::Bearer { scopes } if scopes.is_empty() => "a bearer token".to_owned(),
            Self::Bearer { scopes } => format!("a bearer token with scope {}", scopes.join(" ")),
            Self::Password => "a password".to_owned(),
            Self::ApiKey => "an API key".to_owned(),
        }
    }
}
