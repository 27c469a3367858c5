//! Which subscriptions an event concerns: an index over source, type and version, so that those
//! which it cannot concern cost nothing.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, Hasher as _};

use eg_auth::policy::is_reserved;
use eg_bus::leads_back;
use eg_event::filter::{Comparison, Filter, attribute_text};
use eg_event::{CloudEvent, Origin, Subscription};
use hashbrown::{DefaultHashBuilder, HashMap};

/// The extension that carries the version of an event's type.
pub const TYPE_VERSION: &str = "eventtypeversion";

/// The attributes that are indexed, in the order of the bits of a pattern.
const INDEXED: [&str; 3] = ["type", "source", TYPE_VERSION];

/// Subscriptions by what they ask of an event.
#[derive(Debug)]
pub struct MatchIndex<T> {
    entries: Vec<(Subscription, T)>,
    /// The entries that ask for given texts of given attributes, by the hash of both.
    buckets: HashMap<u64, Vec<u32>>,
    /// Which combinations of attributes are asked for.
    patterns: Vec<Pattern>,
    /// The entries that ask for nothing that can be indexed.
    others: Vec<u32>,
    hasher: DefaultHashBuilder,
}

/// A way to look an event up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    /// By the whole text of the attributes whose bits are set.
    Exact(u8),
    /// By the first bytes of one attribute.
    Prefix { attribute: u8, bytes: usize },
}

impl<T> Default for MatchIndex<T> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<T> MatchIndex<T> {
    /// Indexes `entries`.
    #[must_use]
    pub fn new(entries: Vec<(Subscription, T)>) -> Self {
        let mut index = Self {
            entries: Vec::new(),
            buckets: HashMap::default(),
            patterns: Vec::new(),
            others: Vec::new(),
            hasher: DefaultHashBuilder::default(),
        };
        for (number, (subscription, _)) in (0..).zip(&entries) {
            match index.place(subscription) {
                Some((pattern, hash)) => {
                    if !index.patterns.contains(&pattern) {
                        index.patterns.push(pattern);
                    }
                    index.buckets.entry(hash).or_default().push(number);
                }
                None => index.others.push(number),
            }
        }
        index.entries = entries;
        index
    }

    /// Everything that is indexed.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// Those whose subscription lets `event` pass.
    pub fn matching<'a>(&'a self, event: &'a CloudEvent) -> impl Iterator<Item = &'a T> {
        self.entries_matching(event).map(|(_, value)| value)
    }

    fn entries_matching<'a>(
        &'a self,
        event: &'a CloudEvent,
    ) -> impl Iterator<Item = &'a (Subscription, T)> {
        let texts = INDEXED.map(|name| attribute_text(event, name));
        let hashes = self.patterns.iter().filter_map(move |pattern| self.hash(*pattern, &texts));
        let indexed = hashes.filter_map(|hash| self.buckets.get(&hash)).flatten();
        let candidates = indexed.chain(&self.others);
        candidates
            .map(|&number| &self.entries[number as usize])
            .filter(|(subscription, _)| lets_pass(subscription, event))
    }

    /// The same, of an event that came by `origin`: none that would take it back there.
    pub fn concerned<'a>(
        &'a self,
        event: &'a CloudEvent,
        origin: &'a Origin,
    ) -> impl Iterator<Item = &'a T> {
        self.entries_matching(event)
            .filter(|(subscription, _)| !leads_back(subscription, event, origin))
            .map(|(_, value)| value)
    }

    /// Where a subscription belongs in the index.
    fn place(&self, subscription: &Subscription) -> Option<(Pattern, u64)> {
        let asked =
            [&subscription.event_type, &subscription.source, &subscription.event_type_version];
        let texts: [Option<Cow<'_, str>>; 3] = std::array::from_fn(|bit| {
            let filtered = || required(&subscription.filters, INDEXED[bit], as_exact);
            asked[bit].as_deref().or_else(filtered).map(Cow::Borrowed)
        });
        let bits = (0..3).filter(|bit| texts[*bit].is_some()).fold(0, |bits, bit| bits | 1 << bit);
        if bits != 0 {
            let pattern = Pattern::Exact(bits);
            return self.hash(pattern, &texts).map(|hash| (pattern, hash));
        }
        for (attribute, name) in (0u8..).zip(INDEXED) {
            if let Some(prefix) = required(&subscription.filters, name, as_prefix) {
                let pattern = Pattern::Prefix { attribute, bytes: prefix.len() };
                let mut texts = [None, None, None];
                texts[usize::from(attribute)] = Some(Cow::Borrowed(prefix));
                return self.hash(pattern, &texts).map(|hash| (pattern, hash));
            }
        }
        None
    }

    /// `None` when the texts lack what the pattern asks for. Two different texts with the same
    /// hash cost a comparison and nothing else.
    fn hash(&self, pattern: Pattern, texts: &[Option<Cow<'_, str>>; 3]) -> Option<u64> {
        let mut hasher = self.hasher.build_hasher();
        match pattern {
            Pattern::Exact(bits) => {
                hasher.write_u8(bits);
                for (bit, text) in texts.iter().enumerate() {
                    if bits & 1 << bit != 0 {
                        hasher.write(text.as_ref()?.as_bytes());
                        hasher.write_u8(0xff);
                    }
                }
            }
            Pattern::Prefix { attribute, bytes } => {
                hasher.write_u8(0x80 | attribute);
                let text = texts[usize::from(attribute)].as_ref()?;
                hasher.write(text.as_bytes().get(..bytes)?);
            }
        }
        Some(hasher.finish())
    }
}

fn as_exact(filter: &Filter) -> Option<&[Comparison]> {
    if let Filter::Exact(list) = filter { Some(list) } else { None }
}

fn as_prefix(filter: &Filter) -> Option<&[Comparison]> {
    if let Filter::Prefix(list) = filter { Some(list) } else { None }
}

/// The text that every event must have in `attribute`, in one dialect, for all filters to pass.
fn required<'a>(
    filters: &'a [Filter],
    attribute: &str,
    dialect: fn(&Filter) -> Option<&[Comparison]>,
) -> Option<&'a str> {
    let comparisons = filters.iter().filter_map(dialect).flatten();
    comparisons.filter(|c| c.attribute == attribute).map(|c| &*c.text).next()
}

/// Whether a subscription lets `event` pass.
#[must_use]
pub fn lets_pass(subscription: &Subscription, event: &CloudEvent) -> bool {
    let is = |asked: &Option<String>, found: Option<&str>| {
        asked.as_deref().is_none_or(|asked| Some(asked) == found)
    };
    is(&subscription.event_type, Some(event.ty()))
        && is(&subscription.source, Some(event.source()))
        && version_passes(subscription, event)
        && may_see(subscription, event)
        && subscription.filters.iter().all(|filter| filter.matches(event))
}

/// Whether an event is none of the gateway's own, or the subscription asks for those by their source:
/// who wants every event of the senders does not want, nor is to see, the audit log.
fn may_see(subscription: &Subscription, event: &CloudEvent) -> bool {
    if !is_reserved(event.source()) {
        return true;
    }
    let exact = || required(&subscription.filters, "source", as_exact);
    let prefix = || required(&subscription.filters, "source", as_prefix);
    let asked = subscription.source.as_deref().or_else(exact).or_else(prefix);
    asked.is_some_and(is_reserved)
}

fn version_passes(subscription: &Subscription, event: &CloudEvent) -> bool {
    let Some(asked) = &subscription.event_type_version else { return true };
    attribute_text(event, TYPE_VERSION).is_some_and(|found| found == asked.as_str())
}

/// Why a subscription does not let `event` pass, in words; `None` when it does.
#[must_use]
pub fn explain(subscription: &Subscription, event: &CloudEvent) -> Option<String> {
    let found_version = attribute_text(event, TYPE_VERSION);
    let fields = [
        ("source", &subscription.source, Some(event.source())),
        ("type", &subscription.event_type, Some(event.ty())),
        (TYPE_VERSION, &subscription.event_type_version, found_version.as_deref()),
    ];
    for (name, asked, found) in fields {
        if let Some(asked) = asked
            && Some(asked.as_str()) != found
        {
            let found = found.map_or_else(|| "none".to_owned(), |found| format!("{found:?}"));
            return Some(format!("{name}: expected {asked:?}, found {found}"));
        }
    }
    if !may_see(subscription, event) {
        return Some("source: an event of the gateway itself has to be asked for by it".to_owned());
    }
    let by_filter = |(index, filter): (usize, &Filter)| {
        filter.explain(event).map(|why| format!("filters[{index}]: {why}"))
    };
    subscription.filters.iter().enumerate().find_map(by_filter)
}

/// What a subscription asks of the events that it lets pass, in words.
#[must_use]
pub fn describe(subscription: &Subscription) -> String {
    let fields = [
        ("source", &subscription.source),
        ("type", &subscription.event_type),
        (TYPE_VERSION, &subscription.event_type_version),
    ];
    let asked = fields
        .iter()
        .filter_map(|(name, asked)| asked.as_ref().map(|asked| format!("{name} is {asked:?}")));
    let filters = subscription.filters.iter().map(|filter| filter.to_json().to_string());
    let all: Vec<_> = asked.chain(filters).collect();
    if all.is_empty() { "every event passes".to_owned() } else { all.join(" and ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn event(source: &str, ty: &str, version: Option<&str>) -> CloudEvent {
        let mut builder = CloudEvent::builder();
        for (name, text) in [("specversion", "1.0"), ("id", "1"), ("source", source), ("type", ty)]
        {
            builder.attribute(name, text).unwrap();
        }
        if let Some(version) = version {
            builder.attribute(TYPE_VERSION, version).unwrap();
        }
        builder.build().unwrap()
    }

    fn subscription(
        source: Option<&str>,
        ty: Option<&str>,
        filters: &serde_json::Value,
    ) -> Subscription {
        let mut subscription = Subscription::new("s", "http://x.test/");
        subscription.source = source.map(str::to_owned);
        subscription.event_type = ty.map(str::to_owned);
        subscription.filters = Filter::parse_list(filters).unwrap();
        subscription
    }

    #[test]
    fn an_event_that_does_not_pass_is_told_why() {
        let mut asked = subscription(Some("/a"), Some("t"), &json!([{"prefix": {"type": "x"}}]));
        asked.event_type_version = Some("v1".to_owned());
        let why = |source, ty, version| explain(&asked, &event(source, ty, version)).unwrap();
        assert_eq!(why("/b", "t", None), "source: expected \"/a\", found \"/b\"");
        assert_eq!(why("/a", "u", None), "type: expected \"t\", found \"u\"");
        assert_eq!(why("/a", "t", None), "eventtypeversion: expected \"v1\", found none");
        assert!(why("/a", "t", Some("v1")).starts_with("filters[0]: "));
    }

    #[test]
    fn events_of_the_gateway_have_to_be_asked_for() {
        let audit = event("/event-gateway/audit", "t", None);
        let rows = [
            (None, json!([]), false),
            (None, json!([{"prefix": {"source": "/event"}}]), false),
            (None, json!([{"not": {"exact": {"source": "/x"}}}]), false),
            (None, json!([{"exact": {"type": "t"}}]), false),
            (Some("/event-gateway/audit"), json!([]), true),
            (None, json!([{"exact": {"source": "/event-gateway/audit"}}]), true),
            (None, json!([{"prefix": {"source": "/event-gateway/"}}]), true),
        ];
        for (source, filters, expected) in rows {
            let asked = subscription(source, None, &filters);
            assert_eq!(lets_pass(&asked, &audit), expected, "{filters}");
            assert_eq!(explain(&asked, &audit).is_none(), expected, "{filters}");
        }
    }

    #[test]
    fn what_is_asked_for_can_be_told() {
        assert_eq!(describe(&subscription(None, None, &json!([]))), "every event passes");
        let asked = subscription(Some("/a"), Some("t"), &json!([{"prefix": {"type": "x"}}]));
        let told = "source is \"/a\" and type is \"t\" and {\"prefix\":{\"type\":\"x\"}}";
        assert_eq!(describe(&asked), told);
    }

    fn name() -> impl Strategy<Value = String> {
        "[ab]{1,3}"
    }

    fn filters() -> impl Strategy<Value = serde_json::Value> {
        let dialect = prop_oneof!["exact", "prefix", "suffix"];
        let attribute = prop_oneof!["type", "source", "eventtypeversion", "other"];
        let one = (dialect, attribute, name()).prop_map(|(d, a, text)| json!({d: {a: text}}));
        let one = one.prop_recursive(2, 6, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..3).prop_map(|list| json!({"any": list})),
                inner.prop_map(|one| json!({"not": one})),
            ]
        });
        prop::collection::vec(one, 0..3).prop_map(serde_json::Value::from)
    }

    proptest! {
        #[test]
        fn the_index_finds_what_asking_everyone_finds(
            asked in prop::collection::vec((prop::option::of(name()), prop::option::of(name()), filters()), 0..20),
            events in prop::collection::vec((name(), name(), prop::option::of(name())), 1..10),
        ) {
            let subscriptions: Vec<_> = asked.iter().map(|(s, t, f)| subscription(s.as_deref(), t.as_deref(), f)).collect();
            let index = MatchIndex::new(subscriptions.iter().cloned().zip(0..).collect());
            for (source, ty, version) in &events {
                let event = event(source, ty, version.as_deref());
                let mut found: Vec<usize> = index.matching(&event).copied().collect();
                found.sort_unstable();
                let expected: Vec<usize> = subscriptions.iter().enumerate()
                    .filter(|(_, s)| lets_pass(s, &event)).map(|(n, _)| n).collect();
                prop_assert_eq!(&found, &expected);
                for (n, subscription) in subscriptions.iter().enumerate() {
                    prop_assert_eq!(explain(subscription, &event).is_none(), expected.contains(&n));
                }
            }
        }
    }
}
