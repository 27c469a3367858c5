//! Why a change of what is registered is refused.

use eg_event::InvalidInput;
use eg_storage::StoreError;

use crate::dispatch::registry::RegistryError;
use crate::secrets::SecretError;

/// A list of changes was refused: none of them is made.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Rejected {
    /// The place in the list of the change that is wrong; none: it is about all of them.
    pub place: Option<usize>,
    /// What is wrong.
    #[source]
    pub error: SpecsError,
}

/// What is wrong with a change.
#[derive(Debug, thiserror::Error)]
pub enum SpecsError {
    /// A field breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// The document is not valid: each error with line, column and JSON pointer.
    #[error("spec.data: {0}")]
    Document(eg_spec::Invalid),
    /// What the document refers to could not be fetched.
    #[error("spec.data: {0}")]
    Reference(String),
    /// What would be registered contradicts itself.
    #[error("{}", .0.join("\n"))]
    Conflicts(Vec<String>),
    /// There is one of that name.
    #[error("there is already {0} called {1:?}")]
    NotUnique(&'static str, String),
    /// There is none.
    #[error("there is no {0} {1:?}")]
    NotFound(&'static str, String),
    /// There is nothing to fetch.
    #[error("the definition has no fetch request")]
    NothingToFetch,
    /// It was changed by somebody else meanwhile.
    #[error("the definition was changed meanwhile; try again")]
    Overtaken,
    /// There is as much as there may be.
    #[error("there are {limit} {what}, which is the limit")]
    TooMany {
        /// What.
        what: &'static str,
        /// How much.
        limit: usize,
    },
    /// The change could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its secrets could not be sealed or opened.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It could not be encoded.
    #[error("it cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
    /// What was to be made together with it could not be; nothing is changed.
    #[error("{0}")]
    Beside(RegistryError),
}

impl SpecsError {
    /// About the change at `place`.
    pub(super) fn at(self, place: usize) -> Rejected {
        Rejected { place: Some(place), error: self }
    }

    /// About all changes.
    pub(super) fn of_all(self) -> Rejected {
        Rejected { place: None, error: self }
    }
}
