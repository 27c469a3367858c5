//! Events over HTTP: in by POST, out by push, and Kyma's routes.

mod accept;
mod acknowledge;
mod authenticate;
mod body;
mod channels;
pub mod config;
mod deliver;
pub mod guard;
mod kyma;
mod normalize;
mod publish;
mod routes;
mod sign;
mod uuid;

pub use accept::Server;
pub use acknowledge::Problem;
pub use authenticate::authenticate;
pub use config::{HttpConfig, PushConfig};
pub use deliver::{
    HttpSink, PushError, Wanted, certificates_of, check_auth, check_target, is_same_origin,
};
pub use guard::Guard;
pub use kyma::{Subscribed, connector, is_application};
pub use routes::{Ports, Routes};
pub use uuid::random_uuid;
