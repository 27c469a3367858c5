//! One connection to a broker: what is to be published goes out, what is acknowledged is told to
//! whoever waits for it.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::packets::{Admitted, Greeting, Outgoing, Packets, Said};
use crate::error::PublishError;
use crate::tls;

/// How many bytes are read at once.
const READ_BYTES: usize = 16 * 1024;

/// What may be wrong when a broker does not answer as one.
const DOUBT: &str = ": is it an MQTT broker, and does the port expect TLS?";

/// What carries a connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A message to be published, and who waits for the broker to have it.
pub(super) struct Order {
    pub(super) outgoing: Outgoing,
    pub(super) done: oneshot::Sender<Result<(), PublishError>>,
}

/// A connection to a broker.
pub(super) struct Link {
    pub(super) stream: Box<dyn Stream>,
    pub(super) packets: Packets,
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
    /// What the broker said right after it let the gateway in.
    pub(super) early: Vec<Said>,
    waiting: HashMap<u16, oneshot::Sender<Result<(), PublishError>>>,
    pub(super) keep_alive: Duration,
    pub(super) heard_at: Instant,
    pub(super) asked_at: Instant,
    admitted: Admitted,
    spent: bool,
}

/// Why nothing more is published over a connection.
pub(super) enum End {
    /// Nobody orders any more, or it was lost.
    Closed,
    /// What the gateway is known by has ended; nothing is under way.
    Spent,
}

impl Link {
    pub(super) fn new(stream: Box<dyn Stream>, packets: Packets, keep_alive: Duration) -> Self {
        let now = Instant::now();
        Self {
            stream,
            packets,
            input: vec![0; READ_BYTES],
            output: Vec::new(),
            early: Vec::new(),
            waiting: HashMap::new(),
            keep_alive,
            heard_at: now,
            asked_at: now,
            admitted: Admitted::default(),
            spent: false,
        }
    }

    /// What the broker takes.
    pub(super) fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    /// Introduces the gateway, and waits until it is let in.
    pub(super) async fn greet(mut self, greeting: &Greeting) -> Result<Self, String> {
        self.packets.greet(greeting, &mut self.output)?;
        self.flush().await.map_err(|error| doubtful(&error))?;
        loop {
            let count = self.stream.read(&mut self.input).await;
            let count = count.map_err(|error| doubtful(&error))?;
            if count == 0 {
                return Err(format!("the broker closed the connection without an answer{DOUBT}"));
            }
            let mut said = self.packets.read(&self.input[..count], &mut self.output).into_iter();
            while let Some(one) = said.next() {
                match one {
                    Said::Accepted(admitted) => {
                        self.packets.heed(&admitted);
                        self.admitted = admitted;
                        self.early = said.collect();
                        return Ok(self);
                    }
                    Said::Refused(why) => return Err(format!("the broker refuses: {why}")),
                    Said::Ended(_) => return Err(format!("it does not answer as MQTT{DOUBT}")),
                    _ => {}
                }
            }
        }
    }

    /// Publishes what comes by `orders` until nobody orders any more, the connection is lost, or
    /// `spent_at` has come and everything is settled.
    pub(super) async fn run(
        mut self,
        orders: &mut mpsc::Receiver<Order>,
        spent_at: Option<Instant>,
    ) -> End {
        let why = loop {
            match self.step(orders, spent_at).await {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(why) => break why,
            }
        };
        let lost = PublishError::Lost(why);
        for done in self.waiting.into_values() {
            // Whoever has given up is told nothing.
            drop(done.send(Err(lost.clone())));
        }
        refuse(orders, &lost);
        End::Closed
    }

    /// Does what comes next; says whether that was the last.
    async fn step(
        &mut self,
        orders: &mut mpsc::Receiver<Order>,
        spent_at: Option<Instant>,
    ) -> Result<Option<End>, String> {
        if self.spent && self.waiting.is_empty() {
            return Ok(Some(End::Spent));
        }
        let quiet_since = self.heard_at.max(self.asked_at);
        tokio::select! {
            order = orders.recv(), if self.packets.has_room() && !self.spent => {
                let Some(order) = order else { return Ok(Some(End::Closed)) };
                self.publish(order);
                // What has come meanwhile goes with it.
                while self.packets.has_room() && let Ok(order) = orders.try_recv() {
                    self.publish(order);
                }
            }
            count = self.stream.read(&mut self.input) => {
                let count = count.map_err(|error| error.to_string())?;
                if count == 0 {
                    return Err("the broker closed it".to_owned());
                }
                self.heard_at = Instant::now();
                for said in self.packets.read(&self.input[..count], &mut self.output) {
                    self.hear(said)?;
                }
            }
            () = sleep_until(spent_at.unwrap_or(quiet_since)), if spent_at.is_some() && !self.spent => {
                self.spent = true;
            }
            () = sleep_until(quiet_since + self.keep_alive / 2) => {
                if self.heard_at.elapsed() > self.keep_alive * 3 / 2 {
                    return Err("the broker says nothing any more".to_owned());
                }
                self.asked_at = Instant::now();
                self.packets.ping(&mut self.output)?;
            }
        }
        self.flush().await.map_err(|error| error.to_string())?;
        Ok(None)
    }

    fn publish(&mut self, order: Order) {
        match self.packets.publish(&order.outgoing, &mut self.output) {
            Ok(packet_id) => drop(self.waiting.insert(packet_id, order.done)),
            Err(why) => drop(order.done.send(Err(PublishError::NotConfirmed(why)))),
        }
    }

    fn hear(&mut self, said: Said) -> Result<(), String> {
        match said {
            Said::Settled(packet_id, outcome) => {
                if let Some(done) = self.waiting.remove(&packet_id) {
                    let refused =
                        |why| PublishError::NotConfirmed(format!("the broker refuses: {why}"));
                    drop(done.send(outcome.map_err(refused)));
                }
                Ok(())
            }
            Said::Refused(why) | Said::Ended(why) => Err(format!("the broker ends it: {why}")),
            _ => Ok(()),
        }
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.output.clear();
            self.stream.flush().await?;
        }
        Ok(())
    }
}

/// Tells everyone who ordered something, and whoever still would, why nothing comes of it.
pub(super) fn refuse(orders: &mut mpsc::Receiver<Order>, why: &PublishError) {
    orders.close();
    while let Ok(order) = orders.try_recv() {
        // Whoever has given up is told nothing.
        drop(order.done.send(Err(why.clone())));
    }
}

/// Why the broker was not to be greeted.
fn doubtful(error: &io::Error) -> String {
    let doubt = if error.get_ref().is_some() { "" } else { DOUBT };
    format!("{}{doubt}", tls::reason(error))
}
