//! What is read from a bus, as a principal: the application whose definition names the bus.

use std::sync::Arc;

use eg_event::Principal;
use eg_event::principal::Method;

/// The principal of what is read from a bus because a definition of `application` says so. It may
/// what the application may, and rules can tell it by its method.
#[must_use]
pub fn a_bus_of(application: &str) -> Arc<Principal> {
    #[expect(clippy::disallowed_methods, reason = "auth is where a principal is made")]
    let principal = Principal::vouch_for(application, Method::Bus, None);
    Arc::new(principal.for_application(application))
}
