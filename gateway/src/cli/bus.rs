//! `bus`: try the way to an external bus, without a gateway.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use eg_bus::{Attributes, Bus, Step};
use eg_event::outbound::{Auth, ClientCredentials, ClientIdentity, Credential, SecretText};
use eg_event::subscription::BusTopic;
use eg_event::{Clock, Subscription};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::output::Output;
use super::{CliError, ConfigArgs, load};
use crate::sinks::Sinks;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 65_536;

/// What can be done with buses.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try connection, TLS, credentials and topic one by one, and say what was found. Publishes
    /// nothing. Ends with 0 when all is well, 1 when something is not, 2 when what was given makes
    /// no sense.
    Test(TestArgs),
}

/// Where to, and as whom.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The URL of the bus, such as `nats://bus.example:4222`.
    url: String,
    /// The topic.
    #[arg(long, default_value = "event-gateway-test")]
    topic: String,
    /// Which way events are to go.
    #[arg(long, value_enum, default_value_t = Direction::Deliver)]
    direction: Direction,
    /// An attribute, as `externalSubscriptions` has them.
    #[arg(short, long = "attribute", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
    /// The user name.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// Where the password is; `-` reads it from standard input.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Where access tokens are had by client credentials.
    #[arg(long, value_name = "URL", conflicts_with = "username", requires = "client_id")]
    token_url: Option<String>,
    /// The client that asks for access tokens.
    #[arg(long, value_name = "ID", requires = "client_secret_file")]
    client_id: Option<String>,
    /// Where the client's secret is; `-` reads it from standard input.
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// A scope to ask for.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Certificate authorities to trust, in PEM: the attribute `caCertificates`.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The client certificate to show, in PEM.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Its private key.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// Go only where the gateway with this configuration may go (`push.allowed_networks`).
    #[command(flatten)]
    config: ConfigArgs,
}

/// Which way events go.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Direction {
    /// To the topic.
    Deliver,
    /// From the topic.
    Consume,
}

/// Does what the command says.
pub(super) fn execute(command: Command, output: &mut Output) -> Result<(), CliError> {
    let Command::Test(args) = command;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|cause| CliError::Io { what: "runtime".to_owned(), cause })?;
    runtime.block_on(test(&args, output))
}

async fn test(args: &TestArgs, output: &mut Output) -> Result<(), CliError> {
    let subscription = Arc::new(args.subscription()?);
    let mut push = load(&args.config)?.push();
    if args.config.config.is_none() {
        let everywhere = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|all| all.parse().ok());
        push.allowed_networks = everywhere.collect();
    }
    let (tracker, ended) = (TaskTracker::new(), CancellationToken::new());
    let around = Sinks::surroundings(&push, &Clock::system(), &tracker, &ended);
    let around = around.map_err(|error| CliError::Senseless(error.to_string()))?;
    let is_json = output.is_json();
    let mut steps = Vec::new();
    let tell = |step: Step| {
        let (is_good, said) = match &step.found {
            Ok(said) => (true, said),
            Err(said) => (false, said),
        };
        if !is_json {
            let mark = if is_good { "ok" } else { "FAILED" };
            output.line(&format!("{:<8} {mark:<7} {said}", step.name));
        }
        steps.push(json!({ "step": step.name, "ok": is_good, "found": said }));
    };
    let is_good = eg_bus::examine(&subscription, &around, tell).await;
    ended.cancel();
    tracker.close();
    tracker.wait().await;
    if is_json {
        output.json(&json!({ "ok": is_good, "steps": Value::Array(steps.clone()) }));
    }
    match steps.last().map(|step| &step["step"]) {
        _ if is_good => Ok(()),
        Some(step) if step == "url" => {
            Err(CliError::Senseless("there is nothing to try".to_owned()))
        }
        _ => Err(CliError::Unsuccessful("the topic cannot be used like this".to_owned())),
    }
}

impl TestArgs {
    fn subscription(&self) -> Result<Subscription, CliError> {
        let mut subscription = Subscription::new("bus-test", self.url.clone());
        let mut attributes = BTreeMap::new();
        for attribute in &self.attributes {
            let pair = attribute.split_once('=').ok_or_else(|| {
                CliError::Senseless(format!("--attribute {attribute:?}: expected NAME=VALUE"))
            })?;
            attributes.insert(pair.0.to_owned(), pair.1.to_owned());
        }
        if let Direction::Consume = self.direction {
            attributes.insert("direction".to_owned(), "consume".to_owned());
        }
        if let Some(file) = &self.ca_file {
            attributes.insert("caCertificates".to_owned(), read(file)?);
        }
        let bus = self.url.split_once("://").and_then(|(scheme, _)| Bus::of_scheme(scheme));
        if let Some((bus, ..)) = bus {
            let known = Attributes::parse(bus, &attributes).map_err(|error| senseless(&error))?;
            known.govern(&mut subscription);
        }
        subscription.bus = Some(BusTopic { topic: self.topic.clone(), attributes });
        subscription.auth = self.auth()?.map(Arc::new);
        subscription.check().map_err(|error| senseless(&error))?;
        Ok(subscription)
    }

    fn auth(&self) -> Result<Option<Auth>, CliError> {
        let secret = |file: &Option<PathBuf>| match file {
            Some(file) => {
                read(file).map(|text| SecretText::new(text.trim_end_matches(['\r', '\n'])))
            }
            None => Err(CliError::Senseless("expected a file with the secret".to_owned())),
        };
        let credential = match (&self.username, &self.token_url, &self.client_id) {
            (_, Some(url), Some(client_id)) => Some(Credential::OAuth(ClientCredentials {
                client_id: client_id.clone(),
                client_secret: secret(&self.client_secret_file)?,
                url: url.clone(),
                scopes: self.scopes.clone(),
                audience: None,
                resource: None,
                client_authentication: eg_event::outbound::ClientAuthentication::Basic,
            })),
            (username, ..) if username.is_some() || self.password_file.is_some() => {
                // Where the password is a token or a key, the name does not matter.
                let username = username.clone().unwrap_or_else(|| "event-gateway".to_owned());
                Some(Credential::Basic { username, password: secret(&self.password_file)? })
            }
            _ => None,
        };
        let certificate = match (&self.cert_file, &self.key_file) {
            (Some(certificate), Some(key)) => Some(ClientIdentity {
                certificate_chain: read(certificate)?,
                private_key: SecretText::new(read(key)?),
            }),
            _ => None,
        };
        let is_given = credential.is_some() || certificate.is_some();
        Ok(is_given.then(|| Auth { credential, certificate, ..Auth::default() }))
    }
}

fn senseless(error: &eg_event::InvalidInput) -> CliError {
    CliError::Senseless(error.to_string())
}

fn read(file: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let done = if file == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(file)
            .and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_string(&mut text))
    };
    done.map_err(|cause| CliError::Io { what: file.display().to_string(), cause })?;
    Ok(text)
}
