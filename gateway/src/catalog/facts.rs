//! Facts about what is shown to whom.
