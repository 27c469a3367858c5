//! The server's certificate comes from a public authority, and is renewed, without anybody doing
//! anything.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use eg_tests::acme::{Pebble, free_port};
use eg_tests::gateway::{Gateway, Options};
use eg_tests::openssl::Connection;
use eg_tests::{peers, wait};

use crate::PROGRAM;

const DOMAIN: &str = "gateway.example";
const GET: &[u8] = b"GET /no HTTP/1.1\r\nhost: gateway.example\r\n\r\n";

/// Starts a gateway that gets its certificate from `pebble`.
async fn start(pebble: &Pebble, https: u16) -> Gateway {
    let config = format!("[listen]\nhttps = \"127.0.0.1:{https}\"\n{}", pebble.config(&[DOMAIN]));
    Gateway::start_with(Options { program: PROGRAM.into(), config, dev: true }).await
}

/// The serial of the certificate that is shown, once it is one that `root` vouches for.
async fn trusted(https: u16, root: &Path) -> Option<String> {
    let address = format!("127.0.0.1:{https}");
    let mut command = peers::program("bash", "bash");
    let ask = format!(
        "openssl s_client -connect {address} -servername {DOMAIN} -verify_hostname {DOMAIN} \
         -verify_return_error -CAfile {} </dev/null | openssl x509 -noout -serial",
        root.display()
    );
    let output = command.args(["-o", "pipefail", "-c", &ask]).output().await.unwrap();
    let serial = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| serial.trim().to_owned())
}

#[tokio::test]
async fn a_certificate_is_got_and_kept_over_a_restart_without_the_authority() {
    let https = free_port();
    let mut pebble = Pebble::start(https, Duration::from_hours(24)).await;
    let mut gateway = start(&pebble, https).await;
    let root = pebble.root().await;
    let serial = wait::until("there is a certificate", async || trusted(https, &root).await).await;
    let said = peers::run({
        let mut curl = peers::program("curl", "curl");
        let resolve = format!("{DOMAIN}:{https}:127.0.0.1");
        curl.args(["-sS", "--cacert", root.to_str().unwrap(), "--resolve", &resolve]);
        curl.arg(format!("https://{DOMAIN}:{https}/no"));
        curl
    });
    let said = String::from_utf8(said.await.stdout).unwrap();
    assert!(said.contains("nothing is at this path"), "{said}");
    for file in ["acme/server.pem", "acme/account.json"] {
        let mode = std::fs::metadata(gateway.data().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    pebble.kill().await;
    gateway.kill().await;
    gateway.restart().await;
    assert_eq!(trusted(https, &root).await, Some(serial));
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_ends_and_connections_go_on() {
    let https = free_port();
    let pebble = Pebble::start(https, Duration::from_secs(9)).await;
    let _gateway = start(&pebble, https).await;
    let root = pebble.root().await;
    let first = wait::until("there is a certificate", async || trusted(https, &root).await).await;
    let mut connection = Connection::open(&["-quiet", "-connect", &format!("127.0.0.1:{https}")]);
    connection.send(GET).await;
    connection.read_until("nothing is at this path").await;
    let renewed = async || trusted(https, &root).await.filter(|serial| *serial != first);
    wait::until("there is another", renewed).await;
    connection.send(GET).await;
    connection.read_until("nothing is at this path").await;
}

#[tokio::test]
async fn without_the_authority_the_gateway_serves_all_the_same() {
    let https = free_port();
    let mut pebble = Pebble::start(https, Duration::from_hours(24)).await;
    pebble.kill().await;
    let gateway = start(&pebble, https).await;
    let answer = reqwest::get(gateway.url("/no")).await.unwrap();
    assert_eq!(answer.status(), 404);
    let mut connection = Connection::open(&["-quiet", "-connect", &format!("127.0.0.1:{https}")]);
    connection.send(GET).await;
    connection.read_until("nothing is at this path").await;
}
