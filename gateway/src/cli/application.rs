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
