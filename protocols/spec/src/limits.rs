//! What a document may cost.

/// The limits of one document, and of every document that it refers to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest text, in bytes.
    pub document_bytes_max: usize,
    /// How much a document may grow by YAML aliases: bytes of its scalars, and
    /// [`NODE_BYTES`] for each value.
    pub expanded_bytes_max: usize,
    /// How deep values may be nested.
    pub depth_max: usize,
    /// The most channels of one document.
    pub channels_max: usize,
    /// The most `$ref` of one document.
    pub references_max: usize,
    /// The most errors that are told at once.
    pub errors_max: usize,
}

/// What a value counts towards [`Limits::expanded_bytes_max`] besides its text.
pub const NODE_BYTES: usize = 32;

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_bytes_max: 1 << 20,
            expanded_bytes_max: 32 << 20,
            depth_max: 64,
            channels_max: 1000,
            references_max: 10_000,
            errors_max: 20,
        }
    }
}
