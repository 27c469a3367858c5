//! SUBSCRIBE and UNSUBSCRIBE: each filter is answered alone, and a session that is kept has its
//! subscriptions on the disk before its client is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use eg_event::{Quantity, Refusal, Sequence};
use futures_util::future::{BoxFuture, FutureExt as _, join_all, ready};
use tokio::sync::oneshot::error::TryRecvError;

use super::deliver::Delivery;
use super::exchange::{Exchange, Pending};
use crate::codec::{Requested, Subscribe, Version};
use crate::option_changes::SESSION_CHANGES_MAX;
use crate::router::{Added, NotSubscribed, RetainedFor};
use crate::subscriber::{Granted, Subscriber};
use crate::topic_filter::TopicFilter;

/// Reason codes of SUBACK (MQTT 5.0 section 3.9.3), and the one of 3.1.1.
const NOT_AUTHORIZED: u8 = 0x87;
const TOPIC_FILTER_INVALID: u8 = 0x8f;
const QUOTA_EXCEEDED: u8 = 0x97;
const FAILURE: u8 = 0x80;

/// A filter that is not granted: the reason code, and why.
type NotGranted = (u8, String);

impl Exchange<'_> {
    pub(super) fn subscribe(&mut self, subscribe: &Subscribe) {
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        let mut text = None;
        let mut adding = Vec::new();
        for requested in &subscribe.filters {
            match self.grant(requested, subscribe.identifier) {
                Ok(added) => {
                    codes.push(requested.qos as u8);
                    adding.push(added);
                    self.server.tell_subscribed(self.client, requested);
                }
                Err((code, why)) => {
                    self.server.0.counters.subscriptions_refused.fetch_add(1, Ordering::Relaxed);
                    let client_id = &*self.client.id;
                    tracing::debug!(client_id, filter = requested.filter, why, "not granted");
                    codes.push(if self.client.version == Version::V5 { code } else { FAILURE });
                    text.get_or_insert(why);
                }
            }
        }
        let is_changed = codes.iter().any(|code| *code < FAILURE);
        let answer = self.keep_subscriptions(is_changed, adding);
        let packet_id = subscribe.packet_id;
        self.subscribing += 1;
        self.pending.push_back(Pending::Subscribed { packet_id, codes, text, answer });
    }

    /// Subscribes to one filter, with the quality of service that is requested.
    fn grant(
        &mut self,
        requested: &Requested,
        identifier: Option<u32>,
    ) -> Result<Added, NotGranted> {
        let config = &self.server.0.config;
        let Some(filter) = TopicFilter::parse(&requested.filter, config.filter_levels_max) else {
            let levels_max = config.filter_levels_max;
            let why = format!("expected a topic filter of at most {levels_max} levels");
            return Err((TOPIC_FILTER_INVALID, why));
        };
        let grants = &self.server.0.ports.grants;
        let allowed =
            grants.subscribe(&self.client.identity.principal, &self.client.id, &requested.filter);
        allowed.map_err(|refusal| (NOT_AUTHORIZED, refusal.to_string()))?;
        let router = &self.server.0.router;
        let granted = Granted {
            qos: requested.qos,
            no_local: requested.no_local,
            retain_as_published: requested.retain_as_published,
            identifier: identifier.unwrap_or(0),
            since: Sequence::default(),
        };
        let is_new =
            |one: &Arc<Subscriber>| !one.inbox().subscriptions.contains_key(&*requested.filter);
        let count_max = usize::try_from(config.session_subscriptions_max).unwrap_or(usize::MAX);
        let subscriber = self.subscriber();
        if let Some(full) = self.tenant_without_room()
            && is_new(&subscriber)
        {
            return Err((QUOTA_EXCEEDED, full));
        }
        let text = (&*requested.filter, filter);
        let retained_for = RetainedFor {
            principal: &self.client.identity.principal,
            only_if_new: requested.retain_handling == 1,
        };
        let retained_for = (requested.retain_handling != 2).then_some(retained_for);
        let around = (count_max, retained_for, &self.server.0.counters);
        let added = router.subscribe(&subscriber, text, granted, around);
        subscriber.inbox().recount();
        added.map_err(|why| {
            let expected = match why {
                NotSubscribed::TooManySubscriptions => format!("{count_max} subscriptions"),
                NotSubscribed::TooManyChanges => {
                    format!("{SESSION_CHANGES_MAX} changes of options until they hold")
                }
            };
            (QUOTA_EXCEEDED, format!("expected at most {expected}"))
        })
    }

    /// What a client is told whose application has as many subscriptions as it may.
    fn tenant_without_room(&self) -> Option<String> {
        let tenant = self.client.tenant.as_ref()?.tenant();
        let (name, max) = (tenant.name(), tenant.max(Quantity::Subscriptions));
        let has_room = tenant.has_room(Quantity::Subscriptions, 1);
        (!has_room).then(|| format!("{name} may have {max} MQTT subscriptions, and has them"))
    }

    /// What this session has as a subscriber, from now on at the latest.
    fn subscriber(&mut self) -> Arc<Subscriber> {
        let delivery = self.delivery.get_or_insert_with(|| {
            let is_kept = self.client.session_expiry.is_none_or(|expiry| !expiry.is_zero());
            let subscriber = self.server.0.router.begin(&self.client.id, is_kept);
            subscriber.set_connected(true);
            subscriber.inbox().join(self.client.tenant.as_ref());
            Box::new(Delivery::new(subscriber))
        });
        Arc::clone(&delivery.subscriber)
    }

    pub(super) fn unsubscribe(&mut self, packet_id: u16, filters: &[String]) {
        let router = &self.server.0.router;
        let existed: Vec<bool> = match &self.delivery {
            Some(delivery) => {
                let one = |filter: &String| router.unsubscribe(&delivery.subscriber, filter);
                let existed = filters.iter().map(one).collect();
                delivery.subscriber.inbox().recount();
                existed
            }
            None => vec![false; filters.len()],
        };
        for (filter, _) in filters.iter().zip(&existed).filter(|(_, existed)| **existed) {
            self.server.tell_unsubscribed(self.client, filter);
        }
        let answer = self.keep_subscriptions(existed.contains(&true), Vec::new());
        self.pending.push_back(Pending::Unsubscribed { packet_id, existed, answer });
    }

    /// Makes the subscriptions of a session durable that is kept, with what is retained for them
    /// once it has been added.
    fn keep_subscriptions(
        &self,
        is_changed: bool,
        mut adding: Vec<Added>,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        let Some(delivery) = self.delivery.as_ref().filter(|_| is_changed) else {
            return ready(Ok(())).boxed();
        };
        let (server, subscriber) = (self.server.clone(), Arc::clone(&delivery.subscriber));
        let is_kept = subscriber.inbox().is_kept;
        let keep = move || server.0.keeper.keep(&server.0.router, &subscriber);
        adding.retain_mut(|added| added.try_recv() == Err(TryRecvError::Empty));
        if adding.is_empty() || !is_kept {
            return keep();
        }
        let stop = self.server.0.stop.clone();
        async move {
            drop(stop.run_until_cancelled(join_all(adding)).await);
            keep().await
        }
        .boxed()
    }
}
