//! Tries the way to a topic step by step, and says of each step what was found; publishes nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eg_event::Subscription;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::connections::{Surroundings, connect};
use crate::sink::check;
use crate::target::Target;
use crate::tls;

/// How long a connection may take that is only made to see whether one can be.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// A step on the way to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name: `url`, `resolve`, `connect`, `tls`, `auth`, `topic`.
    pub name: &'static str,
    /// What was found, or what is wrong; for an operator, without secrets.
    pub found: Result<String, String>,
}

/// Tries the way to the topic of `subscription`; gives each step to `tell` as it is done. Ends with
/// the first that is wrong; says whether none is.
pub async fn examine(
    subscription: &Arc<Subscription>,
    around: &Surroundings,
    mut tell: impl FnMut(Step),
) -> bool {
    examined(subscription, around, &mut tell).await.is_some()
}

async fn examined(
    subscription: &Arc<Subscription>,
    around: &Surroundings,
    tell: &mut impl FnMut(Step),
) -> Option<()> {
    let mut tell = |name: &'static str, found: Result<String, String>| {
        let went_on = found.is_ok();
        tell(Step { name, found });
        went_on.then_some(())
    };
    let target = check(subscription).and_then(|()| Target::of(subscription));
    let target = match target {
        Ok(target) => target,
        Err(error) => return tell("url", Err(error.to_string())),
    };
    tell("url", Ok(about(&target)))?;
    for host in &target.hosts {
        let addresses = match around.addresses(host).await {
            Ok(addresses) => addresses,
            Err(error) => return tell("resolve", Err(error.to_string())),
        };
        let listed: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
        tell("resolve", Ok(format!("{} is {}", host.0, listed.join(", "))))?;
        let (stream, found) = reach(&addresses).await;
        tell("connect", found)?;
        if let Some(stream) = stream.filter(|_| target.bus.begins_with_tls() && target.tls) {
            tell("tls", secure(&target, subscription, &host.0, stream).await)?;
        }
    }
    let time_max = subscription.request_timeout();
    let late = || format!("nobody answered as {} within {} ms", target.bus, time_max.as_millis());
    let connected = timeout(time_max, connect(subscription, around)).await;
    let connection = match connected {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tell("auth", Err(error.to_string())),
        Err(_) => return tell("auth", Err(late())),
    };
    tell("auth", Ok(format!("{} lets the gateway in", target.bus)))?;
    let found = timeout(time_max, connection.examine()).await;
    tell(
        "topic",
        found.map_or_else(|_| Err(late()), |found| found.map_err(|error| error.to_string())),
    )
}

fn about(target: &Target) -> String {
    let hosts: Vec<_> = target.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
    let over = if target.tls { " over TLS" } else { ", in the clear" };
    format!("{} at {}{over}", target.bus, hosts.join(", "))
}

async fn reach(addresses: &[SocketAddr]) -> (Option<TcpStream>, Result<String, String>) {
    let began_at = Instant::now();
    match timeout(CONNECT_TIME_MAX, TcpStream::connect(addresses)).await {
        Ok(Ok(stream)) => {
            let peer = stream.peer_addr().map_or_else(|_| String::new(), |peer| peer.to_string());
            (Some(stream), Ok(format!("{peer} answers in {} ms", began_at.elapsed().as_millis())))
        }
        Ok(Err(error)) => (None, Err(tls::reason(&error))),
        Err(_) => {
            let late = format!("no answer within {} s", CONNECT_TIME_MAX.as_secs());
            (None, Err(format!("{late}: is a firewall in the way?")))
        }
    }
}

async fn secure(
    target: &Target,
    subscription: &Subscription,
    host: &str,
    stream: TcpStream,
) -> Result<String, String> {
    let connected = tls::connect(tls::of(target, subscription)?, host, stream);
    let stream = timeout(CONNECT_TIME_MAX, connected).await;
    let stream = stream.map_err(|_| "no TLS is spoken there: it does not answer".to_owned())??;
    let version = stream.get_ref().1.protocol_version();
    let version = version.and_then(|version| version.as_str()).unwrap_or("TLS").replace('_', ".");
    let trusted = match target.attributes.get("caCertificates") {
        Some(_) => "attributes.caCertificates",
        None => "the authorities of the system",
    };
    Ok(format!("{version}; the certificate is for {host} and trusted by {trusted}"))
}
