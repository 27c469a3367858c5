//! The load generator: publishes to this gateway, or to any other broker or endpoint, as fast as
//! it acknowledges or delivers, and says how fast that was.

mod baseline;
mod http;
mod mqtt;
mod report;
mod transport;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};

pub use mqtt::{MqttArgs, MqttVersion};
pub use report::Report;

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish over MQTT.
    Mqtt(MqttArgs),
    /// Publish over HTTP.
    Http(HttpArgs),
    /// Serve an endpoint that reads a body and answers 202 without keeping it: what HTTP alone
    /// costs.
    #[command(hide = true)]
    BaselineHttp {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:8090")]
        listen: SocketAddr,
    },
}

/// How long, and with how many threads.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// How long to measure, in seconds.
    #[arg(long, value_name = "S", default_value_t = 10)]
    duration: u32,
    /// How long to publish before measuring, in seconds.
    #[arg(long, value_name = "S", default_value_t = 1)]
    warmup: u32,
    /// How many threads generate load.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// The size of each payload, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    payload: usize,
}

/// Load over HTTP.
#[derive(Clone, Debug, Args)]
pub struct HttpArgs {
    /// The endpoint.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/events")]
    target: String,
    /// How many keep-alive connections, each with one request under way.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How events are written.
    #[arg(long, value_enum, default_value_t = HttpMode::Binary)]
    mode: HttpMode,
    /// How many events are in a batch.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// The type of the events.
    #[arg(long = "type", default_value = "bench")]
    ty: String,
    /// The source of the events.
    #[arg(long, default_value = "/bench")]
    source: String,
    /// A file with a bearer token to send along.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// For https: a PEM file of the certificate authorities to trust.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A header to add.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    #[command(flatten)]
    load: LoadArgs,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HttpMode {
    /// Attributes as headers.
    Binary,
    /// One JSON object.
    Structured,
    /// A JSON array.
    Batch,
}

/// The load could not be generated.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The target is not what the generator can speak to.
    #[error("--target {0}: expected http://HOST:PORT/PATH, or https")]
    Target(String),
    /// A number makes no sense.
    #[error("--{name}: expected {expected}")]
    Argument {
        /// The argument.
        name: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// A file cannot be used.
    #[error("{path}: {cause}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// A connection could not be made or was lost.
    #[error("{target}: {cause}")]
    Connection {
        /// The target.
        target: String,
        /// Why.
        cause: std::io::Error,
    },
    /// The broker refused a connection or subscription.
    #[error("{target} refused {packet} with code {code:#04x}")]
    Refused {
        /// The target.
        target: SocketAddr,
        /// What was refused.
        packet: &'static str,
        /// The code.
        code: u8,
    },
    /// A thread could not be run.
    #[error("thread: {0}")]
    Thread(std::io::Error),
}

/// Generates load and reports; none for a command that only serves.
pub fn run(command: Command) -> Result<Option<Report>, BenchError> {
    match command {
        Command::Mqtt(args) => mqtt::run(&args).map(Some),
        Command::Http(args) => http::run(&args).map(Some),
        Command::BaselineHttp { listen } => baseline::serve(listen).map(|()| None),
    }
}

/// Publishes one message over MQTT 5 with QoS 1; gives back the code of the PUBACK.
pub async fn publish_once(
    target: SocketAddr,
    topic: &str,
    payload: &[u8],
) -> Result<u8, BenchError> {
    mqtt::publish_once(target, topic, payload).await
}

/// When the measurement begins and ends.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    /// When load is first generated.
    opened: Instant,
    begins: Instant,
    ends: Instant,
}

impl Schedule {
    fn new(load: &LoadArgs) -> Self {
        let opened = Instant::now();
        let begins = opened + Duration::from_secs(load.warmup.into());
        Self { opened, begins, ends: begins + Duration::from_secs(load.duration.into()) }
    }

    fn later(self, by: Duration) -> Self {
        Self { opened: self.opened + by, begins: self.begins + by, ends: self.ends + by }
    }
}

/// Runs `work` on as many threads as were asked for, each with a runtime of its own, and adds up
/// what they report.
fn on_threads<F, W>(load: &LoadArgs, work: W) -> Result<Report, BenchError>
where
    F: Future<Output = Result<Report, BenchError>>,
    W: Fn(usize) -> F + Sync,
{
    let reports = std::thread::scope(|scope| {
        let spawn = |index| {
            let work = &work;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime.map_err(BenchError::Thread)?, work(index))
            })
        };
        let threads: Vec<_> = (0..load.threads.max(1)).map(spawn).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            let lost = || BenchError::Thread(std::io::Error::other("a thread ended early"));
            thread.join().map_err(|_| lost()).and_then(|report| report)
        };
        threads.into_iter().map(join).collect::<Result<Vec<Report>, _>>()
    })?;
    let mut total = Report::new(load.duration);
    for report in reports {
        total.add(report);
    }
    Ok(total)
}

/// How many of `total` connections the thread `index` has.
fn share(total: usize, threads: usize, index: usize) -> usize {
    let threads = threads.max(1);
    total / threads + usize::from(index < total % threads)
}
