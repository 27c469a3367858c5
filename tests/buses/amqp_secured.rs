//! Who the gateway is to RabbitMQ, and what it is told when something is wrong.

use eg_tests::acme::free_port;
use eg_tests::brokers::Broker;
use eg_tests::gateway::Gateway;
use eg_tests::openssl::Authority;
use eg_tests::subscriber::{Reaction, Subscriber};
use eg_tests::wait;
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::amqp::queue;
use crate::registered::{drained, failures, publish, try_to_register};

/// RabbitMQ that speaks TLS too, on the port that is given back, with whoever shows a certificate.
async fn over_tls(authority: &Authority) -> (Broker, u16) {
    authority.issue("server", &["-extensions", "server"]).await;
    authority.issue("guest", &[]).await;
    let (mut broker, port) = (Broker::rabbitmq().await, free_port());
    let file = |name: &str| authority.file(name).display().to_string();
    let tls = format!(
        "listeners.ssl.local = 127.0.0.1:{port}\nssl_options.cacertfile = {}\n\
         ssl_options.certfile = {}\nssl_options.keyfile = {}\nssl_options.verify = verify_peer\n\
         ssl_options.fail_if_no_peer_cert = true\nssl_cert_login_from = common_name\n\
         auth_mechanisms.1 = EXTERNAL\nauth_mechanisms.2 = PLAIN\n",
        file("ca.pem"),
        file("server.pem"),
        file("server.key"),
    );
    broker.configure(&tls).await;
    // Only now: a broker that is killed forgets the queues of its last moments.
    queue(&broker, &["lamps"]).await;
    (broker, port)
}

#[tokio::test]
async fn rabbitmq_takes_a_client_certificate_over_both_protocols() {
    let authority = Authority::create("Plant").await;
    let (_broker, port) = over_tls(&authority).await;
    let read = |file: &str| std::fs::read_to_string(authority.file(file)).unwrap();
    let certificate = json!({ "certificateChain": read("guest.pem"),
        "privateKey": read("guest.key") });
    let password = json!({ "basic": { "username": "guest", "password": "guest" } });
    let by_certificate = json!({ "certificate": certificate });
    let by_both = json!({ "certificate": certificate, "credential": password });
    // RabbitMQ before 4.0 takes no EXTERNAL over 1.0: there it wants a password as well.
    let rows = [
        ("amqps", "lamps", "EXTERNAL", by_certificate),
        ("amqps10", "/amq/queue/lamps", "PASSWORD", by_both),
    ];
    for (scheme, topic, authentication, auth) in rows {
        let ca = read("ca.pem");
        let attributes = json!({ "caCertificates": ca, "authentication": authentication });
        let gateway = Gateway::start(PROGRAM).await;
        let external = json!({ "url": format!("{scheme}://localhost:{port}"), "topic": topic,
            "auth": auth, "attributes": attributes });
        let name = try_to_register(&gateway, "lamps", &external).await.unwrap();
        publish(&gateway, "1", b"1").await;
        drained(&gateway, &name).await;
        assert_eq!(failures(&gateway, "1").await, [""; 0], "{scheme}");
    }
}

#[tokio::test]
async fn an_access_token_is_the_password_over_both_protocols() {
    let broker = Broker::rabbitmq().await;
    queue(&broker, &["lamps"]).await;
    let provider = Subscriber::scripted(|_, _| {
        let body = json!({ "access_token": "guest", "token_type": "bearer", "expires_in": 300 });
        Reaction::Text(200, body.to_string())
    })
    .await;
    let auth = json!({ "credential": { "oauth": { "clientId": "guest", "clientSecret": "s3cret",
        "url": provider.url() } } });
    for (scheme, topic) in [("amqp", "lamps"), ("amqp10", "/amq/queue/lamps")] {
        let gateway = Gateway::start(PROGRAM).await;
        let external = json!({ "url": format!("{scheme}://127.0.0.1:{}", broker.port()),
            "topic": topic, "auth": auth });
        let name = try_to_register(&gateway, "lamps", &external).await.unwrap();
        publish(&gateway, "1", b"1").await;
        drained(&gateway, &name).await;
        assert_eq!(failures(&gateway, "1").await, [""; 0], "{scheme}");
    }
}

/// Why the first attempt at an event of `application` fails, or its definition is refused.
async fn said(gateway: &Gateway, application: &str, mut external: Value) -> String {
    external["attributes"]["retryMaxAttempts"] = json!("1");
    external["attributes"]["requestTimeoutMs"] = json!("5000");
    if let Err(refused) = try_to_register(gateway, application, &external).await {
        return refused;
    }
    let source = format!("/{application}");
    let event = json!({ "specversion": "1.0", "id": "1", "type": "lamp.lit", "source": source });
    let request = reqwest::Client::new().post(gateway.url("/events"));
    let request = request.header("content-type", "application/cloudevents+json");
    assert_eq!(request.body(event.to_string()).send().await.unwrap().status(), 202);
    let query = "query($s: String!) { event(source: $s, id: \"1\") { \
        subscriptions { attempts { reason } } } }";
    wait::until("an attempt has failed", async || {
        let journey = gateway.graphql(query, json!({ "s": source })).await;
        let subscriptions = journey["event"]["subscriptions"].as_array()?;
        let reason = |one: &Value| Some(one["attempts"][0]["reason"].as_str()?.to_owned());
        subscriptions.iter().find_map(reason)
    })
    .await
}

#[tokio::test]
async fn each_misconfiguration_of_amqp_is_told_with_what_is_to_be_mended() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::rabbitmq().await);
    queue(&broker, &["other"]).await;
    let nats = Broker::nats().await;
    let (at, other) = (format!("127.0.0.1:{}", broker.port()), nats.port());
    let wrong = json!({ "credential": { "basic": { "username": "guest", "password": "no" } } });
    let exchange = |name: &str| json!({ "exchange": name });
    let external = json!({ "authentication": "EXTERNAL" });
    let none = json!({});
    let rows = [
        (format!("amqp://{at}"), "lamps", &none, "make a queue, and bind it"),
        (format!("amqp://{at}"), "k", &exchange("house"), "no exchange 'house' in vhost '/'"),
        (format!("amqp://{at}"), "k", &exchange("amq.topic"), "no queue takes the routing key k"),
        (format!("amqp://{at}/plant"), "lamps", &none, "mend the path of the URL"),
        (format!("amqp://{at}/a/b"), "lamps", &none, "expected a URL"),
        (format!("amqp://{at}"), "lamps", &external, "attributes.authentication: expected"),
        (format!("amqp://127.0.0.1:{other}"), "lamps", &none, "AMQP 0.9.1"),
        (format!("amqps://{at}"), "lamps", &none, "TLS"),
        ("amqp://127.0.0.1:1".to_owned(), "lamps", &none, "nobody listens there"),
        (format!("amqp10://{at}"), "/amq/queue/lamps", &none, "no queue 'lamps' in vhost '/'"),
        (format!("amqp10://{at}"), "/exchange/house/k", &none, "no exchange 'house' in vhost '/'"),
        (format!("amqp10://{at}/plant"), "/amq/queue/lamps", &none, "mend the path of the URL"),
        (format!("amqp10://127.0.0.1:{other}"), "lamps", &none, "AMQP 1.0"),
        (format!("amqps10://{at}"), "lamps", &none, "TLS"),
        ("amqp10://127.0.0.1:1".to_owned(), "lamps", &none, "nobody listens there"),
    ];
    let mut failed = Vec::new();
    for (index, (url, topic, attributes, expected)) in rows.iter().enumerate() {
        let external = json!({ "url": url, "topic": topic, "attributes": attributes });
        let said = said(&gateway, &format!("row{index}"), external).await;
        if !said.contains(expected) {
            failed.push(format!("{url} {topic}: {said}"));
        }
    }
    for (index, scheme) in ["amqp", "amqp10"].into_iter().enumerate() {
        let external = json!({ "url": format!("{scheme}://{at}"), "topic": "lamps", "auth": wrong,
            "attributes": {} });
        let said = said(&gateway, &format!("login{index}"), external).await;
        if !said.contains("mend the name or the password in auth") {
            failed.push(format!("{scheme}: {said}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
