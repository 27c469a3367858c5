//! Pages of long lists.

use async_graphql::{Context, OutputType, Result, SimpleObject};

use super::error::{Code, coded};

/// The most entries of a page.
pub const PAGE_MAX: usize = 1000;
/// How many entries a page has when nobody says.
pub const PAGE_DEFAULT: usize = 100;

/// Where a page lies in its list.
#[derive(Clone, Debug, SimpleObject)]
pub struct PageInfo {
    /// The cursor of the first entry; empty when there is none.
    pub start_cursor: String,
    /// The cursor of the last entry, which the next page comes after; empty when there is none.
    pub end_cursor: String,
    /// Whether there are more.
    pub has_next_page: bool,
}

/// How many entries a page may have.
pub fn size(first: Option<i32>) -> Result<usize> {
    let Some(first) = first else { return Ok(PAGE_DEFAULT) };
    let size = usize::try_from(first).ok().filter(|size| (1..=PAGE_MAX).contains(size));
    size.ok_or_else(|| {
        coded(
            Code::InvalidData,
            &format!("first: expected a number from 1 to {PAGE_MAX}, found {first}"),
        )
    })
}

/// What a page within each entry of another one costs: what is selected in it, as often as it may
/// have entries.
#[must_use]
pub fn nested_cost(first: Option<i32>, selected: usize) -> usize {
    size(first).unwrap_or(PAGE_MAX).saturating_mul(selected)
}

/// Whether somebody wants to know how many entries there are in all, which takes a look at each.
#[must_use]
pub fn is_counted(context: &Context<'_>) -> bool {
    context.look_ahead().field("totalCount").exists()
}

/// The entries of a page, of which one more than its size was read to see whether there are more.
pub fn cut<T: OutputType>(
    mut entries: Vec<T>,
    size: usize,
    cursor: impl Fn(&T) -> String,
) -> (Vec<T>, PageInfo) {
    let has_next_page = entries.len() > size;
    entries.truncate(size);
    let info = PageInfo {
        start_cursor: entries.first().map(&cursor).unwrap_or_default(),
        end_cursor: entries.last().map(&cursor).unwrap_or_default(),
        has_next_page,
    };
    (entries, info)
}
