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

/// Filters at the root, and which of `t`, `/t`, `t/a` and `/t/a` they match; `t` is a topic of the
/// test's own.
const AT_THE_ROOT: [(&str, [bool; 4]); 9] = [
    ("#", [true, true, true, true]),
    ("+", [true, false, false, false]),
    ("/#", [false, true, false, true]),
    ("/+", [false, true, false, false]),
    ("+/#", [true, true, true, true]),
    ("+/+", [false, true, true, false]),
    ("+/+/#", [false, true, true, true]),
    ("t/#", [true, false, true, false]),
    ("/t/#", [false, true, false, true]),
];

#[tokio::test]
async fn a_filter_matches_its_parent_level_at_the_root_too() {
    covers!("MQTT3:4.7.1-2", "MQTT5:4.7.1-1");
    let server = Server::shared().await;
    for version in BOTH {
        let mut publisher = Client::new(&server, version, &unique("p")).await;
        for (filter, matching) in AT_THE_ROOT {
            let topic = unique("t");
            let names = ["t", "/t", "t/a", "/t/a"].map(|name| name.replace('t', &topic));
            let mut client = Client::new(&server, version, &unique("c")).await;
            client.subscribe(&filter.replace('t', &topic), 1).await;
            let end = unique("end");
            client.subscribe(&end, 1).await;
            for name in names.iter().chain([&end]) {
                publisher.publish(Message::new(name, name).qos(1)).await;
            }
            let mut found = Vec::new();
            while let message = client.message().await
                && message.topic != end
            {
                // Of other tests at the same server, too.
                found.extend(Some(message.topic).filter(|topic| names.contains(topic)));
            }
            let expected: Vec<_> = names
                .into_iter()
                .zip(matching)
                .filter(|(_, it)| *it)
                .map(|(name, _)| name)
                .collect();
            assert_eq!(found, expected, "{filter}");
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
        let filters = ["#", &format!("+/{name}"), &format!("+/{name}/#"), "+/+"];
        let filters = filters.map(|filter| (filter.to_owned(), 0));
        let filters = filters.each_ref().map(|(filter, options)| (&**filter, *options));
        let none = crate::wire::Properties::default();
        let mut wild = Client::new(&server, version, &unique("c")).await;
        wild.subscribe_with(&none, &filters).await;
        let mut publisher = Client::new(&server, version, &unique("p")).await;
        publisher.publish(Message::new(&dollar, "dollar").qos(1).retained()).await;
        let mut late = Client::new(&server, version, &unique("c")).await;
        late.subscribe_with(&none, &filters).await;
        let end = format!("x/{name}");
        publisher.publish(Message::new(&end, &end).qos(1)).await;
        for client in [&mut wild, &mut late] {
            loop {
                let message = client.message().await;
                assert!(!message.topic.starts_with('$'), "{message:?}");
                if message.payload == end.as_bytes() {
                    break;
                }
            }
        }
        let mut exact = Client::new(&server, version, &unique("c")).await;
        exact.subscribe(&format!("$test/{name}/#"), 1).await;
        assert_eq!(exact.message().await.text(), "dollar", "its first level is named");
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
