//! Manifests: files that say what there is to be, in the shape that Kyma's resources have. All are
//! read and checked before anything is done.

pub mod apply;
mod fields;
mod kyma;
mod own;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use eg_event::subscription::Subscription;
use eg_spec::{Limits, Pointer, Text};
use serde_json::Value;

use self::fields::Reader;
pub use self::kyma::SubscriptionManifest;
pub use self::own::DefinitionManifest;
use crate::activation::EventActivation;
use crate::specs::change::ApplicationInput;

/// The most files at once.
pub const FILES_MAX: usize = 1_000;
/// The longest file, in bytes.
const FILE_BYTES_MAX: usize = 1 << 20;
/// The most manifests at once, in all files.
const MANIFESTS_MAX: usize = 2_000;
/// The most faults that are told at once.
const FAULTS_MAX: usize = 20;

/// A file as it was sent.
#[derive(Clone, Debug)]
pub struct File {
    /// What it is called in errors.
    pub name: String,
    /// YAML, of which it may have several documents, or JSON.
    pub text: String,
}

/// Something that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The field, its parts between dots; empty for the whole.
    pub field: String,
    /// What was expected there.
    pub expected: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, field, expected } = self;
        let colon = if field.is_empty() { "" } else { ": " };
        write!(f, "{file}:{line}:{column}: {field}{colon}{expected}")
    }
}

/// Why nothing was done: at least one fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", told(.faults, *.untold))]
pub struct Faults {
    /// What is wrong, in the order of the files; at most twenty.
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub untold: usize,
}

fn told(faults: &[Fault], untold: usize) -> String {
    let mut lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
    if untold > 0 {
        lines.push(format!("and {untold} more"));
    }
    lines.join("\n")
}

impl Faults {
    /// `Ok` when there is none.
    pub fn unless_empty(mut faults: Vec<Fault>) -> Result<(), Self> {
        let untold = faults.len().saturating_sub(FAULTS_MAX);
        faults.truncate(FAULTS_MAX);
        if faults.is_empty() { Ok(()) } else { Err(Self { faults, untold }) }
    }
}

/// One manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Where it stands.
    pub place: Place,
    /// What it asks for.
    pub asked: Asked,
}

/// What a manifest asks for.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A subscription.
    Subscription(Box<SubscriptionManifest>),
    /// An event activation.
    EventActivation(EventActivation),
    /// An application.
    Application(ApplicationInput),
    /// A definition of an application.
    Definition(Box<DefinitionManifest>),
}

impl Asked {
    /// The kind, as manifests have it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Subscription(_) => kyma::SUBSCRIPTION,
            Self::EventActivation(_) => kyma::EVENT_ACTIVATION,
            Self::Application(_) => own::APPLICATION,
            Self::Definition(_) => own::DEFINITION,
        }
    }

    /// What operations know it by.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Subscription(asked) => format!("{}/{}", asked.namespace, asked.name),
            Self::EventActivation(asked) => asked.key(),
            Self::Application(asked) => asked.name.clone(),
            Self::Definition(asked) => format!("{}/{}", asked.application, asked.name),
        }
    }
}

/// Where a manifest stands.
#[derive(Clone, Debug)]
pub struct Place {
    file: Arc<str>,
    text: Arc<Text>,
}

impl Place {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line where it begins, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.text.position(&Pointer::default()).line
    }

    /// A fault of a field, its parts between dots.
    #[must_use]
    pub fn fault(&self, field: &str, expected: impl Into<String>) -> Fault {
        let steps = field.split('.').filter(|step| !step.is_empty());
        let pointer = steps.fold(Pointer::default(), |pointer, step| pointer.join(step));
        let position = self.text.position(&pointer);
        Fault {
            file: (*self.file).to_owned(),
            line: position.line,
            column: position.column,
            field: field.to_owned(),
            expected: expected.into(),
        }
    }
}

/// Reads all manifests of all files.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn read(files: &[File]) -> Result<Vec<Manifest>, Faults> {
    let (mut manifests, mut faults) = (Vec::new(), Vec::new());
    let limits = Limits { document_bytes_max: FILE_BYTES_MAX, ..Limits::default() };
    for file in files {
        let texts = Text::read_all(file.text.as_bytes(), &limits, MANIFESTS_MAX);
        let texts = match texts {
            Ok(texts) => texts,
            Err(invalid) => {
                faults.extend(invalid.errors.iter().map(|error| unread(file, error)));
                continue;
            }
        };
        let name: Arc<str> = file.name.as_str().into();
        let is_alone = texts.len() == 1;
        for text in texts.into_iter().filter(|text| !text.value().is_null()) {
            let place = Place { file: Arc::clone(&name), text: Arc::new(text) };
            let reader = Reader::new(&place);
            let asked = if own::is_document(&reader) {
                // As it was written, where it has the file for itself.
                let text =
                    || if is_alone { file.text.clone() } else { place.text.value().to_string() };
                own::document(&reader, text())
            } else if own::is_own(&reader) {
                own::read(&reader)
            } else {
                kyma::read(&reader)
            };
            let found = reader.into_faults();
            match asked.filter(|_| found.is_empty()) {
                Some(asked) => manifests.push(Manifest { place, asked }),
                None => faults.extend(found),
            }
        }
    }
    if let Some(beyond) = manifests.get(MANIFESTS_MAX) {
        let expected = format!("expected at most {MANIFESTS_MAX} manifests at once");
        faults.push(beyond.place.fault("", expected));
    }
    faults.extend(repeated(&manifests));
    Faults::unless_empty(faults)?;
    Ok(manifests)
}

fn unread(file: &File, error: &eg_spec::SpecError) -> Fault {
    let (line, column) = error.position.map_or((1, 1), |at| (at.line, at.column));
    let expected = format!("expected {}", error.expected);
    Fault { file: file.name.clone(), line, column, field: String::new(), expected }
}

/// What is asked for more than once.
fn repeated(manifests: &[Manifest]) -> Vec<Fault> {
    let mut known: HashMap<(&str, String), &Place> = HashMap::new();
    let mut faults = Vec::new();
    for Manifest { place, asked } in manifests {
        if let Some(first) = known.get(&(asked.kind(), asked.key())) {
            let expected =
                format!("expected only once: {}:{} has it too", first.file(), first.line());
            faults.push(place.fault("metadata.name", expected));
        } else {
            known.insert((asked.kind(), asked.key()), place);
        }
    }
    faults
}

/// A field that is changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The field, as manifests name it.
    pub field: &'static str,
    /// What it was; null for something that is made.
    pub from: Value,
    /// What it is to be.
    pub to: Value,
}

/// The fields in which two lists of the same fields differ.
fn differences(
    old: Option<Vec<(&'static str, Value)>>,
    new: Vec<(&'static str, Value)>,
) -> Vec<Difference> {
    let mut old = old.unwrap_or_default().into_iter();
    let both = new.into_iter().map(|(field, to)| {
        let from = old.next().map_or(Value::Null, |(_, from)| from);
        Difference { field, from, to }
    });
    both.filter(|one| one.from != one.to).collect()
}

/// What changes of a subscription.
#[must_use]
pub fn differences_of_subscription(
    old: Option<&Subscription>,
    new: &Subscription,
) -> Vec<Difference> {
    differences(old.map(kyma::fields_of_subscription), kyma::fields_of_subscription(new))
}

/// What changes of an event activation.
#[must_use]
pub fn differences_of_activation(
    old: Option<&EventActivation>,
    new: &EventActivation,
) -> Vec<Difference> {
    differences(old.map(kyma::fields_of_activation), kyma::fields_of_activation(new))
}

#[cfg(test)]
mod tests;
