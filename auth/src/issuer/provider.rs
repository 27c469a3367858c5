//! What an issuer publishes: its metadata (OpenID Connect Discovery 1.0, RFC 8414) and its keys.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eg_event::Timestamp;
use reqwest::{Certificate, Client, Url, redirect};
use serde::Deserialize;

use super::keys::KeySet;
use crate::config::{IssuerConfig, check_url};

/// The largest document that is read, in bytes.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// An issuer cannot be asked as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// A file cannot be used.
    #[error("{key} {path}: {reason}")]
    File {
        /// The setting.
        key: &'static str,
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// There is no client for HTTP.
    #[error("issuer {issuer}: {reason}")]
    Client {
        /// The issuer.
        issuer: String,
        /// Why not.
        reason: String,
    },
}

/// What was asked for could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{url}: {cause}")]
    NoAnswer { url: String, cause: String },
    #[error("{url} answered {status}")]
    Status { url: String, status: u16 },
    #[error("{url} answered more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge { url: String },
    #[error("{url}: {cause}")]
    Unreadable { url: String, cause: serde_json::Error },
    #[error("the metadata are those of {found:?}")]
    OtherIssuer { found: String },
    #[error("the metadata name no {0}")]
    NotNamed(&'static str),
    #[error("{0}")]
    NotAllowed(String),
}

/// The metadata of an issuer, as far as they matter here.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
    introspection_endpoint: Option<String>,
}

/// An issuer, and how it is asked.
#[derive(Debug)]
pub(crate) struct Provider {
    issuer: String,
    jwks_uri: Option<String>,
    client: Client,
    metadata: Mutex<Option<Arc<Metadata>>>,
}

impl Provider {
    pub(crate) fn new(config: &IssuerConfig) -> Result<Self, IssuerError> {
        let timeout = Duration::from_millis(config.answer_ms_max.into());
        let mut builder =
            Client::builder().timeout(timeout).redirect(redirect::Policy::none()).referer(false);
        if let Some(path) = &config.ca_file {
            let failed = |reason: String| IssuerError::File {
                key: "auth.issuers.ca_file",
                path: path.display().to_string(),
                reason,
            };
            let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
            let authorities = Certificate::from_pem_bundle(&pem);
            let authorities = authorities.map_err(|error| failed(error.to_string()))?;
            if authorities.is_empty() {
                return Err(failed("expected certificates in PEM".to_owned()));
            }
            builder = builder.tls_certs_merge(authorities);
        }
        let client = builder.build().map_err(|error| IssuerError::Client {
            issuer: config.issuer.clone(),
            reason: error.to_string(),
        })?;
        let (issuer, jwks_uri) = (config.issuer.clone(), config.jwks_uri.clone());
        Ok(Self { issuer, jwks_uri, client, metadata: Mutex::default() })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Fetches the keys. Metadata that lead nowhere are asked for again next time.
    pub(crate) async fn keys(
        &self,
        before: Option<&KeySet>,
        now: Timestamp,
    ) -> Result<KeySet, FetchError> {
        let fetched = async {
            let url = match &self.jwks_uri {
                Some(url) => url.clone(),
                None => named("jwks_uri", self.metadata().await?.jwks_uri.as_ref())?,
            };
            let document = self.get(&url).await?;
            KeySet::read(document, before, now)
                .map_err(|cause| FetchError::Unreadable { url, cause })
        };
        fetched.await.inspect_err(|_| *self.known() = None)
    }

    /// Where tokens are introspected.
    pub(crate) async fn introspection_endpoint(&self) -> Result<String, FetchError> {
        let metadata = self.metadata().await?;
        named("introspection_endpoint", metadata.introspection_endpoint.as_ref())
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, FetchError> {
        if let Some(known) = &*self.known() {
            return Ok(Arc::clone(known));
        }
        let [openid, oauth] = well_known(&self.issuer);
        let (url, document) = match self.get(&openid).await {
            Err(FetchError::Status { status: 404, .. }) => {
                let document = self.get(&oauth).await?;
                (oauth, document)
            }
            found => (openid, found?),
        };
        let metadata: Metadata = serde_json::from_slice(&document)
            .map_err(|cause| FetchError::Unreadable { url, cause })?;
        if metadata.issuer != self.issuer {
            return Err(FetchError::OtherIssuer { found: metadata.issuer });
        }
        let metadata = Arc::new(metadata);
        *self.known() = Some(Arc::clone(&metadata));
        Ok(metadata)
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        read(url, self.client.get(url).header("accept", "application/json").send().await).await
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Arc<Metadata>>> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads an answer that has to be a success, up to the limit.
pub(crate) async fn read(
    url: &str,
    answer: reqwest::Result<reqwest::Response>,
) -> Result<Vec<u8>, FetchError> {
    let failed = |error: reqwest::Error| no_answer(url, &error);
    let mut answer = answer.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(FetchError::Status { url: url.to_owned(), status: answer.status().as_u16() });
    }
    let mut document = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if document.len() + chunk.len() > DOCUMENT_BYTES_MAX {
            return Err(FetchError::TooLarge { url: url.to_owned() });
        }
        document.extend_from_slice(&chunk);
    }
    Ok(document)
}

/// The whole chain of causes ends with the one that says something.
fn no_answer(url: &str, error: &reqwest::Error) -> FetchError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    FetchError::NoAnswer { url: url.to_owned(), cause: cause.to_string() }
}

fn named(what: &'static str, url: Option<&String>) -> Result<String, FetchError> {
    let url = url.ok_or(FetchError::NotNamed(what))?;
    check_url(url).map_err(|why| FetchError::NotAllowed(format!("{what}: {why}")))?;
    Ok(url.clone())
}

/// Where the metadata are: by OpenID Connect Discovery 1.0 section 4, and by RFC 8414 section 3.
fn well_known(issuer: &str) -> [String; 2] {
    let base = issuer.trim_end_matches('/');
    let openid = format!("{base}/.well-known/openid-configuration");
    let path = Url::parse(base).map(|url| url.path().trim_end_matches('/').to_owned());
    let path = path.unwrap_or_default();
    let host = base.strip_suffix(&path).unwrap_or(base);
    [openid, format!("{host}/.well-known/oauth-authorization-server{path}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_are_where_the_two_standards_put_them() {
        let rows = [
            ("https://id.example.com", "", ""),
            ("https://id.example.com/", "", ""),
            ("https://id.example.com/realms/a", "/realms/a", "/realms/a"),
        ];
        for (issuer, before, after) in rows {
            let expected = [
                format!("https://id.example.com{before}/.well-known/openid-configuration"),
                format!("https://id.example.com/.well-known/oauth-authorization-server{after}"),
            ];
            assert_eq!(well_known(issuer), expected, "{issuer}");
        }
    }
}
