//! Public documents of both major versions are read, or refused for a reason that is true.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop here")]

use std::fs;
use std::path::{Path, PathBuf};

use eg_spec::{
    Action, Document, Fetched, Format, Invalid, Limits, PayloadSchema, SchemaFormat, Spec,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples")
}

fn examples() -> Vec<PathBuf> {
    let folders = ["v2", "v3"].map(|version| fs::read_dir(folder().join(version)).unwrap());
    folders.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

fn document(path: &Path) -> Document {
    let text = fs::read(path).unwrap();
    let limits = Limits::default();
    let read = Document::parse(&text, Format::guess(&text), None, &limits);
    read.unwrap_or_else(|invalid| panic!("{}: {invalid}", path.display()))
}

fn spec(name: &str) -> Spec {
    Spec::read(&document(&folder().join(name)), &Fetched::default()).unwrap()
}

#[test]
fn every_public_document_is_valid_and_all_but_those_that_refer_elsewhere_are_read() {
    let mut read = 0;
    for path in examples() {
        let document = document(&path);
        match Spec::read(&document, &Fetched::default()) {
            Ok(spec) => {
                assert!(!spec.channels.is_empty(), "{}", path.display());
                read += 1;
            }
            Err(Invalid { errors, .. }) => {
                let missing = document.unfetched(&Fetched::default());
                let is_missing =
                    |expected: &str| missing.iter().any(|one| expected.contains(&one.url));
                assert!(errors.iter().all(|error| is_missing(&error.expected)), "{errors:?}");
            }
        }
    }
    assert!(read >= 38, "{read} documents are read");
}

#[test]
fn every_schema_of_public_documents_is_compiled_and_examples_that_are_wrong_are_found() {
    let (mut compiled, mut passed, mut failed) = (0, 0, Vec::new());
    for path in examples() {
        let Ok(spec) = Spec::read(&document(&path), &Fetched::default()) else { continue };
        for message in spec.channels.iter().flat_map(|channel| &channel.messages) {
            let Some(payload) = &message.payload else { continue };
            let schema = PayloadSchema::compile(payload, 10);
            let schema = schema.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            for example in message.examples.iter().filter_map(|example| example.payload.as_ref()) {
                match schema.validate_value(example) {
                    Ok(()) => passed += 1,
                    Err(violations) => {
                        failed.extend(
                            violations.iter().map(|one| (message.key.clone(), one.to_string())),
                        );
                    }
                }
            }
            compiled += 1;
        }
    }
    assert!(compiled > 50 && passed > 0, "{compiled} schemas, {passed} examples");
    // Kraken's documents declare `pair` as a list of pairs, and show a single one.
    let pair = ("subscriptionStatus".to_owned(), "at \"/pair\": expected an array".to_owned());
    assert!(failed.contains(&pair), "{failed:?}");
    assert!(failed.iter().all(|(key, _)| key == "subscriptionStatus"), "{failed:?}");
}

#[test]
fn both_versions_of_one_document_mean_the_same() {
    let two = spec("v2/streetlights-mqtt.yml");
    let three = spec("v3/streetlights-mqtt-asyncapi.yml");
    for action in [Action::Send, Action::Receive] {
        let count = |spec: &Spec| spec.operations.iter().filter(|one| one.action == action).count();
        assert_eq!(count(&two), count(&three), "{action:?}");
    }
    let addresses = |spec: &Spec| {
        let addresses = spec.channels.iter().map(|channel| channel.address.clone().unwrap());
        let mut addresses: Vec<String> = addresses.collect();
        addresses.sort();
        addresses
    };
    assert_eq!(addresses(&two), addresses(&three));
    for spec in [two, three] {
        let measured =
            spec.channels.iter().find(|channel| channel.name.contains("easured")).unwrap();
        assert_eq!(measured.parameters[0].name, "streetlightId");
        let message = &measured.messages[0];
        assert_eq!(message.content_type.as_deref(), Some("application/json"));
        assert!(message.headers.is_some(), "the trait brings headers");
        let operation = spec.operations.iter().find(|one| one.channel == measured.name).unwrap();
        assert_eq!(operation.bindings["mqtt"]["qos"].as_i64().or(Some(1)), Some(1));
        let payload = message.payload.as_ref().unwrap();
        assert_eq!(payload.format(), SchemaFormat::AsyncApi);
        let schema = PayloadSchema::compile(payload, 10).unwrap();
        schema.validate(br#"{"lumens": 1, "sentAt": "2026-01-01T00:00:00Z"}"#).unwrap();
        let violations = schema.validate(br#"{"lumens": -1}"#).unwrap_err();
        assert_eq!(violations[0].pointer.as_str(), "/lumens");
        assert_eq!(
            violations[0].schema_pointer.pointer.as_str(),
            "/components/schemas/lightMeasuredPayload/properties/lumens/minimum"
        );
    }
}
