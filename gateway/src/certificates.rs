//! The certificates that the gateway issues: each is written down before anyone has it, and is
//! refused and cut off in the moment in which it is revoked.

mod connector;
#[cfg(test)]
mod facts;
mod record;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eg_auth::{ClientCertificate, InvalidCertificate, Live};
use eg_certs::{
    Authority, AuthorityDirectory, CertificatesConfig, DirectoryError, InvalidRequest,
    InvalidSubject, IssueError, Order, Purpose, Revocations, Revoked, Serial, SigningRequest,
    SigningTokens, Subject, TokenError,
};
use eg_event::{Clock, InvalidInput};
use eg_storage::{Changes, Ledger, StoreError};
use tokio_util::sync::CancellationToken;

pub use self::connector::{Desk, Invite};
pub use self::record::{Origin, Record, Revocation};

/// What the documents are called in the ledger.
const KIND: &str = "certificate";
/// How often the server's certificate and the list of what was revoked are looked at.
const LOOK: Duration = Duration::from_hours(6);
/// The longest reason of a revocation, in bytes.
const REASON_BYTES_MAX: usize = 1024;
/// The longest time that a certificate may be good, in days.
const DAYS_MAX: u32 = 3650;

/// A certificate could not be issued or revoked.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is no authority.
    #[error("this gateway has no certificate authority; `event-gateway cert init` makes one")]
    NoAuthority,
    /// A field breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// The request cannot be used.
    #[error(transparent)]
    Request(#[from] InvalidRequest),
    /// The subject cannot be used.
    #[error(transparent)]
    Subject(#[from] InvalidSubject),
    /// The request is for somebody else.
    #[error("expected a request for the common name {expected:?}, found {found:?}")]
    OtherName {
        /// Who is to be certified.
        expected: String,
        /// Whom the request names.
        found: String,
    },
    /// A number of days makes no sense.
    #[error("expected a number of days from 1 to {DAYS_MAX}, found {0}")]
    Days(u32),
    /// A reason is too long.
    #[error("expected a reason of at most {REASON_BYTES_MAX} bytes")]
    Reason,
    /// The authority could not sign.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// There are as many records as there may be.
    #[error("there are {0} certificates that have not expired, which is the limit")]
    TooMany(u32),
    /// No such certificate was issued here.
    #[error("no certificate with the serial number {0} was issued here")]
    NotFound(String),
    /// No token could be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The authority's own certificate cannot be read back.
    #[error(transparent)]
    Unreadable(#[from] InvalidCertificate),
    /// It could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record could not be encoded.
    #[error("the record cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
}

/// What is wanted for a signing request.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whom the certificate speaks of.
    pub subject: Subject,
    /// Further names: host names, IP addresses, URIs.
    pub names: Vec<String>,
    /// For how long, in days; none: as configured.
    pub validity_days: Option<u32>,
    /// Who asked.
    pub origin: Origin,
}

/// A certificate that was issued, with its authority's.
#[derive(Clone, Debug)]
pub struct Issued {
    /// What was written down of it.
    pub record: Record,
    /// It, in PEM.
    pub certificate_pem: String,
    /// Its authority's, in PEM.
    pub authority_pem: String,
}

/// The certificates that were issued, and the authority that issues them.
pub struct Certificates {
    config: CertificatesConfig,
    authority: Option<Authority>,
    directory: AuthorityDirectory,
    ledger: Ledger,
    clock: Clock,
    live: Live,
    revocations: Arc<Revocations>,
    tokens: SigningTokens,
    records: Mutex<BTreeMap<Serial, Record>>,
}

impl Certificates {
    /// Takes up the authority in `data` and everything that it has issued and revoked. `live` ends
    /// the connections of what is revoked.
    pub fn open(
        config: &CertificatesConfig,
        data: &Path,
        ledger: Ledger,
        (live, clock): (Live, Clock),
    ) -> Result<Arc<Self>, CertificatesError> {
        let directory = AuthorityDirectory::in_data(data);
        let authority = directory.authority()?;
        let mut records = BTreeMap::new();
        for (serial, document) in ledger.documents(KIND)? {
            match serde_json::from_slice::<Record>(&document) {
                Ok(record) => drop(records.insert(record.serial.clone(), record)),
                // To leave it out would let in whom it may revoke.
                Err(cause) => return Err(CertificatesError::Record { serial, cause }),
            }
        }
        let validity = Duration::from_secs(config.token_seconds_max.into());
        let certificates = Self {
            tokens: SigningTokens::new(clock.clone(), validity, config.tokens_max),
            config: config.clone(),
            authority,
            directory,
            ledger,
            clock,
            live,
            revocations: Arc::default(),
            records: Mutex::new(records),
        };
        if let Some(authority) = &certificates.authority {
            let revoked = certificates.revoked();
            let names: Result<Vec<_>, _> =
                revoked.iter().map(|revoked| authority.name_of(&revoked.serial)).collect();
            certificates.revocations.revoke(names.map_err(DirectoryError::from)?);
            certificates.renew_server(authority);
            certificates.write_list(authority);
        }
        Ok(Arc::new(certificates))
    }

    /// What counts as revoked.
    #[must_use]
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// The records of all certificates, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Record> {
        let mut all: Vec<_> = self.records().values().cloned().collect();
        all.sort_by(|one, other| one.place().cmp(&other.place()));
        all
    }

    /// The record of one certificate.
    #[must_use]
    pub fn get(&self, serial: &Serial) -> Option<Record> {
        self.records().get(serial).cloned()
    }

    /// Issues a certificate to the holder of the key of `request`. It has been written down when
    /// this returns.
    pub async fn issue(
        &self,
        wanted: Wanted,
        request: &SigningRequest,
    ) -> Result<Issued, CertificateError> {
        let authority = self.authority()?;
        let days = wanted.validity_days.unwrap_or(self.config.validity_days);
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(CertificateError::Days(days));
        }
        let now = self.clock.now();
        let order = Order {
            subject: &wanted.subject,
            names: &wanted.names,
            purpose: Purpose::Client,
            validity: Duration::from_hours(24 * u64::from(days)),
        };
        let issued = authority.issue(&order, request, now)?;
        let certificate = ClientCertificate::parse(&issued.der)?;
        let record = Record {
            serial: issued.serial,
            subject: wanted.subject.to_string(),
            names: wanted.names,
            thumbprint: certificate.thumbprint.to_string(),
            issued_at: now,
            not_after: issued.not_after,
            origin: wanted.origin,
            revoked: None,
        };
        let mut changes = self.make_room()?;
        record.put(&mut changes)?;
        self.apply(changes).await?;
        self.records().insert(record.serial.clone(), record.clone());
        tracing::info!(serial = %record.serial, subject = record.subject, "certificate issued");
        let authority_pem = authority.pem().to_owned();
        Ok(Issued { record, certificate_pem: issued.pem, authority_pem })
    }

    /// Revokes a certificate: when this returns that is durable, no handshake with it succeeds, and
    /// the connections that rested on it are being closed. Revoked once more, it stays as it is.
    pub async fn revoke(&self, serial: &Serial, reason: &str) -> Result<Record, CertificateError> {
        let authority = self.authority()?;
        if reason.len() > REASON_BYTES_MAX {
            return Err(CertificateError::Reason);
        }
        let found = self.get(serial);
        let mut record = found.ok_or_else(|| CertificateError::NotFound(serial.to_string()))?;
        if record.revoked.is_none() {
            let at = self.clock.now();
            record.revoked = Some(Revocation { at, reason: reason.to_owned() });
            let mut changes = Changes::default();
            record.put(&mut changes)?;
            self.apply(changes).await?;
            self.records().insert(serial.clone(), record.clone());
        }
        self.revocations.revoke([authority.name_of(serial)?]);
        let cut = self.live.cut(&record.credential());
        tracing::info!(%serial, subject = record.subject, cut, "certificate revoked");
        self.write_list(authority);
        Ok(record)
    }

    /// Keeps the server's certificate and the list of what was revoked fresh, until `stop`.
    pub async fn maintain(&self, stop: &CancellationToken) {
        let Some(authority) = &self.authority else { return };
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            self.renew_server(authority);
            self.write_list(authority);
        }
    }

    /// The authority's own certificate, in PEM; none: there is no authority.
    #[must_use]
    pub fn authority_pem(&self) -> Option<&str> {
        self.authority.as_ref().map(Authority::pem)
    }

    fn authority(&self) -> Result<&Authority, CertificateError> {
        self.authority.as_ref().ok_or(CertificateError::NoAuthority)
    }

    fn renew_server(&self, authority: &Authority) {
        if !self.directory.server_file().exists() {
            return;
        }
        match self.directory.renew_server(authority, self.clock.now()) {
            Ok(true) => tracing::info!("the server's certificate was renewed"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the server's certificate cannot be renewed"),
        }
    }

    /// Writes the list of what was revoked, for whoever else checks these certificates. The gateway
    /// itself goes by its records.
    fn write_list(&self, authority: &Authority) {
        let now = self.clock.now();
        let list = authority.revocation_list(&self.revoked(), now.as_micros(), now);
        let written =
            list.map_err(DirectoryError::from).and_then(|list| self.directory.write_list(&list));
        if let Err(error) = written {
            tracing::error!(%error, "the list of revoked certificates cannot be written");
        }
    }

    fn revoked(&self) -> Vec<Revoked> {
        let records = self.records();
        let revoked = |record: &Record| {
            let at = record.revoked.as_ref()?.at;
            Some(Revoked { serial: record.serial.clone(), at })
        };
        records.values().filter_map(revoked).collect()
    }

    /// Where there are as many records as there may be, those of expired certificates are let go.
    fn make_room(&self) -> Result<Changes, CertificateError> {
        let mut changes = Changes::default();
        let issued_max = usize::try_from(self.config.issued_max).unwrap_or(usize::MAX);
        let mut records = self.records();
        if records.len() >= issued_max {
            let now = self.clock.now();
            records.retain(|serial, record| {
                let is_good = record.not_after > now;
                if !is_good {
                    changes.remove_document(KIND, serial.as_str());
                }
                is_good
            });
        }
        if records.len() >= issued_max {
            return Err(CertificateError::TooMany(self.config.issued_max));
        }
        Ok(changes)
    }

    async fn apply(&self, changes: Changes) -> Result<(), StoreError> {
        let ledger = self.ledger.clone();
        let applied = tokio::task::spawn_blocking(move || ledger.apply(&changes)).await;
        applied.unwrap_or(Err(StoreError::Closed))
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<Serial, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The authority and its records could not be taken up.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// The authority's files.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The ledger.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record.
    #[error("the record of certificate {serial} cannot be read: {cause}")]
    Record {
        /// The certificate.
        serial: String,
        /// What is wrong.
        cause: serde_json::Error,
    },
}
