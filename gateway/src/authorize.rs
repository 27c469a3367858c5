//! Who may publish what as whom, for every protocol alike.

use std::sync::Arc;

use eg_auth::policy::{Action, Policy, PolicyStore, RESERVED, Request, Resource, is_reserved};
use eg_event::{Protocol, Refusal, Submission, authcontext};

use crate::metrics::{ForbiddenBy, Metrics};

/// Lets pass what may be published.
#[derive(Debug)]
pub struct Authorizer {
    policy: PolicyStore,
    metrics: Arc<Metrics>,
}

impl Authorizer {
    /// Asks `policy`, and counts refusals by reason.
    #[must_use]
    pub fn new(policy: PolicyStore, metrics: Arc<Metrics>) -> Self {
        Self { policy, metrics }
    }

    /// Takes out what may not be published: each with its place in the list, in order.
    pub fn sift(&self, submissions: &mut Vec<Submission>) -> Vec<(usize, Refusal)> {
        let policy = self.policy.load();
        let mut refused = Vec::new();
        let mut allowed: Option<&Submission> = None;
        for (place, submission) in submissions.iter().enumerate() {
            // A device sends the same again and again, and what was allowed once is allowed.
            if allowed.is_some_and(|allowed| is_alike(allowed, submission)) {
                continue;
            }
            match check(&policy, submission) {
                Ok(()) => allowed = Some(submission),
                Err((by, refusal)) => {
                    self.metrics.forbidden(by);
                    refused.push((place, refusal));
                }
            }
        }
        if !refused.is_empty() {
            let mut places = refused.iter().map(|(place, _)| *place).peekable();
            let mut place = 0;
            submissions.retain(|_| {
                let is_refused = places.next_if_eq(&place).is_some();
                place += 1;
                !is_refused
            });
        }
        refused
    }
}

/// Whether a policy cannot tell two submissions apart, and neither says who sent it.
fn is_alike(one: &Submission, other: &Submission) -> bool {
    Arc::ptr_eq(&one.principal, &other.principal)
        && one.event.source() == other.event.source()
        && one.event.ty() == other.event.ty()
        && one.origin == other.origin
        && other.event.extensions().is_empty()
}

fn check(policy: &Policy, submission: &Submission) -> Result<(), (ForbiddenBy, Refusal)> {
    let event = &submission.event;
    let forbidden = |by, text: String| Err((by, Refusal::Forbidden(text.into())));
    if is_reserved(event.source()) {
        let text = format!("source: expected another than {RESERVED}, which is the gateway's own");
        return forbidden(ForbiddenBy::ReservedSource, text);
    }
    if let Some(name) = authcontext::claimed(event) {
        let text = format!("{name}: expected none: the gateway says who sent an event");
        return forbidden(ForbiddenBy::Authcontext, text);
    }
    policy
        .check(&request(submission))
        .or_else(|why| forbidden(ForbiddenBy::of(why.field), why.to_string()))
}

/// What a submission asks of a policy.
fn request(submission: &Submission) -> Request<'_> {
    let Submission { event, principal, origin, .. } = submission;
    let is_mqtt = matches!(origin.protocol, Protocol::Mqtt311 | Protocol::Mqtt5);
    let resource = Resource {
        area: None,
        application: submission.application(),
        topic: is_mqtt.then_some(&*origin.address),
        ty: Some(event.ty()),
        source: Some(event.source()),
        client_id: origin.client_id.as_deref(),
    };
    Request { subject: (&**principal).into(), action: Action::Publish, resource }
}
