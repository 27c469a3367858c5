//! `token`: API keys and passwords, made, listed and revoked.

use std::time::Duration;

use clap::Subcommand;
use eg_event::{Clock, Timestamp};
use serde_json::{Value, json};

use super::CliError;
use super::client::Client;
use super::output::Output;

const FIELDS: &str = "id name kind application roles createdAt expiresAt revokedAt";

/// What can be done with API keys and passwords.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make one; its secret is shown once and kept nowhere.
    Create(New),
    /// All of them, without their secrets.
    List,
    /// Make one useless; connections that rest on it are cut.
    Revoke {
        /// Which one, as `list` shows it.
        id: String,
    },
}

/// A credential to be made.
#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// Who presents it: the name that policies, journeys and logs use.
    name: String,
    /// The application that it acts for.
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// A role that it gives.
    #[arg(long = "role", value_name = "NAME")]
    roles: Vec<String>,
    /// When it stops being good: after a while (`90d`, `12h`, `30m`, `20s`) or at an instant
    /// (RFC 3339).
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    expires: Option<Timestamp>,
    /// A password for the name, instead of an API key.
    #[arg(long)]
    password: bool,
}

pub(super) async fn execute(
    command: Command,
    client: Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        Command::Create(new) => {
            let query = format!(
                "mutation($in: CredentialInput!) {{ createCredential(in: $in) {{ \
                 secret credential {{ {FIELDS} }} }} }}"
            );
            let input = json!({
                "name": new.name,
                "kind": if new.password { "PASSWORD" } else { "API_KEY" },
                "application": new.application,
                "roles": new.roles,
                "expiresAt": new.expires.map(|instant| instant.to_string()),
            });
            let variables = json!({ "in": input });
            let mut created = client.graphql(&query, variables, "createCredential").await?;
            let mut shown = created["credential"].take();
            shown["secret"] = created["secret"].take();
            output.object(&shown);
        }
        Command::List => {
            let columns = [
                ("ID", "id"),
                ("NAME", "name"),
                ("KIND", "kind"),
                ("APPLICATION", "application"),
                ("ROLES", "roles"),
                ("CREATED AT", "createdAt"),
                ("EXPIRES AT", "expiresAt"),
                ("REVOKED AT", "revokedAt"),
            ];
            output.list(&Value::Array(all(&client).await?), &columns);
        }
        Command::Revoke { id } => {
            let query =
                format!("mutation($id: ID!) {{ revokeCredential(id: $id) {{ {FIELDS} }} }}");
            let revoked = client.graphql(&query, json!({ "id": id }), "revokeCredential").await?;
            output.object(&revoked);
        }
    }
    Ok(())
}

async fn all(client: &Client) -> Result<Vec<Value>, CliError> {
    let query = format!(
        "query($after: String) {{ credentials(first: 500, after: $after) {{ \
         data {{ {FIELDS} }} pageInfo {{ endCursor hasNextPage }} }} }}"
    );
    let (mut all, mut after) = (Vec::new(), Value::Null);
    loop {
        let mut page = client.graphql(&query, json!({ "after": after }), "credentials").await?;
        if let Value::Array(data) = page["data"].take() {
            all.extend(data);
        }
        if page["pageInfo"]["hasNextPage"] != true {
            return Ok(all);
        }
        after = page["pageInfo"]["endCursor"].take();
    }
}

fn instant(text: &str) -> Result<Timestamp, String> {
    if let Some(instant) = Timestamp::parse_rfc3339(text) {
        return Ok(instant);
    }
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let seconds = units.iter().find_map(|(unit, seconds)| {
        let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
        Some(u64::from(count) * seconds)
    });
    let seconds = seconds.ok_or("expected a duration such as 90d, or an RFC 3339 timestamp")?;
    Ok(Clock::system().now().after(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_while_or_an_instant() {
        let now = Clock::system().now();
        let day = instant("1d").unwrap().since(now).as_secs();
        assert!((86_400..86_410).contains(&day));
        assert_eq!(instant("1970-01-01T00:00:01Z").unwrap().as_secs(), 1);
        for text in ["", "d", "1", "-1d", "1w", "1.5h", "tomorrow"] {
            assert!(instant(text).is_err(), "{text}");
        }
    }
}
