//! JSON pointers (RFC 6901), also in the fragment of a reference.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

/// The way to a value in a document; the empty pointer is the document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pointer(String);

impl Pointer {
    /// A pointer as it is written: empty, or with a slash before each step.
    ///
    /// ```
    /// use eg_spec::Pointer;
    /// assert_eq!(Pointer::parse("/channels/a~1b").unwrap().steps().last().unwrap(), "a/b");
    /// assert!(Pointer::parse("channels").is_none());
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.is_empty() || text.starts_with('/')).then(|| Self(text.to_owned()))
    }

    /// The pointer in the fragment of a reference (RFC 6901 section 6). Percent signs that encode
    /// nothing stand for themselves, as people write them.
    pub(crate) fn from_fragment(fragment: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(fragment.len());
        let mut rest = fragment.as_bytes();
        while let [first, after @ ..] = rest {
            let encoded = (*first == b'%')
                .then(|| after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()))
                .flatten()
                .and_then(|hex| u8::from_str_radix(hex, 16).ok());
            bytes.push(encoded.unwrap_or(*first));
            rest = if encoded.is_some() { &after[2..] } else { after };
        }
        Self::parse(&String::from_utf8(bytes).ok()?)
    }

    /// The pointer to a member or an item of what this one points to.
    #[must_use]
    pub fn join(&self, step: &str) -> Self {
        Self(format!("{}/{}", self.0, step.replace('~', "~0").replace('/', "~1")))
    }

    pub(crate) fn of(steps: &[Cow<'_, str>]) -> Self {
        steps.iter().fold(Self::default(), |pointer, step| pointer.join(step))
    }

    /// The names and indexes on the way.
    pub fn steps(&self) -> impl Iterator<Item = String> + '_ {
        self.0.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"))
    }

    /// What it points to.
    #[must_use]
    pub fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        value.pointer(&self.0)
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
