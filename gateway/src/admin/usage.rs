//! What applications may send and hold, what they hold, and what they will.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::{InputObject, Object, Result, SimpleObject};
use eg_event::InvalidInput;

use super::error::{Code, coded, invalid, store};
use super::schema::Parts;
use super::specs::error::rejected;
use crate::plan::{self, PERIODS, Plan};
use crate::specs::change::Change;
use crate::specs::definition as words;

/// How far a plan looks ahead when nobody says, in days.
const DAYS_DEFAULT: u32 = 30;
/// How far it can, in days.
const DAYS_MAX: u32 = 3650;

/// What can be asked of what applications hold.
pub struct UsageQuery(pub(super) Parts);

/// What can be changed of what they may.
pub struct UsageMutation(pub(super) Parts);

/// What an application may send and hold; what is not set is as the gateway has it.
#[derive(Clone, Copy, Debug, InputObject, SimpleObject)]
#[graphql(input_name = "ApplicationLimitsInput")]
pub struct ApplicationLimits {
    /// Its events are let go at this age, in hours.
    retention_hours: Option<u32>,
    /// When it holds more than this, in bytes, its oldest events are let go.
    retention_bytes: Option<u64>,
    /// When it holds this much, in bytes, its events are refused.
    quota_bytes: Option<u64>,
    /// What it sends faster than this, in events per second, is refused.
    events_per_second: Option<u32>,
    /// How many events it may send at once after a pause; by default those of a second.
    burst_events: Option<u32>,
    /// How many MQTT connections it may have at once.
    mqtt_connections: Option<u32>,
    /// How many subscriptions its MQTT sessions may have together.
    mqtt_subscriptions: Option<u32>,
    /// How many messages may wait for its MQTT sessions together.
    mqtt_queue_messages: Option<u64>,
    /// How many bytes the events may have that wait for them.
    mqtt_queue_bytes: Option<u64>,
    /// How many messages of QoS 1 and 2 may be under way to its MQTT clients together.
    mqtt_inflight_messages: Option<u32>,
}

/// How fast events came.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub struct StorageRate {
    /// Over the last so many seconds, or since the first event that is held.
    seconds: u64,
    /// Events in a second.
    events_per_second: f64,
    /// Bytes in a second.
    bytes_per_second: f64,
}

/// What an application holds, and will hold.
#[derive(Clone, Debug, SimpleObject)]
pub struct ApplicationUsage {
    /// Its name; null: events that were sent for no application.
    application: Option<String>,
    /// What it may.
    limits: ApplicationLimits,
    /// How many events it holds.
    events: u64,
    /// Their size, in bytes.
    bytes: u64,
    /// How fast they came, over the last minute, hour and day.
    rates: Vec<StorageRate>,
    /// What it will hold, in bytes, if they go on coming as in the last day.
    forecast_bytes: f64,
    /// When it will hold all that it may, in days; null: never, at this rate.
    quota_full_in_days: Option<f64>,
}

/// What the store holds, and will hold.
#[derive(Clone, Debug, SimpleObject)]
pub struct StoragePlan {
    /// How far it looks ahead.
    days: u32,
    /// For how long events are kept where an application has no limit of its own, in hours.
    retention_hours: u64,
    /// How many bytes of events are kept in all.
    retention_bytes: u64,
    /// What the journal takes of the disk, in bytes.
    journal_bytes: u64,
    /// What the disk still takes before events are refused, in bytes.
    room_bytes: u64,
    /// What will be held, in bytes, if events go on coming as in the last day.
    forecast_bytes: f64,
    /// When the disk takes no more, in days; null: never, at this rate.
    disk_full_in_days: Option<f64>,
    /// Who holds how much.
    applications: Vec<ApplicationUsage>,
    /// What the messages asked about would take, in bytes: messages a day x days x kilobytes.
    what_if_bytes: Option<f64>,
    /// Whether that fits, with what is forecast, into what is kept and what the disk takes.
    what_if_fits: Option<bool>,
}

/// Messages that may come.
#[derive(Clone, Copy, Debug, InputObject)]
pub struct WhatIfInput {
    /// How many in a day.
    messages_per_day: f64,
    /// How large each is, in kilobytes of 1000 bytes.
    kilobytes: f64,
}

#[Object]
impl UsageQuery {
    /// What one application holds; `days` is how far the forecast looks ahead.
    async fn application_usage(
        &self,
        name: String,
        #[graphql(default = 30)] days: u32,
    ) -> Result<ApplicationUsage> {
        self.usage_of(&name, days).await
    }

    /// What all applications hold, and will hold in so many days, under the retention that is set.
    async fn storage_plan(
        &self,
        #[graphql(default = 30)] days: u32,
        what_if: Option<WhatIfInput>,
    ) -> Result<StoragePlan> {
        let plan = self.plan(days).await?;
        let (age_max, retention_bytes) = self.0.journal.retention();
        let kept_days = f64::from(days).min(age_max.as_secs_f64() / DAY_SECONDS);
        let asked = what_if.map(|asked| asked.bytes(kept_days)).transpose()?;
        #[expect(clippy::cast_precision_loss, reason = "a forecast is no more exact")]
        let fits = |bytes: f64| {
            bytes + plan.forecast_bytes <= retention_bytes as f64 && bytes <= plan.room_bytes as f64
        };
        Ok(StoragePlan {
            days,
            retention_hours: age_max.as_secs() / 3600,
            retention_bytes,
            journal_bytes: plan.journal_bytes,
            room_bytes: plan.room_bytes,
            forecast_bytes: plan.forecast_bytes,
            disk_full_in_days: plan.disk_full_in.map(in_days),
            what_if_bytes: asked,
            what_if_fits: asked.map(fits),
            applications: plan.applications.into_iter().map(Into::into).collect(),
        })
    }
}

impl UsageQuery {
    async fn plan(&self, days: u32) -> Result<Plan> {
        if !(1..=DAYS_MAX).contains(&days) {
            let detail = format!("expected a number from 1 to {DAYS_MAX}, found {days}");
            return Err(invalid(&InvalidInput::new("days", detail)));
        }
        let (journal, snapshot) = (self.0.journal.clone(), self.0.specs.snapshot());
        let ahead = Duration::from_hours(24 * u64::from(days));
        let make = move || Plan::make(&journal, &snapshot, ahead);
        let plan = tokio::task::spawn_blocking(make).await;
        plan.unwrap_or(Err(eg_storage::StoreError::Closed)).map_err(|error| store(&error))
    }

    async fn usage_of(&self, name: &str, days: u32) -> Result<ApplicationUsage> {
        let found = self.plan(days).await?.applications.into_iter();
        let mut found = found.filter(|one| one.application.as_deref() == Some(name));
        let missing = || coded(Code::NotFound, &format!("there is no application {name:?}"));
        found.next().map(Into::into).ok_or_else(missing)
    }
}

#[Object]
impl UsageMutation {
    /// Sets what an application may send and hold, all of it.
    async fn limit_application(
        &self,
        name: String,
        r#in: ApplicationLimits,
    ) -> Result<ApplicationUsage> {
        let found = self.0.specs.snapshot().application_named(&name).map(Arc::clone);
        let missing = || coded(Code::NotFound, &format!("there is no application {name:?}"));
        let id = found.ok_or_else(missing)?.id.clone();
        let change = Change::LimitApplication { id, to: r#in.into() };
        let place = |_| "in.".to_owned();
        self.0.specs.apply(vec![change]).await.map_err(|why| rejected(why, place))?;
        UsageQuery(self.0.clone()).usage_of(&name, DAYS_DEFAULT).await
    }
}

const DAY_SECONDS: f64 = 86_400.0;

fn in_days(duration: Duration) -> f64 {
    duration.as_secs_f64() / DAY_SECONDS
}

impl WhatIfInput {
    fn bytes(self, days: f64) -> Result<f64> {
        for (field, value) in
            [("messagesPerDay", self.messages_per_day), ("kilobytes", self.kilobytes)]
        {
            if !(value >= 0.0 && value.is_finite()) {
                let field = format!("whatIf.{field}");
                return Err(invalid(&InvalidInput::new(field, "expected a number from 0 on")));
            }
        }
        Ok(plan::what_if(self.messages_per_day, self.kilobytes, days))
    }
}

impl From<ApplicationLimits> for words::ApplicationLimits {
    fn from(given: ApplicationLimits) -> Self {
        let ApplicationLimits {
            retention_hours,
            retention_bytes,
            quota_bytes,
            events_per_second,
            burst_events,
            mqtt_connections,
            mqtt_subscriptions,
            mqtt_queue_messages,
            mqtt_queue_bytes,
            mqtt_inflight_messages,
        } = given;
        Self {
            retention_hours,
            retention_bytes,
            quota_bytes,
            events_per_second,
            burst_events,
            mqtt_connections,
            mqtt_subscriptions,
            mqtt_queue_messages,
            mqtt_queue_bytes,
            mqtt_inflight_messages,
        }
    }
}

impl From<words::ApplicationLimits> for ApplicationLimits {
    fn from(limits: words::ApplicationLimits) -> Self {
        let words::ApplicationLimits {
            retention_hours,
            retention_bytes,
            quota_bytes,
            events_per_second,
            burst_events,
            mqtt_connections,
            mqtt_subscriptions,
            mqtt_queue_messages,
            mqtt_queue_bytes,
            mqtt_inflight_messages,
        } = limits;
        Self {
            retention_hours,
            retention_bytes,
            quota_bytes,
            events_per_second,
            burst_events,
            mqtt_connections,
            mqtt_subscriptions,
            mqtt_queue_messages,
            mqtt_queue_bytes,
            mqtt_inflight_messages,
        }
    }
}

impl From<plan::Usage> for ApplicationUsage {
    fn from(usage: plan::Usage) -> Self {
        let rate = |(rate, period): (plan::Rate, Duration)| StorageRate {
            seconds: period.as_secs(),
            events_per_second: rate.events_per_second,
            bytes_per_second: rate.bytes_per_second,
        };
        Self {
            application: usage.application.map(|name| name.to_string()),
            limits: usage.limits.into(),
            events: usage.held.events,
            bytes: usage.held.bytes,
            rates: usage.rates.into_iter().zip(PERIODS).map(rate).collect(),
            forecast_bytes: usage.forecast_bytes,
            quota_full_in_days: usage.quota_full_in.map(in_days),
        }
    }
}
