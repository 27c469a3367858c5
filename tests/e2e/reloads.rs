//! Certificates are replaced while events flow.

use std::path::Path;

use eg_tests::gateway::{Gateway, Options};
use eg_tests::openssl;
use eg_tests::peers;
use eg_tests::wait::until;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use crate::PROGRAM;

const RELOADS: usize = 100;

/// Makes `NAME.pem` for the server's key, signed by the gateway's own authority; gives back its
/// serial number.
async fn certify(directory: &Path, name: &str) -> String {
    let pem = format!("{name}.pem");
    let extensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\n";
    std::fs::write(directory.join("extensions"), extensions).unwrap();
    let request = ["req", "-new", "-key", "data/ca/server.key", "-subj", "/CN=localhost", "-out"];
    openssl::run(directory, &[&request[..], &["server.csr"]].concat()).await;
    let sign = ["x509", "-req", "-in", "server.csr", "-CA", "data/ca/ca.pem", "-CAkey"];
    let rest = ["data/ca/ca.key", "-days", "30", "-extfile", "extensions", "-out", &pem];
    openssl::run(directory, &[&sign[..], &rest].concat()).await;
    serial(&openssl::run(directory, &["x509", "-noout", "-serial", "-in", &pem]).await)
}

fn serial(line: &str) -> String {
    line.trim().trim_start_matches("serial=").to_owned()
}

/// Waits until `listener` shows the certificate with this number.
async fn until_shown(gateway: &Gateway, listener: &str, expected: &str) {
    let address = gateway.address(listener).to_string();
    until("new connections are shown the new certificate", async || {
        let shown =
            openssl::openssl(gateway.directory(), &["s_client", "-connect", &address]).await;
        let file = gateway.directory().join("shown.pem");
        std::fs::write(&file, shown.stdout).unwrap();
        let args = ["x509", "-noout", "-serial", "-in", "shown.pem"];
        let found = openssl::openssl(gateway.directory(), &args).await;
        (serial(&String::from_utf8_lossy(&found.stdout)) == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_hundred_reloads_under_load_lose_and_double_nothing() {
    let options = Options { program: PROGRAM.into(), config: String::new(), dev: true };
    let gateway = Gateway::start_tls(options, "").await;
    let directory = gateway.directory();
    let mut serials = Vec::new();
    for name in ["a", "b"] {
        serials.push(certify(directory, name).await);
    }
    let mut client = peers::python("publish_steadily.py");
    client.arg(gateway.authority());
    client.arg(gateway.address("https").port().to_string());
    client.arg(gateway.address("mqtts").port().to_string());
    client.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("under way"));

    for round in 0..RELOADS {
        let (listener, which) = (["https", "mqtts"][round / 2 % 2], round % 2);
        let name = ["a", "b"][which];
        if round < RELOADS / 2 {
            // The file is replaced, and noticed.
            let new = directory.join("data/ca/server.new");
            std::fs::copy(directory.join(format!("{name}.pem")), &new).unwrap();
            std::fs::rename(&new, directory.join("data/ca/server.pem")).unwrap();
        } else {
            // The configuration leads to another file, and the program is told to read it.
            let files = format!(
                "certificate_file = {:?}\nkey_file = {:?}\n",
                directory.join(format!("{name}.pem")),
                directory.join("data/ca/server.key")
            );
            gateway.reload(&format!("{}{files}", gateway.config())).await;
        }
        until_shown(&gateway, listener, &serials[which]).await;
    }

    drop(client.stdin.take());
    let said = lines.next_line().await.unwrap().unwrap_or_default();
    let mut complaints = String::new();
    if let Some(mut errors) = client.stderr.take() {
        errors.read_to_string(&mut complaints).await.unwrap();
    }
    assert!(client.wait().await.unwrap().success(), "{said} {complaints}");
    let counts: Vec<usize> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(counts.len() == 2 && counts.iter().all(|count| *count > RELOADS), "{said}");
    let journal = gateway.journal().await;
    for (prefix, count) in ["http", "mqtt"].iter().zip(counts) {
        let found: Vec<_> = journal.iter().filter_map(|event| event["id"].as_str()).collect();
        let found = found.into_iter().filter(|id| id.starts_with(prefix));
        let expected: Vec<_> = (0..count).map(|number| format!("{prefix}-{number}")).collect();
        assert_eq!(found.collect::<Vec<_>>(), expected, "each once, in order");
    }
}
