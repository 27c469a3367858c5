//! Pushing events to subscribers that behave well, badly, and worse.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eg_event::principal::Method;
use eg_event::submission::{Binding, Origin, Protocol, Sender};
use eg_event::{
    Clock, CloudEvent, Data, Delivery, Outcome, Sequence, Sink as _, StoredEvent, Subscription,
    Timestamp, TraceContext,
};
use eg_http::{HttpSink, PushConfig};
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::subscriber::{Subscriber, Then, answer};
use crate::{PATIENCE, until};

/// Well before the request's time is over.
const SOON: Duration = Duration::from_secs(4);

/// The way out, and what it runs on.
pub(crate) struct Push {
    pub(crate) sink: HttpSink,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Push {
    pub(crate) fn new(change: impl FnOnce(&mut PushConfig)) -> Self {
        let mut config = PushConfig::default();
        config.allow_loopback();
        change(&mut config);
        assert_eq!(config.check(), Ok(()));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let now = Timestamp::parse_rfc3339("2026-11-21T10:00:00Z").unwrap();
        let sink = HttpSink::new(&config, Clock::by_hand(now), tasks.clone(), stop.clone());
        Self { sink: sink.unwrap(), tasks, stop }
    }

    pub(crate) async fn to(
        &self,
        endpoint: &str,
        change: impl FnOnce(&mut Subscription),
    ) -> Outcome {
        let delivery = delivery(endpoint, change);
        self.sink.deliver(&delivery).await
    }
}

pub(crate) fn delivery(endpoint: &str, change: impl FnOnce(&mut Subscription)) -> Delivery {
    let mut builder = CloudEvent::builder();
    builder.implied_spec_version();
    for (name, text) in [("id", "1"), ("source", "/shop"), ("type", "order.created")] {
        builder.attribute(name, text).unwrap();
    }
    builder.data(Data::Json(Bytes::from_static(b"{\"n\":1.10}")));
    let stored = StoredEvent {
        sequence: Sequence(7),
        received_at: Timestamp::from_micros(1),
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
    let mut subscription = Subscription::new("orders", endpoint);
    change(&mut subscription);
    Delivery { event: Arc::new(stored), subscription: Arc::new(subscription), attempt: 1 }
}

fn hook(address: SocketAddr) -> String {
    format!("http://{address}/hook?token=secret")
}

fn delivered(status: u16) -> Outcome {
    Outcome::Delivered { status: Some(status) }
}

/// The status and reason of a failure.
fn failure(outcome: Outcome) -> (Option<u16>, String, Option<Duration>) {
    match outcome {
        Outcome::Failed { status, reason, retry_after } => (status, reason, retry_after),
        other => panic!("not a failure: {other:?}"),
    }
}

#[tokio::test]
async fn a_subscriber_gets_the_event_and_its_connection_is_kept() {
    let subscriber = Subscriber::start(Then::Answer(answer("200 OK", "", b"thanks"))).await;
    let push = Push::new(|_| {});
    for _ in 0..20 {
        assert_eq!(push.to(&hook(subscriber.address), |_| {}).await, delivered(200));
    }
    assert_eq!((subscriber.requests(), subscriber.connections()), (20, 1));
    let (head, body) = subscriber.requests.lock().unwrap()[0].clone();
    assert!(head.starts_with("post /hook?token=secret http/1.1\r\n"), "{head}");
    for line in [
        &format!("host: {}", subscriber.address),
        "ce-id: 1",
        "ce-specversion: 1.0",
        "content-type: application/json",
        "kyma-subscription: orders",
        "content-length: 10",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert!(head.contains("user-agent: event-gateway/"), "{head}");
    assert_eq!(body, b"{\"n\":1.10}");
}

#[tokio::test]
async fn connections_are_no_more_than_attempts_under_way() {
    let subscriber = Subscriber::start(Then::Answer(answer("204 No Content", "", b""))).await;
    let push = Push::new(|_| {});
    let endpoint = hook(subscriber.address);
    for _ in 0..10 {
        let outcomes = join_all((0..8).map(|_| push.to(&endpoint, |_| {}))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == delivered(204)), "{outcomes:?}");
    }
    assert_eq!(subscriber.requests(), 80);
    assert!(subscriber.connections() <= 8, "{}", subscriber.connections());
}

#[tokio::test]
async fn every_answer_means_what_it_says() {
    let rows: Vec<(Vec<u8>, Outcome)> = vec![
        (answer("202 Accepted", "", b""), delivered(202)),
        (answer("299 Fine", "", b"x"), delivered(299)),
        (answer("410 Gone", "", b"x"), Outcome::Gone { status: Some(410) }),
        (
            answer("429 Slow", "retry-after: 7\r\n", b""),
            Outcome::Failed {
                status: Some(429),
                reason: "answered 429".to_owned(),
                retry_after: Some(Duration::from_secs(7)),
            },
        ),
        (
            answer("503 No", "retry-after: Sat, 21 Nov 2026 10:02:00 GMT\r\n", b"later\r\n"),
            Outcome::Failed {
                status: Some(503),
                reason: "answered 503: later".to_owned(),
                retry_after: Some(Duration::from_mins(2)),
            },
        ),
        (
            answer("302 Found", "location: http://169.254.169.254/\r\n", b""),
            Outcome::Failed {
                status: Some(302),
                reason: "answered 302: redirects are not followed".to_owned(),
                retry_after: None,
            },
        ),
        (
            answer("404 Not Found", "", "no such hook\n".repeat(99).as_bytes()),
            Outcome::Failed {
                status: Some(404),
                reason: format!("answered 404: {}", &"no such hook ".repeat(99)[..200]),
                retry_after: None,
            },
        ),
    ];
    let push = Push::new(|_| {});
    for (bytes, expected) in rows {
        let subscriber = Subscriber::start(Then::Answer(bytes)).await;
        assert_eq!(push.to(&hook(subscriber.address), |_| {}).await, expected);
        assert_eq!(subscriber.requests(), 1);
    }
}

#[tokio::test]
async fn a_subscriber_that_does_not_answer_in_time_has_failed() {
    let push = Push::new(|_| {});
    let slow_head = Then::Drip(answer("200 OK", "", b""));
    for then in [Then::Hang, slow_head] {
        let subscriber = Subscriber::start(then).await;
        let short = |s: &mut Subscription| s.request_timeout_ms = 150;
        let outcome = push.to(&hook(subscriber.address), short).await;
        assert_eq!(failure(outcome), (None, "timed out after 150 ms".to_owned(), None));
    }
}

#[tokio::test]
async fn where_nobody_answers_the_reason_says_so() {
    let push = Push::new(|_| {});
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    let reset = Subscriber::start(Then::AnswerAndClose(Vec::new())).await;
    let half = Subscriber::start(Then::AnswerAndClose(b"HTTP/1.1 200 OK\r\nx:".to_vec())).await;
    let nonsense = Subscriber::start(Then::AnswerAndClose(b"SMTP ready\r\n\r\n".to_vec())).await;
    let rows = [
        (hook(nobody), "connection refused"),
        (hook(reset.address), "connection closed before an answer"),
        (hook(half.address), "connection closed before an answer"),
        (hook(nonsense.address), "the answer is not HTTP"),
        ("http://no-such-host.invalid/".to_owned(), "host name no-such-host.invalid not found"),
        ("http://10.0.0.1/?token=secret".to_owned(), "address not allowed: 10.0.0.1 is private"),
        ("http://2852039166/".to_owned(), "address not allowed: 169.254.169.254 is link-local"),
        ("http://[::ffff:10.0.0.1]/".to_owned(), "address not allowed: 10.0.0.1 is private"),
    ];
    for (endpoint, beginning) in rows {
        let (status, reason, _) = failure(push.to(&endpoint, |_| {}).await);
        assert_eq!(status, None, "{endpoint}");
        assert!(reason.starts_with(beginning), "{endpoint}: {reason}");
        assert!(!reason.contains("secret"), "{reason}");
    }
}

#[tokio::test]
async fn an_inner_address_is_refused_by_number_and_by_name_unless_allowed() {
    let subscriber = Subscriber::start(Then::Answer(answer("200 OK", "", b""))).await;
    let port = subscriber.address.port();
    let guarded = Push::new(|config| config.allowed_networks.clear());
    let open = Push::new(|_| {});
    for host in ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]"] {
        let endpoint = format!("http://{host}:{port}/");
        let (_, reason, _) = failure(guarded.to(&endpoint, |_| {}).await);
        assert!(reason.contains("not allowed"), "{host}: {reason}");
        assert_eq!(subscriber.connections(), 0);
    }
    let ports = Push::new(|config| config.allowed_ports = vec![443]);
    let (_, reason, _) = failure(ports.to(&hook(subscriber.address), |_| {}).await);
    assert_eq!(reason, format!("port not allowed: {port}"));
    let by_name = open.to(&format!("http://localhost:{port}/"), |_| {}).await;
    assert_eq!(by_name, delivered(200));
}

#[tokio::test]
async fn the_body_of_a_success_never_delays_the_outcome() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n".to_vec();
    let endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let ten_megabytes = [head.clone(), vec![b'x'; 10_000_000]].concat();
    let dripping = [&answer("200 OK", "", b"")[..17], b"content-length: 99999\r\n\r\n"].concat();
    let push = Push::new(|_| {});
    for then in [
        Then::Answer(ten_megabytes),
        Then::AnswerWithoutEnd(endless),
        Then::AnswerAndClose([head, b"some".to_vec()].concat()),
        Then::AnswerWithoutEnd(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n".to_vec(),
        ),
        Then::Answer(dripping),
    ] {
        let subscriber = Subscriber::start(then).await;
        for sent in 1..=2 {
            let began = Instant::now();
            assert_eq!(push.to(&hook(subscriber.address), |_| {}).await, delivered(200));
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
            assert_eq!(subscriber.requests(), sent);
        }
        assert_eq!(subscriber.connections(), 2, "a body too long or too slow ends its connection");
    }
}

#[tokio::test]
async fn the_body_of_a_failure_is_quoted_only_if_it_is_there() {
    let head = b"HTTP/1.1 500 No\r\ncontent-length: 99\r\n\r\nout of".to_vec();
    let subscriber = Subscriber::start(Then::Answer(head)).await;
    let push = Push::new(|_| {});
    let began = Instant::now();
    let (status, reason, _) = failure(push.to(&hook(subscriber.address), |_| {}).await);
    assert_eq!((status, reason.as_str()), (Some(500), "answered 500: out of"));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());

    let endless = b"HTTP/1.1 500 No\r\n\r\n".to_vec();
    let subscriber = Subscriber::start(Then::AnswerWithoutEnd(endless)).await;
    let (_, reason, _) = failure(push.to(&hook(subscriber.address), |_| {}).await);
    assert_eq!(reason, format!("answered 500: {}", "x".repeat(200)));
}

#[tokio::test]
async fn a_kept_connection_that_the_subscriber_closes_is_replaced() {
    let closing = answer("200 OK", "connection: close\r\n", b"");
    let subscriber = Subscriber::start(Then::AnswerAndClose(closing)).await;
    let push = Push::new(|_| {});
    for _ in 0..5 {
        assert_eq!(push.to(&hook(subscriber.address), |_| {}).await, delivered(200));
    }
    assert_eq!(subscriber.connections(), 5);
}

#[tokio::test]
async fn the_rest_of_an_answer_is_read_no_longer_than_its_limits_allow() {
    let endless = Then::AnswerWithoutEnd(b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
    let slow = Then::Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nx".to_vec());
    for (then, time_max_ms) in [(endless, 60_000), (slow, 50)] {
        let subscriber = Subscriber::start(then).await;
        let push = Push::new(|config| config.answer_body_ms_max = time_max_ms);
        assert_eq!(push.to(&hook(subscriber.address), |_| {}).await, delivered(200));
        until("the connection to be closed", || push.tasks.is_empty()).await;
    }
}

#[tokio::test]
async fn all_that_runs_for_deliveries_ends_when_told_to() {
    let slow = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nx".to_vec();
    let slow = Subscriber::start(Then::Answer(slow)).await;
    let quick = Subscriber::start(Then::Answer(answer("200 OK", "", b""))).await;
    let push = Push::new(|config| config.answer_body_ms_max = 60_000);
    for subscriber in [&slow, &quick] {
        assert_eq!(push.to(&hook(subscriber.address), |_| {}).await, delivered(200));
    }
    assert!(!push.tasks.is_empty());
    push.tasks.close();
    push.stop.cancel();
    assert!(tokio::time::timeout(PATIENCE, push.tasks.wait()).await.is_ok());
}
