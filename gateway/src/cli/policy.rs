//! `policy`: ask what somebody may do, and why.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::output::Output;
use super::{CliError, ConfigArgs};
use crate::admin::policy::{Action, Area, Claim, PolicyQuestion};
use crate::policy::Policies;

/// The answer, as the management API has it.
const DECISION_FIELDS: &str = "allowed reason rule considered { rule effect fits field expected }";

/// What can be done with the policy.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say whether somebody may do something, and why: exit code 0 when they may, 1 when not.
    Test(Box<TestArgs>),
}

impl Command {
    /// The configuration to ask instead of a running gateway.
    pub(super) fn config(&self) -> Option<ConfigArgs> {
        let Self::Test(args) = self;
        args.config.clone().map(|file| ConfigArgs { config: Some(file) })
    }
}

/// Who does what to what.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The name of the principal.
    #[arg(long, value_name = "NAME")]
    principal: String,
    /// How they are recognized.
    #[arg(long, default_value = "bearer",
        value_parser = ["anonymous", "bearer", "certificate", "basic", "api-key"])]
    method: String,
    /// The application that they act for.
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// A role of theirs; may be given more than once.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Something that their credential says; may be given more than once.
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<Claim>,
    /// What they want to do.
    #[arg(long)]
    action: Action,
    /// The part of management.
    #[arg(long)]
    area: Option<Area>,
    /// The MQTT topic, or for subscribe the topic filter.
    #[arg(long)]
    topic: Option<String>,
    /// The type of the event.
    #[arg(long = "type")]
    ty: Option<String>,
    /// The source of the event.
    #[arg(long)]
    source: Option<String>,
    /// The MQTT client identifier.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Ask the policy of this configuration file instead of that of a running gateway.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn claim(text: &str) -> Result<Claim, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok(Claim { name: name.to_owned(), value: value.to_owned() })
}

/// Asks a running gateway.
pub(super) async fn execute(
    command: Command,
    client: Client,
    output: &mut Output,
) -> Result<(), CliError> {
    let Command::Test(args) = command;
    let query = format!(
        "query($in: PolicyQuestion!) {{ policyDecision(in: $in) {{ {DECISION_FIELDS} }} }}"
    );
    let variables = json!({ "in": json(&args.question())? });
    let decision = client.graphql(&query, variables, "policyDecision").await?;
    print(&decision, output)
}

/// Asks the policy of a configuration.
pub(super) fn execute_offline(
    command: Command,
    policies: &Policies,
    output: &mut Output,
) -> Result<(), CliError> {
    let Command::Test(args) = command;
    let decision = args.question().answer(&policies.store().load());
    print(&json(&decision)?, output)
}

impl TestArgs {
    fn question(self) -> PolicyQuestion {
        PolicyQuestion {
            principal: self.principal,
            method: self.method,
            application: self.application,
            roles: self.roles,
            claims: self.claims,
            action: self.action,
            area: self.area,
            topic: self.topic,
            ty: self.ty,
            source: self.source,
            client_id: self.client_id,
        }
    }
}

fn json(value: &impl serde::Serialize) -> Result<Value, CliError> {
    serde_json::to_value(value).map_err(|error| CliError::Unsuccessful(error.to_string()))
}

fn print(decision: &Value, output: &mut Output) -> Result<(), CliError> {
    let reason = decision["reason"].as_str().unwrap_or_default();
    let is_allowed = decision["allowed"] == true;
    if output.is_json() {
        output.json(decision);
    } else {
        output.line(&format!("{}: {reason}", if is_allowed { "allowed" } else { "denied" }));
        for rule in decision["considered"].as_array().into_iter().flatten() {
            output.line(&line(rule));
        }
    }
    if is_allowed { Ok(()) } else { Err(CliError::Unsuccessful("not allowed".to_owned())) }
}

/// One rule for people.
fn line(rule: &Value) -> String {
    let text = |name: &str| rule[name].as_str().unwrap_or_default();
    let made = if rule["fits"] == true {
        "fits".to_owned()
    } else {
        format!("does not fit: {} expected {}", text("field"), text("expected"))
    };
    format!("  {} ({}): {made}", text("rule"), text("effect"))
}
