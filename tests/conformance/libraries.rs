//! Client libraries that nobody here wrote go through what a broker has to do, over every transport.

use std::collections::BTreeSet;

use eg_tests::peers;
use futures_util::future::join_all;
use tokio::process::Command;

use crate::server::Server;

/// What every library does over both versions.
const OF_BOTH: [&str; 14] = [
    "qos",
    "retained",
    "will",
    "resume",
    "unsubscribe",
    "wildcards",
    "overlapping",
    "forbidden",
    "dollar",
    "redelivery",
    "empty_payload",
    "empty_client_id",
    "keepalive_0",
    "takeover",
];
/// What only MQTT 5 has.
const OF_5: [&str; 12] = [
    "shared",
    "request_response",
    "user_properties",
    "aliases",
    "receive_maximum",
    "maximum_packet",
    "server_keep_alive",
    "session_expiry",
    "will_delay",
    "message_expiry",
    "assigned_id",
    "retain_options",
];
/// What mosquitto does not do, or not as it is configured here.
const EXCUSED: [&str; 2] = ["forbidden", "takeover"];

/// The scenarios of a version that the server is asked for.
fn scenarios(server: &Server, version: &str) -> Vec<&'static str> {
    let of_5: &[_] = if version == "5" { &OF_5 } else { &[] };
    let mut all = [&OF_BOTH[..], of_5].concat();
    all.retain(|name| !EXCUSED.contains(name) || !server.is_excused("does not do it"));
    all
}

/// Runs a script with the scenarios; each of them has to hold.
async fn assert_all_hold(mut command: Command, what: String, scenarios: Vec<&str>) {
    let run = command.args(&scenarios).output();
    let output = tokio::time::timeout(2 * eg_tests::wait::DEADLINE, run).await;
    let output = output.unwrap_or_else(|_| panic!("{what} ends in time")).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let held: BTreeSet<_> = said.lines().filter_map(|line| line.strip_prefix("ok ")).collect();
    let failed = scenarios.iter().filter(|name| !held.contains(**name)).count();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(failed, 0, "{what}: {said}{told}");
}

/// The transports that a server has, with their port here and at the strict one.
fn transports(shared: &Server, strict: &Server) -> Vec<(&'static str, u16, u16)> {
    let ports = |server: &Server| {
        let websocket = [server.websocket(), server.websocket_tls()];
        let all = [Some(server.mqtt()), Some(server.mqtts()), websocket[0], websocket[1]];
        all.map(|address| address.map(|address| address.port()))
    };
    let both = ports(shared).into_iter().zip(ports(strict));
    ["tcp", "tls", "ws", "wss"]
        .into_iter()
        .zip(both)
        .filter_map(|(name, (port, strict_port))| Some((name, port?, strict_port?)))
        .collect()
}

/// Every transport with both versions at once.
async fn everywhere(command: impl Fn(&str, (u16, u16), &str, &str) -> Command) {
    let (shared, strict) = (Server::shared().await, Server::strict().await);
    let bundle = bundle(&[&shared, &strict]);
    let mut runs = Vec::new();
    for (transport, port, strict_port) in transports(&shared, &strict) {
        for version in ["3.1.1", "5"] {
            let is_tls = matches!(transport, "tls" | "wss");
            let authorities = if is_tls { bundle.path().to_str().unwrap() } else { "-" };
            let command = command(transport, (port, strict_port), version, authorities);
            let what = format!("{version} over {transport}");
            runs.push(assert_all_hold(command, what, scenarios(&shared, version)));
        }
    }
    join_all(runs).await;
}

/// The authorities of servers in one file.
fn bundle(servers: &[&Server]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let read = |server: &&Server| std::fs::read_to_string(server.authority()).unwrap();
    std::fs::write(file.path(), servers.iter().map(read).collect::<String>()).unwrap();
    file
}

#[tokio::test]
async fn paho_works() {
    everywhere(|transport, (port, strict_port), version, authorities| {
        let mut command = peers::python("paho_conformance.py");
        command.args([transport, &port.to_string(), &strict_port.to_string(), version]);
        command.arg(authorities);
        command
    })
    .await;
}

#[tokio::test]
async fn mqttjs_works() {
    everywhere(|transport, (port, strict_port), version, authorities| {
        let scheme = match transport {
            "tcp" => "mqtt",
            "tls" => "mqtts",
            other => other,
        };
        let mut command = peers::node("mqttjs_conformance.cjs");
        let urls = [port, strict_port].map(|port| format!("{scheme}://localhost:{port}/mqtt"));
        command.args(urls).args([version, authorities]);
        command
    })
    .await;
}
