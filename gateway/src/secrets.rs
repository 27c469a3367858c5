//! Secrets at rest: sealed (AES-256-GCM) under a key that the operator holds, each for its place
//! alone.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

/// The size of a key, in bytes.
const KEY_BYTES: usize = 32;
/// The largest key file, in bytes.
const FILE_BYTES_MAX: u64 = 4096;
/// Where a key is made when the operator names none, in the data directory.
const OWN_KEY_FILE: &str = "secret-key";

/// Where the keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecretsConfig {
    /// The file of the key that secrets are sealed under: 32 bytes in base64 or hexadecimal digits.
    /// None: `secret-key` in the data directory, made with the first secret.
    pub key_file: Option<PathBuf>,
    /// The files of keys that were used before: what is sealed under them is sealed anew at start.
    pub previous_key_files: Vec<PathBuf>,
}

/// A secret cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A key file cannot be used.
    #[error("{setting} {}: {reason}", path.display())]
    KeyFile {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// None of the keys is the one that the secret is sealed under.
    #[error(
        "{place} is sealed under the key {wanted}, and secrets.key_file and \
         secrets.previous_key_files have {known}: nothing was changed; name the file of that key"
    )]
    UnknownKey {
        /// What is sealed.
        place: String,
        /// The key that is needed.
        wanted: KeyId,
        /// The keys that there are.
        known: String,
    },
    /// What is sealed is not what was sealed there.
    #[error("{0} cannot be opened: it was damaged, or sealed for another place")]
    Damaged(String),
    /// There is no randomness, or the library refuses.
    #[error("secrets cannot be sealed at present")]
    Failed,
}

/// What tells keys apart without telling them: the beginning of a digest.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 8]);

/// The key that secrets are sealed under, and those that were before it.
#[derive(Debug)]
pub struct Keys {
    current: OnceLock<Key>,
    own: PathBuf,
    previous: Vec<Key>,
}

struct Key {
    id: KeyId,
    cipher: RandomizedNonceKey,
}

/// What a secret belongs to. One that is moved elsewhere cannot be opened.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The kind of document.
    pub kind: &'static str,
    /// Its name.
    pub name: &'a str,
    /// The field of it.
    pub field: &'static str,
}

/// A sealed secret as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// The key that it is sealed under.
    pub key: KeyId,
    /// Nonce, ciphertext and tag, in base64.
    data: String,
}

impl Keys {
    /// Reads the key files; what goes without saying is `secret-key` in `data_directory`.
    pub fn open(config: &SecretsConfig, data_directory: &Path) -> Result<Self, SecretError> {
        let own = data_directory.join(OWN_KEY_FILE);
        let current = match &config.key_file {
            Some(path) => Some(Key::read("secrets.key_file", path)?),
            None if own.exists() => Some(Key::read("secrets.key_file", &own)?),
            None => None,
        };
        let previous = config.previous_key_files.iter();
        let previous = previous.map(|path| Key::read("secrets.previous_key_files", path));
        let current = current.map_or_else(OnceLock::new, OnceLock::from);
        Ok(Self { current, own, previous: previous.collect::<Result<_, _>>()? })
    }

    /// Seals `secret` for `place`. Waits for the disk when there is no key yet.
    pub fn seal(&self, place: Place<'_>, secret: &[u8]) -> Result<Sealed, SecretError> {
        let key = self.current()?;
        let mut text = secret.to_vec();
        let nonce = key.cipher.seal_in_place_append_tag(place.aad(), &mut text);
        let nonce = nonce.map_err(|_| SecretError::Failed)?;
        let data = BASE64.encode([&nonce.as_ref()[..], &text].concat());
        Ok(Sealed { key: key.id, data })
    }

    /// Opens what was sealed for `place`.
    pub fn open_sealed(&self, place: Place<'_>, sealed: &Sealed) -> Result<Vec<u8>, SecretError> {
        let key = self.all().find(|key| key.id == sealed.key);
        let key = key.ok_or_else(|| SecretError::UnknownKey {
            place: place.to_string(),
            wanted: sealed.key,
            known: self.known(),
        })?;
        let damaged = || SecretError::Damaged(place.to_string());
        let data = BASE64.decode(&sealed.data).map_err(|_| damaged())?;
        let (nonce, text) = data.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let mut text = text.to_vec();
        let opened = key.cipher.open_in_place(nonce, place.aad(), &mut text);
        Ok(opened.map_err(|_| damaged())?.to_vec())
    }

    /// Whether `sealed` would be sealed under another key today.
    #[must_use]
    pub fn is_outdated(&self, sealed: &Sealed) -> bool {
        self.current.get().is_none_or(|key| key.id != sealed.key)
    }

    /// The key to seal under; made, and written down first, when there is none.
    fn current(&self) -> Result<&Key, SecretError> {
        if let Some(key) = self.current.get() {
            return Ok(key);
        }
        match create(&self.own) {
            Ok(key) => tracing::warn!(
                key = %key,
                file = %self.own.display(),
                "a key for secrets was made in the data directory: move it elsewhere and name it \
                 in secrets.key_file, so that whoever copies the data has no secrets"
            ),
            Err(SecretError::KeyFile { .. }) if self.own.exists() => {}
            Err(error) => return Err(error),
        }
        let key = Key::read("secrets.key_file", &self.own)?;
        Ok(self.current.get_or_init(|| key))
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        self.current.get().into_iter().chain(&self.previous)
    }

    fn known(&self) -> String {
        let ids: Vec<_> = self.all().map(|key| key.id.to_string()).collect();
        if ids.is_empty() { "no key".to_owned() } else { ids.join(", ") }
    }
}

/// Makes a key in a file that only its owner can read; one that is there is not touched.
pub fn create(path: &Path) -> Result<KeyId, SecretError> {
    let mut bytes = [0; KEY_BYTES];
    rand::fill(&mut bytes).map_err(|_| SecretError::Failed)?;
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{}", BASE64.encode(bytes))?;
        file.sync_all()
    };
    write().map_err(|error| unusable("secret key", path, error.to_string()))?;
    Ok(KeyId::of(&bytes))
}

impl Key {
    fn read(setting: &'static str, path: &Path) -> Result<Self, SecretError> {
        let wrong = |reason: String| unusable(setting, path, reason);
        let metadata = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
        let expected = || wrong("expected 32 bytes in base64 or hexadecimal digits".to_owned());
        if metadata.len() > FILE_BYTES_MAX {
            return Err(expected());
        }
        if metadata.mode() & 0o007 != 0 {
            tracing::warn!(file = %path.display(), "everyone on this machine can read a secret key");
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let bytes = decode(text.trim()).ok_or_else(expected)?;
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| expected())?;
        Ok(Self { id: KeyId::of(&bytes), cipher })
    }
}

fn decode(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() == 2 * KEY_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        let mut bytes = [0; KEY_BYTES];
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        return Some(bytes);
    }
    BASE64.decode(text).ok()?.try_into().ok()
}

fn unusable(setting: &'static str, path: &Path, reason: String) -> SecretError {
    SecretError::KeyFile { setting, path: path.to_owned(), reason }
}

impl KeyId {
    fn of(key: &[u8; KEY_BYTES]) -> Self {
        let text = [b"event-gateway secret key id\0".as_slice(), key].concat();
        let digest = digest::digest(&digest::SHA256, &text);
        let mut id = [0; 8];
        id.copy_from_slice(&digest.as_ref()[..8]);
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for KeyId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let id = Some(&text).filter(|text| text.len() == 16);
        let id = id.and_then(|text| u64::from_str_radix(text, 16).ok());
        id.map(|id| Self(id.to_be_bytes())).ok_or("expected the 16 digits of a key id")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Place<'_> {
    /// Each part with its length before it: no two places have the same bytes.
    fn aad(self) -> Aad<Vec<u8>> {
        let parts = [self.kind, self.name, self.field];
        let length = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes();
        let framed = parts.iter().flat_map(|part| [&length(part)[..], part.as_bytes()].concat());
        Aad::from(framed.collect())
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the {} {:?}", self.field, self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { kind: "subscription", name: "orders", field: "auth" };

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn keys(directory: &Path, key: Option<&str>, previous: &[&str]) -> Result<Keys, SecretError> {
        let config = SecretsConfig {
            key_file: key.map(|name| directory.join(name)),
            previous_key_files: previous.iter().map(|name| directory.join(name)).collect(),
        };
        Keys::open(&config, directory)
    }

    #[test]
    fn what_is_sealed_is_opened_with_the_same_key_for_the_same_place_alone() {
        let directory = directory();
        create(&directory.path().join("a")).unwrap();
        let keys = keys(directory.path(), Some("a"), &[]).unwrap();
        let sealed = keys.seal(PLACE, b"s3cret").unwrap();
        assert_eq!(keys.open_sealed(PLACE, &sealed).unwrap(), b"s3cret");
        assert_ne!(keys.seal(PLACE, b"s3cret").unwrap(), sealed, "each has its own nonce");
        for other in [
            Place { kind: "bus", ..PLACE },
            Place { name: "order", ..PLACE },
            Place { field: "signingSecrets", ..PLACE },
            Place { kind: "subscriptiono", name: "rders", ..PLACE },
        ] {
            let error = keys.open_sealed(other, &sealed).unwrap_err();
            assert!(matches!(error, SecretError::Damaged(_)), "{error}");
        }
        let bytes = BASE64.decode(&sealed.data).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let bad = Sealed { data: BASE64.encode(bad), ..sealed.clone() };
            assert!(keys.open_sealed(PLACE, &bad).is_err(), "byte {at}");
        }
        for data in [String::new(), "%".to_owned(), BASE64.encode([0; 12])] {
            assert!(keys.open_sealed(PLACE, &Sealed { data, ..sealed.clone() }).is_err());
        }
    }

    #[test]
    fn another_key_is_refused_by_its_id_until_the_old_one_is_named() {
        let directory = directory();
        let path = directory.path();
        let [a, b] = ["a", "b"].map(|name| create(&path.join(name)).unwrap());
        let sealed = keys(path, Some("a"), &[]).unwrap().seal(PLACE, b"s3cret").unwrap();
        let error = keys(path, Some("b"), &[]).unwrap().open_sealed(PLACE, &sealed);
        let error = error.unwrap_err().to_string();
        for part in [&a.to_string(), &b.to_string(), "subscription \"orders\"", "nothing was"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        let rotated = keys(path, Some("b"), &["a"]).unwrap();
        assert!(rotated.is_outdated(&sealed));
        let secret = rotated.open_sealed(PLACE, &sealed).unwrap();
        let anew = rotated.seal(PLACE, &secret).unwrap();
        assert_eq!((anew.key, rotated.is_outdated(&anew)), (b, false));
    }

    #[test]
    fn a_key_is_made_with_the_first_secret_for_its_owner_alone() {
        let directory = directory();
        let path = directory.path().join(OWN_KEY_FILE);
        let first = keys(directory.path(), None, &[]).unwrap();
        assert!(!path.exists());
        let sealed = first.seal(PLACE, b"s3cret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let again = keys(directory.path(), None, &[]).unwrap();
        assert_eq!(again.open_sealed(PLACE, &sealed).unwrap(), b"s3cret");
        std::fs::remove_file(&path).unwrap();
        let lost = keys(directory.path(), None, &[]).unwrap().open_sealed(PLACE, &sealed);
        assert!(lost.unwrap_err().to_string().contains("have no key"));
        assert!(!path.exists(), "a key that is lost is not replaced");
    }

    #[test]
    fn keys_are_read_in_both_forms_and_nothing_else_is_taken_for_one() {
        let directory = directory();
        let path = directory.path().join("key");
        let write = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Key::read("secrets.key_file", &path).map(|key| key.id)
        };
        let bytes = [0xab; KEY_BYTES];
        let [hex, base64] = ["ab".repeat(KEY_BYTES), BASE64.encode(bytes)];
        assert_eq!(write(&format!("{hex}\n")).unwrap(), write(&base64).unwrap());
        for bad in ["", "ab", &hex[2..], &BASE64.encode([1; 31]), &"x".repeat(5000)] {
            let error = write(bad).unwrap_err().to_string();
            assert!(error.contains("secrets.key_file") && error.contains("32 bytes"), "{error}");
        }
        assert!(keys(directory.path(), Some("none"), &[]).is_err());
        assert!(create(&path).is_err(), "what is there is not replaced");
    }

    #[test]
    fn keys_do_not_show() {
        let directory = directory();
        let path = directory.path().join("key");
        create(&path).unwrap();
        let shown = format!("{:?}", keys(directory.path(), Some("key"), &[]).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!shown.contains(text.trim()) && shown.contains("id"), "{shown}");
    }
}
