//! What was acknowledged is in the journal and at the subscriber, however often the program is
//! killed; what the protocol or the id marks as the same is there once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eg_tests::gateway::Gateway;
use eg_tests::peers;
use eg_tests::subscriber::Subscriber;
use eg_tests::wait::{until, until_within};
use rand::RngExt as _;
use rumqttc::{AsyncClient, Event, MqttOptions, Outgoing, Packet, PubAck, PubComp, QoS};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::{JoinSet, LocalSet};

use crate::PROGRAM;

/// The least number of times that the program is killed while clients publish.
const KILLS_MIN: usize = 20;
/// The most: afterwards the clients are left to finish.
const KILLS_MAX: usize = 80;
/// How long the clients may take in all.
const CLIENTS_TIME_MAX: Duration = Duration::from_mins(8);

/// How many events each client publishes: 20,000 in all.
const EXPECTED: [(&str, usize); 9] = [
    ("reqwest", 7000),
    ("sdk", 3000),
    ("paho-1", 2500),
    ("paho-2", 2000),
    ("mqttjs-1", 2000),
    ("mqttjs-2", 1500),
    ("rumqttc-1", 1000),
    ("rumqttc-2", 700),
    ("mosquitto-pub", 300),
];

fn count_of(client: &str) -> usize {
    EXPECTED.iter().find(|(name, _)| *name == client).unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_acknowledged_before_a_kill_are_in_the_journal_and_arrive() {
    // What the clients wait by stays on one thread.
    LocalSet::new().run_until(publish_while_it_is_killed()).await;
}

async fn publish_while_it_is_killed() {
    let subscriber = Subscriber::start().await;
    let mut gateway = Gateway::start(PROGRAM).await;
    gateway.subscribe(json!({ "name": "all", "endpoint": subscriber.url() })).await;

    let mut clients = publish_all(&gateway);
    let mut unfinished: HashSet<&str> = EXPECTED.iter().map(|(client, _)| *client).collect();
    let mut kills = 0;
    while kills < KILLS_MAX && !clients.is_empty() {
        let life = Duration::from_millis(rand::rng().random_range(20..300));
        tokio::time::sleep(life).await;
        gateway.kill().await;
        kills += 1;
        gateway.restart().await;
        while let Some(ended) = clients.try_join_next() {
            unfinished.remove(ended.unwrap());
        }
    }
    let finished = async {
        while let Some(ended) = clients.join_next().await {
            unfinished.remove(ended.unwrap());
        }
    };
    let in_time = tokio::time::timeout(CLIENTS_TIME_MAX, finished).await;
    assert!(in_time.is_ok(), "{unfinished:?} still wait for acknowledgements");
    assert!(kills >= KILLS_MIN, "the clients were done after {kills} kills");

    let journal = gateway.journal().await;
    assert_published_once(&journal);
    let ids: HashSet<_> = journal.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), journal.len(), "an id is in the journal once");
    until_within(CLIENTS_TIME_MAX, "everything has arrived", async || {
        let pushed = subscriber.ids();
        ids.iter().all(|id| pushed.contains(*id)).then_some(())
    })
    .await;
    assert_eq!(subscriber.ids().len(), ids.len(), "nothing arrived that is not in the journal");
}

/// Every client's every event is in the journal, and exactly once.
fn assert_published_once(journal: &[Value]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for event in journal {
        *seen.entry(name_of(event)).or_default() += 1;
    }
    for (client, count) in EXPECTED {
        for number in 0..count {
            let name = format!("{client}-{number}");
            let times = seen.remove(&name).unwrap_or(0);
            assert_eq!(times, 1, "{name} is in the journal {times} times");
        }
    }
    assert!(seen.is_empty(), "nobody published {:?}", seen.keys().next());
}

/// What the client called the event: its id, or the payload where the id was made by the gateway.
fn name_of(event: &Value) -> String {
    if event["type"] == "mqtt.message" {
        let text = event["cloudEvent"].as_str().unwrap();
        let event: Value = serde_json::from_str(text).unwrap();
        return event["data"].as_str().unwrap().to_owned();
    }
    event["id"].as_str().unwrap().to_owned()
}

fn publish_all(gateway: &Gateway) -> JoinSet<&'static str> {
    let (http, mqtt) = (gateway.address("http"), gateway.address("mqtt"));
    let (http_port, port) = (http.port().to_string(), mqtt.port().to_string());
    let websocket = format!("ws://{http}/mqtt");
    let tcp = format!("mqtt://{mqtt}");
    let mut clients = JoinSet::new();
    let mut peer = |name, mut command: Command, args: &[&str]| {
        command.args(args).arg(count_of(name).to_string());
        clients.spawn_local(async move {
            peers::run(command).await;
            name
        });
    };
    peer("paho-1", peers::python("paho_publish.py"), &[&port, "paho-1", "1"]);
    peer("paho-2", peers::python("paho_publish.py"), &[&port, "paho-2", "2"]);
    peer("mqttjs-1", peers::node("mqttjs_publish.cjs"), &[&tcp, "mqttjs-1", "1"]);
    peer("mqttjs-2", peers::node("mqttjs_publish.cjs"), &[&websocket, "mqttjs-2", "2"]);
    peer("sdk", peers::python("cloudevents_publish.py"), &[&http_port, "sdk"]);
    clients.spawn_local(publish_by_reqwest(gateway.url("/events")));
    clients.spawn_local(publish_by_rumqttc(mqtt.port(), "rumqttc-1", QoS::AtLeastOnce));
    clients.spawn_local(publish_by_rumqttc(mqtt.port(), "rumqttc-2", QoS::ExactlyOnce));
    clients.spawn_local(publish_by_mosquitto_pub(port));
    clients
}

/// Eight requests at a time; one without an answer is sent again, with the same id.
async fn publish_by_reqwest(url: String) -> &'static str {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..8 {
        let (url, next) = (url.clone(), Arc::clone(&next));
        workers.spawn_local(async move {
            let client = reqwest::Client::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count_of("reqwest") {
                    return;
                }
                let request = client
                    .post(&url)
                    .header("ce-specversion", "1.0")
                    .header("ce-id", format!("reqwest-{number}"))
                    .header("ce-source", "/reqwest")
                    .header("ce-type", "survives.kill")
                    .header("content-type", "application/json")
                    .body(format!("{{\"number\": {number}}}"));
                until("it is accepted", || accepted(request.try_clone().unwrap())).await;
            }
        });
    }
    workers.join_all().await;
    "reqwest"
}

async fn accepted(request: reqwest::RequestBuilder) -> Option<()> {
    let answer = request.send().await.ok()?;
    if answer.status() == 503 {
        return None;
    }
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.bytes().await.ok().map(drop)
}

/// MQTT 3.1.1, CloudEvents in structured content mode. What a broken connection leaves without an
/// acknowledgement is sent again on the next, with the same id.
async fn publish_by_rumqttc(port: u16, name: &'static str, qos: QoS) -> &'static str {
    let mut left: Vec<_> = (0..count_of(name)).map(|number| format!("{name}-{number}")).collect();
    while !left.is_empty() {
        let acknowledged = publish_until_broken(port, name, qos, &left).await;
        left.retain(|id| !acknowledged.contains(id));
        let connect = async || TcpStream::connect(("127.0.0.1", port)).await.ok();
        drop(until("the gateway listens again", connect).await);
    }
    name
}

/// Publishes on one connection for as long as it holds; gives back what was acknowledged.
async fn publish_until_broken(port: u16, name: &str, qos: QoS, ids: &[String]) -> HashSet<String> {
    let mut options = MqttOptions::new(name, "127.0.0.1", port);
    options.set_inflight(20);
    let (client, mut events) = AsyncClient::new(options, 20);
    let publish = async {
        for id in ids {
            let event = json!({ "specversion": "1.0", "id": id, "source": "/rumqttc",
                "type": "survives.kill" });
            let topic = format!("survives/{name}");
            client.publish(topic, qos, false, event.to_string()).await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let mut acknowledged = HashSet::new();
    let receive = async {
        let mut unsent = ids.iter();
        let mut sent = HashMap::new();
        while acknowledged.len() < ids.len() {
            let Ok(event) = events.poll().await else { return };
            match event {
                Event::Outgoing(Outgoing::Publish(packet_id)) => {
                    sent.insert(packet_id, unsent.next().unwrap());
                }
                Event::Incoming(
                    Packet::PubAck(PubAck { pkid }) | Packet::PubComp(PubComp { pkid }),
                ) => {
                    acknowledged.insert(sent[&pkid].clone());
                }
                _ => {}
            }
        }
    };
    tokio::select! {
        () = receive => {}
        () = publish => {}
    }
    acknowledged
}

/// One process for each event: exit code 0 says that it was acknowledged.
async fn publish_by_mosquitto_pub(port: String) -> &'static str {
    for number in 0..count_of("mosquitto-pub") {
        let event = json!({ "specversion": "1.0", "id": format!("mosquitto-pub-{number}"),
            "source": "/mosquitto", "type": "survives.kill" });
        let qos = if number % 2 == 0 { "1" } else { "2" };
        let attempt = || {
            let mut command = peers::program("mosquitto_pub", "mosquitto-clients");
            command.args(["-p", &port, "-V", "311", "-t", "survives/mosquitto", "-q", qos, "-m"]);
            let output = command.arg(event.to_string()).output();
            async { output.await.unwrap().status.success().then_some(()) }
        };
        until("it is acknowledged", attempt).await;
    }
    "mosquitto-pub"
}
