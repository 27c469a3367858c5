//! The program as a process of its own, which can be killed like one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::acme::free_port;
use crate::wait::DEADLINE;

/// Whoever is known may do everything: for suites that are about something else.
pub const OPEN_POLICY: &str = r#"
[[policy.rules]]
effect = "allow"
principals = ["*"]
actions = ["publish"]
sources = ["*"]

[[policy.rules]]
effect = "allow"
principals = ["*"]
actions = ["subscribe", "manage", "read"]
"#;

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

    /// Starts the program with a configuration, letting nobody in who is not known; whoever is may
    /// do everything.
    pub async fn start_closed(program: &str, mut config: String) -> Self {
        config.push_str(OPEN_POLICY);
        Self::start_with(Options { program: program.into(), config, dev: false }).await
    }

    /// Starts the program with a configuration.
    pub async fn start_with(options: Options) -> Self {
        Self::start_after(options, async |_| ()).await
    }

    /// The same, after something was done in the directory where the configuration is; the data
    /// directory is `data` in it.
    pub async fn start_after(options: Options, prepare: impl AsyncFnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path()).await;
        let (child, addresses) = launch(&options, directory.path(), &HashMap::new()).await;
        let client = reqwest::Client::new();
        Self { options, directory, child, addresses, client }
    }

    /// Starts the program with TLS on free ports: with an authority, and a certificate for
    /// `localhost`. The configuration may say more about `[tls]`, at its end.
    pub async fn start_tls(mut options: Options, tls: &str) -> Self {
        let listen = "[listen]\nhttps = \"127.0.0.1:0\"\nmqtts = \"127.0.0.1:0\"\n";
        options.config = format!("{}\n{listen}[tls]\n{tls}\n", options.config);
        let program = options.program.clone();
        Self::start_after(options, async |directory| {
            let mut init = Command::new(program);
            init.args(["cert", "init", "--host", "localhost", "--host", "127.0.0.1", "--data"]);
            let made = init.arg(directory.join("data")).output().await.unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        })
        .await
    }

    /// The directory with the configuration, and `data` in it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The certificate of the gateway's authority, where it has one.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.data().join("ca/ca.pem")
    }

    /// Lets it read its configuration, `config` now, again.
    pub async fn reload(&self, config: &str) {
        std::fs::write(self.directory.path().join("gateway.toml"), config).unwrap();
        let pid = self.pid().to_string();
        Command::new("kill").args(["-HUP", &pid]).status().await.unwrap();
    }

    /// The configuration that it was started with.
    #[must_use]
    pub fn config(&self) -> &str {
        &self.options.config
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

    /// The same, with another configuration.
    pub async fn restart_with(&mut self, config: &str) {
        config.clone_into(&mut self.options.config);
        self.restart().await;
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

    /// What senders have put into the journal, in order.
    pub async fn journal(&self) -> Vec<Value> {
        let mut events = self.whole_journal().await;
        events.retain(|event| event["source"] != "/event-gateway/audit");
        events
    }

    /// The whole journal, in order, with the audit log.
    pub async fn whole_journal(&self) -> Vec<Value> {
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
    let free = |name| (name, SocketAddr::from(([127, 0, 0, 1], free_port())));
    let mut listeners = HashMap::from(["http", "mqtt", "admin"].map(free));
    listeners.extend(addresses.iter().map(|(name, address)| (&**name, *address)));
    for (listener, address) in listeners {
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
