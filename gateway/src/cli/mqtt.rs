//! `mqtt`: see and end MQTT clients, their sessions and subscriptions, and what is retained.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::CliError;
use super::client::Client;
use super::output::Output;

/// What is shown of a client.
const FIELDS: &str = "id connected connection { address transport protocolVersion principal method \
    application connectedAt keepAliveSeconds receiveMaximum messagesReceived messagesSent \
    bytesReceived bytesSent } session { createdAt isPersistent expirySeconds expiresAt \
    subscriptions queueMessages queueBytes inflight dropped { reason messages } }";

/// What is shown of a subscription.
const SUBSCRIPTION: &str = "clientId filter qos noLocal retainAsPublished identifier shareGroup";

/// What is shown of a retained message.
const RETAINED: &str = "topic sequence qos bytes expiresAt";

/// The same with its payload.
const CONTENT: &str = "topic sequence qos bytes expiresAt receivedAt sender clientId contentType \
    payloadBytes isCut payload payloadBase64";

/// Where a page lies.
const PAGE_INFO: &str = "pageInfo { endCursor hasNextPage }";

/// What can be looked at.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Who is connected.
    #[command(subcommand)]
    Client(ClientCommand),
    /// What clients have, whether they are connected or not.
    #[command(subcommand)]
    Session(SessionCommand),
    /// Who subscribes to what.
    #[command(subcommand)]
    Subscription(SubscriptionCommand),
    /// The last retained message of each topic.
    #[command(subcommand)]
    Retained(RetainedCommand),
}

/// What can be done with clients.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Those that are connected.
    List(Fit),
    /// One of them, with its session.
    Get {
        /// Its client identifier.
        id: String,
    },
    /// End the connection of one; its session stays, and it may connect again.
    Disconnect {
        /// Its client identifier.
        id: String,
        /// What DISCONNECT tells an MQTT 5 client.
        #[arg(long, value_name = "CODE", default_value_t = 152)]
        reason_code: u8,
    },
}

/// What can be done with sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// All of them.
    List(Fit),
    /// End one, with its connection, its subscriptions and what waits for it.
    Delete {
        /// Its client identifier.
        id: String,
    },
}

/// What can be done with subscriptions.
#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionCommand {
    /// Those of a client, or all.
    List {
        /// The client.
        id: Option<String>,
    },
    /// End one; the client is not told.
    Delete {
        /// The client.
        id: String,
        /// The filter, as it was subscribed to.
        filter: String,
    },
}

/// What can be done with retained messages.
#[derive(Debug, Subcommand)]
pub(crate) enum RetainedCommand {
    /// Those of the topics that a topic filter stands for.
    List {
        /// The topic filter.
        #[arg(default_value = "#")]
        filter: String,
    },
    /// One of them, with its payload.
    Get {
        /// Its topic.
        topic: String,
        /// How much of the payload is shown.
        #[arg(long, value_name = "BYTES", default_value_t = 65_536)]
        payload_bytes_max: u32,
    },
    /// End one; subscribers are not told.
    Delete {
        /// Its topic.
        topic: String,
    },
}

/// Which ones.
#[derive(Debug, Args)]
pub(crate) struct Fit {
    /// What the client identifier begins with.
    #[arg(long, value_name = "TEXT")]
    id_prefix: Option<String>,
    /// The name of the principal that is connected.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// The application that it acts for.
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
}

pub(super) async fn execute(
    command: Command,
    client: Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        Command::Client(command) => clients(command, &client, output).await,
        Command::Session(command) => sessions(command, &client, output).await,
        Command::Subscription(command) => subscriptions(command, &client, output).await,
        Command::Retained(command) => retained(command, &client, output).await,
    }
}

async fn clients(
    command: ClientCommand,
    client: &Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        ClientCommand::List(fit) => {
            let columns = [
                ("CLIENT", "id"),
                ("PRINCIPAL", "connection.principal"),
                ("APPLICATION", "connection.application"),
                ("ADDRESS", "connection.address"),
                ("OVER", "connection.transport"),
                ("MQTT", "connection.protocolVersion"),
                ("SINCE", "connection.connectedAt"),
                ("SUBSCRIPTIONS", "session.subscriptions"),
                ("RECEIVED", "connection.messagesReceived"),
                ("SENT", "connection.messagesSent"),
            ];
            output.list(&list(client, &fit, Some(true)).await?, &columns);
        }
        ClientCommand::Get { id } => {
            let query = format!("query($id: ID!) {{ mqttClient(id: $id) {{ {FIELDS} }} }}");
            let mut found = client.graphql(&query, json!({ "id": id }), "mqttClient").await?;
            if found.is_null() {
                return Err(CliError::Unsuccessful(format!("there is no MQTT session of {id:?}")));
            }
            found["subscriptions"] = subscriptions_of(client, Some(id)).await?;
            output.object(&found);
        }
        ClientCommand::Disconnect { id, reason_code } => {
            let query = format!(
                "mutation($id: ID!, $code: Int) {{ \
                    disconnectMqttClient(id: $id, reasonCode: $code) {{ {FIELDS} }} }}"
            );
            let variables = json!({ "id": id, "code": reason_code });
            output.object(&client.graphql(&query, variables, "disconnectMqttClient").await?);
        }
    }
    Ok(())
}

async fn sessions(
    command: SessionCommand,
    client: &Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        SessionCommand::List(fit) => {
            let columns = [
                ("CLIENT", "id"),
                ("CONNECTED", "connected"),
                ("CREATED AT", "session.createdAt"),
                ("EXPIRES AT", "session.expiresAt"),
                ("SUBSCRIPTIONS", "session.subscriptions"),
                ("WAITING", "session.queueMessages"),
                ("BYTES", "session.queueBytes"),
                ("INFLIGHT", "session.inflight"),
            ];
            output.list(&list(client, &fit, None).await?, &columns);
        }
        SessionCommand::Delete { id } => {
            let query =
                format!("mutation($id: ID!) {{ deleteMqttSession(id: $id) {{ {FIELDS} }} }}");
            let gone = client.graphql(&query, json!({ "id": id }), "deleteMqttSession").await?;
            output.object(&gone);
        }
    }
    Ok(())
}

async fn subscriptions(
    command: SubscriptionCommand,
    client: &Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        SubscriptionCommand::List { id } => {
            let columns = [
                ("CLIENT", "clientId"),
                ("FILTER", "filter"),
                ("QOS", "qos"),
                ("NO LOCAL", "noLocal"),
                ("RETAIN AS PUBLISHED", "retainAsPublished"),
                ("IDENTIFIER", "identifier"),
            ];
            output.list(&subscriptions_of(client, id).await?, &columns);
        }
        SubscriptionCommand::Delete { id, filter } => {
            let query = format!(
                "mutation($id: ID!, $filter: String!) {{ \
                    unsubscribeMqttClient(id: $id, filter: $filter) {{ {FIELDS} }} }}"
            );
            let variables = json!({ "id": id, "filter": filter });
            output.object(&client.graphql(&query, variables, "unsubscribeMqttClient").await?);
        }
    }
    Ok(())
}

async fn retained(
    command: RetainedCommand,
    client: &Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        RetainedCommand::List { filter } => {
            let columns = [
                ("TOPIC", "topic"),
                ("SEQUENCE", "sequence"),
                ("QOS", "qos"),
                ("BYTES", "bytes"),
                ("EXPIRES AT", "expiresAt"),
            ];
            let query = format!(
                "query($filter: String!, $after: String) {{ \
                    mqttRetainedMessages(filter: $filter, first: 500, after: $after) {{ \
                    data {{ {RETAINED} }} {PAGE_INFO} }} }}"
            );
            let variables = json!({ "filter": filter });
            output.list(&pages(client, &query, variables, "mqttRetainedMessages").await?, &columns);
        }
        RetainedCommand::Get { topic, payload_bytes_max } => {
            let query = format!(
                "query($topic: String!, $max: Int) {{ \
                    mqttRetainedMessage(topic: $topic, payloadBytesMax: $max) {{ {CONTENT} }} }}"
            );
            let variables = json!({ "topic": topic, "max": payload_bytes_max });
            let found = client.graphql(&query, variables, "mqttRetainedMessage").await?;
            if found.is_null() {
                return Err(CliError::Unsuccessful(format!("nothing is retained of {topic:?}")));
            }
            output.object(&found);
        }
        RetainedCommand::Delete { topic } => {
            let query = "mutation($topic: String!) { deleteMqttRetained(topic: $topic) }";
            let variables = json!({ "topic": topic });
            let deleted = client.graphql(query, variables, "deleteMqttRetained").await?;
            output.object(&json!({ "topic": topic, "deleted": deleted }));
        }
    }
    Ok(())
}

/// The clients that fit.
async fn list(client: &Client, fit: &Fit, connected: Option<bool>) -> Result<Value, CliError> {
    let query = format!(
        "query($filter: MqttClientFilter, $after: String) {{ \
            mqttClients(filter: $filter, first: 500, after: $after) {{ \
            data {{ {FIELDS} }} {PAGE_INFO} }} }}"
    );
    let filter = json!({ "idPrefix": fit.id_prefix, "connected": connected,
        "principal": fit.principal, "application": fit.application });
    pages(client, &query, json!({ "filter": filter }), "mqttClients").await
}

/// The subscriptions of the client `id`, or of all.
async fn subscriptions_of(client: &Client, id: Option<String>) -> Result<Value, CliError> {
    let query = format!(
        "query($id: ID, $after: String) {{ \
            mqttSubscriptions(clientId: $id, first: 500, after: $after) {{ \
            data {{ {SUBSCRIPTION} }} {PAGE_INFO} }} }}"
    );
    pages(client, &query, json!({ "id": id }), "mqttSubscriptions").await
}

/// Every entry of the list `field`, whose query takes `$after`.
async fn pages(
    client: &Client,
    query: &str,
    mut variables: Value,
    field: &str,
) -> Result<Value, CliError> {
    let mut all = Vec::new();
    loop {
        let mut page = client.graphql(query, variables.clone(), field).await?;
        if let Value::Array(data) = page["data"].take() {
            all.extend(data);
        }
        if page["pageInfo"]["hasNextPage"] != true {
            return Ok(Value::Array(all));
        }
        variables["after"] = page["pageInfo"]["endCursor"].take();
    }
}
