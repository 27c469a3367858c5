//! API keys and passwords: made once, shown once, revoked at once.
