//! The way in from MQTT: a session that outlives the connection, in which a message is acknowledged
//! once it is settled. The broker sends no more than fits the receive maximum, and sends again what
//! was not acknowledged, in its order, when the session goes on.

use std::collections::VecDeque;
use std::sync::Arc;

use eg_event::Subscription;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Place;
use super::link::Link;
use super::packets::{Answer, Arrived, Said};
use crate::connections::Surroundings;
use crate::source::{Arrival, Settlement, Source, SourceError};
use crate::target::Target;

/// A topic that is read; the connection is on a task of its own, which keeps it alive.
struct Reader {
    messages: mpsc::Receiver<Result<Arrived, String>>,
    settled: mpsc::Sender<(Answer, Option<String>)>,
    batch: usize,
    /// What was given and not settled.
    given: Vec<Option<Answer>>,
    /// Why the connection was lost, to be told after the last messages.
    lost: Option<String>,
}

/// Begins to read the topic of `target`.
pub(crate) async fn read(
    target: Target,
    subscription: &Arc<Subscription>,
    around: &Surroundings,
) -> Result<Box<dyn Source>, SourceError> {
    let place = Place {
        target,
        subscription: Subscription::clone(subscription),
        around: around.clone(),
        session: Some(subscription.max_in_flight),
    };
    // When a token ends, the broker ends the connection, and the next one has a fresh token.
    let (link, _) = place.open().await?;
    let (link, early) = link.subscribe(&place.target).await.map_err(SourceError)?;
    let batch = usize::from(subscription.max_in_flight);
    let (give, messages) = mpsc::channel(batch);
    let (settled, settle) = mpsc::channel(batch);
    let stop = around.stop.clone();
    around.tracker.spawn(async move {
        stop.run_until_cancelled(link.serve(early, give, settle)).await;
    });
    Ok(Box::new(Reader { messages, settled, batch, given: Vec::new(), lost: None }))
}

impl Link {
    /// Subscribes, and waits until the broker has agreed; gives back what it sent before that.
    async fn subscribe(mut self, target: &Target) -> Result<(Self, VecDeque<Said>), String> {
        let topic = target.topic.text().unwrap_or_default();
        let filter = match target.attributes.get("group") {
            Some(group) => format!("$share/{group}/{topic}"),
            None => topic.to_owned(),
        };
        self.packets.answer_by_hand();
        let exactly_once = target.attributes.get("qos") == Some("2");
        self.packets.subscribe(&filter, exactly_once, &mut self.output)?;
        self.flush().await.map_err(|error| error.to_string())?;
        let mut early: VecDeque<_> = std::mem::take(&mut self.early).into();
        loop {
            let mut agreed = false;
            for said in self.listen().await? {
                match said {
                    Said::Subscribed(Ok(())) => agreed = true,
                    Said::Subscribed(Err(why)) => {
                        return Err(format!("the broker refuses the subscription: {why}"));
                    }
                    Said::Refused(why) | Said::Ended(why) => return Err(why),
                    said => early.push_back(said),
                }
            }
            if agreed {
                return Ok((self, early));
            }
        }
    }

    /// What the broker says next.
    async fn listen(&mut self) -> Result<Vec<Said>, String> {
        let count = self.stream.read(&mut self.input).await;
        let count = count.map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("the broker closed the connection".to_owned());
        }
        self.heard_at = Instant::now();
        Ok(self.packets.read(&self.input[..count], &mut self.output))
    }

    /// Gives messages to who reads, and answers them, until nobody reads any more or the
    /// connection is lost.
    async fn serve(
        mut self,
        mut waiting: VecDeque<Said>,
        give: mpsc::Sender<Result<Arrived, String>>,
        mut settle: mpsc::Receiver<(Answer, Option<String>)>,
    ) {
        loop {
            match self.exchange(&mut waiting, &give, &mut settle).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(why) => {
                    // If nobody reads any more, nobody needs to know.
                    drop(give.send(Err(why)).await);
                    return;
                }
            }
        }
    }

    /// Does what comes next; says whether there may be more to do.
    async fn exchange(
        &mut self,
        waiting: &mut VecDeque<Said>,
        give: &mpsc::Sender<Result<Arrived, String>>,
        settle: &mut mpsc::Receiver<(Answer, Option<String>)>,
    ) -> Result<bool, String> {
        // While the reader is slow the connection is not read: it says nothing of the broker.
        let is_full = !waiting.is_empty();
        let heard_at = if is_full { Instant::now() } else { self.heard_at };
        let due = heard_at.max(self.asked_at) + self.keep_alive / 2;
        tokio::select! {
            biased;
            settled = settle.recv() => {
                let Some((answer, refused)) = settled else { return Ok(false) };
                self.packets.answer(answer, refused.as_deref(), &mut self.output)?;
                while let Ok((answer, refused)) = settle.try_recv() {
                    self.packets.answer(answer, refused.as_deref(), &mut self.output)?;
                }
            }
            room = give.reserve(), if is_full => {
                let Ok(room) = room else { return Ok(false) };
                match waiting.pop_front() {
                    Some(Said::Arrived(arrived)) => room.send(Ok(*arrived)),
                    Some(Said::Released(packet_id)) => {
                        self.packets.complete(packet_id, &mut self.output)?;
                    }
                    Some(Said::Refused(why) | Said::Ended(why)) => return Err(why),
                    _ => {}
                }
            }
            said = self.listen(), if !is_full => waiting.extend(said?),
            () = sleep_until(due) => {
                if heard_at.elapsed() > self.keep_alive * 3 / 2 {
                    return Err("the broker says nothing any more".to_owned());
                }
                self.asked_at = Instant::now();
                self.packets.ping(&mut self.output)?;
            }
        }
        self.flush().await.map_err(|error| error.to_string())?;
        Ok(true)
    }
}

impl Reader {
    async fn next(&mut self) -> Result<Vec<Arrival>, SourceError> {
        if let Some(why) = self.lost.take() {
            return Err(SourceError(why));
        }
        let lost = || SourceError("the connection was closed".to_owned());
        let first = self.messages.recv().await.ok_or_else(lost)?.map_err(SourceError)?;
        let mut arrivals = Vec::new();
        let mut next = Some(first);
        while let Some(Arrived { arrival, answer }) = next {
            arrivals.push(arrival);
            self.given.push(answer);
            next = None;
            if arrivals.len() < self.batch {
                match self.messages.try_recv() {
                    Ok(Ok(message)) => next = Some(message),
                    Ok(Err(why)) => self.lost = Some(why),
                    Err(_) => {}
                }
            }
        }
        Ok(arrivals)
    }

    async fn tell(&mut self, settlements: &[Settlement]) -> Result<(), SourceError> {
        let given = std::mem::take(&mut self.given);
        for (answer, settlement) in given.into_iter().zip(settlements) {
            let refused = match settlement {
                Settlement::Taken => None,
                Settlement::Refused(why) => Some(why.clone()),
                // What is not acknowledged comes again when the session goes on.
                Settlement::Again => continue,
            };
            let Some(answer) = answer else { continue };
            let told = self.settled.send((answer, refused)).await;
            told.map_err(|_| SourceError("the connection was closed".to_owned()))?;
        }
        Ok(())
    }
}

impl Source for Reader {
    fn receive(&mut self) -> BoxFuture<'_, Result<Vec<Arrival>, SourceError>> {
        self.next().boxed()
    }

    fn settle<'a>(
        &'a mut self,
        settlements: &'a [Settlement],
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        self.tell(settlements).boxed()
    }

    /// A broker says nothing of what waits.
    fn lag(&mut self) -> BoxFuture<'_, Option<u64>> {
        std::future::ready(None).boxed()
    }
}
