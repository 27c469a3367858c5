//! Tokens of the one-click flow: each is good once, for a short time, for one step.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use eg_event::{Clock, Timestamp};

/// How long a token is, in characters.
const CHARACTERS: usize = 64;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// For whom a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The application.
    pub application: String,
    /// Its tenant; empty: none.
    pub tenant: String,
    /// Its group; empty: none.
    pub group: String,
}

/// No token was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There are as many as there may be.
    #[error("there are {0} signing tokens, which is the limit; try again once some have expired")]
    TooMany(u32),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Random,
}

/// The tokens that have not been used. They are kept in memory alone, and only their digests.
#[derive(Debug)]
pub struct SigningTokens {
    clock: Clock,
    validity: Duration,
    tokens_max: u32,
    tokens: Mutex<HashMap<[u8; 32], (Claim, Timestamp)>>,
}

impl SigningTokens {
    /// No tokens yet.
    #[must_use]
    pub fn new(clock: Clock, validity: Duration, tokens_max: u32) -> Self {
        Self { clock, validity, tokens_max, tokens: Mutex::default() }
    }

    /// Makes a token.
    pub fn create(&self, claim: Claim) -> Result<String, TokenError> {
        let now = self.clock.now();
        let mut bytes = [0; CHARACTERS];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| TokenError::Random)?;
        let token: String =
            bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, (_, until)| *until > now);
        if u32::try_from(tokens.len()).unwrap_or(u32::MAX) >= self.tokens_max {
            return Err(TokenError::TooMany(self.tokens_max));
        }
        tokens.insert(digest_of(&token), (claim, now.after(self.validity)));
        Ok(token)
    }

    /// Uses a token up; none when there is no such token (any more).
    #[must_use]
    pub fn take(&self, token: &str) -> Option<Claim> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let (claim, until) = tokens.remove(&digest_of(token))?;
        (until > self.clock.now()).then_some(claim)
    }
}

fn digest_of(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(clock: &Clock) -> SigningTokens {
        SigningTokens::new(clock.clone(), Duration::from_mins(5), 2)
    }

    fn claim() -> Claim {
        Claim { application: "shop".into(), tenant: String::new(), group: String::new() }
    }

    #[test]
    fn a_token_is_good_once() {
        let tokens = tokens(&Clock::by_hand(Timestamp::default()));
        let token = tokens.create(claim()).unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(tokens.take(&token), Some(claim()));
        assert_eq!(tokens.take(&token), None);
        assert_eq!(tokens.take("x"), None);
    }

    #[test]
    fn a_token_is_good_for_its_time_alone() {
        let clock = Clock::by_hand(Timestamp::default());
        let tokens = tokens(&clock);
        let (first, second) = (tokens.create(claim()).unwrap(), tokens.create(claim()).unwrap());
        clock.advance(Duration::from_secs(299));
        assert!(tokens.take(&first).is_some());
        clock.advance(Duration::from_secs(1));
        assert_eq!(tokens.take(&second), None);
    }

    #[test]
    fn there_are_never_more_tokens_than_allowed() {
        let clock = Clock::by_hand(Timestamp::default());
        let tokens = tokens(&clock);
        assert!(tokens.create(claim()).is_ok() && tokens.create(claim()).is_ok());
        assert_eq!(tokens.create(claim()), Err(TokenError::TooMany(2)));
        clock.advance(Duration::from_mins(5));
        assert!(tokens.create(claim()).is_ok(), "what has expired makes room");
    }
}
