//! Load over MQTT: each connection keeps its window full, and sends as acknowledgements come.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::mqtt_packets::{Answer, DISCONNECT, PINGREQ, PublishTemplate, answer, connect, pubrel};
use super::{BenchError, MqttArgs, MqttVersion, Report, Schedule, on_threads, share};

/// How many bytes are read at once.
const READ_BYTES: usize = 64 * 1024;

pub(super) fn run(args: &MqttArgs) -> Result<Report, BenchError> {
    if args.window == 0 || args.connections == 0 {
        return Err(BenchError::Argument { name: "window", expected: "at least 1" });
    }
    let password = read(args.password_file.as_ref())?;
    let password = password.as_deref().map(<[u8]>::trim_ascii);
    let payload = read(args.payload_file.as_ref())?;
    let payload = &payload.unwrap_or_else(|| vec![b'x'; args.load.payload]);
    on_threads(&args.load, async |thread, schedule| {
        let count = share(args.connections, args.load.threads, thread);
        let connections = (0..count).map(|index| async move {
            let name = format!("bench-{}-{thread}-{index}", std::process::id());
            let mut load = Load::open(args, &name, (password, payload)).await?;
            let failed = |cause| failed(args.target, cause);
            match args.qos {
                0 => load.flood(schedule).await.map_err(failed)?,
                _ => load.exchange(schedule).await.map_err(failed)?,
            }
            Ok(load.report)
        });
        let mut total = Report::new(args.load.duration);
        try_join_all(connections).await?.into_iter().for_each(|report| total.add(report));
        Ok(total)
    })
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
    let mut link = Link::open(target, connect(MqttVersion::V5, &name, None, None)).await?;
    PublishTemplate::new(MqttVersion::V5, topic, 1, payload).write(1, &mut link.output);
    link.output.extend_from_slice(&DISCONNECT);
    let failed = |cause| failed(target, cause);
    link.send().await.map_err(failed)?;
    match link.answers().await.map_err(failed)?.pop_front() {
        Some(Answer::Puback(_, code) | Answer::Disconnect(code)) => Ok(code),
        _ => Err(failed(io::ErrorKind::InvalidData.into())),
    }
}

fn failed(target: SocketAddr, cause: io::Error) -> BenchError {
    BenchError::Connection { target: target.to_string(), cause }
}

/// A connection, and the bytes under way on it.
struct Link {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Link {
    /// Connects, and waits until the broker has accepted `connect`.
    async fn open(target: SocketAddr, connect: Vec<u8>) -> Result<Self, BenchError> {
        let failed = |cause| failed(target, cause);
        let stream = TcpStream::connect(target).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut link = Self { stream, input: Vec::new(), output: connect };
        link.send().await.map_err(failed)?;
        match link.answers().await.map_err(failed)?.pop_front() {
            Some(Answer::Connack(0)) => Ok(link),
            Some(Answer::Connack(code)) => Err(BenchError::Refused { target, code }),
            _ => Err(failed(io::ErrorKind::InvalidData.into())),
        }
    }

    async fn send(&mut self) -> io::Result<()> {
        let sent = self.stream.write_all(&self.output).await;
        self.output.clear();
        sent
    }

    /// Waits for packets and takes all that have come.
    async fn answers(&mut self) -> io::Result<VecDeque<Answer>> {
        let mut answers = VecDeque::new();
        while answers.is_empty() {
            self.input.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut taken = 0;
            while let Some((answer, length)) = answer(&self.input[taken..]) {
                answers.push_back(answer);
                taken += length;
            }
            self.input.drain(..taken);
        }
        Ok(answers)
    }
}

/// A connection that generates load.
struct Load {
    link: Link,
    template: PublishTemplate,
    window: u16,
    payload_bytes: u64,
    report: Report,
    /// When the publication with each packet identifier was sent.
    sent_at: Vec<Instant>,
}

impl Load {
    async fn open(
        args: &MqttArgs,
        name: &str,
        (password, payload): (Option<&[u8]>, &[u8]),
    ) -> Result<Self, BenchError> {
        let connect = connect(args.version, name, args.username.as_deref(), password);
        let topic = args.topic.replace("{client}", name);
        Ok(Self {
            link: Link::open(args.target, connect).await?,
            template: PublishTemplate::new(args.version, &topic, args.qos, payload),
            window: args.window,
            payload_bytes: payload.len() as u64,
            report: Report::new(args.load.duration),
            sent_at: vec![Instant::now(); usize::from(args.window) + 1],
        })
    }

    /// QoS 1 and 2: a packet identifier is used again as soon as it is free.
    async fn exchange(&mut self, schedule: Schedule) -> io::Result<()> {
        let now = Instant::now();
        for packet_id in 1..=self.window {
            self.template.write(packet_id, &mut self.link.output);
            self.sent_at[usize::from(packet_id)] = now;
        }
        let mut under_way = self.window;
        while under_way > 0 {
            self.link.send().await?;
            let answers = self.link.answers().await?;
            let now = Instant::now();
            let goes_on = now < schedule.ends;
            for answer in answers {
                match answer {
                    Answer::Pubrec(packet_id, code) if code < 0x80 => {
                        pubrel(packet_id, &mut self.link.output);
                    }
                    Answer::Puback(packet_id, code)
                    | Answer::Pubrec(packet_id, code)
                    | Answer::Pubcomp(packet_id, code) => {
                        self.settle(packet_id, code, now, schedule);
                        if goes_on {
                            self.template.write(packet_id, &mut self.link.output);
                            self.sent_at[usize::from(packet_id)] = now;
                        } else {
                            under_way -= 1;
                        }
                    }
                    Answer::Disconnect(code) => {
                        self.report.error(&format!("DISCONNECT {code:#04x}"), 1);
                        return Ok(());
                    }
                    Answer::Connack(_) | Answer::Pingresp | Answer::Other => {}
                }
            }
        }
        self.link.output.extend_from_slice(&DISCONNECT);
        self.link.send().await
    }

    fn settle(&mut self, packet_id: u16, code: u8, now: Instant, schedule: Schedule) {
        if now < schedule.begins || now > schedule.ends {
            return;
        }
        if code >= 0x80 {
            return self.report.error(&format!("{code:#04x}"), 1);
        }
        let latency = now - self.sent_at[usize::from(packet_id)];
        self.report.acknowledged(1, self.payload_bytes, latency);
    }

    /// QoS 0 is not acknowledged: what counts is what the broker has read, and now and then a ping
    /// behind a window says that it has.
    async fn flood(&mut self, schedule: Schedule) -> io::Result<()> {
        while Instant::now() < schedule.ends {
            let begun = Instant::now();
            for _ in 0..self.window {
                self.template.write(0, &mut self.link.output);
            }
            self.link.output.extend_from_slice(&PINGREQ);
            self.link.send().await?;
            while !self.link.answers().await?.contains(&Answer::Pingresp) {}
            let now = Instant::now();
            if begun >= schedule.begins && now <= schedule.ends {
                let count = u64::from(self.window);
                self.report.acknowledged(count, count * self.payload_bytes, now - begun);
            }
        }
        self.link.output.extend_from_slice(&DISCONNECT);
        self.link.send().await
    }
}
