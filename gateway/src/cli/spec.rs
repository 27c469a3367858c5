//! `spec`: check AsyncAPI documents, register them, and see what is registered.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use eg_spec::{Document, Fetched, Format, Limits, Spec};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::output::Output;
use super::subscription::auth_file;
use super::{CliError, application};

/// What is shown of a definition.
const FIELDS: &str = "id name description group version { value deprecated forRemoval } \
    payloadCheck spec { format fetchRequest { url status { condition message timestamp } } } \
    externalSubscriptions { url topic status { active message subscription \
    reading { connected lag taken duplicates refused lastRefusal { reason at } } } } \
    createdAt updatedAt";
/// What an update starts from.
const INPUT_FIELDS: &str = "id name description group payloadCheck \
    version { value deprecated deprecatedSince forRemoval } \
    externalSubscriptions { url topic attributes }";

/// What can be done with AsyncAPI documents.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what is wrong with a document, without a gateway.
    Validate {
        /// The document, YAML or JSON.
        file: PathBuf,
    },
    /// Register a document for an application, or replace the one of the same name; what is not
    /// given stays as it is.
    Apply(Box<Apply>),
    /// The definitions of all applications, or of one.
    List {
        /// Of this application alone.
        #[arg(long, value_name = "NAME")]
        application: Option<String>,
    },
    /// One definition.
    Get(Named),
    /// Remove a definition.
    Delete(Named),
    /// Fetch the document of a definition again.
    Refetch(Named),
}

/// A definition by its name.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Its name.
    name: String,
    /// Its application.
    #[arg(long, value_name = "NAME")]
    application: String,
}

/// A document to be registered.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The document, YAML or JSON.
    #[arg(required_unless_present = "fetch_url", conflicts_with = "fetch_url")]
    file: Option<PathBuf>,
    /// Where the gateway fetches the document, instead of a file.
    #[arg(long, value_name = "URL", requires = "name")]
    fetch_url: Option<String>,
    /// A file (TOML or JSON) that says how the gateway says there who it is.
    #[arg(long, value_name = "FILE", requires = "fetch_url")]
    fetch_auth_file: Option<PathBuf>,
    /// The application that publishes by it.
    #[arg(long, value_name = "NAME")]
    application: String,
    /// The name of the definition; by default the title of the document.
    #[arg(long)]
    name: Option<String>,
    /// What is the same in every version of one definition.
    #[arg(long)]
    group: Option<String>,
    /// The version (semantic versioning).
    #[arg(long)]
    version: Option<String>,
    /// Whether the version should no longer be used.
    #[arg(long, requires = "version")]
    deprecated: bool,
    /// What becomes of events whose payload is not what the document says.
    #[arg(long, value_parser = ["OFF", "WARN", "QUARANTINE", "REJECT"], ignore_case = true)]
    payload_check: Option<String>,
    /// A file (JSON) with the external subscriptions: a list of url, topic, attributes, auth.
    #[arg(long, value_name = "FILE")]
    external_subscriptions_file: Option<PathBuf>,
}

/// Says what is wrong with a document, or what it declares.
pub(super) fn validate(file: &Path, output: &mut Output) -> Result<(), CliError> {
    let spec = read_spec(file)?;
    let count =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (channels, operations) = (spec.channels.len(), spec.operations.len());
    if output.is_json() {
        let found = json!({ "valid": true, "title": spec.info.title,
            "version": spec.info.version, "channels": channels, "operations": operations });
        output.json(&found);
        return Ok(());
    }
    let (channels, operations) = (count(channels, "channel"), count(operations, "operation"));
    let (title, version) = (&spec.info.title, &spec.info.version);
    output.line(&format!("{}: {title} {version}, {channels}, {operations}", file.display()));
    Ok(())
}

pub(super) async fn execute(
    command: Command,
    client: Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        Command::Validate { file } => validate(&file, output)?,
        Command::Apply(args) => output.object(&apply(&client, &args).await?),
        Command::List { application } => {
            let columns = [
                ("APPLICATION", "application"),
                ("NAME", "name"),
                ("VERSION", "version.value"),
                ("PAYLOAD CHECK", "payloadCheck"),
                ("FETCHED", "spec.fetchRequest.status.condition"),
                ("ID", "id"),
            ];
            output.list(&Value::Array(list(&client, application).await?), &columns);
        }
        Command::Get(named) => {
            let data = FIELDS.replace("spec { format", "spec { data format");
            output.object(&get(&client, &named, &data).await?);
        }
        Command::Delete(named) => {
            let id = get(&client, &named, "id").await?["id"].take();
            let query = format!("mutation($id: ID!) {{ deleteEventAPI(id: $id) {{ {FIELDS} }} }}");
            output.object(&client.graphql(&query, json!({ "id": id }), "deleteEventAPI").await?);
        }
        Command::Refetch(named) => refetch(&client, &named, output).await?,
    }
    Ok(())
}

async fn refetch(client: &Client, named: &Named, output: &mut Output) -> Result<(), CliError> {
    let id = get(client, named, "id").await?["id"].take();
    let query = "mutation($id: ID!) { refetchEventAPISpec(eventID: $id) { format \
        fetchRequest { url status { condition message timestamp } } } }";
    let fetched = client.graphql(query, json!({ "id": id }), "refetchEventAPISpec").await?;
    output.object(&fetched);
    let status = &fetched["fetchRequest"]["status"];
    if status["condition"] == "SUCCEEDED" {
        return Ok(());
    }
    let message = status["message"].as_str().unwrap_or("the document is not there");
    Err(CliError::Unsuccessful(message.to_owned()))
}

async fn list(client: &Client, application: Option<String>) -> Result<Vec<Value>, CliError> {
    let names = match application {
        Some(name) => vec![json!({ "name": name })],
        None => client.all("applications(first: 500, after: $after)", "name").await?,
    };
    let mut all = Vec::new();
    for name in names.iter().filter_map(|one| one["name"].as_str()) {
        let found = definitions(client, name, FIELDS).await?.into_iter();
        all.extend(found.map(|mut one| {
            one["application"] = json!(name);
            one
        }));
    }
    Ok(all)
}

/// The definitions of an application.
async fn definitions(
    client: &Client,
    application: &str,
    fields: &str,
) -> Result<Vec<Value>, CliError> {
    let (mut all, mut after) = (Vec::new(), Value::Null);
    loop {
        let query = format!(
            "query($n: String!, $after: PageCursor) {{ application(name: $n) {{ \
             eventAPIs(first: 200, after: $after) {{ data {{ {fields} }} \
             pageInfo {{ endCursor hasNextPage }} }} }} }}"
        );
        let variables = json!({ "n": application, "after": after });
        let mut found = client.graphql(&query, variables, "application").await?;
        if found.is_null() {
            let text = format!("there is no application called {application:?}");
            return Err(CliError::Unsuccessful(text));
        }
        let page = &mut found["eventAPIs"];
        if let Value::Array(data) = page["data"].take() {
            all.extend(data);
        }
        if page["pageInfo"]["hasNextPage"] != true {
            return Ok(all);
        }
        after = page["pageInfo"]["endCursor"].take();
    }
}

async fn get(client: &Client, named: &Named, fields: &str) -> Result<Value, CliError> {
    let Named { name, application } = named;
    let all = definitions(client, application, &format!("key: name {fields}")).await?;
    let found = all.into_iter().find(|one| one["key"] == **name);
    let mut found = found.ok_or_else(|| {
        let text = format!("the application {application:?} has no definition called {name:?}");
        CliError::Unsuccessful(text)
    })?;
    if let Some(members) = found.as_object_mut() {
        members.remove("key");
    }
    Ok(found)
}

async fn apply(client: &Client, args: &Apply) -> Result<Value, CliError> {
    let (name, spec) = document(args)?;
    let known = definitions(client, &args.application, INPUT_FIELDS).await?;
    let known = known.into_iter().find(|one| one["name"] == *name);
    let mut input: Map<String, Value> =
        known.and_then(|one| one.as_object().cloned()).unwrap_or_default();
    let id = input.remove("id");
    input.insert("name".to_owned(), json!(name));
    input.insert("spec".to_owned(), spec);
    let version =
        args.version.as_ref().map(|value| json!({ "value": value, "deprecated": args.deprecated }));
    let given = [
        ("group", args.group.as_ref().map(|group| json!(group))),
        ("version", version),
        ("payloadCheck", args.payload_check.as_ref().map(|word| json!(word.to_uppercase()))),
        ("externalSubscriptions", external(args.external_subscriptions_file.as_deref())?),
    ];
    input.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    if let Some(id) = id {
        let query = format!(
            "mutation($id: ID!, $in: EventAPIDefinitionInput!) {{ \
             updateEventAPI(id: $id, in: $in) {{ {FIELDS} }} }}"
        );
        let variables = json!({ "id": id, "in": input });
        return Ok(client.graphql(&query, variables, "updateEventAPI").await?);
    }
    let owner = application::get(client, &args.application, "id").await?["id"].take();
    let query = format!(
        "mutation($app: ID!, $in: EventAPIDefinitionInput!) {{ \
         addEventAPI(applicationID: $app, in: $in) {{ {FIELDS} }} }}"
    );
    Ok(client.graphql(&query, json!({ "app": owner, "in": input }), "addEventAPI").await?)
}

/// The name of the definition, and its document or where it is fetched.
fn document(args: &Apply) -> Result<(String, Value), CliError> {
    if let (Some(url), Some(name)) = (&args.fetch_url, &args.name) {
        let mut request = json!({ "url": url });
        if let Some(auth) = auth_file("--fetch-auth-file", args.fetch_auth_file.as_deref())? {
            request["auth"] = auth;
        }
        let spec = json!({ "eventSpecType": "ASYNC_API", "fetchRequest": request });
        return Ok((name.clone(), spec));
    }
    let path = args.file.as_deref().unwrap_or_else(|| Path::new("-"));
    let data = read(path)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        // What is wrong with it is told here, before anybody is asked.
        None => {
            parse(path, &data)?.value()["info"]["title"].as_str().unwrap_or_default().to_owned()
        }
    };
    Ok((name, json!({ "eventSpecType": "ASYNC_API", "data": data })))
}

/// What the file says. Nothing of it is quoted when it cannot be read: it may have secrets.
fn external(file: Option<&Path>) -> Result<Option<Value>, CliError> {
    let Some(path) = file else { return Ok(None) };
    let read: Result<Value, _> = serde_json::from_str(&read(path)?);
    read.map(Some).map_err(|error| {
        let (shown, line) = (path.display(), error.line());
        let text =
            format!("--external-subscriptions-file {shown}: expected JSON, and line {line} is not");
        CliError::Unsuccessful(text)
    })
}

fn read(path: &Path) -> Result<String, CliError> {
    let what = path.display().to_string();
    std::fs::read_to_string(path).map_err(|cause| CliError::Io { what, cause })
}

fn parse(path: &Path, text: &str) -> Result<Document, CliError> {
    let format = Format::guess(text.as_bytes());
    let document = Document::parse(text.as_bytes(), format, None, &Limits::default());
    document.map_err(|invalid| unfit(path, &invalid))
}

fn read_spec(path: &Path) -> Result<Spec, CliError> {
    let text = read(path)?;
    let document = parse(path, &text)?;
    Spec::read(&document, &Fetched::default()).map_err(|invalid| unfit(path, &invalid))
}

/// Each error on a line of its own, with the file before it.
fn unfit(path: &Path, invalid: &eg_spec::Invalid) -> CliError {
    let told = invalid.to_string();
    let lines = told.lines().map(|line| format!("{}: {line}", path.display()));
    CliError::Unsuccessful(lines.collect::<Vec<_>>().join("\n"))
}
