//! A public certificate authority (Let's Encrypt's Pebble) that certifies names for whoever proves
//! to have them, and the DNS that leads every name here.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::process::Child;

use crate::openssl::Authority;
use crate::peers;
use crate::wait;

/// A running authority.
#[derive(Debug)]
pub struct Pebble {
    api: Authority,
    port: u16,
    management_port: u16,
    child: Child,
    _names: Child,
}

impl Pebble {
    /// Starts an authority whose certificates are good for `validity`, and that looks for
    /// challenges at `tls_port`.
    pub async fn start(tls_port: u16, validity: Duration) -> Self {
        let api = Authority::create("pebble").await;
        api.issue("api", &["-extensions", "server"]).await;
        let (port, management_port, names_port) = (free_port(), free_port(), free_port());
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management_port}"),
            "certificate": api.file("api.pem"), "privateKey": api.file("api.key"),
            "httpPort": 1, "tlsPort": tls_port,
            "certificateValidityPeriod": validity.as_secs(),
        }});
        let file = api.file("pebble.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let names = format!("127.0.0.1:{names_port}");
        let mut command = peers::program("pebble-challtestsrv", "pebble");
        command.args(["-dns01", &names, "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        command.args(["-defaultIPv6", "", "-management", &format!("127.0.0.1:{}", free_port())]);
        let silent = |command: &mut tokio::process::Command| {
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let names_server = silent(&mut command);
        let mut command = peers::program("pebble", "pebble");
        command.arg("-config").arg(file).args(["-dnsserver", &names]);
        let child = silent(command.env("PEBBLE_VA_NOSLEEP", "1"));
        let reachable = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok();
        wait::until("the authority listens", reachable).await;
        Self { api, port, management_port, child, _names: names_server }
    }

    /// The configuration by which a gateway gets certificates here.
    #[must_use]
    pub fn config(&self, domains: &[&str]) -> String {
        format!(
            "[tls.acme]\ndirectory_url = \"https://localhost:{}/dir\"\ndirectory_ca_file = \"{}\"\n\
             domains = {domains:?}\nterms_of_service_agreed = true\n",
            self.port,
            self.api.file("ca.pem").display(),
        )
    }

    /// What its certificates are trusted by.
    pub async fn root(&self) -> PathBuf {
        let authority = std::fs::read(self.api.file("ca.pem")).unwrap();
        let authority = reqwest::Certificate::from_pem(&authority).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
        let url = format!("https://localhost:{}/roots/0", self.management_port);
        let root = client.get(url).send().await.unwrap().bytes().await.unwrap();
        let file = self.api.file("root.pem");
        std::fs::write(&file, root).unwrap();
        file
    }

    /// Ends it: nobody can ask it for anything.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A port that nobody listens on. It is none of those that the system gives to clients: one that
/// connects meanwhile, again and again, must not take it.
#[must_use]
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 12_000..32_000;
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(7919);
    loop {
        let number = first.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + number % (PORTS.end - PORTS.start)).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
