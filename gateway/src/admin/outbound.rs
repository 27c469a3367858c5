//! How the gateway authenticates towards receivers, as management clients write it, with the names
//! of Compass; and what they see of it, which is everything but secrets.

use async_graphql::{
    Enum, InputObject, InputValueError, InputValueResult, Name, Scalar, ScalarType, SimpleObject,
    Union, Value,
};
use eg_auth::ClientCertificate;
use eg_event::InvalidInput;
use eg_event::outbound::{self as words, Additions, ClientCredentials, SecretText};
use eg_http::certificates_of;

/// What is wrong with a map that is none. It is not quoted.
const EXPECTED_LISTS: &str = "expected names with lists of texts, such as {\"name\": [\"value\"]}";

/// Names of headers with a list of values each. Values are never shown: the lists are empty then.
#[derive(Clone, Debug, Default)]
pub struct HttpHeaders(Additions);

/// Names of query parameters with a list of values each. Values are never shown: the lists are
/// empty then.
#[derive(Clone, Debug, Default)]
pub struct QueryParams(Additions);

#[Scalar]
impl ScalarType for HttpHeaders {
    fn parse(value: Value) -> InputValueResult<Self> {
        lists(value).map(Self).ok_or_else(|| InputValueError::custom(EXPECTED_LISTS))
    }

    fn to_value(&self) -> Value {
        names(&self.0)
    }
}

#[Scalar]
impl ScalarType for QueryParams {
    fn parse(value: Value) -> InputValueResult<Self> {
        lists(value).map(Self).ok_or_else(|| InputValueError::custom(EXPECTED_LISTS))
    }

    fn to_value(&self) -> Value {
        names(&self.0)
    }
}

fn lists(value: Value) -> Option<Additions> {
    let text = |value| match value {
        Value::String(text) => Some(SecretText::new(text)),
        _ => None,
    };
    let list = |(name, value): (Name, Value)| match value {
        Value::List(values) => {
            Some((name.to_string(), values.into_iter().map(text).collect::<Option<_>>()?))
        }
        _ => None,
    };
    match value {
        Value::Object(members) => members.into_iter().map(list).collect(),
        _ => None,
    }
}

fn names(additions: &Additions) -> Value {
    let empty = |name: &String| (Name::new(name), Value::List(Vec::new()));
    Value::Object(additions.keys().map(empty).collect())
}

/// How a client says towards a token endpoint who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "words::ClientAuthentication")]
pub enum ClientAuthentication {
    /// By HTTP Basic: `client_secret_basic`.
    Basic,
    /// In the form: `client_secret_post`.
    Post,
}

/// How the gateway says towards a receiver who it is.
#[derive(InputObject)]
pub struct AuthInput {
    /// What is presented with every request.
    credential: Option<CredentialDataInput>,
    /// Headers that every request has; names of the gateway's own are refused.
    additional_headers: Option<HttpHeaders>,
    /// Query parameters that every request has, after those of the endpoint.
    additional_query_params: Option<QueryParams>,
    /// What has to be fetched before a request.
    request_auth: Option<CredentialRequestAuthInput>,
    /// The certificate that is shown during TLS handshakes.
    certificate: Option<ClientCertificateInput>,
}

/// What is presented with a request: one of them.
#[derive(InputObject)]
pub struct CredentialDataInput {
    /// A name and a password.
    basic: Option<BasicCredentialDataInput>,
    /// A bearer token by client credentials (RFC 6749 section 4.4).
    oauth: Option<OAuthCredentialDataInput>,
}

/// A name and a password.
#[derive(InputObject)]
pub struct BasicCredentialDataInput {
    /// The name.
    username: String,
    /// The password.
    #[graphql(secret)]
    password: String,
}

/// A client of a token endpoint.
#[derive(InputObject)]
#[graphql(name = "OAuthCredentialDataInput")]
pub struct OAuthCredentialDataInput {
    /// The client.
    client_id: String,
    /// Its secret.
    #[graphql(secret)]
    client_secret: String,
    /// The token endpoint.
    url: String,
    /// The scopes that are asked for.
    #[graphql(default)]
    scopes: Vec<String>,
    /// The audience that is asked for, where the provider takes that.
    audience: Option<String>,
    /// The resource that is asked for (RFC 8707).
    resource: Option<String>,
    /// How the client says who it is.
    #[graphql(default_with = "ClientAuthentication::Basic")]
    client_authentication: ClientAuthentication,
}

/// What has to be fetched before a request.
#[derive(InputObject)]
pub struct CredentialRequestAuthInput {
    /// A token against request forgery.
    csrf: Option<CsrfInput>,
}

/// Where a token against request forgery is fetched.
#[derive(InputObject)]
#[graphql(name = "CSRFTokenCredentialRequestAuthInput")]
pub struct CsrfInput {
    /// Where.
    #[graphql(name = "tokenEndpointURL")]
    token_endpoint_url: String,
    /// What is presented there.
    credential: Option<CredentialDataInput>,
    /// Headers that the request has.
    additional_headers: Option<HttpHeaders>,
    /// Query parameters that the request has.
    additional_query_params: Option<QueryParams>,
}

/// A certificate and its key.
#[derive(InputObject)]
pub struct ClientCertificateInput {
    /// The certificate and those that lead from it to an authority, in PEM.
    certificate_chain: String,
    /// The private key, in PEM.
    #[graphql(secret)]
    private_key: String,
}

impl AuthInput {
    /// The words of it; whether they make sense is checked with the subscription.
    pub fn into_auth(self) -> Result<words::Auth, InvalidInput> {
        let credential = |given: Option<CredentialDataInput>, place: &str| {
            given.map(|given| given.into_credential(place)).transpose()
        };
        let csrf = self.request_auth.and_then(|request_auth| request_auth.csrf);
        let csrf = csrf.map(|csrf| {
            Ok::<_, InvalidInput>(words::Csrf {
                token_endpoint_url: csrf.token_endpoint_url,
                credential: credential(csrf.credential, "auth.requestAuth.csrf.credential")?,
                additional_headers: csrf.additional_headers.unwrap_or_default().0,
                additional_query_params: csrf.additional_query_params.unwrap_or_default().0,
            })
        });
        Ok(words::Auth {
            credential: credential(self.credential, "auth.credential")?,
            additional_headers: self.additional_headers.unwrap_or_default().0,
            additional_query_params: self.additional_query_params.unwrap_or_default().0,
            csrf: csrf.transpose()?,
            certificate: self.certificate.map(|given| words::ClientIdentity {
                certificate_chain: given.certificate_chain,
                private_key: SecretText::new(given.private_key),
            }),
        })
    }
}

impl CredentialDataInput {
    fn into_credential(self, place: &str) -> Result<words::Credential, InvalidInput> {
        match (self.basic, self.oauth) {
            (Some(basic), None) => Ok(words::Credential::Basic {
                username: basic.username,
                password: SecretText::new(basic.password),
            }),
            (None, Some(oauth)) => Ok(words::Credential::OAuth(ClientCredentials {
                client_id: oauth.client_id,
                client_secret: SecretText::new(oauth.client_secret),
                url: oauth.url,
                scopes: oauth.scopes,
                audience: oauth.audience,
                resource: oauth.resource,
                client_authentication: oauth.client_authentication.into(),
            })),
            _ => Err(InvalidInput::new(place, "expected exactly one of basic and oauth")),
        }
    }
}

/// How the gateway says towards a receiver who it is, without secrets.
#[derive(Clone, Debug, SimpleObject)]
#[expect(clippy::struct_field_names, reason = "the names are Compass's")]
pub struct Auth {
    /// What is presented with every request.
    credential: Option<CredentialData>,
    additional_headers: HttpHeaders,
    additional_query_params: QueryParams,
    request_auth: Option<CredentialRequestAuth>,
    /// The certificate that is shown during TLS handshakes; its key is set.
    certificate: Option<ShownCertificate>,
}

/// What is presented with a request; its secret is set.
#[derive(Clone, Debug, Union)]
pub enum CredentialData {
    /// A name and a password.
    Basic(BasicCredentialData),
    /// A client of a token endpoint.
    OAuth(OAuthCredentialData),
}

/// A name; the password is set.
#[derive(Clone, Debug, SimpleObject)]
pub struct BasicCredentialData {
    username: String,
}

/// A client of a token endpoint; its secret is set.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(name = "OAuthCredentialData")]
pub struct OAuthCredentialData {
    client_id: String,
    url: String,
    scopes: Vec<String>,
    audience: Option<String>,
    resource: Option<String>,
    client_authentication: ClientAuthentication,
}

/// What has to be fetched before a request.
#[derive(Clone, Debug, SimpleObject)]
pub struct CredentialRequestAuth {
    csrf: Option<Csrf>,
}

/// Where a token against request forgery is fetched.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(name = "CSRFTokenCredentialRequestAuth")]
pub struct Csrf {
    #[graphql(name = "tokenEndpointURL")]
    token_endpoint_url: String,
    credential: Option<CredentialData>,
    additional_headers: HttpHeaders,
    additional_query_params: QueryParams,
}

/// What a client certificate says.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(name = "ClientCertificate")]
pub struct ShownCertificate {
    subject: String,
    issuer: String,
    serial: String,
    not_after: String,
}

impl From<&words::Auth> for Auth {
    fn from(auth: &words::Auth) -> Self {
        let csrf = auth.csrf.as_ref().map(|csrf| Csrf {
            token_endpoint_url: csrf.token_endpoint_url.clone(),
            credential: csrf.credential.as_ref().map(CredentialData::from),
            additional_headers: HttpHeaders(csrf.additional_headers.clone()),
            additional_query_params: QueryParams(csrf.additional_query_params.clone()),
        });
        let certificate = auth.certificate.as_ref().and_then(|identity| {
            certificates_of(identity).ok()?.into_iter().next().map(ShownCertificate::from)
        });
        Self {
            credential: auth.credential.as_ref().map(CredentialData::from),
            additional_headers: HttpHeaders(auth.additional_headers.clone()),
            additional_query_params: QueryParams(auth.additional_query_params.clone()),
            request_auth: csrf.map(|csrf| CredentialRequestAuth { csrf: Some(csrf) }),
            certificate,
        }
    }
}

impl From<&words::Credential> for CredentialData {
    fn from(credential: &words::Credential) -> Self {
        match credential {
            words::Credential::Basic { username, .. } => {
                Self::Basic(BasicCredentialData { username: username.clone() })
            }
            words::Credential::OAuth(client) => Self::OAuth(OAuthCredentialData {
                client_id: client.client_id.clone(),
                url: client.url.clone(),
                scopes: client.scopes.clone(),
                audience: client.audience.clone(),
                resource: client.resource.clone(),
                client_authentication: client.client_authentication.into(),
            }),
        }
    }
}

impl From<ClientCertificate> for ShownCertificate {
    fn from(certificate: ClientCertificate) -> Self {
        Self {
            subject: certificate.subject,
            issuer: certificate.issuer,
            serial: certificate.serial,
            not_after: certificate.not_after.to_string(),
        }
    }
}
