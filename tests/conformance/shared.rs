//! Shared subscriptions: each message to one member of the group.

use std::collections::BTreeSet;

use crate::client::Client;
use crate::server::{Server, unique};
use crate::wire::{
    Connect, Message, PUBREC, PUBREL, Packet, Properties, SUBSCRIPTION_ID, Version, acknowledge,
};

/// So many members of a group that shares a topic.
async fn members(server: &Server, filter: &str, qos: &[u8]) -> Vec<Client> {
    let mut all = Vec::new();
    for qos in qos {
        let mut member = Client::new(server, Version::V5, &unique("m")).await;
        member.subscribe(filter, *qos).await;
        all.push(member);
    }
    all
}

/// What has come to a member until the last message of its own subscription.
async fn taken(member: &mut Client) -> Vec<String> {
    let mut all = Vec::new();
    member.ping().await;
    while let Some(Packet::Publish(message)) = member.early() {
        all.push(message.text().to_owned());
        member.acknowledge(&message).await;
    }
    all
}

/// Waits until all members together have so many messages; gives back what each has.
async fn all_taken(members: &mut [Client], count: usize) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = members.iter().map(|_| Vec::new()).collect();
    eg_tests::wait::until("all messages have come", async || {
        for (member, messages) in members.iter_mut().zip(&mut all) {
            messages.extend(taken(member).await);
        }
        (all.iter().map(Vec::len).sum::<usize>() >= count).then_some(())
    })
    .await;
    all
}

#[tokio::test]
async fn each_message_goes_to_one_member_of_each_group() {
    covers!("MQTT5:4.8.2-1", "MQTT5:4.8.2-2");
    let server = Server::shared().await;
    let topic = unique("t");
    let [one, other] = ["one", "other"].map(|group| format!("$share/{group}/{topic}/+"));
    let mut first = members(&server, &one, &[1, 1, 1]).await;
    let mut second = members(&server, &other, &[1, 1]).await;
    let mut alone = members(&server, &format!("{topic}/#"), &[1]).await;
    let mut publisher = Client::new(&server, Version::V5, &unique("p")).await;
    for number in 0..30 {
        let message = Message::new(format!("{topic}/{number}"), number.to_string());
        publisher.publish(message.qos(1)).await;
    }
    for group in [&mut first, &mut second, &mut alone] {
        let shares = all_taken(group, 30).await;
        let distinct: BTreeSet<_> = shares.concat().into_iter().collect();
        assert_eq!((shares.concat().len(), distinct.len()), (30, 30), "each once");
        let fair = 30 / shares.len();
        for share in &shares {
            assert!(share.len() >= fair / 2, "balanced: {} of {fair}", share.len());
            let numbers: Vec<u32> = share.iter().map(|one| one.parse().unwrap()).collect();
            assert!(numbers.is_sorted(), "{numbers:?}");
        }
    }
}

#[tokio::test]
async fn a_group_and_a_subscription_of_ones_own_are_two() {
    covers!("MQTT5:4.8.2-1");
    let server = Server::shared().await;
    let topic = unique("t");
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    client.subscribe(&format!("$share/g/{topic}"), 1).await;
    client.subscribe(&topic, 1).await;
    client.publish(Message::new(&topic, "x").qos(1)).await;
    let both = [client.message().await, client.message().await];
    assert!(both.iter().all(|message| message.text() == "x" && message.topic == topic));
    client.unsubscribe(&[&topic]).await;
    client.publish(Message::new(&topic, "shared").qos(1)).await;
    assert_eq!(client.message().await.text(), "shared");
    assert_eq!(client.unsubscribe(&[&format!("$share/g/{topic}")]).await, [0]);
    client.subscribe(&topic, 1).await;
    client.publish(Message::new(&topic, "end").qos(1)).await;
    assert_eq!(client.before("end").await, [""; 0]);
}

#[tokio::test]
async fn the_qos_of_the_member_counts() {
    covers!("MQTT5:4.8.2-3");
    let server = Server::shared().await;
    let topic = unique("t");
    let filter = format!("$share/g/{topic}");
    let mut group = members(&server, &filter, &[0, 1, 2]).await;
    let mut publisher = Client::new(&server, Version::V5, &unique("p")).await;
    for _ in 0..12 {
        publisher.publish(Message::new(&topic, "x").qos(2)).await;
    }
    let mut seen = 0;
    eg_tests::wait::until("all messages have come", async || {
        for (qos, member) in (0..).zip(&mut group) {
            member.ping().await;
            while let Some(Packet::Publish(message)) = member.early() {
                assert_eq!(message.qos, qos);
                member.acknowledge(&message).await;
                seen += 1;
            }
        }
        (seen >= 12).then_some(())
    })
    .await;
}

#[tokio::test]
async fn retained_messages_are_not_sent_to_a_group() {
    let server = Server::shared().await;
    if server.is_excused("sends them") {
        return;
    }
    let topic = unique("t");
    let mut publisher = Client::new(&server, Version::V5, &unique("p")).await;
    publisher.publish(Message::new(&topic, "kept").qos(1).retained()).await;
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    client.subscribe(&format!("$share/g/{topic}"), 1).await;
    publisher.publish(Message::new(&topic, "end").qos(1)).await;
    assert_eq!(client.before("end").await, [""; 0]);
}

#[tokio::test]
async fn a_member_that_leaves_leaves_its_share_to_the_others() {
    let server = Server::shared().await;
    let topic = unique("t");
    let filter = format!("$share/g/{topic}");
    let mut group = members(&server, &filter, &[1, 1]).await;
    let mut publisher = Client::new(&server, Version::V5, &unique("p")).await;
    for number in 0..4 {
        publisher.publish(Message::new(&topic, number.to_string()).qos(1)).await;
    }
    // The first gets its share and acknowledges none of it.
    let leaving = group.remove(0);
    if server.is_excused("loses what a member did not acknowledge") {
        return;
    }
    leaving.vanish().await;
    let share = all_taken(&mut group, 4).await.concat();
    let distinct: BTreeSet<_> = share.iter().map(|payload| &**payload).collect();
    assert_eq!(distinct, BTreeSet::from(["0", "1", "2", "3"]));
    publisher.publish(Message::new(&topic, "end").qos(1)).await;
    assert_eq!(group[0].message().await.text(), "end");
}

#[tokio::test]
async fn a_qos_2_message_that_a_member_has_begun_is_completed_with_it() {
    covers!("MQTT5:4.8.2-4");
    let server = Server::shared().await;
    let topic = unique("t");
    let filter = format!("$share/g/{topic}");
    let connect = Connect::new(Version::V5, unique("m")).resume();
    let mut member = Client::open(&server, &connect).await;
    member.subscribe(&filter, 2).await;
    let mut publisher = Client::new(&server, Version::V5, &unique("p")).await;
    publisher.publish(Message::new(&topic, "begun").qos(2)).await;
    let begun = member.publication().await;
    member.send(&acknowledge(PUBREC, begun.id, 0)).await;
    member.acknowledged(PUBREL, begun.id).await;
    let mut other = members(&server, &filter, &[2]).await.remove(0);
    member.vanish().await;
    publisher.publish(Message::new(&topic, "next").qos(2)).await;
    let mut member = Client::open(&server, &connect).await;
    assert_eq!(member.acknowledged(PUBREL, begun.id).await, 0);
    publisher.publish(Message::new(&topic, "last").qos(2)).await;
    let others = taken(&mut other).await;
    assert!(!others.contains(&"begun".to_owned()), "{others:?}");
}

#[tokio::test]
async fn a_qos_2_message_that_was_begun_goes_to_nobody_when_the_session_ends() {
    covers!("MQTT5:4.8.2-5");
    let server = Server::shared().await;
    let topic = unique("t");
    let filter = format!("$share/g/{topic}");
    let mut member = members(&server, &filter, &[2]).await.remove(0);
    let mut publisher = Client::new(&server, Version::V5, &unique("p")).await;
    publisher.publish(Message::new(&topic, "begun").qos(2)).await;
    let begun = member.publication().await;
    member.send(&acknowledge(PUBREC, begun.id, 0)).await;
    member.acknowledged(PUBREL, begun.id).await;
    let mut other = members(&server, &filter, &[2]).await.remove(0);
    member.vanish().await;
    publisher.publish(Message::new(&topic, "end").qos(2)).await;
    assert_eq!(other.before("end").await, [""; 0]);
}

#[tokio::test]
async fn what_a_member_refuses_goes_to_no_other() {
    covers!("MQTT5:4.8.2-6");
    let server = Server::shared().await;
    let topic = unique("t");
    let filter = format!("$share/g/{topic}");
    let mut member = members(&server, &filter, &[2]).await.remove(0);
    let mut publisher = Client::new(&server, Version::V5, &unique("p")).await;
    for (qos, first) in [(1, 0x40), (2, PUBREC)] {
        publisher.publish(Message::new(&topic, "refused").qos(qos)).await;
        let message = member.publication().await;
        let mut other = members(&server, &filter, &[2]).await.remove(0);
        member.send(&acknowledge(first, message.id, 0x83)).await;
        member.ping().await;
        other.unsubscribe(&[&filter]).await;
        other.assert_quiet().await;
    }
}

#[tokio::test]
async fn a_shared_subscription_has_its_identifier() {
    covers!("MQTT5:3.3.4-3");
    let server = Server::shared().await;
    let topic = unique("t");
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    let identified = Properties::default().number(SUBSCRIPTION_ID, 9);
    client.subscribe_with(&identified, &[(&format!("$share/g/{topic}"), 1)]).await;
    client.publish(Message::new(&topic, "x").qos(1)).await;
    assert_eq!(client.message().await.properties.numbers(SUBSCRIPTION_ID), [9]);
}
