//! API keys and passwords as they are kept: everything about them but the secret.

use std::collections::BTreeSet;
use std::fmt;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use eg_event::principal::Method;
use eg_event::{CredentialId, Principal, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Unauthenticated;

/// What every API key begins with.
const KEY_PREFIX: &str = "egk_";
/// The length of an id, in hexadecimal digits.
const ID_DIGITS: usize = 16;
/// The length of a secret, in bytes before they are written in base64url.
const SECRET_BYTES: usize = 32;

/// The hash of nothing that anybody has.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What kind of secret it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretKind {
    /// `egk_ID_SECRET`, presented as a bearer token or as a password with any user name.
    ApiKey,
    /// Presented with the name as the user name.
    Password,
}

/// A credential to be made.
#[derive(Clone, Debug)]
pub struct NewCredential {
    /// Who presents it: the name of the principal.
    pub name: String,
    /// What kind of secret it is.
    pub kind: SecretKind,
    /// The application that it acts for.
    pub application: Option<String>,
    /// The roles that it gives.
    pub roles: BTreeSet<String>,
    /// When it stops being good.
    pub expires_at: Option<Timestamp>,
}

/// A credential as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredCredential {
    /// What a revocation names.
    pub id: String,
    /// Who presents it: the name of the principal.
    pub name: String,
    /// What kind of secret it is.
    pub kind: SecretKind,
    /// The secret's hash (argon2id, PHC string format).
    hash: Hash,
    /// The application that it acts for.
    pub application: Option<String>,
    /// The roles that it gives.
    pub roles: BTreeSet<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops being good.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A hash; its text is for the store alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Hash(String);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// A secret that has just been made, to be shown once.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// There is no chance to be had from the system, or no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret cannot be made: {0}")]
pub struct NoSecret(&'static str);

impl StoredCredential {
    /// Makes a credential; takes a moment of a whole processor.
    pub fn make(new: NewCredential, now: Timestamp) -> Result<(Self, Secret), NoSecret> {
        let id = format!("{:016x}", u64::from_be_bytes(random()?));
        let secret = BASE64URL.encode(random::<SECRET_BYTES>()?);
        let hash = hash(secret.as_bytes())?;
        let shown = match new.kind {
            SecretKind::ApiKey => format!("{KEY_PREFIX}{id}_{secret}"),
            SecretKind::Password => secret,
        };
        let stored = Self {
            id,
            name: new.name,
            kind: new.kind,
            hash,
            application: new.application,
            roles: new.roles,
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
        };
        Ok((stored, Secret(shown)))
    }

    /// What rests on it.
    #[must_use]
    pub fn credential_id(&self) -> CredentialId {
        CredentialId::new(format!("key:{}", self.id))
    }

    /// Whether it lets anybody in.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether `secret` is its secret; takes a moment of a whole processor.
    pub(crate) fn holds(&self, secret: &[u8]) -> bool {
        verify(&self.hash.0, secret)
    }

    /// Takes the same moment, so that nobody can tell by the time whether there is a credential.
    pub(crate) fn holds_nowhere(secret: &[u8]) -> bool {
        let _holds = verify(DECOY, secret);
        false
    }

    /// The hash, to tell a secret that was checked against it from others.
    pub(crate) fn hash_text(&self) -> &str {
        &self.hash.0
    }

    /// Whom it names, if it is still good.
    pub(crate) fn admit(&self, now: Timestamp) -> Result<Principal, Unauthenticated> {
        let (what, method) = match self.kind {
            SecretKind::ApiKey => ("the API key", Method::ApiKey),
            SecretKind::Password => ("the password", Method::Basic),
        };
        if self.revoked_at.is_some() {
            return Err(Unauthenticated::Invalid(format!("{what} has been revoked")));
        }
        if !self.is_good(now) {
            return Err(Unauthenticated::Expired(format!("{what} has expired")));
        }
        #[expect(clippy::disallowed_methods, reason = "auth is where a principal is made")]
        let principal = Principal::vouch_for(&self.name, method, self.expires_at)
            .with_roles(self.roles.iter().cloned())
            .resting_on(self.credential_id());
        Ok(match &self.application {
            Some(application) => principal.for_application(application),
            None => principal,
        })
    }
}

/// The id and the secret of an API key, if `text` is one.
pub(crate) fn parse_key(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix(KEY_PREFIX)?.split_once('_')?;
    let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some((id, secret))
}

fn verify(hash: &str, secret: &[u8]) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(secret, &hash).is_ok())
}

fn random<const N: usize>() -> Result<[u8; N], NoSecret> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| NoSecret("the system gives no random numbers"))?;
    Ok(bytes)
}

fn hash(secret: &[u8]) -> Result<Hash, NoSecret> {
    let hash = Argon2::default().hash_password(secret);
    hash.map(|hash| Hash(hash.to_string())).map_err(|_| NoSecret("it cannot be hashed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(kind: SecretKind) -> (StoredCredential, Secret) {
        let new = NewCredential {
            name: "press".to_owned(),
            kind,
            application: Some("plant".to_owned()),
            roles: ["device".to_owned()].into(),
            expires_at: Some(Timestamp::from_micros(100)),
        };
        StoredCredential::make(new, Timestamp::from_micros(1)).unwrap()
    }

    #[test]
    fn what_is_kept_tells_the_secret_and_never_says_it() {
        let (stored, secret) = make(SecretKind::ApiKey);
        let (id, part) = parse_key(secret.expose()).unwrap();
        assert_eq!(id, stored.id);
        assert!(stored.holds(part.as_bytes()) && !stored.holds(b"other"));
        let document = serde_json::to_string(&stored).unwrap();
        assert!(!document.contains(part) && document.contains("$argon2id$"));
        assert_eq!(serde_json::from_str::<StoredCredential>(&document).unwrap(), stored);
        let shown = format!("{stored:?} {secret:?}");
        assert!(!shown.contains(part) && !shown.contains("argon2"), "{shown}");
        assert_ne!(make(SecretKind::Password).1.expose(), make(SecretKind::Password).1.expose());
    }

    #[test]
    fn it_names_its_principal_until_it_expires_or_is_revoked() {
        let (mut stored, _) = make(SecretKind::Password);
        let principal = stored.admit(Timestamp::from_micros(99)).unwrap();
        assert_eq!((principal.name(), principal.application()), ("press", Some("plant")));
        assert_eq!((principal.method(), principal.roles().len()), (Method::Basic, 1));
        assert_eq!(principal.credential(), Some(&stored.credential_id()));
        let expired = stored.admit(Timestamp::from_micros(100));
        assert!(matches!(expired, Err(Unauthenticated::Expired(_))));
        stored.revoked_at = Some(Timestamp::from_micros(2));
        let revoked = stored.admit(Timestamp::from_micros(3)).unwrap_err();
        assert_eq!(revoked.to_string(), "the password has been revoked");
    }

    #[test]
    fn a_text_that_is_no_key_is_not_taken_for_one() {
        for text in ["", "egk_", "egk_1_x", "egk_0123456789abcdeg_x", "EGK_0123456789abcdef_x"] {
            assert_eq!(parse_key(text), None, "{text}");
        }
        assert_eq!(parse_key("egk_0123456789abcdef_x_y-"), Some(("0123456789abcdef", "x_y-")));
    }
}
