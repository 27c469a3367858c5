//! `quarantine`: see, mend and release events that do not follow their declaration.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::CliError;
use super::client::Client;
use super::output::Output;

const FIELDS: &str = "id quarantinedAt quarantine { application definition reason } \
    event { sequence id source type subject receivedAt dataBytes cloudEvent }";

/// What can be done with events in quarantine.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Those of an application, or all.
    List {
        /// The application.
        application: Option<String>,
    },
    /// One of them, with the event.
    Show {
        /// The event in quarantine.
        id: u64,
    },
    /// Deliver one, mended if need be.
    Release {
        /// The event in quarantine.
        id: u64,
        /// A file with another payload; `-` is the standard input.
        #[arg(long, value_name = "FILE")]
        data_file: Option<PathBuf>,
    },
    /// Remove some for good.
    Purge {
        /// Which ones.
        #[arg(required = true)]
        ids: Vec<u64>,
    },
}

pub(super) async fn execute(
    command: Command,
    client: Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        Command::List { application } => {
            let columns = [
                ("ID", "id"),
                ("SINCE", "quarantinedAt"),
                ("APPLICATION", "quarantine.application"),
                ("DEFINITION", "quarantine.definition"),
                ("TYPE", "event.type"),
                ("EVENT", "event.id"),
                ("REASON", "quarantine.reason"),
            ];
            output.list(&Value::Array(all(&client, application).await?), &columns);
        }
        Command::Show { id } => {
            let before = id.saturating_sub(1).to_string();
            let found = page(&client, None, &before, 1).await?;
            let id = id.to_string();
            let one = found["data"].get(0).filter(|one| one["id"] == *id);
            let missing =
                || CliError::Unsuccessful(format!("there is no event {id} in quarantine"));
            output.object(one.ok_or_else(missing)?);
        }
        Command::Release { id, data_file } => {
            let data = data_file.map(|path| read(&path)).transpose()?;
            let query = "mutation($id: ID!, $data: String) { \
                releaseQuarantinedEvent(id: $id, data: $data) { sequence subscriptions } }";
            let variables = json!({ "id": id.to_string(), "data": data });
            let released = client.graphql(query, variables, "releaseQuarantinedEvent").await?;
            output.object(&released);
        }
        Command::Purge { ids } => {
            let query = "mutation($ids: [ID!]!) { purgeQuarantinedEvents(ids: $ids) }";
            let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
            let variables = json!({ "ids": ids });
            let count = client.graphql(query, variables, "purgeQuarantinedEvents").await?;
            output.object(&json!({ "purged": count }));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let done = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    done.map_err(|cause| CliError::Io { what: path.display().to_string(), cause })
}

async fn all(client: &Client, application: Option<String>) -> Result<Vec<Value>, CliError> {
    let mut all = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let mut page = page(client, application.as_deref(), &after, 500).await?;
        if let Value::Array(data) = page["data"].take() {
            all.extend(data);
        }
        if page["pageInfo"]["hasNextPage"] != true {
            return Ok(all);
        }
        page["pageInfo"]["endCursor"].as_str().unwrap_or_default().clone_into(&mut after);
    }
}

async fn page(
    client: &Client,
    application: Option<&str>,
    after: &str,
    first: u32,
) -> Result<Value, CliError> {
    let query = format!(
        "query($a: String, $first: Int, $after: String) {{ quarantinedEvents(application: $a, \
            first: $first, after: $after) {{ data {{ {FIELDS} }} pageInfo {{ endCursor hasNextPage }} }} }}"
    );
    let variables = json!({ "a": application, "first": first, "after": after });
    Ok(client.graphql(&query, variables, "quarantinedEvents").await?)
}
