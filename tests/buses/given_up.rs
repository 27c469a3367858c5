//! Connections that are of no use any more are given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eg_tests::gateway::Gateway;
use eg_tests::wait::until;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::PROGRAM;
use crate::registered::{failures, publish, try_to_register};

/// A broker that lets everybody in and answers pings, and acknowledges nothing.
struct Silent {
    port: u16,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, accepted) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counted, total) = (Arc::clone(&open), Arc::clone(&accepted));
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                total.fetch_add(1, Ordering::SeqCst);
                counted.fetch_add(1, Ordering::SeqCst);
                let counted = Arc::clone(&counted);
                spawn(async move {
                    drop(serve(stream).await);
                    counted.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, open, accepted }
    }
}

fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    drop(tokio::spawn(future));
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut bytes = vec![0; 65_536];
    // CONNECT comes in one piece.
    let _connect_bytes = stream.read(&mut bytes).await?;
    // CONNACK of MQTT 5: success, and 2 messages may be under way.
    stream.write_all(&[0x20, 0x06, 0x00, 0x00, 0x03, 0x21, 0x00, 0x02]).await?;
    loop {
        let count = stream.read(&mut bytes).await?;
        match bytes[..count] {
            [] => return Ok(()),
            [0xc0, 0x00] => stream.write_all(&[0xd0, 0x00]).await?,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_broker_that_never_acknowledges_does_not_keep_its_connection() {
    let (broker, gateway) = (Silent::start().await, Gateway::start(PROGRAM).await);
    let external = json!({ "url": format!("mqtt://127.0.0.1:{}", broker.port), "topic": "lamps",
        "attributes": { "requestTimeoutMs": "300", "retryMaxAttempts": "2",
            "retryMaxDelayMs": "1000" } });
    let name = try_to_register(&gateway, "lamps", &external).await.unwrap();
    for id in ["1", "2", "3"] {
        publish(&gateway, id, b"1").await;
    }
    until("they are given up", async || {
        (gateway.subscription(&name).await["deadLetters"] == 3).then_some(())
    })
    .await;
    assert!(failures(&gateway, "1").await.contains(&"not confirmed within 300 ms".to_owned()));
    assert!(broker.accepted.load(Ordering::SeqCst) >= 2, "each failure makes a new connection");
    until("no connection is left", async || {
        (broker.open.load(Ordering::SeqCst) == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_connection_of_a_definition_that_is_removed_is_closed() {
    let (broker, gateway) = (Silent::start().await, Gateway::start(PROGRAM).await);
    let external = json!({ "url": format!("mqtt://127.0.0.1:{}", broker.port), "topic": "lamps" });
    let name = try_to_register(&gateway, "lamps", &external).await.unwrap();
    publish(&gateway, "1", b"1").await;
    until("it is connected", async || (broker.open.load(Ordering::SeqCst) == 1).then_some(()))
        .await;
    let id = name.trim_start_matches("spec-").trim_end_matches("-0");
    let delete = "mutation($id: ID!) { deleteEventAPI(id: $id) { id } }";
    gateway.graphql(delete, json!({ "id": id })).await;
    until("it is closed", async || (broker.open.load(Ordering::SeqCst) == 0).then_some(())).await;
}
