//! Gets the server's certificate from a public authority (ACME, RFC 8555), and renews it while
//! everything goes on.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use eg_certs::{AcmeConfig, AcmeDirectory, DirectoryError, IssueError, server_request};
use http_body_util::{BodyExt as _, Limited};
use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType,
    HttpClient, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use reqwest::{Certificate, Client, redirect};
use tokio_util::bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::tls::TlsListeners;

/// How often it is looked at least whether a certificate is due.
const LOOK: Duration = Duration::from_hours(1);
/// How long after a failure it is tried again at first; each further time twice as long.
const RETRY: Duration = Duration::from_secs(30);
/// How often that is doubled: up to half an hour, which no authority limits.
const DOUBLINGS_MAX: u32 = 6;
/// How long the authority may take over one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take over an order.
const ORDER_TIMEOUT: Duration = Duration::from_mins(5);
/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// No certificate could be got.
#[derive(Debug, thiserror::Error)]
enum AcmeError {
    #[error("tls.acme.directory_ca_file {path}: {reason}")]
    AuthorityFile { path: String, reason: String },
    #[error("no client for HTTPS: {0}")]
    Client(#[from] reqwest::Error),
    #[error("the authority: {0}")]
    Authority(#[from] instant_acme::Error),
    #[error("the authority does not offer to look for {0} by TLS-ALPN-01")]
    NoChallenge(String),
    #[error(
        "the authority could not see that {0} is this gateway: port 443 of it has to lead here"
    )]
    NotProved(String),
    #[error("the order is {0:?}")]
    Order(OrderStatus),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("the account of the authority cannot be written or read: {0}")]
    Account(#[from] serde_json::Error),
}

/// Keeps the server's certificate.
pub(crate) struct Acme {
    directory: AcmeDirectory,
    tls: TlsListeners,
}

impl Acme {
    /// For `tls`, with what is kept in `data`.
    pub(crate) fn new(data: &Path, tls: TlsListeners) -> Self {
        Self { directory: AcmeDirectory::in_data(data), tls }
    }

    /// Gets a certificate whenever one is due, until `stop`.
    pub(crate) async fn maintain(&self, stop: &CancellationToken) {
        let mut failures = 0;
        loop {
            let wait = match self.renew().await {
                Ok(wait) => {
                    failures = 0;
                    wait
                }
                Err(error) => {
                    let wait = RETRY * (1 << failures);
                    failures = DOUBLINGS_MAX.min(failures + 1);
                    let retry_s = wait.as_secs();
                    tracing::error!(%error, retry_s, "no certificate from the public authority");
                    wait
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.tls.reconfigured() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Gets a certificate if one is due; says when to look again.
    async fn renew(&self) -> Result<Duration, AcmeError> {
        let config = self.tls.acme();
        if !config.is_on() {
            return Ok(LOOK);
        }
        if let Some(at) = self.directory.due_at(&config.domains) {
            let left = at.since(self.tls.now());
            if !left.is_zero() {
                return Ok(left.min(LOOK));
            }
        }
        let (chain, key) = self.order(&config).await?;
        self.directory.write_server(&chain, &key)?;
        tracing::info!(domains = ?config.domains, "there is a new certificate");
        self.tls.read_again(None);
        Ok(Duration::ZERO)
    }

    /// Has the names certified: the chain, and the key to it.
    async fn order(&self, config: &AcmeConfig) -> Result<(String, String), AcmeError> {
        let account = self.account(config).await?;
        let names: Vec<_> = config.domains.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        let mut answered = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let name = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Valid => {}
                AuthorizationStatus::Pending => {
                    answered.push(self.prove(&mut authorization, name).await?);
                }
                _ => return Err(AcmeError::NotProved(name)),
            }
        }
        let patience = RetryPolicy::new().timeout(ORDER_TIMEOUT);
        let status = order.poll_ready(&patience).await?;
        drop(answered);
        match status {
            OrderStatus::Ready => {}
            OrderStatus::Invalid => return Err(AcmeError::NotProved(config.domains.join(", "))),
            other => return Err(AcmeError::Order(other)),
        }
        let (request, key) = server_request(&config.domains)?;
        order.finalize_csr(&request).await?;
        Ok((order.poll_certificate(&patience).await?, key))
    }

    /// Answers the challenge for a name, and asks the authority to look.
    async fn prove<'a>(
        &self,
        authorization: &'a mut AuthorizationHandle<'a>,
        name: String,
    ) -> Result<eg_certs::Answered, AcmeError> {
        let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
        let mut challenge = challenge.ok_or_else(|| AcmeError::NoChallenge(name.clone()))?;
        let digest = challenge.key_authorization().digest();
        let answered = self.tls.challenges().answer(&name, digest.as_ref())?;
        challenge.set_ready().await?;
        Ok(answered)
    }

    /// The account that was made before, or a new one.
    async fn account(&self, config: &AcmeConfig) -> Result<Account, AcmeError> {
        let account = || Ok::<_, AcmeError>(Account::builder_with_http(Box::new(client(config)?)));
        let kept = self.directory.account()?.map(|text| serde_json::from_str::<Kept>(&text));
        // One at another authority is of no use here.
        let kept = kept.transpose()?.filter(|kept| kept.directory_url == config.directory_url);
        if let Some(Kept { credentials, .. }) = kept {
            return Ok(account()?.from_credentials(credentials).await?);
        }
        let contact: Vec<&str> = config.contact.iter().map(|contact| &**contact).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: config.terms_of_service_agreed,
            only_return_existing: false,
        };
        let directory_url = config.directory_url.clone();
        let (made, credentials) = account()?.create(&new, directory_url.clone(), None).await?;
        let kept = Kept { directory_url, credentials };
        self.directory.write_account(&serde_json::to_string(&kept)?)?;
        Ok(made)
    }
}

/// An account as it is kept.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    directory_url: String,
    credentials: instant_acme::AccountCredentials,
}

/// What asks the authority.
struct HttpsClient(Client);

fn client(config: &AcmeConfig) -> Result<HttpsClient, AcmeError> {
    let mut builder = Client::builder()
        .timeout(ANSWER_TIMEOUT)
        .redirect(redirect::Policy::none())
        .https_only(true);
    if let Some(path) = &config.directory_ca_file {
        let failed = |reason: String| {
            let path = path.display().to_string();
            AcmeError::AuthorityFile { path, reason }
        };
        let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let authorities = Certificate::from_pem_bundle(&pem);
        builder = builder.tls_certs_merge(authorities.map_err(|error| failed(error.to_string()))?);
    }
    Ok(HttpsClient(builder.build()?))
}

impl HttpClient for HttpsClient {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let other = |error: reqwest::Error| instant_acme::Error::Other(Box::new(error));
            let request = http::Request::from_parts(head, body);
            let request = reqwest::Request::try_from(request).map_err(other)?;
            let answer: http::Response<reqwest::Body> =
                client.execute(request).await.map_err(other)?.into();
            Ok(answer.map(|body| Limited::new(body, ANSWER_BYTES_MAX)).into())
        })
    }
}
