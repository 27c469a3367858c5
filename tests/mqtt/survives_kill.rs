//! What is published while the program is killed again and again reaches every session: at least
//! once with QoS 1, exactly once with QoS 2, in the order of publication.

use std::collections::HashMap;
use std::time::Duration;

use eg_tests::gateway::Gateway;
use eg_tests::peers;
use eg_tests::wait::until_within;
use rand::RngExt as _;
use tokio::task::JoinSet;

use crate::PROGRAM;
use crate::subscriber::Subscriber;

/// The least number of times that the program is killed.
const KILLS_MIN: usize = 20;
/// The most: afterwards the clients are left to finish.
const KILLS_MAX: usize = 60;
const TIME_MAX: Duration = Duration::from_mins(2);
/// How many messages each publisher has; its name is what the payloads begin with.
const PUBLISHED: [(&str, &str, usize); 3] =
    [("paho-1", "1", 3000), ("paho-2", "2", 2000), ("mqttjs-2", "2", 2000)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_get_everything_though_the_program_is_killed() {
    let mut gateway = Gateway::start(PROGRAM).await;
    let mqtt = gateway.address("mqtt");
    let (port, url) = (mqtt.port().to_string(), format!("mqtt://{mqtt}"));
    let paho = |version: &str, name: &str, qos: &str| {
        let mut command = peers::python("paho_subscribe.py");
        command.args([&port, version, name, qos, "survives/#"]);
        command
    };
    let mut mqttjs = peers::node("mqttjs_subscribe.cjs");
    mqttjs.args([&url, "5", "mqttjs", "2", "survives/#"]);
    let subscribers = [
        ("exactly once, paho, 5", true, Subscriber::subscribed(paho("5", "five", "2")).await),
        (
            "exactly once, paho, 3.1.1",
            true,
            Subscriber::subscribed(paho("311", "three", "2")).await,
        ),
        ("exactly once, MQTT.js", true, Subscriber::subscribed(mqttjs).await),
        ("at least once, paho, 5", false, Subscriber::subscribed(paho("5", "one", "1")).await),
    ];

    let mut publishers = JoinSet::new();
    for (name, qos, count) in PUBLISHED {
        let (script, target) = match name.split('-').next() {
            Some("paho") => (peers::python("paho_publish.py"), &port),
            _ => (peers::node("mqttjs_publish.cjs"), &url),
        };
        let mut command = script;
        command.args([target, name, qos, &count.to_string()]);
        publishers.spawn(async move { drop(peers::run(command).await) });
    }
    let mut kills = 0;
    while kills < KILLS_MIN || (kills < KILLS_MAX && !publishers.is_empty()) {
        let life = Duration::from_millis(rand::rng().random_range(50..700));
        tokio::time::sleep(life).await;
        gateway.kill().await;
        kills += 1;
        gateway.restart().await;
        while publishers.try_join_next().is_some() {}
    }
    let finished = tokio::time::timeout(TIME_MAX, publishers.join_all()).await;
    assert!(finished.is_ok(), "publishers still wait for acknowledgements");

    let total: usize = PUBLISHED.iter().map(|(_, _, count)| count).sum();
    for (name, exactly_once, subscriber) in &subscribers {
        let arrived = until_within(TIME_MAX, "everything has arrived", async || {
            let mut times: HashMap<String, usize> = HashMap::new();
            for line in subscriber.lines() {
                *times.entry(line).or_default() += 1;
            }
            (times.len() >= total).then_some(times)
        });
        let times = arrived.await;
        assert!(!times.contains_key("lost"), "{name}: a session was lost");
        assert_eq!(times.len(), total, "{name}");
        if *exactly_once {
            // What was published with QoS 1 goes out with QoS 1.
            let once = times.iter().filter(|(message, _)| !message.starts_with("paho-1-"));
            let twice: Vec<_> = once.filter(|(_, times)| **times > 1).take(5).collect();
            assert!(twice.is_empty(), "{name}: came twice: {twice:?}");
            assert_in_order(name, &subscriber.lines());
        }
    }
}

/// The messages of one publisher that sends them in order come in order (MQTT 5.0 section 4.6).
fn assert_in_order(name: &str, lines: &[String]) {
    let of_one = lines.iter().filter_map(|line| line.strip_prefix("paho-2-"));
    let numbers: Vec<usize> = of_one.map(|number| number.parse().unwrap()).collect();
    let first_back = numbers.windows(2).find(|pair| pair[0] > pair[1]);
    assert_eq!(first_back, None, "{name}: out of order");
}
