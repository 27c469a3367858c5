//! A subscriber in a process of its own, and what it has printed.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use eg_tests::wait::until;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// A client that prints what it gets.
pub(crate) struct Subscriber {
    lines: Arc<Mutex<Vec<String>>>,
    _process: Child,
    _reading: JoinSet<()>,
}

impl Subscriber {
    /// Starts a client.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let printed = Arc::clone(&lines);
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                printed.lock().unwrap().push(line);
            }
        });
        Self { lines, _process: process, _reading: reading }
    }

    /// The same, once it has printed that it has subscribed.
    pub(crate) async fn subscribed(command: Command) -> Self {
        let subscriber = Self::start(command);
        until("the client has subscribed", async || {
            let lines = subscriber.lines.lock().unwrap();
            (lines.first().is_some_and(|line| line == "subscribed")).then_some(())
        })
        .await;
        subscriber.lines.lock().unwrap().clear();
        subscriber
    }

    /// What it has got so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for the line behind those that were there before.
    pub(crate) async fn line(&self, index: usize) -> String {
        until("a message has come", async || self.lines().get(index).cloned()).await
    }
}
