//! What a document may be, and how it is told what is wrong.
#![expect(clippy::unwrap_used, reason = "a test may stop here")]

use eg_spec::{Document, Fetched, Format, Invalid, Limits, Spec, SpecError};
use proptest::prelude::*;
use serde_json::{Value, json};

fn parse(text: &str) -> Result<Document, Invalid> {
    Document::parse(text.as_bytes(), Format::guess(text.as_bytes()), None, &Limits::default())
}

fn read(text: &str) -> Result<Spec, Invalid> {
    Spec::read(&parse(text)?, &Fetched::default())
}

fn only_error(text: &str) -> SpecError {
    let invalid = read(text).unwrap_err();
    assert_eq!((invalid.errors.len(), invalid.untold), (1, 0), "{invalid}");
    invalid.errors[0].clone()
}

fn place(error: &SpecError) -> (&str, usize, usize) {
    let position = error.position.unwrap();
    (error.pointer.as_str(), position.line, position.column)
}

const HEAD: &str = "asyncapi: 3.0.0\ninfo: {title: Lamps, version: '1'}\n";

#[test]
fn yaml_errors_have_line_and_column() {
    let error = only_error("asyncapi: 3.0.0\ninfo: {title: [}\n");
    assert_eq!(place(&error), ("", 2, 16));
    assert!(error.expected.starts_with("YAML: "), "{error}");
}

#[test]
fn json_errors_have_line_and_column() {
    let error = only_error("{\"asyncapi\": \"3.0.0\",\n \"info\": oops}");
    assert_eq!(place(&error), ("", 2, 10));
}

#[test]
fn an_unknown_member_is_named_at_its_name_in_json_and_yaml() {
    let yaml = format!("{HEAD}channels:\n  lit:\n    colour: red\n");
    assert_eq!(place(&only_error(&yaml)), ("/channels/lit/colour", 5, 5));
    let json = "{\"asyncapi\": \"3.0.0\", \"info\": {\"title\": \"L\", \"version\": \"1\"},\n\
                \"channels\": {\"lit\":\n  {\"colour\": \"red\"}}}";
    assert_eq!(place(&only_error(json)), ("/channels/lit/colour", 3, 4));
}

#[test]
fn several_errors_are_told_at_once_but_not_more_than_the_limit() {
    let channels: Vec<String> = (0..30).map(|index| format!("c{index}: {{colour: red}}")).collect();
    let invalid = read(&format!("{HEAD}channels: {{{}}}", channels.join(", "))).unwrap_err();
    assert_eq!((invalid.errors.len(), invalid.untold), (20, 10));
}

#[test]
fn a_member_that_stands_twice_is_refused_in_json_and_yaml() {
    let error = only_error("asyncapi: 3.0.0\ninfo: {title: a,\n title: b}\n");
    assert_eq!((place(&error), &*error.expected), (("", 3, 2), "\"title\" only once"));
    let error = only_error("{\"asyncapi\": \"3.0.0\",\n\"asyncapi\": \"3.0.0\"}");
    assert_eq!(place(&error), ("", 2, 1));
}

#[test]
fn a_billion_laughs_are_refused() {
    let mut lines = vec![format!("{HEAD}x-0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]")];
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        let aliases = [alias.as_str(); 9].join(", ");
        lines.push(format!("x-{level}: &a{level} [{aliases}]"));
    }
    assert!(only_error(&lines.join("\n")).expected.contains("every alias expanded"));
}

#[test]
fn an_alias_and_a_merge_key_mean_what_they_refer_to() {
    let spec = read(&format!(
        "{HEAD}x-base: &base {{title: Base, description: Same}}\n\
         channels:\n  lit: {{<<: *base, title: Lit, address: a}}\n  out: *base\n"
    ));
    let spec = spec.unwrap();
    assert_eq!(spec.channels[0].title.as_deref(), Some("Lit"));
    assert_eq!(spec.channels[0].description.as_deref(), Some("Same"));
    assert_eq!(spec.channels[1].title.as_deref(), Some("Base"));
}

#[test]
fn every_limit_is_kept() {
    let limits = Limits {
        document_bytes_max: 4000,
        depth_max: 8,
        channels_max: 2,
        references_max: 1,
        ..Limits::default()
    };
    let refused = |text: &str, expected: &str| {
        let format = Format::guess(text.as_bytes());
        let invalid = Document::parse(text.as_bytes(), format, None, &limits).unwrap_err();
        let told = invalid.errors.iter().any(|error| error.expected.contains(expected));
        assert!(told, "{invalid}");
    };
    refused(&" ".repeat(4001), "at most 4000 bytes, not 4001");
    refused(&format!("{HEAD}channels: {{a: {{}}, b: {{}}, c: {{}}}}"), "at most 2 channels, not 3");
    refused(&format!("{HEAD}x-a: [{{$ref: '#/a'}}, {{$ref: '#/a'}}]"), "at most 1 $ref, not 2");
    refused(&format!("{HEAD}x-a: [[[[[[[[1]]]]]]]]"), "at most 8 values inside one another");
    refused(&format!("{{\"x\": {}1{}}}", "[".repeat(9), "]".repeat(9)), "at most 8 values");
}

#[test]
fn other_versions_and_other_things_are_refused() {
    assert_eq!(only_error("asyncapi: 1.2.0").pointer.as_str(), "/asyncapi");
    assert!(only_error("openapi: 3.1.0").expected.contains("\"asyncapi\""));
    assert_eq!(only_error("- a").expected, "an object");
    assert_eq!(only_error("a: 1\n---\nb: 2").expected, "one YAML document");
}

#[test]
fn documents_of_2_0_to_2_5_are_read_as_2_6() {
    for minor in 0..=6 {
        let text =
            format!("asyncapi: 2.{minor}.0\ninfo: {{title: L, version: '1'}}\nchannels: {{}}");
        read(&text).unwrap();
    }
}

#[test]
fn remote_references_are_listed_until_all_are_fetched() {
    let text = format!("{HEAD}channels:\n  lit:\n    $ref: 'parts.yaml#/lit'\n");
    let limits = Limits::default();
    let base = Some("https://specs.test/a/main.yaml");
    let document = Document::parse(text.as_bytes(), Format::Yaml, base, &limits).unwrap();
    let mut fetched = Fetched::default();
    let missing = document.unfetched(&fetched);
    assert_eq!(missing[0].url, "https://specs.test/a/parts.yaml");
    assert_eq!((missing[0].pointer.as_str(), missing[0].position.line), ("/channels/lit", 4));

    let part = "lit: {address: a, messages: {m: {$ref: '../b.yaml#/m'}}}";
    fetched.insert(&missing[0].url, part.as_bytes(), Format::Yaml, &limits).unwrap();
    let missing = document.unfetched(&fetched);
    assert_eq!(missing[0].url, "https://specs.test/b.yaml");
    assert_eq!(missing[0].document.as_deref(), Some("https://specs.test/a/parts.yaml"));

    let part = "m: {payload: {$ref: '#/p'}}\np: {type: integer}";
    fetched.insert(&missing[0].url, part.as_bytes(), Format::Yaml, &limits).unwrap();
    assert!(document.unfetched(&fetched).is_empty());
    let spec = Spec::read(&document, &fetched).unwrap();
    let payload = spec.channels[0].messages[0].payload.as_ref().unwrap();
    assert_eq!(payload.root(), &json!({"type": "integer"}));
}

#[test]
fn what_was_not_fetched_and_what_leads_nowhere_is_told() {
    let text = format!("{HEAD}channels: {{lit: {{$ref: 'https://a.test/b.yaml#/c'}}}}");
    assert!(only_error(&text).expected.contains("https://a.test/b.yaml, which was not fetched"));
    let text = format!("{HEAD}channels: {{lit: {{$ref: '#/channels/lit'}}}}");
    assert!(only_error(&text).expected.contains("does not lead back to itself"));
}

/// Every error names a value that exists.
fn assert_pointers_exist(text: &str, value: &Value) {
    let Err(invalid) = read(text) else { return };
    for error in &invalid.errors {
        // A member that should not be there, or one that is missed in what is there.
        assert!(error.pointer.find(value).is_some(), "{error} in {text}");
        assert!(error.position.is_some(), "{error}");
    }
}

fn sample() -> Value {
    let text = include_str!("examples/v3/streetlights-mqtt-asyncapi.yml");
    parse(text).unwrap().value().clone()
}

/// Every place of a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let step = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| pointers(member, &step(name), found));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, item)| pointers(item, &step(&index.to_string()), found));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Yaml, Format::Json] {
            drop(Document::parse(&bytes, format, None, &Limits::default()));
        }
    }

    #[test]
    fn no_yaml_breaks_the_reader(text in "[\\[\\]{}:,&*!|>'\"#\\-?a1 \n]{0,60}") {
        drop(Document::parse(text.as_bytes(), Format::Yaml, None, &Limits::default()));
    }

    #[test]
    fn a_document_that_is_cut_or_altered_breaks_nothing(at in 0_usize..6000, byte in any::<u8>()) {
        let mut text = include_bytes!("examples/v3/streetlights-mqtt-asyncapi.yml").to_vec();
        let at = at % text.len();
        text[at] = byte;
        for text in [&text[..], &text[..at]] {
            if let Ok(document) = Document::parse(text, Format::Yaml, None, &Limits::default()) {
                drop(Spec::read(&document, &Fetched::default()));
            }
        }
    }

    #[test]
    fn a_document_that_is_mutated_anywhere_has_errors_at_places_that_exist(
        place in any::<prop::sample::Index>(), with in 0_usize..6,
    ) {
        let mut value = sample();
        let mut places = Vec::new();
        pointers(&value, "", &mut places);
        let wrong = [json!(null), json!(7), json!("?"), json!([]), json!({}), json!({"$ref": "#/no"})];
        *value.pointer_mut(&places[place.index(places.len())]).unwrap() = wrong[with].clone();
        assert_pointers_exist(&value.to_string(), &value);
    }

    #[test]
    fn a_document_is_the_same_in_json_and_yaml(place in any::<prop::sample::Index>()) {
        let value = sample();
        let mut places = Vec::new();
        pointers(&value, "", &mut places);
        // JSON is YAML: what one reader places, the other one does too.
        let text = serde_json::to_string_pretty(&value).unwrap();
        let [json, yaml] = [Format::Json, Format::Yaml]
            .map(|format| Document::parse(text.as_bytes(), format, None, &Limits::default()).unwrap());
        prop_assert_eq!(json.value(), yaml.value());
        let pointer = eg_spec::Pointer::parse(&places[place.index(places.len())]).unwrap();
        prop_assert_eq!(json.position(&pointer), yaml.position(&pointer));
    }
}
