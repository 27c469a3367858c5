//! The life of the program: assemble, say where it listens, run until told to stop, drain.

use std::io::{IsTerminal as _, Write as _};
use std::pin::pin;
use std::time::Duration;

use eg_event::Clock;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::assemble::{AssembleError, Gateway};
use crate::config::{Config, ConfigError, LogConfig, LogFormat};

/// The gateway could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The threads could not be started.
    #[error("runtime: {0}")]
    Runtime(std::io::Error),
    /// The signals of the system cannot be followed.
    #[error("signals: {0}")]
    Signals(std::io::Error),
    /// What is to be logged cannot be read.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// A part could not be started.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
}

/// Reads the configuration again, as it was read at the start.
pub type Reread<'a> = &'a dyn Fn() -> Result<Config, ConfigError>;

/// Runs the gateway until it is told to stop. A SIGHUP lets it read its configuration again.
pub fn serve(config: Config, reread: Reread<'_>, clock: Clock) -> Result<(), RunError> {
    start_log(&config.log)?;
    allow_files(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(RunError::Runtime)?;
    runtime.block_on(async {
        let drain = Duration::from_secs(config.shutdown_seconds_max.into());
        let mut hangup = signal(SignalKind::hangup()).map_err(RunError::Signals)?;
        let gateway = Gateway::assemble(config, clock).await?;
        announce(&gateway);
        let stop = stop_signal().map_err(RunError::Signals)?;
        let reloader = gateway.reloader();
        let reload = async {
            while hangup.recv().await.is_some() {
                reloader.reload(reread());
            }
        };
        let mut running = pin!(gateway.run(stop, drain));
        tokio::select! {
            ended = &mut running => ended?,
            () = reload => running.await?,
        }
        Ok(())
    })
}

/// Lets the process open as many files and connections as the system allows, and says when that is
/// less than the configuration promises.
fn allow_files(config: &Config) {
    /// Files of the store, listeners, connections of the management API and to subscribers.
    const BESIDE_CLIENTS: u64 = 1024;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let clients = u64::from(config.http.connections_max) + u64::from(config.mqtt.connections_max);
    if limit.maximum.is_some_and(|maximum| maximum < clients + BESIDE_CLIENTS) {
        tracing::warn!(
            files_max = limit.maximum,
            clients_max = clients,
            "the system allows fewer open files than there may be connections"
        );
    }
}

/// Says on the standard output where the gateway listens, for people and for scripts.
fn announce(gateway: &Gateway) {
    let mut out = std::io::stdout().lock();
    for (listener, address) in gateway.addresses() {
        drop(writeln!(out, "listening {listener} {address}"));
    }
    if let Some(path) = gateway.first_admin_key() {
        let path = path.display();
        drop(writeln!(
            out,
            "first admin key in {path}; use it with: event-gateway --token-file {path} token list"
        ));
    }
    drop(writeln!(out, "ready"));
    drop(out.flush());
}

/// Completes when the system asks the program to end.
fn stop_signal() -> Result<impl Future<Output = ()>, std::io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// What logs more than belongs into a log: lapin has whole messages in what it says of those that
/// come back.
const SILENT: &str = "lapin=off";

/// Logs to the standard error.
fn start_log(config: &LogConfig) -> Result<(), RunError> {
    let filter = EnvFilter::try_new(format!("{SILENT},{}", config.filter))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // A second gateway in one process logs to where the first one does.
    drop(started);
    Ok(())
}
