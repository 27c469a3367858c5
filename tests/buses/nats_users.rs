//! NATS knows the gateway by a key, or as a user that its operator vouches for; and a stranger it
//! does not let in.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_tests::brokers::Broker;
use eg_tests::gateway::Gateway;
use eg_tests::peers;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::PROGRAM;
use crate::consume::{event, journal, structured, with};
use crate::deliver::{DATA, Reader, body};
use crate::examined::examine;
use crate::registered::{publish, register_all};

/// A way to log in to NATS.
struct Login {
    authentication: &'static str,
    /// What the server has in its configuration.
    config: &'static str,
    /// What the names of the files with secrets end with.
    suffix: &'static str,
    /// Where other clients expect such a file.
    variable: &'static str,
}

impl Login {
    fn file(&self, directory: &Path, who: &str) -> PathBuf {
        directory.join(who).with_extension(self.suffix)
    }

    /// How `who` logs in by the management API, with the bytes of the file as they are.
    fn external(&self, directory: &Path, who: &str, topic: &str, mut attributes: Value) -> Value {
        attributes["authentication"] = json!(self.authentication);
        let secret = std::fs::read_to_string(self.file(directory, who)).unwrap();
        json!({ "topic": topic, "attributes": attributes,
            "auth": { "credential": { "basic": { "username": who, "password": secret } } } })
    }

    /// The step that `event-gateway bus test` ends with.
    async fn examine(&self, directory: &Path, who: &str, url: &str) -> (String, bool, String) {
        let kind = format!("authentication={}", self.authentication);
        let file = self.file(directory, who).display().to_string();
        let args = ["--topic", "lamps.out", "--attribute", &kind, "--password-file", &file];
        examine(&[&[url], &args[..]].concat()).await.1.pop().unwrap()
    }

    /// Checks that the user is let in, in both directions, and the stranger is not.
    async fn assert_lets_in_the_user_alone(&self) {
        let users = TempDir::new().unwrap();
        let users = users.path();
        let mut made = peers::python("nats_users.py");
        made.arg(users);
        peers::run(made).await;
        let mut broker = Broker::nats().await;
        broker.configure(&std::fs::read_to_string(users.join(self.config)).unwrap()).await;
        let port = broker.port().to_string();
        let client = |args: &[&str]| {
            let mut command = peers::python("nats_bus.py");
            command.arg(&port).args(args).env(self.variable, self.file(users, "user"));
            command
        };
        peers::run(client(&["stream", "IN", "lamps.in"])).await;
        peers::run(client(&["stream", "OUT", "lamps.out"])).await;

        let url = format!("nats://127.0.0.1:{port}");
        let (step, is_good, found) = self.examine(users, "user", &url).await;
        assert_eq!((&*step, is_good), ("topic", true), "{found}");
        let refused = self.examine(users, "stranger", &url).await;
        let why = "no connection: the server refuses who the gateway is: mend auth.credential, \
                   attributes.authentication or auth.certificate";
        assert_eq!(refused, ("auth".to_owned(), false, why.to_owned()));

        let gateway = Gateway::start(PROGRAM).await;
        let mut both = json!([
            self.external(users, "user", "lamps.in", with(json!({}))),
            self.external(users, "user", "lamps.out", json!({})),
        ]);
        for external in both.as_array_mut().unwrap() {
            external["url"] = json!(url);
        }
        register_all(&gateway, both).await;
        publish(&gateway, "1", DATA).await;
        let mut reader = Reader::of(client(&["read", "OUT", "1"]));
        assert_eq!(body(&reader.message().await), DATA);
        let (theirs, headers) = structured();
        let message = json!({ "topic": "lamps.in", "headers": headers,
            "body": BASE64.encode(theirs.to_string()) });
        peers::run(client(&["publish", &message.to_string(), "-"])).await;
        assert_eq!(event(&journal(&gateway, 2).await[1]), theirs);
    }
}

#[tokio::test]
async fn nats_lets_in_who_has_the_key_of_a_user_in_both_directions_and_no_other() {
    let login = Login {
        authentication: "NKEY",
        config: "nkey.conf",
        suffix: "nkey",
        variable: "NATS_NKEY",
    };
    login.assert_lets_in_the_user_alone().await;
}

#[tokio::test]
async fn nats_lets_in_who_has_the_credentials_of_its_operator_in_both_directions_and_no_other() {
    let login = Login {
        authentication: "CREDENTIALS",
        config: "operator.conf",
        suffix: "creds",
        variable: "NATS_CREDS",
    };
    login.assert_lets_in_the_user_alone().await;
}
