//! Shared subscriptions (MQTT 5.0 section 4.8.2): which member of a group gets a message, and what
//! becomes of what a member leaves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use eg_event::Sequence;

use crate::counters::Counters;
use crate::queue::{Flags, Labels, Reference};
use crate::router::{Router, Tree};
use crate::subscriber::{Granted, Pushed, Subscriber};
use crate::topic_filter::TopicFilter;
use crate::topic_tree;

type Group = topic_tree::Group<Arc<Subscriber>, Granted>;

impl Router {
    /// Gives what a member of shared subscriptions has not dealt with to other members, if any of
    /// them is there (MQTT 5.0 section 4.8.2).
    pub(crate) fn share_out(&self, subscriber: &Arc<Subscriber>, counters: &Counters) {
        // Until all of it is given away no member goes for good.
        let tree = self.tree();
        let (left, labels) = {
            let mut inbox = subscriber.inbox();
            if inbox.labels.groups.len() < 2 {
                return;
            }
            let has_others = |filter: &Arc<str>| {
                let filter = TopicFilter::parse(filter, u32::MAX);
                let group = filter.and_then(|filter| tree.group(filter));
                group.is_some_and(|group| choose_other(group, subscriber).is_some())
            };
            let goes: Vec<bool> = inbox.labels.groups.iter().map(has_others).collect();
            let goes = |reference: &Reference| goes[usize::from(reference.group)];
            let mut left = inbox.inflight.extract(goes);
            left.extend(inbox.queue.extract(goes));
            inbox.recount();
            self.note_change(subscriber, &mut inbox);
            (left, inbox.labels.clone())
        };
        let touched = self.pass_on(&tree, (left, &labels), subscriber, counters);
        drop(tree);
        self.settle(touched);
    }

    fn pass_on(
        &self,
        tree: &Tree,
        (left, labels): (Vec<Reference>, &Labels),
        from: &Arc<Subscriber>,
        counters: &Counters,
    ) -> Vec<Arc<Subscriber>> {
        let mut touched = Vec::new();
        for reference in left {
            let filter = &labels.groups[usize::from(reference.group)];
            let group = TopicFilter::parse(filter, u32::MAX).and_then(|filter| tree.group(filter));
            // All of them may have left meanwhile: then it waits where it was, or with one of them.
            let chosen = group.and_then(|group| {
                choose_other(group, from)
                    .or_else(|| group.choose(|one, _| one.number == from.number))
                    .or_else(|| group.choose(|_, _| true))
            });
            let Some((subscriber, granted)) = chosen else { continue };
            let mut inbox = subscriber.inbox();
            let qos = reference.flags.qos().min(granted.qos);
            let reference = Reference {
                identifiers: match granted.identifier {
                    0 => 0,
                    identifier => inbox.labels.identifiers(&[identifier]),
                },
                group: inbox.labels.group(filter),
                flags: Flags::new(qos, reference.flags.retain()).late(),
                ..reference
            };
            match inbox.push(reference, self.queue_limit) {
                Pushed::Full(why) => counters.deliveries_dropped.add(why),
                Pushed::Queued | Pushed::Known => self.note_change(subscriber, &mut inbox),
            }
            if !subscriber.is_touched.swap(true, Ordering::AcqRel) {
                touched.push(Arc::clone(subscriber));
            }
        }
        touched
    }
}

/// The member of a group that gets an event, of those who had subscribed when it came: one that is
/// there, if any is.
pub(crate) fn choose(group: &Group, sequence: Sequence) -> Option<(&Arc<Subscriber>, &Granted)> {
    let had_subscribed = |granted: &Granted| granted.since <= sequence;
    let is_there =
        |one: &Arc<Subscriber>, granted: &Granted| one.is_connected() && had_subscribed(granted);
    group.choose(is_there).or_else(|| group.choose(|_, granted| had_subscribed(granted)))
}

/// A member that is there, other than `one`.
fn choose_other<'a>(
    group: &'a Group,
    one: &Subscriber,
) -> Option<(&'a Arc<Subscriber>, &'a Granted)> {
    group.choose(|other, _| other.number != one.number && other.is_connected())
}
