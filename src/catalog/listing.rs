//! One list of one upstream, all its pages together, as it was when it was read.

use super::entry::Entry;
use super::merge::Target;
use super::page::Page;
use crate::mcp::{ListKind, Revision};
use crate::wire::json::{self, Member, Object, Span};
use crate::wire::splice::Splice;
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Whom a list is shown to.
#[derive(Clone, Copy, Debug)]
pub struct Viewer {
    /// The revision that is spoken with it.
    pub revision: Revision,
    /// What clients get depends on who they are, so that nobody may cache it for another.
    pub personal: bool,
}

impl Viewer {
    /// One of whom only the revision matters.
    pub fn anyone(revision: Revision) -> Self {
        Self { revision, personal: false }
    }
}

/// What is left of a time to live, in milliseconds. An age counts in whole seconds, so that what
/// was only just read is shown as it is.
pub(super) fn left(ttl_ms: u64, age: Duration) -> u64 {
    ttl_ms.saturating_sub(age.as_secs().saturating_mul(1000))
}

/// A list, with nothing changed.
pub struct Listing {
    /// Which one.
    pub kind: ListKind,
    /// The entries, in their order; of several with one key the first.
    pub entries: Vec<Entry>,
    /// The raw result, if it came in one page.
    pub single: Option<Bytes>,
    /// The shortest time that a page may be cached, in milliseconds; `None` if one does not say.
    pub ttl_ms: Option<u64>,
    /// Whether any page may differ from client to client.
    pub private: bool,
    /// One result that holds all entries: the raw one if there was one page.
    pub(super) whole: Bytes,
    /// The members of `whole`.
    pub(super) object: Object,
    /// Every entry of `whole` in its order: later ones of a key as well.
    twins: Vec<Entry>,
    index: HashMap<String, usize>,
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listing({:?}, {} entries)", self.kind, self.entries.len())
    }
}

/// Equal when the upstream wrote the same.
impl PartialEq for Listing {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.whole == other.whole
    }
}

impl Listing {
    /// Puts the pages of one list together. Without any page it is empty.
    pub fn from_pages(kind: ListKind, pages: Vec<Page>) -> Self {
        let ttl_ms = pages.iter().map(|page| page.ttl_ms).min().flatten(); // `None` is the least
        let private = pages.is_empty() || pages.iter().any(|page| page.private);
        let is_one = pages.len() == 1;
        let mut pages = pages.into_iter();
        let first = pages.next().unwrap_or_else(|| no_page(kind));
        let mut entries = first.entries.clone();
        let (whole, object) = match is_one {
            true => (first.result, first.object),
            false => {
                entries.extend(pages.flat_map(|page| page.entries));
                join(kind, &first, &mut entries, ttl_ms, private)
            }
        };
        let single = is_one.then(|| whole.clone());
        let (mut index, mut twins) = (HashMap::with_capacity(entries.len()), Vec::new());
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            if index.contains_key(&entry.key) {
                twins.push(entry);
            } else {
                index.insert(entry.key.clone(), kept.len());
                kept.push(entry);
            }
        }
        let entries = kept;
        Self { kind, entries, single, ttl_ms, private, whole, object, twins, index }
    }

    /// The entry with this key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(*self.index.get(key)?)
    }

    /// Where a call of the tool with this name of the upstream's own goes; the upstream counts as
    /// the only one, with index 0.
    pub fn tool(&self, name: &str) -> Option<Target> {
        let entry = self.get(name).filter(|_| self.kind == ListKind::Tools)?;
        Some(entry.target(0))
    }

    /// How often a key came again in the list; what the first one was is kept.
    pub fn repeated(&self) -> usize {
        self.twins.len()
    }

    /// Everything in `whole`, by position.
    pub(super) fn elements(&self) -> Vec<&Entry> {
        let mut all: Vec<&Entry> = self.entries.iter().chain(&self.twins).collect();
        all.sort_by_key(|entry| entry.at.start);
        all
    }
}

fn no_page(kind: ListKind) -> Page {
    let result = Bytes::from(format!("{{\"{}\":[]}}", kind.member()));
    Page {
        entries: Vec::new(),
        next_cursor: None,
        ttl_ms: None,
        private: true,
        remarks: Vec::new(),
        object: Object::read(&result, Span::whole(&result)).unwrap_or_default(),
        array: Span { start: offset(kind.member().len() + 4), end: offset(result.len() - 1) },
        result,
    }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The first page's result with the entries of all pages, without a cursor; `entries` then lie in
/// it. How long and for whom it may be cached is what holds for every page.
fn join(
    kind: ListKind,
    first: &Page,
    entries: &mut Vec<Entry>,
    ttl_ms: Option<u64>,
    private: bool,
) -> (Bytes, Object) {
    let (result, object) = (&first.result, &first.object);
    let mut array = Vec::with_capacity(entries.iter().map(|entry| entry.raw.len() + 1).sum());
    array.push(b'[');
    let mut spans = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            array.push(b',');
        }
        let start = offset(array.len());
        array.extend_from_slice(&entry.raw);
        spans.push(Span { start, end: offset(array.len()) });
    }
    array.push(b']');
    let mut splice = Splice::new();
    splice.replace(first.array, &array);
    let is_cursor = |member: &Member| json::key_is(result, member.key, "nextCursor");
    let cursor = object.members.iter().position(is_cursor);
    splice.edit_members(object, cursor.as_slice(), &[]);
    if let Some(own) = object.value(result, "ttlMs") {
        // a page that does not say counts as stale at once (2026-07-28 server/utilities/caching)
        splice.replace(own.span, ttl_ms.unwrap_or_default().to_string().as_bytes());
    }
    if let (true, Some(own)) = (private, object.value(result, "cacheScope")) {
        splice.replace(own.span, b"\"private\"");
    }
    let whole = splice.apply(result);
    let object = Object::read(&whole, Span::whole(&whole)).unwrap_or_default();
    let start = object.value(&whole, kind.member()).map_or(0, |array| array.span.start);
    let moved = |(entry, span): (Entry, Span)| entry.moved(&whole, span.shifted(start));
    *entries = std::mem::take(entries).into_iter().zip(spans).map(moved).collect();
    (whole, object)
}

/// The lists of one upstream, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    tools: Option<Arc<Listing>>,
    prompts: Option<Arc<Listing>>,
    resources: Option<Arc<Listing>>,
    templates: Option<Arc<Listing>>,
}

impl Offer {
    /// One list; `None` if it is not known or there is none.
    pub fn get(&self, kind: ListKind) -> Option<&Arc<Listing>> {
        match kind {
            ListKind::Tools => self.tools.as_ref(),
            ListKind::Prompts => self.prompts.as_ref(),
            ListKind::Resources => self.resources.as_ref(),
            ListKind::Templates => self.templates.as_ref(),
        }
    }

    /// Puts a list in its place.
    pub fn set(&mut self, kind: ListKind, listing: Option<Arc<Listing>>) {
        *match kind {
            ListKind::Tools => &mut self.tools,
            ListKind::Prompts => &mut self.prompts,
            ListKind::Resources => &mut self.resources,
            ListKind::Templates => &mut self.templates,
        } = listing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jsonrpc::Message;

    fn page(result: &str) -> Page {
        let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{result}}}");
        match Message::parse(Bytes::from(text)) {
            Ok(Message::Response(response)) => {
                crate::catalog::page::read_page(ListKind::Tools, &response).expect("a page")
            }
            other => panic!("{other:?}"),
        }
    }

    fn listing(results: &[&str]) -> Listing {
        Listing::from_pages(ListKind::Tools, results.iter().map(|result| page(result)).collect())
    }

    #[test]
    fn the_first_of_a_name_is_the_one() {
        let list =
            listing(&[r#"{"tools":[{"name":"a","n":1},{"name":"b"},{"name":"\u0061","n":2}]}"#]);
        assert_eq!((list.entries.len(), list.repeated()), (2, 1));
        assert_eq!(list.get("a").map(|entry| &*entry.raw), Some(&br#"{"name":"a","n":1}"#[..]));
        assert_eq!(list.elements().len(), 3);
    }

    #[test]
    fn pages_are_joined_in_the_first_ones_result() {
        let list = listing(&[
            r#"{"nextCursor":"1","tools":[{"name":"a"} ],"ttlMs":9,"cacheScope":"public"}"#,
            r#"{"tools":[ ],"nextCursor":"2","ttlMs":8,"cacheScope":"public"}"#,
            r#"{"tools":[{"name":"b"}],"ttlMs":10,"cacheScope":"private","other":1}"#,
        ]);
        let whole = r#"{"tools":[{"name":"a"},{"name":"b"}],"ttlMs":8,"cacheScope":"private"}"#;
        assert_eq!(list.whole, whole);
        assert_eq!((list.single, list.ttl_ms, list.private), (None, Some(8), true));
        for entry in &list.entries {
            assert_eq!(entry.at.of(&list.whole), entry.raw);
            assert!(list.whole.as_ptr_range().contains(&entry.raw.as_ptr()), "pages are let go");
        }
        let list = listing(&[r#"{"tools":[],"ttlMs":1}"#, r#"{"tools":[]}"#]);
        assert_eq!(
            (list.ttl_ms, list.private, &*list.whole),
            (None, true, &br#"{"tools":[],"ttlMs":0}"#[..])
        );
    }

    #[test]
    fn a_list_without_pages_is_empty() {
        for kind in ListKind::ALL {
            let list = Listing::from_pages(kind, Vec::new());
            assert_eq!(list.whole, format!("{{\"{}\":[]}}", kind.member()));
            assert!(list.entries.is_empty() && list.single.is_none() && list.private);
        }
    }

    #[test]
    fn a_tool_is_called_as_its_upstream_wrote_it() {
        let list = listing(&[
            r#"{"tools":[{"name":"\u0061","inputSchema":{"properties":{"x":{"type":"string","x-mcp-header":"X"}}}}]}"#,
        ]);
        let target = list.tool("a").expect("a tool");
        assert_eq!((target.upstream, &*target.name), (0, &br#""\u0061""#[..]));
        assert!(target.headers.is_some());
        assert!(list.tool(r"\u0061").is_none());
        let prompts = Listing { kind: ListKind::Prompts, ..list };
        assert!(prompts.tool("a").is_none());
    }

    #[test]
    fn an_offer_keeps_each_list_in_its_place() {
        let mut offer = Offer::default();
        let list = Arc::new(listing(&[r#"{"tools":[]}"#]));
        for kind in ListKind::ALL {
            assert!(offer.get(kind).is_none());
            offer.set(kind, Some(Arc::clone(&list)));
            assert!(offer.get(kind).is_some());
        }
        offer.set(ListKind::Tools, None);
        let left = ListKind::ALL.map(|kind| offer.get(kind).is_some());
        assert_eq!(left, [false, true, true, true]);
    }
}
