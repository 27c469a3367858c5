//! Pages as Compass has them: a cursor is an offset.

use std::sync::Arc;

use async_graphql::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_event::InvalidInput;

use super::scalar::PageCursor;
use crate::admin::error::invalid;
use crate::admin::page;

/// What stands before the offset in a cursor.
const SURPRISE: &str = "DpKtJ4j9jDq";

/// A page of a list.
pub struct Page<T> {
    /// Its entries.
    pub data: Vec<T>,
    /// Where it lies.
    pub info: page::PageInfo,
    /// How many entries the list has.
    pub total_count: usize,
}

/// The page of `all` that is asked for.
pub fn cut<T, U>(
    all: Vec<Arc<T>>,
    first: Option<i32>,
    after: Option<&PageCursor>,
    show: impl Fn(Arc<T>) -> U,
) -> Result<Page<U>> {
    let size = page::size(first)?;
    let offset = after.map(offset).transpose()?.unwrap_or_default();
    let total_count = all.len();
    let data: Vec<U> = all.into_iter().skip(offset).take(size).map(show).collect();
    let end = offset.saturating_add(data.len());
    let has_next_page = end < total_count;
    let info = page::PageInfo {
        start_cursor: if offset == 0 { String::new() } else { cursor(offset) },
        end_cursor: if has_next_page { cursor(end) } else { String::new() },
        has_next_page,
    };
    Ok(Page { data, info, total_count })
}

fn cursor(offset: usize) -> String {
    BASE64.encode(format!("{SURPRISE}{offset}"))
}

fn offset(cursor: &PageCursor) -> Result<usize> {
    // The first page's own cursor is empty.
    if cursor.0.is_empty() {
        return Ok(0);
    }
    let text = BASE64.decode(&cursor.0).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let offset = text.and_then(|text| text.strip_prefix(SURPRISE)?.parse().ok());
    offset.ok_or_else(|| invalid(&InvalidInput::new("after", "expected the cursor of a page")))
}
