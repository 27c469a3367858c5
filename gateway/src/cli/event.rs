//! `event`: publish, find and follow events.

use std::io::Read as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use eg_event::{CloudEvent, Data, json as event_json};
use serde_json::{Value, json};

use super::CliError;
use super::client::{Client, ClientError};
use super::output::Output;

/// How often a followed journal is asked for more.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

const EVENT_FIELDS: &str = "sequence id source type subject receivedAt sender { name method } \
    origin { protocol binding address remote clientId } dataBytes cloudEvent";

/// What can be done with events.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Hand an event over, and print the receipt.
    Publish(PublishArgs),
    /// Say where an event is, and why it did or did not arrive.
    Get {
        /// The event's source.
        source: String,
        /// The event's id.
        id: String,
    },
    /// Print the journal.
    Tail {
        /// Begin after this sequence; by default with what comes next.
        #[arg(long)]
        after: Option<u64>,
        /// Go on with what comes in.
        #[arg(short, long)]
        follow: bool,
        /// Stop after so many events.
        #[arg(short = 'n', long)]
        count: Option<u64>,
    },
    /// Deliver a stored event to a subscription (again).
    Replay {
        /// The subscription.
        subscription: String,
        /// The event's source.
        source: String,
        /// The event's id.
        id: String,
    },
}

/// The event to publish.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The gateway's HTTP port.
    #[arg(
        long,
        value_name = "URL",
        env = "EVENT_GATEWAY_HTTP",
        default_value = "http://127.0.0.1:8080"
    )]
    gateway: String,
    /// The event's type.
    #[arg(long = "type")]
    ty: String,
    /// The event's source, a URI-reference.
    #[arg(long)]
    source: String,
    /// The event's id; by default a new one.
    #[arg(long)]
    id: Option<String>,
    /// What the event is about.
    #[arg(long)]
    subject: Option<String>,
    /// The media type of the payload.
    #[arg(long, default_value = "application/json")]
    content_type: String,
    /// An extension attribute.
    #[arg(short, long = "extension", value_name = "NAME=VALUE")]
    extensions: Vec<String>,
    /// The payload; `-` reads it from standard input, `@FILE` from a file.
    #[arg(long)]
    data: Option<String>,
}

pub(super) async fn execute(
    command: Command,
    client: Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        Command::Publish(args) => {
            let event = build(&args)?;
            let mut text = Vec::new();
            event_json::encode(&event, &mut text);
            let text = String::from_utf8_lossy(&text).into_owned();
            output.object(&client.publish(&args.gateway, text).await?);
            Ok(())
        }
        Command::Get { source, id } => get(&client, &source, &id, output).await,
        Command::Tail { after, follow, count } => {
            tail(&client, (after, follow, count), output).await
        }
        Command::Replay { subscription, source, id } => {
            let query = "mutation($s: String!, $source: String!, $id: String!) \
                { replayEvent(subscription: $s, source: $source, id: $id) }";
            let variables = json!({ "s": subscription, "source": source, "id": id });
            let sequence = client.graphql(query, variables, "replayEvent").await?;
            output.object(&json!({ "subscription": subscription, "sequence": sequence }));
            Ok(())
        }
    }
}

fn build(args: &PublishArgs) -> Result<CloudEvent, CliError> {
    let wrong = |error: eg_event::InvalidAttribute| CliError::Unsuccessful(error.to_string());
    let mut builder = CloudEvent::builder();
    builder.implied_spec_version();
    let id = args.id.clone().unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
    builder.attribute("id", &id).map_err(wrong)?;
    builder.attribute("source", &args.source).map_err(wrong)?;
    builder.attribute("type", &args.ty).map_err(wrong)?;
    if let Some(subject) = &args.subject {
        builder.attribute("subject", subject).map_err(wrong)?;
    }
    for extension in &args.extensions {
        let (name, value) = extension
            .split_once('=')
            .ok_or_else(|| CliError::Unsuccessful(format!("{extension:?}: expected NAME=VALUE")))?;
        builder.attribute(name, value).map_err(wrong)?;
    }
    if let Some(data) = &args.data {
        builder.attribute("datacontenttype", &args.content_type).map_err(wrong)?;
        builder.data(Data::from_body(Some(&args.content_type), read(data)?.into()));
    }
    builder.build().map_err(wrong)
}

fn read(data: &str) -> Result<Vec<u8>, CliError> {
    let failed = |cause| CliError::Io { what: data.to_owned(), cause };
    match data.strip_prefix('@') {
        Some(path) => std::fs::read(path).map_err(failed),
        None if data == "-" => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
            Ok(bytes)
        }
        None => Ok(data.as_bytes().to_vec()),
    }
}

/// Prints where an event is, and why it did or did not arrive.
pub(super) async fn get(
    client: &Client,
    source: &str,
    id: &str,
    output: &mut Output,
) -> Result<(), CliError> {
    let journey = journey(client, source, id).await?;
    if journey.is_null() {
        let text = format!("the journal has no event {id:?} of {source:?}");
        return Err(CliError::Unsuccessful(text));
    }
    if output.is_json() {
        output.json(&journey);
    } else {
        print_journey(&journey, output);
    }
    Ok(())
}

/// Asks for the way of an event.
async fn journey(client: &Client, source: &str, id: &str) -> Result<Value, ClientError> {
    let query = format!(
        "query($source: String!, $id: String!) {{ event(source: $source, id: $id) {{ \
            id source sequence status event {{ {EVENT_FIELDS} }} subscriptions {{ \
            name matched reason state rests nextAttemptAt changedSince \
            attempts {{ number at latencyMs status verdict reason }} }} }} }}"
    );
    client.graphql(&query, json!({ "source": source, "id": id }), "event").await
}

/// Prints the way of an event for people.
fn print_journey(journey: &Value, output: &mut Output) {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let event = &journey["event"];
    let origin = &event["origin"];
    output.line(&format!("event {} of {}", text(&event["id"]), text(&event["source"])));
    output.line(&format!("  type      {}", text(&event["type"])));
    output.line(&format!(
        "  received  {} as sequence {}",
        text(&event["receivedAt"]),
        event["sequence"]
    ));
    output.line(&format!(
        "  from      {} ({}) at {}",
        text(&event["sender"]["name"]),
        text(&event["sender"]["method"]),
        text(&origin["remote"])
    ));
    output.line(&format!(
        "  over      {}, {} at {}",
        text(&origin["protocol"]),
        text(&origin["binding"]),
        text(&origin["address"])
    ));
    output.line(&format!("  status    {}", text(&journey["status"])));
    let subscriptions = journey["subscriptions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if subscriptions.is_empty() {
        output.line("  no subscriptions");
    }
    for considered in subscriptions {
        output.line(&format!("  -> {}: {}", text(&considered["name"]), text(&considered["rests"])));
        if considered["matched"] == true {
            output.line(&format!("       matched: {}", text(&considered["reason"])));
        }
        for attempt in considered["attempts"].as_array().into_iter().flatten() {
            let status = attempt["status"].as_u64().map_or_else(String::new, |s| format!(" {s}"));
            let reason = attempt["reason"].as_str().map_or_else(String::new, |r| format!(": {r}"));
            output.line(&format!(
                "       attempt {} at {} took {} ms: {}{status}{reason}",
                attempt["number"],
                text(&attempt["at"]),
                attempt["latencyMs"],
                text(&attempt["verdict"]),
            ));
        }
    }
}

async fn tail(
    client: &Client,
    (after, follow, count): (Option<u64>, bool, Option<u64>),
    output: &mut Output,
) -> Result<(), CliError> {
    let mut after = if let Some(after) = after {
        after
    } else {
        let next = client.graphql("{ nextSequence }", json!({}), "nextSequence").await?;
        next.as_u64().unwrap_or(1).saturating_sub(1)
    };
    let mut left = count.unwrap_or(u64::MAX);
    let query = format!(
        "query($after: String) {{ events(first: 500, after: $after) {{ data {{ {EVENT_FIELDS} }} \
            pageInfo {{ hasNextPage }} }} }}"
    );
    while left > 0 {
        let page = client.graphql(&query, json!({ "after": after.to_string() }), "events").await?;
        let events = page["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        for event in events.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            after = event["sequence"].as_u64().unwrap_or(after);
            left -= 1;
            print_event(event, output);
        }
        let more = page["pageInfo"]["hasNextPage"].as_bool().unwrap_or(false);
        if !follow && !more {
            break;
        }
        if !more {
            tokio::time::sleep(FOLLOW_INTERVAL).await;
        }
    }
    Ok(())
}

fn print_event(event: &Value, output: &mut Output) {
    let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
    if output.is_json() {
        return output.json(event);
    }
    output.line(&format!(
        "{:>10}  {}  {}  {}  {}",
        event["sequence"],
        text("receivedAt"),
        text("type"),
        text("source"),
        text("id")
    ));
}
