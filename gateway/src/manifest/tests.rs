//! Facts about how manifests are read.

use super::*;
use serde_json::json;

fn file(text: &str) -> File {
    File { name: "a.yaml".to_owned(), text: text.to_owned() }
}

/// As Kyma's documents have it, with what a cluster adds.
const SUBSCRIPTION: &str = "\
apiVersion: eventing.kyma-project.io/v1alpha1
kind: Subscription
metadata:
  name: test-sub
  namespace: production
  labels:
    example: event-bus-lambda-subscription
  creationTimestamp: 2019-07-11T10:00:00Z
spec:
  endpoint: http://hello.production.svc.cluster.local:8080/
  push_request_timeout_ms: 2000
  max_inflight: 400
  include_subscription_name_header: true
  event_type: order-created
  event_type_version: v1
  source_id: external-application
status:
  conditions: []
";
const ACTIVATION: &str = "\
apiVersion: applicationconnector.kyma-project.io/v1alpha1
kind: EventActivation
metadata:
  name: ec-default
  namespace: production
spec:
  displayName: EC Default
  sourceId: external-application
";

#[test]
fn manifests_of_kyma_are_read_as_they_are() {
    let both = format!("---\n{SUBSCRIPTION}---\n\n---\n{ACTIVATION}");
    let read = read(&[file(&both)]).unwrap();
    let keys: Vec<_> = read.iter().map(|one| (one.asked.kind(), one.asked.key())).collect();
    let expected =
        [("Subscription", "production/test-sub"), ("EventActivation", "production/ec-default")];
    assert_eq!(keys, expected.map(|(kind, key)| (kind, key.to_owned())));
    let Asked::Subscription(asked) = &read[0].asked else { panic!("{:?}", read[0].asked) };
    let made = asked.onto(None).unwrap();
    assert_eq!((made.max_in_flight, made.request_timeout_ms), (400, 2000));
    assert_eq!(made.content_mode, eg_event::subscription::ContentMode::Kyma);
    assert_eq!(read[1].place.line(), 23);
}

#[test]
fn what_a_manifest_cannot_say_stays_and_the_same_manifest_changes_nothing() {
    let read = read(&[file(SUBSCRIPTION)]).unwrap();
    let Asked::Subscription(asked) = &read[0].asked else { panic!("{:?}", read[0].asked) };
    let mut old = asked.onto(None).unwrap();
    old.retry.max_attempts = 7;
    assert_eq!(asked.onto(Some(&old)).unwrap(), old);
    let new = asked.onto(Some(&Subscription { max_in_flight: 1, ..old.clone() })).unwrap();
    assert_eq!(new, old);
    let changed =
        differences_of_subscription(Some(&Subscription { max_in_flight: 1, ..old }), &new);
    let expected = Difference { field: "max_inflight", from: json!(1), to: json!(400) };
    assert_eq!(changed, [expected]);
}

#[test]
fn what_is_wrong_is_told_with_line_column_and_field() {
    let rows = [
        (
            "max_inflight: 400",
            "max_inflights: 400",
            "a.yaml:12:3: spec.max_inflights: unknown field; did you mean \"max_inflight\"?",
        ),
        (
            "max_inflight: 400",
            "max_inflight: 401",
            "a.yaml:12:3: spec.max_inflight: expected a whole number from 1 to 400",
        ),
        (
            "push_request_timeout_ms: 2000",
            "push_request_timeout_ms: fast",
            "a.yaml:11:3: spec.push_request_timeout_ms: expected a whole number from 0 to 60000",
        ),
        (
            "event_type_version: v1",
            "event_type_version: 12345",
            "a.yaml:15:3: spec.event_type_version: ",
        ),
        (
            "source_id: external-application",
            "source_id: /a",
            "a.yaml:16:3: spec.source_id: expected 1 to 253",
        ),
        ("  event_type: order-created\n", "", "a.yaml:9:1: spec.event_type: expected 1 to 253"),
        ("  name: test-sub\n", "", "a.yaml:3:1: metadata.name: expected 1 to 253"),
        (
            "namespace: production",
            "namespace: Prod",
            "a.yaml:5:3: metadata.namespace: expected 1 to 63",
        ),
        (
            "kind: Subscription",
            "kind: Subscripton",
            "a.yaml:2:1: kind: expected \"Subscription\", \"EventActivation\"",
        ),
        (
            "kyma-project.io/v1alpha1",
            "kyma-project.io/v2",
            "a.yaml:1:1: apiVersion: expected \"eventing.",
        ),
        (
            "http://hello",
            "ftp://hello",
            "a.yaml:10:3: spec.endpoint: expected an http or https URL",
        ),
        ("metadata:", "metadata", "a.yaml:"),
        ("status:", "statos:", "a.yaml:17:1: statos: unknown field; did you mean \"status\"?"),
    ];
    for (good, bad, expected) in rows {
        let faults = read(&[file(&SUBSCRIPTION.replacen(good, bad, 1))]).unwrap_err();
        assert!(faults.to_string().starts_with(expected), "{bad}: {faults}");
    }
    for text in ["[]", "text", "{\"kind\": 1}"] {
        assert!(read(&[file(text)]).is_err(), "{text}");
    }
}

#[test]
fn nothing_is_asked_for_twice() {
    let twice = [file(ACTIVATION), file(&format!("{ACTIVATION}---\n{SUBSCRIPTION}"))];
    let faults = read(&twice).unwrap_err();
    let expected = "a.yaml:4:3: metadata.name: expected only once: a.yaml:1 has it too";
    assert_eq!(faults.to_string(), expected);
}
