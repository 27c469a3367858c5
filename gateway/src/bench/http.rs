//! Load over HTTP/1.1: each keep-alive connection has one request under way. Requests are written
//! by hand, so that the generator costs little of what is to be measured.

use std::io;
use std::path::Path;
use std::time::Instant;

use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::transport::{Stream, Transport};
use super::{BenchError, HttpArgs, HttpMode, Report, Schedule, on_threads, share};

/// How wide an event's number is in a request, in digits.
const NUMBER_DIGITS: usize = 16;

pub(super) fn run(args: &HttpArgs) -> Result<Report, BenchError> {
    let target = Target::of(args)?;
    if args.batch == 0 || args.connections == 0 {
        return Err(BenchError::Argument { name: "batch", expected: "at least 1" });
    }
    let schedule = Schedule::new(&args.load);
    on_threads(&args.load, async |thread| {
        let count = share(args.connections, args.load.threads, thread);
        let connections = (0..count).map(|index| {
            let name = format!("{:x}-{thread}-{index}-", rand::random::<u32>());
            let target = &target;
            async move {
                let mut connection = Connection::open(args, target, &name).await?;
                let failed = |cause| failed(target, cause);
                connection.exchange(schedule).await.map_err(failed)?;
                Ok(connection.report)
            }
        });
        let mut total = Report::new(args.load.duration);
        try_join_all(connections).await?.into_iter().for_each(|report| total.add(report));
        Ok(total)
    })
}

fn failed(target: &Target, cause: io::Error) -> BenchError {
    BenchError::Connection { target: target.authority.clone(), cause }
}

/// Where requests go.
struct Target {
    authority: String,
    path: String,
    transport: Transport,
    /// What the request says of who sends it: a header line, or nothing.
    authorization: String,
}

impl Target {
    fn of(args: &HttpArgs) -> Result<Self, BenchError> {
        let (is_tls, authority, path) = parse_url(&args.target)?;
        let unreadable = |path: &Path, cause| BenchError::File { path: path.to_owned(), cause };
        let transport = match &args.ca_file {
            Some(file) if is_tls => {
                Transport::tls(&authority, file).map_err(|cause| unreadable(file, cause))?
            }
            None if is_tls => {
                let expected = "a file of certificate authorities for https";
                return Err(BenchError::Argument { name: "ca-file", expected });
            }
            _ => Transport::Plain,
        };
        let mut authorization = String::new();
        if let Some(file) = &args.token_file {
            let token = std::fs::read_to_string(file).map_err(|cause| unreadable(file, cause))?;
            authorization = format!("authorization: Bearer {}\r\n", token.trim());
        }
        Ok(Self { authority, path, transport, authorization })
    }
}

/// Whether a URL is for TLS, its host and port, and its path.
fn parse_url(url: &str) -> Result<(bool, String, String), BenchError> {
    let schemes = [("http://", false, 80), ("https://", true, 443)];
    let known = schemes.into_iter().find_map(|(scheme, is_tls, port)| {
        url.strip_prefix(scheme).map(|rest| (is_tls, port, rest))
    });
    let (is_tls, port, rest) = known.ok_or_else(|| BenchError::Target(url.to_owned()))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.is_empty() {
        return Err(BenchError::Target(url.to_owned()));
    }
    let mut authority = authority.to_owned();
    if !authority.contains(':') {
        authority = format!("{authority}:{port}");
    }
    Ok((is_tls, authority, format!("/{path}")))
}

/// A request that is sent again and again, with a new number in each place.
struct Request {
    bytes: Vec<u8>,
    numbers_at: Vec<usize>,
    events: u64,
}

impl Request {
    fn new(args: &HttpArgs, target: &Target, name: &str) -> Self {
        let payload = "x".repeat(args.load.payload.saturating_sub(2));
        let mut head = format!("POST {} HTTP/1.1\r\nhost: {}\r\n", target.path, target.authority);
        head.push_str(&target.authorization);
        for header in &args.header {
            head = format!("{head}{header}\r\n");
        }
        // The mark stands where the number goes.
        let mark = "#".repeat(NUMBER_DIGITS);
        let event = format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{name}{mark}\",\"source\":\"{}\",\
             \"type\":\"{}\",\"data\":\"{payload}\"}}",
            args.source, args.ty
        );
        let (media_type, body, events) = match args.mode {
            HttpMode::Binary => {
                head = format!(
                    "{head}ce-specversion: 1.0\r\nce-id: {name}{mark}\r\n\
                     ce-source: {}\r\nce-type: {}\r\n",
                    args.source, args.ty
                );
                ("application/json", format!("\"{payload}\""), 1)
            }
            HttpMode::Structured => ("application/cloudevents+json", event, 1),
            HttpMode::Batch => {
                let body = format!("[{}]", vec![event; args.batch].join(","));
                ("application/cloudevents-batch+json", body, args.batch as u64)
            }
        };
        let length = body.len();
        let text =
            format!("{head}content-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}");
        let numbers_at = text.match_indices(&mark).map(|(at, _)| at).collect();
        Self { bytes: text.into_bytes(), numbers_at, events }
    }

    /// Puts numbers from `next` on into their places; gives back the next one.
    fn number(&mut self, mut next: u64) -> u64 {
        for at in &self.numbers_at {
            let mut value = next;
            for digit in self.bytes[*at..at + NUMBER_DIGITS].iter_mut().rev() {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
            next += 1;
        }
        next
    }
}

struct Connection {
    stream: Box<dyn Stream>,
    request: Request,
    payload_bytes: u64,
    report: Report,
    input: Vec<u8>,
}

impl Connection {
    async fn open(args: &HttpArgs, target: &Target, name: &str) -> Result<Self, BenchError> {
        let stream = target.transport.connect(&target.authority).await;
        let stream = stream.map_err(|cause| failed(target, cause))?;
        let request = Request::new(args, target, name);
        Ok(Self {
            stream,
            payload_bytes: args.load.payload as u64 * request.events,
            request,
            report: Report::new(args.load.duration),
            input: Vec::with_capacity(4096),
        })
    }

    async fn exchange(&mut self, schedule: Schedule) -> io::Result<()> {
        let mut next = 0;
        loop {
            let begun = Instant::now();
            if begun >= schedule.ends {
                return Ok(());
            }
            next = self.request.number(next);
            self.stream.write_all(&self.request.bytes).await?;
            self.stream.flush().await?;
            let status = self.answer().await?;
            let now = Instant::now();
            if begun < schedule.begins || now > schedule.ends {
                continue;
            }
            if (200..300).contains(&status) {
                self.report.acknowledged(self.request.events, self.payload_bytes, now - begun);
            } else {
                self.report.error(&status.to_string(), self.request.events);
            }
        }
    }

    /// Reads one answer; gives back its status.
    async fn answer(&mut self) -> io::Result<u16> {
        self.input.clear();
        loop {
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some((status, head, body)) = parse(&self.input) else { continue };
            let Some(length) = body else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "an answer without content-length",
                ));
            };
            while self.input.len() < head + length {
                if self.stream.read_buf(&mut self.input).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            return Ok(status);
        }
    }
}

/// Status, size of the head and, if it says so, of the body; none when the head is not complete.
fn parse(bytes: &[u8]) -> Option<(u16, usize, Option<usize>)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let length = if status == 204 { Some(0) } else { length };
    Some((status, head, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_http_or_https() {
        let parsed = |url| parse_url(url).unwrap();
        assert_eq!(parsed("http://127.0.0.1:8080/events").1, "127.0.0.1:8080");
        assert_eq!(parsed("http://host"), (false, "host:80".to_owned(), "/".to_owned()));
        assert_eq!(parsed("https://host/x"), (true, "host:443".to_owned(), "/x".to_owned()));
        for bad in ["ftp://x/", "127.0.0.1:80", "http:///x"] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_are_taken_apart() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(parse(whole), Some((202, whole.len() - 2, Some(2))));
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n"), Some((204, 27, Some(0))));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Some((200, 19, None)));
        assert_eq!(parse(&whole[..20]), None);
    }

    #[test]
    fn every_event_of_a_request_gets_its_own_number() {
        let mut request = Request {
            bytes: b"a################b################".to_vec(),
            numbers_at: vec![1, 18],
            events: 2,
        };
        assert_eq!(request.number(41), 43);
        assert_eq!(request.bytes, b"a0000000000000041b0000000000000042");
    }
}
