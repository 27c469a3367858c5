//! A subscriber: takes what comes, acknowledges it, and tells what came late, twice or never.
#![expect(clippy::future_not_send, reason = "a thread keeps its connections")]

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::report::Deliveries;
use super::delivery::{Board, Came, Seen};
use super::link::Link;
use super::packets::{DISCONNECT, Packet, Reply, Stamp, reply, subscribe};
use super::{BenchError, Crew, MqttArgs, Schedule};

/// A connection with a subscription.
pub(super) struct Subscriber {
    link: Link,
    seen: Vec<Seen>,
    /// How much of each publisher has come with the last bytes.
    fresh: Vec<(u32, u64)>,
}

impl Subscriber {
    /// Subscribes on `link`.
    pub(super) async fn open(
        mut link: Link,
        (args, filter): (&MqttArgs, &str),
        crew: &Crew<'_>,
    ) -> Result<Self, BenchError> {
        let failed = |cause| super::link::failed(args.target, cause);
        link.output = subscribe(args.version, filter, args.subscriber_qos());
        link.send().await.map_err(failed)?;
        let mut answer = None;
        while answer.is_none() {
            let suback = |packet: Packet<'_>, _: &mut _| match packet {
                Packet::Suback(code) => answer = Some(code),
                Packet::Disconnect(code) => answer = Some(code.max(0x80)),
                _ => {}
            };
            link.receive(&crew.scratch, suback).await.map_err(failed)?;
        }
        match answer {
            Some(code) if code >= 0x80 => {
                Err(BenchError::Refused { target: args.target, packet: "SUBSCRIBE", code })
            }
            _ => Ok(Self { link, seen: Vec::new(), fresh: Vec::new() }),
        }
    }

    /// Takes what comes until nothing more is waited for.
    pub(super) async fn run(
        mut self,
        crew: &Crew<'_>,
        schedule: Schedule,
    ) -> io::Result<Vec<Seen>> {
        let board = crew.board;
        self.seen.resize_with(board.flows.len(), Seen::default);
        let over = std::pin::pin!(board.over.cancelled());
        let mut over = over;
        loop {
            let Self { link, seen, fresh } = &mut self;
            let mut arrival = Arrival { crew, schedule, seen, fresh, now: None };
            tokio::select! {
                received = link.receive(&crew.scratch, |packet, out| arrival.take(packet, out)) => {
                    received?;
                }
                () = &mut over => break,
            }
            self.link.send().await?;
            for (publisher, count) in self.fresh.drain(..) {
                board.flows[publisher as usize].add(count);
            }
        }
        self.link.output.extend_from_slice(&DISCONNECT);
        self.link.send().await?;
        Ok(self.seen)
    }
}

/// Counts what has not come of what is for the subscriber of `filter`.
pub(super) fn missing(seen: &[Seen], board: &Board, is_for: impl Fn(usize) -> bool) -> u64 {
    let missing = |(index, flow): (usize, &super::delivery::Flow)| {
        let sent = if is_for(index) { flow.sent.load(Ordering::Relaxed) } else { 0 };
        sent.saturating_sub(seen[index].count)
    };
    board.flows.iter().enumerate().map(missing).sum()
}

/// The packets of one read.
struct Arrival<'a, 'c> {
    crew: &'a Crew<'c>,
    schedule: Schedule,
    seen: &'a mut [Seen],
    fresh: &'a mut Vec<(u32, u64)>,
    now: Option<(Instant, u64)>,
}

impl Arrival<'_, '_> {
    fn take(&mut self, packet: Packet<'_>, out: &mut Vec<u8>) {
        match packet {
            Packet::Publish { qos, packet_id, payload } => {
                match qos {
                    0 => {}
                    1 => reply(Reply::Puback, packet_id, out),
                    _ => reply(Reply::Pubrec, packet_id, out),
                }
                self.publication(payload);
            }
            Packet::Pubrel(packet_id) => reply(Reply::Pubcomp, packet_id, out),
            Packet::Disconnect(code) => {
                let mut report = self.crew.report.borrow_mut();
                report.error(&format!("subscriber: DISCONNECT {code:#04x}"), 1);
            }
            _ => {}
        }
    }

    fn publication(&mut self, payload: &[u8]) {
        let board = self.crew.board;
        let stamp = Stamp::read(payload).filter(|stamp| {
            stamp.run == board.run && (stamp.publisher as usize) < board.flows.len()
        });
        let mut report = self.crew.report.borrow_mut();
        let deliveries = report.deliveries.get_or_insert_with(Deliveries::default);
        let Some(stamp) = stamp else {
            deliveries.foreign += 1;
            return;
        };
        let came = self.seen[stamp.publisher as usize].add(stamp.sequence);
        if came == Came::Again {
            deliveries.duplicates += 1;
            return;
        }
        deliveries.out_of_order += u64::from(came == Came::Late);
        match self.fresh.last_mut() {
            Some((publisher, count)) if *publisher == stamp.publisher => *count += 1,
            _ => self.fresh.push((stamp.publisher, 1)),
        }
        let (now, now_ns) = *self.now.get_or_insert_with(|| {
            let now = Instant::now();
            (now, board.ns(now))
        });
        if now >= self.schedule.begins && now <= self.schedule.ends {
            let latency = Duration::from_nanos(now_ns.saturating_sub(stamp.at_ns));
            deliveries.received(payload.len() as u64, latency);
        }
    }
}
