//! A publisher: keeps its window full, or a rate, and sends as acknowledgements and deliveries come.
#![expect(clippy::future_not_send, reason = "a thread keeps its connections")]

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::delivery::Flow;
use super::link::Link;
use super::packets::{
    DISCONNECT, PINGREQ, Packet, PublishTemplate, Reply, STAMP_BYTES, Stamp, reply,
};
use super::{Crew, MqttArgs, Schedule};

/// How long a publication may be on its way before its place in the window is given to another.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// A connection that publishes.
pub(super) struct Publisher<'a> {
    link: Link,
    crew: &'a Crew<'a>,
    schedule: Schedule,
    number: u32,
    template: PublishTemplate,
    qos: u8,
    payload_bytes: u64,
    window: u64,
    /// How much time there is between two publications; none: as soon as there is room.
    every: Option<Duration>,
    /// Whether a delivery makes room, and not the acknowledgement alone.
    awaits_delivery: bool,
    is_stamped: bool,
    /// The packet identifiers that are free, and when those that are not were sent.
    free: Vec<u16>,
    sent_at: Vec<Instant>,
    sent: u64,
    /// How many publications are no longer waited for.
    lost: u64,
}

impl<'a> Publisher<'a> {
    pub(super) fn new(
        (link, number): (Link, usize),
        (args, payload): (&MqttArgs, &[u8]),
        (crew, schedule): (&'a Crew<'a>, Schedule),
    ) -> Self {
        let mut window = args.window;
        if args.qos > 0 {
            window = window.min(link.receive_maximum);
        }
        let has_subscribers = args.subscribers > 0;
        #[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
        let per_second = args.rate.map(|rate| rate as f64 / args.connections as f64);
        Self {
            template: PublishTemplate::new(args.version, &args.topic_of(number), args.qos, payload),
            link,
            crew,
            schedule,
            number: u32::try_from(number).unwrap_or(u32::MAX),
            qos: args.qos,
            payload_bytes: payload.len() as u64,
            window: window.into(),
            every: per_second.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            awaits_delivery: has_subscribers && !args.open && args.rate.is_none(),
            is_stamped: payload.len() >= STAMP_BYTES,
            free: (1..=window).rev().collect(),
            sent_at: vec![Instant::now(); usize::from(window) + 1],
            sent: 0,
            lost: 0,
        }
    }

    /// Publishes until the time is over, and waits for what is not acknowledged.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let is_acknowledged_by_pings =
            self.qos == 0 && !self.awaits_delivery && self.every.is_none();
        let ended =
            if is_acknowledged_by_pings { self.flood().await } else { self.exchange().await };
        self.crew.board.publishing.fetch_sub(1, Ordering::Release);
        ended?;
        self.link.output.extend_from_slice(&DISCONNECT);
        self.link.send().await
    }

    async fn exchange(&mut self) -> io::Result<()> {
        let crew = self.crew;
        let mut timer = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        let mut moved = Instant::now();
        loop {
            let now = Instant::now();
            let goes_on = now < self.schedule.ends;
            if goes_on {
                let (room, due) = (self.room(), self.due(now));
                self.publish(room.min(due), now);
            } else if self.is_all_acknowledged() || moved.elapsed() > LOST_AFTER {
                return Ok(());
            }
            self.link.send().await?;
            timer.as_mut().reset(self.wakes(now, moved).into());
            let flow = self.flow();
            let mut acknowledged = Vec::new();
            tokio::select! {
                received = self.link.receive(&crew.scratch, |packet, out| {
                    acknowledged.extend(acknowledgement(packet, out));
                }) => {
                    received?;
                    moved = Instant::now();
                    for (packet_id, code) in acknowledged {
                        self.settle(packet_id, code, moved)?;
                    }
                }
                () = flow.credit.notified(), if self.awaits_delivery => moved = Instant::now(),
                () = &mut timer => {
                    if self.awaits_delivery && moved.elapsed() > LOST_AFTER {
                        self.lost = self.sent - flow.delivered().min(self.sent);
                    }
                }
            }
        }
    }

    fn flow(&self) -> &'a Flow {
        &self.crew.board.flows[self.number as usize]
    }

    fn is_all_acknowledged(&self) -> bool {
        self.qos == 0 || self.free.len() as u64 == self.window
    }

    /// How many publications there is room for.
    fn room(&self) -> u64 {
        let mut room = if self.qos == 0 { self.window } else { self.free.len() as u64 };
        if self.awaits_delivery {
            let on_the_way = self.sent.saturating_sub(self.flow().delivered() + self.lost);
            room = room.min(self.window.saturating_sub(on_the_way));
        }
        room
    }

    /// How many publications there is time for.
    fn due(&self, now: Instant) -> u64 {
        let Some(every) = self.every else { return u64::MAX };
        let since = (now - self.schedule.opened).as_nanos();
        let due = u64::try_from(since / every.as_nanos().max(1)).unwrap_or(u64::MAX);
        due.saturating_sub(self.sent)
    }

    /// When there is something to do though nothing comes.
    fn wakes(&self, now: Instant, moved: Instant) -> Instant {
        let next = self.every.map(|_| self.scheduled(self.sent + 1));
        let patience = moved.max(now) + LOST_AFTER;
        match next {
            // Perhaps it is late already.
            Some(next) if self.room() > 0 && now < self.schedule.ends => next,
            _ if now < self.schedule.ends => patience.min(self.schedule.ends),
            _ => patience,
        }
    }

    /// When the publication with `number` is to be sent at a given rate.
    fn scheduled(&self, number: u64) -> Instant {
        let every = u64::try_from(self.every.unwrap_or_default().as_nanos()).unwrap_or(0);
        self.schedule.opened + Duration::from_nanos(every.saturating_mul(number))
    }

    fn publish(&mut self, count: u64, now: Instant) {
        if count == 0 {
            return;
        }
        let board = self.crew.board;
        for _ in 0..count {
            let packet_id = if self.qos == 0 { 0 } else { self.free.pop().unwrap_or(0) };
            // A publication that waited for its turn is as late as its subscriber sees it.
            let at = if self.every.is_some() { self.scheduled(self.sent + 1) } else { now };
            let stamp = Stamp {
                run: board.run,
                publisher: self.number,
                sequence: self.sent,
                at_ns: board.ns(at),
            };
            let stamp = self.is_stamped.then_some(stamp);
            self.template.write(packet_id, stamp, &mut self.link.output);
            self.sent_at[usize::from(packet_id)] = at;
            self.sent += 1;
        }
        self.flow().sent.store(self.sent, Ordering::Relaxed);
        if self.is_measured(now) {
            self.crew.report.borrow_mut().published += count;
        }
    }

    fn is_measured(&self, now: Instant) -> bool {
        now >= self.schedule.begins && now <= self.schedule.ends
    }

    fn settle(&mut self, packet_id: Option<u16>, code: u8, now: Instant) -> io::Result<()> {
        let mut report = self.crew.report.borrow_mut();
        let Some(packet_id) = packet_id else {
            report.error(&format!("publisher: DISCONNECT {code:#04x}"), 1);
            return Err(io::ErrorKind::ConnectionReset.into());
        };
        self.free.push(packet_id);
        if code >= 0x80 {
            report.error(&format!("{code:#04x}"), 1);
        } else if self.is_measured(now) {
            let latency = now.saturating_duration_since(self.sent_at[usize::from(packet_id)]);
            report.acknowledged(1, self.payload_bytes, latency);
        }
        Ok(())
    }

    /// QoS 0 is not acknowledged: where nobody subscribes, what counts is what the broker has read,
    /// and a ping behind each window says that it has.
    async fn flood(&mut self) -> io::Result<()> {
        while Instant::now() < self.schedule.ends {
            let begun = Instant::now();
            self.publish(self.window, begun);
            self.link.output.extend_from_slice(&PINGREQ);
            self.link.send().await?;
            let mut is_read = false;
            while !is_read {
                let pong = |packet: Packet<'_>, _: &mut _| is_read |= packet == Packet::Pingresp;
                self.link.receive(&self.crew.scratch, pong).await?;
            }
            let now = Instant::now();
            if begun >= self.schedule.begins && now <= self.schedule.ends {
                let bytes = self.window * self.payload_bytes;
                self.crew.report.borrow_mut().acknowledged(self.window, bytes, now - begun);
            }
        }
        Ok(())
    }
}

/// What a packet settles, if anything: a packet identifier, or none for the connection.
fn acknowledgement(packet: Packet<'_>, out: &mut Vec<u8>) -> Option<(Option<u16>, u8)> {
    match packet {
        Packet::Pubrec(packet_id, code) if code < 0x80 => {
            reply(Reply::Pubrel, packet_id, out);
            None
        }
        Packet::Puback(packet_id, code)
        | Packet::Pubrec(packet_id, code)
        | Packet::Pubcomp(packet_id, code) => Some((Some(packet_id), code)),
        Packet::Disconnect(code) => Some((None, code)),
        _ => None,
    }
}
