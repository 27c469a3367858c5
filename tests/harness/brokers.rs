//! Real brokers, each on a port of its own, that can be killed and started again with what they kept.

use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::acme::free_port;
use crate::wait::DEADLINE;
use crate::{peers, wait};

/// What the configuration of a broker has besides.
const MORE: &str = "more.conf";

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    start: fn(&Path, u16) -> Command,
    directory: TempDir,
    port: u16,
    child: Child,
}

impl Broker {
    /// NATS with `JetStream`, which keeps streams in files, and acknowledges what is there.
    pub async fn nats() -> Self {
        Self::start(|directory, port| {
            let config = format!(
                "listen: \"127.0.0.1:{port}\"\n\
                 jetstream: {{ store_dir: \"{}\", sync_interval: always }}\n{}",
                directory.display(),
                more(directory)
            );
            let file = directory.join("nats.conf");
            std::fs::write(&file, config).unwrap();
            let mut command = peers::python_program("nats-server");
            command.arg("-c").arg(file);
            command
        })
        .await
    }

    /// Mosquitto, which keeps sessions and messages in a file.
    pub async fn mosquitto() -> Self {
        Self::start(|directory, port| {
            let config = format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n\
                 persistence_location {}/\nautosave_interval 1\nautosave_on_changes true\n\
                 max_queued_messages 0\nuser root\n{}",
                directory.display(),
                more(directory)
            );
            let file = directory.join("mosquitto.conf");
            std::fs::write(&file, config).unwrap();
            let mut command = peers::program("mosquitto", "mosquitto");
            command.arg("-c").arg(file);
            command
        })
        .await
    }

    /// Mosquitto, which writes sessions and messages to its file only when it is told to.
    pub async fn mosquitto_that_saves_when_told() -> Self {
        Self::start(|directory, port| {
            let config = format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n\
                 persistence_location {}/\nautosave_interval 0\nmax_queued_messages 0\nuser root\n",
                directory.display()
            );
            let file = directory.join("mosquitto.conf");
            std::fs::write(&file, config).unwrap();
            let mut command = peers::program("mosquitto", "mosquitto");
            command.arg("-c").arg(file);
            command
        })
        .await
    }

    /// RabbitMQ with AMQP 0.9.1 and 1.0 on one port. Its user `guest` cannot write to what begins
    /// with `private`.
    pub async fn rabbitmq() -> Self {
        Self::start(|directory, port| {
            let write = |name: &str, text: String| {
                let file = directory.join(name);
                std::fs::write(&file, text).unwrap();
                file
            };
            let config = format!(
                "listeners.tcp.local = 127.0.0.1:{port}\nlog.console = false\n\
                 amqp1_0.default_user = guest\ndefault_permissions.configure = .*\n\
                 default_permissions.read = .*\ndefault_permissions.write = ^(?!private).*\n{}",
                more(directory)
            );
            let home = directory.join("rabbitmq");
            std::fs::create_dir_all(&home).unwrap();
            drop(peers::program("rabbitmq-server", "rabbitmq-server"));
            // The program of the distribution changes the user; the one behind it does not.
            let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
            command
                .env("HOME", &home)
                .env("RUNNING_UNDER_SYSTEMD", "1")
                .env("ERL_EPMD_ADDRESS", "127.0.0.1")
                .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
                .env("RABBITMQ_NODENAME", format!("bus{port}@localhost"))
                .env("RABBITMQ_DIST_PORT", free_port().to_string())
                .env("RABBITMQ_CONFIG_FILE", write("rabbitmq.conf", config))
                .env("RABBITMQ_ENABLED_PLUGINS_FILE", {
                    write("plugins", "[rabbitmq_amqp1_0,rabbitmq_auth_mechanism_ssl].\n".to_owned())
                })
                .env("RABBITMQ_MNESIA_BASE", home.join("mnesia"))
                .env("RABBITMQ_LOG_BASE", home.join("log"))
                .env(
                    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                    "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none",
                );
            command
        })
        .await
    }

    /// Tells it to write down what it has, and waits until it has.
    pub async fn save(&self) {
        let pid = self.child.id().unwrap().to_string();
        Command::new("kill").args(["-USR1", &pid]).status().await.unwrap();
        let file = self.directory.path().join("mosquitto.db");
        wait::until("the broker has saved", async || file.exists().then_some(())).await;
    }

    async fn start(start: fn(&Path, u16) -> Command) -> Self {
        let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
        let child = launch(start, directory.path(), port).await;
        Self { start, directory, port, child }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps what it keeps.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Kills it like a power failure would.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts it again at the same place, with `more` in its configuration.
    pub async fn configure(&mut self, more: &str) {
        std::fs::write(self.directory().join(MORE), more).unwrap();
        self.kill().await;
        self.restart().await;
    }

    /// Ends it in order: it writes down what it has.
    pub async fn stop(&mut self) {
        let pid = self.child.id().unwrap().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        self.child.wait().await.unwrap();
    }

    /// Starts it again at the same place.
    pub async fn restart(&mut self) {
        self.child = launch(self.start, self.directory.path(), self.port).await;
    }
}

fn more(directory: &Path) -> String {
    std::fs::read_to_string(directory.join(MORE)).unwrap_or_default()
}

async fn launch(start: fn(&Path, u16) -> Command, directory: &Path, port: u16) -> Child {
    let mut command = start(directory, port);
    let command = command.kill_on_drop(true).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let reachable = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok();
    // RabbitMQ takes its time.
    wait::until_within(3 * DEADLINE, "the broker listens", reachable).await;
    child
}
