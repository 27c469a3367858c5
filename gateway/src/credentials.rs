//! The API keys and passwords that were made here: kept in the ledger without their secrets, and
//! no longer good from the moment in which they are revoked.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eg_auth::{
    Authenticator, Live, NAME_BYTES_MAX, NewCredential, Secret, SecretKind, StoredCredential,
    is_name,
};
use eg_event::{Clock, InvalidInput};
use eg_storage::{Changes, Ledger, StoreError};
use tokio::sync::{Mutex, MutexGuard};

/// What the documents are called in the ledger.
const KIND: &str = "credential";
/// The most credentials there may be, those that were revoked among them.
const CREDENTIALS_MAX: usize = 10_000;
/// How many roles a credential may give.
const ROLES_MAX: usize = 64;
/// The role that may do everything.
const ADMIN: &str = "admin";
/// Where the secret of the first credential is written.
const FIRST_KEY_FILE: &str = "first-admin-key";

/// A credential could not be made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A field breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// There is a password for that name.
    #[error("there is already a password for {0:?}; revoke it first")]
    NotUnique(String),
    /// There is no credential of that id.
    #[error("there is no credential {0:?}")]
    NotFound(String),
    /// There are as many as there may be.
    #[error("there are {CREDENTIALS_MAX} credentials, which is the limit")]
    TooMany,
    /// The secret could not be made.
    #[error("the secret cannot be made")]
    NoSecret,
    /// The change could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The change could not be encoded.
    #[error("the credential cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
    /// The first credential could not be handed over.
    #[error("{path}: {cause}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
}

type Table = BTreeMap<String, Arc<StoredCredential>>;

/// The credentials, and everyone who has to know of a change.
#[derive(Debug)]
pub struct Credentials {
    ledger: Ledger,
    authenticator: Arc<Authenticator>,
    live: Live,
    clock: Clock,
    /// By id; held by whoever changes it.
    table: Mutex<Table>,
}

impl Credentials {
    /// Reads the credentials and lets their holders in.
    pub fn load(
        ledger: Ledger,
        authenticator: Arc<Authenticator>,
        live: Live,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let mut table = Table::new();
        for (id, document) in ledger.documents(KIND)? {
            match serde_json::from_slice(&document) {
                Ok(credential) => drop(table.insert(id, Arc::new(credential))),
                Err(error) => {
                    tracing::error!(%error, id, "a credential cannot be read and is left out");
                }
            }
        }
        authenticator.replace_credentials(table.values().cloned());
        Ok(Self { ledger, authenticator, live, clock, table: Mutex::new(table) })
    }

    /// All of them, by id.
    pub async fn all(&self) -> Vec<Arc<StoredCredential>> {
        self.table.lock().await.values().cloned().collect()
    }

    /// Makes a credential; the secret is known to nobody else, and never shown again.
    pub async fn create(
        &self,
        new: NewCredential,
    ) -> Result<(Arc<StoredCredential>, Secret), CredentialError> {
        self.create_and_tell(new, |_| Ok(())).await
    }

    /// The same; before the credential is good, `tell` has handed its secret over.
    async fn create_and_tell(
        &self,
        new: NewCredential,
        tell: impl FnOnce(&Secret) -> Result<(), CredentialError>,
    ) -> Result<(Arc<StoredCredential>, Secret), CredentialError> {
        let now = self.clock.now();
        check(&new)?;
        if new.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(InvalidInput::new("in.expiresAt", "expected an instant to come").into());
        }
        let mut table = self.table.lock().await;
        let is_password = |one: &&Arc<StoredCredential>| {
            one.kind == SecretKind::Password && one.revoked_at.is_none()
        };
        if new.kind == SecretKind::Password
            && table.values().filter(is_password).any(|one| one.name == new.name)
        {
            return Err(CredentialError::NotUnique(new.name));
        }
        let mut changes = Changes::default();
        if table.len() >= CREDENTIALS_MAX {
            let revoked = table.values().filter(|one| one.revoked_at.is_some());
            let oldest = revoked.min_by_key(|one| one.revoked_at).map(|one| one.id.clone());
            let oldest = oldest.ok_or(CredentialError::TooMany)?;
            changes.remove_document(KIND, &oldest);
            table.remove(&oldest);
        }
        let made = tokio::task::spawn_blocking(move || StoredCredential::make(new, now)).await;
        let Ok(Ok((credential, secret))) = made else { return Err(CredentialError::NoSecret) };
        tell(&secret)?;
        let credential = Arc::new(credential);
        self.keep(&mut table, changes, Arc::clone(&credential)).await?;
        Ok((credential, secret))
    }

    /// Revokes a credential: nobody gets in with it any more, and whoever is in is cut off.
    pub async fn revoke(&self, id: &str) -> Result<Arc<StoredCredential>, CredentialError> {
        let mut table = self.table.lock().await;
        let credential = table.get(id).ok_or_else(|| CredentialError::NotFound(id.to_owned()))?;
        let mut credential = StoredCredential::clone(credential);
        credential.revoked_at.get_or_insert_with(|| self.clock.now());
        let credential = Arc::new(credential);
        self.keep(&mut table, Changes::default(), Arc::clone(&credential)).await?;
        let cut = self.live.cut(&credential.credential_id());
        tracing::info!(id, name = credential.name, cut, "a credential was revoked");
        Ok(credential)
    }

    /// Makes an API key for the first administrator when there is none who could get in, and says
    /// in which file of `directory` it is.
    pub async fn first_admin(&self, directory: &Path) -> Result<Option<PathBuf>, CredentialError> {
        let now = self.clock.now();
        let is_admin = |one: &Arc<StoredCredential>| one.is_good(now) && one.roles.contains(ADMIN);
        if self.all().await.iter().any(is_admin) {
            return Ok(None);
        }
        let new = NewCredential {
            name: "first-admin".to_owned(),
            kind: SecretKind::ApiKey,
            application: None,
            roles: [ADMIN.to_owned()].into(),
            expires_at: None,
        };
        let path = directory.join(FIRST_KEY_FILE);
        // Were it good before it is in the file, a failure in between would leave an administrator
        // whose secret nobody has.
        let tell = |secret: &Secret| {
            let failed = |cause| CredentialError::File { path: path.clone(), cause };
            write_secret(&path, secret).map_err(failed)
        };
        self.create_and_tell(new, tell).await?;
        Ok(Some(path))
    }

    async fn keep(
        &self,
        table: &mut MutexGuard<'_, Table>,
        mut changes: Changes,
        credential: Arc<StoredCredential>,
    ) -> Result<(), CredentialError> {
        changes.put_document(KIND, &credential.id, serde_json::to_vec(&*credential)?);
        let ledger = self.ledger.clone();
        let written = tokio::task::spawn_blocking(move || ledger.apply(&changes)).await;
        written.unwrap_or(Err(StoreError::Closed))?;
        table.insert(credential.id.clone(), credential);
        self.authenticator.replace_credentials(table.values().cloned());
        Ok(())
    }
}

fn check(new: &NewCredential) -> Result<(), InvalidInput> {
    let expected = format!("expected a text of 1 to {NAME_BYTES_MAX} bytes");
    if !is_name(&new.name) {
        return Err(InvalidInput::new("in.name", expected));
    }
    if new.application.as_deref().is_some_and(|application| !is_name(application)) {
        return Err(InvalidInput::new("in.application", expected));
    }
    if new.roles.len() > ROLES_MAX || !new.roles.iter().all(|role| is_name(role)) {
        let detail = format!("expected at most {ROLES_MAX} texts of 1 to {NAME_BYTES_MAX} bytes");
        return Err(InvalidInput::new("in.roles", detail));
    }
    Ok(())
}

/// Writes a secret to a file that only its owner can read; what was there is replaced.
fn write_secret(path: &Path, secret: &Secret) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", secret.expose())?;
    file.sync_all()?;
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eg_event::Timestamp;
    use eg_storage::{StorageConfig, Store};

    #[tokio::test]
    async fn nobody_is_the_first_administrator_whose_secret_could_not_be_handed_over() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::by_hand(Timestamp::from_micros(1));
        let store = Store::open(directory.path(), &StorageConfig::default(), &clock).unwrap();
        let (ledger, authenticator) = (store.ledger().clone(), Arc::new(Authenticator::closed()));
        let credentials =
            Credentials::load(ledger, authenticator, Live::default(), clock.clone()).unwrap();
        let in_the_way = directory.path().join(FIRST_KEY_FILE);
        std::fs::create_dir(&in_the_way).unwrap();
        let failed = credentials.first_admin(directory.path()).await.unwrap_err();
        assert!(failed.to_string().contains(FIRST_KEY_FILE), "{failed}");
        assert!(credentials.all().await.is_empty());
        std::fs::remove_dir(&in_the_way).unwrap();
        let made = credentials.first_admin(directory.path()).await.unwrap();
        assert_eq!(made, Some(in_the_way));
        assert_eq!(credentials.all().await.len(), 1);
        assert_eq!(credentials.first_admin(directory.path()).await.unwrap(), None);
    }
}
