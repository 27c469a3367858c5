//! `event-gateway bus test`: what it finds on the way to a topic.

use std::path::Path;
use std::process::Stdio;

use eg_tests::brokers::Broker;
use eg_tests::openssl::Authority;
use serde_json::Value;
use tokio::process::Command;

use crate::PROGRAM;
use crate::registered::make_stream;

/// Runs `bus test`; gives back its exit code and the steps.
pub(crate) async fn examine(args: &[&str]) -> (i32, Vec<(String, bool, String)>) {
    let mut command = Command::new(PROGRAM);
    command.args(["-o", "json", "bus", "test"]).args(args).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let step = |step: &Value| (text(&step["step"]), step["ok"] == true, text(&step["found"]));
    let steps = found["steps"].as_array().unwrap().iter().map(step).collect();
    (output.status.code().unwrap(), steps)
}

#[tokio::test]
async fn a_way_that_leads_to_a_stream_is_good_and_the_stream_is_named() {
    let broker = Broker::nats().await;
    make_stream(&broker).await;
    let url = format!("nats://127.0.0.1:{}", broker.port());
    let (code, steps) = examine(&[&url, "--topic", "lamps.{type}"]).await;
    let names: Vec<_> = steps.iter().map(|(name, ..)| &**name).collect();
    assert_eq!((code, &*names), (0, &["url", "resolve", "connect", "auth", "topic"][..]));
    let (_, _, found) = steps.last().unwrap();
    assert!(found.starts_with("stream LAMPS of lamps, lamps.> takes lamps.*"), "{found}");
    assert!(found.contains("keeps by limits; removes what comes again within 120 s"), "{found}");
}

#[tokio::test]
async fn the_first_step_that_is_wrong_is_the_last() {
    let mut broker = Broker::nats().await;
    let url = format!("nats://127.0.0.1:{}", broker.port());
    let (code, steps) = examine(&[&url, "--topic", "lamps"]).await;
    let (name, is_good, found) = steps.last().unwrap();
    assert_eq!((code, &**name, *is_good), (1, "topic", false));
    assert_eq!(
        found,
        "no stream takes lamps: make one whose subjects include it, with JetStream enabled"
    );
    broker.kill().await;
    let (code, steps) = examine(&[&url]).await;
    let (name, is_good, found) = steps.last().unwrap();
    assert_eq!((code, &**name, *is_good), (1, "connect", false));
    assert_eq!(found, "connection refused: nobody listens there");
}

#[tokio::test]
async fn what_makes_no_sense_is_told_without_going_anywhere() {
    for args in [
        &["ftp://bus.example"][..],
        &["nats://127.0.0.1:1", "--attribute", "colour=red"],
        &["nats://127.0.0.1:1", "--attribute", "colour"],
        &["mqtt://127.0.0.1:1", "--attribute", "protocolVersion=3.1.1"],
        &["nats://127.0.0.1:1", "--password", "s3cret"],
    ] {
        let output = Command::new(PROGRAM).args(["bus", "test"]).args(args).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

#[tokio::test]
async fn certificates_and_passwords_come_from_files() {
    let authority = Authority::create("Plant").await;
    authority.issue("server", &["-extensions", "server"]).await;
    let mut broker = Broker::mosquitto().await;
    let passwords = broker.directory().join("passwords");
    let file = |path: &Path| path.display().to_string();
    let mut command = Command::new("mosquitto_passwd");
    let made = command.args(["-b", "-c", &file(&passwords), "gateway", "s3cret"]).status().await;
    assert!(made.unwrap().success());
    let tls = format!(
        "certfile {}\nkeyfile {}\npassword_file {}\nallow_anonymous false\nmax_packet_size 2000\n",
        file(&authority.file("server.pem")),
        file(&authority.file("server.key")),
        file(&passwords)
    );
    broker.configure(&tls).await;
    let secret = broker.directory().join("secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let (url, ca) = (format!("mqtts://localhost:{}", broker.port()), authority.file("ca.pem"));
    let args = [&url, "--username", "gateway", "--password-file", &file(&secret), "--ca-file"];
    let (code, steps) = examine(&[&args[..], &[&file(&ca)]].concat()).await;
    let names: Vec<_> = steps.iter().map(|(name, ..)| &**name).collect();
    assert_eq!((code, &*names), (0, &["url", "resolve", "connect", "tls", "auth", "topic"][..]));
    let (_, _, found) = steps.last().unwrap();
    assert!(found.contains("QoS 2 and messages of at most 2000 bytes"), "{found}");
    std::fs::write(&secret, "wrong").unwrap();
    let (code, steps) = examine(&[&args[..], &[&file(&ca)]].concat()).await;
    let (name, is_good, found) = steps.last().unwrap();
    assert_eq!((code, &**name, *is_good), (1, "auth", false));
    assert!(found.ends_with("not authorized (0x87): mend auth.credential"), "{found}");
    assert!(!found.contains("wrong"), "{found}");
}
