//! The commands of the program `event-gateway`.

mod activation;
mod application;
mod apply;
mod bus;
mod cert;
mod client;
mod dead_letter;
mod demo;
mod event;
mod mqtt;
mod output;
mod policy;
mod quarantine;
mod runtime;
mod secret_key;
mod spec;
mod subscription;
mod token;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use eg_event::Clock;

use self::client::{Client, ClientArgs};
use self::output::{Format, Output};
use crate::bench;
use crate::config::{self, Config};
use crate::policy::Policies;
use crate::run;
use crate::secrets::Keys;

/// Takes events over HTTP and MQTT, keeps them durably, and delivers them.
#[derive(Debug, Parser)]
#[command(name = "event-gateway", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How results are printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(ServeArgs),
    /// Show the main job: a gateway, a subscriber, an event over HTTP and one over MQTT.
    Demo,
    /// Say whether a configuration can be used.
    CheckConfig(ConfigArgs),
    /// Publish, find and follow events.
    #[command(subcommand)]
    Event(event::Command),
    /// See and change who gets which events.
    #[command(subcommand)]
    Subscription(subscription::Command),
    /// Register and see what publishes events.
    #[command(subcommand)]
    Application(application::Command),
    /// Register and see what consumes the events of applications.
    #[command(subcommand)]
    Runtime(runtime::Command),
    /// Check AsyncAPI documents, register them, and see what is registered.
    #[command(subcommand)]
    Spec(spec::Command),
    /// See and change which sources are let into which namespaces.
    #[command(subcommand)]
    Activation(activation::Command),
    /// Make everything as the manifests in files say, or change nothing.
    Apply(apply::ApplyArgs),
    /// See and requeue what could not be delivered.
    #[command(subcommand)]
    DeadLetter(dead_letter::Command),
    /// See, mend and release events that do not follow their declaration.
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// See and end MQTT clients, their sessions and subscriptions, and what is retained.
    #[command(subcommand)]
    Mqtt(mqtt::Command),
    /// Ask who may do what.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Make, issue and revoke certificates.
    #[command(subcommand)]
    Cert(cert::Command),
    /// Make and revoke API keys and passwords.
    #[command(subcommand)]
    Token(token::Command),
    /// Make the key that secrets are sealed under.
    #[command(subcommand)]
    SecretKey(secret_key::Command),
    /// Try the way to external buses.
    #[command(subcommand)]
    Bus(bus::Command),
    /// Publish as fast as a gateway, or any other broker, acknowledges.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Print completions for a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

/// Where the configuration is.
#[derive(Debug, Default, Args)]
struct ConfigArgs {
    /// The configuration file (TOML). Variables such as `EVENT_GATEWAY__LISTEN__HTTP` override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How the gateway is run.
#[derive(Debug, Default, Args)]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The directory of the store.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Development: anyone on this machine may do everything, and nobody else can connect.
    #[arg(long)]
    dev: bool,
    /// Where to listen for HTTP.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Where to listen for HTTP over TLS.
    #[arg(long, value_name = "ADDR")]
    https: Option<SocketAddr>,
    /// Where to listen for MQTT.
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<SocketAddr>,
    /// Where to listen for MQTT over TLS.
    #[arg(long, value_name = "ADDR")]
    mqtts: Option<SocketAddr>,
    /// Where to listen for management.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

/// Why a command failed, for the person who gave it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// The gateway could not run.
    #[error(transparent)]
    Run(#[from] run::RunError),
    /// The load could not be generated.
    #[error(transparent)]
    Bench(#[from] bench::BenchError),
    /// The gateway could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] client::ClientError),
    /// Something could not be read or written.
    #[error("{what}: {cause}")]
    Io {
        /// What.
        what: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Senseless(String),
    /// What was asked for did not succeed.
    #[error("{0}")]
    Unsuccessful(String),
}

impl Cli {
    /// Does what the command says: 0 when that worked, 1 when it did not, 2 when it makes
    /// no sense.
    pub(crate) fn execute(self) -> ExitCode {
        let mut output = Output::new(self.output);
        let done = match self.command {
            Command::Serve(args) => serve(&args),
            Command::Demo => demo::run(&mut output),
            Command::CheckConfig(args) => check_config(&args, &mut output),
            Command::Cert(cert::Command::Init(args)) => cert::init(args, &mut output),
            Command::Cert(command) => {
                ask(&self.client, async |client| cert::execute(command, client, &mut output).await)
            }
            Command::Bus(command) => bus::execute(command, &mut output),
            Command::Bench(command) => run_bench(command, &mut output),
            Command::Completion { shell } => {
                output.completion(shell, &mut Self::command());
                Ok(())
            }
            Command::Event(command) => {
                ask(&self.client, async |client| event::execute(command, client, &mut output).await)
            }
            Command::Subscription(command) => ask(&self.client, async |client| {
                subscription::execute(command, client, &mut output).await
            }),
            Command::Application(command) => ask(&self.client, async |client| {
                application::execute(command, client, &mut output).await
            }),
            Command::Runtime(command) => ask(&self.client, async |client| {
                runtime::execute(command, client, &mut output).await
            }),
            Command::Spec(spec::Command::Validate { file }) => spec::validate(&file, &mut output),
            Command::Spec(command) => {
                ask(&self.client, async |client| spec::execute(command, client, &mut output).await)
            }
            Command::Activation(command) => ask(&self.client, async |client| {
                activation::execute(command, client, &mut output).await
            }),
            Command::Apply(args) => {
                ask(&self.client, async |client| apply::execute(args, client, &mut output).await)
            }
            Command::SecretKey(command) => secret_key::execute(command, &mut output),
            Command::Policy(command) => policy(&self.client, command, &mut output),
            Command::DeadLetter(command) => ask(&self.client, async |client| {
                dead_letter::execute(command, client, &mut output).await
            }),
            Command::Quarantine(command) => ask(&self.client, async |client| {
                quarantine::execute(command, client, &mut output).await
            }),
            Command::Mqtt(command) => {
                ask(&self.client, async |client| mqtt::execute(command, client, &mut output).await)
            }
            Command::Token(command) => {
                ask(&self.client, async |client| token::execute(command, client, &mut output).await)
            }
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                Output::error(&error);
                match error {
                    CliError::Senseless(_) => ExitCode::from(2),
                    _ => ExitCode::FAILURE,
                }
            }
        }
    }
}

fn load(args: &ConfigArgs) -> Result<Config, CliError> {
    Ok(config::load(args.config.as_deref(), config::environment())?)
}

fn serve(args: &ServeArgs) -> Result<(), CliError> {
    let config = args.load()?;
    Ok(run::serve(config, &|| args.load(), Clock::system())?)
}

impl ServeArgs {
    /// The configuration with what the command line says instead.
    fn load(&self) -> Result<Config, config::ConfigError> {
        let mut config = config::load(self.config.config.as_deref(), config::environment())?;
        config.dev |= self.dev;
        config.data_directory = self.data.clone().unwrap_or(config.data_directory);
        config.listen.http = self.http.unwrap_or(config.listen.http);
        config.listen.https = self.https.or(config.listen.https);
        config.listen.mqtt = self.mqtt.unwrap_or(config.listen.mqtt);
        config.listen.mqtts = self.mqtts.or(config.listen.mqtts);
        config.listen.admin = self.admin.unwrap_or(config.listen.admin);
        config.check().map_err(config::ConfigError::Invalid)?;
        Ok(config)
    }
}

fn check_config(args: &ConfigArgs, output: &mut Output) -> Result<(), CliError> {
    let config = load(args)?;
    config.check().map_err(config::ConfigError::Invalid)?;
    Policies::read(&config)?;
    let keys = Keys::open(&config.secrets, &config.data_directory);
    keys.map_err(|error| CliError::Unsuccessful(error.to_string()))?;
    output.config(args.config.as_deref().map(Path::display), &config);
    Ok(())
}

fn policy(
    client: &ClientArgs,
    command: policy::Command,
    output: &mut Output,
) -> Result<(), CliError> {
    if let Some(args) = command.config() {
        let policies = Policies::read(&load(&args)?)?;
        return policy::execute_offline(command, &policies, output);
    }
    ask(client, async |client| policy::execute(command, client, output).await)
}

fn run_bench(command: bench::Command, output: &mut Output) -> Result<(), CliError> {
    if let Some(report) = bench::run(command)? {
        output.object(&report.to_json());
    }
    Ok(())
}

/// Runs a command that asks a gateway.
fn ask(
    args: &ClientArgs,
    command: impl AsyncFnOnce(Client) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| CliError::Io { what: "runtime".to_owned(), cause })?;
    let client = Client::new(args)?;
    runtime.block_on(command(client))
}
