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

#[tokio::test]
async fn without_configuration_nobody_is_let_in_over_tls_websocket_and_kymas_routes_either() {
    let options = Options { program: PROGRAM.into(), config: String::new(), dev: false };
    let gateway = Gateway::start_tls(options, "").await;
    let authority = std::fs::read(gateway.authority()).unwrap();
    let authority = reqwest::Certificate::from_pem(&authority).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    let secure = format!("https://localhost:{}", gateway.address("https").port());
    for base in [gateway.url(""), secure.clone()] {
        for path in ["/events", "/shop/v1/events", "/shop/v2/events"] {
            let event = client.post(format!("{base}{path}")).body("{}");
            let event = event.header("content-type", "application/cloudevents+json");
            assert_eq!(event.send().await.unwrap().status(), 401, "{base}{path}");
        }
        let subscribed = client.get(format!("{base}/shop/v1/events/subscribed"));
        assert_eq!(subscribed.send().await.unwrap().status(), 401);
        let info = client.get(format!("{base}/v1/applications/management/info"));
        assert_eq!(info.send().await.unwrap().status(), 403);
    }
    let metrics = client.get(format!("http://{}/metrics", gateway.address("admin")));
    assert_eq!(metrics.send().await.unwrap().status(), 401);
    let mqtt = [
        ("mqtts", format!("--cafile {}", gateway.authority().display())),
        ("http", "--ws".to_owned()),
    ];
    for (listener, args) in mqtt {
        let mut publish = peers::python("paho_anonymous.py");
        publish.arg(gateway.address(listener).port().to_string()).args(args.split(' '));
        let output = publish.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "refused 135\n", "{listener}: {output:?}");
    }
    assert_eq!(gateway.journal().await.len(), 0);
}

#[tokio::test]
async fn development_mode_lets_no_page_of_another_origin_in() {
    let gateway = Gateway::start(PROGRAM).await;
    let client = reqwest::Client::new();
    let event = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t" });
    let port = gateway.address("http").port();
    for (host, origin, status) in [
        (format!("localhost:{port}"), "http://localhost:3000", 202),
        (format!("localhost:{port}"), "https://evil.example", 401),
        (format!("evil.example:{port}"), "http://evil.example", 401),
    ] {
        let request = client.post(gateway.url("/events")).body(event.to_string());
        let request = request.header("host", &host).header("origin", origin);
        let request = request.header("content-type", "application/cloudevents+json");
        assert_eq!(request.send().await.unwrap().status(), status, "{host} {origin}");
    }
    let admin = format!("http://{}/graphql", gateway.address("admin"));
    let question = client.post(admin).json(&json!({ "query": "{ nextSequence }" }));
    let answer = question.header("host", "evil.example").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    for (origin, said) in
        [("http://localhost:3000", "connected\n"), ("https://evil.example", "refused 135\n")]
    {
        let mut connect = peers::python("paho_anonymous.py");
        connect.args([&port.to_string(), "--ws", origin]);
        let output = connect.output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), said, "{origin}: {output:?}");
    }
}
