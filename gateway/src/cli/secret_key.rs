//! `secret-key`: the key that secrets are sealed under.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::CliError;
use super::output::Output;
use crate::secrets;

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key, for `secrets.key_file` of the configuration.
    Create {
        /// The file, which must not be there yet.
        file: PathBuf,
    },
}

pub(super) fn execute(command: Command, output: &mut Output) -> Result<(), CliError> {
    let Command::Create { file } = command;
    let key = secrets::create(&file);
    let key = key.map_err(|error| CliError::Unsuccessful(error.to_string()))?;
    output.object(&json!({ "file": file, "key": key.to_string() }));
    Ok(())
}
