//! What is registered: applications, the runtimes that consume their events, and the specs by which
//! events are known.

pub mod definition;
