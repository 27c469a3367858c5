//! `apply`: make everything as the manifests in files say.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::CliError;
use super::client::Client;
use super::output::Output;
use crate::manifest::FILES_MAX;

/// How much text may be sent at once, in bytes.
const TEXT_BYTES_MAX: usize = 900_000;
/// How deep directories may be inside one another.
const DEPTH_MAX: usize = 16;
/// What is asked of the answer.
const FIELDS: &str = "file line kind key change fields { field from to }";

/// What is applied, and whether.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A file, a directory with .yaml, .yml and .json files, or - for the standard input; may be
    /// given more than once.
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Only show what would change.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn execute(
    args: ApplyArgs,
    client: Client,
    output: &mut Output,
) -> Result<(), CliError> {
    let mut collected = Collected::default();
    for path in &args.files {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            let limit = TEXT_BYTES_MAX as u64 + 1;
            let read = std::io::stdin().lock().take(limit).read_to_string(&mut text);
            read.map_err(|cause| CliError::Io { what: "standard input".to_owned(), cause })?;
            collected.add("-", &text)?;
        } else {
            collected.visit(path, 0)?;
        }
    }
    let query = format!(
        "mutation($in: [ManifestFileInput!]!, $dry: Boolean!) \
            {{ applyManifests(in: $in, dryRun: $dry) {{ {FIELDS} }} }}"
    );
    let variables = json!({ "in": collected.files, "dry": args.dry_run });
    let applied = client.graphql(&query, variables, "applyManifests").await?;
    print(&applied, args.dry_run, output);
    Ok(())
}

/// The files that were found, in order.
#[derive(Default)]
struct Collected {
    files: Vec<Value>,
    bytes: usize,
}

impl Collected {
    /// A file, or a directory's files by their names. Links to directories are not followed.
    fn visit(&mut self, path: &Path, depth: usize) -> Result<(), CliError> {
        let failed = |cause| CliError::Io { what: path.display().to_string(), cause };
        if !path.is_dir() {
            let text = fs::read_to_string(path).map_err(failed)?;
            return self.add(&path.display().to_string(), &text);
        }
        if depth == DEPTH_MAX {
            let text = format!(
                "{}: expected at most {DEPTH_MAX} directories inside one another",
                path.display()
            );
            return Err(CliError::Unsuccessful(text));
        }
        let entries = fs::read_dir(path).map_err(failed)?;
        let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (inner, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            let is_linked_directory = kind.is_symlink() && inner.is_dir();
            let ending = inner.extension().and_then(|ending| ending.to_str());
            let is_manifest =
                ending.is_some_and(|ending| ["yaml", "yml", "json"].contains(&ending));
            if kind.is_dir() || (is_manifest && !is_linked_directory) {
                self.visit(&inner, depth + 1)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, text: &str) -> Result<(), CliError> {
        self.bytes += text.len();
        if self.files.len() == FILES_MAX || self.bytes > TEXT_BYTES_MAX {
            let text = format!(
                "{name}: expected at most {FILES_MAX} files and {TEXT_BYTES_MAX} bytes in all"
            );
            return Err(CliError::Unsuccessful(text));
        }
        self.files.push(json!({ "name": name, "text": text }));
        Ok(())
    }
}

fn print(applied: &Value, is_dry_run: bool, output: &mut Output) {
    if output.is_json() {
        output.json(applied);
        return;
    }
    let all = applied.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
    let dry = if is_dry_run { " (dry run)" } else { "" };
    for one in all {
        let (kind, key) = (text(&one["kind"]), one["key"].as_str().unwrap_or_default());
        output.line(&format!("{kind} {key} {}{dry}", text(&one["change"])));
        for field in one["fields"].as_array().into_iter().flatten() {
            let name = field["field"].as_str().unwrap_or_default();
            match &field["from"] {
                Value::Null => output.line(&format!("  + {name}: {}", field["to"])),
                from => output.line(&format!("  ~ {name}: {from} -> {}", field["to"])),
            }
        }
    }
    if all.is_empty() {
        output.line("no manifests");
    }
}
