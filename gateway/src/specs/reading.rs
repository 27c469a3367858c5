//! Reads AsyncAPI documents as they are registered.

use eg_spec::{Document, Fetched, Format, Invalid, Limits, Spec};

use super::definition::{SpecFormat, SpecText};

impl SpecText {
    /// The document; none if it is not there yet.
    ///
    /// # Errors
    /// Everything that is wrong with it, with line, column and JSON pointer.
    pub fn read(&self) -> Result<Option<Spec>, Invalid> {
        let Some(data) = &self.data else { return Ok(None) };
        let limits = Limits::default();
        let base = self.fetch_request.as_ref().map(|request| request.url.as_str());
        let document = Document::parse(data.as_bytes(), self.format.into(), base, &limits)?;
        let mut fetched = Fetched::default();
        for (url, text) in &self.references {
            fetched.insert(url, text.as_bytes(), Format::guess(text.as_bytes()), &limits)?;
        }
        Spec::read(&document, &fetched).map(Some)
    }

    /// How many bytes it has, with what it refers to.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let own = self.data.as_ref().map_or(0, String::len);
        own + self.references.values().map(String::len).sum::<usize>()
    }
}

impl From<SpecFormat> for Format {
    fn from(format: SpecFormat) -> Self {
        match format {
            SpecFormat::Yaml => Self::Yaml,
            SpecFormat::Json => Self::Json,
        }
    }
}

impl From<Format> for SpecFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Yaml => Self::Yaml,
            Format::Json => Self::Json,
        }
    }
}
