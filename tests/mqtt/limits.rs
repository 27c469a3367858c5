//! What clients and applications may have at once: who asks for more is told, or slowed down, and
//! nobody else is.

use std::time::{Duration, Instant};

use eg_tests::gateway::{Gateway, Options};
use eg_tests::peers;
use eg_tests::wait::until;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::PROGRAM;
use crate::subscriber::Subscriber;

/// A gateway with the application `shop`, and the secret of one of its clients.
struct Bench {
    gateway: Gateway,
    shop: String,
}

impl Bench {
    async fn new(limits: Value) -> Self {
        let gateway = Gateway::start_closed(PROGRAM, String::new()).await;
        let create = "mutation { createApplication(in: { name: \"shop\" }) { id } }";
        gateway.graphql(create, json!({})).await;
        let query = "mutation($in: CredentialInput!) { createCredential(in: $in) { secret } }";
        let input = json!({ "name": "till", "application": "shop" });
        let made = gateway.graphql(query, json!({ "in": input })).await;
        let shop = made["createCredential"]["secret"].as_str().unwrap().to_owned();
        let bench = Self { gateway, shop };
        bench.limit(limits).await;
        bench
    }

    async fn limit(&self, limits: Value) {
        let query = "mutation($in: ApplicationLimitsInput!) { \
            limitApplication(name: \"shop\", in: $in) { limits { mqttConnections } } }";
        self.gateway.graphql(query, json!({ "in": limits })).await;
    }

    fn mosquitto(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = peers::program(program, "mosquitto-clients");
        let port = self.gateway.address("mqtt").port().to_string();
        command.args(["-d", "-V", "5", "-p", &port, "-u", "x", "-P", &self.shop]).args(arguments);
        command
    }

    /// What a client that ends by itself says.
    async fn said(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.mosquitto(program, arguments).output().await.unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    async fn client(&self, id: &str) -> Value {
        let query = "query($id: ID!) { mqttClient(id: $id) { connected session { \
            subscriptions queueMessages dropped { reason messages } } } }";
        self.gateway.graphql(query, json!({ "id": id })).await["mqttClient"].take()
    }
}

#[tokio::test]
async fn an_application_has_so_many_connections_and_subscriptions_and_is_told() {
    let bench = Bench::new(json!({ "mqttConnections": 1, "mqttSubscriptions": 2 })).await;
    let topics = ["-t", "a", "-t", "b", "-t", "c"];
    let one = [&["-i", "one", "-q", "1"], &topics[..]].concat();
    let told = bench.said("mosquitto_sub", &[&one[..], &["-E"]].concat()).await;
    assert!(told.contains(": 1, 1, 151"), "{told}");
    let first = Subscriber::start(bench.mosquitto("mosquitto_sub", &one));
    let is_there =
        async || (bench.client("one").await["session"]["subscriptions"] == 2).then_some(());
    until("the client is there", is_there).await;
    let refused = bench.said("mosquitto_pub", &["-i", "two", "-t", "a", "-m", "x"]).await;
    assert!(refused.contains("CONNACK (151)"), "{refused}");
    let older =
        bench.said("mosquitto_pub", &["-V", "311", "-i", "two", "-t", "a", "-m", "x"]).await;
    assert!(older.contains("CONNACK (3)"), "{older}");
    // It takes its own connection over, and has the place of that.
    let told = bench.said("mosquitto_sub", &[&one[..], &["-E"]].concat()).await;
    assert!(told.contains(": 1, 1, 151"), "{told}");
    drop(first);
    until("the place is there again", async || {
        let said = bench.said("mosquitto_pub", &["-i", "two", "-t", "a", "-m", "x"]).await;
        said.contains("CONNACK (0)").then_some(())
    })
    .await;
    let refused =
        "event_gateway_mqtt_connects_refused_total{protocol=\"mqtt\",reason=\"quota_exceeded\"}";
    let url = format!("http://{}/metrics", bench.gateway.address("admin"));
    let key = bench.gateway.admin_key().unwrap();
    let metrics = reqwest::Client::new().get(url).bearer_auth(key).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let held = "event_gateway_mqtt_application_subscriptions{application=\"shop\"} ";
    assert!(metrics.contains(held), "{metrics}");
    let under_way = "event_gateway_mqtt_application_inflight_messages{application=\"shop\"} 0";
    assert!(metrics.contains(under_way), "{metrics}");
    let count = metrics.lines().find_map(|line| line.strip_prefix(refused)).unwrap();
    assert!(count.trim().parse::<u64>().unwrap() >= 2, "{count}");
}

#[tokio::test]
async fn an_application_that_is_registered_again_has_what_it_had() {
    let bench = Bench::new(json!({})).await;
    let one = ["-i", "one", "-q", "1", "-t", "a"];
    let _first = Subscriber::start(bench.mosquitto("mosquitto_sub", &one));
    let is_there =
        async || (bench.client("one").await["session"]["subscriptions"] == 1).then_some(());
    until("the client is there", is_there).await;
    let found = bench.gateway.graphql("{ applications { data { id } } }", json!({})).await;
    let id = &found["applications"]["data"][0]["id"];
    let delete = "mutation($id: ID!) { deleteApplication(id: $id) { id } }";
    bench.gateway.graphql(delete, json!({ "id": id })).await;
    // Others come and go meanwhile.
    for name in ["pump", "shop"] {
        let create = "mutation($name: String!) { createApplication(in: { name: $name }) { id } }";
        bench.gateway.graphql(create, json!({ "name": name })).await;
    }
    bench.limit(json!({ "mqttConnections": 1 })).await;
    let refused = bench.said("mosquitto_pub", &["-i", "two", "-t", "a", "-m", "x"]).await;
    assert!(refused.contains("CONNACK (151)"), "{refused}");
    let took_over = bench.said("mosquitto_sub", &[&one[..], &["-E"]].concat()).await;
    assert!(took_over.contains(": 1"), "{took_over}");
}

#[tokio::test]
async fn so_much_waits_for_the_sessions_of_an_application_and_no_more() {
    let bench = Bench::new(json!({ "mqttQueueMessages": 3 })).await;
    for id in ["one", "two"] {
        let begin = ["-i", id, "-c", "-x", "60", "-q", "1", "-t", "a", "-E"];
        let said = bench.said("mosquitto_sub", &begin).await;
        assert!(said.contains("Subscribed"), "{said}");
    }
    let publish = async || {
        let said = bench.said("mosquitto_pub", &["-q", "1", "-t", "a", "-m", "x"]).await;
        assert!(said.contains("PUBACK"), "{said}");
    };
    publish().await;
    publish().await;
    let waiting = async || {
        let (one, two) = (bench.client("one").await, bench.client("two").await);
        let waiting = |one: &Value| one["session"]["queueMessages"].as_u64().unwrap();
        let dropped = |one: &Value| one["session"]["dropped"].as_array().unwrap().clone();
        (waiting(&one) + waiting(&two), [dropped(&one), dropped(&two)].concat())
    };
    let left_out = json!([{ "reason": "application_queue_full", "messages": 1 }]);
    until("three of four wait", async || {
        let (count, dropped) = waiting().await;
        (count == 3 && json!(dropped) == left_out).then_some(())
    })
    .await;
    // What one has taken is room for the other.
    let resume = ["-i", "one", "-c", "-x", "60", "-q", "1", "-t", "a", "-C", "1"];
    assert!(bench.said("mosquitto_sub", &resume).await.contains("received PUBLISH"));
    publish().await;
    until("there is room again", async || (waiting().await.0 >= 3).then_some(())).await;
}

#[tokio::test]
async fn so_much_is_under_way_to_the_clients_of_an_application_and_each_has_its_turn() {
    let bench = Bench::new(json!({ "mqttInflightMessages": 2 })).await;
    let mut clients = peers::python("paho_inflight.py");
    clients.arg(bench.gateway.address("mqtt").port().to_string()).arg(&bench.shop);
    let output = clients.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn who_publishes_faster_than_it_may_is_slowed_down_and_loses_nothing() {
    let config = "[mqtt]\nclient_messages_per_second_max = 20\n".to_owned();
    let options = Options { program: PROGRAM.into(), config, dev: true };
    let gateway = Gateway::start_with(options).await;
    let port = gateway.address("mqtt").port().to_string();
    for (qos, name) in [("0", "fast-0"), ("1", "fast-1")] {
        let mut publish = peers::program("mosquitto_pub", "mosquitto-clients");
        publish.args(["-p", &port, "-i", name, "-q", qos, "-t", name, "-l"]);
        publish.stdin(std::process::Stdio::piped());
        let started = Instant::now();
        let mut process = publish.spawn().unwrap();
        let lines = "line\n".repeat(60);
        let mut input = process.stdin.take().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut input, lines.as_bytes()).await.unwrap();
        drop(input);
        assert!(process.wait().await.unwrap().success());
        until("everything has come", async || {
            let all = gateway.journal().await;
            let count = all.iter().filter(|event| event["origin"]["clientId"] == name).count();
            (count == 60).then_some(())
        })
        .await;
        if qos == "1" {
            let taken = started.elapsed();
            assert!(taken >= Duration::from_secs(1), "60 at 20 a second took {taken:?}");
        }
    }
    let metrics =
        reqwest::get(format!("http://{}/metrics", gateway.address("admin"))).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let paused = "event_gateway_mqtt_reading_paused_total{protocol=\"mqtt\"}";
    let count = metrics.lines().find_map(|line| line.strip_prefix(paused)).unwrap();
    assert!(count.trim().parse::<u64>().unwrap() > 0, "{count}");
}
