//! What is registered: applications, the runtimes that consume their events, and the EventSpecs by
//! which events are known.

pub mod definition;
