//! One page of a list, read from an upstream's response (MCP server/utilities/pagination).
//!
//! What is kept is a copy of the result, so that no read buffer stays alive. An entry that is no
//! entry (no object, no name, two names) is taken out of that copy: what cannot be told apart
//! cannot be routed or refused, so nobody sees it.

pub use super::entry::Entry;
use crate::mcp::ListKind;
use crate::wire::json::{JsonError, Kind, Object, Scanner, Span, Value};
use crate::wire::jsonrpc::Response;
use crate::wire::splice::{Splice, removals};
use bytes::Bytes;
use std::fmt;

/// Most entries of one page.
pub const MAX_PAGE_ENTRIES: usize = 20_000;

/// Most entries of one page whose faults are told one by one.
pub const MAX_REMARKS: usize = 8;

/// One page.
#[derive(Clone, Debug)]
pub struct Page {
    /// The entries, in their order.
    pub entries: Vec<Entry>,
    /// The raw JSON string that asks for the next page. Presence decides: `""` is one, `null` none.
    pub next_cursor: Option<Bytes>,
    /// How long it may be cached, in milliseconds, if it says so.
    pub ttl_ms: Option<u64>,
    /// Whether it may differ from client to client: all that does not say `public` may.
    pub private: bool,
    /// The raw result object, a copy of its own.
    pub result: Bytes,
    /// Why entries were left out, as lines for the log.
    pub remarks: Vec<String>,
    /// The members of `result`.
    pub(super) object: Object,
    /// Where the array of entries stands in `result`.
    pub(super) array: Span,
}

/// Why a response is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageError {
    /// It is an error.
    NotAResult,
    /// It is a result of another kind than a complete one.
    NotComplete,
    /// The member that holds the entries is missing, or no array.
    NoEntries(&'static str),
    /// A member that says what the page is occurs twice.
    Twice(&'static str),
    /// `nextCursor` is neither a text nor `null`.
    BadCursor,
    /// More than [`MAX_PAGE_ENTRIES`].
    TooMany,
    /// The result cannot be read.
    Json(JsonError),
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAResult => write!(f, "expected a page of a list, got an error"),
            Self::NotComplete => write!(f, "expected a complete result, got another resultType"),
            Self::NoEntries(key) => write!(f, "expected {key} to be an array"),
            Self::Twice(key) => write!(f, "the member {key} occurs twice in the page"),
            Self::BadCursor => write!(f, "expected nextCursor to be a string"),
            Self::TooMany => write!(f, "more than {MAX_PAGE_ENTRIES} entries in one page"),
            Self::Json(error) => write!(f, "unreadable page: {error}"),
        }
    }
}

impl std::error::Error for PageError {}

impl From<JsonError> for PageError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

/// Reads one page.
///
/// # Errors
/// See [`PageError`]; a faulty entry is none, but a remark.
pub fn read_page(kind: ListKind, response: &Response) -> Result<Page, PageError> {
    let object = response.result().ok_or(PageError::NotAResult)?;
    let result = Bytes::copy_from_slice(object.span.of(&response.bytes));
    let (page, faulty) = read_result(kind, result)?;
    if faulty.is_empty() {
        return Ok(page);
    }
    let mut splice = Splice::new();
    faulty.into_iter().for_each(|span| splice.remove(span));
    let remarks = page.remarks;
    let (page, _) = read_result(kind, splice.apply(&page.result))?;
    Ok(Page { remarks, ..page })
}

/// Reads a result, and where it has to be mended first.
fn read_result(kind: ListKind, result: Bytes) -> Result<(Page, Vec<Span>), PageError> {
    let object = Object::read(&result, Span::whole(&result))?;
    for key in [kind.member(), "nextCursor", "ttlMs", "cacheScope", "resultType"] {
        if object.all(&result, key).nth(1).is_some() {
            return Err(PageError::Twice(key));
        }
    }
    if object.value(&result, "resultType").is_some()
        && object.text(&result, "resultType").as_deref() != Some("complete")
    {
        return Err(PageError::NotComplete);
    }
    let array = object.value(&result, kind.member()).filter(|value| value.kind == Kind::Array);
    let array = array.ok_or(PageError::NoEntries(kind.member()))?.span;
    let mut entries = Vec::new();
    let (items, mut faults) = (elements(&result, array)?, Faults::default());
    for (index, item) in items.iter().enumerate() {
        match Entry::read(kind, &result, *item) {
            Ok(entry) => entries.push(entry),
            Err(error) => faults.add(index, format!("{}[{index}]: {error}", kind.member())),
        }
    }
    let spans: Vec<Span> = items.iter().map(|item| item.span).collect();
    let faulty = removals(&spans, |index| faults.at.binary_search(&index).is_err());
    let page = Page {
        entries,
        next_cursor: next_cursor(&result, &object)?,
        ttl_ms: ttl_ms(&result, &object),
        private: object.text(&result, "cacheScope").as_deref() != Some("public"),
        remarks: faults.remarks(),
        result,
        object,
        array,
    };
    Ok((page, faulty))
}

/// The elements of an array, so many and no more.
pub(super) fn elements(bytes: &[u8], array: Span) -> Result<Vec<Value>, PageError> {
    let mut found = Vec::new();
    let mut scanner = Scanner::at(bytes, array)?;
    let walked = scanner.array(|scanner| {
        if found.len() == MAX_PAGE_ENTRIES {
            return Err(JsonError::TooManyMembers);
        }
        found.push(scanner.value()?);
        Ok(())
    });
    match walked {
        Err(JsonError::TooManyMembers) => Err(PageError::TooMany),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(found),
    }
}

fn next_cursor(result: &[u8], object: &Object) -> Result<Option<Bytes>, PageError> {
    match object.value(result, "nextCursor") {
        Some(value) if value.kind == Kind::String => {
            Ok(Some(Bytes::copy_from_slice(value.span.of(result))))
        }
        Some(value) if value.kind != Kind::Null => Err(PageError::BadCursor),
        _ => Ok(None),
    }
}

fn ttl_ms(result: &[u8], object: &Object) -> Option<u64> {
    u64::try_from(object.value(result, "ttlMs")?.integer(result)?).ok()
}

/// The entries that are left out, and what is said of them.
#[derive(Default)]
struct Faults {
    /// Their indices, rising.
    at: Vec<usize>,
    told: Vec<String>,
}

impl Faults {
    fn add(&mut self, index: usize, remark: String) {
        self.at.push(index);
        if self.told.len() < MAX_REMARKS {
            self.told.push(remark);
        }
    }

    fn remarks(mut self) -> Vec<String> {
        let more = self.at.len().saturating_sub(self.told.len());
        if more > 0 {
            self.told.push(format!("{more} more entries cannot be read"));
        }
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jsonrpc::Message;

    fn response(outcome: &str) -> Response {
        let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,{outcome}}}");
        match Message::parse(Bytes::from(text)) {
            Ok(Message::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    fn read(kind: ListKind, result: &str) -> Result<Page, PageError> {
        read_page(kind, &response(&format!("\"result\":{result}")))
    }

    fn keys(page: &Page) -> Vec<&str> {
        page.entries.iter().map(|entry| entry.key.as_str()).collect()
    }

    #[test]
    fn a_page_is_a_copy_and_its_entries_lie_in_it() {
        let text = r#"{ "tools":[ {"x":1,"name":"\u0061"} ],"ttlMs":7,"cacheScope":"public"}"#;
        let response = response(&format!("\"result\":{text}"));
        let page = read_page(ListKind::Tools, &response).expect("a page");
        assert_eq!((&*page.result, keys(&page)), (text.as_bytes(), vec!["a"]));
        assert_eq!((page.ttl_ms, page.private, page.next_cursor), (Some(7), false, None));
        let entry = &page.entries[0];
        assert_eq!(entry.raw, r#"{"x":1,"name":"\u0061"}"#);
        assert_eq!(entry.key_span.of(&entry.raw), br#""\u0061""#);
        let theirs = response.bytes.as_ptr_range();
        assert!(!theirs.contains(&page.result.as_ptr()), "no read buffer is kept");
        assert!(page.result.as_ptr_range().contains(&entry.raw.as_ptr()), "one copy is enough");
    }

    #[test]
    fn each_list_has_its_member_and_its_key() {
        for (kind, result) in [
            (ListKind::Prompts, r#"{"prompts":[{"name":"k"}]}"#),
            (ListKind::Resources, r#"{"resources":[{"name":"n","uri":"k"}]}"#),
            (ListKind::Templates, r#"{"resourceTemplates":[{"uriTemplate":"k","name":"n"}]}"#),
        ] {
            assert_eq!(keys(&read(kind, result).expect("a page")), ["k"]);
            assert_eq!(read(ListKind::Tools, result).err(), Some(PageError::NoEntries("tools")));
        }
    }

    #[test]
    fn what_does_not_say_so_is_neither_cacheable_nor_public() {
        for (members, ttl_ms, private) in [
            ("", None, true),
            (r#","ttlMs":0,"cacheScope":"public""#, Some(0), false),
            (r#","ttlMs":-1,"cacheScope":"Public""#, None, true),
            (r#","ttlMs":"5","cacheScope":null"#, None, true),
            (r#","ttlMs":18446744073709551616,"cacheScope":"private""#, None, true),
        ] {
            let page =
                read(ListKind::Tools, &format!(r#"{{"tools":[]{members}}}"#)).expect("a page");
            assert_eq!((page.ttl_ms, page.private), (ttl_ms, private), "{members}");
        }
    }

    #[test]
    fn the_presence_of_a_cursor_decides() {
        for (cursor, want) in
            [(r#""""#, Some(r#""""#)), (r#""\u0061""#, Some(r#""\u0061""#)), ("null", None)]
        {
            let result = format!(r#"{{"tools":[],"nextCursor":{cursor}}}"#);
            let page = read(ListKind::Tools, &result).expect("a page");
            assert_eq!(page.next_cursor.as_deref(), want.map(str::as_bytes));
        }
        let number = read(ListKind::Tools, r#"{"tools":[],"nextCursor":1}"#);
        assert_eq!(number.err(), Some(PageError::BadCursor));
    }

    #[test]
    fn what_is_no_page() {
        let error = response(r#""error":{"code":-32601,"message":"no"}"#);
        assert_eq!(read_page(ListKind::Tools, &error).err(), Some(PageError::NotAResult));
        let many = format!(r#"{{"tools":[{}]}}"#, ["0"; MAX_PAGE_ENTRIES + 1].join(","));
        for (result, want) in [
            ("{}", PageError::NoEntries("tools")),
            (r#"{"tools":{}}"#, PageError::NoEntries("tools")),
            (r#"{"tools":[],"tools":[]}"#, PageError::Twice("tools")),
            (r#"{"tools":[],"ttlMs":1,"ttl\u004ds":2}"#, PageError::Twice("ttlMs")),
            (r#"{"tools":[],"resultType":"input_required"}"#, PageError::NotComplete),
            (r#"{"tools":[],"resultType":7}"#, PageError::NotComplete),
            (&many, PageError::TooMany),
        ] {
            assert_eq!(read(ListKind::Tools, result).err(), Some(want), "{result:.60}");
        }
        assert!(
            read(ListKind::Tools, r#"{"tools":[],"resultType":"complete","a":1,"a":2}"#).is_ok()
        );
    }

    #[test]
    fn an_entry_that_cannot_be_told_is_shown_to_nobody() {
        let text = r#"{"tools":[ 7, {"name":"a"} ,{"name":"x","n\u0061me":"y"}, {"name":"\ud800"},{"name":"b"},{}],"z":1}"#;
        let page = read(ListKind::Tools, text).expect("a page");
        assert_eq!(keys(&page), ["a", "b"]);
        assert_eq!(page.result, r#"{"tools":[ {"name":"a"} ,{"name":"b"}],"z":1}"#);
        assert!(page.entries.iter().all(|entry| entry.at.of(&page.result) == entry.raw));
        assert_eq!(
            page.remarks,
            [
                "tools[0]: it is not an object",
                "tools[2]: its member name occurs twice",
                "tools[3]: it has no name that is a text",
                "tools[5]: it has no name that is a text",
            ]
        );
        let many = format!(r#"{{"tools":[{}]}}"#, ["{}"; MAX_REMARKS + 3].join(","));
        let remarks = read(ListKind::Tools, &many).expect("a page").remarks;
        assert_eq!(remarks.len(), MAX_REMARKS + 1);
        assert_eq!(remarks.last().map(String::as_str), Some("3 more entries cannot be read"));
    }
}
