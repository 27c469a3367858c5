//! A second OpenID provider (Canaille, run by `pytest-iam`), whose tokens only it understands.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::peers;
use crate::wait::DEADLINE;

/// The client that gets tokens for itself, and asks about tokens.
pub const CLIENT: &str = "event-gateway";

/// A running provider.
#[derive(Debug)]
pub struct OpaqueProvider {
    issuer: String,
    asked: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl OpaqueProvider {
    /// Starts a provider on a free port.
    pub async fn start() -> Self {
        let mut command = peers::python("opaque_provider.py");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let asked = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut provider = Self { issuer: String::new(), asked, answers, child };
        let first = provider.next_line().await;
        first.strip_prefix("issuer ").unwrap().clone_into(&mut provider.issuer);
        provider
    }

    /// The configuration by which a gateway trusts this provider; `directory` takes the secret.
    #[must_use]
    pub fn config(&self, directory: &Path) -> String {
        let file = directory.join("opaque-provider-secret");
        std::fs::write(&file, format!("{CLIENT}-secret")).unwrap();
        format!(
            "[[auth.issuers]]\nissuer = \"{}\"\naudiences = [\"{CLIENT}\"]\n\
             [auth.issuers.introspection]\nclient_id = \"{CLIENT}\"\nclient_secret_file = \"{}\"\n",
            self.issuer,
            file.display()
        )
    }

    /// An opaque token: of [`CLIENT`] by client credentials, or of a user.
    pub async fn token(&mut self, name: &str) -> String {
        self.asked.write_all(format!("{name}\n").as_bytes()).await.unwrap();
        self.next_line().await
    }

    /// Ends the process: connections to it are refused.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    async fn next_line(&mut self) -> String {
        let line = tokio::time::timeout(DEADLINE, self.answers.next_line()).await;
        line.expect("it answers in time").unwrap().expect("it is still there")
    }
}
