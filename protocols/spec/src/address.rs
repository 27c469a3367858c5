//! Addresses of channels: topics and paths with parameters in braces.

use std::fmt;

/// The names of the parameters of an address, in order.
pub(crate) fn parameter_names(address: &str) -> impl Iterator<Item = &str> {
    address.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(name, _)| name)
}

/// An address that is compared with topics and paths.
///
/// A parameter stands for one or more characters of one level. Levels are divided by `/`, or by
/// `.` in an address that has no `/`.
///
/// ```
/// use eg_spec::ChannelMatcher;
/// let matcher = ChannelMatcher::parse("lamps/{id}/lit-{how}").unwrap();
/// assert_eq!(matcher.matches("lamps/7/lit-dimly").unwrap(), [("id", "7"), ("how", "dimly")]);
/// assert!(matcher.matches("lamps/7/8/lit-dimly").is_none());
/// ```
#[derive(Debug, Clone)]
pub struct ChannelMatcher {
    address: String,
    pub(crate) separator: char,
    pub(crate) levels: Vec<Level>,
}

/// Why an address cannot be matched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A brace without its other half, or one in another.
    #[error("a brace that is closed, with a name in it")]
    Brace,
    /// A parameter that occurs twice.
    #[error("the parameter {{{0}}} only once")]
    Twice(String),
}

/// A level of an address: text, parameter, text, ...
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Level {
    /// The text before the first parameter; all of it, if there is none.
    first: String,
    /// Each parameter, and the text behind it.
    parameters: Vec<(String, String)>,
}

impl ChannelMatcher {
    /// # Errors
    /// What is wrong with the address.
    pub fn parse(address: &str) -> Result<Self, AddressError> {
        let separator = if !address.contains('/') && address.contains('.') { '.' } else { '/' };
        let levels: Vec<Level> =
            address.split(separator).map(Level::parse).collect::<Result<_, _>>()?;
        let mut names: Vec<&str> = parameter_names(address).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(AddressError::Twice(twice[0].to_owned()));
        }
        Ok(Self { address: address.to_owned(), separator, levels })
    }

    /// The parameters that make this address the topic, in the order of the address.
    #[must_use]
    pub fn matches<'t>(&self, topic: &'t str) -> Option<Vec<(&str, &'t str)>> {
        let mut found = Vec::new();
        let mut parts = topic.split(self.separator);
        for level in &self.levels {
            level.take(parts.next()?, &mut found)?;
        }
        parts.next().is_none().then_some(found)
    }

    /// The address as it is written.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl fmt::Display for ChannelMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl Level {
    fn parse(text: &str) -> Result<Self, AddressError> {
        let mut parts = text.split('{');
        let first = parts.next().unwrap_or_default().to_owned();
        let mut parameters = Vec::new();
        for part in parts {
            let (name, after) = part.split_once('}').ok_or(AddressError::Brace)?;
            if name.is_empty() || after.contains('}') {
                return Err(AddressError::Brace);
            }
            parameters.push((name.to_owned(), after.to_owned()));
        }
        if first.contains('}') {
            return Err(AddressError::Brace);
        }
        Ok(Self { first, parameters })
    }

    /// The text of a level without parameters.
    pub(crate) fn literal(&self) -> Option<&str> {
        self.parameters.is_empty().then_some(&self.first)
    }

    /// Matches a level of a topic, and adds the parameters. Each takes as little as it can, the
    /// last one what is left: the one way to match texts between parameters without going back.
    fn take<'m, 't>(&'m self, part: &'t str, found: &mut Vec<(&'m str, &'t str)>) -> Option<()> {
        let mut rest = part.strip_prefix(&*self.first)?;
        for (index, (name, after)) in self.parameters.iter().enumerate() {
            let last = index + 1 == self.parameters.len();
            let one = rest.chars().next()?.len_utf8();
            let end = if last {
                rest.len()
                    .checked_sub(after.len())
                    .filter(|end| *end >= one && rest.ends_with(&**after))?
            } else {
                one + rest[one..].find(&**after)?
            };
            found.push((name, &rest[..end]));
            rest = &rest[end + after.len()..];
        }
        rest.is_empty().then_some(())
    }

    pub(crate) fn matches(&self, part: &str) -> bool {
        self.take(part, &mut Vec::new()).is_some()
    }

    /// How many characters it fixes: of two levels that match, the one that fixes more is meant.
    pub(crate) fn fixed(&self) -> usize {
        self.first.len() + self.parameters.iter().map(|(_, after)| after.len()).sum::<usize>()
    }

    /// Whether it is the same but for the names of parameters.
    pub(crate) fn same_shape(&self, other: &Self) -> bool {
        let texts = |level: &Self| {
            level.parameters.iter().map(|(_, after)| after.clone()).collect::<Vec<_>>()
        };
        self.first == other.first && texts(self) == texts(other)
    }

    /// Whether some text matches both; never says no wrongly.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self.literal(), other.literal()) {
            (Some(one), Some(two)) => one == two,
            (Some(text), None) => other.matches(text),
            (None, Some(text)) => self.matches(text),
            (None, None) => {
                let fits = |one: &str, two: &str| one.starts_with(two) || two.starts_with(one);
                let ends = |one: &str, two: &str| one.ends_with(two) || two.ends_with(one);
                fits(&self.first, &other.first) && ends(self.last(), other.last())
            }
        }
    }

    fn last(&self) -> &str {
        self.parameters.last().map_or(&self.first, |(_, after)| after)
    }

    /// Whether all that matches it matches the other, as far as one can see: the other is this
    /// one, or one parameter with texts around it that this one begins and ends with.
    pub(crate) fn within(&self, other: &Self) -> bool {
        if let Some(text) = self.literal() {
            return other.matches(text);
        }
        let [(_, after)] = &*other.parameters else { return self.same_shape(other) };
        self.first.starts_with(&other.first) && self.last().ends_with(&**after)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_parameter_stays_in_its_level_and_is_never_empty() {
        let matcher = ChannelMatcher::parse("a/{b}/c").unwrap();
        assert_eq!(matcher.matches("a/x.y/c").unwrap(), [("b", "x.y")]);
        for topic in ["a//c", "a/x/y/c", "a/x/c/", "/a/x/c", "a/x"] {
            assert!(matcher.matches(topic).is_none(), "{topic}");
        }
    }

    #[test]
    fn levels_are_divided_by_dots_where_there_is_no_slash() {
        let matcher = ChannelMatcher::parse("lamps.1.{id}.lit").unwrap();
        assert_eq!(matcher.matches("lamps.1.7.lit").unwrap(), [("id", "7")]);
        assert!(matcher.matches("lamps.1.7.8.lit").is_none());
    }

    #[test]
    fn addresses_that_mean_nothing_are_refused() {
        for address in ["a/{b", "a/b}", "a/{}", "{a{b}}"] {
            assert_eq!(
                ChannelMatcher::parse(address).unwrap_err(),
                AddressError::Brace,
                "{address}"
            );
        }
        let twice = ChannelMatcher::parse("{a}/{a}").unwrap_err();
        assert_eq!(twice, AddressError::Twice("a".to_owned()));
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(values in prop::collection::vec("[a-z0-9]{1,5}", 3)) {
            let matcher = ChannelMatcher::parse("t/{a}-{b}/{c}:end").unwrap();
            let topic = format!("t/{}-{}/{}:end", values[0], values[1], values[2]);
            let found = matcher.matches(&topic).unwrap();
            let found: Vec<&str> = found.into_iter().map(|(_, value)| value).collect();
            prop_assert_eq!(found, values);
        }

        #[test]
        fn what_lies_within_another_overlaps_it(
            one in "[ab]?(\\{x\\}[ab]?)?", two in "[ab]?(\\{y\\}[ab]?)?", text in "[ab]{0,3}",
        ) {
            let (one, two) = (Level::parse(&one).unwrap(), Level::parse(&two).unwrap());
            prop_assert!(!(one.matches(&text) && two.matches(&text)) || one.overlaps(&two));
            prop_assert!(!(one.within(&two) && one.matches(&text)) || two.matches(&text));
        }
    }
}
