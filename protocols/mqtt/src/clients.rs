//! Clients, their sessions and subscriptions, as operators see and end them. Looks are short: each
//! locks for a few hundred entries at the most, and none waits for the router.

use std::net::SocketAddr;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eg_event::{Principal, Refusal, Timestamp};

use crate::codec::{Qos, Reason, Version};
use crate::counters::Dropped;
use crate::link::Link;
pub use crate::link::Transport;
use crate::server::Server;
use crate::sessions::{Listed, Seat};
use crate::subscriber::{Granted, Inbox};
use crate::topic_filter::TopicFilter;

/// How many sessions are looked at under one lock.
const LOOK_MAX: usize = 256;
/// How long an operator waits for a connection to end.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// A client: a session, and the connection that has it.
#[derive(Clone, Debug)]
pub struct ClientStatus {
    /// The client identifier.
    pub id: Arc<str>,
    /// Its connection; none: it is away.
    pub connection: Option<ConnectionStatus>,
    /// When its session began; none: before the start.
    pub created_at: Option<Timestamp>,
    /// When its session ends if the client does not come back; none: never, or it is connected.
    pub expires_at: Option<Timestamp>,
    /// What its session has.
    pub holds: Holds,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct ConnectionStatus {
    /// Where it comes from.
    pub address: SocketAddr,
    /// What carries it.
    pub transport: Transport,
    /// The version of the protocol.
    pub version: Version,
    /// Who it is.
    pub principal: Arc<Principal>,
    /// Since when.
    pub connected_at: Timestamp,
    /// The keep alive, in seconds; 0: none.
    pub keep_alive_s: u16,
    /// How many messages of QoS 1 and 2 the client takes at once (MQTT 5.0 section 3.1.2.11.3).
    pub receive_maximum: u16,
    /// How long the session outlives the connection; none: for ever.
    pub session_expiry: Option<Duration>,
    /// PUBLISH packets that came.
    pub messages_received: u64,
    /// PUBLISH packets that were sent.
    pub messages_sent: u64,
    /// Bytes that came after CONNECT.
    pub bytes_received: u64,
    /// Bytes that were sent after CONNACK.
    pub bytes_sent: u64,
}

/// What a session has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// How many subscriptions.
    pub subscriptions: usize,
    /// How many messages wait.
    pub queue_messages: usize,
    /// The bytes of their events.
    pub queue_bytes: u64,
    /// How many messages are under way and not acknowledged.
    pub inflight: usize,
    /// Messages that did not reach it since the start, by reason.
    pub dropped: Vec<(Dropped, u64)>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionStatus {
    /// Whose.
    pub client_id: Arc<str>,
    /// The filter, as it was subscribed to.
    pub filter: Box<str>,
    /// The highest quality of service.
    pub qos: Qos,
    /// The client's own messages are left out.
    pub no_local: bool,
    /// The flag RETAIN stays as it was published.
    pub retain_as_published: bool,
    /// The subscription identifier.
    pub identifier: Option<u32>,
    /// The group that shares it.
    pub share_group: Option<Box<str>>,
}

/// Which clients are looked for; what is not set fits all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// What the client identifier begins with.
    pub id_prefix: Option<String>,
    /// Whether it is connected.
    pub connected: Option<bool>,
    /// The name of the principal that is connected.
    pub principal: Option<String>,
    /// The application that it acts for.
    pub application: Option<String>,
}

impl ClientFilter {
    fn begin(&self) -> &str {
        self.id_prefix.as_deref().unwrap_or_default()
    }

    fn fits(&self, listed: &Listed) -> bool {
        let principal = listed.link.as_ref().map(|link| &link.principal);
        let name = principal.map(|principal| principal.name());
        let application = principal.and_then(|principal| principal.application());
        self.connected.is_none_or(|wanted| wanted == listed.link.is_some())
            && self.principal.as_deref().is_none_or(|wanted| name == Some(wanted))
            && self.application.as_deref().is_none_or(|wanted| application == Some(wanted))
    }
}

impl Server {
    /// Clients after `after`, in the order of their identifiers: at most `count_max` that fit.
    pub async fn clients(
        &self,
        filter: &ClientFilter,
        after: Option<&str>,
        count_max: usize,
    ) -> Vec<ClientStatus> {
        let fits = |listed: &Listed| filter.fits(listed);
        let found = self.listed((filter.begin(), after), fits, count_max).await;
        found.iter().map(|listed| self.status(listed)).collect()
    }

    /// One client.
    #[must_use]
    pub fn client(&self, id: &str) -> Option<ClientStatus> {
        self.0.sessions.get(id).map(|listed| self.status(&listed))
    }

    /// How many clients fit.
    pub async fn client_count(&self, filter: &ClientFilter) -> usize {
        let mut count = 0;
        self.visit((filter.begin(), None), |listed| {
            count += usize::from(filter.fits(&listed));
            ControlFlow::Continue(())
        })
        .await;
        count
    }

    /// Sessions that fit, in order: at most `count_max`.
    async fn listed(
        &self,
        from: (&str, Option<&str>),
        fits: impl Fn(&Listed) -> bool + Send + Sync,
        count_max: usize,
    ) -> Vec<Listed> {
        let mut found = Vec::new();
        self.visit(from, |listed| {
            if fits(&listed) {
                found.push(listed);
            }
            if found.len() < count_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await;
        found
    }

    /// Shows `visit` the sessions after `after` whose client identifier begins with `begin`, in
    /// order; other tasks have their turn between the looks.
    async fn visit(
        &self,
        (begin, after): (&str, Option<&str>),
        mut visit: impl FnMut(Listed) -> ControlFlow<()> + Send,
    ) {
        let mut from = match after.filter(|after| *after >= begin) {
            Some(after) => Bound::Excluded(Arc::from(after)),
            None => Bound::Included(Arc::from(begin)),
        };
        loop {
            let start = from.as_ref().map(|from: &Arc<str>| &**from);
            let look = self.0.sessions.list(start, LOOK_MAX);
            let Some(last) = look.last().map(|last| Arc::clone(&last.client_id)) else { return };
            let is_last = look.len() < LOOK_MAX || !last.starts_with(begin);
            let mut of_prefix = look.into_iter().take_while(|one| one.client_id.starts_with(begin));
            if of_prefix.try_for_each(&mut visit).is_break() || is_last {
                return;
            }
            from = Bound::Excluded(last);
            tokio::task::yield_now().await;
        }
    }

    fn status(&self, listed: &Listed) -> ClientStatus {
        let subscriber = self.0.router.subscriber(&listed.client_id);
        let holds = subscriber.map(|one| Holds::of(&one.inbox())).unwrap_or_default();
        ClientStatus {
            id: Arc::clone(&listed.client_id),
            connection: listed.link.as_deref().map(ConnectionStatus::of),
            created_at: listed.created_at,
            expires_at: listed.expires_at,
            holds,
        }
    }

    /// The subscriptions of the client `id` after the filter `after`, in the order of filters: at
    /// most `count_max`.
    #[must_use]
    pub fn subscriptions(
        &self,
        id: &str,
        after: Option<&str>,
        count_max: usize,
    ) -> Vec<SubscriptionStatus> {
        let Some(subscriber) = self.0.router.subscriber(id) else { return Vec::new() };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let inbox = subscriber.inbox();
        let all = inbox.subscriptions.range::<str, _>((from, Bound::Unbounded)).take(count_max);
        all.map(|(filter, granted)| SubscriptionStatus::of(id, filter, granted)).collect()
    }

    /// How many subscriptions the client `id` has, or all clients together.
    #[must_use]
    pub fn subscription_count(&self, id: Option<&str>) -> usize {
        let router = &self.0.router;
        match id {
            Some(id) => router.subscriber(id).map_or(0, |one| one.inbox().subscriptions.len()),
            None => usize::try_from(router.backlog().subscriptions).unwrap_or(usize::MAX),
        }
    }

    /// All subscriptions after the filter `after.1` of the client `after.0`, by client and filter: at
    /// most `count_max`.
    pub async fn all_subscriptions(
        &self,
        after: Option<(&str, &str)>,
        count_max: usize,
    ) -> Vec<SubscriptionStatus> {
        let mut found = match after {
            Some((id, filter)) => self.subscriptions(id, Some(filter), count_max),
            None => Vec::new(),
        };
        let mut behind: Option<Arc<str>> = after.map(|(id, _)| id.into());
        while found.len() < count_max {
            let clients = self.listed(("", behind.as_deref()), |_| true, LOOK_MAX).await;
            let Some(last) = clients.last() else { break };
            behind = Some(Arc::clone(&last.client_id));
            for client in &clients {
                let room = count_max - found.len();
                found.extend(self.subscriptions(&client.client_id, None, room));
            }
        }
        found
    }

    /// Ends the connection of the client `id` for an operator; its session stays for as long as the
    /// client has asked. Says whether it was connected.
    pub async fn disconnect(&self, id: &str, reason: Reason) -> bool {
        let link = self.0.sessions.get(id).and_then(|listed| listed.link);
        let (Some(link), Some(seat)) = (link, self.0.sessions.seat(id)) else { return false };
        link.end(reason);
        has_left(&seat).await;
        true
    }

    /// Ends the session of the client `id`, and its connection if there is one: what it had is
    /// forgotten, durably. Says whether there was one.
    pub async fn delete_session(&self, id: &str) -> Result<bool, Refusal> {
        let Some(listed) = self.0.sessions.get(id) else { return Ok(false) };
        if let Some(link) = &listed.link {
            link.end(Reason::AdministrativeAction);
        }
        let id = &listed.client_id;
        let Some(taken) = self.0.sessions.take_to_end(id) else { return Ok(false) };
        if let Some(previous) = &taken.previous {
            previous.has_left().await;
        }
        let forgotten = self.forget_all(id).await;
        let expiry =
            if forgotten.is_ok() { Duration::ZERO } else { crate::sessions::UNTIL_THE_NEXT_LOOK };
        let now = self.0.ports.clock.now();
        drop(self.0.sessions.leave(id, &taken.seat, (Some(expiry), false), now));
        forgotten.map(|()| true)
    }

    /// Ends a subscription of the client `id`, which MQTT has no packet to tell it, durably if its
    /// session is kept. Says whether there was one.
    pub async fn unsubscribe(&self, id: &str, filter: &str) -> Result<bool, Refusal> {
        let router = &self.0.router;
        let Some(subscriber) = router.subscriber(id) else { return Ok(false) };
        let existed = router.unsubscribe(&subscriber, filter);
        subscriber.inbox().recount();
        if existed {
            self.0.keeper.keep(router, &subscriber).await?;
            self.tell_unsubscribed_by_operator(id, filter);
        }
        Ok(existed)
    }
}

async fn has_left(seat: &Seat) {
    drop(tokio::time::timeout(LEAVE_MAX, seat.left.cancelled()).await);
}

impl ConnectionStatus {
    fn of(link: &Link) -> Self {
        Self {
            address: link.address,
            transport: link.transport,
            version: link.version,
            principal: Arc::clone(&link.principal),
            connected_at: link.connected_at,
            keep_alive_s: link.keep_alive_s,
            receive_maximum: link.receive_maximum,
            session_expiry: link.session_expiry,
            messages_received: link.messages_received.load(Ordering::Relaxed),
            messages_sent: link.messages_sent.load(Ordering::Relaxed),
            bytes_received: link.bytes_received.load(Ordering::Relaxed),
            bytes_sent: link.bytes_sent.load(Ordering::Relaxed),
        }
    }
}

impl Holds {
    fn of(inbox: &Inbox) -> Self {
        Self {
            subscriptions: inbox.subscriptions.len(),
            queue_messages: inbox.queue.len(),
            queue_bytes: inbox.queue.bytes(),
            inflight: inbox.inflight.len(),
            dropped: inbox.dropped_counts(),
        }
    }
}

impl SubscriptionStatus {
    fn of(client_id: &str, filter: &str, granted: &Granted) -> Self {
        let share = TopicFilter::parse(filter, u32::MAX).and_then(|parsed| parsed.share);
        Self {
            client_id: client_id.into(),
            filter: filter.into(),
            qos: granted.qos,
            no_local: granted.no_local,
            retain_as_published: granted.retain_as_published,
            identifier: (granted.identifier != 0).then_some(granted.identifier),
            share_group: share.map(Into::into),
        }
    }
}
