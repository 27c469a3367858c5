//! The validator against one that looks at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eg_event::{Subscription, Timestamp};
use proptest::prelude::*;

use super::{Activated, Edits, EventActivation, Validator, is_dotted};

#[test]
fn source_ids_are_what_kyma_takes() {
    for good in ["a", "ec-default", "Commerce.mock-1.x", &"x".repeat(253)] {
        assert!(is_dotted(good), "{good}");
    }
    for bad in ["", ".", "a.", "-a", "a-", "a..b", "a.-b", "a_b", "/a", "a b", &"x".repeat(254)] {
        assert!(!is_dotted(bad), "{bad}");
    }
}

#[test]
fn an_activation_that_breaks_a_rule_is_refused_by_field() {
    let good = activation("prod", "a", "shop").activation;
    assert_eq!(good.check(), Ok(()));
    let rows: [(&str, EventActivation); 4] = [
        ("namespace", EventActivation { namespace: "Prod".into(), ..(*good).clone() }),
        ("name", EventActivation { name: "a/b".into(), ..(*good).clone() }),
        ("sourceId", EventActivation { source_id: "/shop".into(), ..(*good).clone() }),
        ("displayName", EventActivation { display_name: "x".repeat(1025), ..(*good).clone() }),
    ];
    for (field, bad) in rows {
        assert_eq!(bad.check().unwrap_err().field, field);
    }
}

/// Something that is done to either kind.
#[derive(Clone, Debug)]
enum Step {
    /// An activation of this namespace and name is for this source; `None`: it is removed.
    Activate(u8, u8, Option<u8>),
    /// A subscription of this namespace and name asks for this source; `None`: it is removed.
    Subscribe(Option<u8>, u8, Option<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let (few, source) = (|| 0..3u8, || prop::option::weighted(0.7, 0..3u8));
    prop_oneof![
        (few(), few(), source()).prop_map(|(n, a, s)| Step::Activate(n, a, s)),
        (prop::option::weighted(0.9, few()), few(), source())
            .prop_map(|(n, a, s)| Step::Subscribe(n, a, s)),
    ]
}

fn activation(namespace: &str, name: &str, source: &str) -> Activated {
    let activation = EventActivation {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        source_id: source.to_owned(),
        display_name: String::new(),
    };
    let (created_at, updated_at) = (Timestamp::default(), Timestamp::default());
    Activated { activation: Arc::new(activation), created_at, updated_at }
}

/// Both kinds, and which subscriptions are switched on.
#[derive(Default)]
struct Naive {
    activations: BTreeMap<String, Activated>,
    subscriptions: BTreeMap<String, Subscription>,
}

impl Naive {
    fn activated(&self) -> BTreeSet<String> {
        let is_activated = |subscription: &&Subscription| {
            let Some(namespace) = &subscription.namespace else { return true };
            self.activations.values().any(|one| {
                one.activation.namespace == *namespace
                    && Some(&one.activation.source_id) == subscription.source.as_ref()
            })
        };
        let activated = self.subscriptions.values().filter(is_activated);
        activated.map(|one| one.key().into_owned()).collect()
    }
}

proptest! {
    #[test]
    fn whoever_looks_up_by_source_finds_what_looking_at_everything_finds(
        transactions in prop::collection::vec(prop::collection::vec(step(), 1..4), 1..40),
    ) {
        let (mut validator, mut naive) = (Validator::default(), Naive::default());
        let mut on: BTreeSet<String> = BTreeSet::new();
        for steps in transactions {
            let mut edits = Edits::new();
            let mut subscribed: BTreeMap<String, Option<Subscription>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Activate(n, name, source) => {
                        let (n, name) = (format!("n{n}"), format!("a{name}"));
                        let key = format!("{n}/{name}");
                        let new = source.map(|s| activation(&n, &name, &format!("s{s}")));
                        edits.insert(key, new);
                    }
                    Step::Subscribe(namespace, name, source) => {
                        let mut one = Subscription::new(format!("x{name}"), "http://x.test/");
                        one.namespace = namespace.map(|n| format!("n{n}"));
                        one.source = source.map(|s| format!("s{s}"));
                        let key = one.key().into_owned();
                        subscribed.insert(key, source.map(|_| one));
                    }
                }
            }
            // What the dispatcher does: look ahead, then switch those that are concerned.
            let outlook = validator.outlook(&edits);
            for key in outlook.switched() {
                if let Some(one) = naive.subscriptions.get(&key) {
                    if outlook.is_activated(one) { on.insert(key); } else { on.remove(&key); }
                }
            }
            for (key, new) in &subscribed {
                match new {
                    Some(one) if outlook.is_activated(one) => on.insert(key.clone()),
                    _ => on.remove(key),
                };
            }
            validator.edit(edits.clone());
            for (key, edit) in edits {
                match edit {
                    Some(new) => naive.activations.insert(key, new),
                    None => naive.activations.remove(&key),
                };
            }
            for (key, new) in subscribed {
                let old = naive.subscriptions.remove(&key);
                match (new, old) {
                    (Some(new), old) => {
                        validator.govern(&new, old.as_ref());
                        naive.subscriptions.insert(key, new);
                    }
                    (None, Some(old)) => validator.release(&old),
                    (None, None) => {}
                }
            }
            prop_assert_eq!(&on, &naive.activated());
            prop_assert_eq!(validator.activations(), &naive.activations);
        }
    }
}
