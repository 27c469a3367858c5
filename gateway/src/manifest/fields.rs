//! The fields of a manifest: what is there, what is missing, what nobody knows.

use std::cell::RefCell;

use serde_json::{Map, Value};

use super::{Fault, Place};

/// Reads one manifest and collects what is wrong with it.
pub(super) struct Reader<'a> {
    place: &'a Place,
    faults: RefCell<Vec<Fault>>,
}

/// An object of a manifest.
pub(super) struct Object<'a> {
    reader: &'a Reader<'a>,
    /// What leads to it, with a dot behind; empty for the whole.
    path: String,
    members: &'a Map<String, Value>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(place: &'a Place) -> Self {
        Self { place, faults: RefCell::default() }
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults.into_inner()
    }

    /// A text of the whole, if it is there.
    pub(super) fn peek(&self, name: &str) -> Option<&'a str> {
        self.place.text.value().get(name)?.as_str()
    }

    /// The whole manifest.
    pub(super) fn root(&'a self) -> Option<Object<'a>> {
        let members = self.place.text.value().as_object();
        if members.is_none() {
            self.fault("", "expected a mapping with apiVersion, kind, metadata and spec");
        }
        Some(Object { reader: self, path: String::new(), members: members? })
    }

    /// Notes what is wrong with a field, its parts between dots.
    pub(super) fn fault(&self, field: &str, expected: impl Into<String>) {
        self.faults.borrow_mut().push(self.place.fault(field, expected));
    }
}

impl<'a> Object<'a> {
    /// Refuses fields that are not `known`, with the nearest that is.
    pub(super) fn only(&self, known: &[&str]) {
        for name in self.members.keys().filter(|name| !known.contains(&name.as_str())) {
            let nearest = known.iter().min_by_key(|one| strsim::damerau_levenshtein(name, one));
            let nearest =
                nearest.map_or_else(String::new, |one| format!("; did you mean {one:?}?"));
            self.fault(name, format!("unknown field{nearest}"));
        }
    }

    /// Notes what is wrong with a field.
    pub(super) fn fault(&self, name: &str, expected: impl Into<String>) {
        self.reader.fault(&format!("{}{name}", self.path), expected);
    }

    /// A member that has to be there.
    pub(super) fn object(&self, name: &str) -> Option<Self> {
        let members = self.members.get(name).and_then(Value::as_object);
        if members.is_none() {
            self.fault(name, "expected a mapping");
        }
        let path = format!("{}{name}.", self.path);
        Some(Self { reader: self.reader, path, members: members? })
    }

    /// A mapping that may be missing.
    pub(super) fn mapping(&self, name: &str) -> Option<&'a Map<String, Value>> {
        let value = self.members.get(name).filter(|value| !value.is_null())?;
        if value.as_object().is_none() {
            self.fault(name, "expected a mapping");
        }
        value.as_object()
    }

    /// Text that may be missing.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        let value = self.members.get(name).filter(|value| !value.is_null())?;
        if value.as_str().is_none() {
            self.fault(name, "expected text");
        }
        value.as_str()
    }

    /// Text that has to be there, and passes `check`.
    pub(super) fn checked(
        &self,
        name: &str,
        expected: &str,
        check: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let value = self.members.get(name).and_then(Value::as_str).filter(|text| check(text));
        if value.is_none() {
            self.fault(name, expected);
        }
        value.map(str::to_owned)
    }

    /// A whole number from `low` to `high` that may be missing.
    pub(super) fn whole(&self, name: &str, (low, high): (u32, u32)) -> Option<u32> {
        let value = self.members.get(name).filter(|value| !value.is_null())?;
        let whole = value.as_u64().and_then(|whole| u32::try_from(whole).ok());
        let whole = whole.filter(|whole| (low..=high).contains(whole));
        if whole.is_none() {
            self.fault(name, format!("expected a whole number from {low} to {high}"));
        }
        whole
    }

    /// A truth value that may be missing.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        let value = self.members.get(name).filter(|value| !value.is_null())?;
        if value.as_bool().is_none() {
            self.fault(name, "expected true or false");
        }
        value.as_bool()
    }
}
