//! A cluster that can be told to fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eg_event::outbound::{Auth, ClientAuthentication, ClientCredentials, Credential, SecretText};
use eg_event::principal::Method;
use eg_event::submission::{Binding, Origin, Protocol, Sender};
use eg_event::subscription::BusTopic;
use eg_event::{
    Clock, CloudEvent, Delivery, Outcome, Sequence, Sink as _, StoredEvent, Subscription,
    Timestamp, TraceContext,
};
use futures_util::future::{BoxFuture, FutureExt as _};
use rdkafka::client::ClientContext as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer};
use rdkafka::types::{RDKafkaApiKey as Request, RDKafkaRespErr as Answer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::configure;
use crate::source::{Arrival, Settlement, Source};
use crate::{BusSink, Surroundings, Target, Token, Tokens, open};

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A provider whose tokens have a number.
struct Numbered(AtomicU64);

impl Tokens for Numbered {
    fn token<'a>(&'a self, _: &'a Subscription) -> BoxFuture<'a, Result<Token, String>> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        let secret = SecretText::new(format!("token {number}"));
        std::future::ready(Ok(Token { secret, expires_at: None })).boxed()
    }
}

fn around() -> Surroundings {
    Surroundings {
        tracker: TaskTracker::new(),
        stop: CancellationToken::new(),
        check_address: Arc::new(|_| Ok(())),
        clock: Clock::system(),
        tokens: Arc::new(Numbered(1.into())),
    }
}

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 2, 1).unwrap();
    cluster
}

fn subscription(url: &str, topic: &str, attributes: &[(&str, &str)]) -> Subscription {
    let mut subscription = Subscription::new("out", url);
    let attributes: BTreeMap<_, _> =
        attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    subscription.bus = Some(BusTopic { topic: topic.to_owned(), attributes });
    subscription.request_timeout_ms = 10_000;
    subscription
}

fn to(cluster: &Cluster) -> Subscription {
    subscription(&format!("kafka://{}", cluster.bootstrap_servers()), "orders", &[])
}

fn delivery(subscription: &Subscription, id: u32) -> Delivery {
    let mut builder = CloudEvent::builder();
    builder.implied_spec_version();
    let id = id.to_string();
    let rows = [("id", &*id), ("source", "/s"), ("type", "order made"), ("partitionkey", "7")];
    for (name, text) in rows {
        builder.attribute(name, text).unwrap();
    }
    let stored = StoredEvent {
        sequence: Sequence(1),
        received_at: Timestamp::default(),
        event: builder.build().unwrap(),
        sender: Sender { name: "shop".into(), method: Method::Anonymous, application: None },
        origin: Origin {
            protocol: Protocol::Http,
            binding: Binding::Binary,
            remote: None,
            address: "/events".into(),
            client_id: None,
        },
        trace: TraceContext::default(),
        held: None,
        message: None,
    };
    let subscription = Arc::new(subscription.clone());
    Delivery { event: Arc::new(stored), subscription, attempt: 1 }
}

/// Why an event is not delivered.
async fn reason(sink: &BusSink, subscription: &Subscription) -> String {
    match sink.deliver(&delivery(subscription, 1)).await {
        Outcome::Failed { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

async fn deliver(sink: &BusSink, subscription: &Subscription, id: u32) {
    let outcome = sink.deliver(&delivery(subscription, id)).await;
    assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
}

#[tokio::test]
async fn what_brokers_refuse_is_told_in_words_that_can_be_acted_on() {
    let rows = [
        (
            Answer::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            "not authorized for the topic orders",
        ),
        (Answer::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "larger than max.message.bytes"),
        (Answer::RD_KAFKA_RESP_ERR_POLICY_VIOLATION, "a policy of the cluster"),
        (Answer::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, "no broker takes orders"),
    ];
    for (answer, expected) in rows {
        let cluster = cluster();
        let subscription = to(&cluster);
        let sink = BusSink::new(around());
        cluster.request_errors(Request::Produce, &[answer]);
        let said = reason(&sink, &subscription).await;
        assert!(said.contains(expected), "{answer:?}: {said}");
        delivered_in_the_end(&sink, &subscription).await;
    }
}

async fn delivered_in_the_end(sink: &BusSink, subscription: &Subscription) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let outcome = async || sink.deliver(&delivery(subscription, 2)).await;
    while !matches!(outcome().await, Outcome::Delivered { .. }) {
        assert!(tokio::time::Instant::now() < deadline);
    }
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_named() {
    let cluster = cluster();
    let unknown = Answer::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.topic_error("orders", unknown).unwrap();
    let (subscription, around) = (Arc::new(to(&cluster)), around());
    let sink = BusSink::new(around.clone());
    let said = reason(&sink, &subscription).await;
    assert!(said.contains("no broker knows the topic orders: make it"), "{said}");
    let found = examined(&subscription, &around).await.unwrap_err();
    assert!(found.contains("no broker knows the topic orders: make it"), "{found}");
    let opened = open(&subscription, &around).await.map(drop).unwrap_err().to_string();
    assert!(opened.contains("no broker knows the topic orders: make it"), "{opened}");
}

async fn examined(subscription: &Subscription, around: &Surroundings) -> Result<String, String> {
    let connection = crate::connections::connect(subscription, around).await;
    let connection = connection.map_err(|error| error.to_string())?;
    connection.examine().await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_topic_can_be_examined_before_anything_is_published() {
    let (cluster, around) = (cluster(), around());
    let found = examined(&to(&cluster), &around).await.unwrap();
    assert_eq!(found, "connected to 1 broker(s); orders has 2 partition(s)");
    let varying =
        subscription(&format!("kafka://{}", cluster.bootstrap_servers()), "o.{type}", &[]);
    let found = examined(&varying, &around).await.unwrap();
    assert!(found.contains("the topic varies with the event"), "{found}");
}

#[tokio::test]
async fn nobody_waits_long_for_a_broker_that_is_down_and_it_goes_on_when_it_is_back() {
    let cluster = cluster();
    let subscription = to(&cluster);
    let sink = BusSink::new(around());
    deliver(&sink, &subscription, 1).await;
    cluster.broker_down(1).unwrap();
    let failed = async || {
        let started = std::time::Instant::now();
        let said = reason(&sink, &subscription).await;
        (started.elapsed(), said)
    };
    // What is on its way when it goes down may still wait for it.
    failed().await;
    let (elapsed, said) = failed().await;
    assert!(elapsed < Duration::from_secs(6), "{elapsed:?}");
    assert!(said.contains("no connection"), "{said}");
    cluster.broker_up(1).unwrap();
    delivered_in_the_end(&sink, &subscription).await;
}

#[tokio::test]
async fn nothing_is_handed_over_where_nobody_listens_and_the_address_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let subscription = subscription(&format!("kafka://{free}"), "orders", &[]);
    let started = std::time::Instant::now();
    let said = reason(&BusSink::new(around()), &subscription).await;
    assert!(said.contains(&free.to_string()) && said.contains("refused"), "{said}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn tls_where_the_broker_speaks_none_is_explained() {
    let cluster = cluster();
    let url = format!("kafkas://{}", cluster.bootstrap_servers());
    let said = reason(&BusSink::new(around()), &subscription(&url, "orders", &[])).await;
    assert!(said.contains("speaks no TLS there"), "{said}");
}

#[tokio::test]
async fn certificates_that_are_none_are_named() {
    let pem = "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n";
    let url = "kafkas://127.0.0.1:9";
    let subscription = subscription(url, "orders", &[("caCertificates", pem)]);
    let said = reason(&BusSink::new(around()), &subscription).await;
    assert!(said.contains("attributes.caCertificates: expected"), "{said}");
}

#[tokio::test]
async fn an_address_that_brokers_tell_has_to_be_allowed() {
    let cluster = cluster();
    let asked = AtomicU64::new(0);
    let around = Surroundings {
        // The address in the URL may be connected to, the same one that the broker tells may not.
        check_address: Arc::new(move |address| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(format!("{address} may not be connected to")),
        }),
        ..around()
    };
    let said = examined(&to(&cluster), &around).await.unwrap_err();
    assert!(said.contains("127.0.0.1 may not be connected to"), "{said}");
}

#[tokio::test]
async fn a_password_reaches_the_client_by_the_mechanism_that_was_asked_for() {
    let rows = [
        ("kafka", None, "sasl_plaintext", "PLAIN"),
        ("kafkas", None, "sasl_ssl", "PLAIN"),
        ("kafkas", Some("SCRAM-SHA-256"), "sasl_ssl", "SCRAM-SHA-256"),
        ("kafkas", Some("SCRAM-SHA-512"), "sasl_ssl", "SCRAM-SHA-512"),
    ];
    for (scheme, asked, protocol, mechanism) in rows {
        let attributes: Vec<_> = asked.map(|asked| ("authentication", asked)).into_iter().collect();
        let mut subscription =
            subscription(&format!("{scheme}://127.0.0.1:9092"), "orders", &attributes);
        let password = SecretText::new("s3cret");
        let credential = Credential::Basic { username: "gateway".to_owned(), password };
        let auth = Auth { credential: Some(credential), ..Auth::default() };
        subscription.auth = Some(Arc::new(auth));
        let target = Target::of(&subscription).unwrap();
        let (config, context) = configure(&target, &subscription, &around()).await.unwrap();
        let names = ["security.protocol", "sasl.mechanism", "sasl.username", "sasl.password"];
        let given = names.map(|name| config.get(name).unwrap_or_default());
        assert_eq!(given, [protocol, mechanism, "gateway", "s3cret"]);
        let made: Result<FutureProducer<_>, _> = config.create_with_context(context);
        made.map(drop).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_another_before_it_ends() {
    let mut subscription = subscription("kafka://127.0.0.1:9092", "orders", &[]);
    let credential = Credential::OAuth(ClientCredentials {
        client_id: "gateway".to_owned(),
        client_secret: SecretText::new("secret"),
        url: "https://provider.example/token".to_owned(),
        scopes: Vec::new(),
        audience: None,
        resource: None,
        client_authentication: ClientAuthentication::default(),
    });
    subscription.auth = Some(Arc::new(Auth { credential: Some(credential), ..Auth::default() }));
    let target = Target::of(&subscription).unwrap();
    let (config, context) = configure(&target, &subscription, &around()).await.unwrap();
    assert_eq!(config.get("sasl.mechanism"), Some("OAUTHBEARER"));
    let token = || context.generate_oauth_token(None).unwrap().token;
    assert_eq!(token(), "token 1");
    tokio::time::sleep(Duration::from_secs(226)).await;
    assert_eq!(token(), "token 2");
}

#[test]
fn a_topic_has_to_have_a_legal_name() {
    let rows = [
        ("orders", true),
        ("{source}", true),
        ("plant-1.{type}", true),
        ("a/b", false),
        ("^a.*", false),
        ("..", false),
        ("caf\u{e9}", false),
    ];
    for (topic, is_legal) in rows {
        let checked = crate::check(&subscription("kafka://b", topic, &[]));
        assert_eq!(checked.is_ok(), is_legal, "{topic}");
    }
    assert_eq!(super::legal("/plant 1"), "_plant_1");
}

/// Publishes the events with these numbers.
async fn fill(subscription: &Subscription, numbers: std::ops::Range<u32>) {
    let sink = BusSink::new(around());
    for number in numbers {
        deliver(&sink, subscription, number).await;
    }
}

async fn reader(mut subscription: Subscription, attributes: &[(&str, &str)]) -> Box<dyn Source> {
    let bus = subscription.bus.as_mut().unwrap();
    let attributes = attributes.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    bus.attributes.extend(attributes);
    open(&Arc::new(subscription), &around()).await.unwrap()
}

/// Lets a reader go before its brokers do.
async fn leave(source: Box<dyn Source>) {
    drop(source);
    tokio::task::yield_now().await;
}

fn id(arrival: &Arrival) -> u32 {
    let id = arrival.attributes.iter().find(|(name, _)| name == "id");
    id.unwrap().1.parse().unwrap()
}

/// Receives at least `count`, and settles each.
async fn take(source: &mut dyn Source, count: usize) -> Vec<u32> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let arrivals = source.receive().await.unwrap();
        source.settle(&vec![Settlement::Taken; arrivals.len()]).await.unwrap();
        taken.extend(arrivals.iter().map(id));
    }
    taken
}

#[tokio::test]
async fn what_is_read_has_all_that_was_written() {
    let cluster = cluster();
    fill(&to(&cluster), 1..2).await;
    let mut source = reader(to(&cluster), &[]).await;
    let arrivals = source.receive().await.unwrap();
    let [arrival] = &*arrivals else { panic!("{arrivals:?}") };
    let mut attributes = arrival.attributes.clone();
    attributes.sort();
    let expected = [
        ("id", "1"),
        ("partitionkey", "7"),
        ("source", "/s"),
        ("specversion", "1.0"),
        ("type", "order made"),
    ];
    assert_eq!(attributes, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!((arrival.key.as_deref(), &*arrival.topic), (Some(&b"7"[..]), "orders"));
    assert!(arrival.identity.as_deref().unwrap().starts_with("orders/"));
}

#[tokio::test]
async fn no_more_is_given_than_may_be_under_way_and_what_is_not_settled_comes_again() {
    let cluster = cluster();
    fill(&to(&cluster), 0..10).await;
    let mut source = reader(to(&cluster), &[("maxInFlight", "4")]).await;
    let first = source.receive().await.unwrap();
    assert!(first.len() <= 4);
    let again = source.receive().await.unwrap();
    assert_eq!(first[0], again[0]);
    source.settle(&vec![Settlement::Taken; again.len()]).await.unwrap();
    let rest = take(&mut *source, 10 - again.len()).await;
    let seen: Vec<_> = again.iter().map(id).chain(rest).collect();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    leave(source).await;
}

#[tokio::test]
async fn what_is_to_be_given_again_comes_again_in_its_place() {
    let cluster = cluster();
    fill(&to(&cluster), 0..10).await;
    let mut source = reader(to(&cluster), &[("maxInFlight", "3")]).await;
    let mut seen = Vec::new();
    let arrivals = source.receive().await.unwrap();
    let mut settlements = vec![Settlement::Taken; arrivals.len()];
    *settlements.last_mut().unwrap() = Settlement::Again;
    seen.extend(arrivals[..arrivals.len() - 1].iter().map(id));
    source.settle(&settlements).await.unwrap();
    seen.extend(take(&mut *source, 10 - seen.len()).await);
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    leave(source).await;
}
