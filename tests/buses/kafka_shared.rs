//! Two gateways read a Kafka topic as one consumer group.

use std::collections::HashSet;

use eg_tests::gateway::Gateway;
use eg_tests::kafka::Kafka;
use eg_tests::{peers, wait};
use serde_json::json;

use crate::PROGRAM;
use crate::consume::{status, with};
use crate::registered::register;

/// How many events come at once.
const WAVE: usize = 1_000;

/// Publishes another wave; gives back how many events there are now.
async fn publish_wave(broker: &Kafka, first: usize) -> usize {
    let mut command = broker.client();
    command.args(["many", "lamps", &WAVE.to_string(), &first.to_string()]);
    peers::run(command).await;
    first + WAVE
}

async fn reads(broker: &Kafka) -> Gateway {
    let gateway = Gateway::start(PROGRAM).await;
    register(&gateway, &broker.url(), "lamps", with(json!({ "group": "lamps" }))).await;
    gateway
}

async fn taken(gateway: &Gateway) -> u64 {
    status(gateway).await["reading"]["taken"].as_u64().unwrap_or(0)
}

async fn ids(gateway: &Gateway) -> Vec<String> {
    let found = gateway.journal().await.into_iter();
    found.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn two_gateways_share_the_partitions_and_nothing_is_lost_when_one_leaves() {
    let broker = Kafka::start().await;
    broker.make_topic("lamps", 4).await;
    let (one, mut other) = (reads(&broker).await, reads(&broker).await);
    let mut count = 0;
    wait::until_within(2 * wait::DEADLINE, "both read", async || {
        count = publish_wave(&broker, count).await;
        (taken(&one).await > 0 && taken(&other).await > 0).then_some(())
    })
    .await;
    let before = taken(&other).await;
    count = publish_wave(&broker, count).await;
    wait::until("the one that leaves has taken more", async || {
        (taken(&other).await > before).then_some(())
    })
    .await;
    count = publish_wave(&broker, count).await;
    assert_eq!(other.stop().await, Some(0));
    count = publish_wave(&broker, count).await;
    other.restart().await;
    let all = wait::until_within(2 * wait::DEADLINE, "every event is in a journal", async || {
        let all = [ids(&one).await, ids(&other).await].concat();
        (all.iter().collect::<HashSet<_>>().len() == count).then_some(all)
    })
    .await;
    // What was not committed is given again to whoever goes on, and nothing else.
    assert!(all.len() - count < count / 2, "{} of {count} came again", all.len() - count);
}
