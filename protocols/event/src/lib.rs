//! The words that every part of the gateway speaks: what an event is, who sent it, what became of
//! it. Nothing in this crate reads or writes anything outside its arguments.

pub mod attribute;
pub mod authcontext;
pub mod cesql;
pub mod channel;
pub mod clock;
pub mod data;
pub mod delivery;
pub mod deprecation;
pub mod event;
pub mod feed;
pub mod filter;
pub mod header;
pub mod ingest;
pub mod json;
pub mod outbound;
pub mod principal;
pub mod receipt;
pub mod refusal;
pub mod retained;
pub mod submission;
pub mod subscription;
pub mod tenant;
pub mod trace;
pub mod turn;
pub mod will;

pub use attribute::{AttributeName, AttributeValue, InvalidAttribute};
pub use channel::{ChannelEvent, ChannelMessage, Channels, Declaration, NoChannels, RawPayload};
pub use clock::{Clock, Timestamp};
pub use data::Data;
pub use delivery::{Delivery, Outcome, Sink};
pub use deprecation::Deprecation;
pub use event::{CloudEvent, EventBuilder};
pub use feed::{
    Feed, Grants, Scanned, SessionChanges, SessionRow, SessionRows, SessionStore, Topic, Topics,
};
pub use filter::Filter;
pub use ingest::{Announce, Handshakes, Ingest, Ingested, KeptSession, Owner};
pub use principal::{CredentialId, Principal};
pub use receipt::{Receipt, Sequence, Status};
pub use refusal::{InvalidInput, Refusal};
pub use retained::{RetainedChanges, RetainedStore};
pub use submission::{
    Binding, Handshake, Hold, Message, Origin, Protocol, StoredEvent, Submission,
};
pub use subscription::Subscription;
pub use tenant::{NoTenants, Quantity, Tenant, Tenants};
pub use trace::TraceContext;
pub use turn::Turn;
pub use will::{KeptWill, WillStore};
