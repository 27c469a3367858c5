//! What is retained survives a kill right behind its acknowledgement, and clients that nobody here
//! wrote find it; and so they do what the server says of itself and of its clients.

use eg_tests::gateway::{Gateway, Options};
use eg_tests::peers;
use tokio::process::Command;

use crate::PROGRAM;
use crate::subscriber::Subscriber;

fn mosquitto(program: &str, gateway: &Gateway, arguments: &[&str]) -> Command {
    let mut command = peers::program(program, "mosquitto-clients");
    let port = gateway.address("mqtt").port().to_string();
    command.args(["-h", "127.0.0.1", "-p", &port]).args(arguments);
    command
}

/// Publishes with QoS 1, and waits for the acknowledgement.
async fn publish(gateway: &Gateway, arguments: &[&str]) {
    let mut command = mosquitto("mosquitto_pub", gateway, &["-q", "1"]);
    assert!(command.args(arguments).status().await.unwrap().success(), "{arguments:?}");
}

/// The first `count` lines of a subscriber, sorted.
async fn lines(gateway: &Gateway, count: usize, arguments: &[&str]) -> Vec<String> {
    let count = count.to_string();
    let mut command = mosquitto("mosquitto_sub", gateway, &["-q", "1", "-C", &count, "-W", "30"]);
    let output = command.args(arguments).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn what_is_retained_survives_a_kill_right_behind_its_acknowledgement() {
    let mut gateway = Gateway::start(PROGRAM).await;
    for (round, version) in ["mqttv311", "mqttv5", "mqttv311", "mqttv5"].into_iter().enumerate() {
        let value = round.to_string();
        let own = format!("kept/{round}");
        publish(&gateway, &["-V", version, "-r", "-t", &own, "-m", &value]).await;
        publish(&gateway, &["-V", version, "-r", "-t", "kept/gone", "-m", "x"]).await;
        publish(&gateway, &["-V", version, "-r", "-t", "kept/gone", "-n"]).await;
        publish(&gateway, &["-V", version, "-r", "-t", "kept/all", "-m", &value]).await;
        gateway.kill().await;
        gateway.restart().await;
        let filter = ["-V", version, "-t", "kept/#", "-F", "%r %t %p"];
        let mut expected: Vec<_> = (0..=round).map(|one| format!("1 kept/{one} {one}")).collect();
        expected.push(format!("1 kept/all {round}"));
        assert_eq!(lines(&gateway, round + 2, &filter).await, expected, "{version}");
    }
    // Nothing else is there: the first that comes is the live one behind them.
    let mut arguments = vec![gateway.address("mqtt").port().to_string()];
    arguments.extend(["5", "late", "1", "kept/gone"].map(str::to_owned));
    let mut command = peers::python("paho_subscribe.py");
    command.args(&arguments);
    let paho = Subscriber::subscribed(command).await;
    publish(&gateway, &["-t", "kept/gone", "-m", "live"]).await;
    assert_eq!(paho.line(0).await, "live");
    let url = format!("mqtt://{}", gateway.address("mqtt"));
    let mut command = peers::node("mqttjs_subscribe.cjs");
    command.args([&url, "5", "mqttjs", "2", "kept/all"]);
    let mqttjs = Subscriber::start(command);
    let mut lines = [mqttjs.line(0).await, mqttjs.line(1).await];
    lines.sort();
    assert_eq!(lines, ["3", "subscribed"]);
}

#[tokio::test]
async fn a_retained_will_is_there_for_who_comes_later() {
    let gateway = Gateway::start(PROGRAM).await;
    publish(&gateway, &["-r", "-t", "ready", "-m", "yes"]).await;
    let will =
        ["-i", "lost", "-t", "ready", "--will-topic", "wills/lost", "--will-payload", "gone"];
    let will = [&will[..], &["--will-qos", "1", "--will-retain"]].concat();
    let client = Subscriber::start(mosquitto("mosquitto_sub", &gateway, &will));
    assert_eq!(client.line(0).await, "yes");
    drop(client);
    let watching = ["-t", "wills/#", "-F", "%t %p"];
    assert_eq!(lines(&gateway, 1, &watching).await, ["wills/lost gone"]);
    let later = ["-t", "wills/#", "-F", "%r %p"];
    assert_eq!(lines(&gateway, 1, &later).await, ["1 gone"]);
}

#[tokio::test]
async fn the_server_says_how_it_fares_and_what_becomes_of_its_clients() {
    let config = "[mqtt]\nsys_interval_seconds = 1\n\
        lifecycle_events = [\"client-connected\", \"client-disconnected\"]\n";
    let options = Options { program: PROGRAM.into(), config: config.to_owned(), dev: true };
    let gateway = Gateway::start_with(options).await;
    let version = lines(&gateway, 1, &["-t", "$SYS/broker/version", "-F", "%r %p"]).await;
    assert!(version[0].starts_with("1 event-gateway version "), "{version:?}");
    let uptimes = lines(&gateway, 3, &["-t", "$SYS/broker/uptime"]).await;
    assert!(uptimes.iter().all(|line| line.ends_with(" seconds")), "{uptimes:?}");

    let filter = ["-i", "watcher", "-c", "-q", "1", "-t", "$SYS/events/event-gateway/mqtt/#"];
    let mut begin = mosquitto("mosquitto_sub", &gateway, &filter);
    assert!(begin.arg("-E").status().await.unwrap().success());
    publish(&gateway, &["-i", "watched", "-t", "t", "-m", "x"]).await;
    let watcher = Subscriber::start(mosquitto("mosquitto_sub", &gateway, &filter));
    let mut seen = Vec::new();
    for index in 0.. {
        let event: serde_json::Value = serde_json::from_str(&watcher.line(index).await).unwrap();
        if event["subject"] == "watched" {
            assert_eq!(event["source"], "/event-gateway/mqtt");
            seen.push(event);
        }
        if seen.len() == 2 {
            break;
        }
    }
    assert_eq!(seen[0]["type"], "io.event-gateway.mqtt.client.connected");
    assert_eq!(seen[1]["type"], "io.event-gateway.mqtt.client.disconnected");
    assert_eq!(seen[1]["data"]["reasonCode"], 0);
}

#[tokio::test]
async fn a_will_is_published_though_the_gateway_is_killed_before_its_client() {
    let mut gateway = Gateway::start(PROGRAM).await;
    let watching = ["-i", "watcher", "-c", "-t", "crashed/#"];
    let mut begin = mosquitto("mosquitto_sub", &gateway, &["-q", "1", "-E"]);
    assert!(begin.args(watching).status().await.unwrap().success());
    publish(&gateway, &["-r", "-t", "ready", "-m", "yes"]).await;
    let will = ["-i", "lost", "-t", "ready", "--will-topic", "crashed/a", "--will-payload", "gone"];
    let will = [&will[..], &["--will-qos", "1"]].concat();
    let client = Subscriber::start(mosquitto("mosquitto_sub", &gateway, &will));
    assert_eq!(client.line(0).await, "yes");
    // The will reaches the disk beside what is published meanwhile.
    for _ in 0..5 {
        publish(&gateway, &["-t", "other", "-m", "x"]).await;
    }
    gateway.kill().await;
    drop(client);
    gateway.restart().await;
    assert_eq!(lines(&gateway, 1, &watching).await, ["gone"]);
}
