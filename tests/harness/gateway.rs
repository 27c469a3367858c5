//! The program as a process of its own, which can be killed like one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::wait::DEADLINE;

/// How a gateway is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program.
    pub program: PathBuf,
    /// The configuration beside the addresses and the data directory.
    pub config: String,
    /// Development mode.
    pub dev: bool,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    options: Options,
    directory: TempDir,
    child: Child,
    addresses: HashMap<String, SocketAddr>,
    client: reqwest::Client,
}

impl Gateway {
    /// Starts the program in development mode on free ports, with an empty store.
    pub async fn start(program: &str) -> Self {
        Self::start_with(Options { program: program.into(), config: String::new(), dev: true })
            .await
    }

    /// Starts the program with a configuration, letting nobody in who is not known.
    pub async fn start_closed(program: &str, config: String) -> Self {
        Self::start_with(Options { program: program.into(), config, dev: false }).await
    }

    /// Starts the program with a configuration.
    pub async fn start_with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (child, addresses) = launch(&options, directory.path(), &HashMap::new()).await;
        let client = reqwest::Client::new();
        Self { options, directory, child, addresses, client }
    }

    /// Where it listens: `http`, `mqtt` or `admin`.
    #[must_use]
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.addresses[listener]
    }

    /// The URL of a path on the HTTP port.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("http"))
    }

    /// The directory of the store.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Kills it like a power failure would: nothing is flushed.
    pub async fn kill(&mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }

    /// Starts it again on the same store and the same ports.
    pub async fn restart(&mut self) {
        let (child, _) = launch(&self.options, self.directory.path(), &self.addresses).await;
        self.child = child;
    }

    /// Asks it to stop, and waits for that; gives back the exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        let pid = self.child.id().unwrap().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        let ended = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        ended.expect("the gateway stops in time").unwrap().code()
    }

    /// The process, for looking at its memory.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Asks the management API; stops the test on an error.
    pub async fn graphql(&self, query: &str, variables: Value) -> Value {
        let mut answer = self.graphql_raw(query, variables).await;
        assert!(answer["errors"].is_null(), "{query}: {}", answer["errors"]);
        answer["data"].take()
    }

    /// Asks the management API; gives back the whole answer.
    pub async fn graphql_raw(&self, query: &str, variables: Value) -> Value {
        let url = format!("http://{}/graphql", self.address("admin"));
        let body = json!({ "query": query, "variables": variables });
        let mut request = self.client.post(url).json(&body);
        if let Some(key) = self.admin_key() {
            request = request.bearer_auth(key);
        }
        request.send().await.unwrap().json().await.unwrap()
    }

    /// The key of the first administrator, which a gateway that is not in development mode makes.
    #[must_use]
    pub fn admin_key(&self) -> Option<String> {
        let key = std::fs::read_to_string(self.data().join("first-admin-key")).ok()?;
        Some(key.trim().to_owned())
    }

    /// Publishes one event in structured content mode, with a bearer token; gives back the status,
    /// the headers and the answer.
    pub async fn publish(
        &self,
        token: &str,
        event: &Value,
    ) -> (u16, reqwest::header::HeaderMap, Value) {
        let request = self.client.post(self.url("/events")).bearer_auth(token);
        let request = request.header("content-type", "application/cloudevents+json");
        let answer = request.body(event.to_string()).send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.json().await.unwrap_or_default())
    }

    /// Makes a subscription from an input.
    pub async fn subscribe(&self, input: Value) {
        let query = "mutation($in: SubscriptionInput!) { createSubscription(in: $in) { name } }";
        self.graphql(query, json!({ "in": input })).await;
    }

    /// What the management API says of a subscription.
    pub async fn subscription(&self, name: &str) -> Value {
        let query = "query($n: String!) { subscription(name: $n) { name state reason cursor waiting \
            inFlight retrying parked deadLetters delivered lost endpoint maxInFlight catchingUp } }";
        self.graphql(query, json!({ "n": name })).await["subscription"].take()
    }

    /// The sequence that the next event will have.
    pub async fn next_sequence(&self) -> u64 {
        self.graphql("{ nextSequence }", json!({})).await["nextSequence"].as_u64().unwrap()
    }

    /// The whole journal, in order.
    pub async fn journal(&self) -> Vec<Value> {
        let query = "query($after: String) { events(first: 1000, after: $after) { \
            data { sequence id source type subject cloudEvent sender { name method } \
            origin { protocol binding address clientId } } \
            pageInfo { endCursor hasNextPage } } }";
        let mut all = Vec::new();
        let mut after = Value::Null;
        loop {
            let mut page = self.graphql(query, json!({ "after": after })).await["events"].take();
            all.append(page["data"].as_array_mut().unwrap());
            if page["pageInfo"]["hasNextPage"] != true {
                return all;
            }
            after = page["pageInfo"]["endCursor"].take();
        }
    }
}

/// Runs the program until it has said where it listens.
async fn launch(
    options: &Options,
    directory: &Path,
    addresses: &HashMap<String, SocketAddr>,
) -> (Child, HashMap<String, SocketAddr>) {
    let file = directory.join("gateway.toml");
    std::fs::write(&file, &options.config).unwrap();
    let mut command = Command::new(&options.program);
    command.arg("serve").arg("--config").arg(&file).arg("--data").arg(directory.join("data"));
    if options.dev {
        command.arg("--dev");
    }
    for listener in ["http", "mqtt", "admin"] {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = addresses.get(listener).copied().unwrap_or(any);
        command.arg(format!("--{listener}")).arg(address.to_string());
    }
    command.stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut found = HashMap::new();
    let ready = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["listening", listener, address] => {
                    found.insert(listener.to_owned(), address.parse().unwrap());
                }
                ["ready"] => return,
                _ => {}
            }
        }
        panic!("the gateway ended before it was ready");
    };
    tokio::time::timeout(DEADLINE, ready).await.expect("the gateway is ready in time");
    (child, found)
}
