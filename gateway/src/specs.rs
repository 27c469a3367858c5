//! What is registered: applications, the runtimes that consume their events, and the `EventSpecs`
//! by which events are known.
//!
//! [`registry`] is where changes come in; `draft` says what would hold after them, by `rules`;
//! `document` writes it down; [`reading`] and `fetch` bring in AsyncAPI documents; [`external`] says
//! what is pushed to whom because of it.

pub mod change;
pub mod definition;
mod document;
mod draft;
pub mod error;
pub mod external;
#[cfg(test)]
mod facts;
mod fetch;
pub mod reading;
pub mod registry;
pub(crate) mod rules;
pub mod snapshot;
