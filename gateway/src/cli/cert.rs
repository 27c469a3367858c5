//! `cert`: the gateway's certificate authority.

use std::path::PathBuf;

use clap::Subcommand;
use eg_certs::AuthorityDirectory;
use eg_event::Clock;
use serde_json::json;

use super::CliError;
use super::output::Output;

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a certificate authority and a server certificate, in `ca/` of the data directory.
    Init {
        /// The directory of the store.
        #[arg(long, value_name = "DIR", default_value = "event-gateway-data")]
        data: PathBuf,
        /// A name or an IP address by which clients reach the gateway; may be given several times.
        #[arg(long = "host", value_name = "NAME")]
        hosts: Vec<String>,
    },
}

/// Does what needs no gateway.
pub(super) fn execute(command: Command, output: &mut Output) -> Result<(), CliError> {
    match command {
        Command::Init { data, mut hosts } => {
            if hosts.is_empty() {
                hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
            }
            let directory = AuthorityDirectory::in_data(&data);
            let made = directory.create(&hosts, Clock::system().now());
            made.map_err(|error| CliError::Unsuccessful(error.to_string()))?;
            output.object(&json!({
                "authority": directory.authority_file(),
                "certificate": directory.server_file(),
                "hosts": hosts,
            }));
        }
    }
    Ok(())
}
