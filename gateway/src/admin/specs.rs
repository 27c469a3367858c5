//! What is registered, as management clients see and change it: the names are Compass's, those of
//! the time of `EventAPIDefinition` and the later ones.

pub mod application;
pub mod changes;
pub mod definition;
pub mod error;
pub mod event_definition;
#[cfg(test)]
mod facts;
pub mod input;
pub mod page;
pub mod reading;
pub mod roots;
pub mod runtime;
pub mod scalar;

pub use changes::Feed;
pub use roots::{SpecsMutation, SpecsQuery};
