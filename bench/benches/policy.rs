//! What it costs to ask who may publish what, by the built-in rules and by a hundred others.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use eg_auth::policy::{
    Action, Effect, Policy, PolicyConfig, Request, Resource, RuleConfig, Subject,
};

/// A rule for the devices of one plant.
fn rule(number: u32) -> RuleConfig {
    RuleConfig {
        effect: Effect::Allow,
        principals: vec![format!("plant-{number}-*")],
        actions: vec![Action::Publish],
        topics: vec!["devices/${client_id}/#".to_owned()],
        sources: vec!["/plants/${claim.plant}/${client_id}".to_owned()],
        ..RuleConfig::default()
    }
}

fn policy(criterion: &mut Criterion) {
    let roles = BTreeSet::new();
    let claims = BTreeMap::from([("plant".to_owned(), "99".to_owned())]);
    let subject = Subject {
        name: "plant-99-press",
        method: "bearer",
        application: Some("plant"),
        roles: &roles,
        claims: &claims,
    };
    let resource = |source| Resource {
        application: Some("plant"),
        topic: Some("devices/press-1/temperature"),
        ty: Some("com.example.temperature"),
        source: Some(source),
        client_id: Some("press-1"),
        ..Resource::default()
    };
    let hundred = PolicyConfig { rules: (0..100).map(rule).collect(), ..PolicyConfig::default() };
    let rows = [
        ("built-in rules", PolicyConfig::default(), "/plant/press-1/temperature"),
        ("the last of 100 rules", hundred, "/plants/99/press-1"),
    ];
    for (name, config, source) in rows {
        let Ok(policy) = Policy::compile(&config) else { continue };
        let request = Request { subject, action: Action::Publish, resource: resource(source) };
        assert!(policy.decide(&request).is_allowed(), "{name}");
        criterion.bench_function(&format!("policy/{name}"), |bencher| {
            bencher.iter(|| black_box(&policy).decide(black_box(&request)).is_allowed());
        });
    }
}

criterion_group!(benches, policy);
criterion_main!(benches);
