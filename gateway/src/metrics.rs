//! What is counted and measured, in the names and units of Prometheus.

use std::sync::Arc;

use eg_auth::Unauthenticated;
use eg_event::{Protocol, Receipt, Refusal, Status};
use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder as _, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use crate::dispatch::Dispatch;
use crate::dispatch::lane::View;

/// Of whom the metrics are, for the recorder.
const METADATA: Metadata<'static> =
    Metadata::new("event_gateway", Level::INFO, Some(module_path!()));

/// What can become of an event on the way in.
const RESULTS: [&str; 11] = [
    "published",
    "ignored",
    "quarantined",
    "duplicate",
    "unauthenticated",
    "forbidden",
    "invalid",
    "too_large",
    "busy",
    "quota",
    "unavailable",
];
/// Over what events come.
const PROTOCOLS: [Protocol; 9] = [
    Protocol::Http,
    Protocol::Mqtt311,
    Protocol::Mqtt5,
    Protocol::Internal,
    Protocol::Kafka,
    Protocol::Nats,
    Protocol::Amqp,
    Protocol::Amqp10,
    Protocol::MqttBus,
];

/// Over what somebody may ask to be recognized.
const ASKED_OVER: [&str; 3] = ["http", "mqtt", "admin"];
/// Attempts to be recognized that failed.
const UNAUTHENTICATED: &str = "event_gateway_authentication_failures_total";

/// Events that do not follow their declaration.
const VIOLATIONS: &str = "event_gateway_spec_violations_total";

/// Messages that were read from buses.
const CONSUMED: &str = "event_gateway_bus_consumed_total";

/// How much is in quarantine.
const QUARANTINE_EVENTS: &str = "event_gateway_quarantine_events";
const QUARANTINE_BYTES: &str = "event_gateway_quarantine_bytes";

/// Why an event was forbidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForbiddenBy {
    /// The source is the gateway's own.
    ReservedSource,
    /// The event says itself who sent it.
    Authcontext,
    /// A rule denies it.
    Rule,
    /// The application is another's.
    Application,
    /// No rule allows the topic.
    Topic,
    /// No rule allows the type.
    Type,
    /// The source is another's.
    Source,
    /// No rule is about the sender.
    NoRule,
}

impl ForbiddenBy {
    /// All of them, with their words.
    const ALL: [(Self, &'static str); 8] = [
        (Self::ReservedSource, "reserved_source"),
        (Self::Authcontext, "authcontext"),
        (Self::Rule, "rule"),
        (Self::Application, "application"),
        (Self::Topic, "topic"),
        (Self::Type, "type"),
        (Self::Source, "source"),
        (Self::NoRule, "no_rule"),
    ];

    /// The field that stands in the way, as a policy names it.
    #[must_use]
    pub fn of(field: Option<&str>) -> Self {
        let known = Self::ALL.iter().find(|(_, word)| Some(*word) == field);
        known.map_or(Self::NoRule, |(by, _)| *by)
    }
}

/// The metrics of one gateway.
pub struct Metrics {
    recorder: PrometheusRecorder,
    /// By protocol and result.
    received: Vec<[Counter; 11]>,
    /// By reason.
    forbidden: [Counter; 8],
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        describe(&recorder);
        let received = PROTOCOLS.map(|protocol| {
            RESULTS.map(|result| {
                let labels = [("protocol", protocol.as_str()), ("result", result)];
                counter(&recorder, "event_gateway_events_received_total", &labels)
            })
        });
        let forbidden = ForbiddenBy::ALL.map(|(_, word)| {
            counter(&recorder, "event_gateway_events_forbidden_total", &[("reason", word)])
        });
        for protocol in ASKED_OVER {
            for reason in Unauthenticated::WORDS {
                let labels = [("protocol", protocol), ("reason", reason)];
                counter(&recorder, UNAUTHENTICATED, &labels).absolute(0);
            }
        }
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        gauge(&recorder, "event_gateway_build_info", &version).set(1.0);
        Self { recorder, received: received.into(), forbidden }
    }
}

impl Metrics {
    /// Counts what became of events that came in together.
    pub fn received(&self, protocol: Protocol, answers: &[Result<Receipt, Refusal>]) {
        let row = PROTOCOLS.iter().position(|known| *known == protocol).unwrap_or(0);
        let mut counts = [0u64; RESULTS.len()];
        for answer in answers {
            counts[result_index(answer)] += 1;
        }
        for (counter, count) in self.received[row].iter().zip(counts) {
            if count > 0 {
                counter.increment(count);
            }
        }
    }

    /// Counts an event that was forbidden.
    pub fn forbidden(&self, by: ForbiddenBy) {
        let known = ForbiddenBy::ALL.iter().zip(&self.forbidden);
        known.filter(|((known, _), _)| *known == by).for_each(|(_, counter)| counter.increment(1));
    }

    /// Counts an event that does not follow its declaration.
    pub fn violation(&self, application: &str, definition: &str, outcome: &str) {
        let labels =
            [("application", application), ("definition", definition), ("outcome", outcome)];
        counter(&self.recorder, VIOLATIONS, &labels).increment(1);
    }

    /// Counts what became of a message of a bus.
    pub fn consumed(&self, bus: &str, outcome: &str) {
        let labels = [("bus", bus), ("outcome", outcome)];
        counter(&self.recorder, CONSUMED, &labels).increment(1);
    }

    /// Counts an attempt to be recognized that failed.
    pub fn unauthenticated(&self, protocol: &'static str, why: &Unauthenticated) {
        let labels = [("protocol", protocol), ("reason", why.word())];
        counter(&self.recorder, UNAUTHENTICATED, &labels).increment(1);
    }

    /// Everything in the text format of Prometheus, with `levels`.
    #[must_use]
    pub fn render(&self, levels: &Levels) -> String {
        format!("{}{}", self.recorder.handle().render(), levels.0.handle().render())
    }
}

/// What stands at one moment. It is taken anew each time that somebody looks: what is gone leaves
/// nothing behind.
pub struct Levels(PrometheusRecorder);

impl std::fmt::Debug for Levels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Levels")
    }
}

impl Default for Levels {
    fn default() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        describe(&recorder);
        Self(recorder)
    }
}

impl Levels {
    /// A counter that somebody else keeps, as it stands.
    pub fn set_counter(&self, name: &'static str, labels: &[(&'static str, &str)], value: u64) {
        counter(&self.0, name, labels).absolute(value);
    }

    /// A gauge, as it stands.
    pub fn set_gauge(&self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        gauge(&self.0, name, labels).set(value);
    }

    /// Takes the numbers of all subscriptions.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub fn subscriptions(&self, dispatch: &Arc<Dispatch>) {
        let (events, bytes) = dispatch.quarantine().used();
        self.set_gauge(QUARANTINE_EVENTS, &[], events.into());
        self.set_gauge(QUARANTINE_BYTES, &[], bytes as f64);
        let all = dispatch.all();
        self.set_gauge("event_gateway_subscriptions", &[], all.len() as f64);
        for registered in all {
            let view: View = registered.lane().view();
            let definition = registered.definition();
            let key = definition.subscription.key();
            let labels = [("subscription", &*key)];
            let gauges = [
                ("event_gateway_subscription_waiting_events", view.waiting),
                ("event_gateway_subscription_in_flight_events", view.in_flight),
                ("event_gateway_subscription_retrying_events", view.retrying),
                ("event_gateway_subscription_parked_events", view.parked),
                ("event_gateway_subscription_dead_letters", view.dead_letters),
                ("event_gateway_subscription_paused", u64::from(view.paused.is_some())),
                ("event_gateway_subscription_activated", u64::from(view.is_activated)),
            ];
            for (name, value) in gauges {
                self.set_gauge(name, &labels, value as f64);
            }
            let counters = [
                ("event_gateway_subscription_delivered_total", view.delivered),
                ("event_gateway_subscription_lost_total", view.lost),
            ];
            for (name, value) in counters {
                self.set_counter(name, &labels, value);
            }
        }
    }
}

fn result_index(answer: &Result<Receipt, Refusal>) -> usize {
    match answer {
        Ok(receipt) if receipt.duplicate => 3,
        Ok(receipt) => match receipt.status() {
            Status::Published => 0,
            Status::Ignored => 1,
            Status::Quarantined => 2,
        },
        Err(Refusal::Unauthenticated(_)) => 4,
        Err(Refusal::Forbidden(_)) => 5,
        Err(Refusal::Invalid(_)) => 6,
        Err(Refusal::TooLarge { .. }) => 7,
        Err(Refusal::Busy { .. }) => 8,
        Err(Refusal::Quota { .. }) => 9,
        Err(Refusal::Unavailable { .. }) => 10,
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let label = |(name, value): &(&'static str, &str)| Label::new(*name, (*value).to_owned());
    Key::from_parts(name, labels.iter().map(label).collect::<Vec<_>>())
}

fn counter(
    recorder: &PrometheusRecorder,
    name: &'static str,
    labels: &[(&'static str, &str)],
) -> Counter {
    recorder.register_counter(&key(name, labels), &METADATA)
}

fn gauge(
    recorder: &PrometheusRecorder,
    name: &'static str,
    labels: &[(&'static str, &str)],
) -> Gauge {
    recorder.register_gauge(&key(name, labels), &METADATA)
}

/// Every metric with its meaning.
fn describe(recorder: &PrometheusRecorder) {
    describe_counters(recorder);
    describe_gauges(recorder);
}

fn describe_counters(recorder: &PrometheusRecorder) {
    let counters = [
        ("event_gateway_events_received_total", "Events that came in, by protocol and result."),
        ("event_gateway_events_forbidden_total", "Events that were forbidden, by reason."),
        (
            VIOLATIONS,
            "Events that do not follow their declaration, by application, definition and outcome.",
        ),
        (CONSUMED, "Messages read from buses: taken, duplicate or refused, by bus and outcome."),
        (UNAUTHENTICATED, "Attempts to be recognized that failed, by protocol and reason."),
        ("event_gateway_subscription_delivered_total", "Events delivered to the subscription."),
        (
            "event_gateway_subscription_lost_total",
            "Events that retention let go before they were delivered.",
        ),
        ("event_gateway_attempts_unlogged_total", "Delivery attempts left out of the log."),
        ("event_gateway_connections_refused_total", "Connections refused at a limit, by protocol."),
        (
            "event_gateway_mqtt_connects_refused_total",
            "CONNECT packets that were refused or could not be read, by reason.",
        ),
        (
            "event_gateway_mqtt_connections_ended_total",
            "MQTT connections that the gateway ended, by reason.",
        ),
        (
            "event_gateway_mqtt_reauthentications_total",
            "MQTT clients that authenticated again within their connection.",
        ),
        ("event_gateway_mqtt_messages_refused_total", "Messages that could not become events."),
        (
            "event_gateway_mqtt_messages_dropped_total",
            "QoS 0 messages whose events were refused, which their senders cannot be told.",
        ),
    ];
    for (name, text) in counters {
        recorder.describe_counter(KeyName::from_const_str(name), None, text.into());
    }
}

fn describe_gauges(recorder: &PrometheusRecorder) {
    let gauges = [
        (
            "event_gateway_tls_certificate_expiry_timestamp_seconds",
            Some(Unit::Seconds),
            "When a certificate or a list of revoked ones ends, in seconds since 1970.",
        ),
        ("event_gateway_build_info", None, "The version of the program."),
        ("event_gateway_connections", None, "Open connections, by protocol."),
        ("event_gateway_journal_first_sequence", None, "The oldest event in the journal."),
        ("event_gateway_journal_next_sequence", None, "The sequence of the next event."),
        ("event_gateway_journal_bytes", Some(Unit::Bytes), "The size of the journal."),
        ("event_gateway_journal_files", None, "The files of the journal."),
        ("event_gateway_intake_events", None, "Events that wait for the disk."),
        ("event_gateway_routed_sequence", None, "Everything before this has been routed."),
        ("event_gateway_writable", None, "1 when events are taken, 0 when the store refuses them."),
        ("event_gateway_bus_reading", None, "1 when the topic of the subscription is read."),
        (
            "event_gateway_bus_lag_messages",
            None,
            "Messages that wait on the bus, as far as it says.",
        ),
        (QUARANTINE_EVENTS, None, "Events in quarantine."),
        (QUARANTINE_BYTES, Some(Unit::Bytes), "What they take, roughly."),
        ("event_gateway_subscriptions", None, "How many subscriptions there are."),
        (
            "event_gateway_subscription_waiting_events",
            None,
            "Events that wait for their first attempt.",
        ),
        ("event_gateway_subscription_in_flight_events", None, "Attempts under way."),
        (
            "event_gateway_subscription_retrying_events",
            None,
            "Events that wait for another attempt.",
        ),
        (
            "event_gateway_subscription_parked_events",
            None,
            "Events that wait for one of the same key.",
        ),
        ("event_gateway_subscription_dead_letters", None, "Events that were given up."),
        ("event_gateway_subscription_paused", None, "1 when the subscription is paused."),
    ];
    for (name, unit, text) in gauges {
        recorder.describe_gauge(KeyName::from_const_str(name), unit, text.into());
    }
}
