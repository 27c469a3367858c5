//! `dead-letter`: see and requeue what could not be delivered.

use clap::Subcommand;
use serde_json::{Value, json};

use super::CliError;
use super::client::Client;
use super::output::Output;

const FIELDS: &str = "id reason attempts lastStatus firstAttemptAt parkedAt requeued \
    event { sequence id source type receivedAt dataBytes cloudEvent }";

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Those of a subscription.
    List {
        /// The subscription.
        subscription: String,
    },
    /// One of them, with the event.
    Show {
        /// The subscription.
        subscription: String,
        /// The dead letter.
        id: u64,
    },
    /// Put them back into delivery.
    Requeue(Chosen),
    /// Remove them for good.
    Purge(Chosen),
}

/// Some dead letters of a subscription.
#[derive(Debug, clap::Args)]
pub(crate) struct Chosen {
    /// The subscription.
    subscription: String,
    /// Which ones.
    #[arg(required_unless_present = "all")]
    ids: Vec<u64>,
    /// All of them.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

pub(super) async fn execute(
    command: Command,
    client: Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        Command::List { subscription } => {
            let columns = [
                ("ID", "id"),
                ("PARKED AT", "parkedAt"),
                ("ATTEMPTS", "attempts"),
                ("STATUS", "lastStatus"),
                ("TYPE", "event.type"),
                ("SOURCE", "event.source"),
                ("EVENT", "event.id"),
                ("REASON", "reason"),
            ];
            output.list(&Value::Array(all(&client, &subscription).await?), &columns);
        }
        Command::Show { subscription, id } => {
            let before = id.saturating_sub(1).to_string();
            let letters = page(&client, &subscription, &before, 1).await?;
            let id = id.to_string();
            let letter = letters["data"].get(0).filter(|letter| letter["id"] == *id);
            let letter = letter.ok_or_else(|| {
                CliError::Unsuccessful(format!("{subscription:?} has no dead letter {id}"))
            })?;
            output.object(letter);
        }
        Command::Requeue(chosen) => {
            apply(&client, "requeueDeadLetters", "requeued", chosen, output).await?;
        }
        Command::Purge(chosen) => {
            apply(&client, "purgeDeadLetters", "purged", chosen, output).await?;
        }
    }
    Ok(())
}

async fn apply(
    client: &Client,
    mutation: &str,
    word: &str,
    chosen: Chosen,
    output: &mut Output,
) -> Result<(), CliError> {
    let ids: Vec<Value> = if chosen.all {
        let letters = all(client, &chosen.subscription).await?;
        letters.into_iter().map(|mut letter| letter["id"].take()).collect()
    } else {
        chosen.ids.iter().map(|id| json!(id.to_string())).collect()
    };
    let query = format!(
        "mutation($s: String!, $ids: [ID!]!) {{ {mutation}(subscription: $s, ids: $ids) }}"
    );
    let mut count = 0;
    for ids in ids.chunks(1000) {
        let variables = json!({ "s": chosen.subscription, "ids": ids });
        count += client.graphql(&query, variables, mutation).await?.as_u64().unwrap_or(0);
    }
    output.object(&json!({ word: count }));
    Ok(())
}

async fn all(client: &Client, subscription: &str) -> Result<Vec<Value>, CliError> {
    let mut all = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let mut page = page(client, subscription, &after, 500).await?;
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
    subscription: &str,
    after: &str,
    first: u32,
) -> Result<Value, CliError> {
    let query = format!(
        "query($s: String!, $first: Int, $after: String) {{ deadLetters(subscription: $s, \
            first: $first, after: $after) {{ data {{ {FIELDS} }} pageInfo {{ endCursor hasNextPage }} }} }}"
    );
    let variables = json!({ "s": subscription, "first": first, "after": after });
    Ok(client.graphql(&query, variables, "deadLetters").await?)
}
