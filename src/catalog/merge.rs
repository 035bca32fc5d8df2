//! The lists of all upstreams as one, for `/mcp` (MCP 2026-07-28 server/tools, server/prompts,
//! server/resources; caching: server/utilities/caching).
//!
//! Immutable and deterministic: configuration order, then each upstream's own order, never the order
//! of arrival. Names go by lookup, since a made name cannot be taken apart; URIs carry their
//! upstream themselves ([`crate::wire::uri`]), so unlisted ones and those made from templates
//! find their way too. What one source offers never hides another's but by the settled rule for
//! equal names: the first in configuration order has it.

use super::entry::{Entry, Provenance};
use super::finding::Finding;
use super::listing::{Listing, Offer, Viewer, left};
use super::namespace::{NAME_CHARS, prefixed};
use super::param_header::ParamHeaders;
use crate::base::label::Label;
use crate::mcp::{Era, ListKind, Revision, meta};
use crate::wire::json;
use crate::wire::splice::Splice;
use crate::wire::uri;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// One upstream as it is merged.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What its names and URIs are marked with.
    pub slug: &'a str,
    /// Where its lists come from.
    pub from: Provenance,
    /// Its lists.
    pub offer: &'a Offer,
    /// Whether they are those of a connection that stands.
    pub is_current: bool,
    /// If present, only these tools exist; the upstream's own names.
    pub enabled_tools: Option<&'a [String]>,
    /// These do not exist, even if enabled.
    pub disabled_tools: &'a [String],
}

/// Where a call goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The upstream, by its position among the sources.
    pub upstream: usize,
    /// The upstream's own name, as the raw JSON string it wrote.
    pub name: Bytes,
    /// The arguments that are mirrored into headers, as clients were shown them.
    pub headers: Option<Arc<ParamHeaders>>,
}

/// The merged lists.
pub struct Catalog {
    sources: Vec<Origin>,
    by_slug: HashMap<String, usize>,
    tools: Merged,
    prompts: Merged,
    resources: Merged,
    templates: Merged,
    findings: Vec<Finding>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Catalog(")?;
        for kind in ListKind::ALL {
            write!(f, "{:?}: {}, ", kind, self.merged(kind).shown.len())?;
        }
        write!(f, "{} sources)", self.sources.len())
    }
}

struct Origin {
    slug: String,
    from: Provenance,
}

/// One merged list.
#[derive(Default)]
struct Merged {
    /// Whether any source has this list.
    is_offered: bool,
    shown: Vec<Shown>,
    by_name: HashMap<Arc<str>, usize>,
    /// What each source that has this list says of caching it.
    caches: Vec<(usize, Cache)>,
    /// A source is not there.
    short_lived: bool,
    /// As clients of each revision get it, once somebody has asked.
    rendered: [OnceLock<Bytes>; Revision::ALL.len()],
}

/// How long and for whom a list may be cached.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cache {
    ttl_ms: u64,
    private: bool,
}

/// One entry as clients see it.
struct Shown {
    /// The name or URI.
    seen: Arc<str>,
    entry: Entry,
    target: Target,
}

impl Catalog {
    /// Merges the sources, which stand in configuration order.
    pub fn merge(sources: &[Source<'_>], separator: &str) -> Self {
        let mut findings = Vec::new();
        let [tools, prompts, resources, templates] = ListKind::ALL.map(|kind| {
            let mut merging = Merging { kind, sources, separator, findings: &mut findings };
            merging.run()
        });
        let origin =
            |source: &Source<'_>| Origin { slug: source.slug.to_owned(), from: source.from };
        let slugs = sources.iter().enumerate().map(|(at, source)| (source.slug.to_owned(), at));
        Self {
            sources: sources.iter().map(origin).collect(),
            by_slug: slugs.collect(),
            tools,
            prompts,
            resources,
            templates,
            findings,
        }
    }

    /// The tool that clients know by this name.
    pub fn tool(&self, name: &str) -> Option<&Target> {
        self.tools.named(name)
    }

    /// The prompt that clients know by this name.
    pub fn prompt(&self, name: &str) -> Option<&Target> {
        self.prompts.named(name)
    }

    /// The upstream of a resource or template, by its position, and its own URI. Whether there is
    /// such a resource is for the upstream to say.
    pub fn resource(&self, uri: &str) -> Option<(usize, String)> {
        let (slug, own) = uri::unwrap(uri)?;
        Some((*self.by_slug.get(slug)?, own.into_owned()))
    }

    /// Whether any source has this list, be it empty.
    pub fn offers(&self, kind: ListKind) -> bool {
        self.merged(kind).is_offered
    }

    /// What is left out or renamed, in the order of the sources.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether clients of this list see something else in `other`.
    pub fn differs(&self, other: &Self, kind: ListKind) -> bool {
        let (one, two) = (self.merged(kind), other.merged(kind));
        let same = |(a, b): (&Shown, &Shown)| {
            a.seen == b.seen
                && a.entry.raw == b.entry.raw
                && self.from(a.target.upstream) == other.from(b.target.upstream)
        };
        one.is_offered != two.is_offered
            || one.shown.len() != two.shown.len()
            || !one.shown.iter().zip(&two.shown).all(same)
    }

    /// The result of listing it all: one page, as raw JSON. `age` is how long ago the list of a
    /// source was read.
    pub fn render(&self, kind: ListKind, viewer: Viewer, age: &dyn Fn(usize) -> Duration) -> Bytes {
        let (merged, client) = (self.merged(kind), viewer.revision);
        let at = Revision::ALL.iter().position(|revision| *revision == client);
        let cached = match at.and_then(|at| merged.rendered.get(at)) {
            Some(rendered) => rendered.get_or_init(|| self.write(kind, client)).clone(),
            None => self.write(kind, client),
        };
        if client.era() == Era::Legacy {
            return cached;
        }
        let (usual, now) = (merged.cache(&|_| Duration::ZERO), merged.cache(age));
        let now = Cache { private: now.private || viewer.personal, ..now };
        if now == usual {
            return cached;
        }
        let body = cached.len().saturating_sub(about(usual).len());
        Bytes::from([cached.get(..body).unwrap_or_default(), about(now).as_bytes()].concat())
    }

    fn merged(&self, kind: ListKind) -> &Merged {
        match kind {
            ListKind::Tools => &self.tools,
            ListKind::Prompts => &self.prompts,
            ListKind::Resources => &self.resources,
            ListKind::Templates => &self.templates,
        }
    }

    fn from(&self, upstream: usize) -> Option<Provenance> {
        self.sources.get(upstream).map(|source| source.from)
    }

    fn write(&self, kind: ListKind, client: Revision) -> Bytes {
        let merged = self.merged(kind);
        let mut out = format!("{{\"{}\":[", kind.member()).into_bytes();
        let start = out.len();
        for shown in &merged.shown {
            let source = self.sources.get(shown.target.upstream);
            let Some(source) = source.filter(|s| shown.entry.is_callable(s.from, client)) else {
                continue;
            };
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(&shown.write(source, client));
        }
        out.push(b']');
        let end = match client.era() {
            Era::Modern => about(merged.cache(&|_| Duration::ZERO)),
            Era::Legacy => "}".to_owned(),
        };
        out.extend_from_slice(end.as_bytes());
        Bytes::from(out)
    }
}

/// The end of a result for a modern client.
fn about(cache: Cache) -> String {
    let scope = if cache.private { "private" } else { "public" };
    format!(
        ",\"resultType\":\"complete\",\"ttlMs\":{},\"cacheScope\":\"{scope}\",\
         \"_meta\":{{\"{}\":{}}}}}",
        cache.ttl_ms,
        meta::SERVER_INFO,
        meta::OURSELVES
    )
}

impl Merged {
    fn named(&self, name: &str) -> Option<&Target> {
        self.shown.get(*self.by_name.get(name)?).map(|shown| &shown.target)
    }

    /// A list of one more source.
    fn restrict(&mut self, upstream: usize, from: Provenance, listing: &Listing) {
        let own = match (from.revision.era(), listing.ttl_ms) {
            (Era::Modern, Some(ttl_ms)) => Cache { ttl_ms, private: listing.private },
            _ => Cache { ttl_ms: 0, private: true },
        };
        self.is_offered = true;
        self.caches.push((upstream, own));
    }

    /// What may be cached is what every source allows.
    fn cache(&self, age: &dyn Fn(usize) -> Duration) -> Cache {
        let ttl = self.caches.iter().map(|(upstream, own)| left(own.ttl_ms, age(*upstream)));
        let private = self.caches.is_empty() || self.caches.iter().any(|(_, own)| own.private);
        let ttl_ms = if self.short_lived { 0 } else { ttl.min().unwrap_or_default() };
        Cache { ttl_ms, private }
    }
}

impl Shown {
    /// The entry with the edits of its merge and of the client's era.
    fn write(&self, source: &Origin, client: Revision) -> Bytes {
        let mut splice = Splice::new();
        splice.replace(self.entry.key_span, &json::string_token(&self.seen));
        for (span, app) in self.entry.apps() {
            if let Some(seen) = uri::wrap(&source.slug, app) {
                splice.replace(span, &json::string_token(&seen));
            }
        }
        self.entry.fit(source.from, client, 0, &mut splice);
        splice.apply(&self.entry.raw)
    }
}

/// The merge of one list.
struct Merging<'a, 'f> {
    kind: ListKind,
    sources: &'a [Source<'a>],
    separator: &'a str,
    findings: &'f mut Vec<Finding>,
}

impl<'a> Merging<'a, '_> {
    fn run(&mut self) -> Merged {
        let mut merged = Merged::default();
        for (upstream, source) in self.sources.iter().enumerate() {
            if !source.is_current {
                // what is missing now may come back at any time
                merged.short_lived = true;
            }
            let Some(listing) = source.offer.get(self.kind) else { continue };
            merged.restrict(upstream, source.from, listing);
            let tools = (self.kind == ListKind::Tools).then(|| Choice::of(source));
            for entry in &listing.entries {
                if tools.as_ref().is_none_or(|tools| tools.allows(&entry.key)) {
                    self.add(&mut merged, upstream, source, entry);
                }
            }
        }
        merged
    }

    fn add(&mut self, merged: &mut Merged, upstream: usize, source: &Source<'a>, entry: &Entry) {
        if let Some(fault) = entry.fault(source.from) {
            let (slug, name) = (Label::new(source.slug), Label::new(&entry.key));
            self.findings.push(Finding::InvalidAnnotation { slug, name, fault });
            return;
        }
        let seen: Arc<str> = match self.kind {
            ListKind::Tools | ListKind::Prompts => {
                let seen = prefixed(source.slug, self.separator, &entry.key);
                if let Some(holder) = merged.named(&seen) {
                    self.findings.push(self.taken(source.slug, &seen, holder.upstream));
                    return;
                }
                self.note_shortened(source.slug, &entry.key, &seen);
                seen.into()
            }
            // None only for what is no slug, and the configuration makes no others
            ListKind::Resources | ListKind::Templates => {
                let Some(seen) = uri::wrap(source.slug, &entry.key) else { return };
                seen.into()
            }
        };
        merged.by_name.insert(Arc::clone(&seen), merged.shown.len());
        merged.shown.push(Shown { seen, entry: entry.clone(), target: entry.target(upstream) });
    }

    fn taken(&self, slug: &str, seen: &str, holder: usize) -> Finding {
        let holder = self.sources.get(holder).map_or("", |source| source.slug);
        Finding::NameTaken {
            kind: self.kind,
            slug: Label::new(slug),
            seen: Label::new(seen),
            holder: Label::new(holder),
        }
    }

    fn note_shortened(&mut self, slug: &str, name: &str, seen: &str) {
        let full = [slug, self.separator, name].iter().map(|part| part.chars().count()).sum();
        if (0..=NAME_CHARS).contains(&full) {
            return;
        }
        self.findings.push(Finding::Shortened {
            kind: self.kind,
            slug: Label::new(slug),
            name: Label::new(name),
            seen: Label::new(seen),
        });
    }
}

/// Which tools of a source exist.
struct Choice<'a> {
    enabled: Option<HashSet<&'a str>>,
    disabled: HashSet<&'a str>,
}

impl<'a> Choice<'a> {
    fn of(source: &Source<'a>) -> Self {
        let set = |names: &'a [String]| names.iter().map(String::as_str).collect();
        Self { enabled: source.enabled_tools.map(set), disabled: set(source.disabled_tools) }
    }

    fn allows(&self, name: &str) -> bool {
        self.enabled.as_ref().is_none_or(|enabled| enabled.contains(name))
            && !self.disabled.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::page::read_page;
    use crate::wire::jsonrpc::Message;

    fn listing(kind: ListKind, result: &str) -> Arc<Listing> {
        let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{result}}}");
        match Message::parse(Bytes::from(text)) {
            Ok(Message::Response(response)) => {
                let page = read_page(kind, &response).expect("a page");
                Arc::new(Listing::from_pages(kind, vec![page]))
            }
            other => panic!("{other:?}"),
        }
    }

    fn offer(lists: &[(ListKind, &str)]) -> Offer {
        let mut offer = Offer::default();
        for (kind, result) in lists {
            offer.set(*kind, Some(listing(*kind, result)));
        }
        offer
    }

    fn tools(result: &str) -> Offer {
        offer(&[(ListKind::Tools, result)])
    }

    fn source<'a>(slug: &'a str, offer: &'a Offer) -> Source<'a> {
        Source {
            slug,
            from: Provenance::over_http(Revision::MODERN),
            offer,
            is_current: true,
            enabled_tools: None,
            disabled_tools: &[],
        }
    }

    const LEGACY: Provenance = Provenance { revision: Revision::LATEST_LEGACY, mirrors: false };

    /// The age of what was only just read.
    fn new(_: usize) -> Duration {
        Duration::ZERO
    }

    fn found(catalog: &Catalog) -> Vec<String> {
        catalog.findings().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_lead_to_their_upstream_by_lookup_only() {
        let a = tools(r#"{"tools":[{"name":"x"},{"name":"\u0079"}]}"#);
        let b = offer(&[
            (ListKind::Tools, r#"{"tools":[{"name":"x"}]}"#),
            (ListKind::Prompts, r#"{"prompts":[{"name":"p"}]}"#),
        ]);
        let catalog = Catalog::merge(&[source("a", &a), source("b", &b)], "__");
        let target = |name: &str| catalog.tool(name).map(|t| (t.upstream, t.name.clone()));
        assert_eq!(target("a__x"), Some((0, Bytes::from("\"x\""))));
        assert_eq!(target("a__y"), Some((0, Bytes::from(r#""\u0079""#))));
        assert_eq!(target("b__x"), Some((1, Bytes::from("\"x\""))));
        assert_eq!(catalog.prompt("b__p").map(|target| target.upstream), Some(1));
        for name in ["x", "a__", "a__z", "b__p", "a__X", "c__x", ""] {
            assert!(catalog.tool(name).is_none(), "{name}");
        }
        assert!(catalog.prompt("a__x").is_none() && catalog.findings().is_empty());
        assert_eq!(
            format!("{catalog:?}"),
            "Catalog(Tools: 3, Prompts: 1, Resources: 0, Templates: 0, 2 sources)"
        );
    }

    #[test]
    fn a_resource_needs_no_list() {
        let empty = Offer::default();
        let catalog = Catalog::merge(&[source("a", &empty), source("b", &empty)], "__");
        assert_eq!(catalog.resource("mcp-b+file:///x"), Some((1, "file:///x".to_owned())));
        assert_eq!(catalog.resource("ui://a+app"), Some((0, "ui://app".to_owned())));
        for uri in ["file:///x", "mcp-c+file:///x", "mcp-b+", ""] {
            assert_eq!(catalog.resource(uri), None, "{uri}");
        }
    }

    #[test]
    fn of_two_with_one_name_the_first_in_configuration_order_has_it() {
        let long = tools(r#"{"tools":[{"name":"b-c"},{"name":"own"}]}"#);
        let short = tools(r#"{"tools":[{"name":"c"},{"name":"d"}]}"#);
        let catalog = Catalog::merge(&[source("a", &long), source("a-b", &short)], "-");
        assert_eq!(catalog.tool("a-b-c").map(|target| target.upstream), Some(0));
        assert_eq!(catalog.tool("a-b-d").map(|target| target.upstream), Some(1));
        let line = r#"tool "a-b-c" of upstream "a-b" is left out: upstream "a" has that name"#;
        assert_eq!(found(&catalog), [line]);
        let other = Catalog::merge(&[source("a-b", &short), source("a", &long)], "-");
        assert_eq!(other.tool("a-b-c").map(|target| &*target.name), Some(&b"\"c\""[..]));
    }

    #[test]
    fn a_tool_that_does_not_exist_is_not_offered() {
        let all = tools(r#"{"tools":[{"name":"a"},{"name":"b"},{"name":"c"}]}"#);
        let (some, none) = (["a".to_owned(), "b".to_owned()], ["b".to_owned()]);
        let source =
            Source { enabled_tools: Some(&some), disabled_tools: &none, ..source("s", &all) };
        let catalog = Catalog::merge(&[source], "__");
        let offered = ["a", "b", "c"].map(|name| catalog.tool(&format!("s__{name}")).is_some());
        assert_eq!(offered, [true, false, false]);
        let out = catalog.render(ListKind::Tools, Viewer::anyone(Revision::LATEST_LEGACY), &new);
        assert_eq!(out, r#"{"tools":[{"name":"s__a"}]}"#);
    }

    #[test]
    fn a_modern_tool_with_an_invalid_annotation_is_left_out() {
        let bad = tools(
            r#"{"tools":[{"name":"t\n","inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"number","x-mcp-header":"B"}}}}]}"#,
        );
        let catalog = Catalog::merge(&[source("s", &bad)], "__");
        assert!(catalog.tool("s__t\n").is_none());
        let line = "tool \"t\u{fffd}\" of upstream \"s\" is left out: x-mcp-header stands at a \
                    property that is no string, integer or boolean";
        assert_eq!(found(&catalog), [line]);
        let legacy = Source { from: LEGACY, ..source("s", &bad) };
        let catalog = Catalog::merge(&[legacy], "__");
        let headers = catalog.tool("s__t\n").and_then(|tool| tool.headers.clone()).expect("one");
        let schema = br#"{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}"#;
        assert_eq!(ParamHeaders::compile(schema), Ok(Some((*headers).clone())));
        assert!(catalog.findings().is_empty());
    }

    #[test]
    fn a_merge_without_one_of_its_sources_is_not_worth_keeping() {
        let there = tools(r#"{"tools":[],"ttlMs":3600000,"cacheScope":"public"}"#);
        let gone = Offer::default();
        let missing = Source { is_current: false, ..source("b", &gone) };
        let merged = Catalog::merge(&[source("a", &there), missing], "__");
        let rendered = merged.render(ListKind::Tools, Viewer::anyone(Revision::MODERN), &new);
        let text = String::from_utf8_lossy(&rendered).into_owned();
        assert!(text.contains(r#""ttlMs":0,"cacheScope":"public""#), "{text}");
    }

    #[test]
    fn a_merge_may_be_cached_as_the_strictest_of_its_sources() {
        let public = |ttl| format!(r#"{{"tools":[],"ttlMs":{ttl},"cacheScope":"public"}}"#);
        let (nine, five) = (tools(&public(9)), tools(&public(5)));
        let private = tools(r#"{"tools":[],"ttlMs":7,"cacheScope":"private"}"#);
        let silent = tools(r#"{"tools":[],"cacheScope":"public"}"#);
        let none = Offer::default();
        let legacy = Source { from: LEGACY, ..source("l", &nine) };
        let [nine, five, private, silent, none] =
            [&nine, &five, &private, &silent, &none].map(|offer| source("s", offer));
        for (sources, ttl, scope) in [
            (&[nine, five][..], 5, "public"),
            (&[nine, none], 9, "public"),
            (&[nine, private], 7, "private"),
            (&[private, silent], 0, "private"),
            (&[five, silent], 0, "private"),
            (&[five, legacy], 0, "private"),
            (&[none], 0, "private"),
            (&[], 0, "private"),
        ] {
            let out = Catalog::merge(sources, "__").render(
                ListKind::Tools,
                Viewer::anyone(Revision::MODERN),
                &new,
            );
            let want = format!(
                r#"{{"tools":[],"resultType":"complete","ttlMs":{ttl},"cacheScope":"{scope}","_meta""#
            );
            assert!(out.starts_with(want.as_bytes()), "{want} {out:?}");
        }
    }

    #[test]
    fn what_clients_see_decides_whether_it_differs() {
        let one = offer(&[
            (ListKind::Tools, r#"{"tools":[{"name":"x"}],"ttlMs":1}"#),
            (ListKind::Prompts, r#"{"prompts":[]}"#),
        ]);
        let same = tools(r#"{"tools":[ {"name":"x"} ],"ttlMs":2,"other":1}"#);
        let other = tools(r#"{"tools":[{"name":"x","title":"X"}]}"#);
        fn merge(slug: &str, offer: &Offer) -> Catalog {
            Catalog::merge(&[source(slug, offer)], "__")
        }
        let catalog = merge("a", &one);
        assert!(!catalog.differs(&merge("a", &same), ListKind::Tools));
        assert!(catalog.differs(&merge("a", &other), ListKind::Tools));
        assert!(catalog.differs(&merge("b", &one), ListKind::Tools));
        assert!(catalog.differs(&merge("a", &tools(r#"{"tools":[]}"#)), ListKind::Tools));
        assert!(catalog.differs(&merge("a", &same), ListKind::Prompts), "an empty list is a list");
        assert!(!catalog.differs(&merge("a", &same), ListKind::Resources));
        assert_eq!(ListKind::ALL.map(|kind| catalog.offers(kind)), [true, true, false, false]);
    }
}
