//! How commands talk to a gateway: GraphQL on its management port, and HTTP to publish.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::Certificate;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::config;

/// The variable with the access token: never an argument, which every process can see.
const TOKEN: &str = "EVENT_GATEWAY_TOKEN";
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Which gateway, and who is asking.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientArgs {
    /// The management port of the gateway.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "EVENT_GATEWAY_SERVER",
        default_value = "http://127.0.0.1:8081"
    )]
    server: String,
    /// A file with the access token; without one, the variable `EVENT_GATEWAY_TOKEN` has it.
    #[arg(long, global = true, value_name = "FILE", env = "EVENT_GATEWAY_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// A PEM file of certificate authorities to trust beside the system's.
    #[arg(long, global = true, value_name = "FILE", env = "EVENT_GATEWAY_CA_FILE")]
    ca_file: Option<PathBuf>,
}

/// The gateway could not be asked, or refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The authorities cannot be read.
    #[error("{path}: {cause}", path = path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// The token cannot be read.
    #[error("{path}: {cause}", path = path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// No answer came.
    #[error("{url}: {cause}")]
    NoAnswer {
        /// Who was asked.
        url: String,
        /// Why not, with what lies behind it.
        cause: String,
    },
    /// The answer is a refusal.
    #[error("{url} answered {status}: {text}")]
    Refused {
        /// Who was asked.
        url: String,
        /// The status.
        status: u16,
        /// What it says.
        text: String,
    },
    /// The gateway says what is wrong.
    #[error("{0}")]
    Wrong(String),
}

/// A gateway that can be asked.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<String>,
}

impl Client {
    /// Asks a gateway that asks for no token.
    pub(super) fn of(server: &str) -> Result<Self, ClientError> {
        Self::new(&ClientArgs { server: server.to_owned(), token_file: None, ca_file: None })
    }

    pub(super) fn new(args: &ClientArgs) -> Result<Self, ClientError> {
        let token = match &args.token_file {
            Some(path) => std::fs::read_to_string(path)
                .map(|token| Some(token.trim().to_owned()))
                .map_err(|cause| ClientError::Token { path: path.clone(), cause })?,
            None => config::environment().find(|(name, _)| name == TOKEN).map(|(_, token)| token),
        };
        let mut builder = reqwest::Client::builder().timeout(ANSWER_TIMEOUT);
        if let Some(path) = &args.ca_file {
            builder = builder.tls_certs_merge(authorities(path)?);
        }
        let http = builder.build().map_err(|error| no_answer(&args.server, &error))?;
        let server = args.server.trim_end_matches('/').to_owned();
        Ok(Self { http, server, token })
    }

    /// Asks the management API, and gives back the member `field` of the answer's data.
    pub(super) async fn graphql(
        &self,
        query: &str,
        variables: Value,
        field: &str,
    ) -> Result<Value, ClientError> {
        let url = format!("{}/graphql", self.server);
        let body = json!({ "query": query, "variables": variables }).to_string();
        let request = self.http.post(&url).header(CONTENT_TYPE, "application/json").body(body);
        let (_, text) = self.send(&url, request).await?;
        let mut answer: Value = serde_json::from_str(&text)
            .map_err(|error| ClientError::NoAnswer { url, cause: error.to_string() })?;
        if let Some(error) = answer["errors"].get(0) {
            let message = error["message"].as_str().unwrap_or("unknown error");
            return Err(ClientError::Wrong(message.to_owned()));
        }
        Ok(answer["data"][field].take())
    }

    /// Every entry of a list in pages: `list` is the field, and takes `$after`.
    pub(super) async fn all(&self, list: &str, fields: &str) -> Result<Vec<Value>, ClientError> {
        let field = list.split('(').next().unwrap_or_default();
        let query = format!(
            "query($after: PageCursor) {{ {list} {{ data {{ {fields} }} \
             pageInfo {{ endCursor hasNextPage }} }} }}"
        );
        let (mut all, mut after) = (Vec::new(), Value::Null);
        loop {
            let mut page = self.graphql(&query, json!({ "after": after }), field).await?;
            if let Value::Array(data) = page["data"].take() {
                all.extend(data);
            }
            if page["pageInfo"]["hasNextPage"] != true {
                return Ok(all);
            }
            after = page["pageInfo"]["endCursor"].take();
        }
    }

    /// Publishes one event in structured content mode; gives back the receipt.
    pub(super) async fn publish(&self, gateway: &str, event: String) -> Result<Value, ClientError> {
        let url = format!("{}/events", gateway.trim_end_matches('/'));
        let request =
            self.http.post(&url).header(CONTENT_TYPE, eg_event::json::MEDIA_TYPE).body(event);
        let (_, text) = self.send(&url, request).await?;
        serde_json::from_str(&text)
            .map_err(|error| ClientError::NoAnswer { url, cause: error.to_string() })
    }

    async fn send(
        &self,
        url: &str,
        mut request: reqwest::RequestBuilder,
    ) -> Result<(u16, String), ClientError> {
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = request.send().await.map_err(|error| no_answer(url, &error))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| no_answer(url, &error))?;
        if status.is_success() {
            return Ok((status.as_u16(), text));
        }
        let problem = serde_json::from_str::<Value>(&text).ok();
        // A problem document, or the errors of GraphQL.
        let detail = problem.as_ref().and_then(|problem| {
            problem["detail"].as_str().or_else(|| problem["errors"][0]["message"].as_str())
        });
        let text = detail.unwrap_or_else(|| text.trim()).to_owned();
        Err(ClientError::Refused { url: url.to_owned(), status: status.as_u16(), text })
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let unusable = |cause: String| ClientError::Authority { path: path.to_owned(), cause };
    let pem = std::fs::read(path).map_err(|cause| unusable(cause.to_string()))?;
    Certificate::from_pem_bundle(&pem).map_err(|cause| unusable(cause.to_string()))
}

/// The whole chain of causes: the outermost alone says little ("error sending request").
fn no_answer(url: &str, error: &reqwest::Error) -> ClientError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    ClientError::NoAnswer { url: url.to_owned(), cause: cause.to_string() }
}
