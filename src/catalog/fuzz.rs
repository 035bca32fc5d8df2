//! What must hold for any list and any schema at all, for the fuzzer and for `cargo test`. Not part
//! of the library's interface.

use super::annotation;
use super::entry::{Entry, Provenance};
use super::listing::{Listing, Offer, Viewer};
use super::merge::{Catalog, Source};
use super::page::{MAX_REMARKS, Page, read_page};
use super::param_header::{InvalidAnnotation, ParamHeaders, strip_invalid};
use super::single::render_single;
use crate::mcp::{Era, ListKind, Revision};
use crate::wire::header;
use crate::wire::json::{self, Kind, Object, Span};
use crate::wire::jsonrpc::{Message, Response};
use crate::wire::splice::Splice;
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

const LEGACY: Provenance = Provenance { revision: Revision::LATEST_LEGACY, mirrors: false };
const LINES: Provenance = Provenance { revision: Revision::MODERN, mirrors: false };
const HTTP: Provenance = Provenance { revision: Revision::MODERN, mirrors: true };
const CLIENTS: [Revision; 3] = [Revision::V2024_11_05, Revision::LATEST_LEGACY, Revision::MODERN];

/// Lists, from `kind` and raw results, one a line: whatever upstreams write, clients get lists that
/// are JSON, hold what is routed, and lose nothing else.
///
/// # Panics
/// If a property fails.
pub fn page(data: &[u8]) {
    let Some((first, results)) = data.split_first() else { return };
    let Some(kind) = ListKind::ALL.get(usize::from(first % 4)).copied() else { return };
    let results = results.split(|byte| *byte == b'\n');
    let pages: Vec<Page> = results.filter_map(|result| read(kind, result)).collect();
    for page in &pages {
        assert!(page.remarks.len() <= MAX_REMARKS + 1);
        assert!(!page.remarks.iter().any(|remark| remark.contains('\n')));
    }
    let count: usize = pages.iter().map(|page| page.entries.len()).sum();
    let listing = Arc::new(Listing::from_pages(kind, pages));
    assert_eq!(listing.entries.len() + listing.repeated(), count, "nothing is lost");
    for entry in &listing.entries {
        assert_eq!(json::decode_string(entry.key_span.of(&entry.raw)).as_deref(), Ok(&*entry.key));
        assert!(json::check(&entry.raw).is_ok_and(|value| value.kind == Kind::Object));
    }
    for source in [LEGACY, LINES, HTTP] {
        for client in CLIENTS {
            alone(&listing, source, client);
            merged(&listing, source, client);
        }
    }
}

fn response(result: &[u8]) -> Option<Response> {
    let parts = [b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":", result, b"}"];
    match Message::parse(Bytes::from(parts.concat())) {
        Ok(Message::Response(response)) => Some(response),
        _ => None,
    }
}

fn read(kind: ListKind, result: &[u8]) -> Option<Page> {
    read_page(kind, &response(result)?).ok()
}

/// A list of ours as a client reads it.
fn read_ours(kind: ListKind, result: &[u8]) -> Page {
    let page = read(kind, result).expect("what we write is a list");
    assert!(page.remarks.is_empty(), "{:?}", page.remarks);
    page
}

/// The list of an upstream alone, for everybody and where policy has its say.
fn alone(listing: &Listing, source: Provenance, client: Revision) {
    let odd = |name: &str| name.len() % 2 == 1;
    for allows in [&|_: &str| true, &odd as &dyn Fn(&str) -> bool] {
        for personal in [false, true] {
            let viewer = Viewer { revision: client, personal };
            let out = render_single(listing, source, viewer, Duration::ZERO, allows);
            let page = read_ours(listing.kind, &out);
            assert!(
                client.era() == Era::Legacy || page.private || !personal,
                "personal is private"
            );
            alone_shows(listing, &page, source, client, allows);
        }
    }
    if source.revision == client && client.era() == Era::Legacy {
        let viewer = Viewer::anyone(client);
        let out = render_single(listing, source, viewer, Duration::MAX, &|_| true);
        assert!(listing.single.as_ref().is_none_or(|own| *own == out), "as it came");
    }
}

fn alone_shows(
    listing: &Listing,
    page: &Page,
    source: Provenance,
    client: Revision,
    allows: &dyn Fn(&str) -> bool,
) {
    let is_modern = client.era() == Era::Modern;
    let is_allowed = |entry: &Entry| listing.kind != ListKind::Tools || allows(&entry.key);
    let is_valid = |entry: &Entry| !is_modern || entry.fault(HTTP).is_none();
    assert!(page.entries.iter().all(|entry| is_allowed(entry) && is_valid(entry)));
    let shown: HashSet<&str> = page.entries.iter().map(|entry| entry.key.as_str()).collect();
    for entry in &listing.entries {
        let hidden = entry.fault(source).is_some() || !entry.is_callable(source, client);
        let twin = listing.repeated() > 0; // a later one of the key may be shown in its place
        let shown = shown.contains(entry.key.as_str());
        assert!(twin || shown == (is_allowed(entry) && !hidden), "{entry:?}");
    }
}

fn merged(listing: &Arc<Listing>, from: Provenance, client: Revision) {
    let mut offer = Offer::default();
    offer.set(listing.kind, Some(Arc::clone(listing)));
    let source = |slug| Source {
        slug,
        from,
        offer: &offer,
        enabled_tools: None,
        disabled_tools: &[],
        is_current: true,
    };
    let catalog = Catalog::merge(&[source("a"), source("b")], "__");
    assert!(!catalog.differs(&catalog, listing.kind));
    let page = read_ours(
        listing.kind,
        &catalog.render(listing.kind, Viewer::anyone(client), &|_| Duration::ZERO),
    );
    let mut seen = HashSet::new();
    for entry in &page.entries {
        assert!(seen.insert(entry.key.clone()), "one name, one entry");
        assert!(client.era() == Era::Legacy || entry.fault(HTTP).is_none());
        let own = match listing.kind {
            ListKind::Tools => catalog.tool(&entry.key).map(|target| target.name.clone()),
            ListKind::Prompts => catalog.prompt(&entry.key).map(|target| target.name.clone()),
            ListKind::Resources | ListKind::Templates => {
                catalog.resource(&entry.key).map(|(_, uri)| json::string_token(&uri).into())
            }
        };
        let own = own.expect("what is listed is routed");
        let own = json::decode_string(&own).expect("a text");
        assert!(listing.get(&own).is_some(), "to what the upstream has");
    }
    let mine = |entry: &&Entry| entry.is_callable(from, client);
    let callable = listing.entries.iter().filter(mine).count();
    assert!(page.entries.len() + catalog.findings().len() >= callable * 2, "nothing goes untold");
    for finding in catalog.findings() {
        assert!(!finding.to_string().contains('\n'));
    }
}

/// Mirrored arguments, from `schema LF arguments`: what is stripped is valid, what we send we accept,
/// and nothing else.
///
/// # Panics
/// If a property fails.
pub fn param_header(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let [schema, arguments] = [(); 2].map(|()| parts.next().unwrap_or_default());
    let compiled = ParamHeaders::compile(schema);
    let Ok(value) = json::check(schema) else {
        assert!(matches!(compiled, Err(InvalidAnnotation::Unreadable(_))));
        return;
    };
    assert!(annotation::may_be_in(schema) || compiled == Ok(None), "the short way is no other way");
    let tool = [b"{\"inputSchema\":", value.span.of(schema), b"}"].concat();
    let Ok(spans) = strip_invalid(&tool) else { return };
    assert_eq!(spans.is_empty(), compiled.is_ok(), "what is invalid goes, and nothing else");
    let mut splice = Splice::new();
    spans.into_iter().for_each(|span| splice.remove(span));
    let stripped = splice.apply(&tool);
    let whole = json::check(&stripped).expect("still json").span;
    let tool = Object::read(&stripped, whole).expect("still an object");
    let schema = tool.value(&stripped, "inputSchema").expect("still there").span.of(&stripped);
    let headers = ParamHeaders::compile(schema).expect("only valid annotations are left");
    if let Ok(compiled) = compiled {
        assert_eq!(compiled, headers);
    }
    if let (Some(headers), Ok(_)) = (headers, json::check(arguments)) {
        mirror(&headers, arguments);
    }
}

fn mirror(headers: &ParamHeaders, arguments: &[u8]) {
    let whole = Some(Span::whole(arguments));
    let sent = headers.values(arguments, whole);
    for (name, value) in &sent {
        assert!(header::is_token(name) && *name == name.to_ascii_lowercase());
        assert!(
            http::HeaderValue::from_str(value).is_ok() && header::decode(value.as_bytes()).is_ok()
        );
    }
    let find = |name: &str| sent.iter().find(|(own, _)| own == name).map(|(_, value)| value);
    let verdict = headers.validate(arguments, whole, |name| find(name).map(String::as_bytes));
    if let Err(why) = verdict {
        let surrogate = memchr::memmem::find(arguments, b"\\u").is_some();
        assert!(why.ends_with("occurs twice") || surrogate && why.ends_with("is missing"), "{why}");
        return;
    }
    for (forged, value) in &sent {
        let other = format!("{value}x");
        let lookup = |name: &str| match name == forged {
            true => Some(other.as_bytes()),
            false => find(name).map(String::as_bytes),
        };
        assert!(headers.validate(arguments, whole, lookup).is_err(), "a forged {forged}");
        let lookup = |name: &str| find(name).filter(|_| name != forged).map(String::as_bytes);
        assert!(headers.validate(arguments, whole, lookup).is_err(), "a missing {forged}");
    }
}
