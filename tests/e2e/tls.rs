//! TLS as it shows from outside: what is agreed on and what is refused, row by row.

use std::time::{Duration, Instant};

use eg_tests::gateway::{Gateway, Options};
use eg_tests::openssl::{Authority, Connection};
use eg_tests::peers;
use eg_tests::wait::DEADLINE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::PROGRAM;

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

fn options() -> Options {
    Options { program: PROGRAM.into(), config: String::new(), dev: true }
}

/// Connects with `args`, asks for something over HTTP/1.1, and gives back everything said until the
/// gateway closes.
async fn talk(gateway: &Gateway, listener: &str, args: &[&str]) -> String {
    let (address, authority) = (gateway.address(listener).to_string(), gateway.authority());
    let usual = ["-connect", &address, "-CAfile", authority.to_str().unwrap()];
    let mut connection = Connection::open(&[&usual[..], args].concat());
    connection.send(ASK).await;
    connection.closed().await
}

#[tokio::test]
async fn versions_and_suites_without_forward_secrecy_are_refused() {
    let gateway = Gateway::start_tls(options(), "").await;
    // The client is told to offer what is long obsolete; it is the gateway that has to refuse it.
    let weak = "DEFAULT:@SECLEVEL=0";
    let rows: [(&[&str], &str); 14] = [
        (&["-tls1_3"], "New, TLSv1.3"),
        (&["-tls1_2"], "New, TLSv1.2"),
        (&["-tls1_1", "-cipher", weak], "SSL alert number"),
        (&["-tls1", "-cipher", weak], "SSL alert number"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "New, TLSv1.2"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], "New, TLSv1.2"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA"], "alert handshake failure"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"], "alert handshake failure"),
        (&["-tls1_2", "-cipher", "AES128-GCM-SHA256"], "alert handshake failure"),
        (&["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"], "alert handshake failure"),
        (&["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"], "alert handshake failure"),
        (&["-tls1_2", "-cipher", "AECDH-AES128-SHA:@SECLEVEL=0"], "alert handshake failure"),
        (&["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_8_SHA256"], "alert handshake failure"),
        (&["-verify_hostname", "localhost", "-verify_return_error"], "Verify return code: 0 (ok)"),
    ];
    for listener in ["https", "mqtts"] {
        for (args, expected) in rows {
            let said = talk(&gateway, listener, args).await;
            assert!(said.contains(expected), "{listener} {args:?}: {expected} is not in\n{said}");
        }
    }
}

#[tokio::test]
async fn each_listener_agrees_on_its_own_protocols_alone() {
    let gateway = Gateway::start_tls(options(), "").await;
    let rows = [
        ("https", "h2,http/1.1", "ALPN protocol: h2"),
        ("https", "http/1.1", "ALPN protocol: http/1.1"),
        ("https", "mqtt", "alert no application protocol"),
        ("mqtts", "mqtt", "ALPN protocol: mqtt"),
        ("mqtts", "h2,http/1.1", "alert no application protocol"),
    ];
    for (listener, offer, expected) in rows {
        let said = talk(&gateway, listener, &["-alpn", offer]).await;
        assert!(said.contains(expected), "{listener} {offer}: {expected} is not in\n{said}");
    }
}

#[tokio::test]
async fn a_handshake_that_stalls_is_given_up() {
    let gateway = Gateway::start_tls(options(), "handshake_ms_max = 300").await;
    // The beginning of a ClientHello: a record header that promises more.
    for first in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        for listener in ["https", "mqtts"] {
            let mut stream = TcpStream::connect(gateway.address(listener)).await.unwrap();
            stream.write_all(first).await.unwrap();
            let begun = Instant::now();
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest));
            // Closed, or closed with an alert; in any case soon.
            drop(closed.await.expect("the gateway gives up"));
            let took = begun.elapsed();
            assert!(took > Duration::from_millis(200), "{listener}: {took:?}");
            assert!(took < Duration::from_secs(3), "{listener}: {took:?}");
        }
    }
}

#[tokio::test]
async fn client_certificates_are_off_optional_or_required() {
    let trusted = Authority::create("Trusted").await;
    trusted.issue("good", &[]).await;
    trusted
        .issue("expired", &["-startdate", "20200101000000Z", "-enddate", "20210101000000Z"])
        .await;
    trusted.issue("early", &["-startdate", "20400101000000Z", "-enddate", "20410101000000Z"]).await;
    trusted.issue("revoked", &[]).await;
    trusted.issue("server", &["-extensions", "server"]).await;
    trusted.revoke("revoked").await;
    let list = trusted.list("crl.pem").await;
    let stranger = Authority::create("Trusted").await;
    stranger.issue("forged", &[]).await;
    let served = "HTTP/1.1 404";
    let rows = [
        ("off", None, served),
        ("off", Some((&stranger, "forged")), served),
        ("optional", None, served),
        ("optional", Some((&trusted, "good")), served),
        ("optional", Some((&stranger, "forged")), "alert"),
        ("optional", Some((&trusted, "expired")), "alert certificate expired"),
        ("optional", Some((&trusted, "early")), "alert"),
        ("optional", Some((&trusted, "server")), "alert"),
        ("optional", Some((&trusted, "revoked")), "alert certificate revoked"),
        ("required", None, "alert certificate required"),
        ("required", Some((&trusted, "good")), served),
        ("required", Some((&trusted, "revoked")), "alert certificate revoked"),
    ];
    for demand in ["off", "optional", "required"] {
        let config = format!(
            "https_client_certificates = {demand:?}\nclient_ca_files = [{:?}]\ncrl_files = [{list:?}]",
            trusted.file("ca.pem")
        );
        let gateway = Gateway::start_tls(options(), &config).await;
        for (_, client, expected) in rows.iter().filter(|(row, _, _)| *row == demand) {
            let files = client.map(|(authority, name)| {
                (authority.file(&format!("{name}.pem")), authority.file(&format!("{name}.key")))
            });
            let mut args = Vec::new();
            if let Some((certificate, key)) = &files {
                args = vec!["-cert", certificate.to_str().unwrap()];
                args.extend(["-key", key.to_str().unwrap()]);
            }
            let said = talk(&gateway, "https", &args).await;
            assert!(said.contains(expected), "{demand} {args:?}: {expected} is not in\n{said}");
            assert_eq!(said.contains(served), *expected == served, "{demand} {args:?}\n{said}");
        }
    }
}

#[tokio::test]
async fn management_is_spoken_over_tls_where_that_is_asked_for() {
    let gateway = Gateway::start_tls(options(), "admin = true").await;
    let said = talk(&gateway, "admin", &[]).await;
    assert!(said.contains("HTTP/1.1 404"), "{said}");
    let plain = reqwest::get(format!("http://{}/livez", gateway.address("admin"))).await;
    assert!(plain.is_err(), "nothing is said in the clear");
    let mut list = tokio::process::Command::new(PROGRAM);
    list.args(["-o", "json", "cert", "list", "--server"]);
    list.arg(format!("https://localhost:{}", gateway.address("admin").port()));
    list.arg("--ca-file").arg(gateway.authority());
    let output = list.output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "[]", "{output:?}");
}

#[tokio::test]
async fn tls_that_cannot_be_spoken_says_why() {
    let authority = Authority::create("Some").await;
    let file = |name: &str| authority.file(name).to_str().unwrap().to_owned();
    authority.issue("one", &["-extensions", "server"]).await;
    authority.issue("other", &["-extensions", "server"]).await;
    let pair = |certificate: &str, key: &str| {
        format!("certificate_file = {:?}\nkey_file = {:?}", file(certificate), file(key))
    };
    let good = pair("one.pem", "one.key");
    let rows = [
        (String::new(), "event-gateway cert init"),
        (pair("one.pem", "other.key"), "TLS: "),
        (pair("one.key", "one.key"), "expected a certificate in PEM"),
        (pair("one.pem", "one.pem"), "expected a private key in PEM"),
        (pair("none.pem", "one.key"), "none.pem"),
        (
            format!("{good}\nclient_ca_files = [{:?}]", file("one.csr")),
            "expected certificates in PEM",
        ),
        (format!("{good}\ncrl_files = [{:?}]", file("one.pem")), "(CRL)"),
        (format!("{good}\nhttps_client_certificates = \"required\""), "tls.client_ca_files"),
        (format!("key_file = {:?}", file("one.key")), "tls.certificate_file"),
    ];
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("gateway.toml");
    for (tls, expected) in rows {
        std::fs::write(&config, format!("[listen]\nhttps = \"127.0.0.1:0\"\n[tls]\n{tls}\n"))
            .unwrap();
        let mut serve = tokio::process::Command::new(PROGRAM);
        serve.args(["serve", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--admin"]);
        serve.args(["127.0.0.1:0", "--config", config.to_str().unwrap(), "--data"]);
        let output = serve.arg(directory.path().join("data")).kill_on_drop(true).output();
        let output = tokio::time::timeout(Duration::from_secs(30), output).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{tls}");
        assert!(said.contains(expected), "{tls}: {expected} is not in {said}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
    }
}

#[tokio::test]
async fn a_connection_ends_when_its_certificate_expires() {
    let trusted = Authority::create("Trusted").await;
    let mut date = peers::program("date", "coreutils");
    let date = date.args(["-u", "-d", "+12 seconds", "+%Y%m%d%H%M%SZ"]).output().await.unwrap();
    let soon = String::from_utf8(date.stdout).unwrap();
    trusted.issue("brief", &["-enddate", soon.trim()]).await;
    let config = format!("client_ca_files = [{:?}]", trusted.file("ca.pem"));
    let gateway = Gateway::start_tls(options(), &config).await;
    let address = gateway.address("https").to_string();
    let files = [trusted.file("brief.pem"), trusted.file("brief.key")];
    let [certificate, key] = files.map(|file| file.to_str().unwrap().to_owned());
    let mut connection =
        Connection::open(&["-connect", &address, "-cert", &certificate, "-key", &key]);
    connection.send(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    connection.read_until("HTTP/1.1 404").await;
    assert!(connection.is_open());
    let waited = Instant::now();
    connection.closed().await;
    assert!(waited.elapsed() < Duration::from_secs(30), "{:?}", waited.elapsed());
}
