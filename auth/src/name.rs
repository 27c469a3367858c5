//! What can be the name of a principal, an application or a role.

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// Whether `text` can be one: it has characters, not too many, and none that steers a log or a
/// header.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}
