//! Facts about who may publish what, over a real journal.

use std::sync::Arc;

use eg_auth::policy::{Policy, PolicyConfig, PolicyStore};
use eg_event::principal::Method;
use eg_event::{
    Binding, Clock, CloudEvent, Delivery, Ingest as _, Origin, Outcome, Principal, Protocol,
    Refusal, Sequence, Sink, Submission,
};
use eg_storage::{StorageConfig, Store};
use futures_util::future::{BoxFuture, FutureExt as _, ready};

use super::Pipeline;
use crate::authorize::Authorizer;
use crate::declared::DeclaredStore;
use crate::dispatch::{Dispatch, Outlets};
use crate::metrics::{Levels, Metrics};
use crate::quarantine::QuarantineConfig;
use crate::secrets::{Keys, SecretsConfig};
use crate::validate::Validator;

struct Nowhere;

impl Sink for Nowhere {
    fn deliver<'a>(&'a self, _: &'a Delivery) -> BoxFuture<'a, Outcome> {
        ready(Outcome::Delivered { status: None }).boxed()
    }
}

/// A way in over a store in a temporary directory.
struct Bench {
    pipeline: Pipeline,
    store: Store,
    metrics: Arc<Metrics>,
    policy: PolicyStore,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new(rules: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let store = Store::open(directory.path(), &StorageConfig::default(), &clock).unwrap();
        let outlets = Outlets {
            journal: store.journal().clone(),
            ledger: store.ledger().clone(),
            sink: Arc::new(Nowhere),
            keys: Arc::new(Keys::open(&SecretsConfig::default(), directory.path()).unwrap()),
            quarantine: QuarantineConfig::default(),
            clock,
        };
        let dispatch = Dispatch::recover(outlets).unwrap();
        let metrics = Arc::new(Metrics::default());
        let policy = PolicyStore::new(policy(rules));
        let authorizer = Authorizer::new(policy.clone(), Arc::clone(&metrics));
        let journal = store.journal().clone();
        let quarantine = Arc::clone(dispatch.quarantine());
        let validator = Validator::new(DeclaredStore::default(), quarantine, Arc::clone(&metrics));
        let sieves = (authorizer, validator);
        let pipeline = Pipeline::new(sieves, journal, Arc::clone(&dispatch), Arc::clone(&metrics));
        Self { pipeline, store, metrics, policy, _directory: directory }
    }

    /// The journal as `source id`.
    fn journal(&self) -> Vec<String> {
        let events = self.store.journal().scan(Sequence::FIRST, 1000, usize::MAX).unwrap();
        events.iter().map(|one| format!("{} {}", one.event.source(), one.event.id())).collect()
    }

    fn forbidden(&self, reason: &str) -> u64 {
        let line = format!("event_gateway_events_forbidden_total{{reason=\"{reason}\"}} ");
        let text = self.metrics.render(&Levels::default());
        let value = text.lines().find_map(|found| found.strip_prefix(&line));
        value.unwrap().parse().unwrap()
    }
}

fn policy(rules: &str) -> Policy {
    Policy::compile(&toml::from_str::<PolicyConfig>(rules).unwrap()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "somebody has to be recognized here")]
fn principal(name: &str) -> Arc<Principal> {
    Arc::new(Principal::vouch_for(name, Method::Bearer, None).for_application(name))
}

fn submission(principal: &Arc<Principal>, source: &str, id: &str) -> Submission {
    let mut builder = CloudEvent::builder();
    for (name, text) in [("specversion", "1.0"), ("id", id), ("source", source), ("type", "t")] {
        builder.attribute(name, text).unwrap();
    }
    let origin = Origin {
        protocol: Protocol::Http,
        binding: Binding::Batch,
        remote: None,
        address: "/events".into(),
        client_id: None,
    };
    Submission::new(builder.build().unwrap(), Arc::clone(principal), origin)
}

fn with_extension(mut submission: Submission, name: &str) -> Submission {
    let name = eg_event::AttributeName::parse(name).unwrap();
    let value = eg_event::AttributeValue::String("x".into());
    submission.event = submission.event.with_extension(name, value);
    submission
}

#[tokio::test]
async fn every_event_of_a_batch_stands_alone_and_nothing_of_a_refused_one_is_stored() {
    let bench = Bench::new("");
    let shop = principal("shop");
    let sources = ["/bank", "/shop", "/shop", "shop", "/bank", "/bank", "/shop/1", "/shops"];
    let batch =
        sources.iter().enumerate().map(|(n, source)| submission(&shop, source, &n.to_string()));
    let answers = bench.pipeline.ingest(batch.collect()).await;
    assert_eq!(answers.len(), sources.len());
    for (place, (answer, source)) in answers.iter().zip(sources).enumerate() {
        match answer {
            Ok(receipt) => {
                assert!(["/shop", "shop", "/shop/1"].contains(&source), "{source}");
                assert_eq!((&*receipt.source, &*receipt.id), (source, &*place.to_string()));
            }
            Err(refusal) => {
                assert!(["/bank", "/shops"].contains(&source), "{source}");
                let text = refusal.to_string();
                assert!(text.contains("source: expected shop, /shop"), "{text}");
                assert!(text.contains(&format!("found {source:?}")), "{text}");
            }
        }
    }
    assert_eq!(bench.journal(), ["/shop 1", "/shop 2", "shop 3", "/shop/1 6"]);
    assert_eq!(bench.forbidden("source"), 4);
}

#[tokio::test]
async fn a_batch_of_which_nothing_is_allowed_is_answered_without_the_journal() {
    let bench = Bench::new("");
    let shop = principal("shop");
    let batch = vec![submission(&shop, "/bank", "1"), submission(&shop, "/bank", "2")];
    let answers = bench.pipeline.ingest(batch).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(Refusal::Forbidden(_)))));
    assert_eq!((answers.len(), bench.journal().len()), (2, 0));
    assert!(bench.pipeline.ingest(Vec::new()).await.is_empty());
}

#[tokio::test]
async fn nobody_speaks_for_the_gateway_or_says_who_they_are() {
    let bench = Bench::new("source_binding = \"none\"");
    let shop = principal("shop");
    let batch = vec![
        submission(&shop, "/event-gateway/audit", "1"),
        submission(&shop, "/event-gateway", "2"),
        submission(&shop, "/any", "3"),
        with_extension(submission(&shop, "/any", "4"), "authid"),
        with_extension(submission(&shop, "/any", "5"), "authtype"),
        with_extension(submission(&shop, "/any", "6"), "authclaims"),
        with_extension(submission(&shop, "/any", "7"), "region"),
    ];
    let answers = bench.pipeline.ingest(batch).await;
    let said: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().err().map(ToString::to_string)).collect();
    assert!(said[0].as_ref().unwrap().contains("source: "), "{said:?}");
    assert!(said[3].as_ref().unwrap().contains("authid: "), "{said:?}");
    assert_eq!(bench.journal(), ["/any 3", "/any 7"]);
    assert_eq!((bench.forbidden("reserved_source"), bench.forbidden("authcontext")), (2, 3));
}

#[tokio::test]
async fn topics_client_identifiers_and_paths_count() {
    let bench = Bench::new(
        "[[rules]]\neffect = \"allow\"\nprincipals = [\"*\"]\nactions = [\"publish\"]\n\
         topics = [\"devices/${client_id}/+\"]\nsources = [\"/mqtt/${client_id}\"]\n\
         [[rules]]\neffect = \"allow\"\nprincipals = [\"*\"]\nactions = [\"publish\"]\n\
         applications = [\"shop\"]\nsources = [\"/kyma\"]",
    );
    let mqtt = |topic: &str, client_id: &str, source: &str| {
        let mut submission = submission(&principal("device"), source, topic);
        submission.origin = Origin {
            protocol: Protocol::Mqtt5,
            binding: Binding::Mapped,
            address: topic.into(),
            client_id: Some(client_id.into()),
            ..submission.origin
        };
        submission
    };
    let kyma = |path: &str| {
        let mut submission = submission(&principal("shop"), "/kyma", path);
        submission.origin.binding = Binding::KymaV1;
        submission.origin.address = path.into();
        submission
    };
    let rows = [
        (mqtt("devices/7/t", "7", "/mqtt/7"), true),
        (mqtt("devices/8/t", "7", "/mqtt/7"), false),
        (mqtt("devices/7/t", "7", "/mqtt/8"), false),
        (mqtt("devices/+/t", "+", "/mqtt/%2B"), false),
        (kyma("/shop/v1/events"), true),
        (kyma("/bank/v1/events"), false),
    ];
    let (batch, expected): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let answers = bench.pipeline.ingest(batch).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_policy_that_is_replaced_holds_from_the_next_event_on() {
    let bench = Bench::new("");
    let shop = principal("shop");
    let publish = async |id: &str| {
        let answers = bench.pipeline.ingest(vec![submission(&shop, "/shop", id)]).await;
        answers[0].is_ok()
    };
    assert!(publish("1").await);
    let deny = "[[rules]]\nname = \"closed\"\neffect = \"deny\"\nprincipals = [\"shop\"]\n\
        actions = [\"publish\"]";
    bench.policy.replace(policy(deny));
    assert!(!publish("2").await);
    assert_eq!(bench.forbidden("rule"), 1);
    bench.policy.replace(policy(""));
    assert!(publish("3").await);
}
