//! What management clients are told when something is wrong: words, and a code that Compass's
//! clients know, in `extensions`.

use async_graphql::{Error, ErrorExtensions as _};
use eg_event::{InvalidInput, Refusal};
use eg_storage::StoreError;

use crate::credentials::CredentialError;
use crate::dispatch::registry::RegistryError;

/// The kinds of errors, with the numbers that Compass's director gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Something is wrong with the gateway.
    InternalError = 10,
    /// There is no such thing.
    NotFound = 20,
    /// There is one already.
    NotUnique = 21,
    /// The input breaks a rule.
    InvalidData = 22,
    /// Who asks may not do this.
    InsufficientScopes = 23,
    /// Nobody who is known asks.
    Unauthorized = 26,
    /// This cannot be done now.
    InvalidOperation = 27,
}

/// An error with its code.
#[must_use]
pub fn coded(code: Code, message: &str) -> Error {
    Error::new(message).extend_with(|_, extensions| {
        extensions.set("error", format!("{code:?}"));
        extensions.set("error_code", code as i32);
    })
}

/// Who asks may not do this.
#[must_use]
pub fn forbidden(why: &str) -> Error {
    let error = coded(Code::InsufficientScopes, &format!("not allowed: {why}"));
    error.extend_with(|_, extensions| extensions.set("code", "FORBIDDEN"))
}

/// Nobody who is known asks.
#[must_use]
pub fn unauthenticated(why: &str) -> Error {
    let error = coded(Code::Unauthorized, why);
    error.extend_with(|_, extensions| extensions.set("code", "UNAUTHENTICATED"))
}

/// The operation is done, and that could not be written down.
#[must_use]
pub fn unaudited(why: &Refusal) -> Error {
    let text = format!("this is done, but it could not be written to the audit log: {why}");
    coded(Code::InternalError, &text)
}

/// Something is wrong with the input.
#[must_use]
pub fn invalid(invalid: &InvalidInput) -> Error {
    let error = coded(Code::InvalidData, &invalid.to_string());
    error.extend_with(|_, extensions| extensions.set("field", invalid.field.clone()))
}

/// The store failed: the log has the details, the client is told that much.
#[must_use]
pub fn store(error: &StoreError) -> Error {
    tracing::error!(%error, "the store failed while answering");
    coded(Code::InternalError, "the store failed; the log says more")
}

/// A subscription could not be changed.
#[must_use]
pub fn registry(error: RegistryError) -> Error {
    match error {
        RegistryError::Invalid(input) => invalid(&input),
        RegistryError::NotUnique(..) => coded(Code::NotUnique, &error.to_string()),
        RegistryError::NotFound(..) => coded(Code::NotFound, &error.to_string()),
        RegistryError::TooMany(..) => coded(Code::InvalidOperation, &error.to_string()),
        RegistryError::Store(error) => store(&error),
        RegistryError::Secret(_) | RegistryError::Encode(_) | RegistryError::Unreadable => {
            coded(Code::InternalError, &error.to_string())
        }
    }
}

/// A credential could not be made or revoked.
#[must_use]
pub fn credential(error: CredentialError) -> Error {
    match error {
        CredentialError::Invalid(input) => invalid(&input),
        CredentialError::NotUnique(_) => coded(Code::NotUnique, &error.to_string()),
        CredentialError::NotFound(_) => coded(Code::NotFound, &error.to_string()),
        CredentialError::TooMany => coded(Code::InvalidOperation, &error.to_string()),
        CredentialError::Store(error) => store(&error),
        CredentialError::NoSecret | CredentialError::Encode(_) | CredentialError::File { .. } => {
            coded(Code::InternalError, &error.to_string())
        }
    }
}
