//! `activation`: see and change which sources are let into which namespaces.

use clap::Subcommand;
use serde_json::{Value, json};

use super::CliError;
use super::client::Client;
use super::output::Output;

const FIELDS: &str = "namespace name sourceId displayName createdAt updatedAt";

/// What can be done with event activations.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// All of them, or those of one namespace.
    List {
        /// Only those of this namespace.
        #[arg(long, value_name = "NAME")]
        namespace: Option<String>,
    },
    /// One of them.
    Get {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Let the events of a source into a namespace.
    Create {
        /// The namespace.
        namespace: String,
        /// Its name, unique in the namespace.
        name: String,
        /// The source of the events.
        #[arg(long)]
        source_id: String,
        /// The source for people.
        #[arg(long, default_value = "")]
        display_name: String,
    },
    /// Remove one. No attempt is begun any more for what nothing else activates; events wait.
    Delete {
        /// Its namespace.
        namespace: String,
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
        Command::List { namespace } => list(&client, namespace.as_deref(), output).await,
        Command::Get { namespace, name } => {
            let query = format!(
                "query($s: String!, $n: String!) \
                    {{ eventActivation(namespace: $s, name: $n) {{ {FIELDS} }} }}"
            );
            let variables = json!({ "s": namespace, "n": name });
            let found = client.graphql(&query, variables, "eventActivation").await?;
            if found.is_null() {
                let text = format!("there is no event activation called {name:?} in {namespace:?}");
                return Err(CliError::Unsuccessful(text));
            }
            output.object(&found);
            Ok(())
        }
        Command::Create { namespace, name, source_id, display_name } => {
            let query = format!(
                "mutation($in: EventActivationInput!) \
                    {{ createEventActivation(in: $in) {{ {FIELDS} }} }}"
            );
            let input = json!({ "namespace": namespace, "name": name, "sourceId": source_id,
                "displayName": display_name });
            let made = client.graphql(&query, json!({ "in": input }), "createEventActivation");
            output.object(&made.await?);
            Ok(())
        }
        Command::Delete { namespace, name } => {
            let query = format!(
                "mutation($s: String!, $n: String!) \
                    {{ deleteEventActivation(namespace: $s, name: $n) {{ {FIELDS} }} }}"
            );
            let variables = json!({ "s": namespace, "n": name });
            output.object(&client.graphql(&query, variables, "deleteEventActivation").await?);
            Ok(())
        }
    }
}

async fn list(
    client: &Client,
    namespace: Option<&str>,
    output: &mut Output,
) -> Result<(), CliError> {
    let query = format!(
        "query($s: String, $after: String) {{ \
            eventActivations(namespace: $s, first: 500, after: $after) {{ data {{ {FIELDS} }} \
            pageInfo {{ endCursor hasNextPage }} }} }}"
    );
    let (mut all, mut after) = (Vec::new(), Value::Null);
    loop {
        let variables = json!({ "s": namespace, "after": after });
        let mut page = client.graphql(&query, variables, "eventActivations").await?;
        if let Value::Array(data) = page["data"].take() {
            all.extend(data);
        }
        if page["pageInfo"]["hasNextPage"] != true {
            break;
        }
        after = page["pageInfo"]["endCursor"].take();
    }
    let columns = [
        ("NAMESPACE", "namespace"),
        ("NAME", "name"),
        ("SOURCE", "sourceId"),
        ("DISPLAY NAME", "displayName"),
        ("UPDATED", "updatedAt"),
    ];
    output.list(&Value::Array(all), &columns);
    Ok(())
}
