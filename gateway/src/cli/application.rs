//! `application`: register and see what publishes events.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::CliError;
use super::client::Client;
use super::output::Output;

/// What is shown of an application.
const FIELDS: &str = "id name description providerName labels createdAt updatedAt \
    eventingConfiguration { defaultURL cloudEventsURL } eventAPIs { totalCount }";

/// What is shown of what an application holds.
const USAGE: &str = "application events bytes limits { retentionHours retentionBytes quotaBytes \
    eventsPerSecond burstEvents mqttConnections mqttSubscriptions mqttQueueMessages \
    mqttQueueBytes mqttInflightMessages } rates { seconds eventsPerSecond bytesPerSecond } \
    forecastBytes quotaFullInDays";

/// What can be done with applications.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register one.
    Create(New),
    /// All of them.
    List,
    /// One of them.
    Get {
        /// Its name.
        name: String,
    },
    /// Set what one may send and hold: all of it, and what is not given has no limit of its own.
    Limit {
        /// Its name.
        name: String,
        /// What it may.
        #[command(flatten)]
        limits: Limits,
    },
    /// What each holds, and will hold.
    Usage {
        /// One alone.
        name: Option<String>,
        /// How far to look ahead, in days.
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// Remove one with its event definitions.
    Delete {
        /// Its name.
        name: String,
    },
}

/// An application, or a runtime, to be registered.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// Its name.
    name: String,
    /// Prose.
    #[arg(long)]
    description: Option<String>,
    /// A file (JSON) with labels: an object of names and values.
    #[arg(long, value_name = "FILE")]
    labels_file: Option<PathBuf>,
}

/// What an application may send and hold.
#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// Events are let go at this age, in hours.
    #[arg(long, value_name = "HOURS")]
    retention_hours: Option<u32>,
    /// The oldest events are let go when there are more bytes than this.
    #[arg(long, value_name = "BYTES")]
    retention_bytes: Option<u64>,
    /// Events are refused when there are this many bytes.
    #[arg(long, value_name = "BYTES")]
    quota_bytes: Option<u64>,
    /// Events that come faster than this are refused.
    #[arg(long, value_name = "EVENTS")]
    events_per_second: Option<u32>,
    /// How many events may come at once after a pause.
    #[arg(long, value_name = "EVENTS", requires = "events_per_second")]
    burst_events: Option<u32>,
    /// How many MQTT connections there may be at once.
    #[arg(long, value_name = "CONNECTIONS")]
    mqtt_connections: Option<u32>,
    /// How many subscriptions MQTT sessions may have together.
    #[arg(long, value_name = "SUBSCRIPTIONS")]
    mqtt_subscriptions: Option<u32>,
    /// How many messages may wait for MQTT sessions together.
    #[arg(long, value_name = "MESSAGES")]
    mqtt_queue_messages: Option<u64>,
    /// How many bytes the events may have that wait for them.
    #[arg(long, value_name = "BYTES")]
    mqtt_queue_bytes: Option<u64>,
    /// How many messages of QoS 1 and 2 may be under way to MQTT clients together.
    #[arg(long, value_name = "MESSAGES")]
    mqtt_inflight_messages: Option<u32>,
}

impl Limits {
    /// The input that they are.
    fn input(&self) -> Value {
        json!({
            "retentionHours": self.retention_hours,
            "retentionBytes": self.retention_bytes,
            "quotaBytes": self.quota_bytes,
            "eventsPerSecond": self.events_per_second,
            "burstEvents": self.burst_events,
            "mqttConnections": self.mqtt_connections,
            "mqttSubscriptions": self.mqtt_subscriptions,
            "mqttQueueMessages": self.mqtt_queue_messages,
            "mqttQueueBytes": self.mqtt_queue_bytes,
            "mqttInflightMessages": self.mqtt_inflight_messages,
        })
    }
}

impl New {
    /// The input that it is.
    pub(super) fn input(&self) -> Result<Value, CliError> {
        let mut input = Map::new();
        input.insert("name".to_owned(), json!(self.name));
        input.insert("description".to_owned(), json!(self.description));
        if let Some(path) = &self.labels_file {
            let shown = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|cause| CliError::Io { what: shown.to_string(), cause })?;
            let labels: Value = serde_json::from_str(&text).map_err(|error| {
                CliError::Unsuccessful(format!("--labels-file {shown}: expected JSON: {error}"))
            })?;
            input.insert("labels".to_owned(), labels);
        }
        Ok(Value::Object(input))
    }
}

pub(super) async fn execute(
    command: Command,
    client: Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        Command::Create(new) => {
            let query = format!(
                "mutation($in: ApplicationInput!) {{ createApplication(in: $in) {{ {FIELDS} }} }}"
            );
            let variables = json!({ "in": new.input()? });
            output.object(&client.graphql(&query, variables, "createApplication").await?);
        }
        Command::List => {
            let columns = [
                ("NAME", "name"),
                ("ID", "id"),
                ("DEFINITIONS", "eventAPIs.totalCount"),
                ("EVENT URL", "eventingConfiguration.defaultURL"),
                ("CREATED AT", "createdAt"),
            ];
            let all = client.all("applications(first: 500, after: $after)", FIELDS).await?;
            output.list(&Value::Array(all), &columns);
        }
        Command::Get { name } => output.object(&get(&client, &name, FIELDS).await?),
        Command::Limit { name, limits } => {
            let query = format!(
                "mutation($n: String!, $in: ApplicationLimitsInput!) \
                 {{ limitApplication(name: $n, in: $in) {{ {USAGE} }} }}"
            );
            let variables = json!({ "n": name, "in": limits.input() });
            output.object(&client.graphql(&query, variables, "limitApplication").await?);
        }
        Command::Usage { name: Some(name), days } => {
            let query = format!(
                "query($n: String!, $d: Int!) {{ applicationUsage(name: $n, days: $d) {{ {USAGE} }} }}"
            );
            let variables = json!({ "n": name, "d": days });
            output.object(&client.graphql(&query, variables, "applicationUsage").await?);
        }
        Command::Usage { name: None, days } => {
            let query = format!(
                "query($d: Int!) {{ storagePlan(days: $d) {{ applications {{ {USAGE} }} }} }}"
            );
            let mut plan = client.graphql(&query, json!({ "d": days }), "storagePlan").await?;
            let columns = [
                ("NAME", "application"),
                ("EVENTS", "events"),
                ("BYTES", "bytes"),
                ("FORECAST BYTES", "forecastBytes"),
                ("QUOTA BYTES", "limits.quotaBytes"),
                ("QUOTA FULL IN DAYS", "quotaFullInDays"),
            ];
            output.list(&plan["applications"].take(), &columns);
        }
        Command::Delete { name } => {
            let id = get(&client, &name, "id").await?["id"].take();
            let query =
                format!("mutation($id: ID!) {{ deleteApplication(id: $id) {{ {FIELDS} }} }}");
            let gone = client.graphql(&query, json!({ "id": id }), "deleteApplication").await?;
            output.object(&gone);
        }
    }
    Ok(())
}

/// The application called `name`.
pub(super) async fn get(client: &Client, name: &str, fields: &str) -> Result<Value, CliError> {
    let query = format!("query($n: String!) {{ application(name: $n) {{ {fields} }} }}");
    let found = client.graphql(&query, json!({ "n": name }), "application").await?;
    if found.is_null() {
        return Err(CliError::Unsuccessful(format!("there is no application called {name:?}")));
    }
    Ok(found)
}
