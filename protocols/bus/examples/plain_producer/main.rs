//! Publishes as fast as a bus confirms, by the client library alone: what a delivery of the gateway
//! is measured against. `plain_producer BUS ADDRESS COUNT IN_FLIGHT`; prints seconds.
//!
//! Also makes what the bus needs to take events, for the gateway too: streams and queues.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for one's own terminal"
)]
#![expect(clippy::async_yields_async, reason = "what is handed over is confirmed later")]
#![expect(clippy::future_not_send, reason = "it publishes from one task")]

mod amqp;
mod amqp10;
mod kafka;
mod mqtt;
mod nats;

use std::future::Future;
use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt as _};

/// Where the plain producer publishes to, and where the gateway does.
const PLACES: [&str; 2] = ["plain", "gateway"];
/// The payload of each event.
const BODY: &[u8] = &[b'x'; 256];
/// The media type of the payload.
const MEDIA_TYPE: &str = "application/octet-stream";

/// Attributes, as the gateway sends them for the events of the measurement.
fn attributes(id: &str) -> [(&'static str, &str); 4] {
    [("specversion", "1.0"), ("id", id), ("source", "/bench"), ("type", "made")]
}

#[tokio::main]
async fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [bus, address, count, in_flight] = &*args else {
        println!("plain_producer amqp|amqp10|kafka|mqtt|nats ADDRESS COUNT IN_FLIGHT");
        return;
    };
    let (count, in_flight) = (count.parse().unwrap(), in_flight.parse().unwrap());
    let seconds = match &**bus {
        "amqp" => amqp::produce(address, count, in_flight).await,
        "amqp10" => amqp10::produce(address, count, in_flight).await,
        "kafka" => kafka::produce(address, count, in_flight).await,
        "mqtt" => mqtt::produce(address, count, in_flight).await,
        "nats" => nats::produce(address, count, in_flight).await,
        _ => panic!("there is no bus {bus}"),
    };
    println!("{seconds:.3}");
}

/// Publishes `count` events with at most `in_flight` unconfirmed; gives back how many seconds it took.
///
/// `publish` hands one over, and gives back what ends when it is confirmed.
async fn confirmed<F: Future>(
    count: u32,
    in_flight: usize,
    mut publish: impl AsyncFnMut(String) -> F,
) -> f64 {
    let began_at = Instant::now();
    let mut unconfirmed = FuturesUnordered::new();
    for number in 0..count {
        if unconfirmed.len() >= in_flight {
            unconfirmed.next().await;
        }
        unconfirmed.push(publish(number.to_string()).await);
    }
    while unconfirmed.next().await.is_some() {}
    began_at.elapsed().as_secs_f64()
}
