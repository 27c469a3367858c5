//! The command line clients of mosquitto, over TCP and TLS.

use std::process::{Output, Stdio};

use eg_tests::peers;

use crate::server::{FORBIDDEN, Server, unique};

/// How to reach a server with a version: over TLS for MQTT 5, so that both are shown.
fn arguments(server: &Server, version: &str) -> Vec<String> {
    let authority = server.authority().display().to_string();
    let mut all = ["-V", version, "-h", "localhost", "-p"].map(str::to_owned).to_vec();
    match version {
        "mqttv5" => all.extend([server.mqtts().port().to_string(), "--cafile".into(), authority]),
        _ => all.push(server.mqtt().port().to_string()),
    }
    all
}

/// Runs one of the clients to its end.
async fn run(server: &Server, version: &str, program: &str, args: &[&str]) -> Output {
    let mut command = peers::program(program, "mosquitto-clients");
    command.args(arguments(server, version)).args(args);
    command.output().await.unwrap()
}

async fn publish(server: &Server, version: &str, args: &[&str]) {
    let output = run(server, version, "mosquitto_pub", args).await;
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What is printed of so many messages.
async fn read(server: &Server, version: &str, count: usize, args: &[&str]) -> String {
    let count = count.to_string();
    let args = [&["-W", "20", "-C", &count], args].concat();
    let output = run(server, version, "mosquitto_sub", &args).await;
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

#[tokio::test]
async fn a_session_waits_for_messages_in_their_order() {
    let server = Server::shared().await;
    for version in VERSIONS {
        let (topic, name) = (unique("t"), unique("c"));
        let expiry: &[&str] = if version == "mqttv5" { &["-x", "600"] } else { &[] };
        let session = [&["-c", "-i", &name, "-q", "2", "-t", &topic][..], expiry].concat();
        let args = [&["-E"], &session[..]].concat();
        let subscribed = run(&server, version, "mosquitto_sub", &args).await;
        assert!(subscribed.status.success());
        for number in 0..6 {
            let (payload, qos) = (number.to_string(), (1 + number % 2).to_string());
            publish(&server, version, &["-t", &topic, "-m", &payload, "-q", &qos]).await;
        }
        let found = read(&server, version, 6, &[&["-F", "%p %q"], &session[..]].concat()).await;
        let mut lines: Vec<_> = found.lines().collect();
        // The client hands over QoS 2 when it is released, so the order is that of each QoS.
        lines.sort_unstable();
        assert_eq!(lines, ["0 1", "1 2", "2 1", "3 2", "4 1", "5 2"]);
    }
}

#[tokio::test]
async fn retained_messages_come_and_go() {
    let server = Server::shared().await;
    for version in VERSIONS {
        let topic = unique("t");
        publish(&server, version, &["-t", &topic, "-m", "kept", "-r", "-q", "1"]).await;
        let found = read(&server, version, 1, &["-t", &topic, "-F", "%r %p"]).await;
        assert_eq!(found.trim(), "1 kept");
        publish(&server, version, &["-t", &topic, "-n", "-r", "-q", "1"]).await;
        let args = ["-t", &topic, "-W", "1", "--retained-only"];
        let none = run(&server, version, "mosquitto_sub", &args).await;
        assert!(none.stdout.is_empty(), "{}", String::from_utf8_lossy(&none.stdout));
    }
}

#[tokio::test]
async fn properties_arrive() {
    let server = Server::shared().await;
    let topic = unique("t");
    let publication = ["user-property", "content-type", "response-topic", "correlation-data"];
    let mut args = vec!["-t", &topic, "-m", "x", "-r", "-q", "1"];
    for (property, value) in publication.iter().zip([&["a", "1"][..], &["b/c"], &["d"], &["e"]]) {
        args.extend(["-D", "publish", property]);
        args.extend(value);
    }
    args.extend(["-D", "publish", "message-expiry-interval", "100"]);
    publish(&server, "mqttv5", &args).await;
    let found = read(&server, "mqttv5", 1, &["-t", &topic, "-F", "%P|%C|%R|%D|%E"]).await;
    let (found, expiry) = found.trim().rsplit_once('|').unwrap();
    assert_eq!(found, "a:1|b/c|d|e");
    assert!((95..=100).contains(&expiry.parse::<u32>().unwrap()), "{expiry}");
}

#[tokio::test]
async fn a_killed_client_leaves_its_will() {
    let server = Server::shared().await;
    for version in VERSIONS {
        let topic = unique("t");
        // Line by line, or it would keep to itself that it has subscribed.
        let mut command = peers::program("stdbuf", "coreutils");
        command.args(["-oL", "mosquitto_sub"]).args(arguments(&server, version));
        command.args(["-t", "none", "-d", "--will-topic", &topic]);
        command.args(["--will-payload", "gone", "--will-qos", "1", "--will-retain"]);
        let mut client = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = client.stdout.take().unwrap();
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stdout));
        while !lines.next_line().await.unwrap().unwrap().contains("SUBACK") {}
        client.kill().await.unwrap();
        let found = read(&server, version, 1, &["-t", &topic, "-F", "%p"]).await;
        assert_eq!(found.trim(), "gone");
    }
}

#[tokio::test]
async fn a_forbidden_filter_is_told() {
    let server = Server::strict().await;
    if server.is_excused("has no rules here") {
        return;
    }
    for version in VERSIONS {
        let topic = format!("{FORBIDDEN}/x");
        let output = run(&server, version, "mosquitto_sub", &["-t", &topic, "-W", "5"]).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("denied"), "{said}");
    }
}
