//! What each operation of the management port takes: the one table. One without a row is refused.

use eg_auth::policy::{Action, Area};

use Action::{Manage, Read};

/// The name of reading the metrics.
pub const METRICS: &str = "metrics";

/// The name of making a token on Kyma's path.
pub const CREATE_TOKEN: &str = "createSigningToken";

/// The root fields of the schema by name, and what is beside it.
const OPERATIONS: &[(&str, Action, Area)] = &[
    ("subscription", Read, Area::Subscriptions),
    ("subscriptions", Read, Area::Subscriptions),
    ("eventActivation", Read, Area::Subscriptions),
    ("eventActivations", Read, Area::Subscriptions),
    ("event", Read, Area::Events),
    ("events", Read, Area::Events),
    ("nextSequence", Read, Area::Events),
    ("deadLetters", Read, Area::DeadLetters),
    ("quarantinedEvents", Read, Area::DeadLetters),
    ("policyDecision", Read, Area::Policy),
    ("credentials", Read, Area::Credentials),
    ("certificates", Read, Area::Certificates),
    ("application", Read, Area::Specs),
    ("applications", Read, Area::Specs),
    ("runtime", Read, Area::Specs),
    ("runtimes", Read, Area::Specs),
    ("eventAPI", Read, Area::Specs),
    ("eventsForApplication", Read, Area::Specs),
    ("eventsChanged", Read, Area::Specs),
    ("applicationsForRuntime", Read, Area::Specs),
    ("eventsForRuntime", Read, Area::Specs),
    ("catalog", Read, Area::Specs),
    ("applicationUsage", Read, Area::Specs),
    ("storagePlan", Read, Area::Specs),
    ("mqttClient", Read, Area::Mqtt),
    ("mqttClients", Read, Area::Mqtt),
    ("mqttSubscriptions", Read, Area::Mqtt),
    ("mqttRetainedMessages", Read, Area::Mqtt),
    // It shows what was published.
    ("mqttRetainedMessage", Read, Area::Events),
    (METRICS, Read, Area::Metrics),
    ("createSubscription", Manage, Area::Subscriptions),
    ("updateSubscription", Manage, Area::Subscriptions),
    ("deleteSubscription", Manage, Area::Subscriptions),
    ("pauseSubscription", Manage, Area::Subscriptions),
    ("resumeSubscription", Manage, Area::Subscriptions),
    ("rewindSubscription", Manage, Area::Subscriptions),
    ("replayEvent", Manage, Area::Subscriptions),
    ("testSubscription", Manage, Area::Subscriptions),
    ("requeueDeadLetters", Manage, Area::DeadLetters),
    ("purgeDeadLetters", Manage, Area::DeadLetters),
    ("createEventActivation", Manage, Area::Subscriptions),
    ("updateEventActivation", Manage, Area::Subscriptions),
    ("deleteEventActivation", Manage, Area::Subscriptions),
    ("applyManifests", Manage, Area::Subscriptions),
    ("releaseQuarantinedEvent", Manage, Area::DeadLetters),
    ("purgeQuarantinedEvents", Manage, Area::DeadLetters),
    ("limitApplication", Manage, Area::Specs),
    ("createCredential", Manage, Area::Credentials),
    ("revokeCredential", Manage, Area::Credentials),
    ("issueCertificate", Manage, Area::Certificates),
    ("revokeCertificate", Manage, Area::Certificates),
    ("createApplication", Manage, Area::Specs),
    ("updateApplication", Manage, Area::Specs),
    ("deleteApplication", Manage, Area::Specs),
    ("createRuntime", Manage, Area::Specs),
    ("updateRuntime", Manage, Area::Specs),
    ("deleteRuntime", Manage, Area::Specs),
    ("addEventAPI", Manage, Area::Specs),
    ("updateEventAPI", Manage, Area::Specs),
    ("deleteEventAPI", Manage, Area::Specs),
    ("refetchEventAPISpec", Manage, Area::Specs),
    ("addEventDefinition", Manage, Area::Specs),
    ("addEventDefinitionToApplication", Manage, Area::Specs),
    ("updateEventDefinition", Manage, Area::Specs),
    ("updateEventDefinitionForApplication", Manage, Area::Specs),
    ("deleteEventDefinition", Manage, Area::Specs),
    ("refetchEventDefinitionSpec", Manage, Area::Specs),
    ("disconnectMqttClient", Manage, Area::Mqtt),
    ("deleteMqttSession", Manage, Area::Mqtt),
    ("unsubscribeMqttClient", Manage, Area::Mqtt),
    ("deleteMqttRetained", Manage, Area::Mqtt),
    (CREATE_TOKEN, Manage, Area::Certificates),
];

/// What the operation `name` takes.
#[must_use]
pub fn operation(name: &str) -> Option<(Action, Area)> {
    let known = OPERATIONS.iter().find(|(known, ..)| *known == name);
    known.map(|(_, action, area)| (*action, *area))
}
