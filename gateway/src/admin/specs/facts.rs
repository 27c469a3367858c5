//! Facts about the management of applications and their definitions, over a real store.

mod seed;

use serde_json::{Value, json};

use crate::admin::facts::Bench;

const SPEC: &str = "asyncapi: 3.0.0\ninfo: {title: Orders, version: 1.0.0}\nchannels:\n  placed:\n    \
    address: orders/placed\n    messages: {placed: {name: order.placed, payload: {type: object}}}\n";

const ADD: &str = "mutation($app: ID!, $in: EventAPIDefinitionInput!) { \
    addEventAPI(applicationID: $app, in: $in) { id name group version { value deprecated } \
    spec { data type format fetchRequest { url mode status { condition message } } } \
    auth { credential { ... on BasicCredentialData { username } } } payloadCheck \
    externalSubscriptions { url topic attributes status { active message subscription } } } }";

impl Bench {
    async fn done(&self, query: &str, variables: Value) -> Value {
        let mut answer = self.ask("admin", query, variables).await;
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"].take()
    }

    async fn refused(&self, query: &str, variables: Value) -> (String, Value) {
        let mut answer = self.ask("admin", query, variables).await;
        let mut error = answer["errors"][0].take();
        (error["message"].as_str().unwrap_or_default().to_owned(), error["extensions"].take())
    }

    async fn application(&self, name: &str) -> String {
        let create = "mutation($in: ApplicationInput!) { createApplication(in: $in) { id } }";
        let made = self.done(create, json!({ "in": { "name": name } })).await;
        made["createApplication"]["id"].as_str().unwrap().to_owned()
    }

    async fn add(&self, application: &str, input: Value) -> Value {
        self.done(ADD, json!({ "app": application, "in": input })).await["addEventAPI"].take()
    }
}

fn inline(spec: &str) -> Value {
    json!({ "spec": { "data": spec, "eventSpecType": "ASYNC_API" } })
}

#[tokio::test]
async fn a_definition_is_named_by_its_title_and_its_format_is_guessed() {
    let bench = Bench::new();
    let app = bench.application("shop").await;
    let made = bench.add(&app, inline(SPEC)).await;
    assert_eq!(made["name"], "Orders");
    assert_eq!(
        made["spec"],
        json!({ "data": SPEC, "type": "ASYNC_API", "format": "YAML",
        "fetchRequest": null })
    );
    assert_eq!((&made["payloadCheck"], &made["version"]), (&json!("REJECT"), &Value::Null));
    let again = bench.add(&app, inline(SPEC)).await;
    assert_eq!(again["name"], "Orders 1.0.0", "the title is taken");
    let (message, codes) = bench.refused(ADD, json!({ "app": app, "in": inline(SPEC) })).await;
    assert_eq!((&codes["error"], &codes["error_code"]), (&json!("NotUnique"), &json!(21)));
    assert!(message.contains("Orders 1.0.0"), "{message}");
}

#[tokio::test]
async fn what_is_wrong_with_a_document_is_told_by_line_column_and_pointer() {
    let bench = Bench::new();
    let app = bench.application("shop").await;
    let wrong = SPEC.replace("address:", "colour:");
    let (message, codes) = bench.refused(ADD, json!({ "app": app, "in": inline(&wrong) })).await;
    assert_eq!((&codes["error"], &codes["error_code"]), (&json!("InvalidData"), &json!(22)));
    assert!(message.starts_with("spec.data: line 5 column 5 at \"/channels/placed/colour\""));
    assert_eq!(codes["errors"][0]["pointer"], "/channels/placed/colour");
    assert_eq!((&codes["errors"][0]["line"], &codes["field"]), (&json!(5), &json!("spec.data")));
    let query = "{ applications { data { eventAPIs { totalCount } } } }";
    let found = bench.done(query, json!({})).await;
    assert_eq!(found["applications"]["data"][0]["eventAPIs"]["totalCount"], 0);
}

#[tokio::test]
async fn inputs_that_break_a_rule_are_refused_by_field() {
    let bench = Bench::new();
    let app = bench.application("shop").await;
    let bus = |url: &str, topic: &str| json!([{ "url": url, "topic": topic }]);
    let spec = json!({ "data": SPEC, "eventSpecType": "ASYNC_API" });
    let both = json!({ "data": SPEC, "eventSpecType": "ASYNC_API",
        "fetchRequest": { "url": "https://x.test/" } });
    let file = json!({ "eventSpecType": "ASYNC_API", "fetchRequest": { "url": "file:///x" } });
    let rows = [
        ("spec", json!({ "spec": both })),
        ("spec", json!({ "spec": { "eventSpecType": "ASYNC_API" } })),
        ("spec.fetchRequest.url", json!({ "spec": file })),
        ("name", json!({ "spec": spec, "name": "a\u{e9}" })),
        ("name", json!({ "spec": spec, "name": "" })),
        ("group", json!({ "spec": spec, "group": "x".repeat(37) })),
        ("description", json!({ "spec": spec, "description": "x".repeat(2001) })),
        ("version.value", json!({ "spec": spec, "version": { "value": "1" } })),
        (
            "externalSubscriptions[0].url",
            json!({ "spec": spec,
            "externalSubscriptions": bus("ftp://bus.test", "t") }),
        ),
        (
            "externalSubscriptions[0].url",
            json!({ "spec": spec,
            "externalSubscriptions": bus("kafka://user:pass@bus.test", "t") }),
        ),
        (
            "externalSubscriptions[0].topic",
            json!({ "spec": spec,
            "externalSubscriptions": bus("kafka://bus.test", "") }),
        ),
        (
            "externalSubscriptions[0].attributes.qos",
            json!({ "spec": spec,
            "externalSubscriptions": [{ "url": "http://x.test", "topic": "t",
                "attributes": { "qos": "1" } }] }),
        ),
        (
            "auth.credential.basic.username",
            json!({ "spec": spec,
            "auth": { "credential": { "basic": { "username": "a:b", "password": "c" } } } }),
        ),
    ];
    for (field, input) in rows {
        let (message, codes) = bench.refused(ADD, json!({ "app": app, "in": input })).await;
        assert_eq!(codes["field"], field, "{message}");
        assert_eq!(codes["error_code"], 22, "{message}");
    }
    let (_, codes) = bench.refused(ADD, json!({ "app": "none", "in": inline(SPEC) })).await;
    assert_eq!((&codes["error"], &codes["error_code"]), (&json!("NotFound"), &json!(20)));
    let create = "mutation($in: ApplicationInput!) { createApplication(in: $in) { id } }";
    for name in ["", "a b", "shop/x", "-shop"] {
        let (_, codes) = bench.refused(create, json!({ "in": { "name": name } })).await;
        assert_eq!(codes["field"], "name", "{name:?}");
    }
    let (_, codes) = bench.refused(create, json!({ "in": { "name": "shop" } })).await;
    assert_eq!(codes["error"], "NotUnique");
}

#[tokio::test]
async fn an_application_and_its_definitions_are_made_together_or_not_at_all() {
    let bench = Bench::new();
    let create = "mutation($in: ApplicationInput!) { createApplication(in: $in) { id \
        eventAPIs { data { name } totalCount } eventingConfiguration { defaultURL } } }";
    let wrong = inline("asyncapi: 2.6.0\ninfo: {title: T, version: '1'}\nchannels: 3\n");
    let input = json!({ "in": { "name": "shop", "eventAPIs": [inline(SPEC), wrong] } });
    let (message, codes) = bench.refused(create, input).await;
    assert!(message.starts_with("eventAPIs[1].spec.data: line 3"), "{message}");
    assert_eq!(codes["field"], "eventAPIs[1].spec.data");
    let none = bench.done("{ applications { totalCount } }", json!({})).await;
    assert_eq!(none["applications"]["totalCount"], 0);
    let input = json!({ "in": { "name": "shop", "labels": { "team": ["a"] },
        "eventAPIs": [inline(SPEC)] } });
    let made = bench.done(create, input).await;
    assert_eq!(made["createApplication"]["eventAPIs"]["data"], json!([{ "name": "Orders" }]));
    assert_eq!(
        made["createApplication"]["eventingConfiguration"]["defaultURL"],
        "https://events.test/shop/v1/events"
    );
    let delete = "mutation($id: ID!) { deleteApplication(id: $id) { name labels(key: \"team\") } }";
    let gone = bench.done(delete, json!({ "id": made["createApplication"]["id"] })).await;
    let expected = json!({ "name": "shop", "labels": { "team": ["a"] } });
    assert_eq!(gone["deleteApplication"], expected);
}

#[tokio::test]
async fn secrets_are_kept_by_updates_and_never_shown() {
    let bench = Bench::new();
    let app = bench.application("shop").await;
    let auth = json!({ "credential": { "basic": { "username": "ann", "password": "s3cret-1" } } });
    let bus = json!({ "url": "https://bus.test/in", "topic": "orders", "auth": auth });
    let mut input = inline(SPEC);
    input["auth"] = auth.clone();
    input["externalSubscriptions"] = json!([bus]);
    let made = bench.add(&app, input.clone()).await;
    assert_eq!(made["auth"]["credential"]["username"], "ann");
    let update = "mutation($id: ID!, $in: EventAPIDefinitionInput!) { updateEventAPI(id: $id, \
        in: $in) { auth { credential { __typename } } externalSubscriptions { \
        auth { credential { __typename } } } } }";
    input.as_object_mut().unwrap().remove("auth");
    input["externalSubscriptions"][0].as_object_mut().unwrap().remove("auth");
    let kept = bench.done(update, json!({ "id": made["id"], "in": input })).await;
    let shown = json!({ "credential": { "__typename": "BasicCredentialData" } });
    assert_eq!(kept["updateEventAPI"]["auth"], shown);
    assert_eq!(kept["updateEventAPI"]["externalSubscriptions"][0]["auth"], shown);
    input["auth"] = Value::Null;
    let removed = bench.done(update, json!({ "id": made["id"], "in": input })).await;
    assert_eq!(removed["updateEventAPI"]["auth"], Value::Null);
    let all = format!("{:?}", bench.log());
    assert!(all.contains("updateEventAPI") && !all.contains("s3cret"), "{all}");
    let on_disk = bench.ledger_documents("event-definition");
    assert!(on_disk.contains("Orders") && !on_disk.contains("s3cret"), "{on_disk}");
}

#[tokio::test]
async fn an_external_subscription_over_http_is_a_subscription_of_its_definition() {
    let bench = Bench::new();
    let app = bench.application("shop").await;
    let mut input = inline(SPEC);
    input["externalSubscriptions"] = json!([
        { "url": "https://bus.test/in", "topic": "orders" },
        { "url": "kafka://bus.test:9092", "topic": "orders", "attributes": { "contentMode": "STRUCTURED" } },
    ]);
    let made = bench.add(&app, input.clone()).await;
    let external = &made["externalSubscriptions"];
    assert_eq!(external[1]["status"]["active"], true);
    assert_eq!(external[1]["attributes"], json!({ "contentMode": "STRUCTURED" }));
    let name = external[0]["status"]["subscription"].as_str().unwrap();
    let list = "{ subscriptions { data { name endpoint filters } } }";
    let found = bench.done(list, json!({})).await;
    let found = &found["subscriptions"]["data"];
    assert_eq!(found[1]["name"], external[1]["status"]["subscription"]);
    assert_eq!(found[0]["name"], name);
    assert_eq!(found[0]["endpoint"], "https://bus.test/in/orders");
    assert_eq!(found[0]["filters"][1], json!({ "any": [{ "exact": { "type": "order.placed" } }] }));

    for change in [
        "deleteSubscription(name: $n) { name }",
        "updateSubscription(name: $n, in: { name: $n, endpoint: \"https://x.test\" }) { name }",
        "createSubscription(in: { name: $n, endpoint: \"https://x.test\" }) { name }",
    ] {
        let query = format!("mutation($n: String!) {{ {change} }}");
        let (message, codes) = bench.refused(&query, json!({ "n": name })).await;
        assert_eq!(codes["error"], "InvalidOperation", "{message}");
        assert!(message.contains("belongs to the event definition"), "{message}");
    }

    let update = "mutation($id: ID!, $in: EventAPIDefinitionInput!) { \
        updateEventAPI(id: $id, in: $in) { id } }";
    input["externalSubscriptions"] = json!([{ "url": "https://bus.test/in", "topic": "other" }]);
    bench.done(update, json!({ "id": made["id"], "in": input })).await;
    let found = bench.done(list, json!({})).await;
    let found = &found["subscriptions"]["data"];
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_ne!(found[0]["name"], name, "what waits for one receiver does not go to another");
    assert_eq!(found[0]["endpoint"], "https://bus.test/in/other");

    let delete = "mutation($id: ID!) { deleteEventAPI(id: $id) { id } }";
    bench.done(delete, json!({ "id": made["id"] })).await;
    assert_eq!(bench.done(list, json!({})).await["subscriptions"]["data"], json!([]));
}

#[tokio::test]
async fn pages_have_the_cursors_of_compass() {
    let bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.application(name).await;
    }
    let query = "query($n: Int, $after: PageCursor) { applications(first: $n, after: $after) { \
        data { name } pageInfo { startCursor endCursor hasNextPage } totalCount } }";
    let first = bench.done(query, json!({ "n": 2 })).await["applications"].take();
    let cursor = "RHBLdEo0ajlqRHEy";
    assert_eq!(first["data"], json!([{ "name": "a" }, { "name": "b" }]));
    let info = json!({ "startCursor": "", "endCursor": cursor, "hasNextPage": true });
    assert_eq!((&first["pageInfo"], &first["totalCount"]), (&info, &json!(3)));
    let last = bench.done(query, json!({ "n": 2, "after": cursor })).await["applications"].take();
    assert_eq!(last["data"], json!([{ "name": "c" }]));
    let info = json!({ "startCursor": cursor, "endCursor": "", "hasNextPage": false });
    assert_eq!(last["pageInfo"], info);
    for wrong in [json!({ "n": 0 }), json!({ "after": "Yg==" })] {
        let (_, codes) = bench.refused(query, wrong).await;
        assert_eq!(codes["error"], "InvalidData");
    }
}

#[tokio::test]
async fn the_later_names_are_about_the_same_definitions() {
    let bench = Bench::new();
    let app = bench.application("shop").await;
    let spec = json!({ "data": SPEC, "type": "ASYNC_API", "format": "YAML" });
    let add = "mutation($app: ID!, $in: EventDefinitionInput!) { \
        addEventDefinitionToApplication(appID: $app, in: $in) { id name spec { id type } } }";
    let input = json!({ "app": app, "in": { "name": "orders", "spec": spec } });
    let made = bench.done(add, input).await["addEventDefinitionToApplication"].take();
    assert_eq!(made["spec"], json!({ "id": made["id"], "type": "ASYNC_API" }));
    let query = "query($app: ID!, $id: ID!) { eventsForApplication(appID: $app) { totalCount \
        data { id } } eventAPI(id: $id) { name application { name } } }";
    let found = bench.done(query, json!({ "app": app, "id": made["id"] })).await;
    assert_eq!(found["eventsForApplication"]["data"][0]["id"], made["id"]);
    assert_eq!(found["eventAPI"], json!({ "name": "orders", "application": { "name": "shop" } }));
    let delete = "mutation($id: ID!) { deleteEventDefinition(id: $id) { name } }";
    bench.done(delete, json!({ "id": made["id"] })).await;
    let (_, codes) = bench.refused(delete, json!({ "id": made["id"] })).await;
    assert_eq!(codes["error"], "NotFound");
}

#[tokio::test]
async fn scopes_of_compass_grant_what_they_say() {
    let bench = Bench::new();
    let create = "mutation { createApplication(in: { name: \"shop\" }) { id } }";
    let list = "{ applications { totalCount } }";
    for (role, may_read, may_write) in [
        ("application:read", true, false),
        ("application:write", true, true),
        ("nobody", false, false),
    ] {
        let read = bench.ask(role, list, json!({})).await;
        assert_eq!(read["errors"].is_null(), may_read, "{role}");
        let written = bench.ask(role, create, json!({})).await;
        assert_eq!(written["errors"].is_null(), may_write, "{role}: {written}");
        if !may_write {
            assert_eq!(written["errors"][0]["extensions"]["error_code"], 23);
        }
    }
    let other = bench.ask("application:write", "{ nextSequence }", json!({})).await;
    assert_eq!(other["errors"][0]["extensions"]["error_code"], 23);
}
