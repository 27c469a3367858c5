//! What a reader may rely on: file sizes and names, the direction of dependencies, a map that is
//! true. Kept by a test, not by memory.
#![expect(clippy::unwrap_used, reason = "a test may stop here")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The longest file, in lines.
const LINES_MAX: usize = 600;
/// Names that say nothing about what is in a file.
const VAGUE: [&str; 7] = ["utils", "util", "helpers", "helper", "common", "misc", "mod"];
/// Which crates of the workspace each crate may depend on.
const MAY_DEPEND_ON: [(&str, &[&str]); 11] = [
    ("protocols/event", &[]),
    ("auth", &["eg-event"]),
    ("certs", &["eg-event"]),
    ("storage", &["eg-event"]),
    ("protocols/bus", &["eg-event"]),
    ("protocols/http", &["eg-event", "eg-auth"]),
    ("protocols/mqtt", &["eg-event", "eg-auth"]),
    ("protocols/spec", &["eg-event"]),
    (
        "gateway",
        &[
            "eg-event",
            "eg-auth",
            "eg-bus",
            "eg-certs",
            "eg-storage",
            "eg-http",
            "eg-mqtt",
            "eg-spec",
        ],
    ),
    (
        "tests",
        &["eg-event", "eg-auth", "eg-storage", "eg-http", "eg-mqtt", "eg-spec", "eg-gateway"],
    ),
    ("bench", &["eg-event", "eg-auth", "eg-storage", "eg-http", "eg-mqtt", "eg-gateway"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file below `folder` with one of the endings, with its text.
fn files(folder: &Path, endings: &[&str], found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(&*name, "target" | "node_modules") && !name.starts_with('.') {
                files(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(&path).unwrap();
            found.insert(path.strip_prefix(root()).unwrap().to_owned(), text);
        }
    }
}

fn all(endings: &[&str]) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    files(&root(), endings, &mut found);
    assert!(!found.is_empty(), "there are files to look at");
    found
}

#[test]
fn no_file_is_longer_than_a_reader_keeps_in_mind() {
    for (path, text) in all(&[".rs"]) {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines, more than {LINES_MAX}", path.display());
    }
}

#[test]
fn files_are_named_after_what_they_hold() {
    for path in all(&[".rs"]).keys() {
        let stem = path.file_stem().unwrap().to_string_lossy();
        assert!(!VAGUE.contains(&&*stem), "{} is named after nothing", path.display());
    }
}

#[test]
fn every_file_opens_with_a_sentence() {
    for (path, text) in all(&[".rs"]) {
        let opens = text.lines().next().is_some_and(|line| line.starts_with("//! "));
        assert!(opens, "{} does not say what it is", path.display());
    }
}

#[test]
fn nothing_is_left_unfinished_and_text_is_ascii() {
    let words = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
    for (path, text) in all(&[".rs", ".toml", ".md", ".sh"]) {
        for word in words {
            assert!(!text.contains(word), "{} contains {word}", path.display());
        }
        let other = text.lines().position(|line| !line.is_ascii());
        assert!(other.is_none(), "{}:{} is not ASCII", path.display(), other.unwrap_or(0) + 1);
    }
}

#[test]
fn crates_depend_downwards() {
    for (folder, allowed) in MAY_DEPEND_ON {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for line in manifest.lines().filter(|line| line.starts_with("eg-")) {
            let name = line.split(['.', ' ', '=']).next().unwrap();
            assert!(allowed.contains(&name), "{folder} may not depend on {name}");
        }
    }
}

#[test]
fn libraries_stay_where_they_belong() {
    let rows: [(&str, &[&str]); 2] = [
        ("redb::", &["storage/"]),
        (
            "mqtt_protocol_core",
            // The bench measures the library against itself.
            &[
                "protocols/mqtt/src/codec",
                "protocols/bus/src/mqtt/packets",
                "protocols/bus/examples",
            ],
        ),
    ];
    for (path, text) in all(&[".rs"]) {
        for (library, homes) in rows {
            let place = path.to_string_lossy();
            let is_home = |home: &&str| place.starts_with(home);
            let at_home = homes.iter().any(is_home) || path.ends_with("tidy.rs");
            assert!(at_home || !text.contains(library), "{} names {library}", path.display());
        }
    }
}

#[test]
fn the_map_names_files_that_exist() {
    for document in
        ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md", "docs/configuration.md", "docs/mqtt.md"]
    {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let quoted = text.split('`').skip(1).step_by(2);
        let paths = quoted.filter(|quoted| {
            let is_file =
                [".rs", ".md", ".toml", ".sh"].iter().any(|ending| quoted.ends_with(ending));
            is_file && !quoted.contains(['*', '<', ' ', '{'])
        });
        for path in paths {
            assert!(root().join(path).exists(), "{document} names {path}, which does not exist");
        }
    }
}

#[test]
fn every_key_of_the_configuration_is_documented_with_its_default() {
    let document = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let config = serde_json::to_value(eg_gateway::config::Config::default()).unwrap();
    for (key, value) in config.as_object().unwrap() {
        assert_documented(&document, &document, key, value);
    }
}

/// The row of a value is in `rows`; a table has a chapter of its own.
fn assert_documented(document: &str, rows: &str, key: &str, value: &Value) {
    let heading = format!("## `[{key}]`");
    let shown = match value {
        Value::Null => "none".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::String(text) => format!("`\"{text}\"`"),
        Value::Object(table) if document.contains(&heading) => {
            let (_, rest) = document.split_once(&heading).unwrap();
            let rows = rest.split("\n## ").next().unwrap();
            for (name, value) in table {
                let name = if value.is_object() { format!("{key}.{name}") } else { name.clone() };
                assert_documented(document, rows, &name, value);
            }
            return;
        }
        other => format!("`{other}`"),
    };
    assert_row(rows, key.rsplit('.').next().unwrap(), &shown);
}

fn assert_row(rows: &str, key: &str, default: &str) {
    let row = format!("\n| `{key}` | {default} | ");
    assert!(rows.contains(&row), "docs/configuration.md has no row {row}");
}

#[test]
fn commands_in_the_readme_exist() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let help = |args: &[&str]| {
        let program = env!("CARGO_BIN_EXE_gateway-under-test");
        let output = std::process::Command::new(program).args(args).arg("--help").output().unwrap();
        output.status.success()
    };
    let mut found = 0;
    for line in readme.lines().filter_map(|line| line.strip_prefix("| `")) {
        let Some((commands, _)) = line.split_once("` |") else { continue };
        if let Some((noun, verbs)) = commands.split_once(' ')
            && noun.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        {
            for verb in verbs.split(", ") {
                assert!(help(&[noun, verb]), "{noun} {verb} does not exist");
                found += 1;
            }
        }
    }
    assert!(found > 10, "the table of commands is there");
    assert!(["serve", "check-config", "demo"].iter().all(|command| help(&[command])));
}

#[test]
fn every_source_file_is_on_the_map() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for folder in MAY_DEPEND_ON.map(|(folder, _)| folder) {
        assert!(map.contains(&format!("`{folder}`")), "ARCHITECTURE.md does not name {folder}");
    }
}
