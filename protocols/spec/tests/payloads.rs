//! What messages are declared to be, and whether payloads are that.
#![expect(clippy::unwrap_used, reason = "a test may stop here")]

use std::time::{Duration, Instant};

use eg_spec::{
    Action, CloudEventMode, CompileError, Document, Fetched, Format, Limits, PayloadSchema, Spec,
};

fn spec(text: &str) -> Spec {
    let document =
        Document::parse(text.as_bytes(), Format::Yaml, None, &Limits::default()).unwrap();
    Spec::read(&document, &Fetched::default()).unwrap()
}

/// The schema of a payload, beside a definition `node` that it may refer to.
fn compile(payload: &str, node: &str) -> Result<PayloadSchema, CompileError> {
    let spec = spec(&format!(
        "{{asyncapi: 3.0.0, info: {{title: L, version: '1'}}, channels: {{c: {{address: a, \
         messages: {{m: {{payload: {payload}}}}}}}}}, components: {{schemas: {{node: {node}}}}}}}"
    ));
    PayloadSchema::compile(spec.channels[0].messages[0].payload.as_ref().unwrap(), 3)
}

const NODE: &str = "{$ref: '#/components/schemas/node'}";

#[test]
fn a_violation_names_value_keyword_and_what_was_expected() {
    let schema =
        compile("{properties: {a: {type: integer, maximum: 5}}, required: [b]}", "{}").unwrap();
    let violations = schema.validate(br#"{"a": 7}"#).unwrap_err();
    let told: Vec<_> = violations
        .iter()
        .map(|one| (one.pointer.as_str(), one.schema_pointer.pointer.as_str(), &*one.expected))
        .collect();
    let payload = "/channels/c/messages/m/payload";
    let maximum = format!("{payload}/properties/a/maximum");
    let required = format!("{payload}/required");
    assert!(told.contains(&("/a", &maximum, "at most 5")), "{told:?}");
    assert!(told.contains(&("", &required, "the member \"b\"")), "{told:?}");
}

#[test]
fn violations_do_not_repeat_the_payload_and_are_bounded() {
    let schema = compile("{items: {enum: [a, b]}}", "{}").unwrap();
    let violations = schema.validate(br#"["secret", "secret", "secret", "secret"]"#).unwrap_err();
    assert_eq!(violations.len(), 3);
    assert!(!format!("{violations:?}").contains("secret"));
}

#[test]
fn what_is_not_json_is_told_so() {
    let violations = compile("{}", "{}").unwrap().validate(b"{oops").unwrap_err();
    assert!(violations[0].expected.starts_with("JSON"), "{violations:?}");
}

#[test]
fn schemas_in_other_languages_are_told_as_unsupported_and_the_document_is_read() {
    let avro = "application/vnd.apache.avro;version=1.9.0";
    let refused = compile(&format!("{{schemaFormat: {avro}, schema: {{type: 'null'}}}}"), "{}");
    assert_eq!(refused.unwrap_err(), CompileError::Unsupported(avro.to_owned()));
}

#[test]
fn a_recursive_schema_checks_every_level() {
    let node = format!("{{type: object, properties: {{next: {NODE}, name: {{type: string}}}}}}");
    let schema = compile(NODE, &node).unwrap();
    schema.validate(br#"{"next": {"next": {"name": "a"}}}"#).unwrap();
    let violations = schema.validate(br#"{"next": {"next": {"name": 1}}}"#).unwrap_err();
    assert_eq!(violations[0].pointer.as_str(), "/next/next/name");
}

#[test]
fn a_schema_that_applies_itself_to_the_same_value_is_refused() {
    let refused = compile(NODE, &format!("{{anyOf: [{NODE}, {{type: string}}]}}"));
    assert!(matches!(refused.unwrap_err(), CompileError::Invalid { .. }));
}

#[test]
fn a_schema_that_looks_twice_at_every_level_ends_in_time() {
    let form = format!("{{properties: {{next: {NODE}}}, required: [never]}}");
    let schema = compile(NODE, &format!("{{anyOf: [{form}, {form}, {{type: string}}]}}")).unwrap();
    let payload = format!("{}1{}", "{\"next\":".repeat(60), "}".repeat(60));
    let begin = Instant::now();
    let violations = schema.validate(payload.as_bytes()).unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(violations[0].expected.contains("inside one another"), "{violations:?}");
}

#[test]
fn a_pattern_that_goes_back_without_end_ends_in_time() {
    let schema = compile("{type: string, pattern: '^(a+)+(?=b)$'}", "{}").unwrap();
    let begin = Instant::now();
    assert!(schema.validate(format!("\"{}\"", "a".repeat(50_000)).as_bytes()).is_err());
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn publish_of_2_x_is_what_the_application_receives() {
    let spec = spec(
        "asyncapi: 2.6.0\ninfo: {title: L, version: '1'}\nchannels:\n  lamps/{id}:\n    \
         publish: {message: {payload: {type: string}, contentType: text/plain}}\n    \
         subscribe: {x-deprecated: true, operationId: out}\n",
    );
    let actions: Vec<_> = spec.operations.iter().map(|one| (&*one.name, one.action)).collect();
    assert_eq!(actions, [("publish lamps/{id}", Action::Receive), ("out", Action::Send)]);
    assert!(spec.operations[1].deprecated);
    assert_eq!(spec.channels[0].messages[0].content_type.as_deref(), Some("text/plain"));
}

#[test]
fn a_cloud_event_is_recognized_by_its_trait() {
    let spec = spec(
        "asyncapi: 3.0.0\ninfo: {title: L, version: '1'}\nchannels:\n  c:\n    address: a\n    \
         messages:\n      m:\n        traits: [{$ref: '#/components/messageTraits/event'}]\n\
         components:\n  messageTraits:\n    event:\n      headers:\n        type: object\n        \
         properties:\n          ce-specversion: {type: string, const: '1.0'}\n          \
         ce-type: {type: string, enum: [lamp.lit]}\n          ce-source: {type: string}\n",
    );
    let event = spec.channels[0].messages[0].cloud_event.as_ref().unwrap();
    assert_eq!(event.mode, CloudEventMode::Binary);
    assert_eq!(event.attributes["type"].as_deref(), Some("lamp.lit"));
    assert_eq!(event.attributes["source"], None);
}
