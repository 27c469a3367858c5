//! AsyncAPI documents, as we read them and as the official parser does.
#![expect(clippy::unwrap_used, reason = "a test may stop here")]

mod broken;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use eg_spec::{Action, Document, Fetched, Format, Invalid, Limits, Operation, Spec, Version};
use eg_tests::peers;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

/// A document with a name to tell it by.
struct Sample {
    name: String,
    text: String,
}

fn examples() -> Vec<Sample> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocols/spec/tests/examples");
    let folders = ["v2", "v3"].map(|version| fs::read_dir(root.join(version)).unwrap());
    let mut paths: Vec<PathBuf> =
        folders.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| Sample {
            name: path.strip_prefix(&root).unwrap().display().to_string(),
            text: fs::read_to_string(path).unwrap(),
        })
        .collect()
}

/// What the official parser makes of documents, in their order.
async fn parsed(samples: &[Sample]) -> Vec<Value> {
    let mut command = peers::node("asyncapi_parse.cjs");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut parser = command.spawn().unwrap();
    let mut input = parser.stdin.take().unwrap();
    let lines: String = samples
        .iter()
        .map(|sample| json!({"name": sample.name, "text": sample.text}).to_string() + "\n")
        .collect();
    let write = async move { input.write_all(lines.as_bytes()).await.unwrap() };
    let ((), output) = tokio::join!(write, parser.wait_with_output());
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> =
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), samples.len(), "one answer for each document");
    answers
}

fn read(text: &str) -> Result<Spec, Invalid> {
    let format = Format::guess(text.as_bytes());
    let document = Document::parse(text.as_bytes(), format, None, &Limits::default())?;
    Spec::read(&document, &Fetched::default())
}

/// The parts that both tell, in the words of the parser.
fn summary(spec: &Spec) -> Value {
    let channels: BTreeMap<_, _> = spec
        .channels
        .iter()
        .map(|channel| {
            let mut names: Vec<&str> =
                channel.parameters.iter().map(|one| one.name.as_str()).collect();
            names.sort_unstable();
            (channel.address.clone().unwrap_or_default(), names)
        })
        .collect();
    let servers: Vec<_> =
        spec.servers.iter().map(|server| [&*server.name, &*server.protocol]).collect();
    let operations = spec.operations.iter().map(|operation| {
        let channel = spec.channels.iter().find(|channel| channel.name == operation.channel);
        json!({
            "action": word(spec.version, operation),
            "channels": [channel.unwrap().address],
            "messages": operation.messages.len(),
        })
    });
    json!({
        "title": spec.info.title,
        "servers": sorted(servers.into_iter().map(|server| json!(server))),
        "channels": channels,
        "operations": sorted(operations),
        "content types": content_types(spec),
    })
}

fn word(version: Version, operation: &Operation) -> &'static str {
    match (version, operation.action) {
        (Version::V2, Action::Receive) => "publish",
        (Version::V2, Action::Send) => "subscribe",
        (_, Action::Receive) => "receive",
        (_, Action::Send) => "send",
    }
}

fn content_types(spec: &Spec) -> Value {
    let messages = spec.channels.iter().flat_map(|channel| &channel.messages);
    let types = messages.filter_map(|message| message.content_type.clone());
    let mut types: Vec<String> = types.collect();
    types.sort();
    types.dedup();
    json!(types)
}

fn sorted(values: impl Iterator<Item = Value>) -> Value {
    let mut values: Vec<Value> = values.collect();
    values.sort_by_key(ToString::to_string);
    json!(values)
}

/// The same of what the parser read.
fn summary_of_parser(read: &Value) -> Value {
    let list = |name: &str| read[name].as_array().unwrap().iter().cloned();
    let types =
        list("messages").filter_map(|message| message["contentType"].as_str().map(str::to_owned));
    let mut types: Vec<String> = types.collect();
    types.sort();
    types.dedup();
    json!({
        "title": read["title"],
        "servers": sorted(list("servers")),
        "channels": read["channels"],
        "operations": sorted(list("operations")),
        "content types": types,
    })
}

#[tokio::test]
async fn public_documents_are_read_as_the_official_parser_reads_them() {
    let samples = examples();
    assert!(samples.len() >= 20, "{} documents", samples.len());
    for (sample, parser) in samples.iter().zip(parsed(&samples).await) {
        let name = &sample.name;
        match read(&sample.text) {
            Ok(spec) => {
                assert!(
                    !parser["read"].is_null(),
                    "{name}: the parser refuses {}",
                    parser["errors"]
                );
                assert_eq!(summary(&spec), summary_of_parser(&parser["read"]), "{name}");
            }
            Err(invalid) => {
                assert!(parser["read"].is_null(), "{name}: the parser reads it, not {invalid}");
                assert_same_place(name, &invalid, &parser);
            }
        }
    }
}

/// Both name a place in common, or one right within the other; where the text as such is wrong, the
/// same line.
fn assert_same_place(name: &str, invalid: &Invalid, parser: &Value) {
    let errors = parser["errors"].as_array().unwrap();
    let paths = errors.iter().map(|error| {
        let steps = error["path"].as_array().unwrap().iter();
        steps.map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned)).collect()
    });
    let paths: Vec<Vec<String>> = paths.collect();
    let near = |one: &[String], two: &[String]| one.starts_with(two) || two.starts_with(one);
    let ours = invalid.errors.iter().map(|error| error.pointer.steps().collect::<Vec<_>>());
    let same = ours.into_iter().any(|steps| {
        paths.iter().any(|path| near(path, &steps) && path.len().abs_diff(steps.len()) <= 1)
    });
    let line = invalid.errors[0].position.map(|position| position.line);
    let same_line =
        errors.iter().any(|error| error["line"].as_u64() == line.map(|line| line as u64));
    let same = same || (invalid.errors[0].pointer.as_str().is_empty() && same_line);
    assert!(same, "{name}: {invalid}\nbut the parser names {}", parser["errors"]);
}
