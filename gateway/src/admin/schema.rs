//! The GraphQL schema: what can be asked and what can be changed.

use std::sync::Arc;

use async_graphql::{MergedObject, Result, SchemaBuilder};
use eg_auth::PolicyStore;
use eg_event::subscription as words;
use eg_event::{InvalidInput, Sequence};
use eg_storage::{Journal, Ledger};

use super::activation::{ActivationMutation, ActivationQuery};
use super::catalog::CatalogQuery;
use super::error::{Code, coded, invalid};
use super::guard::Guard;
use super::manifest::ManifestMutation;
use super::mqtt::{MqttMutation, MqttQuery};
use super::mutation::CoreMutation;
use super::quarantine::{QuarantineMutation, QuarantineQuery};
use super::query::CoreQuery;
use super::specs::{Feed, SpecsMutation, SpecsQuery};
use super::usage::{UsageMutation, UsageQuery};
use crate::catalog::Catalog;
use crate::certificates::{Certificates, Desk};
use crate::consume::Consumers;
use crate::credentials::Credentials;
use crate::declared::DeclaredStore;
use crate::dispatch::Dispatch;
use crate::specs::registry::Registry;

/// The deepest nesting of a request; the introspection of common clients has 14 levels.
const DEPTH_MAX: usize = 16;
/// The most fields of a request.
const COMPLEXITY_MAX: usize = 1000;

/// The schema over one gateway.
pub type Schema = async_graphql::Schema<Query, Mutation, Feed>;

/// What the schema works with.
#[derive(Clone)]
pub struct Parts {
    /// The subscriptions.
    pub dispatch: Arc<Dispatch>,
    /// The events.
    pub journal: Journal,
    /// Where it is written down who has what.
    pub ledger: Ledger,
    /// The certificates that were issued.
    pub certificates: Arc<Certificates>,
    /// Gives tokens to applications.
    pub desk: Arc<Desk>,
    /// The API keys and passwords.
    pub credentials: Arc<Credentials>,
    /// Whether a subscription can be sent to, before anything is.
    pub check_target: TargetCheck,
    /// What is asked of events.
    pub declared: DeclaredStore,
    /// What is read from buses.
    pub consumers: Consumers,
    /// The MQTT server.
    pub mqtt: eg_mqtt::Server,
    /// Who may do what.
    pub policy: PolicyStore,
    /// What is registered.
    pub specs: Arc<Registry>,
    /// What there is to publish and to subscribe to.
    pub catalog: Arc<Catalog>,
    /// The URL that the paths of event URLs follow.
    pub events_url: Arc<str>,
}

/// Says what is wrong with where a subscription sends to, if anything is.
pub type TargetCheck =
    Arc<dyn Fn(&words::Subscription) -> std::result::Result<(), InvalidInput> + Send + Sync>;

/// What can be asked.
#[derive(MergedObject)]
pub struct Query(
    CoreQuery,
    SpecsQuery,
    ActivationQuery,
    QuarantineQuery,
    UsageQuery,
    CatalogQuery,
    MqttQuery,
);

/// What can be changed.
#[derive(MergedObject)]
pub struct Mutation(
    CoreMutation,
    SpecsMutation,
    ActivationMutation,
    ManifestMutation,
    QuarantineMutation,
    UsageMutation,
    MqttMutation,
);

/// Makes the schema, behind `guard`.
#[must_use]
pub fn schema(parts: Parts, guard: Guard) -> Schema {
    let part = || parts.clone();
    let query = Query(
        CoreQuery(part()),
        SpecsQuery(part()),
        ActivationQuery(part()),
        QuarantineQuery(part()),
        UsageQuery(part()),
        CatalogQuery(Arc::clone(&parts.catalog)),
        MqttQuery(part()),
    );
    let mutation = Mutation(
        CoreMutation(part()),
        SpecsMutation(part()),
        ActivationMutation(part()),
        ManifestMutation(part()),
        QuarantineMutation(part()),
        UsageMutation(part()),
        MqttMutation(part()),
    );
    let (declared, consumers) = (parts.declared.clone(), parts.consumers.clone());
    let builder: SchemaBuilder<_, _, _> =
        Schema::build(query, mutation, Feed(parts)).data(guard.clone()).data(declared);
    let builder = builder.data(consumers);
    let limited = builder.limit_depth(DEPTH_MAX).limit_complexity(COMPLEXITY_MAX);
    limited.extension(guard).finish()
}

/// There is no such subscription.
pub(super) fn not_found(name: &str) -> async_graphql::Error {
    coded(Code::NotFound, &format!("there is no subscription called {name:?}"))
}

/// Reads a sequence, such as a cursor.
pub(super) fn sequence(field: &str, text: &str) -> Result<Sequence> {
    text.parse().map(Sequence).map_err(|_| {
        invalid(&InvalidInput::new(field, format!("expected a sequence, found {text:?}")))
    })
}
