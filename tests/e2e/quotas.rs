//! What is too much for an application is refused, over every protocol, and never for another.

use eg_tests::gateway::{Gateway, Options};
use eg_tests::peers;
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::PROGRAM;

struct Bench {
    gateway: Gateway,
    shop: String,
}

impl Bench {
    async fn new(limits: Value) -> Self {
        let options = Options { program: PROGRAM.into(), config: String::new(), dev: false };
        let gateway = Gateway::start_with(options).await;
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

    async fn limit(&self, limits: Value) -> Value {
        let query = "mutation($in: ApplicationLimitsInput!) { \
            limitApplication(name: \"shop\", in: $in) { events bytes limits { quotaBytes } } }";
        self.gateway.graphql(query, json!({ "in": limits })).await
    }

    async fn publish(&self, id: &str) -> Response {
        let event = json!({ "specversion": "1.0", "id": id, "source": "/shop", "type": "t",
            "data": "x".repeat(1000) });
        let request = Client::new().post(self.gateway.url("/events")).bearer_auth(&self.shop);
        let request = request.header("content-type", "application/cloudevents+json");
        request.body(event.to_string()).send().await.unwrap()
    }

    async fn publish_as_kyma(&self) -> Response {
        let event = json!({ "event-type": "t", "event-type-version": "v1",
            "event-time": "2018-11-02T22:08:41Z", "data": "x" });
        let url = self.gateway.url("/shop/v1/events");
        Client::new().post(url).bearer_auth(&self.shop).json(&event).send().await.unwrap()
    }

    /// What an MQTT 5 client that we did not write says.
    async fn publish_by_mqtt(&self) -> String {
        let port = self.gateway.address("mqtt").port().to_string();
        let mut publish = peers::program("mosquitto_pub", "mosquitto-clients");
        publish.args(["-d", "-V", "5", "-p", &port, "-i", "till", "-u", "x", "-P", &self.shop]);
        publish.args(["-q", "1", "-t", "orders", "-m", "{}"]);
        let output = publish.output().await.unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

#[tokio::test]
async fn who_holds_all_that_it_may_is_refused_over_every_protocol_until_it_may_more() {
    let bench = Bench::new(json!({ "quotaBytes": 2000 })).await;
    assert_eq!(bench.publish("1").await.status(), 202);
    assert_eq!(bench.publish("2").await.status(), 202);
    let refused = bench.publish("3").await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (429, &"60".parse().unwrap())
    );
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["detail"], "the quota of shop is used up: 2000 bytes of stored events");
    assert_eq!(bench.publish("1").await.status(), 202, "it is there already");

    let kyma = bench.publish_as_kyma().await;
    assert_eq!(kyma.status(), 429);
    assert!(kyma.headers().contains_key("retry-after"));
    let body: Value = kyma.json().await.unwrap();
    assert_eq!((&body["status"], &body["type"]), (&json!(429), &json!("too_many_requests")));

    let told = bench.publish_by_mqtt().await;
    assert!(told.contains("RC:151"), "quota exceeded is 0x97: {told}");

    let now = bench.limit(json!({ "quotaBytes": 1_000_000 })).await;
    assert_eq!(now["limitApplication"]["events"], 2);
    assert_eq!(bench.publish("3").await.status(), 202);

    let query = "{ applicationUsage(name: \"shop\", days: 7) { events bytes forecastBytes \
        quotaFullInDays rates { seconds eventsPerSecond } } }";
    let usage = &bench.gateway.graphql(query, json!({})).await["applicationUsage"];
    assert_eq!(usage["events"], 3);
    assert!(usage["quotaFullInDays"].as_f64().unwrap() < 1.0, "{usage}");
    assert!(
        usage["rates"][0]["eventsPerSecond"].as_f64().unwrap() > 0.04,
        "3 in a minute: {usage}"
    );
    let query = "{ storagePlan(days: 7, whatIf: { messagesPerDay: 10000, kilobytes: 5 }) { \
        whatIfBytes whatIfFits roomBytes applications { application } } }";
    let plan = &bench.gateway.graphql(query, json!({})).await["storagePlan"];
    assert_eq!((&plan["whatIfBytes"], &plan["whatIfFits"]), (&json!(350_000_000.0), &json!(true)));
}

#[tokio::test]
async fn who_sends_too_fast_is_told_when_to_come_again() {
    let bench = Bench::new(json!({ "eventsPerSecond": 1, "burstEvents": 2 })).await;
    let mut statuses = Vec::new();
    for n in 0..6 {
        let answer = bench.publish(&n.to_string()).await;
        if answer.status() == 429 {
            assert_eq!(answer.headers()["retry-after"], "1");
        }
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses[..2], [202, 202]);
    assert!(statuses.contains(&429), "{statuses:?}");
    bench.limit(json!({})).await;
    assert_eq!(bench.publish("more").await.status(), 202);
    assert_eq!(
        bench.limit(json!({ "quotaBytes": 5 })).await["limitApplication"]["limits"]["quotaBytes"],
        5
    );
}
