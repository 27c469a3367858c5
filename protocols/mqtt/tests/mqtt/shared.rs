//! Shared subscriptions lose nothing: not when members come or leave, and not over a crash.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use eg_auth::Authenticator;
use eg_mqtt::MqttConfig;

use crate::PATIENCE;
use crate::client::Client;
use crate::gateway::Gateway;
use crate::subscribe::{Subscriber, kept, publish, publisher};

/// How long is waited for the next message of one member.
const LOOK: Duration = Duration::from_millis(20);
const SHARED: &str = "$share/g/t";

/// Publishes the numbers below `count`.
async fn publish_numbers(publisher: &mut Client, count: usize) -> BTreeSet<String> {
    let numbers: BTreeSet<_> = (0..count).map(|number| number.to_string()).collect();
    for number in &numbers {
        publish(publisher, "t", number).await;
    }
    numbers
}

/// What members get, until they have `count` different messages.
async fn taken(members: &mut [Subscriber], count: usize) -> BTreeSet<String> {
    let (mut taken, deadline) = (BTreeSet::new(), Instant::now() + PATIENCE);
    while taken.len() < count && Instant::now() < deadline {
        for member in &mut *members {
            while let Some(got) = member.take_within(LOOK).await {
                taken.insert(got.payload().to_owned());
            }
        }
    }
    taken
}

#[tokio::test]
async fn what_was_published_before_a_member_came_goes_to_those_who_were_there() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let [one, other] = kept("a");
    let mut one = [Subscriber::begin(&gateway, one).await];
    one[0].subscribe(&[(SHARED, 1)]).await;
    gateway.store.set_unread(true);
    let numbers = publish_numbers(&mut publisher, 10).await;
    let mut other = Subscriber::begin(&gateway, other).await;
    other.subscribe(&[(SHARED, 1)]).await;
    gateway.store.set_unread(false);
    assert_eq!(taken(&mut one, 10).await, numbers);
    assert!(other.gets_nothing().await);
}

#[tokio::test]
async fn what_one_member_has_written_down_takes_nothing_from_another_over_a_crash() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let [one, other] = kept("a");
    let mut members = [
        Subscriber::begin(&gateway, one.clone()).await,
        Subscriber::begin(&gateway, other.clone()).await,
    ];
    for member in &mut members {
        member.subscribe(&[(SHARED, 1)]).await;
    }
    let numbers = publish_numbers(&mut publisher, 10).await;
    for member in &mut members {
        for _ in 0..5 {
            member.next().await;
        }
    }
    // What it has is written down, and what the other has is not.
    members[0].subscribe(&[("other", 1)]).await;
    gateway.store.retain_nothing();
    let store = gateway.store.after_a_crash();
    store.set_unread(true);
    let anyone = Authenticator::anonymous_on_loopback();
    let next = Gateway::assemble(MqttConfig::default(), anyone, store).await;
    let one = Subscriber::begin(&next, one).await;
    next.store.set_unread(false);
    let mut members = [one, Subscriber::begin(&next, other).await];
    assert_eq!(taken(&mut members, 10).await, numbers, "nothing was acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_who_leave_at_the_same_time_lose_nothing() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let connects = kept("a");
    for round in 0..40 {
        let mut members = Vec::new();
        for connect in &connects {
            let mut member = Subscriber::begin(&gateway, connect.clone()).await;
            member.subscribe(&[(SHARED, 1)]).await;
            members.push(member);
        }
        let numbers = publish_numbers(&mut publisher, 40).await;
        for member in &mut members {
            member.next().await;
        }
        drop(members);
        let mut members = Vec::new();
        for connect in &connects {
            members.push(Subscriber::begin(&gateway, connect.clone()).await);
        }
        assert_eq!(taken(&mut members, 40).await, numbers, "round {round}");
    }
}
