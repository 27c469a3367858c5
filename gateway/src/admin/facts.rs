//! Facts about who may manage, and about what is kept of it, over a real journal.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Request, Variables};
use eg_auth::policy::{Policy, PolicyConfig, PolicyStore};
use eg_auth::{Authenticator, Live};
use eg_certs::CertificatesConfig;
use eg_event::principal::Method;
use eg_event::{Clock, CredentialId, Delivery, Outcome, Principal, Sequence, Sink, Timestamp};
use eg_http::{HttpSink, PushConfig};
use eg_mqtt::MqttConfig;
use eg_storage::{StorageConfig, Store};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guard::{Caller, Guard};
use super::operations::operation;
use super::schema::{Parts, Schema, schema};
use crate::assemble::{MqttParts, way_in};
use crate::audit::{Audit, Entry, Outcome as Ended, SOURCE};
use crate::broker::Sessions;
use crate::catalog::Catalog;
use crate::catalog::access::Access;
use crate::certificates::{Certificates, Desk};
use crate::credentials::Credentials;
use crate::declared::DeclaredStore;
use crate::dispatch::{Dispatch, Outlets};
use crate::quotas::Quotas;
use crate::secrets::{Keys, SecretsConfig};
use crate::specs::registry::{self, Registry};

struct Nowhere;

impl Sink for Nowhere {
    fn deliver<'a>(&'a self, _: &'a Delivery) -> BoxFuture<'a, Outcome> {
        ready(Outcome::Delivered { status: None }).boxed()
    }
}

/// A schema over a store in a temporary directory.
pub(super) struct Bench {
    pub(super) schema: Schema,
    store: Store,
    audit: Arc<Audit>,
    clock: Clock,
    _directory: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::by_hand(Timestamp::from_micros(1_700_000_000_000_000));
        let store = Store::open(directory.path(), &StorageConfig::default(), &clock).unwrap();
        let outlets = Outlets {
            journal: store.journal().clone(),
            ledger: store.ledger().clone(),
            sink: Arc::new(Nowhere),
            keys: Arc::new(Keys::open(&SecretsConfig::default(), directory.path()).unwrap()),
            quarantine: crate::quarantine::QuarantineConfig::default(),
            clock: clock.clone(),
        };
        let keys = Arc::clone(&outlets.keys);
        let dispatch = Dispatch::recover(outlets).unwrap();
        let policy = Policy::compile(&PolicyConfig::default()).unwrap();
        let policy = PolicyStore::new(policy);
        let audit = Arc::new(Audit::new(store.journal(), &dispatch, clock.clone()));
        let guard = Guard { policy: policy.clone(), audit: Arc::clone(&audit) };
        let authenticator = Arc::new(Authenticator::closed());
        let (ledger, live) = (store.ledger().clone(), Live::default());
        let credentials = Credentials::load(ledger, authenticator, live, clock.clone()).unwrap();
        let (data, ledger) = (directory.path(), store.ledger().clone());
        let handles = (Live::default(), clock.clone());
        let config = CertificatesConfig::default();
        let certificates = Certificates::open(&config, data, ledger, handles).unwrap();
        let specs = Registry::open(registry::Outlets {
            ledger: store.ledger().clone(),
            keys,
            clock: clock.clone(),
            http: Arc::new(http(&clock)),
            check_target: Arc::new(|_| Ok(())),
            dispatch: Arc::clone(&dispatch),
            follower: Arc::new(registry::Nobody),
        });
        let specs = Arc::new(specs.unwrap());
        let catalog = Catalog::new(&specs, store.journal(), (&policy, Access::default()));
        let parts = Parts {
            catalog: Arc::new(catalog),
            desk: Arc::new(Desk::new(Arc::clone(&certificates), String::new())),
            certificates,
            credentials: Arc::new(credentials),
            consumers: crate::consume::Consumers::default(),
            declared: DeclaredStore::default(),
            journal: store.journal().clone(),
            ledger: store.ledger().clone(),
            check_target: Arc::new(|_| Ok(())),
            mqtt: mqtt(&store, (&policy, &dispatch), &clock),
            dispatch,
            policy,
            specs,
            events_url: "https://events.test".into(),
        };
        Self { schema: schema(parts, guard), store, audit, clock, _directory: directory }
    }

    pub(super) async fn ask(&self, role: &str, query: &str, variables: Value) -> Value {
        let variables = Variables::from_json(variables);
        let request = Request::new(query).variables(variables.clone()).data(variables);
        let caller = Caller { principal: person(role), remote: "192.0.2.1:5".parse().unwrap() };
        let answer = self.schema.execute(request.data(caller)).await;
        serde_json::to_value(answer).unwrap()
    }

    /// The documents of a kind in the ledger, one after another.
    pub(super) fn ledger_documents(&self, kind: &str) -> String {
        let documents = self.store.ledger().documents(kind).unwrap().into_iter();
        documents.map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect()
    }

    /// What the audit log says, oldest first.
    pub(super) fn log(&self) -> Vec<(String, Option<String>, Value)> {
        let events = self.store.journal().scan(Sequence::FIRST, 10_000, usize::MAX).unwrap();
        let entry = |stored: &Arc<eg_event::StoredEvent>| {
            let event = &stored.event;
            assert_eq!(event.source(), SOURCE);
            let data = serde_json::from_slice(event.data().unwrap().bytes()).unwrap();
            (event.ty().to_owned(), event.subject().map(str::to_owned), data)
        };
        events.iter().map(entry).collect()
    }
}

fn mqtt(
    store: &Store,
    (policy, dispatch): (&PolicyStore, &Arc<Dispatch>),
    clock: &Clock,
) -> eg_mqtt::Server {
    let (metrics, declared) = (Arc::default(), DeclaredStore::default());
    let quotas = Quotas::new(store.journal(), clock);
    let pipeline = way_in(store, (policy, &declared, &quotas), dispatch, &metrics);
    let sessions = Sessions::new(store.ledger().clone(), store.journal().clone());
    let known = (Arc::new(Authenticator::closed()) as Arc<_>, &Live::default(), clock);
    let server = MqttParts { store, policy, dispatch, quotas: &quotas };
    let ports = server.ports(&pipeline, &declared, &sessions, known);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    eg_mqtt::Server::new(MqttConfig::default(), ports, tasks, stop).unwrap()
}

fn http(clock: &Clock) -> HttpSink {
    let config = PushConfig {
        allowed_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..PushConfig::default()
    };
    HttpSink::new(&config, clock.clone(), TaskTracker::new(), CancellationToken::new()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "somebody has to be recognized here")]
fn person(role: &str) -> Arc<Principal> {
    let principal = Principal::vouch_for("ann", Method::Bearer, None)
        .with_roles([role.to_owned()])
        .resting_on(CredentialId::new("token:1"));
    Arc::new(principal)
}

const CREATE: &str = "mutation($in: SubscriptionInput!) { createSubscription(in: $in) { name } }";

#[tokio::test]
async fn every_field_of_the_schema_has_its_row_in_the_table() {
    let bench = Bench::new();
    let query = "{ __schema { queryType { fields { name } } mutationType { fields { name } } \
        subscriptionType { fields { name } } } }";
    let answer = bench.ask("nobody", query, json!({})).await;
    let mut count = 0;
    for root in ["queryType", "mutationType", "subscriptionType"] {
        let fields = answer["data"]["__schema"][root]["fields"].as_array().unwrap();
        for field in fields {
            let name = field["name"].as_str().unwrap();
            let row = operation(name);
            assert!(row.is_some(), "operations.rs has no row for {name}, which nobody may do so");
            let is_change = row.unwrap().0 == eg_auth::policy::Action::Manage;
            assert_eq!(is_change, root == "mutationType", "{name}");
            count += 1;
        }
    }
    assert!(count > 10, "there are fields");
    assert_eq!(operation("dropEverything"), None);
}

#[tokio::test]
async fn roles_may_what_their_names_say() {
    let bench = Bench::new();
    let input = json!({ "in": { "name": "s", "endpoint": "http://x.test/" } });
    let read =
        "{ a: nextSequence ...more } fragment more on Query { subscriptions { totalCount } }";
    for (role, may_read, may_manage) in
        [("nobody", false, false), ("viewer", true, false), ("operator", true, true)]
    {
        let answer = bench.ask(role, read, json!({})).await;
        assert_eq!(answer["errors"].is_null(), may_read, "{role}: {answer}");
        let answer = bench.ask(role, CREATE, input.clone()).await;
        assert_eq!(answer["errors"].is_null(), may_manage, "{role}: {answer}");
        if !may_manage {
            let error = &answer["errors"][0];
            assert_eq!(error["extensions"]["code"], "FORBIDDEN");
            assert_eq!(error["path"], json!(["createSubscription"]));
            assert!(error["message"].as_str().unwrap().contains("no rule lets ann manage"));
        }
    }
    let answer = bench
        .ask("viewer", "mutation { x: deleteSubscription(name: \"s\") { name } }", json!({}))
        .await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "an alias changes nothing");
    let list = bench.ask("viewer", "{ subscriptions { data { name } } }", json!({})).await;
    assert_eq!(list["data"]["subscriptions"]["data"][0]["name"], "s");
}

#[tokio::test]
async fn nothing_is_answered_to_who_is_not_known() {
    let bench = Bench::new();
    let answer = bench.schema.execute("{ nextSequence }").await;
    let answer = serde_json::to_value(answer).unwrap();
    assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN");
}

#[tokio::test]
async fn changes_and_attempts_are_in_the_journal_without_secrets() {
    let bench = Bench::new();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let input = json!({ "in": { "name": "s", "endpoint": "https://x.test/?key=k3y",
        "signingSecrets": [secret], "source": "/shop" } });
    bench.ask("admin", CREATE, input.clone()).await;
    bench.ask("admin", CREATE, input.clone()).await;
    bench.ask("viewer", CREATE, input).await;
    bench.ask("admin", "mutation { pauseSubscription(name: \"s\") { name } }", json!({})).await;
    bench.ask("viewer", "{ nextSequence }", json!({})).await;
    let requeue = "mutation { requeueDeadLetters(subscription: \"s\", ids: [\"1\", \"2\"]) }";
    bench.ask("operator", requeue, json!({})).await;
    let log = bench.log();
    let rows = [
        ("createSubscription", "done", Value::Null),
        ("createSubscription", "failed", json!("NotUnique")),
        ("createSubscription", "refused", json!("no rule lets ann manage")),
        ("pauseSubscription", "done", Value::Null),
        ("requeueDeadLetters", "done", Value::Null),
    ];
    assert_eq!(log.len(), rows.len(), "reading is not recorded: {log:?}");
    for ((ty, subject, data), (operation, outcome, reason)) in log.iter().zip(rows) {
        assert_eq!(*ty, format!("io.event-gateway.audit.{operation}"));
        assert_eq!(subject.as_deref(), Some("s"));
        assert_eq!((&data["outcome"], &data["reason"]), (&json!(outcome), &reason), "{data}");
        assert_eq!(
            (&data["remote"], &data["principal"]["name"]),
            (&json!("192.0.2.1:5"), &json!("ann"))
        );
        assert_eq!(data["principal"]["credential"], "token:1");
    }
    let created = &log[0].2["arguments"]["in"];
    assert_eq!(
        (&created["source"], &created["endpoint"]),
        (&json!("/shop"), &json!("(not shown)"))
    );
    assert_eq!(created["signingSecrets"], json!({ "count": 1 }));
    assert_eq!(log[4].2["arguments"]["ids"], json!({ "count": 2 }));
    let all = format!("{log:?}");
    assert!(!all.contains(secret) && !all.contains("k3y"), "{all}");
}

#[tokio::test]
async fn attempts_cannot_fill_the_journal() {
    let bench = Bench::new();
    let attempt = || {
        let outcome = Ended::Refused("no credential was presented".to_owned());
        let remote = "192.0.2.1:5".parse().unwrap();
        bench.audit.record_refused(&Entry { outcome, ..Entry::of("authenticate", None, remote) });
    };
    (0..100).for_each(|_| attempt());
    bench.clock.advance(Duration::from_secs(61));
    attempt();
    bench.ask("admin", "mutation { deleteSubscription(name: \"s\") { name } }", json!({})).await;
    let log = bench.log();
    assert_eq!(log.len(), 62, "60 of the first minute, 1 of the second, and the change behind it");
    assert_eq!(log[59].2["refusalsLeftOut"], Value::Null);
    assert_eq!(log[60].2["refusalsLeftOut"], 40);
    assert_eq!(
        (&log[61].2["outcome"], &log[61].2["reason"]),
        (&json!("failed"), &json!("NotFound"))
    );
}

#[tokio::test]
async fn the_policy_explains_itself() {
    let bench = Bench::new();
    let query = "query($in: PolicyQuestion!) { policyDecision(in: $in) { allowed reason rule \
        considered { rule effect fits field expected } } }";
    let ask = async |question: Value| {
        let answer = bench.ask("viewer", query, json!({ "in": question })).await;
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"]["policyDecision"].clone()
    };
    let shop = json!({ "principal": "shop", "application": "shop", "action": "PUBLISH",
        "type": "t", "source": "/shop" });
    let yes = ask(shop.clone()).await;
    assert_eq!((&yes["allowed"], &yes["rule"]), (&json!(true), &json!("built-in application")));
    let mut spoof = shop.clone();
    spoof["source"] = json!("/bank");
    let no = ask(spoof).await;
    assert_eq!((&no["allowed"], &no["rule"]), (&json!(false), &Value::Null));
    assert!(no["reason"].as_str().unwrap().contains("source: expected shop"), "{no}");
    assert_eq!(no["considered"][0]["field"], "source");
    let mut reserved = shop;
    reserved["source"] = json!("/event-gateway/audit");
    assert_eq!(ask(reserved).await["allowed"], false);
    let manage = json!({ "principal": "o", "roles": ["operator"], "action": "MANAGE",
        "area": "CREDENTIALS" });
    let no = ask(manage).await;
    assert!(no["reason"].as_str().unwrap().contains("area: expected subscriptions"), "{no}");
}
