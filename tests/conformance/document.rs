//! The table from statements to tests, `docs/mqtt-conformance.md`, made of the tests themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::statements::{self, Bound, Id, Statement};

const PREAMBLE: &str = "# Conformance to MQTT\n\n\
    Which test of `tests/conformance` shows which normative statement of MQTT 3.1.1 and MQTT 5.0 \
    (appendix B of each; the words are ours). Made by the suite itself: \
    `CONFORMANCE_WRITE=1 cargo test -p eg-tests --test conformance document` writes this file again, \
    and the suite fails when it is not current.\n\n\
    A statement that binds clients alone is tested where a server has to defend itself against a client that \
    breaks it. What is not shown here says why: it is about servers that leave something of MQTT out, or needs what \
    another suite has.\n";

/// Which tests show a statement, by its name.
fn tests() -> BTreeMap<Id, BTreeSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let mut all: BTreeMap<Id, BTreeSet<String>> = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
            for (id, test) in cited(&fs::read_to_string(&path).unwrap()) {
                all.entry(id).or_default().insert(format!("{module}::{test}"));
            }
        }
    }
    all
}

/// The statements that `covers!` names in the functions of a file.
fn cited(text: &str) -> Vec<(Id, String)> {
    let mut found = Vec::new();
    let (mut function, mut inside) = (String::new(), false);
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("fn ") {
            rest.split(['(', '<']).next().unwrap().clone_into(&mut function);
        }
        inside |= line.trim_start().starts_with("covers!(");
        if inside {
            let ids = line.split('"').skip(1).step_by(2);
            found.extend(ids.map(|id| (Id(id.to_owned()), function.clone())));
            inside = !line.trim_end().ends_with(");");
        }
    }
    found
}

fn chapter(title: &str, specification: &str, tests: &BTreeMap<Id, BTreeSet<String>>) -> String {
    let all = statements::of(specification);
    let binding: Vec<&Statement> = all.iter().filter(|one| one.bound != Bound::Client).collect();
    let shown = binding.iter().filter(|one| tests.contains_key(&one.id)).count();
    let mut text = format!(
        "\n## {title}\n\n{shown} of the {} statements that bind a server are shown.\n\n\
         | statement | binds | what it demands | shown by |\n|---|---|---|---|\n",
        binding.len()
    );
    for statement in &all {
        let number = statement.id.0.split(':').next_back().unwrap();
        let bound = format!("{:?}", statement.bound).to_lowercase();
        let shown = match (tests.get(&statement.id), statement.untested) {
            (Some(tests), _) => {
                tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(", ")
            }
            (None, Some(reason)) => format!("not shown: {reason}"),
            (None, None) => "-".to_owned(),
        };
        writeln!(text, "| {number} | {bound} | {} | {shown} |", statement.demand).unwrap();
    }
    text
}

#[test]
fn every_statement_is_shown_or_says_why_not() {
    let mut tests = tests();
    for statement in ["MQTT3", "MQTT5"].into_iter().flat_map(statements::of) {
        let shown = tests.remove(&statement.id);
        let excused = statement.bound == Bound::Client || statement.untested.is_some();
        assert!(shown.is_some() || excused, "{}: {}", statement.id, statement.demand);
        let twice = shown.is_some() && statement.untested.is_some();
        assert!(!twice, "{} is shown, and said not to be", statement.id);
    }
    assert!(tests.is_empty(), "these statements do not exist: {:?}", tests.keys());
}

#[test]
fn the_table_of_statements_is_current() {
    let tests = tests();
    let text =
        [PREAMBLE, &chapter("MQTT 5.0", "MQTT5", &tests), &chapter("MQTT 3.1.1", "MQTT3", &tests)]
            .concat();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mqtt-conformance.md");
    if std::env::var_os("CONFORMANCE_WRITE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let current = fs::read_to_string(&path).unwrap_or_default() == text;
    assert!(current, "write it again: CONFORMANCE_WRITE=1 cargo test --test conformance document");
}
