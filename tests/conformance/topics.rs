//! Which topics a filter matches.

use crate::client::Client;
use crate::server::{Server, unique};
use crate::wire::{BOTH, Message, Version};

/// A filter, topics that match it and topics that do not; all below a topic of their own.
type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

const ROWS: [Row; 14] = [
    ("a", &["a"], &["A", "a/", "/a", "a ", "b", "aa", ""]),
    ("a/b", &["a/b"], &["a/B", "a/b/", "a//b", "a", "a/b/c"]),
    ("#", &["a", "a/b", "a/b/c", "/", "", "a/$b"], &[]),
    ("a/#", &["a", "a/", "a/b", "a/b/c"], &["ab", "b/a", ""]),
    ("+", &["a", "", "$a"], &["a/b", "/", "/a"]),
    ("+/+", &["a/b", "/", "a/", "/b"], &["a", "a/b/c", "//"]),
    ("+/b", &["a/b", "/b"], &["a/b/c", "b", "a/c"]),
    ("a/+", &["a/b", "a/", "a/$b"], &["a", "a/b/c"]),
    ("a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/b/c", "a/b/d"]),
    ("+/b/#", &["a/b", "a/b/c", "/b/c/d"], &["a/c/b", "b"]),
    ("+/+/+", &["a/b/c", "//"], &["a/b", "a/b/c/d"]),
    ("/", &["/"], &["", "//", "a/"]),
    ("a//b", &["a//b"], &["a/b", "a/x/b"]),
    ("caf\u{e9}/\u{1f980}", &["caf\u{e9}/\u{1f980}"], &["cafe\u{301}/\u{1f980}", "cafe/\u{1f980}"]),
];

#[tokio::test]
async fn a_filter_matches_what_it_has_to_and_nothing_else() {
    covers!("MQTT3:3.3.2-3", "MQTT3:4.7.1-2", "MQTT3:4.7.1-3", "MQTT3:4.7.3-4");
    covers!("MQTT5:3.3.2-3", "MQTT5:4.7.1-1", "MQTT5:4.7.1-2", "MQTT5:4.7.3-4");
    let server = Server::shared().await;
    for version in BOTH {
        let mut publisher = Client::new(&server, version, &unique("p")).await;
        for (filter, matching, others) in ROWS {
            let topic = unique("t");
            let below = |name: &str| format!("{topic}/{name}");
            let mut client = Client::new(&server, version, &unique("c")).await;
            let end = unique("end");
            client.subscribe(&below(filter), 1).await;
            client.subscribe(&end, 1).await;
            for name in matching.iter().chain(others) {
                publisher.publish(Message::new(below(name), name).qos(1)).await;
            }
            publisher.publish(Message::new(&end, &end).qos(1)).await;
            assert_eq!(client.before(&end).await, matching, "{filter}");
        }
    }
}

#[tokio::test]
async fn a_filter_matches_its_parent_level_at_the_root_too() {
    covers!("MQTT3:4.7.1-2", "MQTT5:4.7.1-1");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut client = Client::new(&server, version, &unique("c")).await;
        client.subscribe(&format!("{topic}/#"), 1).await;
        client.subscribe(&format!("+/{topic}"), 1).await;
        for (name, qos) in [(topic.clone(), 1), (format!("/{topic}"), 1)] {
            client.publish(Message::new(&name, "x").qos(1)).await;
            let message = client.message().await;
            assert_eq!((message.topic, message.qos), (name, qos));
        }
    }
}

#[tokio::test]
async fn wildcards_at_the_beginning_do_not_match_dollar_topics() {
    covers!("MQTT3:4.7.2-1", "MQTT5:4.7.2-1");
    let server = Server::shared().await;
    for version in BOTH {
        let name = unique("t");
        let dollar = format!("$test/{name}");
        let mut exact = Client::new(&server, version, &unique("c")).await;
        exact.subscribe(&format!("$test/{name}/#"), 1).await;
        let mut wild = Client::new(&server, version, &unique("c")).await;
        for filter in ["#", &format!("+/{name}"), &format!("+/{name}/#"), "+/+"] {
            let none = crate::wire::Properties::default();
            wild.subscribe_with(&none, &[(filter, 0)]).await;
        }
        // A server may refuse to take such topics from clients; those that it takes are not matched.
        let mut publisher = Client::new(&server, version, &unique("p")).await;
        publisher.send(&Message::new(&dollar, "dollar").encode(version)).await;
        let end = format!("x/{name}");
        let mut publisher = Client::new(&server, version, &unique("p")).await;
        publisher.publish(Message::new(&end, &end)).await;
        loop {
            let message = wild.message().await;
            assert!(!message.topic.starts_with('$'), "{message:?}");
            if message.payload == end.as_bytes() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn the_server_tells_of_itself_below_sys_where_nobody_asks_by_wildcard() {
    covers!("MQTT3:4.7.2-1", "MQTT5:4.7.2-1");
    let server = Server::shared().await;
    for filter in ["$SYS/#", "$SYS/broker/version"] {
        let mut client = Client::new(&server, Version::V5, &unique("c")).await;
        client.subscribe(filter, 0).await;
        assert!(client.message().await.topic.starts_with("$SYS/"));
    }
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    client.subscribe("+/broker/version", 0).await;
    client.subscribe("+/+/version", 0).await;
    client.assert_quiet().await;
}
