//! The life of certificates, as operators and applications live it: with `openssl`, `curl` and
//! `mosquitto_pub`.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use eg_tests::gateway::{Gateway, OPEN_POLICY, Options};
use eg_tests::openssl::{self, Authority, Connection};
use eg_tests::peers;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::PROGRAM;

/// How soon a revocation acts, even where every program starts slowly.
const AT_ONCE: Duration = Duration::from_secs(10);
const SUBJECT: &str = "/C=DE/ST=Waldorf/L=Waldorf/O=blue/OU=OrgUnit/CN=shop";
const ASK: &[u8] = b"GET /v1/applications/management/info HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn options() -> Options {
    Options { program: PROGRAM.into(), config: OPEN_POLICY.to_owned(), dev: true }
}

/// A command against the gateway, which prints JSON.
async fn command(gateway: &Gateway, args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.env("EVENT_GATEWAY_SERVER", format!("http://{}", gateway.address("admin")));
    command.args(["-o", "json"]).args(args).kill_on_drop(true).output().await.unwrap()
}

async fn give(gateway: &Gateway, args: &[&str]) -> Value {
    let output = command(gateway, args).await;
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// An application in a directory of its own, which knows the gateway's authority.
struct Application<'a> {
    gateway: &'a Gateway,
    directory: TempDir,
}

/// What curl was answered.
#[derive(Debug)]
struct Answer {
    /// Of curl itself: 0 when there was an answer.
    exit: i32,
    status: u16,
    body: Value,
    said: String,
}

impl<'a> Application<'a> {
    fn new(gateway: &'a Gateway) -> Self {
        Self { gateway, directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn https(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.gateway.address("https").port())
    }

    async fn curl(&self, url: &str, args: &[&str]) -> Answer {
        let mut curl = peers::program("curl", "curl");
        curl.current_dir(self.path()).arg("--cacert").arg(self.gateway.authority());
        curl.args(["-sS", "-m", "20", "-w", "\n%{http_code}"]).args(args).arg(url);
        let output = curl.output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap();
        Answer {
            exit: output.status.code().unwrap(),
            status: status.parse().unwrap(),
            body: serde_json::from_str(body).unwrap_or_default(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The same with a certificate: `NAME.pem` and `NAME.key`.
    async fn curl_as(&self, name: &str, url: &str, args: &[&str]) -> Answer {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        self.curl(url, &[&["--cert", &certificate, "--key", &key][..], args].concat()).await
    }

    /// Hands in `NAME.csr`.
    async fn hand_in(&self, url: &str, name: &str, holder: Option<&str>) -> Answer {
        let csr = openssl::run(self.path(), &["base64", "-A", "-in", &format!("{name}.csr")]).await;
        let body = serde_json::json!({ "csr": csr.trim() }).to_string();
        let args = ["-H", "content-type: application/json", "-d", &body];
        match holder {
            Some(holder) => self.curl_as(holder, url, &args).await,
            None => self.curl(url, &args).await,
        }
    }

    /// Writes what was issued to `NAME.pem`, and gives back its serial number.
    async fn keep(&self, answer: &Answer, name: &str) -> String {
        assert_eq!(answer.status, 201, "{answer:?}");
        let pem = format!("{name}.pem");
        for (member, file) in [("crt", &*pem), ("caCrt", "ca.pem")] {
            std::fs::write(self.file("b64"), answer.body[member].as_str().unwrap()).unwrap();
            openssl::run(self.path(), &["base64", "-d", "-A", "-in", "b64", "-out", file]).await;
        }
        openssl::run(self.path(), &["verify", "-CAfile", "ca.pem", &pem]).await;
        let serial = openssl::run(self.path(), &["x509", "-noout", "-serial", "-in", &pem]).await;
        serial.trim().trim_start_matches("serial=").to_ascii_lowercase()
    }

    /// Gets the first certificate, with a token; gives back its serial number.
    async fn enrol(&self, name: &str) -> String {
        let token = give(self.gateway, &["cert", "token", "shop", "--tenant", "blue"]).await;
        let info = self.curl(token["url"].as_str().unwrap(), &[]).await;
        assert_eq!(
            info.body["certificate"]["subject"],
            "OU=OrgUnit,O=blue,L=Waldorf,ST=Waldorf,C=DE,CN=shop"
        );
        openssl::request(self.path(), name, SUBJECT).await;
        let issued = self.hand_in(info.body["csrUrl"].as_str().unwrap(), name, None).await;
        self.keep(&issued, name).await
    }

    /// Publishes as the holder of `NAME.pem`, whose common name is `holder`.
    async fn publish(&self, name: &str, holder: &str, id: &str) -> Answer {
        let (source, id) = (format!("ce-source: /{holder}"), format!("ce-id: {id}"));
        let event = ["-H", "ce-specversion: 1.0", "-H", "ce-type: t", "-H", &source, "-H", &id];
        self.curl_as(name, &self.https("/events"), &[&event[..], &["-X", "POST"]].concat()).await
    }

    async fn publish_over_mqtt(&self, name: &str) -> Output {
        let mut publish = peers::program("mosquitto_pub", "mosquitto-clients");
        let port = self.gateway.address("mqtts").port().to_string();
        publish.args(["-h", "localhost", "-p", &port, "-V", "5", "-q", "1", "-t", "t", "-m", "x"]);
        publish.args(["-i", "shop"]);
        publish.arg("--cafile").arg(self.gateway.authority());
        publish.arg("--cert").arg(self.file(&format!("{name}.pem")));
        publish.arg("--key").arg(self.file(&format!("{name}.key")));
        publish.output().await.unwrap()
    }

    /// Opens a connection with a certificate that stays open.
    fn connect(&self, listener: &str, name: &str, args: &[&str]) -> Connection {
        let address = self.gateway.address(listener).to_string();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let authority = text(self.gateway.authority());
        let certificate = text(self.file(&format!("{name}.pem")));
        let key = text(self.file(&format!("{name}.key")));
        let usual = ["-connect", &address, "-CAfile", &authority, "-cert", &certificate];
        Connection::open(&[&usual[..], &["-key", &key], args].concat())
    }
}

#[tokio::test]
async fn an_application_gets_its_certificate_publishes_renews_and_is_revoked() {
    let gateway = Gateway::start_tls(options(), "").await;
    let shop = Application::new(&gateway);
    let first = shop.enrol("shop").await;
    assert!(first.len() == 32, "a random serial number: {first}");
    assert_eq!(shop.publish("shop", "shop", "1").await.status, 202);
    let published = shop.publish_over_mqtt("shop").await;
    assert!(published.status.success(), "{published:?}");
    let sender = serde_json::json!({ "name": "shop", "method": "certificate" });
    let senders = gateway.journal().await;
    assert_eq!(senders.iter().map(|event| &event["sender"]).collect::<Vec<_>>(), [&sender; 2]);

    let info = shop.curl_as("shop", &shop.https("/v1/applications/management/info"), &[]).await;
    let identity = serde_json::json!({ "application": "shop", "tenant": "blue", "group": "" });
    assert_eq!((info.status, &info.body["clientIdentity"]), (200, &identity), "{info:?}");
    let renew = info.body["urls"]["renewCertUrl"].as_str().unwrap();
    openssl::request(shop.path(), "renewed", SUBJECT).await;
    let renewed = shop.hand_in(renew, "renewed", Some("shop")).await;
    let second = shop.keep(&renewed, "renewed").await;
    assert_ne!(first, second);
    assert_eq!(shop.publish("renewed", "shop", "2").await.status, 202);

    let listed = give(&gateway, &["cert", "list"]).await;
    let seen: Vec<_> = listed.as_array().unwrap().iter().map(|one| &one["serial"]).collect();
    assert_eq!(seen, [&first, &second]);

    give(&gateway, &["cert", "revoke", &first, "--reason", "lost"]).await;
    let revoked = Instant::now();
    let refused = shop.publish("shop", "shop", "3").await;
    assert!(revoked.elapsed() < AT_ONCE, "{:?}", revoked.elapsed());
    assert!(refused.exit != 0 && refused.said.contains("revoked"), "{refused:?}");
    assert!(!shop.publish_over_mqtt("shop").await.status.success());
    assert_eq!(shop.publish("renewed", "shop", "4").await.status, 202, "the other one is good");

    let listed = give(&gateway, &["cert", "list"]).await;
    assert_eq!(listed[0]["revocationReason"], "lost");
    let list = gateway.data().join("ca/crl.pem");
    let args = ["crl", "-noout", "-text", "-in", list.to_str().unwrap(), "-CAfile", "ca.pem"];
    let text = openssl::run(shop.path(), &args).await.to_ascii_lowercase();
    assert!(text.contains(&first) && !text.contains(&second), "{text}");
}

#[tokio::test]
async fn a_revocation_outlives_a_restart() {
    let mut gateway = Gateway::start_tls(options(), "").await;
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let issued = give(&gateway, &["cert", "issue", "shop", "--out", out]).await;
    give(&gateway, &["cert", "revoke", issued["serial"].as_str().unwrap()]).await;
    gateway.kill().await;
    gateway.restart().await;
    let shop = Application { gateway: &gateway, directory };
    let refused = shop.publish("shop", "shop", "1").await;
    assert!(refused.said.contains("revoked"), "{refused:?}");
}

#[tokio::test]
async fn live_connections_end_at_once_when_their_certificate_is_revoked() {
    let gateway = Gateway::start_tls(options(), "").await;
    let shop = Application::new(&gateway);
    let serial = shop.enrol("shop").await;
    let other = shop.enrol("other").await;
    let mut bystander = shop.connect("https", "other", &[]);
    let mut over_http = shop.connect("https", "shop", &[]);
    let mut over_mqtt = shop.connect("mqtts", "shop", &[]);
    for connection in [&mut bystander, &mut over_http] {
        connection.send(ASK).await;
        connection.read_until("\"application\":\"shop\"").await;
    }
    // CONNECT of MQTT 5 with the client identifier "live", and what its CONNACK begins with.
    over_mqtt.send(b"\x10\x11\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x04live").await;
    over_mqtt.read_until("\u{20}").await;
    assert!(over_http.is_open() && over_mqtt.is_open());
    give(&gateway, &["cert", "revoke", &serial]).await;
    let revoked = Instant::now();
    over_http.closed().await;
    over_mqtt.closed().await;
    assert!(revoked.elapsed() < AT_ONCE, "{:?}", revoked.elapsed());
    bystander.send(ASK).await;
    bystander.read_until("\"application\":\"shop\"").await;
    assert_ne!(other, serial);
}

#[tokio::test]
async fn a_session_that_was_kept_does_not_get_past_a_revocation() {
    let gateway = Gateway::start_tls(options(), "").await;
    let shop = Application::new(&gateway);
    for version in ["-tls1_2", "-tls1_3"] {
        let serial = shop.enrol("shop").await;
        for session in ["one", "two"] {
            let file = shop.file(session);
            let mut first =
                shop.connect("https", "shop", &[version, "-sess_out", file.to_str().unwrap()]);
            first.send(ASK).await;
            first.read_until("\"application\":\"shop\"").await;
            first.send(b"GET /x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
            first.closed().await;
        }
        let (one, two) = (shop.file("one"), shop.file("two"));
        let mut resumed =
            shop.connect("https", "shop", &[version, "-sess_in", one.to_str().unwrap()]);
        resumed.send(ASK).await;
        let said = resumed.read_until("\"application\":\"shop\"").await;
        assert!(said.contains("Reused, "), "{version} sessions can be resumed: {said}");

        give(&gateway, &["cert", "revoke", &serial]).await;
        // Whoever has stolen the session has no key, and needs none.
        let address = gateway.address("https").to_string();
        let mut stolen =
            Connection::open(&["-connect", &address, version, "-sess_in", two.to_str().unwrap()]);
        stolen.send(ASK).await;
        let said = stolen.closed().await;
        assert!(!said.contains("HTTP/1.1"), "{version}: {said}");
        assert!(said.contains("Reused, "), "{version} the session itself was still known: {said}");
    }
}

#[tokio::test]
async fn tokens_and_requests_that_are_not_good_are_refused() {
    let gateway = Gateway::start_tls(options(), "").await;
    let shop = Application::new(&gateway);
    let info = shop.https("/v1/applications/signingRequests/info");
    let token = async || {
        let token = give(&gateway, &["cert", "token", "shop", "--tenant", "blue"]).await;
        token["token"].as_str().unwrap().to_owned()
    };
    let one = token().await;
    assert_eq!(one.len(), 64);
    let with = |token: &str| format!("{info}?token={token}");
    assert_eq!(shop.curl(&with(&one), &[]).await.status, 200);
    let rows = [with(&one), with("x"), info.clone(), format!("{info}?tokens={one}")];
    for url in rows {
        let answer = shop.curl(&url, &[]).await;
        assert_eq!((answer.status, &answer.body["code"]), (403, &403.into()), "{url}: {answer:?}");
    }

    let certificates = shop.https("/v1/applications/certificates");
    let subjects = [
        ("/C=DE/ST=Waldorf/L=Waldorf/O=blue/OU=OrgUnit/CN=bank", "common name"),
        ("/C=DE/ST=Waldorf/L=Waldorf/O=red/OU=OrgUnit/CN=shop", "organization"),
        ("/C=DE/ST=Waldorf/L=Waldorf/O=blue/OU=Root/CN=shop", "organizational unit"),
        ("/C=DE/ST=Waldorf/L=Waldorf/O=blue/OU=OrgUnit/CN=shop/emailAddress=a@b.c", "subject"),
        ("/C=DE/ST=Waldorf/L=Waldorf/O=blue/OU=OrgUnit/OU=OrgUnit/CN=shop", "subject"),
        ("/CN=shop", "organizational unit"),
    ];
    for (subject, named) in subjects {
        openssl::request(shop.path(), "wrong", subject).await;
        let url = format!("{certificates}?token={}", token().await);
        let answer = shop.hand_in(&url, "wrong", None).await;
        let error = answer.body["error"].as_str().unwrap();
        assert_eq!((answer.status, error), (400, &*format!("CSR: Invalid {named} provided.")));
        openssl::request(shop.path(), "right", SUBJECT).await;
        let again = shop.hand_in(&url, "right", None).await;
        assert_eq!(again.status, 403, "the token has been used: {again:?}");
    }
    for body in ["", "{}", "{\"csr\":\"!\"}", "{\"csr\":\"eHg=\"}"] {
        let url = format!("{certificates}?token={}", token().await);
        let answer = shop.curl(&url, &["-d", body]).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
    for (path, method) in [
        ("/v1/applications/management/info", "GET"),
        ("/v1/applications/certificates/renewals", "POST"),
        ("/v1/applications/certificates/revocations", "POST"),
    ] {
        let answer = shop.curl(&shop.https(path), &["-X", method]).await;
        let error = (answer.status, answer.body["error"].as_str().unwrap());
        assert_eq!(error, (403, "No valid subject found"), "{path}");
    }
    assert_eq!(give(&gateway, &["cert", "list"]).await, serde_json::json!([]), "none was issued");
}

#[tokio::test]
async fn an_application_can_revoke_its_own_certificate() {
    let gateway = Gateway::start_tls(options(), "").await;
    let shop = Application::new(&gateway);
    shop.enrol("shop").await;
    let url = shop.https("/v1/applications/certificates/revocations");
    for (version, name) in [("--http1.1", "shop"), ("--http2", "again")] {
        if name == "again" {
            shop.enrol("again").await;
        }
        let answer = shop.curl_as(name, &url, &[version, "-X", "POST"]).await;
        assert_eq!((answer.exit, answer.status), (0, 201), "{version}: {answer:?}");
        let refused = shop.publish(name, "shop", "1").await;
        assert!(refused.said.contains("revoked"), "{refused:?}");
    }
}

#[tokio::test]
async fn an_operator_issues_for_a_request_or_with_a_key_of_its_own() {
    let gateway = Gateway::start_tls(options(), "").await;
    let plant = Application::new(&gateway);
    let out = plant.path().to_str().unwrap();
    let names = ["--alternative", "urn:plant:1", "--alternative", "press.example"];
    let args = ["cert", "issue", "plant", "--out", out, "--days", "7"];
    give(&gateway, &[&args[..], &names].concat()).await;
    assert_eq!(plant.publish("plant", "plant", "1").await.status, 202);
    let text = openssl::run(plant.path(), &["x509", "-noout", "-text", "-in", "plant.pem"]).await;
    for part in ["URI:urn:plant:1", "DNS:press.example", "TLS Web Client Authentication"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let again = command(&gateway, &args).await;
    assert_eq!(again.status.code(), Some(1), "what is there is not overwritten");

    openssl::request(plant.path(), "device", "/CN=device").await;
    let csr = plant.file("device.csr");
    let csr = csr.to_str().unwrap();
    give(&gateway, &["cert", "issue", "device", "--csr", csr, "--out", out]).await;
    assert_eq!(plant.publish("device", "device", "2").await.status, 202);
    let other = command(&gateway, &["cert", "issue", "boiler", "--csr", csr, "--out", out]).await;
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && said.contains("boiler"), "{said}");
}

#[tokio::test]
async fn a_list_of_another_authority_acts_on_new_and_on_live_connections() {
    let authority = Authority::create("Other").await;
    authority.issue("shop", &[]).await;
    authority.issue("bank", &[]).await;
    let list = authority.list("crl.pem").await;
    let tls = format!("client_ca_files = [{:?}]\ncrl_files = [{list:?}]", authority.file("ca.pem"));
    let gateway = Gateway::start_tls(options(), &tls).await;
    let clients = Application::new(&gateway);
    for name in ["shop.pem", "shop.key", "bank.pem", "bank.key"] {
        std::fs::copy(authority.file(name), clients.file(name)).unwrap();
    }
    let mut bank = clients.connect("https", "bank", &[]);
    let mut shop = clients.connect("https", "shop", &[]);
    for connection in [&mut bank, &mut shop] {
        connection.send(ASK).await;
        connection.read_until("No valid subject found").await;
    }
    authority.revoke("shop").await;
    authority.list("new.pem").await;
    let replaced = Instant::now();
    std::fs::rename(authority.file("new.pem"), &list).unwrap();
    shop.closed().await;
    assert!(replaced.elapsed() < 2 * AT_ONCE, "{:?}", replaced.elapsed());
    let refused = clients.publish("shop", "shop", "1").await;
    assert!(refused.said.contains("revoked"), "{refused:?}");
    assert_eq!(clients.publish("bank", "bank", "2").await.status, 202);
    bank.send(ASK).await;
    bank.read_until("No valid subject found").await;
}
