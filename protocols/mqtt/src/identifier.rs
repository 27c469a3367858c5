//! Identifiers that nobody else makes: for events without one, and for clients without one.

use std::sync::atomic::{AtomicU64, Ordering};

/// Makes identifiers from a random beginning, drawn at start, and a count.
#[derive(Debug)]
pub struct Identifiers {
    beginning: u64,
    count: AtomicU64,
}

impl Default for Identifiers {
    fn default() -> Self {
        Self { beginning: rand::random(), count: AtomicU64::new(1) }
    }
}

impl Identifiers {
    /// The next identifier: letters, digits and a dash.
    pub fn next(&self) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}-{count:x}", self.beginning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_differ() {
        let identifiers = Identifiers::default();
        assert_ne!(identifiers.next(), identifiers.next());
        assert_ne!(identifiers.next(), Identifiers::default().next());
    }
}
