//! Shared subscriptions lose nothing: not when members come or leave, and not over a crash.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

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
