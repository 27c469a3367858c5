//! Load over MQTT: publishers keep their windows full, or a rate, and subscribers tell what came
//! how soon, twice, or never.
#![expect(clippy::future_not_send, reason = "a thread keeps its connections")]

mod delivery;
mod link;
mod packets;
mod publisher;
mod subscriber;

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures_util::future::{try_join, try_join_all};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::Barrier;

use self::delivery::{Board, matches};
use self::link::{Link, Scratch, failed};
use self::packets::{Packet, PublishTemplate, STAMP_BYTES, connect};
use self::publisher::Publisher;
use self::subscriber::Subscriber;
use super::{BenchError, LoadArgs, Report, Schedule, on_threads, share};

/// How many connections a thread opens at once.
const OPENING_MAX: usize = 64;
/// What begins the filter of a shared subscription.
const SHARED: &str = "$share/";

/// Load over MQTT.
#[derive(Clone, Debug, Args)]
pub struct MqttArgs {
    /// The broker.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    target: SocketAddr,
    /// How many connections publish.
    #[arg(long, visible_alias = "publishers", default_value_t = 32)]
    connections: usize,
    /// How many connections subscribe.
    #[arg(long, default_value_t = 0)]
    subscribers: usize,
    /// How many publications of one connection are under way at once: not acknowledged, or not
    /// delivered to all subscribers.
    #[arg(long, default_value_t = 64)]
    window: u16,
    /// Do not wait for deliveries: publish as fast as is acknowledged.
    #[arg(long)]
    open: bool,
    /// How many publications a second all publishers make together, instead of as many as they can.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// The quality of service.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// The quality of service of the subscriptions, if it is another.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=2))]
    subscriber_qos: Option<u8>,
    /// The version of the protocol.
    #[arg(long, value_enum, default_value_t = MqttVersion::V5)]
    version: MqttVersion,
    /// A file with the payload, instead of one of the given size.
    #[arg(long, value_name = "FILE", conflicts_with = "subscribers")]
    payload_file: Option<PathBuf>,
    /// The topic; `{client}` stands for the number of the publisher.
    #[arg(long, default_value = "bench/{client}")]
    topic: String,
    /// How many topics there are, if fewer than publishers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    topics: Option<u64>,
    /// What is subscribed to, `$share/GROUP/` included; `{client}` stands for the number of the
    /// subscriber. Without it: all topics.
    #[arg(long)]
    filter: Option<String>,
    /// How long to wait after all are connected, before anything is published, in seconds.
    #[arg(long, value_name = "S", default_value_t = 0)]
    settle: u32,
    /// How many loopback addresses the connections come from.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=250))]
    local_addresses: u8,
    /// The user name.
    #[arg(long)]
    username: Option<String>,
    /// A file with the password.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    load: LoadArgs,
}

/// The version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MqttVersion {
    /// MQTT 5.0.
    #[value(name = "5")]
    V5,
    /// MQTT 3.1.1.
    #[value(name = "3.1.1")]
    V311,
}

impl MqttArgs {
    fn check(&self) -> Result<(), BenchError> {
        let wrong = |name, expected| Err(BenchError::Argument { name, expected });
        if self.window == 0 || self.connections == 0 {
            return wrong("window", "at least 1");
        }
        if self.subscribers > 0 && self.load.payload < STAMP_BYTES {
            return wrong("payload", "at least 24 bytes, for the time and number of each");
        }
        if self.local_addresses > 1 && !self.target.ip().is_loopback() {
            return wrong("local-addresses", "1, unless the target is on this machine");
        }
        Ok(())
    }

    fn subscriber_qos(&self) -> u8 {
        self.subscriber_qos.unwrap_or(self.qos)
    }

    /// The topic of a publisher.
    fn topic_of(&self, publisher: usize) -> String {
        self.topic.replace("{client}", &self.topic_number(publisher).to_string())
    }

    /// The filter of a subscriber.
    fn filter_of(&self, subscriber: usize) -> String {
        let number = self.topic_number(subscriber).to_string();
        match &self.filter {
            Some(filter) => filter.replace("{client}", &number),
            None => self.topic.replace("{client}", "+"),
        }
    }

    fn topic_number(&self, client: usize) -> usize {
        let topics = self.topics.and_then(|topics| usize::try_from(topics).ok());
        client % topics.unwrap_or(usize::MAX)
    }

    fn is_shared(&self) -> bool {
        self.filter.as_deref().is_some_and(|filter| filter.starts_with(SHARED))
    }

    /// How many subscribers each publication of `publisher` is for.
    fn fan_out(&self, publisher: usize) -> u64 {
        let topic = self.topic_of(publisher);
        let all = (0..self.subscribers).map(|subscriber| self.filter_of(subscriber));
        let count = all.filter(|filter| matches(unshared(filter), &topic)).count() as u64;
        if self.is_shared() { count.min(1) } else { count }
    }
}

/// What a shared subscription's filter asks for.
fn unshared(filter: &str) -> &str {
    let rest = filter.strip_prefix(SHARED).and_then(|rest| rest.split_once('/'));
    rest.map_or(filter, |(_, filter)| filter)
}

/// What the connections of one thread share.
struct Crew<'a> {
    board: &'a Board,
    scratch: Scratch,
    report: RefCell<Report>,
}

pub(super) fn run(args: &MqttArgs) -> Result<Report, BenchError> {
    args.check()?;
    let password = read(args.password_file.as_ref())?;
    let password = password.as_deref().map(<[u8]>::trim_ascii);
    let payload = read(args.payload_file.as_ref())?;
    let payload = &payload.unwrap_or_else(|| vec![b'x'; args.load.payload]);
    let board = &Board::new((0..args.connections).map(|publisher| args.fan_out(publisher)));
    let barrier = &Barrier::new(args.load.threads.max(1));
    let schedule = &OnceLock::new();
    let mut report = on_threads(&args.load, async |thread| {
        let work = async {
            let report = RefCell::new(Report::new(args.load.duration));
            let crew = Crew { board, scratch: Scratch::default(), report };
            let (publishers, subscribers) = open(args, (thread, password), &crew).await?;
            barrier.wait().await;
            let settle = Duration::from_secs(args.settle.into());
            let schedule = *schedule.get_or_init(|| Schedule::new(&args.load).later(settle));
            tokio::time::sleep_until(schedule.opened.into()).await;
            let work = Work { args, payload, crew: &crew, schedule };
            let watch = async {
                if thread == 0 {
                    board.watch().await;
                }
                Ok(())
            };
            try_join(try_join(work.publish(publishers), work.subscribe(subscribers)), watch)
                .await?;
            Ok(crew.report.into_inner())
        };
        let done = board.failed.run_until_cancelled(work).await;
        if !matches!(done, Some(Ok(_))) {
            board.failed.cancel();
        }
        done.unwrap_or_else(|| Ok(Report::new(args.load.duration)))
    })?;
    if args.is_shared()
        && let Some(deliveries) = &mut report.deliveries
    {
        deliveries.missing += board.missing_together();
    }
    Ok(report)
}

/// The connections of one kind, with their numbers.
type Numbered<T> = Vec<(T, usize)>;

/// Opens the connections of a thread, the subscribers' with their subscriptions.
async fn open(
    args: &MqttArgs,
    (thread, password): (usize, Option<&[u8]>),
    crew: &Crew<'_>,
) -> Result<(Numbered<Link>, Numbered<Subscriber>), BenchError> {
    let link = async |kind, number: usize| {
        let name = format!("bench-{:08x}-{kind}-{number}", crew.board.run);
        let connect = connect(args.version, &name, args.username.as_deref(), password);
        let address = match args.local_addresses {
            1 => Ipv4Addr::UNSPECIFIED,
            count => {
                Ipv4Addr::new(127, 0, 0, 1 + u8::try_from(number % usize::from(count)).unwrap_or(0))
            }
        };
        Link::open((address, args.target), (args.version, connect), &crew.scratch).await
    };
    let link = &link;
    let subscribers = numbers(args.subscribers, args.load.threads, thread).map(async |number| {
        let link = link("s", number).await?;
        Ok((Subscriber::open(link, (args, &args.filter_of(number)), crew).await?, number))
    });
    let subscribers = stream::iter(subscribers).buffered(OPENING_MAX).try_collect().await?;
    let publishers = numbers(args.connections, args.load.threads, thread)
        .map(async |number| Ok((link("p", number).await?, number)));
    let publishers = stream::iter(publishers).buffered(OPENING_MAX).try_collect().await?;
    Ok((publishers, subscribers))
}

/// The numbers of the connections of a thread.
fn numbers(total: usize, threads: usize, thread: usize) -> impl Iterator<Item = usize> {
    let before: usize = (0..thread).map(|index| share(total, threads, index)).sum();
    before..before + share(total, threads, thread)
}

/// What the connections of a thread do once all are open.
struct Work<'a> {
    args: &'a MqttArgs,
    payload: &'a [u8],
    crew: &'a Crew<'a>,
    schedule: Schedule,
}

impl Work<'_> {
    async fn publish(&self, links: Numbered<Link>) -> Result<(), BenchError> {
        let publish = links.into_iter().map(|(link, number)| {
            let what = (self.args, self.payload);
            let publisher = Publisher::new((link, number), what, (self.crew, self.schedule));
            async { publisher.run().await.map_err(|cause| failed(self.args.target, cause)) }
        });
        try_join_all(publish).await.map(drop)
    }

    async fn subscribe(&self, subscribers: Numbered<Subscriber>) -> Result<(), BenchError> {
        let Self { args, crew, schedule, .. } = self;
        let subscribe = subscribers.into_iter().map(|(subscriber, number)| async move {
            let seen = subscriber.run(crew, *schedule).await;
            let seen = seen.map_err(|cause| failed(args.target, cause))?;
            let mut report = crew.report.borrow_mut();
            let deliveries = report.deliveries.get_or_insert_default();
            if args.is_shared() {
                crew.board.gather(seen, deliveries);
            } else {
                let filter = args.filter_of(number);
                let is_for = |publisher| matches(&filter, &args.topic_of(publisher));
                deliveries.missing += subscriber::missing(&seen, crew.board, is_for);
            }
            Ok(())
        });
        try_join_all(subscribe).await.map(drop)
    }
}

fn read(path: Option<&PathBuf>) -> Result<Option<Vec<u8>>, BenchError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|cause| BenchError::File { path: path.clone(), cause })
    };
    path.map(read).transpose()
}

/// Publishes one message with QoS 1; gives back the code of the PUBACK.
pub(super) async fn publish_once(
    target: SocketAddr,
    topic: &str,
    payload: &[u8],
) -> Result<u8, BenchError> {
    let name = format!("device-{:08x}", rand::random::<u32>());
    let connect = connect(MqttVersion::V5, &name, None, None);
    let from = (Ipv4Addr::UNSPECIFIED, target);
    let scratch = Scratch::default();
    let mut link = Link::open(from, (MqttVersion::V5, connect), &scratch).await?;
    PublishTemplate::new(MqttVersion::V5, topic, 1, payload).write(1, None, &mut link.output);
    link.output.extend_from_slice(&packets::DISCONNECT);
    let failed = |cause| failed(target, cause);
    link.send().await.map_err(failed)?;
    let mut answer = None;
    let first = |packet: Packet<'_>, _: &mut _| {
        if let (None, Packet::Puback(_, code) | Packet::Disconnect(code)) = (answer, packet) {
            answer = Some(code);
        }
    };
    link.receive(&scratch, first).await.map_err(failed)?;
    answer.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
}
