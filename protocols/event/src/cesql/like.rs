//! The patterns of LIKE, matched in time that grows with the length of the text alone (CESQL 1.0,
//! 3.4.3).

/// The longest part between two `%` that has a `_` in it, in characters: one bit of a machine
/// integer each.
pub(super) const PART_CHARS_MAX: usize = 128;

/// A pattern, split at its `%`.
#[derive(Debug)]
pub(super) struct Pattern {
    first: Part,
    /// What follows the `%`; `None` when there is no `%`.
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    /// The parts between the first and the last `%`, none of them empty.
    middle: Vec<Search>,
    last: Part,
}

/// A part of a pattern without `%`.
#[derive(Debug)]
enum Part {
    /// Only characters that stand for themselves.
    Text(Box<str>),
    /// With `_`, which is `None`.
    Wild(Box<[Option<char>]>),
}

/// A part that may begin anywhere.
#[derive(Debug)]
enum Search {
    Text(Box<str>),
    Wild(Automaton),
}

/// The Shift-And automaton of a part with `_`: bit `i` says that the text before ends with the
/// first `i + 1` characters of the part.
#[derive(Debug)]
struct Automaton {
    /// For each character of the part, the places where it stands.
    places: Box<[(char, u128)]>,
    /// The places where any character may stand.
    any: u128,
    /// The place of the last character.
    accept: u128,
}

/// A pattern that goes beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartTooLong;

impl Pattern {
    /// Reads a pattern: `%` is any text, `_` any one character, either after `\` itself, and
    /// everything else itself too.
    pub(super) fn parse(pattern: &str) -> Result<Self, PartTooLong> {
        let mut parts = split(pattern).into_iter();
        let first = Part::new(&parts.next().unwrap_or_default());
        let Some(last) = parts.next_back() else {
            return Ok(Self { first, rest: None });
        };
        let middle = parts
            .filter(|part| !part.is_empty())
            .map(|part| Search::new(&part))
            .collect::<Result<_, _>>()?;
        let last = Part::new(&last);
        Ok(Self { first, rest: Some(Rest { middle, last }) })
    }

    /// Whether the whole of `text` matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some(tail) = self.first.strip_start(text) else {
            return false;
        };
        let Some(rest) = &self.rest else {
            return tail.is_empty();
        };
        let Some(mut between) = rest.last.strip_end(tail) else {
            return false;
        };
        // The leftmost place of each part leaves the most text to the parts after it.
        for part in &rest.middle {
            match part.skip_past(between) {
                Some(tail) => between = tail,
                None => return false,
            }
        }
        true
    }
}

/// The parts between the `%`; `None` stands for `_`.
fn split(pattern: &str) -> Vec<Vec<Option<char>>> {
    let mut parts = vec![Vec::new()];
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        let place = match character {
            '%' => {
                parts.push(Vec::new());
                continue;
            }
            '_' => None,
            '\\' => Some(characters.next_if(|c| "%_".contains(*c)).unwrap_or('\\')),
            other => Some(other),
        };
        if let Some(part) = parts.last_mut() {
            part.push(place);
        }
    }
    parts
}

impl Part {
    fn new(places: &[Option<char>]) -> Self {
        let text: Option<String> = places.iter().copied().collect();
        text.map_or_else(|| Self::Wild(places.into()), |text| Self::Text(text.into_boxed_str()))
    }

    /// What of `text` follows this part, when it begins with it.
    fn strip_start<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Text(own) => text.strip_prefix(&**own),
            Self::Wild(places) => {
                let mut characters = text.chars();
                let fits = places.iter().all(|place| fits(*place, characters.next()));
                fits.then_some(characters.as_str())
            }
        }
    }

    /// What of `text` is before this part, when it ends with it.
    fn strip_end<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Text(own) => text.strip_suffix(&**own),
            Self::Wild(places) => {
                let mut characters = text.chars();
                let mut places = places.iter().rev();
                let fits = places.all(|place| fits(*place, characters.next_back()));
                fits.then_some(characters.as_str())
            }
        }
    }
}

fn fits(place: Option<char>, character: Option<char>) -> bool {
    character.is_some_and(|found| place.is_none_or(|asked| asked == found))
}

impl Search {
    fn new(places: &[Option<char>]) -> Result<Self, PartTooLong> {
        match Part::new(places) {
            Part::Text(text) => Ok(Self::Text(text)),
            Part::Wild(places) => Automaton::new(&places).map(Self::Wild),
        }
    }

    /// What of `text` follows the leftmost place of this part.
    fn skip_past<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Text(own) => {
                let at = text.find(&**own)?;
                Some(&text[at + own.len()..])
            }
            Self::Wild(automaton) => automaton.skip_past(text),
        }
    }
}

impl Automaton {
    fn new(part: &[Option<char>]) -> Result<Self, PartTooLong> {
        if part.len() > PART_CHARS_MAX {
            return Err(PartTooLong);
        }
        let mut places: Vec<(char, u128)> = Vec::new();
        let mut any = 0;
        let mut bit = 1_u128;
        let mut accept = 0;
        for place in part {
            match place {
                None => any |= bit,
                Some(asked) => match places.binary_search_by_key(asked, |(known, _)| *known) {
                    Ok(at) => places[at].1 |= bit,
                    Err(at) => places.insert(at, (*asked, bit)),
                },
            }
            accept = bit;
            bit = bit.wrapping_shl(1);
        }
        Ok(Self { places: places.into(), any, accept })
    }

    fn skip_past<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut reached = 0_u128;
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let found = self.places.binary_search_by_key(&character, |(known, _)| *known);
            let places = found.map_or(self.any, |at| self.any | self.places[at].1);
            reached = (reached << 1 | 1) & places;
            if reached & self.accept != 0 {
                return Some(characters.as_str());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn like(text: &str, pattern: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(text)
    }

    /// The definition of LIKE without escapes, tried place by place.
    fn like_by_definition(text: &[char], pattern: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, _) => text.is_empty(),
            (Some(('%', rest)), _) => {
                (0..=text.len()).any(|at| like_by_definition(&text[at..], rest))
            }
            (Some((place, rest)), Some((character, tail))) => {
                (*place == '_' || place == character) && like_by_definition(tail, rest)
            }
            (Some(_), None) => false,
        }
    }

    #[test]
    fn a_backslash_escapes_only_wildcards() {
        let rows = [
            ("a%", r"a\%", true),
            ("ab", r"a\%", false),
            ("a_", r"a\_", true),
            ("ab", r"a\_", false),
            (r"a\c", r"a\c", true),
            (r"a\", r"a\", true),
            (r"a\%", r"a\\%", true),
            (r"a\bc", r"a\\%", false),
        ];
        for (text, pattern, expected) in rows {
            assert_eq!(like(text, pattern), expected, "{text} LIKE {pattern}");
        }
    }

    #[test]
    fn a_character_is_a_unicode_character() {
        assert!(like("\u{1f600}", "_"));
        assert!(like("\u{e9}t\u{e9}", "%_t_%"));
        assert!(!like("\u{1f600}", "__"));
    }

    #[test]
    fn parts_do_not_overlap() {
        for (text, pattern) in [("ab", "ab%b"), ("aba", "%ab%ba%"), ("a", "_%_"), ("aa", "a%a%a")] {
            assert!(!like(text, pattern), "{text} LIKE {pattern}");
        }
    }

    #[test]
    fn a_part_with_a_wildcard_has_a_limit_where_it_has_to_be_searched() {
        let part = |length: usize| format!("{}_", "a".repeat(length - 1));
        assert!(like(&"a".repeat(200), &format!("%{}%", part(PART_CHARS_MAX))));
        assert!(!like(&"a".repeat(100), &format!("%{}%", part(PART_CHARS_MAX))));
        assert!(Pattern::parse(&format!("%{}%", part(PART_CHARS_MAX + 1))).is_err());
        assert!(like(&"a".repeat(200), &part(200)));
    }

    #[test]
    fn hostile_patterns_take_no_longer_than_the_text() {
        let text = "a".repeat(1_000_000);
        let pattern = "%a_a_a_a_a_a_a_b%".repeat(100);
        assert!(!like(&text, &pattern));
        let pattern = format!("%{}b%", "a".repeat(10_000));
        assert!(!like(&text, &pattern));
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(text in "[ab]{0,12}", pattern in "[ab%_]{0,8}") {
            let characters = |text: &str| text.chars().collect::<Vec<char>>();
            prop_assert_eq!(
                like(&text, &pattern),
                like_by_definition(&characters(&text), &characters(&pattern))
            );
        }
    }
}
