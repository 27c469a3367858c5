//! Which subscriptions a topic concerns: a tree of topic levels, so that an event costs its levels
//! and its matches, however many subscriptions there are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::topic_filter::TopicFilter;

/// Subscriptions by topic filter: each is a member, known by a number, and what it was granted.
#[derive(Debug)]
pub(crate) struct TopicTree<M, G> {
    root: Node<M, G>,
    count: usize,
}

#[derive(Debug)]
struct Node<M, G> {
    children: HashMap<Box<str>, Self>,
    /// Below `+`.
    any: Option<Box<Self>>,
    /// Filters that end here.
    here: Option<Box<Place<M, G>>>,
    /// Filters that end with `#` below here.
    rest: Option<Box<Place<M, G>>>,
}

/// The subscriptions of one filter.
#[derive(Debug)]
struct Place<M, G> {
    members: HashMap<u64, (M, G)>,
    groups: Vec<Group<M, G>>,
}

/// The members that share a subscription.
#[derive(Debug)]
pub(crate) struct Group<M, G> {
    name: Box<str>,
    /// The whole filter, as it is subscribed to.
    pub(crate) filter: Box<str>,
    members: Vec<(u64, M, G)>,
    turn: AtomicUsize,
}

/// What a topic concerns.
#[derive(Debug)]
pub(crate) enum Found<'a, M, G> {
    /// One member.
    Member(&'a M, &'a G),
    /// One of a group.
    Group(&'a Group<M, G>),
}

impl<M, G> Default for Node<M, G> {
    fn default() -> Self {
        Self { children: HashMap::new(), any: None, here: None, rest: None }
    }
}

impl<M, G> Default for Place<M, G> {
    fn default() -> Self {
        Self { members: HashMap::new(), groups: Vec::new() }
    }
}

impl<M, G> Default for TopicTree<M, G> {
    fn default() -> Self {
        Self { root: Node::default(), count: 0 }
    }
}

impl<M, G> Group<M, G> {
    /// The member whose turn it is among those that are `fit`.
    pub(crate) fn choose(&self, fit: impl Fn(&M, &G) -> bool) -> Option<(&M, &G)> {
        let begin = self.turn.fetch_add(1, Ordering::Relaxed);
        let order = (0..self.members.len()).map(|step| (begin + step) % self.members.len());
        let mut order = order.map(|index| &self.members[index]);
        let chosen = order.find(|(_, member, granted)| fit(member, granted));
        chosen.map(|(_, member, granted)| (member, granted))
    }
}

impl<M, G> TopicTree<M, G> {
    /// How many subscriptions there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Subscribes a member. Says whether it was subscribed to this filter before, and is now as
    /// `granted`.
    pub(crate) fn insert(
        &mut self,
        filter: TopicFilter<'_>,
        (number, member): (u64, M),
        granted: G,
    ) -> bool {
        let place = self.root.place(filter.levels);
        let existed = match filter.share {
            None => place.members.insert(number, (member, granted)).is_some(),
            Some(name) => {
                let at = place.groups.iter().position(|group| *group.name == *name);
                let at = at.unwrap_or_else(|| {
                    let whole = format!("$share/{name}/{}", filter.levels).into();
                    let (name, members, turn) = (name.into(), Vec::new(), AtomicUsize::new(0));
                    place.groups.push(Group { name, filter: whole, members, turn });
                    place.groups.len() - 1
                });
                let members = &mut place.groups[at].members;
                if let Some(known) = members.iter_mut().find(|(known, ..)| *known == number) {
                    *known = (number, member, granted);
                    true
                } else {
                    members.push((number, member, granted));
                    false
                }
            }
        };
        self.count += usize::from(!existed);
        existed
    }

    /// Ends a subscription. Says whether there was one.
    pub(crate) fn remove(&mut self, filter: TopicFilter<'_>, number: u64) -> bool {
        let existed = self.root.remove(filter, &mut filter.levels.split('/'), number);
        self.count -= usize::from(existed);
        existed
    }

    /// Shows `visit` everything that `topic` concerns.
    pub(crate) fn matching<'a>(&'a self, topic: &str, visit: &mut dyn FnMut(Found<'a, M, G>)) {
        // Wildcards do not stand for the server's own topics (MQTT 5.0 section 4.7.2).
        let is_servers = topic.starts_with('$');
        self.root.matching(&mut topic.split('/'), is_servers, visit);
    }

    /// Whether `topic` concerns anybody.
    pub(crate) fn is_heard(&self, topic: &str) -> bool {
        self.root.is_heard(&mut topic.split('/'), topic.starts_with('$'))
    }

    /// The group `filter`, if there is one.
    pub(crate) fn group(&self, filter: TopicFilter<'_>) -> Option<&Group<M, G>> {
        let mut node = &self.root;
        for level in filter.levels.split('/') {
            if level == "#" {
                return node.rest.as_ref()?.group(filter.share?);
            }
            node = if level == "+" { node.any.as_ref()? } else { node.children.get(level)? };
        }
        node.here.as_ref()?.group(filter.share?)
    }
}

impl<M, G> Place<M, G> {
    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.groups.is_empty()
    }

    fn group(&self, name: &str) -> Option<&Group<M, G>> {
        self.groups.iter().find(|group| *group.name == *name)
    }

    fn remove(&mut self, share: Option<&str>, number: u64) -> bool {
        let Some(name) = share else { return self.members.remove(&number).is_some() };
        let Some(at) = self.groups.iter().position(|group| *group.name == *name) else {
            return false;
        };
        let members = &mut self.groups[at].members;
        let before = members.len();
        members.retain(|(known, ..)| *known != number);
        let existed = members.len() < before;
        if members.is_empty() {
            self.groups.swap_remove(at);
        }
        existed
    }

    fn visit<'a>(&'a self, visit: &mut dyn FnMut(Found<'a, M, G>)) {
        for (member, granted) in self.members.values() {
            visit(Found::Member(member, granted));
        }
        for group in &self.groups {
            visit(Found::Group(group));
        }
    }
}

impl<M, G> Node<M, G> {
    /// The place of a filter, made if need be.
    fn place(&mut self, filter: &str) -> &mut Place<M, G> {
        let mut node = self;
        for level in filter.split('/') {
            if level == "#" {
                return node.rest.get_or_insert_default();
            }
            node = match level {
                "+" => node.any.get_or_insert_default(),
                level => node.children.entry(level.into()).or_default(),
            };
        }
        node.here.get_or_insert_default()
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.any.is_none() && self.here.is_none() && self.rest.is_none()
    }

    /// Removes, and lets go of what is empty then.
    fn remove<'a>(
        &mut self,
        filter: TopicFilter<'_>,
        levels: &mut impl Iterator<Item = &'a str>,
        number: u64,
    ) -> bool {
        let slot = match levels.next() {
            Some("#") => &mut self.rest,
            None => &mut self.here,
            Some("+") => {
                let Some(child) = &mut self.any else { return false };
                let existed = child.remove(filter, levels, number);
                if child.is_empty() {
                    self.any = None;
                }
                return existed;
            }
            Some(level) => {
                let Some(child) = self.children.get_mut(level) else { return false };
                let existed = child.remove(filter, levels, number);
                if child.is_empty() {
                    self.children.remove(level);
                }
                return existed;
            }
        };
        let Some(place) = slot else { return false };
        let existed = place.remove(filter.share, number);
        if place.is_empty() {
            *slot = None;
        }
        existed
    }

    /// The same as [`Node::matching`], for who wants to know no more than whether there is any.
    fn is_heard<'t>(
        &self,
        levels: &mut (impl Iterator<Item = &'t str> + Clone),
        is_servers: bool,
    ) -> bool {
        if !is_servers && self.rest.is_some() {
            return true;
        }
        let Some(level) = levels.next() else { return self.here.is_some() };
        let any = self.any.as_ref().filter(|_| !is_servers);
        any.is_some_and(|any| any.is_heard(&mut levels.clone(), false))
            || self.children.get(level).is_some_and(|child| child.is_heard(levels, false))
    }

    fn matching<'a, 't>(
        &'a self,
        levels: &mut (impl Iterator<Item = &'t str> + Clone),
        is_servers: bool,
        visit: &mut dyn FnMut(Found<'a, M, G>),
    ) {
        if let Some(rest) = self.rest.as_ref().filter(|_| !is_servers) {
            rest.visit(visit);
        }
        let Some(level) = levels.next() else {
            if let Some(here) = &self.here {
                here.visit(visit);
            }
            return;
        };
        if let Some(any) = self.any.as_ref().filter(|_| !is_servers) {
            any.matching(&mut levels.clone(), false, visit);
        }
        if let Some(child) = self.children.get(level) {
            child.matching(levels, false, visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::topic_filter::tests::matches;

    fn parse(filter: &str) -> TopicFilter<'_> {
        TopicFilter::parse(filter, 8).unwrap()
    }

    fn found(tree: &TopicTree<String, ()>, topic: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        tree.matching(topic, &mut |one| {
            let member = match one {
                Found::Member(member, ()) => member,
                Found::Group(group) => group.choose(|_, ()| true).unwrap().0,
            };
            assert!(found.insert(member.clone()), "each subscription is found once");
        });
        assert_eq!(tree.is_heard(topic), !found.is_empty());
        found
    }

    fn filters() -> impl Strategy<Value = Vec<String>> {
        let level = prop_oneof![Just("+"), Just("a"), Just("b"), Just(""), Just("$s")];
        let filter = (prop::collection::vec(level, 1..4), any::<bool>());
        let filter = filter.prop_map(|(levels, rest)| {
            let filter = levels.join("/");
            if rest { filter + "/#" } else { filter }
        });
        let filter = prop_oneof![filter, Just("#".to_owned())];
        let filter = filter.prop_filter("a filter is not empty", |filter| !filter.is_empty());
        prop::collection::vec(filter, 0..12)
    }

    fn topics() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("$s"), Just("c")];
        prop::collection::vec(level, 1..5).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_the_naive_matcher_finds(
            filters in filters(),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            topic in topics(),
        ) {
            let mut tree = TopicTree::default();
            for (number, filter) in (0..).zip(&filters) {
                let member = (number, format!("{number} {filter}"));
                prop_assert!(!tree.insert(parse(filter), member, ()));
            }
            let mut left: BTreeSet<usize> = (0..filters.len()).collect();
            for index in gone.iter().filter(|_| !filters.is_empty()) {
                let index = index.index(filters.len());
                let existed = tree.remove(parse(&filters[index]), index as u64);
                prop_assert_eq!(existed, left.remove(&index));
            }
            prop_assert_eq!(tree.len(), left.len());
            let expected = left.iter().filter(|index| matches(&filters[**index], &topic));
            let expected = expected.map(|index| format!("{index} {}", filters[*index])).collect();
            prop_assert_eq!(found(&tree, &topic), expected);
            for index in left {
                tree.remove(parse(&filters[index]), index as u64);
            }
            prop_assert!(tree.root.is_empty(), "nothing is left behind");
        }
    }

    #[test]
    fn a_group_takes_turns_among_those_that_are_fit() {
        let mut tree = TopicTree::default();
        for number in 0..3 {
            tree.insert(parse("$share/g/a/#"), (number, number), ());
        }
        let group = tree.group(parse("$share/g/a/#")).unwrap();
        let turns = |fit: fn(&u64) -> bool| -> Vec<u64> {
            (0..4)
                .filter_map(|_| group.choose(|one, ()| fit(one)).map(|(member, ())| *member))
                .collect()
        };
        assert_eq!(turns(|_| true), [0, 1, 2, 0]);
        assert!(turns(|member| *member != 1).iter().all(|member| *member != 1));
        assert!(turns(|_| false).is_empty());
        assert!(tree.group(parse("$share/g/a")).is_none());
        assert!(tree.remove(parse("$share/g/a/#"), 1));
        assert!(!tree.remove(parse("$share/h/a/#"), 0));
    }
}
