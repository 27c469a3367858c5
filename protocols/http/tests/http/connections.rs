//! Connections: how many, how long, over which version, and what slow senders get.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use eg_auth::Authenticator;
use eg_http::HttpConfig;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::client::{Connection, EVENT, event, request};
use crate::gateway::Gateway;
use crate::{PATIENCE, until};

const SHORT: Duration = Duration::from_millis(150);

/// Short times for what is waited for, long ones for everything else.
fn config(change: impl FnOnce(&mut HttpConfig)) -> HttpConfig {
    let mut config = HttpConfig {
        head_ms_max: 60_000,
        body_ms_max: 60_000,
        idle_ms_max: 60_000,
        ..HttpConfig::default()
    };
    change(&mut config);
    config
}

/// Writes `bytes` one by one until the other side closes; says after how long.
async fn drip(connection: &mut Connection, bytes: &[u8]) -> Duration {
    let began = Instant::now();
    for byte in bytes.iter().cycle() {
        connection.write(&[*byte]).await;
        if connection.is_closed_within(Duration::from_millis(10)).await {
            break;
        }
    }
    began.elapsed()
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let gateway = Gateway::start().await;
    let mut connection = Connection::open(gateway.address).await;
    for _ in 0..3 {
        assert_eq!(connection.exchange(&event()).await.status, 202);
    }
    connection.write(&[event(), event()].concat()).await;
    assert_eq!(connection.read().await.unwrap().status, 202);
    assert_eq!(connection.read().await.unwrap().status, 202);
}

#[tokio::test]
async fn a_head_that_drips_in_is_cut_off_in_time() {
    let gateway = Gateway::start_with(config(|c| c.head_ms_max = 150)).await;
    let mut first = Connection::open(gateway.address).await;
    let took = drip(&mut first, b"POST /events HTTP/1.1\r\nx: ").await;
    assert!((SHORT..PATIENCE / 2).contains(&took), "{took:?}");

    // The second head on a connection has no more time than the first, however long the pause.
    let mut second = Connection::open(gateway.address).await;
    assert_eq!(second.exchange(&event()).await.status, 202);
    sleep(SHORT * 2).await;
    let took = drip(&mut second, b"POST /events HTTP/1.1\r\nx: ").await;
    assert!((SHORT..PATIENCE / 2).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let gateway = Gateway::start_with(config(|c| c.head_ms_max = 150)).await;
    for beginning in ["", "P", "POST /events HTTP/1.1\r\n"] {
        let mut silent = Connection::open(gateway.address).await;
        silent.write(beginning.as_bytes()).await;
        assert!(silent.is_closed_within(PATIENCE).await, "{beginning:?}");
    }
    let idle = Gateway::start_with(config(|c| c.idle_ms_max = 150)).await;
    let mut pausing = Connection::open(idle.address).await;
    assert_eq!(pausing.exchange(&event()).await.status, 202);
    assert!(pausing.is_closed_within(PATIENCE).await);
    let mut preface = Connection::open(idle.address).await;
    preface.write(b"PRI * HTTP/2.0\r\n").await;
    assert!(preface.is_closed_within(PATIENCE).await);
}

#[tokio::test]
async fn a_body_that_drips_in_is_refused_in_time() {
    let gateway = Gateway::start_with(config(|c| c.body_ms_max = 150)).await;
    let mut connection = Connection::open(gateway.address).await;
    let head = format!("POST /events HTTP/1.1\r\nhost: localhost\r\n{}\r\n", EVENT.join("\r\n"));
    connection.write(format!("{head}content-length: 1000\r\n\r\n").as_bytes()).await;
    for _ in 0..5 {
        connection.write(b"x").await;
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(connection.read().await.unwrap().status, 408);
    assert_eq!(gateway.intake.count(), 0);
}

#[tokio::test]
async fn no_more_connections_are_served_than_the_limit_allows() {
    let gateway = Gateway::start_with(config(|c| c.connections_max = 1)).await;
    let mut first = Connection::open(gateway.address).await;
    assert_eq!(first.exchange(&event()).await.status, 202);
    let mut second = Connection::open(gateway.address).await;
    second.write(&event()).await;
    assert!(!second.is_closed_within(SHORT).await);
    assert_eq!(first.exchange(&event()).await.status, 202);
    drop(first);
    assert_eq!(second.read().await.unwrap().status, 202);
}

#[tokio::test]
async fn large_bodies_share_a_limit_of_memory() {
    let large = |c: &mut HttpConfig| c.large_bodies_bytes_max = c.body_bytes_max;
    let gateway = Gateway::start_with(config(large)).await;
    let lines = EVENT.join("\r\n");
    let head = format!(
        "POST /events HTTP/1.1\r\nhost: localhost\r\n{lines}\r\nexpect: 100-continue\r\ncontent-length: 900000\r\n\r\n"
    );
    let mut first = Connection::open(gateway.address).await;
    assert_eq!(first.exchange(head.as_bytes()).await.status, 100);
    let mut second = Connection::open(gateway.address).await;
    let busy = second.exchange(head.as_bytes()).await;
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("1")));
    let small = crate::client::send(gateway.address, &event()).await;
    assert_eq!(small.status, 202);
    assert_eq!(first.exchange(&vec![b'x'; 900_000]).await.status, 202);
}

#[tokio::test]
async fn http2_with_prior_knowledge_serves_many_requests_at_once() {
    let gateway = Gateway::start().await;
    let tasks = TaskTracker::new();
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (sender, connection) =
        http2::handshake(OnTracker(tasks.clone()), TokioIo::new(stream)).await.unwrap();
    tasks.spawn(connection);
    gateway.intake.hold();
    let answers = (0..20).map(|n| {
        let mut sender = sender.clone();
        let request = Request::post("http://gateway.localhost/events")
            .header("ce-specversion", "1.0")
            .header("ce-id", n)
            .header("ce-source", "/shop")
            .header("ce-type", "t")
            .body(Full::new(Bytes::from_static(b"payload")))
            .unwrap();
        tasks.spawn(async move { sender.send_request(request).await.unwrap() })
    });
    let answers: Vec<_> = answers.collect();
    until("all requests", || gateway.intake.count() == 20).await;
    gateway.intake.release();
    for answer in answers {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"{\"id\":\""), "{body:?}");
    }
}

#[tokio::test]
async fn another_routers_upgrade_keeps_its_connection_and_its_place() {
    let echo = get(async |mut request: Request<Body>| {
        let upgrade = hyper::upgrade::on(&mut request);
        let tasks = request.extensions().get::<TaskTracker>().cloned().unwrap_or_default();
        tasks.spawn(async move {
            let mut upgraded = TokioIo::new(upgrade.await.unwrap());
            let mut buffer = [0; 5];
            upgraded.read_exact(&mut buffer).await.unwrap();
            upgraded.write_all(&buffer).await.unwrap();
            assert_eq!(upgraded.read(&mut buffer).await.unwrap(), 0);
        });
        let switching = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        switching
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(Body::empty())
            .unwrap()
    });
    let gateway = Gateway::assemble(
        config(|c| (c.connections_max, c.idle_ms_max, c.head_ms_max) = (1, 100, 100)),
        Authenticator::anonymous_on_loopback(),
        [Router::new().route("/mqtt", echo)],
    )
    .await;
    let mut upgraded = Connection::open(gateway.address).await;
    let switching = request("GET /mqtt", &["connection: upgrade", "upgrade: echo"], "");
    assert_eq!(upgraded.exchange(&switching).await.status, 101);
    let mut waiting = Connection::open(gateway.address).await;
    waiting.write(&event()).await;
    sleep(SHORT * 2).await;
    assert_eq!(gateway.intake.count(), 0, "the upgraded connection gave up its place");
    upgraded.write(b"hello").await;
    assert!(!upgraded.is_closed_within(SHORT).await);
    drop(upgraded);
    assert_eq!(waiting.read().await.unwrap().status, 202);
}

/// Runs what an HTTP/2 client needs beside itself.
#[derive(Clone)]
pub(crate) struct OnTracker(pub(crate) TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for OnTracker {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

#[tokio::test]
async fn one_address_cannot_take_the_places_of_all() {
    let gateway = Gateway::start_with(config(|c| {
        (c.connections_max, c.connections_per_address_max) = (4, 2);
    }))
    .await;
    let mut idle =
        [Connection::open(gateway.address).await, Connection::open(gateway.address).await];
    for connection in &mut idle {
        connection.write(b"POST /events HTTP/1.1\r\n").await;
    }
    for _ in 0..8 {
        let mut further = Connection::open(gateway.address).await;
        assert!(further.is_closed_within(PATIENCE).await);
    }
    let elsewhere = TcpSocket::new_v4().unwrap();
    elsewhere.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut elsewhere = elsewhere.connect(gateway.address).await.unwrap();
    elsewhere.write_all(&event()).await.unwrap();
    let mut answer = [0; 12];
    elsewhere.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 202");

    drop(idle);
    let again = async {
        loop {
            let mut again = Connection::open(gateway.address).await;
            again.write(&event()).await;
            if let Some(answer) = again.read().await {
                return answer.status;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, again).await, Ok(202), "there is a place again");
}
