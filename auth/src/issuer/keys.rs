//! The keys of an issuer (RFC 7517), each pinned to the algorithms that it may be used with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use eg_event::Timestamp;
use jsonwebtoken::{Algorithm as Jwa, DecodingKey, crypto};
use serde_json::Value;

use super::jws::{Jws, invalid};
use crate::Unauthenticated;
use crate::config::Algorithm;

/// How many keys of an issuer are read.
const KEYS_MAX: usize = 256;
/// How many keys of the same name are tried.
const CANDIDATES_MAX: usize = 4;
/// The shortest RSA modulus (RFC 7518 section 3.3), in bytes.
const RSA_BYTES_MIN: usize = 256;

/// The keys that an issuer had at one time.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
    /// When they were fetched.
    pub(crate) fetched_at: Timestamp,
    /// Counts the changes: what was validated under another number is validated again.
    pub(crate) generation: u64,
    /// The document, to see whether it changed.
    document: Vec<u8>,
}

/// A public key, and the algorithms that its kind, curve and `alg` leave.
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    public: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} for {:?}", self.id, self.algorithms)
    }
}

/// Why a token names no key that could have signed it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The issuer may have new keys.
    Unknown,
    /// New keys would not help.
    Refused(Unauthenticated),
}

impl KeySet {
    /// Reads a JSON Web Key Set; keys that are not understood, or not for signatures, are left out.
    pub(crate) fn read(
        document: Vec<u8>,
        before: Option<&Self>,
        now: Timestamp,
    ) -> Result<Self, serde_json::Error> {
        #[derive(serde::Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let Document { keys } = serde_json::from_slice(&document)?;
        let generation = match before {
            Some(before) if before.document == document => before.generation,
            Some(before) => before.generation + 1,
            None => 0,
        };
        let keys = keys.iter().take(KEYS_MAX).filter_map(Key::read).collect();
        Ok(Self { keys, fetched_at: now, generation, document })
    }

    /// Whether the signature of `jws` holds by one of `allowed`. The key decides what algorithm
    /// there can be, the token only which of those.
    pub(crate) fn verify(&self, jws: &Jws<'_>, allowed: &[Algorithm]) -> Result<(), NoKey> {
        let refused = |field, detail| Err(NoKey::Refused(invalid(field, detail)));
        if !allowed.contains(&jws.algorithm) {
            return refused("alg", "this algorithm is not taken from this issuer");
        }
        let named: Vec<_> = match &jws.key {
            Some(_) => self.keys.iter().filter(|key| key.id == jws.key).collect(),
            None => self.keys.iter().collect(),
        };
        let fits = |key: &&&Key| key.algorithms.contains(&jws.algorithm);
        let fitting: Vec<_> = named.iter().filter(fits).take(CANDIDATES_MAX).collect();
        match (&jws.key, &fitting[..]) {
            (Some(_), []) if named.is_empty() => return Err(NoKey::Unknown),
            (Some(_), []) => {
                return refused("alg", "the key that it names is for another algorithm");
            }
            (None, []) => return Err(NoKey::Unknown),
            (None, [_, _, ..]) => {
                return refused("kid", "it is missing, and the issuer has several such keys");
            }
            _ => {}
        }
        let signed = jws.signed.as_bytes();
        let holds = |key: &Key| {
            let algorithm = Jwa::from(jws.algorithm);
            crypto::verify(jws.signature, signed, &key.public, algorithm).unwrap_or(false)
        };
        if fitting.into_iter().any(|key| holds(key)) {
            Ok(())
        } else {
            refused("signature", "it does not hold")
        }
    }
}

impl Key {
    fn read(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk[name].as_str();
        let verifies = |operations: &Vec<Value>| operations.iter().any(|one| one == "verify");
        if text("use").is_some_and(|purpose| purpose != "sig")
            || jwk["key_ops"].as_array().is_some_and(|operations| !verifies(operations))
        {
            return None;
        }
        let (algorithms, public) = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let modulus = BASE64URL.decode(text("n")?).ok()?;
                if modulus.len() < RSA_BYTES_MIN {
                    return None;
                }
                let public = DecodingKey::from_rsa_components(text("n")?, text("e")?);
                (&Algorithm::ALL[..6], public)
            }
            ("EC", Some("P-256")) => {
                (&[Algorithm::ES256][..], DecodingKey::from_ec_components(text("x")?, text("y")?))
            }
            ("EC", Some("P-384")) => {
                (&[Algorithm::ES384][..], DecodingKey::from_ec_components(text("x")?, text("y")?))
            }
            ("OKP", Some("Ed25519")) => {
                (&[Algorithm::EdDSA][..], DecodingKey::from_ed_components(text("x")?))
            }
            _ => return None,
        };
        let pinned = text("alg").map(|name| if name == "Ed25519" { "EdDSA" } else { name });
        let algorithms: Vec<_> = algorithms
            .iter()
            .copied()
            .filter(|algorithm| pinned.is_none_or(|pinned| pinned == format!("{algorithm:?}")))
            .collect();
        let id = text("kid").map(str::to_owned);
        (!algorithms.is_empty()).then_some(Self { id, algorithms, public: public.ok()? })
    }
}

impl From<Algorithm> for Jwa {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::RS256 => Self::RS256,
            Algorithm::RS384 => Self::RS384,
            Algorithm::RS512 => Self::RS512,
            Algorithm::PS256 => Self::PS256,
            Algorithm::PS384 => Self::PS384,
            Algorithm::PS512 => Self::PS512,
            Algorithm::ES256 => Self::ES256,
            Algorithm::ES384 => Self::ES384,
            Algorithm::EdDSA => Self::EdDSA,
        }
    }
}
