//! What happens to connections and requests when the gateway stops.

use std::time::Duration;

use eg_http::HttpConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Connection, EVENT, event};
use crate::gateway::Gateway;
use crate::{PATIENCE, until};

#[tokio::test]
async fn a_request_under_way_is_finished_and_nothing_new_is_taken() {
    let gateway = Gateway::start().await;
    let mut idle = Connection::open(gateway.address).await;
    assert_eq!(idle.exchange(&event()).await.status, 202);
    gateway.intake.hold();
    let mut busy = Connection::open(gateway.address).await;
    let other = String::from_utf8(event()).unwrap().replace("ce-id: 1", "ce-id: 2");
    busy.write(other.as_bytes()).await;
    until("the request", || gateway.intake.count() == 2).await;

    gateway.stop.cancel();
    gateway.tasks.close();
    assert!(idle.is_closed_within(PATIENCE).await);
    until("the listener to close", || gateway.tasks.len() == 1).await;
    assert!(timeout(Duration::from_millis(100), gateway.tasks.wait()).await.is_err());

    gateway.intake.release();
    let answer = busy.read().await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (202, Some("close")));
    assert!(busy.is_closed_within(PATIENCE).await);
    assert!(timeout(PATIENCE, gateway.tasks.wait()).await.is_ok());
    assert!(TcpStream::connect(gateway.address).await.is_err());
}

#[tokio::test]
async fn a_request_that_does_not_finish_is_given_up_after_the_time_for_it() {
    let config = HttpConfig { drain_ms_max: 100, ..HttpConfig::default() };
    let gateway = Gateway::start_with(config).await;
    gateway.intake.hold();
    let mut busy = Connection::open(gateway.address).await;
    busy.write(&event()).await;
    let mut half = Connection::open(gateway.address).await;
    half.write(format!("POST /events HTTP/1.1\r\n{}\r\n", EVENT[0]).as_bytes()).await;
    until("the request", || gateway.intake.count() == 1).await;

    gateway.stop.cancel();
    gateway.tasks.close();
    assert!(timeout(PATIENCE, gateway.tasks.wait()).await.is_ok());
    assert!(busy.is_closed_within(PATIENCE).await);
    assert!(half.is_closed_within(PATIENCE).await);
}
