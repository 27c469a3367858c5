//! Topic filters (MQTT 5.0 sections 4.7 and 4.8): which are valid, and which topics they stand for.

/// What a shared subscription begins with.
const SHARE: &str = "$share/";

/// A topic filter that is one, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicFilter<'a> {
    /// The name of the group that shares it.
    pub(crate) share: Option<&'a str>,
    /// The filter itself.
    pub(crate) levels: &'a str,
}

impl<'a> TopicFilter<'a> {
    /// Takes a filter apart; none if it is not one, or has more than `levels_max` levels.
    pub(crate) fn parse(text: &'a str, levels_max: u32) -> Option<Self> {
        let filter = match text.strip_prefix(SHARE) {
            Some(rest) => {
                let (share, levels) = rest.split_once('/')?;
                if share.is_empty() || share.contains(['+', '#']) {
                    return None;
                }
                Self { share: Some(share), levels }
            }
            None => Self { share: None, levels: text },
        };
        let levels = filter.levels;
        let count = levels.split('/').count();
        let last = count - 1;
        let is_good = |(index, level): (usize, &str)| match level {
            "+" => true,
            "#" => index == last,
            level => !level.contains(['+', '#', '\0']),
        };
        let good = !levels.is_empty()
            && count <= usize::try_from(levels_max).unwrap_or(usize::MAX)
            && text != "$share"
            && levels.split('/').enumerate().all(is_good);
        good.then_some(filter)
    }

    /// What every topic begins with that it stands for.
    pub(crate) fn fixed(&self) -> &'a str {
        let at = self.levels.find(['+', '#']).unwrap_or(self.levels.len());
        // `a/#` stands for `a` too (MQTT 5.0 section 4.7.1.2).
        self.levels[..at].trim_end_matches('/')
    }

    /// Whether it stands for `topic`.
    pub(crate) fn stands_for(&self, topic: &str) -> bool {
        stands_for(self.levels.split('/'), topic)
    }
}

/// Whether a filter of these levels stands for `topic` (MQTT 5.0 section 4.7).
pub(crate) fn stands_for<'a>(filter: impl Iterator<Item = &'a str>, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for (place, wanted) in filter.enumerate() {
        if place == 0 && topic.starts_with('$') && matches!(wanted, "#" | "+") {
            return false;
        }
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Whether `filter`, which is valid, stands for `topic`, level by level.
    pub(crate) fn matches(filter: &str, topic: &str) -> bool {
        let (filter, levels): (Vec<_>, Vec<_>) =
            (filter.split('/').collect(), topic.split('/').collect());
        if topic.starts_with('$') && matches!(filter[0], "+" | "#") {
            return false;
        }
        let rest = filter.last() == Some(&"#");
        let fixed = filter.len() - usize::from(rest);
        let long_enough = if rest { levels.len() >= fixed } else { levels.len() == fixed };
        let is_level = |(want, level): (&&str, &&str)| *want == "+" || want == level;
        long_enough && filter[..fixed].iter().zip(&levels).all(is_level)
    }

    #[test]
    fn wildcards_stand_for_whole_levels_and_the_rest_comes_last() {
        for good in ["a", "/", "+", "#", "a/#", "+/+/#", "/a", "a//b", "$SYS/#", "a b", "$share"] {
            let found = TopicFilter::parse(good, 8);
            assert_eq!(found.is_some(), good != "$share", "{good}");
        }
        for bad in ["", "a+", "+a", "a/#/b", "a#", "#/a", "$share/", "$share/g", "$share//a"] {
            assert_eq!(TopicFilter::parse(bad, 8), None, "{bad}");
        }
        for bad in ["$share/g/", "$share/+/a", "$share/g#/a", "1/2/3/4/5/6/7/8/9"] {
            assert_eq!(TopicFilter::parse(bad, 8), None, "{bad}");
        }
        let shared = TopicFilter::parse("$share/g/a/+", 8).unwrap();
        assert_eq!(shared, TopicFilter { share: Some("g"), levels: "a/+" });
    }

    #[test]
    fn the_naive_matcher_knows_the_examples_of_the_standard() {
        let rows = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor", true),
        ];
        for (filter, topic, expected) in rows {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
            let parsed = TopicFilter::parse(filter, 8).unwrap();
            assert_eq!(parsed.stands_for(topic), expected, "{filter} {topic}");
            assert!(!expected || topic.starts_with(parsed.fixed()), "{filter} {topic}");
        }
    }
}
