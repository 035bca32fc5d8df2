//! Reading the lists of an upstream to their end, guarded against lists that have none.

use crate::bridge::initialize;
use crate::catalog::listing::Listing;
use crate::catalog::page::{self, Page};
use crate::mcp::ListKind;
use crate::upstream::{CallError, Link};
use bytes::Bytes;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

/// Most entries of one list that are kept.
pub const MAX_ENTRIES: usize = 20_000;

/// Most bytes of one list, all pages together.
pub const MAX_BYTES: usize = 64 << 20;

/// Why a list could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListError {
    /// The request failed.
    Call(CallError),
    /// The upstream answered with an error; its code and text.
    Refused(i64, String),
    /// A page is not what the specification says.
    BadPage(String),
    /// The list does not end: a cursor came twice, or there is too much of it.
    Endless(&'static str),
    /// A page did not come within the bound.
    TimedOut(Duration),
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => write!(f, "{error}"),
            Self::Refused(code, text) => write!(f, "refused with {code}: {text}"),
            Self::BadPage(why) => f.write_str(why),
            Self::Endless(why) => write!(f, "the list does not end: {why}"),
            Self::TimedOut(bound) => write!(f, "no page within {} ms", bound.as_millis()),
        }
    }
}

impl std::error::Error for ListError {}

/// Reads all pages of a list, at most `most`; each page may take `bound`. Reasons for entries that
/// were left out are appended to `remarks`.
pub async fn fetch(
    link: &Link,
    kind: ListKind,
    bound: Duration,
    most: usize,
    remarks: &mut Vec<String>,
) -> Result<Listing, ListError> {
    let mut pages: Vec<Page> = Vec::new();
    let mut seen: HashSet<Bytes> = HashSet::new();
    let mut cursor: Option<Bytes> = None;
    let (mut entries, mut bytes) = (0, 0);
    loop {
        let mut page = fetch_page(link, kind, cursor.as_ref(), bound).await?;
        remarks.append(&mut page.remarks);
        entries += page.entries.len();
        cursor = page.next_cursor.take();
        pages.push(page);
        let Some(next) = &cursor else { return Ok(Listing::from_pages(kind, pages)) };
        if !seen.insert(next.clone()) {
            return Err(ListError::Endless("a cursor came twice"));
        }
        bytes += pages.last().map_or(0, |page| page.result.len());
        if bytes > MAX_BYTES {
            return Err(ListError::Endless("it is larger than 64 MiB"));
        }
        if pages.len() >= most || entries > MAX_ENTRIES {
            return Err(ListError::Endless("it has too many pages or entries"));
        }
    }
}

async fn fetch_page(
    link: &Link,
    kind: ListKind,
    cursor: Option<&Bytes>,
    bound: Duration,
) -> Result<Page, ListError> {
    let method = kind.method().name();
    let revision = link.peer.revision;
    let ask = link.ask(method, |id| initialize::list_request(id, revision, kind, cursor));
    let response = match tokio::time::timeout(bound, ask).await {
        Ok(response) => response.map_err(ListError::Call)?,
        Err(_) => return Err(ListError::TimedOut(bound)),
    };
    if let Some(code) = response.error_code() {
        let text = response.error_message().unwrap_or_default();
        return Err(ListError::Refused(code, crate::base::label::Label::new(&text).to_string()));
    }
    page::read_page(kind, &response).map_err(|e| ListError::BadPage(e.to_string()))
}
