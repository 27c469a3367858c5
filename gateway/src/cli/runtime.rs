//! `runtime`: register and see what consumes the events of applications.

use clap::Subcommand;
use serde_json::{Value, json};

use super::CliError;
use super::application::New;
use super::client::Client;
use super::output::Output;

/// What is shown of a runtime.
const FIELDS: &str = "id name description labels createdAt updatedAt";

/// What can be done with runtimes.
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
    /// Remove one.
    Delete {
        /// Its name.
        name: String,
    },
}

pub(super) async fn execute(
    command: Command,
    client: Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        Command::Create(new) => {
            let query =
                format!("mutation($in: RuntimeInput!) {{ createRuntime(in: $in) {{ {FIELDS} }} }}");
            let variables = json!({ "in": new.input()? });
            output.object(&client.graphql(&query, variables, "createRuntime").await?);
        }
        Command::List => {
            let columns = [("NAME", "name"), ("ID", "id"), ("CREATED AT", "createdAt")];
            let all = client.all("runtimes(first: 500, after: $after)", FIELDS).await?;
            output.list(&Value::Array(all), &columns);
        }
        Command::Get { name } => output.object(&get(&client, &name).await?),
        Command::Delete { name } => {
            let id = get(&client, &name).await?["id"].take();
            let query = format!("mutation($id: ID!) {{ deleteRuntime(id: $id) {{ {FIELDS} }} }}");
            output.object(&client.graphql(&query, json!({ "id": id }), "deleteRuntime").await?);
        }
    }
    Ok(())
}

async fn get(client: &Client, name: &str) -> Result<Value, CliError> {
    let query = format!("query($n: String!) {{ runtime(name: $n) {{ {FIELDS} }} }}");
    let found = client.graphql(&query, json!({ "n": name }), "runtime").await?;
    if found.is_null() {
        return Err(CliError::Unsuccessful(format!("there is no runtime called {name:?}")));
    }
    Ok(found)
}
