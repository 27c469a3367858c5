//! What is written down of a certificate.

use eg_certs::{InvalidSubject, Serial, Subject};
use eg_event::{CredentialId, Timestamp};
use eg_storage::Changes;
use serde::{Deserialize, Serialize};

use super::KIND;

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub serial: Serial,
    /// Whom it speaks of.
    pub subject: String,
    /// Its further names.
    pub names: Vec<String>,
    /// Its SHA-256 digest, in hexadecimal digits.
    pub thumbprint: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it stops being good.
    pub not_after: Timestamp,
    /// Who asked for it.
    pub origin: Origin,
    /// When and why it was revoked.
    pub revoked: Option<Revocation>,
}

/// Who asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// An operator.
    Operator,
    /// An application, by a token.
    Token,
    /// An application, by the certificate before it.
    Renewal,
}

/// That a certificate was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

impl Record {
    /// What rests on the certificate.
    #[must_use]
    pub fn credential(&self) -> CredentialId {
        CredentialId::new(format!("certificate:{}", self.thumbprint))
    }

    /// Where it stands in the order of issuing.
    #[must_use]
    pub fn place(&self) -> (Timestamp, &Serial) {
        (self.issued_at, &self.serial)
    }

    /// Whom it speaks of, to be compared and used again.
    pub(super) fn subject(&self) -> Result<Subject, InvalidSubject> {
        Subject::parse(&self.subject)
    }

    pub(super) fn put(&self, changes: &mut Changes) -> Result<(), serde_json::Error> {
        changes.put_document(KIND, self.serial.as_str(), serde_json::to_vec(self)?);
        Ok(())
    }
}
