//! What policies decide: a table of requests, and what cannot be a policy.
#![expect(clippy::unwrap_used, reason = "a test may stop here")]

use std::collections::{BTreeMap, BTreeSet};

use eg_auth::policy::{
    Action, Area, Decision, Forbidden, Policy, PolicyConfig, Request, Resource, Subject,
};

const RULES: &str = r#"
source_binding = "prefix"

[[rules]]
name = "applications"
effect = "allow"
principals = ["*"]
actions = ["publish"]
applications = ["${application}"]

[[rules]]
name = "devices"
effect = "allow"
principals = ["device-*"]
methods = ["certificate"]
actions = ["publish", "subscribe"]
topics = ["devices/${client_id}/#", "shared/+/state"]
sources = ["/plants/${claim.plant}/${client_id}", "/plants/${claim.plant}/${client_id}/*"]

[[rules]]
name = "tenants"
effect = "allow"
roles = ["writer"]
actions = ["publish"]
types = ["tenant.${claim.tenant}.*"]
sources = ["urn:tenant:${claim.tenant}"]

[[rules]]
name = "groups"
effect = "allow"
principals = ["*"]
actions = ["publish", "subscribe"]
topics = ["groups/${role}/#"]
types = ["group.${role}"]
sources = ["/groups"]

[[rules]]
name = "readers"
effect = "allow"
roles = ["reader"]
actions = ["subscribe"]
topics = ["plants/+/temperature", "plants/halls/#"]

[[rules]]
name = "no secrets"
effect = "deny"
principals = ["*"]
actions = ["publish", "subscribe"]
topics = ["plants/halls/secret/#", "devices/+/secret"]

[[rules]]
name = "no refunds"
effect = "deny"
principals = ["shop"]
actions = ["publish"]
types = ["*.refunded"]
sources = ["/shop/*"]

[[rules]]
name = "managers"
effect = "allow"
roles = ["manager"]
actions = ["manage", "read"]
areas = ["subscriptions"]
"#;

/// Who asks in the table.
#[derive(Clone, Default)]
struct Who {
    name: &'static str,
    method: &'static str,
    application: Option<&'static str>,
    roles: BTreeSet<String>,
    claims: BTreeMap<String, String>,
}

impl Who {
    fn new(name: &'static str, method: &'static str) -> Self {
        Self { name, method, ..Self::default() }
    }

    fn application(mut self, application: &'static str) -> Self {
        self.application = Some(application);
        self
    }

    fn role(mut self, role: &str) -> Self {
        self.roles.insert(role.to_owned());
        self
    }

    fn claim(mut self, name: &str, value: &str) -> Self {
        self.claims.insert(name.to_owned(), value.to_owned());
        self
    }

    fn asks<'a>(&'a self, action: Action, resource: Resource<'a>) -> Request<'a> {
        let resource = Resource { application: self.application, ..resource };
        let subject = Subject {
            name: self.name,
            method: self.method,
            application: self.application,
            roles: &self.roles,
            claims: &self.claims,
        };
        Request { subject, action, resource }
    }
}

fn policy(text: &str) -> Policy {
    Policy::compile(&toml::from_str::<PolicyConfig>(text).unwrap()).unwrap()
}

fn decision(policy: &Policy, request: &Request<'_>) -> String {
    match policy.decide(request) {
        Decision::Allowed(rule) => format!("+{}", rule.name()),
        Decision::Denied(rule) => format!("-{}", rule.name()),
        Decision::NoRule => String::new(),
    }
}

fn event<'a>(source: &'a str, ty: &'a str) -> Resource<'a> {
    Resource { source: Some(source), ty: Some(ty), ..Resource::default() }
}

fn message<'a>(client_id: &'a str, topic: &'a str, source: &'a str) -> Resource<'a> {
    let resource = event(source, "t");
    Resource { client_id: Some(client_id), topic: Some(topic), ..resource }
}

fn filter(topic: &str) -> Resource<'_> {
    Resource { topic: Some(topic), client_id: Some("c1"), ..Resource::default() }
}

#[test]
fn an_application_publishes_as_itself_alone() {
    let policy = policy(RULES);
    let shop = Who::new("shop", "bearer").application("shop");
    let spaced = Who::new("tom", "bearer").application("tom's");
    let nobody = Who::new("shop", "bearer");
    let odd = Who::new("odd", "bearer").application("*");
    let rows = [
        (&shop, "shop", "+applications"),
        (&shop, "/shop", "+applications"),
        (&shop, "/shop/", "+applications"),
        (&shop, "/shop/tills/3", "+applications"),
        (&shop, "shop/tills", "+applications"),
        (&shop, "/mqtt/shop", "+applications"),
        (&shop, "/mqtt/shop/till", "+applications"),
        (&shop, "/shopping", ""),
        (&shop, "shops", ""),
        (&shop, "/bank", ""),
        (&shop, "/mqtt/bank", ""),
        (&shop, "https://shop/", ""),
        (&shop, "//shop/x", ""),
        (&shop, "/Shop", ""),
        (&shop, "/shop/../bank", "-no refunds"),
        (&shop, "/shop/%2e%2e/bank", "-no refunds"),
        (&shop, "/shop/%2E./bank", "-no refunds"),
        (&spaced, "/tom%27s", "+applications"),
        (&spaced, "/tom's", ""),
        (&odd, "/bank", ""),
        (&odd, "/%2A/x", "+applications"),
        (&nobody, "/shop", ""),
        (&nobody, "shop", ""),
    ];
    for (who, source, expected) in rows {
        let ty = if expected.starts_with('-') { "order.refunded" } else { "order.made" };
        let request = who.asks(Action::Publish, event(source, ty));
        assert_eq!(decision(&policy, &request), expected, "{source}");
    }
}

#[test]
fn a_denial_wins() {
    let policy = policy(RULES);
    let shop = Who::new("shop", "bearer").application("shop");
    let bank = Who::new("bank", "bearer").application("bank");
    let rows = [
        (&shop, "/shop/1", "order.refunded", "-no refunds"),
        (&shop, "/shop", "order.refunded", "+applications"),
        (&shop, "/shop/1", "order.refunded.not", "+applications"),
        (&bank, "/bank/1", "order.refunded", "+applications"),
    ];
    for (who, source, ty, expected) in rows {
        let request = who.asks(Action::Publish, event(source, ty));
        assert_eq!(decision(&policy, &request), expected, "{source} {ty}");
    }
}

#[test]
fn a_value_never_widens_a_rule() {
    let policy = policy(RULES);
    let device = Who::new("device-1", "certificate").claim("plant", "7");
    let other = Who::new("device-1", "basic").claim("plant", "7");
    let homeless = Who::new("device-1", "certificate");
    let empty = Who::new("device-1", "certificate").claim("plant", "");
    let rows = [
        (&device, "c1", "devices/c1/state", "/plants/7/c1", "+devices"),
        (&device, "c1", "devices/c1", "/plants/7/c1", "+devices"),
        (&device, "c1", "shared/x/state", "/plants/7/c1/probe", "+devices"),
        (&device, "c1", "devices/c2/state", "/plants/7/c1", ""),
        (&device, "c1", "devices/c1/state", "/plants/8/c1", ""),
        (&device, "c1", "devices/c1/state", "/plants/7/c2", ""),
        (&device, "c1", "devices/c1/state", "/plants/7/c11", ""),
        (&device, "c1", "devices/c1/secret", "/plants/7/c1", "-no secrets"),
        (&device, "+", "devices/c2/state", "/plants/7/+", ""),
        (&device, "+", "devices/+/state", "/plants/7/%2B", ""),
        (&device, "#", "devices/c2/state", "/plants/7/%23", ""),
        (&device, "c2/x", "devices/c2/x/state", "/plants/7/c2/x", ""),
        (&device, "c2/x", "shared/c2/state", "/plants/7/c2%2Fx", "+devices"),
        (&device, "*", "shared/c2/state", "/plants/7/c2", ""),
        (&device, "..", "shared/c2/state", "/plants/7/../8", ""),
        (&device, "", "devices//state", "/plants/7/", ""),
        (&other, "c1", "devices/c1/state", "/plants/7/c1", ""),
        (&homeless, "c1", "devices/c1/state", "/plants//c1", ""),
        (&empty, "c1", "devices/c1/state", "/plants//c1", ""),
        (&homeless, "c1", "devices/c1/state", "/plants/${claim.plant}/c1", ""),
    ];
    for (who, client_id, topic, source, expected) in rows {
        let request = who.asks(Action::Publish, message(client_id, topic, source));
        assert_eq!(decision(&policy, &request), expected, "{client_id} {topic} {source}");
    }
    let writer = |tenant: &str| Who::new("ann", "bearer").role("writer").claim("tenant", tenant);
    let rows = [
        ("blue", "tenant.blue.made", "urn:tenant:blue", "+tenants"),
        ("blue", "tenant.red.made", "urn:tenant:blue", ""),
        ("blue", "tenant.blue.made", "urn:tenant:red", ""),
        ("blue.x", "tenant.blue.x.made", "urn:tenant:blue.x", ""),
        ("*", "tenant.red.made", "urn:tenant:red", ""),
        ("blue:x", "tenant.blue:x.made", "urn:tenant:blue%3Ax", ""),
        ("", "tenant..made", "urn:tenant:", ""),
    ];
    for (tenant, ty, source, expected) in rows {
        let who = writer(tenant);
        let request = who.asks(Action::Publish, event(source, ty));
        assert_eq!(decision(&policy, &request), expected, "{tenant} {ty} {source}");
    }
}

#[test]
fn one_role_has_to_fit_the_whole_rule() {
    let policy = policy(RULES);
    let both = Who::new("ann", "bearer").role("red").role("blue");
    let rows = [
        ("groups/red/x", "group.red", "+groups"),
        ("groups/blue/x", "group.blue", "+groups"),
        ("groups/blue/x", "group.red", ""),
        ("groups/green/x", "group.green", ""),
    ];
    for (topic, ty, expected) in rows {
        let resource = Resource { topic: Some(topic), ..event("/groups", ty) };
        assert_eq!(decision(&policy, &both.asks(Action::Publish, resource)), expected, "{topic}");
    }
}

#[test]
fn an_allowed_filter_covers_what_is_asked_for_and_a_denied_one_only_touches_it() {
    let policy = policy(RULES);
    let reader = Who::new("ann", "bearer").role("reader");
    let rows = [
        ("plants/7/temperature", "+readers"),
        ("plants/+/temperature", "+readers"),
        ("plants/halls/3/#", "+readers"),
        ("plants/halls", "+readers"),
        ("plants/halls/3", "+readers"),
        ("plants/halls/+/door", "-no secrets"),
        ("plants/halls/#", "-no secrets"),
        ("plants/halls/+", "-no secrets"),
        ("plants/halls/secret/x", "-no secrets"),
        ("plants/#", "-no secrets"),
        ("#", "-no secrets"),
        ("+/+/temperature", ""),
        ("plants/+/+", "-no secrets"),
        ("plants/7/#", ""),
        ("$SYS/#", ""),
        ("$share/g/plants/7/temperature", "+readers"),
        ("$share/g/plants/halls/#", "-no secrets"),
        ("$share/g/x", ""),
    ];
    for (topic, expected) in rows {
        let request = reader.asks(Action::Subscribe, filter(topic));
        assert_eq!(decision(&policy, &request), expected, "{topic}");
    }
}

#[test]
fn wildcards_do_not_reach_the_servers_topics() {
    let all = policy(
        "[[rules]]\neffect = \"allow\"\nprincipals = [\"*\"]\nactions = [\"subscribe\"]\n\
         topics = [\"#\", \"$SYS/load/+\"]\n[[rules]]\nname = \"d\"\neffect = \"deny\"\n\
         principals = [\"*\"]\nactions = [\"subscribe\"]\ntopics = [\"$SYS/load/5\"]",
    );
    let ann = Who::new("ann", "bearer");
    let rows = [
        ("#", true),
        ("a/+", true),
        ("$SYS/load/1", true),
        ("$SYS/load/5", false),
        ("$SYS/load/+", false),
        ("$SYS/#", false),
        ("+/load/5", true),
    ];
    for (topic, expected) in rows {
        let request = ann.asks(Action::Subscribe, filter(topic));
        assert_eq!(all.decide(&request).is_allowed(), expected, "{topic}");
    }
}

#[test]
fn without_rules_roles_and_applications_may_what_their_names_say() {
    let built_in = policy("");
    let shop = Who::new("shop", "certificate").application("shop");
    let (admin, operator) = (Who::new("a", "bearer").role("admin"), Who::new("o", "bearer"));
    let (operator, viewer) = (operator.role("operator"), Who::new("v", "bearer").role("viewer"));
    let anonymous = Who::new("anonymous", "anonymous");
    let area = Resource::of;
    let rows = [
        (&shop, Action::Publish, event("/shop", "t"), true),
        (&shop, Action::Publish, event("/bank", "t"), false),
        (&shop, Action::Subscribe, filter("#"), false),
        (&shop, Action::Read, area(Area::Events), false),
        (&shop, Action::Manage, area(Area::Subscriptions), false),
        (&admin, Action::Manage, area(Area::Credentials), true),
        (&admin, Action::Read, area(Area::Policy), true),
        (&admin, Action::Publish, event("/shop", "t"), false),
        (&operator, Action::Manage, area(Area::Subscriptions), true),
        (&operator, Action::Manage, area(Area::DeadLetters), true),
        (&operator, Action::Manage, area(Area::Credentials), false),
        (&operator, Action::Manage, area(Area::Certificates), false),
        (&operator, Action::Read, area(Area::Metrics), true),
        (&viewer, Action::Read, area(Area::Subscriptions), true),
        (&viewer, Action::Manage, area(Area::Subscriptions), false),
        (&anonymous, Action::Publish, event("/s", "t"), false),
        (&anonymous, Action::Read, area(Area::Metrics), false),
    ];
    for (who, action, resource, expected) in rows {
        let request = who.asks(action, resource);
        assert_eq!(built_in.decide(&request).is_allowed(), expected, "{request:?}");
    }
    let development = built_in.open_to_anonymous().unwrap();
    for action in Action::ALL {
        let request = anonymous.asks(action, event("/any/../where", "t"));
        assert!(development.decide(&request).is_allowed(), "{action:?}");
        let request = viewer.asks(Action::Manage, area(Area::Subscriptions));
        assert!(!development.decide(&request).is_allowed());
    }
}

#[test]
fn the_binding_of_sources_can_be_tightened_and_lifted() {
    let shop = Who::new("shop", "bearer").application("shop");
    let rows = [
        ("application", "/shop", true),
        ("application", "shop", true),
        ("application", "/shop/1", false),
        ("application", "/bank", false),
        ("prefix", "/shop/1", true),
        ("prefix", "/bank", false),
        ("none", "/bank", true),
    ];
    for (binding, source, expected) in rows {
        let policy = policy(&format!("source_binding = \"{binding}\""));
        let request = shop.asks(Action::Publish, event(source, "t"));
        assert_eq!(policy.decide(&request).is_allowed(), expected, "{binding} {source}");
    }
}

#[test]
fn a_refusal_says_what_was_expected() {
    let policy = policy(RULES);
    let shop = Who::new("shop", "bearer").application("shop");
    let said = |who: &Who, resource| -> Forbidden {
        policy.check(&who.asks(Action::Publish, resource)).unwrap_err()
    };
    let refused = said(&shop, event("/bank", "t"));
    assert_eq!(refused.field, Some("source"));
    let text = refused.to_string();
    assert!(text.starts_with("source: expected shop, /shop, /mqtt/shop, shop/*, "), "{text}");
    assert!(text.ends_with("found \"/bank\""), "{text}");
    let refused = said(&shop, event("/shop/x", "order.refunded")).to_string();
    assert_eq!(refused, "the rule \"no refunds\" denies it");
    let device = Who::new("device-1", "certificate").claim("plant", "7");
    let refused = said(&device, message("c1", "other", "/plants/7/c1"));
    assert_eq!(refused.field, Some("topic"));
    assert!(refused.to_string().contains("expected devices/c1/#, shared/+/state"), "{refused}");
    let stranger = Who::new("stranger", "basic");
    let reader = policy.check(&stranger.asks(Action::Read, Resource::of(Area::Events)));
    assert_eq!(reader.unwrap_err().to_string(), "no rule lets stranger read");
}

#[test]
fn a_decision_lists_what_every_rule_makes_of_it() {
    let policy = policy(RULES);
    let device = Who::new("device-1", "certificate").claim("plant", "7");
    let request = device.asks(Action::Publish, message("c1", "devices/c1/x", "/plants/8/c1"));
    let considered: Vec<_> = policy.explain(&request).collect();
    let of = |name: &str| considered.iter().find(|one| one.rule.name() == name).unwrap();
    let (what, expected) = of("devices").mismatch.as_ref().unwrap();
    assert_eq!((what.field(), &**expected), ("source", "/plants/7/c1, /plants/7/c1/*"));
    assert_eq!(of("tenants").mismatch.as_ref().unwrap().0.field(), "role");
    assert_eq!(considered[0].rule.name(), "no secrets", "denials come first");
    assert!(considered.iter().all(|one| one.rule.name() != "managers"));
}

#[test]
fn what_cannot_be_a_policy_is_named() {
    let rows = [
        ("actions = [\"read\"]", "policy.rules[0].principals", "everybody"),
        ("principals = [\"a\"]\nactions = []", "policy.rules[0].actions", "publish"),
        ("principals = [\"a**\"]\nactions = [\"read\"]", "policy.rules[0].principals[0]", "one *"),
        ("principals = [\"${name}\"]\nactions = [\"read\"]", "policy.rules[0].principals", "names"),
        (
            "principals = [\"a\"]\nactions = [\"publish\"]\ntopics = [\"a\", \"a/#/b\"]",
            "policy.rules[0].topics[1]",
            "topic filter",
        ),
        (
            "principals = [\"a\"]\nactions = [\"publish\"]\ntopics = [\"a/${clientid}\"]",
            "policy.rules[0].topics[0]",
            "did you mean ${client_id}?",
        ),
        (
            "principals = [\"a\"]\nactions = [\"publish\"]\nsources = [\"/a/${claim.}\"]",
            "policy.rules[0].sources[0]",
            "claim.NAME",
        ),
        (
            "principals = [\"a\"]\nactions = [\"publish\"]\ntypes = [\"${name\"]",
            "policy.rules[0].types[0]",
            "}",
        ),
        (
            "principals = [\"a\"]\nactions = [\"publish\"]\ntypes = [\"\"]",
            "policy.rules[0].types[0]",
            "1 to",
        ),
    ];
    for (text, field, said) in rows {
        let text = format!("[[rules]]\neffect = \"allow\"\n{text}");
        let config = toml::from_str::<PolicyConfig>(&text).unwrap();
        let error = Policy::compile(&config).unwrap_err();
        assert_eq!(error.field, field, "{text}");
        assert!(error.detail.contains(said), "{error}");
    }
    for text in ["", "effect = \"alow\"", "effect = \"allow\"\nprincipal = [\"a\"]"] {
        let text = format!("[[rules]]\nactions = [\"read\"]\n{text}");
        assert!(toml::from_str::<PolicyConfig>(&text).is_err(), "{text}");
    }
}

#[test]
fn a_denied_source_is_denied_in_whatever_case_that_does_not_count() {
    let policy = policy(
        r#"
        [[rules]]
        effect = "allow"
        principals = ["*"]
        actions = ["publish"]
        sources = ["*"]

        [[rules]]
        effect = "deny"
        principals = ["*"]
        actions = ["publish"]
        sources = ["https://bank.example/*", "/tills/a%2Fb"]
        "#,
    );
    let ann = Who::new("ann", "bearer");
    let is_allowed = |source| policy.check(&ann.asks(Action::Publish, event(source, "t"))).is_ok();
    assert!(is_allowed("https://shop.example/") && is_allowed("/tills/a%2fc"));
    for source in
        ["https://bank.example/1", "HTTPS://Bank.example/1", "/tills/a%2Fb", "/tills/a%2fb"]
    {
        assert!(!is_allowed(source), "{source}");
    }
}

#[test]
fn an_application_called_mqtt_does_not_speak_for_mqtt_clients() {
    let policy = Policy::compile(&PolicyConfig::default()).unwrap();
    let ann = Who::new("ann", "bearer").application("mqtt");
    let is_allowed = |source| {
        let resource = Resource { application: Some("mqtt"), ..event(source, "t") };
        policy.check(&ann.asks(Action::Publish, resource)).is_ok()
    };
    assert!(is_allowed("/mqtt/ann") && is_allowed("/mqtt/ann/1"));
    assert!(!is_allowed("/mqtt/bob") && !is_allowed("/mqtt") && !is_allowed("mqtt/bob"));
}
