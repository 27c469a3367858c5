//! Facts about what is registered.
