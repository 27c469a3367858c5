//! Who may do what without configuration: nobody, and in development mode anyone on this machine.

use std::process::Output;

use eg_tests::gateway::{Gateway, Options};
use eg_tests::peers;
use serde_json::json;
use tokio::process::Command;

use crate::PROGRAM;

async fn program(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).kill_on_drop(true).output().await.unwrap()
}

#[tokio::test]
async fn without_configuration_nobody_is_let_in() {
    let options = Options { program: PROGRAM.into(), config: String::new(), dev: false };
    let gateway = Gateway::start_with(options).await;
    let client = reqwest::Client::new();
    let event = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t" });
    let event = client
        .post(gateway.url("/events"))
        .header("content-type", "application/cloudevents+json")
        .body(event.to_string());
    let answer = event.send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(answer.headers().contains_key("www-authenticate"));

    let admin = format!("http://{}/graphql", gateway.address("admin"));
    let question = client.post(admin).json(&json!({ "query": "{ nextSequence }" }));
    assert_eq!(question.send().await.unwrap().status(), 401);

    let port = gateway.address("mqtt").port().to_string();
    for (version, code) in [("5", 135), ("311", 5)] {
        let mut publish = peers::program("mosquitto_pub", "mosquitto-clients");
        publish.args(["-p", &port, "-V", version, "-q", "1", "-t", "t", "-m", "x"]);
        let output = publish.output().await.unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(said.contains("not authori"), "{said}");
    }
}

#[tokio::test]
async fn development_mode_is_for_this_machine_alone() {
    for listener in ["--http", "--https", "--mqtt", "--mqtts", "--admin"] {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let output =
            program(&["serve", "--dev", "--data", data.to_str().unwrap(), listener, "0.0.0.0:0"])
                .await;
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("loopback") && said.contains(&listener[2..]), "{said}");
        assert!(!data.exists(), "nothing was begun");
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let rows = [
        ("lissten = 1", "listen"),
        ("[http]\nbody_bytes_max = \"x\"", "body_bytes_max"),
        ("[http]\nbody_bytes_max = 0", "http.body_bytes_max"),
        ("[listen]\nhttp = \"here\"", "http"),
        ("[mqtt]\nreceive_maximum = 0", "mqtt.receive_maximum"),
        ("= 1", "1"),
    ];
    for (text, named) in rows {
        let file = directory.path().join("gateway.toml");
        std::fs::write(&file, text).unwrap();
        let output = program(&["check-config", "--config", file.to_str().unwrap()]).await;
        assert_eq!(output.status.code(), Some(1), "{text}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(named), "{text}: {said}");
    }
    let output = program(&["check-config"]).await;
    assert!(output.status.success());
}
