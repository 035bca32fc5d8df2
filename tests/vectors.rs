//! Byte-exact tables of what clients see of the lists of upstreams: `tests/vectors/*.txt`.
//!
//! A file is a sequence of blocks, each headed by a line that begins with `=== `; what follows up
//! to the next such line, without its last newline, is the block's bytes:
//!
//! | heading | block |
//! |---|---|
//! | `=== page SLUG FROM KIND` | a raw result of the upstream; several for one list are its pages |
//! | `=== disabled SLUG` | names of tools that do not exist, one a line |
//! | `=== merged KIND CLIENT` | what a client of `/mcp` gets |
//! | `=== single SLUG KIND CLIENT` | what a client of `/mcp/{name}` gets |
//! | `=== same SLUG KIND CLIENT` | no block: it gets the page, not one byte of it different |
//! | `=== findings` | the lines that the operator reads about the merge |
//!
//! `FROM` is `legacy`, `modern`, `lines` (modern, but not over HTTP) or a revision. `CLIENT` is a
//! revision, with `personal` behind it where what clients get depends on who they are, and with the
//! age of the list in seconds where it matters.
//! `@OURSELVES@` stands for how the gateway introduces itself, which holds its version. What stands
//! before the first heading says what the file is about.
#![allow(clippy::panic, reason = "a test says what is wrong by panicking")]

use bytes::Bytes;
use onemcp::catalog::entry::Provenance;
use onemcp::catalog::listing::{Listing, Offer, Viewer};
use onemcp::catalog::merge::{Catalog, Source};
use onemcp::catalog::page::{Page, read_page};
use onemcp::catalog::single::render_single;
use onemcp::mcp::{ListKind, Revision, meta};
use onemcp::wire::jsonrpc::Message;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A heading's words and its block.
struct Block<'a> {
    words: Vec<&'a str>,
    text: &'a str,
}

/// One upstream of a file.
#[derive(Default)]
struct Upstream {
    slug: String,
    from: Option<Provenance>,
    pages: Vec<(ListKind, Page)>,
    disabled: Vec<String>,
}

impl Upstream {
    fn from(&self) -> Provenance {
        self.from.expect("an upstream has a page")
    }

    fn listing(&self, kind: ListKind) -> Option<Listing> {
        let pages = self.pages.iter().filter(|(own, _)| *own == kind);
        let pages: Vec<Page> = pages.map(|(_, page)| page.clone()).collect();
        (!pages.is_empty()).then(|| Listing::from_pages(kind, pages))
    }
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let text = text.split_once("=== ").expect("a heading").1;
    text.split("\n=== ")
        .map(|block| {
            let (heading, text) = block.split_once('\n').unwrap_or((block, ""));
            Block { words: heading.split(' ').collect(), text }
        })
        .collect()
}

fn kind(word: &str) -> ListKind {
    let kind = ListKind::ALL.into_iter().find(|kind| kind.member() == word);
    kind.unwrap_or_else(|| panic!("{word}: not a list"))
}

fn revision(word: &str) -> Revision {
    Revision::parse(word).unwrap_or_else(|| panic!("{word}: not a revision"))
}

fn viewer(client: &[&str]) -> Viewer {
    Viewer { revision: revision(client[0]), personal: client.contains(&"personal") }
}

fn age(client: &[&str]) -> Duration {
    let seconds = client.iter().find_map(|word| word.parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}

fn page(kind: ListKind, result: &str) -> Page {
    let message = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{result}}}");
    let Ok(Message::Response(response)) = Message::parse(Bytes::from(message)) else {
        panic!("not a response: {result}")
    };
    let page = read_page(kind, &response).unwrap_or_else(|e| panic!("{e}: {result}"));
    assert_eq!(page.remarks, [""; 0], "{result}");
    page
}

fn upstreams(blocks: &[Block<'_>]) -> Vec<Upstream> {
    let mut all: Vec<Upstream> = Vec::new();
    for block in blocks {
        let [what @ ("page" | "disabled"), slug, ..] = block.words[..] else { continue };
        if all.iter().all(|upstream| upstream.slug != slug) {
            all.push(Upstream { slug: slug.to_owned(), ..Upstream::default() });
        }
        let upstream = all.iter_mut().find(|upstream| upstream.slug == slug).expect("it");
        if what == "disabled" {
            upstream.disabled = block.text.lines().map(str::to_owned).collect();
            continue;
        }
        let [from, list] = block.words[2..] else { panic!("{:?}: SLUG FROM KIND", block.words) };
        upstream.from = Some(match from {
            "legacy" => Provenance::over_http(Revision::LATEST_LEGACY),
            "modern" => Provenance::over_http(Revision::MODERN),
            "lines" => Provenance::over_lines(Revision::MODERN),
            date => Provenance::over_http(revision(date)),
        });
        upstream.pages.push((kind(list), page(kind(list), block.text)));
    }
    all
}

fn merge(upstreams: &[Upstream]) -> Catalog {
    let offers: Vec<Offer> = upstreams
        .iter()
        .map(|upstream| {
            let mut offer = Offer::default();
            for kind in ListKind::ALL {
                offer.set(kind, upstream.listing(kind).map(Arc::new));
            }
            offer
        })
        .collect();
    let sources: Vec<Source<'_>> = upstreams
        .iter()
        .zip(&offers)
        .map(|(upstream, offer)| Source {
            slug: &upstream.slug,
            from: upstream.from(),
            offer,
            enabled_tools: None,
            disabled_tools: &upstream.disabled,
            is_current: true,
        })
        .collect();
    Catalog::merge(&sources, "__")
}

fn single(upstreams: &[Upstream], slug: &str, list: &str, client: &[&str]) -> (Bytes, Listing) {
    let upstream = upstreams.iter().find(|upstream| upstream.slug == slug);
    let upstream = upstream.unwrap_or_else(|| panic!("{slug}: no such upstream"));
    let listing = upstream.listing(kind(list)).expect("a list");
    let allows = |name: &str| upstream.disabled.iter().all(|own| own != name);
    let out = render_single(&listing, upstream.from(), viewer(client), age(client), &allows);
    (out, listing)
}

/// What a client gets instead of this block, if the block says what it should get.
fn check(block: &Block<'_>, upstreams: &[Upstream], catalog: &Catalog) -> Option<Bytes> {
    Some(match &block.words[..] {
        ["page", ..] | ["disabled", ..] => return None,
        ["merged", list, client @ ..] => {
            let render = || catalog.render(kind(list), viewer(client), &|_| age(client));
            let out = render();
            assert!(client.len() > 1 || out.as_ptr() == render().as_ptr(), "shared, not copied");
            out
        }
        ["single", slug, list, client @ ..] => single(upstreams, slug, list, client).0,
        ["same", slug, list, client @ ..] => {
            let (out, listing) = single(upstreams, slug, list, client);
            let own = listing.single.as_ref().expect("one page");
            assert_eq!(out, own, "{:?}", block.words);
            assert_eq!(out.as_ptr(), own.as_ptr(), "{:?}: shared, not copied", block.words);
            return None;
        }
        ["findings"] => {
            let lines: Vec<String> = catalog.findings().iter().map(ToString::to_string).collect();
            Bytes::from(lines.join("\n"))
        }
        other => panic!("{other:?}: unknown heading"),
    })
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let listed = fs::read_dir(folder).expect("the vectors");
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

#[test]
fn clients_see_exactly_these_bytes() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for file in files() {
        let text = fs::read_to_string(&file).expect("text");
        let text = text.strip_suffix('\n').expect("a newline at the end");
        let blocks = blocks(text);
        let upstreams = upstreams(&blocks);
        let catalog = merge(&upstreams);
        for block in &blocks {
            checked += usize::from(!matches!(block.words[0], "page" | "disabled"));
            let Some(out) = check(block, &upstreams, &catalog) else { continue };
            let out = String::from_utf8(out.to_vec()).expect("text");
            let out = out.replace(meta::OURSELVES, "@OURSELVES@");
            if out != block.text {
                let name = file.file_name().unwrap_or_default().display().to_string();
                let heading = block.words.join(" ");
                wrong.push(format!("{name}: {heading}\n  want {}\n  got  {out}", block.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked >= 30, "only {checked} blocks were checked");
}
