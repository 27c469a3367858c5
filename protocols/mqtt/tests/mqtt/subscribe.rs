//! What subscribers get, over raw packets.

use std::time::Duration;

use eg_event::Quantity;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::issuer::with_issuer;
use crate::packet::{Answer, Connect, Publish, packet, properties, text, user};

const PUBLISH: u8 = 0x30;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const QOS_1: u8 = 1;
const QOS_2: u8 = 2;
const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;
const NOT_RETAINED: u8 = 2 << 4;
const PAUSE: Duration = Duration::from_millis(150);

/// A message as a subscriber gets it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    packet_id: u16,
    pub(crate) properties: Vec<u8>,
    payload: Vec<u8>,
}

impl Got {
    fn of(answer: &Answer, is_v5: bool) -> Self {
        assert_eq!(answer.first & 0xf0, PUBLISH, "{answer:?}");
        let qos = answer.first >> 1 & 3;
        let length = usize::from(u16::from_be_bytes([answer.body[0], answer.body[1]]));
        let (topic, mut rest) = answer.body[2..].split_at(length);
        let mut packet_id = 0;
        if qos > 0 {
            packet_id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        let mut properties = Vec::new();
        if is_v5 {
            let length = usize::from(rest[0]);
            assert!(length < 0x80, "short properties");
            properties = rest[1..=length].to_vec();
            rest = &rest[1 + length..];
        }
        Self {
            topic: String::from_utf8(topic.to_vec()).unwrap(),
            qos,
            dup: answer.first & 8 != 0,
            retain: answer.first & 1 != 0,
            packet_id,
            properties,
            payload: rest.to_vec(),
        }
    }

    pub(crate) fn payload(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }
}

/// A subscriber of one version.
pub(crate) struct Subscriber {
    pub(crate) client: Client,
    is_v5: bool,
}

impl Subscriber {
    pub(crate) async fn connect(gateway: &Gateway, connect: Connect) -> (Self, bool) {
        let is_v5 = connect.level == 5;
        let (client, connack) = Client::try_connect(gateway.address, &connect).await;
        assert_eq!(connack.code(), 0, "{connack:?}");
        (Self { client, is_v5 }, connack.body[0] == 1)
    }

    pub(crate) async fn begin(gateway: &Gateway, connect: Connect) -> Self {
        Self::connect(gateway, connect).await.0
    }

    /// Subscribes; the codes of SUBACK.
    pub(crate) async fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        self.subscribe_as(&[], filters).await
    }

    async fn subscribe_as(&mut self, identifier: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
        let list: Vec<u8> = filters
            .iter()
            .flat_map(|(filter, options)| [text(filter), vec![*options]].concat())
            .collect();
        let head = if self.is_v5 { properties(&[identifier]) } else { Vec::new() };
        let suback = self.client.exchange(&packet(0x82, &[&[0, 1], &head, &list])).await;
        assert_eq!(suback.first, 0x90, "{suback:?}");
        suback.body[suback.body.len() - filters.len()..].to_vec()
    }

    pub(crate) async fn next(&mut self) -> Got {
        Got::of(&self.client.answer().await, self.is_v5)
    }

    async fn answer(&mut self, first: u8, packet_id: u16) {
        self.client.write(&packet(first, &[&packet_id.to_be_bytes()])).await;
    }

    /// The next message, acknowledged.
    pub(crate) async fn take(&mut self) -> Got {
        let got = self.next().await;
        self.acknowledge(got).await
    }

    /// The same, if it comes within `time`.
    pub(crate) async fn take_within(&mut self, time: Duration) -> Option<Got> {
        let answer = self.client.read_within(time).await?.expect("the connection goes on");
        Some(self.acknowledge(Got::of(&answer, self.is_v5)).await)
    }

    async fn acknowledge(&mut self, got: Got) -> Got {
        match got.qos {
            0 => {}
            1 => self.answer(0x40, got.packet_id).await,
            _ => {
                self.answer(PUBREC, got.packet_id).await;
                assert_eq!(self.client.answer().await.first, PUBREL);
                self.answer(0x70, got.packet_id).await;
            }
        }
        got
    }

    pub(crate) async fn gets_nothing(&mut self) -> bool {
        self.client.is_silent_for(PAUSE).await
    }
}

pub(crate) async fn publisher(gateway: &Gateway) -> Client {
    Client::connect(gateway.address, &Connect::v5("publisher")).await
}

/// Publishes with QoS 1, and waits until it is stored.
pub(crate) async fn publish(client: &mut Client, topic: &str, payload: &str) {
    let answer = client.exchange(&Publish::v5(1, 1, topic).payload(payload).bytes()).await;
    assert_eq!(answer.first, 0x40, "{answer:?}");
}

pub(crate) fn both(client_id: &str) -> [Connect; 2] {
    [Connect::v311(format!("{client_id}-3")), Connect::v5(format!("{client_id}-5"))]
}

/// A client whose session is kept, in either version.
pub(crate) fn kept(client_id: &str) -> [Connect; 2] {
    let [v311, v5] = both(client_id);
    [v311.resume(), v5.resume().expiry(1000)]
}

#[tokio::test]
async fn each_filter_is_granted_or_told_why_not() {
    let gateway = Gateway::start_with(|config| config.session_subscriptions_max = 3).await;
    let filters =
        [("a/+", 2), ("a/#/b", 1), ("secret/a", 1), ("$share/g/a", 1), ("b", 0), ("c", 0)];
    let [v311, v5] = both("a");
    let mut subscriber = Subscriber::begin(&gateway, v5).await;
    assert_eq!(subscriber.subscribe(&filters).await, [2, 0x8f, 0x87, 1, 0, 0x97]);
    let mut subscriber = Subscriber::begin(&gateway, v311).await;
    assert_eq!(subscriber.subscribe(&filters).await, [2, 0x80, 0x80, 1, 0, 0x80]);
    let unsubscribe = packet(0xa2, &[&[0, 8], &text("a/+"), &text("nothing")]);
    assert_eq!(subscriber.client.exchange(&unsubscribe).await.body, [0, 8]);
    assert_eq!(subscriber.subscribe(&[("c", 0)]).await, [0], "there is room again");
}

#[tokio::test]
async fn a_message_arrives_with_the_lower_quality_of_both_sides() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    for connect in both("a") {
        let mut subscriber = Subscriber::begin(&gateway, connect).await;
        subscriber.subscribe(&[("q/0", 0), ("q/1", 1), ("q/2", 2)]).await;
        for (published, granted) in [(0, 2), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)] {
            let topic = format!("q/{granted}");
            let bytes = Publish::v5(published, 1, &topic).payload("x").bytes();
            publisher.write(&bytes).await;
            if published == 2 {
                assert_eq!(publisher.answer().await.first, PUBREC);
                publisher.write(&packet(PUBREL, &[&[0, 1]])).await;
            }
            if published > 0 {
                publisher.answer().await;
            }
            let got = subscriber.take().await;
            assert_eq!((got.topic, got.qos, got.dup), (topic, published.min(granted), false));
        }
    }
}

#[tokio::test]
async fn properties_arrive_as_they_were_sent_with_the_expiry_counted_down() {
    let gateway = Gateway::start().await;
    let [v311, v5] = both("a").map(|connect| connect);
    let mut subscriber = Subscriber::begin(&gateway, v5).await;
    let mut older = Subscriber::begin(&gateway, v311).await;
    subscriber.subscribe(&[("t", 1)]).await;
    older.subscribe(&[("t", 1)]).await;
    let forwarded = [
        vec![1, 1],
        [vec![3], text("My name")].concat(),
        [vec![8], text("answers/here")].concat(),
        [vec![9], text([0, 1, 2])].concat(),
        user("b", "2"),
        user("a", "1"),
        user("a", "1"),
    ]
    .concat();
    let mut publisher = publisher(&gateway).await;
    let publish = Publish::v5(1, 1, "t").property(&[2, 0, 0, 0, 100]).property(&forwarded);
    publisher.exchange(&publish.payload("payload").bytes()).await;
    let got = subscriber.take().await;
    let expiry = [2, 0, 0, 0, 100];
    assert_eq!(got.properties, [&expiry[..], &forwarded].concat());
    assert_eq!(got.payload(), "payload");
    assert_eq!(older.take().await.payload(), "payload");
}

#[tokio::test]
async fn what_has_expired_is_not_delivered() {
    let gateway = Gateway::start().await;
    let [_, v5] = kept("a");
    let mut subscriber = Subscriber::begin(&gateway, v5.clone()).await;
    subscriber.subscribe(&[("t", 1)]).await;
    drop(subscriber);
    let mut publisher = publisher(&gateway).await;
    for (seconds, payload) in [(1, "short"), (100, "long")] {
        let publish = Publish::v5(1, 1, "t").property(&[2, 0, 0, 0, seconds]);
        publisher.exchange(&publish.payload(payload).bytes()).await;
    }
    gateway.clock.advance(Duration::from_secs(30));
    let mut subscriber = Subscriber::begin(&gateway, v5).await;
    let got = subscriber.take().await;
    assert_eq!((got.payload(), &got.properties[..]), ("long", &[2, 0, 0, 0, 70][..]));
}

#[tokio::test]
async fn overlapping_subscriptions_make_one_message_with_all_identifiers() {
    let gateway = Gateway::start().await;
    let [_, v5] = both("a");
    let mut subscriber = Subscriber::begin(&gateway, v5).await;
    subscriber.subscribe_as(&[0x0b, 7], &[("t/#", 0)]).await;
    subscriber.subscribe_as(&[0x0b, 9], &[("t/+", 1)]).await;
    let mut publisher = publisher(&gateway).await;
    publish(&mut publisher, "t/a", "x").await;
    let got = subscriber.take().await;
    assert_eq!(got.qos, 1);
    let mut identifiers = [got.properties[1], got.properties[3]];
    identifiers.sort_unstable();
    assert_eq!((identifiers, got.properties.len()), ([7, 9], 4));
    assert!(subscriber.gets_nothing().await);
}

#[tokio::test]
async fn a_client_may_leave_out_its_own_messages() {
    let gateway = Gateway::start().await;
    let [_, v5] = both("a");
    let mut subscriber = Subscriber::begin(&gateway, v5).await;
    subscriber.subscribe(&[("own", QOS_1 | NO_LOCAL), ("all", RETAIN_AS_PUBLISHED)]).await;
    for topic in ["own", "all"] {
        subscriber.client.write(&Publish::v5(0, 0, topic).bytes()).await;
    }
    assert_eq!(subscriber.next().await.topic, "all");
}

#[tokio::test]
async fn wildcards_at_the_beginning_do_not_stand_for_topics_of_the_server() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    for topic in ["$SYS/a", "$SYS", "$share/g/a"] {
        let refused = publisher.exchange(&Publish::v5(1, 1, topic).bytes()).await;
        assert_eq!(refused.code(), 0x87, "{topic}");
    }
    let [_, v5] = both("a");
    let mut subscriber = Subscriber::begin(&gateway, v5).await;
    assert_eq!(subscriber.subscribe(&[("#", 1), ("+/a", 1)]).await, [1, 1]);
    publish(&mut publisher, "$other/a", "unheard").await;
    publish(&mut publisher, "a", "heard").await;
    assert_eq!(subscriber.take().await.payload(), "heard");
    assert_eq!(subscriber.subscribe(&[("$other/#", 1)]).await, [1]);
    publish(&mut publisher, "$other/a", "named").await;
    assert_eq!(subscriber.take().await.payload(), "named");
    assert_eq!(subscriber.subscribe(&[("$SYS/#", 1)]).await, [1]);
}

#[tokio::test]
async fn a_session_keeps_what_comes_while_its_client_is_away() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    for connect in kept("a") {
        let (mut subscriber, present) = Subscriber::connect(&gateway, connect.clone()).await;
        assert!(!present);
        subscriber.subscribe(&[("t", 2)]).await;
        drop(subscriber);
        for payload in ["one", "two"] {
            publish(&mut publisher, "t", payload).await;
        }
        let (mut subscriber, present) = Subscriber::connect(&gateway, connect.clone()).await;
        assert!(present);
        assert_eq!(subscriber.take().await.payload(), "one");
        assert_eq!(subscriber.take().await.payload(), "two");
        let clean = Connect { flags: 0b10, ..connect };
        let (mut subscriber, present) = Subscriber::connect(&gateway, clean).await;
        publish(&mut publisher, "t", "three").await;
        assert!(!present && subscriber.gets_nothing().await, "a clean start has nothing");
    }
}

#[tokio::test]
async fn what_is_not_acknowledged_is_sent_again_under_its_identifier() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    for connect in kept("a") {
        let mut subscriber = Subscriber::begin(&gateway, connect.clone()).await;
        subscriber.subscribe(&[("one", QOS_1), ("two", QOS_2)]).await;
        publish(&mut publisher, "one", "1").await;
        let publish = Publish::v5(2, 5, "two").payload("2").bytes();
        assert_eq!(publisher.exchange(&publish).await.first, PUBREC);
        assert_eq!(publisher.exchange(&packet(PUBREL, &[&[0, 5]])).await.first, 0x70);
        let (one, two) = (subscriber.next().await, subscriber.next().await);
        assert!(!one.dup && !two.dup);

        let mut subscriber = Subscriber::begin(&gateway, connect.clone()).await;
        let again = [subscriber.next().await, subscriber.next().await];
        assert!(again.iter().all(|got| got.dup));
        assert_eq!(again.map(|got| got.packet_id), [one.packet_id, two.packet_id]);
        subscriber.answer(0x40, one.packet_id).await;
        subscriber.answer(PUBREC, two.packet_id).await;
        assert_eq!(subscriber.client.answer().await.first, PUBREL);

        // Received is received: from here on it is only released.
        let mut subscriber = Subscriber::begin(&gateway, connect.clone()).await;
        let release = subscriber.client.answer().await;
        assert_eq!((release.first, release.packet_id()), (PUBREL, two.packet_id));
        subscriber.answer(0x70, two.packet_id).await;
        assert!(subscriber.client.is_alive().await);
        let mut subscriber = Subscriber::begin(&gateway, connect).await;
        assert!(subscriber.gets_nothing().await);
    }
}

#[tokio::test]
async fn no_more_is_under_way_than_a_client_takes_at_once() {
    let gateway = Gateway::start_with(|config| config.session_inflight_max = 3).await;
    let mut publisher = publisher(&gateway).await;
    let [v311, v5] = both("a");
    for (connect, window) in [(v311, 3), (v5.property(&[0x21, 0, 2]), 2)] {
        let mut subscriber = Subscriber::begin(&gateway, connect).await;
        subscriber.subscribe(&[("t", 1)]).await;
        for number in 0..5 {
            publish(&mut publisher, "t", &number.to_string()).await;
        }
        let mut first = None;
        for number in 0..window {
            let got = subscriber.next().await;
            assert_eq!(got.payload(), number.to_string());
            first.get_or_insert(got.packet_id);
        }
        assert!(subscriber.gets_nothing().await);
        subscriber.answer(0x40, first.unwrap()).await;
        assert_eq!(subscriber.next().await.payload(), window.to_string());
        assert!(subscriber.gets_nothing().await);
    }
}

#[tokio::test]
async fn what_is_too_large_for_a_client_is_left_out_and_counted() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let connect = Connect::v5("a").property(&[0x27, 0, 0, 0, 60]);
    let mut subscriber = Subscriber::begin(&gateway, connect).await;
    subscriber.subscribe(&[("t", 1)]).await;
    publish(&mut publisher, "t", &"x".repeat(60)).await;
    publish(&mut publisher, "t", "small").await;
    assert_eq!(subscriber.take().await.payload(), "small");
    let dropped = &gateway.server.counters().deliveries_dropped;
    assert_eq!(dropped.of(eg_mqtt::Dropped::PacketTooLarge), 1);
}

#[tokio::test]
async fn a_client_that_takes_aliases_is_told_a_topic_once() {
    let gateway = Gateway::start().await;
    let connect = Connect::v5("a").property(&[0x22, 0, 1]);
    let mut subscriber = Subscriber::begin(&gateway, connect).await;
    subscriber.subscribe(&[("#", 0)]).await;
    let mut publisher = publisher(&gateway).await;
    for topic in ["topic/a", "topic/a", "topic/b"] {
        publish(&mut publisher, topic, "").await;
    }
    let alias = vec![0x23, 0, 1];
    for (topic, properties) in [("topic/a", &alias), ("", &alias), ("topic/b", &vec![])] {
        let got = subscriber.next().await;
        assert_eq!((&*got.topic, &got.properties), (topic, properties));
    }
}

#[tokio::test]
async fn those_who_share_a_subscription_take_turns_and_stand_in_for_who_leaves() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let [v311, v5] = both("a");
    let mut one = Subscriber::begin(&gateway, v311).await;
    let mut two = Subscriber::begin(&gateway, v5).await;
    for member in [&mut one, &mut two] {
        member.subscribe(&[("$share/g/t", 1)]).await;
    }
    for number in 0..4 {
        publish(&mut publisher, "t", &number.to_string()).await;
    }
    let left = [one.next().await, one.next().await];
    let taken = [two.take().await, two.take().await];
    assert!(left.iter().all(|left| taken.iter().all(|taken| left.payload != taken.payload)));
    one.client.write(&[0xe0, 0]).await;
    drop(one);
    for left in left {
        assert_eq!(two.take().await.payload, left.payload);
    }
    assert!(two.gets_nothing().await);
}

#[tokio::test]
async fn a_place_under_way_is_not_kept_for_who_cannot_use_it() {
    let (gateway, _) = with_issuer(|_| ()).await;
    let plant = gateway.store.register("plant");
    plant.limit(Quantity::InflightMessages, Some(2));
    let of_plant = |connect: Connect| connect.password("u", "device 3600 plant");
    let mut busy = Subscriber::begin(&gateway, of_plant(kept("busy")[1].clone())).await;
    let mut ready = Subscriber::begin(&gateway, of_plant(Connect::v5("ready"))).await;
    busy.subscribe(&[("a", 1)]).await;
    ready.subscribe(&[("b", 1)]).await;
    let connect = Connect::v5("publisher").password("u", "publisher 3600");
    let mut publisher = Client::connect(gateway.address, &connect).await;
    for topic in ["a", "a", "a", "b", "b"] {
        publish(&mut publisher, topic, topic).await;
    }
    assert_eq!([busy.next().await.payload(), busy.next().await.payload()], ["a", "a"]);
    let first = ready.next().await;
    assert!(busy.gets_nothing().await && ready.gets_nothing().await);
    // The one that has waited longest subscribes, which takes a while.
    gateway.store.set_unread(true);
    publish(&mut publisher, "c", "c").await;
    busy.client.write(&packet(0x82, &[&[0, 1, 0], &text("c"), &[0]])).await;
    assert!(busy.gets_nothing().await);
    plant.limit(Quantity::InflightMessages, Some(4));
    assert_eq!(ready.next().await.payload(), "b");
    gateway.store.set_unread(false);
    assert_eq!(busy.client.answer().await.first, 0x90);
    assert!(busy.gets_nothing().await);
    ready.answer(0x40, first.packet_id).await;
    assert_eq!(busy.next().await.payload(), "a");
    assert_eq!(plant.used(Quantity::InflightMessages), 4);
}

#[tokio::test]
async fn sessions_go_on_after_a_restart_where_they_were() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let [_, v5] = kept("a");
    let mut subscriber = Subscriber::begin(&gateway, v5.clone()).await;
    subscriber.subscribe_as(&[0x0b, 7], &[("t", 2)]).await;
    publish(&mut publisher, "t", "one").await;
    let publish_two = Publish::v5(2, 5, "t").payload("two").bytes();
    publisher.exchange(&publish_two).await;
    publisher.exchange(&packet(PUBREL, &[&[0, 5]])).await;
    let (one, two) = (subscriber.next().await, subscriber.next().await);
    let gateway = gateway.restart().await;
    let (mut subscriber, present) = Subscriber::connect(&gateway, v5).await;
    assert!(present);
    let again = [subscriber.take().await, subscriber.take().await];
    let expected = [one, two].map(|got| (got.packet_id, got.payload, got.properties));
    assert!(again.iter().all(|got| got.dup));
    assert_eq!(again.map(|got| (got.packet_id, got.payload, got.properties)), expected);
    let mut publisher = self::publisher(&gateway).await;
    publish(&mut publisher, "t", "three").await;
    assert_eq!(subscriber.take().await.payload(), "three");
}

#[tokio::test]
async fn options_that_change_hold_for_what_is_published_from_then_on() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let mut subscriber = Subscriber::begin(&gateway, Connect::v5("a")).await;
    subscriber.subscribe(&[("t", QOS_1 | NO_LOCAL)]).await;
    gateway.store.set_unread(true);
    let own = Publish::v5(1, 1, "t").payload("own").bytes();
    assert_eq!(subscriber.client.exchange(&own).await.first, 0x40);
    publish(&mut publisher, "t", "before").await;
    assert_eq!(subscriber.subscribe(&[("t", 0)]).await, [0]);
    publish(&mut publisher, "t", "after").await;
    gateway.store.set_unread(false);
    for expected in [("before", 1), ("after", 0)] {
        let got = subscriber.take().await;
        assert_eq!((got.payload(), got.qos), expected);
    }
    // Each change has its place.
    gateway.store.set_unread(true);
    let expected = [("with 7", &[0x0b, 7][..]), ("with 8", &[0x0b, 8]), ("with none", &[])];
    for (payload, identifier) in expected {
        assert_eq!(subscriber.subscribe_as(identifier, &[("t", 1)]).await, [1]);
        publish(&mut publisher, "t", payload).await;
    }
    gateway.store.set_unread(false);
    for (payload, properties) in expected {
        let got = subscriber.take().await;
        assert_eq!((got.payload(), &got.properties[..]), (payload, properties));
    }
    // A change that is not reached does not come back after UNSUBSCRIBE.
    gateway.store.set_unread(true);
    publish(&mut publisher, "t", "unread").await;
    subscriber.subscribe(&[("t", 1)]).await;
    let unsubscribe = packet(0xa2, &[&[0, 8], &[0], &text("t")]);
    assert_eq!(subscriber.client.exchange(&unsubscribe).await.first, 0xb0);
    gateway.store.set_unread(false);
    publish(&mut publisher, "t", "after the end").await;
    assert!(subscriber.gets_nothing().await);
}

#[tokio::test]
async fn options_that_change_hold_from_their_place_on_after_a_crash_too() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let [_, connect] = kept("a");
    let mut subscriber = Subscriber::begin(&gateway, connect.clone()).await;
    assert_eq!(subscriber.subscribe(&[("t", 1)]).await, [1]);
    gateway.store.set_unread(true);
    let expected = [("with none", &[][..]), ("with 7", &[0x0b, 7]), ("with 8", &[0x0b, 8])];
    for (payload, identifier) in expected {
        assert_eq!(subscriber.subscribe_as(identifier, &[("t", QOS_1 | NOT_RETAINED)]).await, [1]);
        publish(&mut publisher, "t", payload).await;
    }
    // What others do meanwhile writes that down anew.
    assert_eq!(subscriber.subscribe(&[("other", QOS_1 | NOT_RETAINED)]).await, [1]);
    gateway.store.retain_nothing();
    let next = gateway.after_a_crash().await;
    let mut again = Subscriber::begin(&next, connect).await;
    for (payload, properties) in expected {
        let got = again.take().await;
        assert_eq!((got.payload(), &got.properties[..]), (payload, properties));
    }
}

#[tokio::test]
async fn options_do_not_change_more_often_than_can_be_kept() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let mut subscriber = Subscriber::begin(&gateway, Connect::v5("a")).await;
    assert_eq!(subscriber.subscribe(&[("t", 0)]).await, [0]);
    gateway.store.set_unread(true);
    for qos in [1, 0].into_iter().cycle().take(256) {
        publish(&mut publisher, "t", "").await;
        assert_eq!(subscriber.subscribe(&[("t", qos)]).await, [qos]);
    }
    publish(&mut publisher, "t", "").await;
    assert_eq!(subscriber.subscribe(&[("t", 1)]).await, [0x97]);
    gateway.store.set_unread(false);
    for qos in [0, 1].into_iter().cycle().take(257) {
        assert_eq!(subscriber.take().await.qos, qos);
    }
}
