//! The server that is judged: the gateway, or mosquitto to check the tests themselves
//! (`CONFORMANCE_SERVER=mosquitto`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use eg_tests::acme::free_port;
use eg_tests::gateway::{Gateway, Options};
use eg_tests::openssl::Authority;
use eg_tests::provider::Provider;
use eg_tests::{peers, wait};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

/// The topics that nobody may subscribe to or publish on at [`Server::strict`].
pub(crate) const FORBIDDEN: &str = "forbidden";
/// The keep alive that [`Server::strict`] imposes, in seconds.
pub(crate) const KEEP_ALIVE_S: u16 = 10;
/// The largest packet that [`Server::strict`] takes, in bytes.
pub(crate) const PACKET_BYTES: u32 = 4096;

/// A running server, with a development configuration.
pub(crate) struct Server(Kind);

#[expect(clippy::large_enum_variant, reason = "a suite has a few of them")]
enum Kind {
    Gateway(Box<Gateway>),
    Mosquitto { child: Child, directory: TempDir, ports: [u16; 2], authority: Box<Authority> },
}

/// The servers that tests which run at the same time share.
static SHARED: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
static STRICT: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());

impl Server {
    /// One that lets everybody do everything.
    pub(crate) async fn shared() -> Arc<Self> {
        Self::running(&SHARED, "", "").await
    }

    /// One with narrow limits.
    pub(crate) async fn strict() -> Arc<Self> {
        let gateway = format!(
            "[mqtt]\nkeep_alive_seconds_max = {KEEP_ALIVE_S}\npacket_bytes_max = {PACKET_BYTES}\n\
             connect_bytes_max = {PACKET_BYTES}\nreceive_maximum = 5\ntopic_alias_maximum = 3\n\
             [[policy.rules]]\neffect = \"deny\"\nprincipals = [\"*\"]\n\
             actions = [\"subscribe\", \"publish\"]\ntopics = [\"{FORBIDDEN}/#\"]\n"
        );
        let mosquitto = format!(
            "max_keepalive {KEEP_ALIVE_S}\nmax_packet_size {PACKET_BYTES}\n\
             max_inflight_messages 5\n"
        );
        Self::running(&STRICT, &gateway, &mosquitto).await
    }

    /// One that takes the tokens of a provider; none where the server has no such thing.
    pub(crate) async fn with_tokens() -> Option<(Provider, Self)> {
        if is_mosquitto() {
            return None;
        }
        let provider = Provider::start().await;
        let server = Self::start(&provider.config(), "").await;
        Some((provider, server))
    }

    async fn running(place: &Mutex<Weak<Self>>, gateway: &str, mosquitto: &str) -> Arc<Self> {
        let mut place = place.lock().await;
        if let Some(server) = place.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start(gateway, mosquitto).await);
        *place = Arc::downgrade(&server);
        server
    }

    async fn start(gateway: &str, mosquitto: &str) -> Self {
        if is_mosquitto() {
            return start_mosquitto(mosquitto).await;
        }
        let program = crate::PROGRAM.into();
        let options = Options { program, config: gateway.to_owned(), dev: true };
        Self(Kind::Gateway(Box::new(Gateway::start_tls(options, "").await)))
    }

    /// Where it speaks MQTT over TCP.
    pub(crate) fn mqtt(&self) -> SocketAddr {
        match &self.0 {
            Kind::Gateway(gateway) => gateway.address("mqtt"),
            Kind::Mosquitto { ports, .. } => SocketAddr::from(([127, 0, 0, 1], ports[0])),
        }
    }

    /// Where it speaks MQTT over TLS.
    pub(crate) fn mqtts(&self) -> SocketAddr {
        match &self.0 {
            Kind::Gateway(gateway) => gateway.address("mqtts"),
            Kind::Mosquitto { ports, .. } => SocketAddr::from(([127, 0, 0, 1], ports[1])),
        }
    }

    /// Where it speaks HTTP, with MQTT over WebSocket at `/mqtt`; mosquitto does not.
    pub(crate) fn websocket(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Gateway(gateway) => Some(gateway.address("http")),
            Kind::Mosquitto { .. } => None,
        }
    }

    /// The same, with TLS.
    pub(crate) fn websocket_tls(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Gateway(gateway) => Some(gateway.address("https")),
            Kind::Mosquitto { .. } => None,
        }
    }

    /// The certificate of whoever issued the server's.
    pub(crate) fn authority(&self) -> PathBuf {
        match &self.0 {
            Kind::Gateway(gateway) => gateway.authority(),
            Kind::Mosquitto { authority, .. } => authority.file("ca.pem"),
        }
    }

    /// Whether the rest of a test is left out, because mosquitto 2.0.11 is known for this.
    pub(crate) fn is_excused(&self, _shortcoming: &str) -> bool {
        matches!(self.0, Kind::Mosquitto { .. })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Kind::Mosquitto { child, directory, .. } = &mut self.0 {
            child.start_kill().ok();
            assert!(directory.path().exists(), "the broker's files are kept until its end");
        }
    }
}

fn is_mosquitto() -> bool {
    #[expect(clippy::disallowed_methods, reason = "this is how a developer picks the server")]
    let chosen = std::env::var("CONFORMANCE_SERVER");
    match chosen.as_deref() {
        Ok("mosquitto") => true,
        Ok(other) => panic!("CONFORMANCE_SERVER: expected mosquitto, found {other}"),
        Err(_) => false,
    }
}

async fn start_mosquitto(config: &str) -> Server {
    let authority = Authority::create("Mosquitto").await;
    authority.issue("server", &["-extensions", "server"]).await;
    let directory = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port()];
    let child = launch_mosquitto(config, directory.path(), ports, &authority);
    for port in ports {
        let reachable = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok();
        wait::until("the broker listens", reachable).await;
    }
    Server(Kind::Mosquitto { child, directory, ports, authority: Box::new(authority) })
}

fn launch_mosquitto(
    config: &str,
    directory: &Path,
    [plain, tls]: [u16; 2],
    authority: &Authority,
) -> Child {
    let file = |name: &str| authority.file(name).display().to_string();
    let text = format!(
        "{config}allow_anonymous true\nuser root\nmax_queued_messages 0\nlistener {plain} 127.0.0.1\n\
         listener {tls} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\n",
        file("ca.pem"),
        file("server.pem"),
        file("server.key"),
    );
    let path = directory.join("mosquitto.conf");
    std::fs::write(&path, text).unwrap();
    let mut command: Command = peers::program("mosquitto", "mosquitto");
    command.arg("-c").arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// A name that no other test uses, for clients and topics: letters and digits alone.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
