//! `cert`: the gateway's certificate authority, and what it issues.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use eg_certs::{AuthorityDirectory, Subject};
use eg_event::Clock;
use serde_json::{Value, json};

use super::CliError;
use super::client::Client;
use super::output::Output;

const FIELDS: &str =
    "serial subject names thumbprint issuedAt notAfter origin revokedAt revocationReason";

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a certificate authority and a server certificate, in `ca/` of the data directory.
    Init(InitArgs),
    /// Issue a client certificate: for a signing request, or with a new key that stays here.
    Issue(IssueArgs),
    /// The certificates that were issued.
    List,
    /// Revoke a certificate, and close the connections that rest on it.
    Revoke {
        /// Its serial number.
        serial: String,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Make a token with which an application gets its first certificate.
    Token {
        /// The application.
        application: String,
        /// Its tenant.
        #[arg(long, default_value = "")]
        tenant: String,
        /// Its group.
        #[arg(long, default_value = "")]
        group: String,
    },
}

/// What `cert init` makes.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The directory of the store.
    #[arg(long, value_name = "DIR", default_value = "event-gateway-data")]
    data: PathBuf,
    /// A name or an IP address by which clients reach the gateway; may be given several times.
    /// By default localhost, 127.0.0.1 and `::1`.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
}

/// The certificate that is wanted.
#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    /// Who is to hold it: the common name.
    name: String,
    /// A signing request in PEM. Without one a private key is made here.
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// Where the files go: `NAME.pem`, `ca.pem`, and `NAME.key` if a key was made.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// For how many days.
    #[arg(long)]
    days: Option<u32>,
    /// A further name in the certificate: a host name, an IP address or a URI.
    #[arg(long = "alternative", value_name = "NAME")]
    names: Vec<String>,
    /// The organization.
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
    /// The organizational unit.
    #[arg(long, value_name = "NAME")]
    unit: Option<String>,
}

/// Does what needs no gateway.
pub(super) fn init(args: InitArgs, output: &mut Output) -> Result<(), CliError> {
    let mut hosts = args.hosts;
    if hosts.is_empty() {
        hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    }
    let directory = AuthorityDirectory::in_data(&args.data);
    directory.create(&hosts, Clock::system().now()).map_err(unsuccessful)?;
    output.object(&json!({
        "authority": directory.authority_file(),
        "certificate": directory.server_file(),
        "hosts": hosts,
    }));
    Ok(())
}

pub(super) async fn execute(
    command: Command,
    client: Client,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        Command::Init(args) => init(args, output)?,
        Command::Issue(args) => issue(args, &client, output).await?,
        Command::List => {
            let columns = [
                ("SERIAL", "serial"),
                ("SUBJECT", "subject"),
                ("ISSUED AT", "issuedAt"),
                ("NOT AFTER", "notAfter"),
                ("ORIGIN", "origin"),
                ("REVOKED AT", "revokedAt"),
            ];
            output.list(&Value::Array(all(&client).await?), &columns);
        }
        Command::Revoke { serial, reason } => {
            let query = format!(
                "mutation($s: String!, $r: String) {{ revokeCertificate(serial: $s, reason: $r) \
                    {{ {FIELDS} }} }}"
            );
            let variables = json!({ "s": serial, "r": reason });
            output.object(&client.graphql(&query, variables, "revokeCertificate").await?);
        }
        Command::Token { application, tenant, group } => {
            let query = "mutation($a: String!, $t: String!, $g: String!) { \
                createSigningToken(application: $a, tenant: $t, group: $g) { url token } }";
            let variables = json!({ "a": application, "t": tenant, "g": group });
            output.object(&client.graphql(query, variables, "createSigningToken").await?);
        }
    }
    Ok(())
}

async fn issue(args: IssueArgs, client: &Client, output: &mut Output) -> Result<(), CliError> {
    let subject = Subject::default().with("CN", &args.name).map_err(unsuccessful)?;
    let (key, csr) = if let Some(path) = &args.csr {
        (None, std::fs::read_to_string(path).map_err(io_error(path))?)
    } else {
        let (key, csr) = eg_certs::generate(&subject).map_err(unsuccessful)?;
        (Some(key), csr)
    };
    let file = |ending: &str| args.out.join(format!("{}.{ending}", args.name));
    let (certificate_file, key_file) = (file("pem"), file("key"));
    // Before anything is issued: a certificate that cannot be put down has to be revoked again.
    for (path, is_made) in [(&certificate_file, true), (&key_file, key.is_some())] {
        if is_made && path.exists() {
            let path = path.display();
            return Err(CliError::Unsuccessful(format!("{path} exists, and is not overwritten")));
        }
    }
    std::fs::create_dir_all(&args.out).map_err(io_error(&args.out))?;
    if let Some(key) = &key {
        write(&key_file, key, 0o600)?;
    }
    let query = format!(
        "mutation($in: CertificateInput!) {{ issueCertificate(in: $in) \
            {{ pem authorityPem certificate {{ {FIELDS} }} }} }}"
    );
    let input = json!({
        "name": args.name, "csr": csr, "validityDays": args.days, "names": args.names,
        "organization": args.organization, "organizationalUnit": args.unit,
    });
    let mut issued = client.graphql(&query, json!({ "in": input }), "issueCertificate").await?;
    write(&certificate_file, issued["pem"].as_str().unwrap_or_default(), 0o644)?;
    let authority_file = args.out.join("ca.pem");
    if !authority_file.exists() {
        write(&authority_file, issued["authorityPem"].as_str().unwrap_or_default(), 0o644)?;
    }
    let mut result = issued["certificate"].take();
    result["file"] = json!(certificate_file);
    result["keyFile"] = json!(key.map(|_| key_file));
    output.object(&result);
    Ok(())
}

async fn all(client: &Client) -> Result<Vec<Value>, CliError> {
    let query = format!(
        "query($after: String) {{ certificates(first: 500, after: $after) \
            {{ data {{ {FIELDS} }} pageInfo {{ endCursor hasNextPage }} }} }}"
    );
    let (mut all, mut after) = (Vec::new(), Value::Null);
    loop {
        let mut page = client.graphql(&query, json!({ "after": after }), "certificates").await?;
        if let Value::Array(data) = page["data"].take() {
            all.extend(data);
        }
        if page["pageInfo"]["hasNextPage"] != true {
            return Ok(all);
        }
        after = page["pageInfo"]["endCursor"].take();
    }
}

/// Makes a file that must not exist yet.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CliError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(io_error(path))
}

fn io_error(path: &Path) -> impl Fn(std::io::Error) -> CliError {
    move |cause| CliError::Io { what: path.display().to_string(), cause }
}

fn unsuccessful(error: impl std::fmt::Display) -> CliError {
    CliError::Unsuccessful(error.to_string())
}
