//! `subscription`: see and change who gets which events.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::CliError;
use super::client::Client;
use super::output::Output;

/// The fields that an update starts from, by the names of the input.
const INPUT_FIELDS: &str = "name namespace endpoint source eventType eventTypeVersion filters contentMode \
    maxInFlight pushRequestTimeoutMs includeSubscriptionNameHeader ordering orderingKey \
    retry { initialDelayMs maxDelayMs maxAttempts maxAgeSeconds } holdRetention";
/// Where a subscription stands.
const STATE_FIELDS: &str = "key signingSecretCount createdAt updatedAt state reason cursor waiting \
    inFlight retrying parked deadLetters delivered lost catchingUp lastDeliveredAt oldestNeeded \
    conditions { type status reason message lastTransitionTime } \
    auth { credential { ...credential } additionalHeaders additionalQueryParams \
        requestAuth { csrf { tokenEndpointURL credential { ...credential } additionalHeaders \
            additionalQueryParams } } certificate { subject issuer serial notAfter } }";
/// What is shown of a credential.
const CREDENTIAL: &str = " fragment credential on CredentialData { \
    ... on BasicCredentialData { username } \
    ... on OAuthCredentialData { clientId url scopes audience resource clientAuthentication } }";

/// What can be done with subscriptions.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// All of them.
    List,
    /// One of them.
    Get {
        /// Its name, or its namespace, a slash and its name.
        name: String,
    },
    /// Make one.
    Create(Box<DefinitionArgs>),
    /// Change one; what is not given stays as it is.
    Update(Box<DefinitionArgs>),
    /// Remove one, with everything that it has outstanding.
    Delete {
        /// Its name, or its namespace, a slash and its name.
        name: String,
    },
    /// Make no more attempts; events wait.
    Pause {
        /// Its name, or its namespace, a slash and its name.
        name: String,
    },
    /// Go on.
    Resume {
        /// Its name, or its namespace, a slash and its name.
        name: String,
    },
    /// Deliver every matching event (again) from a place in the journal on.
    Rewind {
        /// Its name, or its namespace, a slash and its name.
        name: String,
        /// From this sequence on.
        #[arg(long, conflicts_with = "to_time", required_unless_present = "to_time")]
        to_sequence: Option<u64>,
        /// From this instant (RFC 3339) on.
        #[arg(long)]
        to_time: Option<String>,
    },
    /// Send a test event to its receiver.
    Test {
        /// Its name, or its namespace, a slash and its name.
        name: String,
    },
}

/// What a subscription is to be.
#[derive(Debug, Args)]
pub(crate) struct DefinitionArgs {
    /// Its name, after its namespace and a slash if it has one.
    name: String,
    /// The http or https URL that events are sent to.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Only events of this source.
    #[arg(long)]
    source: Option<String>,
    /// Only events of this type.
    #[arg(long = "type")]
    event_type: Option<String>,
    /// Only events whose extension eventtypeversion is this.
    #[arg(long)]
    type_version: Option<String>,
    /// Only events that these filters let pass (JSON list: exact, prefix, suffix, all, any, not, sql).
    #[arg(long, value_name = "JSON")]
    filters: Option<String>,
    /// How events are written on the wire.
    #[arg(long, value_parser = ["KYMA", "BINARY", "STRUCTURED"], ignore_case = true)]
    content_mode: Option<String>,
    /// How many attempts may be under way at once.
    #[arg(long)]
    max_in_flight: Option<u32>,
    /// How long one attempt may take, in milliseconds.
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u32>,
    /// Whether the header kyma-subscription names the subscription.
    #[arg(long)]
    name_header: Option<bool>,
    /// Whether events of one key are handed over one after another.
    #[arg(long, value_parser = ["NONE", "KEY"], ignore_case = true)]
    ordering: Option<String>,
    /// The attribute that is the key.
    #[arg(long)]
    ordering_key: Option<String>,
    /// The ceiling of the first retry delay, in milliseconds.
    #[arg(long, value_name = "MS")]
    retry_initial_delay_ms: Option<u32>,
    /// The highest ceiling of a retry delay, in milliseconds.
    #[arg(long, value_name = "MS")]
    retry_max_delay_ms: Option<u32>,
    /// After so many attempts an event becomes a dead letter.
    #[arg(long)]
    retry_max_attempts: Option<u32>,
    /// So long after the first attempt an event becomes a dead letter, in seconds.
    #[arg(long, value_name = "S")]
    retry_max_age_s: Option<u32>,
    /// Where it begins, when it is made.
    #[arg(long, value_parser = ["NOW", "EARLIEST"], ignore_case = true)]
    start_at: Option<String>,
    /// Files with the secrets that sign deliveries (whsec_...), newest first.
    #[arg(long, value_name = "FILE")]
    signing_secret_file: Vec<PathBuf>,
    /// A file (TOML or JSON) that says how the gateway authenticates towards the receiver:
    /// credential, additionalHeaders, additionalQueryParams, requestAuth, certificate.
    #[arg(long, value_name = "FILE", conflicts_with = "no_auth")]
    auth_file: Option<PathBuf>,
    /// No longer authenticate towards the receiver.
    #[arg(long)]
    no_auth: bool,
    /// Whether retention waits for this subscription.
    #[arg(long)]
    hold_retention: Option<bool>,
}

pub(super) async fn execute(
    command: Command,
    client: Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        Command::List => list(&client, output).await,
        Command::Get { name } => {
            let found = get(&client, &name, &format!("{INPUT_FIELDS} {STATE_FIELDS}")).await?;
            output.object(&found);
            Ok(())
        }
        Command::Create(args) => {
            let input = overlay(Map::new(), &args)?;
            let made = change(&client, "createSubscription", None, Some(input)).await?;
            output.object(&made);
            Ok(())
        }
        Command::Update(args) => {
            let old = get(&client, &args.name, INPUT_FIELDS).await?;
            let old = old.as_object().cloned().unwrap_or_default();
            let input = overlay(old, &args)?;
            let name = Some(&*args.name);
            output.object(&change(&client, "updateSubscription", name, Some(input)).await?);
            Ok(())
        }
        Command::Delete { name } => simple(&client, "deleteSubscription", &name, output).await,
        Command::Pause { name } => simple(&client, "pauseSubscription", &name, output).await,
        Command::Resume { name } => simple(&client, "resumeSubscription", &name, output).await,
        Command::Rewind { name, to_sequence, to_time } => {
            let query = format!(
                "mutation($n: String!, $s: Int, $t: String) {{ rewindSubscription(name: $n, \
                    toSequence: $s, toTime: $t) {{ {INPUT_FIELDS} {STATE_FIELDS} }} }}{CREDENTIAL}"
            );
            let variables = json!({ "n": name, "s": to_sequence, "t": to_time });
            output.object(&client.graphql(&query, variables, "rewindSubscription").await?);
            Ok(())
        }
        Command::Test { name } => test(&client, &name, output).await,
    }
}

async fn list(client: &Client, output: &mut Output) -> Result<(), CliError> {
    let query = format!(
        "query($after: String) {{ subscriptions(first: 500, after: $after) {{ data {{ \
            {INPUT_FIELDS} {STATE_FIELDS} }} pageInfo {{ endCursor hasNextPage }} }} }}{CREDENTIAL}"
    );
    let mut all = Vec::new();
    let mut after = Value::Null;
    loop {
        let mut page = client.graphql(&query, json!({ "after": after }), "subscriptions").await?;
        if let Value::Array(data) = page["data"].take() {
            all.extend(data);
        }
        if page["pageInfo"]["hasNextPage"] != true {
            break;
        }
        after = page["pageInfo"]["endCursor"].take();
    }
    let columns = [
        ("NAME", "key"),
        ("STATE", "state"),
        ("WAITING", "waiting"),
        ("RETRYING", "retrying"),
        ("DEAD", "deadLetters"),
        ("DELIVERED", "delivered"),
        ("ENDPOINT", "endpoint"),
        ("REASON", "reason"),
    ];
    output.list(&Value::Array(all), &columns);
    Ok(())
}

async fn get(client: &Client, name: &str, fields: &str) -> Result<Value, CliError> {
    let fragment = if fields.contains("...credential") { CREDENTIAL } else { "" };
    let query = format!("query($n: String!) {{ subscription(name: $n) {{ {fields} }} }}{fragment}");
    let found = client.graphql(&query, json!({ "n": name }), "subscription").await?;
    if found.is_null() {
        return Err(CliError::Unsuccessful(format!("there is no subscription called {name:?}")));
    }
    Ok(found)
}

async fn change(
    client: &Client,
    mutation: &str,
    name: Option<&str>,
    input: Option<Value>,
) -> Result<Value, CliError> {
    let (mut declared, mut given) = (Vec::new(), Vec::new());
    if name.is_some() {
        declared.push("$n: String!");
        given.push("name: $n");
    }
    if input.is_some() {
        declared.push("$in: SubscriptionInput!");
        given.push("in: $in");
    }
    let query = format!(
        "mutation({}) {{ {mutation}({}) {{ {INPUT_FIELDS} {STATE_FIELDS} }} }}{CREDENTIAL}",
        declared.join(", "),
        given.join(", ")
    );
    Ok(client.graphql(&query, json!({ "n": name, "in": input }), mutation).await?)
}

async fn simple(
    client: &Client,
    mutation: &str,
    name: &str,
    output: &mut Output,
) -> Result<(), CliError> {
    output.object(&change(client, mutation, Some(name), None).await?);
    Ok(())
}

async fn test(client: &Client, name: &str, output: &mut Output) -> Result<(), CliError> {
    let query = "mutation($n: String!) \
        { testSubscription(name: $n) { delivered status reason latencyMs } }";
    let result = client.graphql(query, json!({ "n": name }), "testSubscription").await?;
    output.object(&result);
    if result["delivered"] == true {
        return Ok(());
    }
    Err(CliError::Unsuccessful("the test event did not arrive".to_owned()))
}

/// The input that the given arguments make of `base`.
fn overlay(base: Map<String, Value>, args: &DefinitionArgs) -> Result<Value, CliError> {
    let mut input = base;
    let filters = args.filters.as_deref().map(serde_json::from_str::<Value>).transpose();
    let filters = filters
        .map_err(|error| CliError::Unsuccessful(format!("--filters: expected JSON: {error}")))?;
    let (namespace, name) = match args.name.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, &*args.name),
    };
    let upper = |text: &Option<String>| text.as_ref().map(|text| text.to_uppercase());
    let given = [
        ("name", Some(json!(name))),
        ("namespace", namespace.map(|v| json!(v))),
        ("endpoint", args.endpoint.as_ref().map(|v| json!(v))),
        ("source", args.source.as_ref().map(|v| json!(v))),
        ("eventType", args.event_type.as_ref().map(|v| json!(v))),
        ("eventTypeVersion", args.type_version.as_ref().map(|v| json!(v))),
        ("filters", filters),
        ("contentMode", upper(&args.content_mode).map(|v| json!(v))),
        ("maxInFlight", args.max_in_flight.map(|v| json!(v))),
        ("pushRequestTimeoutMs", args.timeout_ms.map(|v| json!(v))),
        ("includeSubscriptionNameHeader", args.name_header.map(|v| json!(v))),
        ("ordering", upper(&args.ordering).map(|v| json!(v))),
        ("orderingKey", args.ordering_key.as_ref().map(|v| json!(v))),
        ("startAt", upper(&args.start_at).map(|v| json!(v))),
        ("holdRetention", args.hold_retention.map(|v| json!(v))),
        ("signingSecrets", secrets(&args.signing_secret_file)?),
        (
            "auth",
            if args.no_auth {
                Some(Value::Null)
            } else {
                auth_file("--auth-file", args.auth_file.as_deref())?
            },
        ),
    ];
    input.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    let retry = [
        ("initialDelayMs", args.retry_initial_delay_ms),
        ("maxDelayMs", args.retry_max_delay_ms),
        ("maxAttempts", args.retry_max_attempts),
        ("maxAgeSeconds", args.retry_max_age_s),
    ];
    for (name, value) in retry.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        input.entry("retry").or_insert_with(|| json!({}))[name] = json!(value);
    }
    Ok(Value::Object(input))
}

/// What the file that an option names says. Nothing of it is quoted when it cannot be read.
pub(super) fn auth_file(option: &str, file: Option<&Path>) -> Result<Option<Value>, CliError> {
    let Some(path) = file else { return Ok(None) };
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|cause| CliError::Io { what: shown.to_string(), cause })?;
    let line = |at: usize| text[..at.min(text.len())].lines().count().max(1);
    let read = if text.trim_start().starts_with('{') {
        serde_json::from_str(&text)
            .map_err(|error| format!("expected JSON, and line {} is not", error.line()))
    } else {
        toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            format!("expected TOML, and line {} is not", line(at))
        })
    };
    let unfit = |what| CliError::Unsuccessful(format!("{option} {shown}: {what}"));
    read.map(Some).map_err(unfit)
}

fn secrets(files: &[PathBuf]) -> Result<Option<Value>, CliError> {
    if files.is_empty() {
        return Ok(None);
    }
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path);
        let text =
            text.map_err(|cause| CliError::Io { what: path.display().to_string(), cause })?;
        Ok(Value::from(text.trim()))
    };
    files.iter().map(read).collect::<Result<Vec<_>, _>>().map(|list| Some(Value::Array(list)))
}
