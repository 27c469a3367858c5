//! The gateway as a principal of its own.

use std::sync::Arc;

use eg_event::Principal;
use eg_event::principal::Method;

/// The principal of what the gateway does by itself.
#[must_use]
pub fn the_gateway() -> Arc<Principal> {
    #[expect(clippy::disallowed_methods, reason = "auth is where a principal is made")]
    Arc::new(Principal::vouch_for("event-gateway", Method::System, None))
}
