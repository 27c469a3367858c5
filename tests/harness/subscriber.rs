//! A receiver of pushed events that does what it is told, and remembers what it was sent.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the receiver does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Answers this status, with these headers.
    Status(u16, Vec<(String, String)>),
    /// Reads the request and never answers.
    Hang,
    /// Answers this status, announces a body, and closes in the middle of it.
    CloseMidBody(u16),
    /// Closes without an answer.
    Close,
    /// Answers this status with a body of so many bytes.
    Body(u16, usize),
    /// Answers this status with this body.
    Text(u16, String),
    /// Waits, then answers 200.
    Slow(Duration),
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The request path.
    pub path: String,
    /// The headers, by lower-case name.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// When it was complete.
    pub at: Instant,
}

impl Pushed {
    /// The event's id in binary content mode.
    #[must_use]
    pub fn id(&self) -> &str {
        self.headers.get("ce-id").map_or("", String::as_str)
    }
}

type Script = Box<dyn Fn(&Pushed, usize) -> Reaction + Send + Sync>;

/// A running receiver.
pub struct Subscriber {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    script: Script,
    pushed: Mutex<Vec<Pushed>>,
    connections: Mutex<usize>,
}

impl Subscriber {
    /// Answers 200 to everything.
    pub async fn start() -> Self {
        Self::scripted(|_, _| Reaction::Status(200, Vec::new())).await
    }

    /// Does what `script` says of each request and how many came before it.
    pub async fn scripted(
        script: impl Fn(&Pushed, usize) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    /// The same on a given address.
    pub async fn at(
        address: SocketAddr,
        script: impl Fn(&Pushed, usize) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            pushed: Mutex::default(),
            connections: Mutex::default(),
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            spawn(async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    *shared.connections.lock().unwrap() += 1;
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move { serve(stream, &shared).await });
                }
            })
        };
        Self { address, shared, accepting }
    }

    /// The URL to push to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that came, in order.
    #[must_use]
    pub fn pushed(&self) -> Vec<Pushed> {
        self.shared.pushed.lock().unwrap().clone()
    }

    /// How many requests came.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.pushed.lock().unwrap().len()
    }

    /// The id of each event that came in binary content mode.
    #[must_use]
    pub fn ids(&self) -> HashSet<String> {
        self.shared.pushed.lock().unwrap().iter().map(|pushed| pushed.id().to_owned()).collect()
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn spawn(future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    #[expect(clippy::disallowed_methods, reason = "the harness ends with the test")]
    tokio::spawn(future)
}

async fn serve(stream: TcpStream, shared: &Shared) {
    drop(stream.set_nodelay(true));
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let reaction = {
            let mut pushed = shared.pushed.lock().unwrap();
            let reaction = (shared.script)(&request, pushed.len());
            pushed.push(request);
            reaction
        };
        if react(&mut stream, reaction).await.is_none() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Pushed> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|count| *count > 0)?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Pushed { path, headers, body, at: Instant::now() })
}

/// None when the connection is to be closed.
async fn react(stream: &mut BufReader<TcpStream>, reaction: Reaction) -> Option<()> {
    if let Reaction::Text(status, text) = reaction {
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", text.len());
        return stream.write_all(format!("{head}{text}").as_bytes()).await.ok();
    }
    let (status, headers, announced, sent) = match reaction {
        Reaction::Status(status, headers) => (status, headers, 0, 0),
        Reaction::Slow(wait) => {
            tokio::time::sleep(wait).await;
            (200, Vec::new(), 0, 0)
        }
        Reaction::CloseMidBody(status) => (status, Vec::new(), 1000, 10),
        Reaction::Body(status, length) => (status, Vec::new(), length, length),
        Reaction::Hang => std::future::pending().await,
        Reaction::Close | Reaction::Text(..) => return None,
    };
    let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {announced}\r\n");
    for (name, value) in headers {
        head = format!("{head}{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.ok()?;
    stream.write_all(&vec![b'x'; sent]).await.ok()?;
    (sent == announced).then_some(())
}
