//! Values by topic, found by topic filter: the topics are in order, so that a filter costs the
//! levels that it may stand for, not a look at every topic.

use std::collections::BTreeMap;
use std::ops::Bound;

/// A value for each of many topics.
#[derive(Debug)]
pub(crate) struct RetainedTopics<V>(BTreeMap<Box<str>, V>);

impl<V> Default for RetainedTopics<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V> RetainedTopics<V> {
    /// How many topics have a value.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value of `topic`.
    pub(crate) fn get(&self, topic: &str) -> Option<&V> {
        self.0.get(topic)
    }

    /// Gives `topic` a value; returns the one that it had.
    pub(crate) fn insert(&mut self, topic: &str, value: V) -> Option<V> {
        match self.0.get_mut(topic) {
            Some(known) => Some(std::mem::replace(known, value)),
            None => self.0.insert(topic.into(), value),
        }
    }

    /// Takes the value of `topic` away.
    pub(crate) fn remove(&mut self, topic: &str) -> Option<V> {
        self.0.remove(topic)
    }

    /// The topics from `from` on and their values, in order.
    pub(crate) fn from(&self, from: Bound<&str>) -> impl Iterator<Item = (&str, &V)> {
        let all = self.0.range::<str, _>((from, Bound::Unbounded));
        all.map(|(topic, value)| (&**topic, value))
    }

    /// Shows `visit` every topic that `filter`, which is a valid one, stands for, in order of
    /// their levels.
    pub(crate) fn matching<'a>(&'a self, filter: &str, visit: &mut dyn FnMut(&'a str, &'a V)) {
        // Wildcards do not stand for the server's own topics (MQTT 5.0 section 4.7.2).
        let is_wild = filter.starts_with(['+', '#']);
        let mut visit = |topic: &'a str, value: &'a V| {
            if !(is_wild && topic.starts_with('$')) {
                visit(topic, value);
            }
        };
        self.descend(&mut String::new(), filter, &mut visit);
    }

    /// Shows what `filter` stands for below `base`, which is empty or ends with `/`.
    fn descend<'a>(
        &'a self,
        base: &mut String,
        filter: &str,
        visit: &mut dyn FnMut(&'a str, &'a V),
    ) {
        let (level, rest) = match filter.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (filter, None),
        };
        match (level, rest) {
            ("#", _) => {
                if let Some(parent) = base.strip_suffix('/') {
                    self.show(parent, visit);
                }
                self.below(base, visit);
            }
            ("+", rest) => self.any_level(base, rest, visit),
            (level, None) => {
                let length = base.len();
                base.push_str(level);
                self.show(base, visit);
                base.truncate(length);
            }
            (level, Some(rest)) => {
                let length = base.len();
                base.push_str(level);
                base.push('/');
                self.descend(base, rest, visit);
                base.truncate(length);
            }
        }
    }

    fn show<'a>(&'a self, topic: &str, visit: &mut dyn FnMut(&'a str, &'a V)) {
        if let Some((topic, value)) = self.0.get_key_value(topic) {
            visit(topic, value);
        }
    }

    /// Everything that begins with `base`.
    fn below<'a>(&'a self, base: &str, visit: &mut dyn FnMut(&'a str, &'a V)) {
        let all = self.0.range::<str, _>((Bound::Included(base), Bound::Unbounded));
        for (topic, value) in all.take_while(|(topic, _)| topic.starts_with(base)) {
            visit(topic, value);
        }
    }

    /// Each level that there is below `base`, then `rest`.
    fn any_level<'a>(
        &'a self,
        base: &mut String,
        rest: Option<&str>,
        visit: &mut dyn FnMut(&'a str, &'a V),
    ) {
        let mut from = Bound::Included(base.clone());
        loop {
            let begin = from.as_ref().map(String::as_str);
            let next = self.0.range::<str, _>((begin, Bound::Unbounded)).next();
            let Some((topic, value)) = next else { return };
            let Some(below) = topic.strip_prefix(&**base) else { return };
            let Some(length) = below.find('/') else {
                if matches!(rest, None | Some("#")) {
                    visit(topic, value);
                }
                from = Bound::Excluded(topic.to_string());
                continue;
            };
            let outer = base.len();
            base.push_str(&below[..=length]);
            match rest {
                None => {}
                // The level itself, if it has a value, was shown before what is below it.
                Some("#") => self.below(base, visit),
                Some(rest) => self.descend(base, rest, visit),
            }
            // Behind everything below that level.
            let mut behind = base.clone();
            behind.pop();
            behind.push(char::from(b'/' + 1));
            from = Bound::Included(behind);
            base.truncate(outer);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topic_filter::tests::matches;

    fn found(topics: &[String], filter: &str) -> Vec<String> {
        let mut all = RetainedTopics::default();
        for topic in topics {
            all.insert(topic, ());
        }
        let mut found = Vec::new();
        all.matching(filter, &mut |topic, ()| found.push(topic.to_owned()));
        found
    }

    #[test]
    fn a_filter_finds_the_topics_that_it_stands_for() {
        let topics = ["a", "a/b", "a/b/c", "a/b-c", "a0", "/a", "$SYS/x", "a/", "b/b"];
        let topics = topics.map(str::to_owned);
        let rows: [(&str, &[&str]); 9] = [
            ("a", &["a"]),
            ("a/+", &["a/", "a/b", "a/b-c"]),
            ("a/#", &["a", "a/", "a/b", "a/b-c", "a/b/c"]),
            ("+/b", &["a/b", "b/b"]),
            ("+", &["a", "a0"]),
            ("+/+/#", &["/a", "a/", "a/b", "a/b-c", "a/b/c", "b/b"]),
            ("$SYS/#", &["$SYS/x"]),
            ("+/x", &[]),
            ("c/#", &[]),
        ];
        for (filter, expected) in rows {
            assert_eq!(found(&topics, filter), expected, "{filter}");
        }
    }

    proptest! {
        #[test]
        fn a_filter_finds_the_same_as_a_look_at_every_topic(
            topics in prop::collection::btree_set("[$]?[ab/.0]{1,7}", 0..30),
            filter in "([ab.0]{0,2}|\\+)(/([ab.0]{0,2}|\\+)){0,3}(/#)?|#",
        ) {
            prop_assume!(!filter.is_empty());
            let topics: Vec<String> = topics.into_iter().collect();
            let mut found = found(&topics, &filter);
            let count = found.len();
            found.sort();
            found.dedup();
            prop_assert_eq!(found.len(), count, "each once");
            let expected: Vec<_> =
                topics.into_iter().filter(|topic| matches(&filter, topic)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
