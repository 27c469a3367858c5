//! What comes by HTTP reaches MQTT subscribers, and in which form.

use eg_tests::gateway::Gateway;
use eg_tests::peers;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::PROGRAM;
use crate::subscriber::Subscriber;

fn mosquitto_sub(gateway: &Gateway, arguments: &[&str]) -> Command {
    let mut command = peers::program("mosquitto_sub", "mosquitto-clients");
    let port = gateway.address("mqtt").port().to_string();
    command.args(["-h", "127.0.0.1", "-p", &port, "-q", "2"]).args(arguments);
    command
}

#[tokio::test]
async fn an_event_that_came_over_http_is_a_cloudevent_for_subscribers() {
    let gateway = Gateway::start(PROGRAM).await;
    let format = ["-t", "events/shop/#", "-F", "%t %C %P %p"];
    let arguments = [&["-V", "mqttv5", "-i", "five", "-c", "-x", "3600"][..], &format].concat();
    let older = ["-V", "mqttv311", "-i", "three", "-c", "-t", "events/shop/#", "-F", "%t %p"];
    // A session first, so that it does not matter when the clients have subscribed.
    for arguments in [&arguments[..], &older] {
        let mut command = mosquitto_sub(&gateway, arguments);
        assert!(command.arg("-E").status().await.unwrap().success());
    }
    let event = json!({ "specversion": "1.0", "id": "1", "source": "/shop/tills", "type": "order.created",
        "datacontenttype": "application/json", "data": { "total": 7 } });
    let request = reqwest::Client::new().post(gateway.url("/events"));
    let request = request.header("content-type", "application/cloudevents+json");
    let answer = request.body(event.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let five = Subscriber::start(mosquitto_sub(&gateway, &arguments));
    let three = Subscriber::start(mosquitto_sub(&gateway, &older));
    let line = five.line(0).await;
    let expected = "events/shop/tills/order.created application/json specversion:1.0 id:1";
    assert!(line.starts_with(expected), "{line}");
    assert!(line.ends_with(r#"{"total":7}"#), "{line}");
    let line = three.line(0).await;
    let (topic, text) = line.split_once(' ').unwrap();
    assert_eq!(topic, "events/shop/tills/order.created");
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), event);
}
