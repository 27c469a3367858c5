//! Brings in documents and what they refer to, before anything is changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use eg_event::Clock;
use eg_event::outbound::Auth;
use eg_http::{HttpSink, Wanted, is_same_origin};
use eg_spec::{Document, Fetched, Format, Limits, Spec};

use tokio::sync::Semaphore;

use super::change::{FetchInput, SpecInput};
use super::definition::{FetchCondition, FetchMode, FetchRequest, FetchStatus, SpecText};
use super::error::SpecsError;
use super::rules::kept_auth;

/// How long fetching one document may take.
const FETCH_TIME_MAX: Duration = Duration::from_secs(10);
/// How long everything that a document refers to may take.
const WHOLE_TIME_MAX: Duration = Duration::from_secs(15);
/// How many documents are fetched at once; further ones wait.
const FETCHES_MAX: usize = 8;
/// The most documents that one refers to, directly or not.
const REFERENCES_MAX: usize = 32;
/// How large they may be together, in bytes.
const REFERENCES_BYTES_MAX: usize = 4 << 20;

/// Fetches documents.
pub(super) struct Fetcher {
    http: Arc<HttpSink>,
    clock: Clock,
    places: Semaphore,
}

/// A text that was brought in, and what it says.
pub(super) struct Brought {
    pub(super) text: SpecText,
    /// None while the document is not there.
    pub(super) spec: Option<Arc<Spec>>,
}

/// Why a document is not there.
enum Missing {
    Invalid(eg_spec::Invalid),
    Unfetched(String),
}

impl Missing {
    fn into_message(self) -> String {
        match self {
            Self::Invalid(invalid) => invalid.to_string(),
            Self::Unfetched(why) => why,
        }
    }
}

impl Fetcher {
    pub(super) fn new(http: Arc<HttpSink>, clock: Clock) -> Self {
        Self { http, clock, places: Semaphore::new(FETCHES_MAX) }
    }

    /// What an input brings; `old` is what an update replaces.
    pub(super) async fn bring(
        &self,
        input: &SpecInput,
        old: Option<&SpecText>,
    ) -> Result<Brought, SpecsError> {
        match (&input.data, &input.fetch) {
            (_, Some(fetch)) => self.bring_fetched(input, fetch, old).await,
            (data, None) => {
                let data = data.clone().unwrap_or_default();
                let format = input.format.unwrap_or_else(|| Format::guess(data.as_bytes()).into());
                let text = SpecText {
                    data: Some(data),
                    format,
                    fetch_request: None,
                    references: BTreeMap::new(),
                };
                let (text, spec) = self.complete(text).await.map_err(|missing| match missing {
                    Missing::Invalid(invalid) => SpecsError::Document(invalid),
                    Missing::Unfetched(why) => SpecsError::Reference(why),
                })?;
                Ok(Brought { text, spec: Some(Arc::new(spec)) })
            }
        }
    }

    async fn bring_fetched(
        &self,
        input: &SpecInput,
        fetch: &FetchInput,
        old: Option<&SpecText>,
    ) -> Result<Brought, SpecsError> {
        let known = old.and_then(|old| old.fetch_request.as_ref());
        let known_auth = known.map(|known| (known.url.as_str(), known.auth.as_ref()));
        let auth = kept_auth("spec.fetchRequest.auth", &fetch.auth, known_auth, &fetch.url)?;
        let kept = old.filter(|_| known.is_some_and(|known| known.url == fetch.url));
        let request = FetchRequest {
            url: fetch.url.clone(),
            auth,
            mode: fetch.mode,
            filter: fetch.filter.clone(),
            status: self.status(FetchCondition::Initial, None),
        };
        let format = input.format.or_else(|| kept.map(|kept| kept.format));
        let format = format.unwrap_or(super::definition::SpecFormat::Yaml);
        let text = SpecText {
            data: kept.and_then(|kept| kept.data.clone()),
            format,
            fetch_request: Some(request),
            references: kept.map(|kept| kept.references.clone()).unwrap_or_default(),
        };
        Ok(self.fetch(text, input.format.is_none()).await)
    }

    /// Fetches a document that is there already, maybe, again. What fails leaves it as it was.
    pub(super) async fn fetch_again(&self, text: &SpecText) -> Brought {
        self.fetch(text.clone(), true).await
    }

    async fn fetch(&self, mut text: SpecText, guess: bool) -> Brought {
        let Some(mut request) = text.fetch_request.take() else {
            return Brought { text, spec: None };
        };
        let unsupported = match (request.mode, &request.filter) {
            (FetchMode::Single, None) => None,
            (FetchMode::Single, Some(_)) => Some("filter: currently unsupported"),
            (FetchMode::Package, _) => Some("mode PACKAGE: currently unsupported"),
            (FetchMode::Index, _) => Some("mode INDEX: currently unsupported"),
        };
        let wrong = if let Some(why) = unsupported {
            (FetchCondition::Initial, why.to_owned())
        } else {
            match self.fetch_whole(&text, &request, guess).await {
                Ok((mut text, spec)) => {
                    request.status = self.status(FetchCondition::Succeeded, None);
                    text.fetch_request = Some(request);
                    return Brought { text, spec: Some(Arc::new(spec)) };
                }
                Err(missing) => (FetchCondition::Failed, missing.into_message()),
            }
        };
        request.status = self.status(wrong.0, Some(wrong.1));
        text.fetch_request = Some(request);
        // What was there is read again for what follows from it.
        let (text, spec) = parsed(text).await;
        Brought { text, spec: spec.ok().flatten().map(Arc::new) }
    }

    async fn fetch_whole(
        &self,
        text: &SpecText,
        request: &FetchRequest,
        guess: bool,
    ) -> Result<(SpecText, Spec), Missing> {
        let bytes_max = Limits::default().document_bytes_max;
        let fetched = self.fetch_text(&request.url, request.auth.as_ref(), bytes_max).await;
        let data = fetched.map_err(Missing::Unfetched)?;
        let format = if guess { Format::guess(data.as_bytes()).into() } else { text.format };
        let fetch_request = Some(request.clone());
        let references = BTreeMap::new();
        self.complete(SpecText { data: Some(data), format, fetch_request, references }).await
    }

    /// Fetches what a document refers to, and reads all of it.
    async fn complete(&self, text: SpecText) -> Result<(SpecText, Spec), Missing> {
        let completed = tokio::time::timeout(WHOLE_TIME_MAX, self.complete_slowly(text)).await;
        let seconds = WHOLE_TIME_MAX.as_secs();
        let late = format!("what the document refers to was not there within {seconds} s");
        completed.unwrap_or(Err(Missing::Unfetched(late)))
    }

    async fn complete_slowly(&self, mut text: SpecText) -> Result<(SpecText, Spec), Missing> {
        let home = text.fetch_request.as_ref().map(|request| request.url.parse::<Uri>());
        let home = home.and_then(Result::ok);
        let auth = text.fetch_request.as_ref().and_then(|request| request.auth.clone());
        loop {
            let missing = unfetched(text.clone()).await.map_err(Missing::Invalid)?;
            if missing.is_empty() {
                break;
            }
            if text.references.len() + missing.len() > REFERENCES_MAX {
                let what = format!("it refers to more than {REFERENCES_MAX} other documents");
                return Err(Missing::Unfetched(what));
            }
            for (url, place) in missing {
                let to = url.parse::<Uri>().ok();
                let is_home =
                    home.as_ref().zip(to).is_some_and(|(home, to)| is_same_origin(home, &to));
                let left = REFERENCES_BYTES_MAX.saturating_sub(text.bytes());
                let auth = auth.as_ref().filter(|_| is_home);
                let bytes_max = left.min(Limits::default().document_bytes_max);
                let fetched = self.fetch_text(&url, auth, bytes_max).await;
                let fetched = fetched.map_err(|why| {
                    Missing::Unfetched(format!("{place}: {url} could not be fetched: {why}"))
                })?;
                text.references.insert(url, fetched);
            }
        }
        let (text, spec) = parsed(text).await;
        let gone = || Missing::Unfetched("the document could not be read".to_owned());
        spec.map_err(Missing::Invalid)?.map(|spec| (text, spec)).ok_or_else(gone)
    }

    async fn fetch_text(
        &self,
        url: &str,
        auth: Option<&Arc<Auth>>,
        bytes_max: usize,
    ) -> Result<String, String> {
        let _place = self.places.acquire().await.map_err(|_| "the gateway stops")?;
        let wanted = Wanted { url, auth, bytes_max, time_max: FETCH_TIME_MAX };
        let bytes = self.http.fetch(wanted).await?;
        String::from_utf8(bytes.into()).map_err(|_| "expected text in UTF-8".to_owned())
    }

    fn status(&self, condition: FetchCondition, message: Option<String>) -> FetchStatus {
        FetchStatus { condition, message, timestamp: self.clock.now() }
    }
}

/// What a document refers to that is not there, with the place that refers to it.
async fn unfetched(text: SpecText) -> Result<Vec<(String, String)>, eg_spec::Invalid> {
    let look = move || {
        let limits = Limits::default();
        let data = text.data.as_deref().unwrap_or_default();
        let base = text.fetch_request.as_ref().map(|request| request.url.as_str());
        let document = Document::parse(data.as_bytes(), text.format.into(), base, &limits)?;
        let mut fetched = Fetched::default();
        for (url, text) in &text.references {
            fetched.insert(url, text.as_bytes(), Format::guess(text.as_bytes()), &limits)?;
        }
        let missing = document.unfetched(&fetched).into_iter().map(|reference| {
            let position = reference.position;
            let document = reference.document.map_or_else(String::new, |url| format!("{url} "));
            let (line, column) = (position.line, position.column);
            let pointer = reference.pointer;
            let place = format!("{document}line {line} column {column} at \"{pointer}\"");
            (reference.url, place)
        });
        Ok(missing.collect())
    };
    // Documents may be large: reading them is not for the threads that serve.
    tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| Ok(Vec::new()))
}

async fn parsed(text: SpecText) -> (SpecText, Result<Option<Spec>, eg_spec::Invalid>) {
    let kept = text.clone();
    let read = move || {
        let spec = text.read();
        (text, spec)
    };
    tokio::task::spawn_blocking(read).await.unwrap_or((kept, Ok(None)))
}
