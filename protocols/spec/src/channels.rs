//! The channels of many documents: which one a topic belongs to, and which ones contradict.

use std::collections::HashMap;

use crate::ChannelMatcher;
use crate::address::Level;

/// Finds the channel of a topic by its levels, without trying every channel.
///
/// Where several match, the level that is written out comes before one with a parameter, from the
/// left; so a topic always belongs to the same channel.
#[derive(Debug, Clone)]
pub struct ChannelIndex<T> {
    slashed: Branch,
    dotted: Branch,
    entries: Vec<Entry<T>>,
}

#[derive(Debug, Clone)]
struct Entry<T> {
    owner: String,
    matcher: ChannelMatcher,
    value: T,
}

/// What may follow the levels so far.
#[derive(Debug, Clone, Default)]
struct Branch {
    literal: HashMap<String, Self>,
    /// Levels with parameters, the one that fixes most first.
    open: Vec<(Level, Self)>,
    /// The channel that ends here.
    entry: Option<usize>,
}

/// A channel that a topic belongs to.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<'i, 't, T> {
    /// What was put in for it.
    pub value: &'i T,
    /// The parameters of the address.
    pub parameters: Vec<(&'i str, &'t str)>,
}

/// Two channels that claim the same topics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} of {owner} {} {other_address:?} of {other_owner}", .kind.words())]
pub struct Conflict {
    /// Whose channel it is.
    pub owner: String,
    /// Its address.
    pub address: String,
    /// Whose channel was there before.
    pub other_owner: String,
    /// Its address.
    pub other_address: String,
    /// How they contradict.
    pub kind: ConflictKind,
}

/// How two channels contradict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictKind {
    /// Both match the same topics; the one that was there before gets them.
    Same,
    /// Some topics match both, and neither is the more special one.
    Overlap,
}

impl ConflictKind {
    fn words(self) -> &'static str {
        match self {
            Self::Same => "is the same as",
            Self::Overlap => "overlaps",
        }
    }
}

impl<T> Default for ChannelIndex<T> {
    fn default() -> Self {
        Self { slashed: Branch::default(), dotted: Branch::default(), entries: Vec::new() }
    }
}

impl<T> ChannelIndex<T> {
    /// Adds a channel of `owner`, and says what it contradicts. One that is the same as another is
    /// not added.
    pub fn insert(&mut self, owner: &str, matcher: ChannelMatcher, value: T) -> Vec<Conflict> {
        let tree = if matcher.separator == '.' { &mut self.dotted } else { &mut self.slashed };
        let mut near = Vec::new();
        tree.overlapping(&matcher.levels, &mut near);
        let mut conflicts = Vec::new();
        for other in near.into_iter().filter_map(|index| self.entries.get(index)) {
            let levels = || matcher.levels.iter().zip(&other.matcher.levels);
            let kind = if levels().all(|(one, two)| one.same_shape(two)) {
                ConflictKind::Same
            } else if levels().all(|(one, two)| one.within(two))
                || levels().all(|(one, two)| two.within(one))
            {
                continue;
            } else {
                ConflictKind::Overlap
            };
            conflicts.push(Conflict {
                owner: owner.to_owned(),
                address: matcher.address().to_owned(),
                other_owner: other.owner.clone(),
                other_address: other.matcher.address().to_owned(),
                kind,
            });
        }
        if conflicts.iter().all(|conflict| conflict.kind != ConflictKind::Same) {
            tree.insert(&matcher.levels, self.entries.len());
            self.entries.push(Entry { owner: owner.to_owned(), matcher, value });
        }
        conflicts
    }

    /// The channel of a topic or path.
    #[must_use]
    pub fn find<'i, 't>(&'i self, topic: &'t str) -> Option<Found<'i, 't, T>> {
        let slashed = self.slashed.find(topic, '/');
        let entry = &self.entries[slashed.or_else(|| self.dotted.find(topic, '.'))?];
        Some(Found { value: &entry.value, parameters: entry.matcher.matches(topic)? })
    }

    /// How many channels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Branch {
    fn insert(&mut self, levels: &[Level], entry: usize) {
        let Some((level, rest)) = levels.split_first() else {
            self.entry = Some(entry);
            return;
        };
        if let Some(text) = level.literal() {
            self.literal.entry(text.to_owned()).or_default().insert(rest, entry);
            return;
        }
        let known = self.open.iter().position(|(other, _)| other.same_shape(level));
        let index = known.unwrap_or_else(|| {
            let index = self.open.partition_point(|(other, _)| other.fixed() >= level.fixed());
            self.open.insert(index, (level.clone(), Self::default()));
            index
        });
        self.open[index].1.insert(rest, entry);
    }

    /// The channel of what is left of a topic; `rest` never ends before its last level.
    fn find(&self, rest: &str, separator: char) -> Option<usize> {
        let (part, rest) = match rest.split_once(separator) {
            Some((part, rest)) => (part, Some(rest)),
            None => (rest, None),
        };
        let below = |branch: &Self| match rest {
            Some(rest) => branch.find(rest, separator),
            None => branch.entry,
        };
        self.literal.get(part).and_then(below).or_else(|| {
            let mut open = self.open.iter().filter(|(level, _)| level.matches(part));
            open.find_map(|(_, branch)| below(branch))
        })
    }

    fn overlapping(&self, levels: &[Level], found: &mut Vec<usize>) {
        let Some((level, rest)) = levels.split_first() else {
            found.extend(self.entry);
            return;
        };
        if let Some(text) = level.literal() {
            if let Some(branch) = self.literal.get(text) {
                branch.overlapping(rest, found);
            }
        } else {
            let literal = self.literal.iter().filter(|(text, _)| level.matches(text));
            literal.for_each(|(_, branch)| branch.overlapping(rest, found));
        }
        let open = self.open.iter().filter(|(other, _)| level.overlaps(other));
        open.for_each(|(_, branch)| branch.overlapping(rest, found));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(addresses: &[&'static str]) -> (ChannelIndex<&'static str>, Vec<Conflict>) {
        let mut index = ChannelIndex::default();
        let mut conflicts = Vec::new();
        for address in addresses {
            let matcher = ChannelMatcher::parse(address).unwrap();
            conflicts.extend(index.insert(&format!("spec of {address}"), matcher, *address));
        }
        (index, conflicts)
    }

    #[test]
    fn the_channel_that_is_written_out_comes_before_one_with_a_parameter() {
        let (index, conflicts) = index(&["a/{b}", "a/b", "a/pre-{b}", "{a}/{b}", "x.{y}"]);
        assert!(conflicts.is_empty(), "{conflicts:?}");
        let found = |topic| index.find(topic).map(|found| *found.value);
        assert_eq!(found("a/b"), Some("a/b"));
        assert_eq!(found("a/pre-c"), Some("a/pre-{b}"));
        assert_eq!(found("a/c"), Some("a/{b}"));
        assert_eq!(found("c/c"), Some("{a}/{b}"));
        assert_eq!(found("x.z"), Some("x.{y}"));
        assert_eq!(found("a/b/c"), None);
        assert_eq!(index.find("a/c").unwrap().parameters, [("b", "c")]);
    }

    #[test]
    fn a_branch_that_leads_nowhere_is_left_again() {
        let (index, _) = index(&["a/b/c", "a/{x}/d"]);
        assert_eq!(index.find("a/b/d").unwrap().parameters, [("x", "b")]);
    }

    #[test]
    fn two_channels_for_the_same_topics_are_named() {
        let (index, conflicts) = index(&["lamps/{id}/lit", "lamps/{lamp}/lit"]);
        assert_eq!(index.len(), 1, "the second is not added");
        assert_eq!(
            conflicts[0].to_string(),
            "\"lamps/{lamp}/lit\" of spec of lamps/{lamp}/lit is the same as \
             \"lamps/{id}/lit\" of spec of lamps/{id}/lit"
        );
    }

    #[test]
    fn channels_of_which_neither_is_more_special_overlap() {
        let (_, conflicts) = index(&["a/{x}", "{y}/b", "{z}/c/d"]);
        let kinds: Vec<_> = conflicts.iter().map(|conflict| conflict.kind).collect();
        assert_eq!(kinds, [ConflictKind::Overlap]);
    }

    proptest! {
        #[test]
        fn the_index_finds_what_trying_every_channel_finds(
            addresses in prop::collection::vec("(a|b|\\{x\\}|a\\{x\\})(/(a|b|\\{y\\}))?", 1..8),
            topic in "[ab]{1,2}(/[ab]{1,2})?",
        ) {
            let mut index = ChannelIndex::default();
            let mut matchers = Vec::new();
            for address in addresses {
                let matcher = ChannelMatcher::parse(&address).unwrap();
                matchers.push(matcher.clone());
                index.insert("one", matcher, address);
            }
            let tried = matchers.iter().any(|matcher| matcher.matches(&topic).is_some());
            prop_assert_eq!(index.find(&topic).is_some(), tried);
        }
    }
}
