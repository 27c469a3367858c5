//! Who may do what: nobody speaks for another, roles hold, and every change is on record.

use std::process::Output;

use eg_tests::gateway::{Gateway, Options};
use eg_tests::peers;
use eg_tests::subscriber::Subscriber;
use eg_tests::wait::until;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::PROGRAM;

/// A gateway with the rules that are built in.
async fn closed() -> Gateway {
    let config = "[push]\nallowed_networks = [\"127.0.0.0/8\"]".to_owned();
    Gateway::start_with(Options { program: PROGRAM.into(), config, dev: false }).await
}

/// Makes an API key.
async fn key(gateway: &Gateway, name: &str, application: Option<&str>, roles: &[&str]) -> String {
    let query = "mutation($in: CredentialInput!) { createCredential(in: $in) { secret } }";
    let input = json!({ "name": name, "application": application, "roles": roles });
    let made = gateway.graphql(query, json!({ "in": input })).await;
    made["createCredential"]["secret"].as_str().unwrap().to_owned()
}

fn event(id: &str, source: &str) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": source, "type": "t" })
}

fn post(
    gateway: &Gateway,
    path: &str,
    key: &str,
    (media_type, body): (&str, &Value),
) -> RequestBuilder {
    let request = Client::new().post(gateway.url(path)).bearer_auth(key);
    request.header("content-type", media_type).body(body.to_string())
}

/// Status and text of the answer.
async fn answer(request: RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Publishes with mosquitto, as the client and with the key; says what it said.
async fn mosquitto(gateway: &Gateway, client_id: &str, key: &str, args: &[&str]) -> String {
    let port = gateway.address("mqtt").port().to_string();
    let mut publish = peers::program("mosquitto_pub", "mosquitto-clients");
    publish.args(["-d", "-p", &port, "-i", client_id, "-u", "x", "-P", key, "-q", "1"]).args(args);
    let output = publish.output().await.unwrap();
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[tokio::test]
async fn nobody_speaks_for_another_over_http() {
    let gateway = closed().await;
    let key = key(&gateway, "till-1", Some("shop"), &[]).await;
    let json_event = "application/cloudevents+json";
    let expected = "source: expected shop, /shop, /mqtt/till-1, shop/*, /shop/*, /mqtt/till-1/*; \
        found \\\"/bank\\\"";

    for (source, status) in [("/shop", 202), ("/shop/tills/1", 202), ("/bank", 403)] {
        let request = post(&gateway, "/events", &key, (json_event, &event(source, source)));
        let (found, text) = answer(request).await;
        assert_eq!(found, status, "{text}");
        assert_eq!(text.contains(expected), status == 403, "{text}");
        let request = Client::new().post(gateway.url("/events")).bearer_auth(&key);
        let request = request.header("ce-specversion", "1.0").header("ce-id", format!("b{source}"));
        let request = request.header("ce-source", source).header("ce-type", "t");
        let (found, text) = answer(request).await;
        assert_eq!(found, status, "{text}");
    }

    let batch = json!([
        event("1", "/shop/a"),
        event("2", "/bank"),
        event("3", "/shop/../bank"),
        event("4", "/shop/b"),
        event("5", "/event-gateway/audit")
    ]);
    let batch = ("application/cloudevents-batch+json", &batch);
    let (_, text) = answer(post(&gateway, "/events", &key, batch)).await;
    let answers: Value = serde_json::from_str(&text).unwrap();
    let told: Vec<_> =
        answers.as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert_eq!(told, [json!("ignored"), json!(403), json!(403), json!("ignored"), json!(403)]);

    let body = json!({ "event-type": "t", "event-type-version": "v1", "data": {},
        "event-time": "2026-01-02T03:04:05Z" });
    let mut spoofed = body.clone();
    spoofed["source-id"] = json!("bank");
    for (path, body, status) in [
        ("/shop/v1/events", &body, 200),
        ("/shop/v1/events", &spoofed, 403),
        ("/bank/v1/events", &body, 403),
    ] {
        let (found, text) = answer(post(&gateway, path, &key, ("application/json", body))).await;
        assert_eq!(found, status, "{path}: {text}");
    }

    let claimed = json!({ "specversion": "1.0", "id": "6", "source": "/shop", "type": "t",
        "authid": "admin" });
    let (found, text) = answer(post(&gateway, "/events", &key, (json_event, &claimed))).await;
    assert!(found == 403 && text.contains("authid: expected none"), "{text}");

    let events = gateway.journal().await;
    let mut sources: Vec<_> =
        events.iter().map(|event| event["source"].as_str().unwrap()).collect();
    sources.sort_unstable();
    let shop = ["/shop", "/shop", "/shop/a", "/shop/b", "/shop/tills/1", "/shop/tills/1", "shop"];
    assert_eq!(sources, shop);
}

#[tokio::test]
async fn nobody_speaks_for_another_over_mqtt() {
    let gateway = closed().await;
    let key = key(&gateway, "till-1", Some("shop"), &[]).await;
    let binary = |source| {
        [
            "-D",
            "publish",
            "user-property",
            "specversion",
            "1.0",
            "-D",
            "publish",
            "user-property",
            "id",
            source,
            "-D",
            "publish",
            "user-property",
            "source",
            source,
            "-D",
            "publish",
            "user-property",
            "type",
            "t",
        ]
    };
    for (source, code) in [("/shop/5", "RC:16)"), ("/bank", "RC:135)")] {
        let args = [&["-V", "5", "-t", "a", "-n"], &binary(source)[..]].concat();
        let said = mosquitto(&gateway, "c", &key, &args).await;
        assert!(said.contains("PUBACK") && said.contains(code), "{source}: {said}");
    }
    for (client_id, code) in [("till-1", "RC:16)"), ("till-2", "RC:135)")] {
        let args = ["-V", "5", "-t", "mapped", "-m", "x"];
        let said = mosquitto(&gateway, client_id, &key, &args).await;
        assert!(said.contains("PUBACK") && said.contains(code), "{client_id}: {said}");
    }
    for (source, acknowledged) in [("/shop/311", true), ("/bank", false)] {
        let event = event(source, source).to_string();
        let args = ["-V", "311", "-t", "a", "-m", &event];
        let said = mosquitto(&gateway, "c", &key, &args).await;
        assert_eq!(said.contains("PUBACK"), acknowledged, "{source}: {said}");
    }
    let events = gateway.journal().await;
    let sources: Vec<_> = events.iter().map(|event| event["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["/shop/5", "/mqtt/till-1", "/shop/311"]);
    let metrics = Client::new().get(format!("http://{}/metrics", gateway.address("admin")));
    let (_, metrics) = answer(metrics.bearer_auth(gateway.admin_key().unwrap())).await;
    let counted = "event_gateway_events_forbidden_total{reason=\"source\"}";
    let line = metrics.lines().find(|line| line.starts_with(counted)).unwrap();
    assert!(!line.ends_with(" 0"), "{line}");
}

#[tokio::test]
async fn roles_hold_on_the_management_port() {
    let gateway = closed().await;
    let viewer = key(&gateway, "vera", None, &["viewer"]).await;
    let operator = key(&gateway, "olga", None, &["operator"]).await;
    let shop = key(&gateway, "till-1", Some("shop"), &[]).await;
    let url = format!("http://{}/graphql", gateway.address("admin"));
    let ask = async |key: &str, query: &str| -> (u16, Value) {
        let request = Client::new().post(&url).bearer_auth(key).json(&json!({ "query": query }));
        let (status, text) = answer(request).await;
        (status, serde_json::from_str(&text).unwrap())
    };
    let read = "{ subscriptions { totalCount } }";
    let create = "mutation { createSubscription(in: { name: \"s\", endpoint: \"https://x.test/\" }) \
        { name } }";
    let grant =
        "mutation { createCredential(in: { name: \"me\", roles: [\"admin\"] }) { secret } }";
    let rows = [
        (&shop, read, false),
        (&shop, create, false),
        (&viewer, read, true),
        (&viewer, create, false),
        (&viewer, grant, false),
        (&operator, create, true),
        (&operator, grant, false),
        (&gateway.admin_key().unwrap(), grant, true),
    ];
    for (key, query, allowed) in rows {
        let (status, answer) = ask(key, query).await;
        let code = &answer["errors"][0]["extensions"]["code"];
        assert_eq!((status, code == "FORBIDDEN"), (200, !allowed), "{query}: {answer}");
    }
    let (status, refused) = ask("egk_wrong_wrong", read).await;
    assert_eq!(
        (status, &refused["errors"][0]["extensions"]["code"]),
        (401, &json!("UNAUTHENTICATED"))
    );
    let metrics = format!("http://{}/metrics", gateway.address("admin"));
    for (key, status) in [(&shop, 403), (&viewer, 200)] {
        let answer = Client::new().get(&metrics).bearer_auth(key).send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn changes_reach_a_subscriber_and_survive_a_power_failure() {
    let mut gateway = closed().await;
    let (subscriber, viewer) =
        (Subscriber::start().await, key(&gateway, "vera", None, &["viewer"]).await);
    gateway
        .subscribe(json!({ "name": "audit", "source": "/event-gateway/audit",
            "endpoint": subscriber.url() }))
        .await;
    let url = format!("http://{}/graphql", gateway.address("admin"));
    let pause = json!({ "query": "mutation { pauseSubscription(name: \"audit\") { name } }" });
    Client::new().post(&url).bearer_auth(&viewer).json(&pause).send().await.unwrap();
    Client::new().post(&url).json(&pause).send().await.unwrap();
    let everything = Subscriber::start().await;
    gateway.subscribe(json!({ "name": "all", "endpoint": everything.url() })).await;
    until("they arrive", async || (subscriber.count() >= 4).then_some(())).await;
    let pushed = subscriber.pushed();
    let data = |index: usize| serde_json::from_slice::<Value>(&pushed[index].body).unwrap();
    let find = |operation: &str, outcome: &str| {
        let fits = |index: &usize| {
            let data = data(*index);
            data["operation"] == operation && data["outcome"] == outcome
        };
        (0..pushed.len()).find(fits).unwrap_or_else(|| panic!("no {operation} {outcome}"))
    };
    let created = find("createSubscription", "done");
    let headers = &pushed[created].headers;
    assert_eq!(headers["ce-type"], "io.event-gateway.audit.createSubscription");
    assert_eq!(headers["ce-subject"], "audit");
    assert_eq!(
        (headers["ce-authtype"].as_str(), headers["ce-authid"].as_str()),
        ("api_key", "first-admin")
    );
    let refused = find("pauseSubscription", "refused");
    assert_eq!(pushed[refused].headers["ce-authid"], "vera");
    assert_eq!(data(refused)["principal"]["roles"], json!(["viewer"]));
    let unknown = find("authenticate", "refused");
    assert_eq!(pushed[unknown].headers["ce-authtype"], "system");

    let shop = key(&gateway, "till-1", Some("shop"), &[]).await;
    assert_eq!(gateway.publish(&shop, &event("1", "/shop")).await.0, 202);
    until("it arrives", async || (everything.count() >= 1).then_some(())).await;
    let seen: Vec<_> =
        everything.pushed().iter().map(|one| one.headers["ce-source"].clone()).collect();
    assert_eq!(seen, ["/shop"], "the audit log is for who asks for it");
    gateway.graphql("mutation { pauseSubscription(name: \"audit\") { name } }", json!({})).await;
    gateway.kill().await;
    gateway.restart().await;
    let events = gateway.whole_journal().await;
    let last = events.last().unwrap();
    assert_eq!(last["type"], "io.event-gateway.audit.pauseSubscription");
    assert_eq!(
        (&last["sender"]["name"], &last["origin"]["protocol"]),
        (&json!("first-admin"), &json!("internal"))
    );
}

/// Gives a command as the first administrator, if a gateway is asked.
async fn command(gateway: Option<&Gateway>, args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(args).kill_on_drop(true);
    if let Some(gateway) = gateway {
        command.env("EVENT_GATEWAY_SERVER", format!("http://{}", gateway.address("admin")));
        command.env("EVENT_GATEWAY_TOKEN_FILE", gateway.data().join("first-admin-key"));
    }
    command.output().await.unwrap()
}

#[tokio::test]
async fn a_decision_explains_itself() {
    let gateway = closed().await;
    let test = [
        "policy",
        "test",
        "--principal",
        "till-1",
        "--application",
        "shop",
        "--action",
        "publish",
        "--type",
        "t",
        "--source",
    ];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, "[policy]\nsource_binding = \"application\"\n").unwrap();
    let offline = ["--config", file.to_str().unwrap()];
    for (source, online, code) in
        [("/shop", true, 0), ("/shop/1", true, 0), ("/bank", true, 1), ("/shop/1", false, 1)]
    {
        let args = [&test[..], &[source], if online { &[][..] } else { &offline }].concat();
        let output = command(online.then_some(&gateway), &args).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{source}: {output:?}");
        let word = if code == 0 {
            "allowed: the rule \"built-in application\""
        } else {
            "denied: no rule"
        };
        assert!(
            said.starts_with(word) && said.contains("built-in application (allow): "),
            "{said}"
        );
    }
    let args = [
        "-o",
        "json",
        "policy",
        "test",
        "--principal",
        "o",
        "--role",
        "operator",
        "--action",
        "manage",
        "--area",
        "credentials",
    ];
    let output = command(Some(&gateway), &args).await;
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["allowed"], output.status.code()), (&json!(false), Some(1)));
    std::fs::write(&file, "[[policy.rules]]\neffect = \"alow\"\nactions = []").unwrap();
    let args = [&test[..], &["/shop"], &offline].concat();
    let output = command(None, &args).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("did you mean `allow`?"), "{said}");
}

#[tokio::test]
async fn a_policy_is_read_again_while_the_gateway_runs() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.toml");
    let rules = "[[rules]]\neffect = \"EFFECT\"\nmethods = [\"anonymous\"]\n\
        actions = [\"publish\"]\nsources = [\"/bank/*\"]\n";
    std::fs::write(&file, rules.replace("EFFECT", "allow")).unwrap();
    let config = format!("[policy]\nfile = {:?}\n", file.to_str().unwrap());
    let gateway = Gateway::start_with(Options { program: PROGRAM.into(), config, dev: true }).await;
    let publish = async |id: &str| {
        let body = ("application/cloudevents+json", &event(id, "/bank/1"));
        answer(
            Client::new()
                .post(gateway.url("/events"))
                .header("content-type", body.0)
                .body(body.1.to_string()),
        )
        .await
        .0
    };
    assert_eq!(publish("1").await, 202);
    std::fs::write(&file, rules.replace("EFFECT", "deny")).unwrap();
    let pid = gateway.pid().to_string();
    Command::new("kill").args(["-HUP", &pid]).status().await.unwrap();
    let mut number = 1;
    until("it is denied", async || {
        number += 1;
        (publish(&number.to_string()).await == 403).then_some(())
    })
    .await;
}

#[tokio::test]
async fn in_development_mode_anyone_may_be_anyone_but_the_gateway() {
    let gateway = Gateway::start(PROGRAM).await;
    let rows = [
        ("/any/../where", 202),
        ("shop", 202),
        ("/event-gateway", 403),
        ("/event-gateway/audit", 403),
    ];
    for (source, status) in rows {
        let request = Client::new().post(gateway.url("/events"));
        let request = request.header("content-type", "application/cloudevents+json");
        let (found, text) = answer(request.body(event(source, source).to_string())).await;
        assert_eq!(found, status, "{source}: {text}");
    }
}
