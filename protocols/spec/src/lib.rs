//! AsyncAPI 2.x and 3.x: documents with places, one model for both versions, channels that match
//! addresses, payloads that are checked. Nothing here does I/O: what a document refers to
//! elsewhere is listed, fetched by others and handed in.

mod address;
mod applied;
mod channels;
mod cloud_event;
mod document;
mod expected;
mod invalid;
mod json;
mod library;
mod limits;
mod model;
mod payload;
mod pointer;
mod read;
mod rules;
mod schema;
mod streamed;
mod structure;
mod text;
mod traits;
mod yaml;

pub use address::{AddressError, ChannelMatcher};
pub use channels::{ChannelIndex, Conflict, ConflictKind, Found};
pub use cloud_event::{CloudEventDeclaration, CloudEventMode};
pub use document::{Document, Fetched, RemoteReference, Version};
pub use invalid::{Invalid, SpecError};
pub use library::Location;
pub use limits::{Limits, NODE_BYTES};
pub use model::*;
pub use payload::{CompileError, PayloadSchema, Violation};
pub use pointer::Pointer;
pub use schema::{Schema, SchemaFormat};
pub use text::{Format, Position, Text};
