//! Everything is put together here.
