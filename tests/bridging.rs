//! Byte-exact tables of what becomes of a message between two peers (`tests/bridging/*.txt`), and the
//! same law for messages that nobody wrote down.
//!
//! A file is a sequence of blocks, each headed by a line that begins with `=== `; what follows up to
//! the next such line, without its last newline, is the block's bytes:
//!
//! | heading | block |
//! |---|---|
//! | `=== request CLIENT UPSTREAM [TOKEN]` | a client's request; `TOKEN` replaces the name or URI |
//! | `=== response METHOD CLIENT UPSTREAM [/SLUG] [personal] [task] [extended]` | an upstream's response |
//! | `=== progress CLIENT UPSTREAM` | an upstream's notification |
//! | `=== updated CLIENT UPSTREAM [/SLUG]` | an upstream's notification |
//! | `=== becomes` | what the other side gets |
//! | `=== same` | no block: the other side gets the same bytes |
//! | `=== refused REASON` | no block: the other side gets an error |
//!
//! `CLIENT` is a revision and `UPSTREAM` one too, or an era for the latest of it. What is put in: the id 7001 and the progress token
//! 7002 towards upstreams, `"\u0063-1"`, `"to\u006b"` and the subscription `"L-\u0031"` towards
//! clients, for those who have a `task` its id `"T-\u0031"`. What stands before the first heading says what the file is about.
#![allow(clippy::panic, reason = "a test says what is wrong by panicking")]

use bytes::Bytes;
use onemcp::bridge::notification::{progress, updated};
use onemcp::bridge::request::{RequestEdit, Stamp, request};
use onemcp::bridge::response::{Bridged, ResponseEdit, response};
use onemcp::fuzzing;
use onemcp::mcp::{ClientCapabilities, Era, Extensions, Method, Revision, meta};
use onemcp::wire::jsonrpc::{Message, Notification};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A heading's words and its block.
struct Block<'a> {
    heading: &'a str,
    words: Vec<&'a str>,
    text: &'a str,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let text = text.split_once("=== ").expect("a heading").1;
    text.split("\n=== ")
        .map(|block| {
            let (heading, text) = block.split_once('\n').unwrap_or((block, ""));
            Block { heading, words: heading.split(' ').collect(), text }
        })
        .collect()
}

/// What `@STAMP@` stands for.
fn stamp() -> String {
    let (version, info) = (meta::PROTOCOL_VERSION, meta::CLIENT_INFO);
    let (capabilities, ours) = (meta::CLIENT_CAPABILITIES, meta::OURSELVES);
    format!("\"{version}\":\"2026-07-28\",\"{info}\":{ours},\"{capabilities}\":{{}}")
}

/// Who talks to whom, and what is added.
struct Ends<'a> {
    client: Revision,
    upstream: Revision,
    more: Vec<&'a str>,
}

impl<'a> Ends<'a> {
    fn read(words: &[&'a str]) -> Self {
        let [client, upstream, more @ ..] = words else { panic!("{words:?}: CLIENT UPSTREAM") };
        let client = Revision::parse(client).unwrap_or_else(|| panic!("{client}: no revision"));
        let upstream = match *upstream {
            "legacy" => Revision::LATEST_LEGACY,
            "modern" => Revision::MODERN,
            date => Revision::parse(date).unwrap_or_else(|| panic!("{date}: no revision")),
        };
        Self { client, upstream, more: more.to_vec() }
    }

    fn slug(&self) -> Option<&'a str> {
        self.more.iter().find_map(|word| word.strip_prefix('/'))
    }
}

fn requested(text: &str, ends: &Ends<'_>) -> Bytes {
    let Ok(Message::Request(message)) = Message::parse(Bytes::from(text.to_owned())) else {
        panic!("not a request: {text}")
    };
    let stamp =
        Stamp::ours(Revision::MODERN, None, &ClientCapabilities::default(), &Extensions::default());
    let edit = RequestEdit {
        request: &message,
        id: b"7001",
        progress_token: b"7002",
        client: ends.client.era(),
        upstream: ends.upstream.era(),
        merged: false,
        rename: ends.more.first().map(|token| token.as_bytes()),
        stamp: Some(&stamp),
        retry: None,
    };
    request(&edit).apply(&message.call.bytes)
}

fn responded(text: &str, method: &str, ends: &Ends<'_>) -> Result<Bytes, &'static str> {
    let Ok(Message::Response(message)) = Message::parse(Bytes::from(text.to_owned())) else {
        panic!("not a response: {text}")
    };
    let edit = ResponseEdit {
        response: &message,
        id: br#""\u0063-1""#,
        method: Method::parse(method).unwrap_or_else(|| panic!("{method}: not a method")),
        client: ends.client,
        upstream: ends.upstream,
        space: ends.slug(),
        private: ends.more.contains(&"personal"),
        task: ends.more.contains(&"task").then_some(&br#""T-\u0031""#[..]),
        extended: ends.more.contains(&"extended"),
    };
    match response(&edit) {
        Bridged::Edited { splice, .. } | Bridged::Asks { splice, .. } => {
            Ok(splice.apply(&message.bytes))
        }
        Bridged::Urls(_) => Err("urls"),
        Bridged::Refused(why) => Err(why),
    }
}

fn notification(text: &str) -> Notification {
    match Message::parse(Bytes::from(text.to_owned())) {
        Ok(Message::Notification(notification)) => notification,
        other => panic!("not a notification: {text}: {other:?}"),
    }
}

fn outcome(block: &Block<'_>) -> Result<Bytes, &'static str> {
    let [what, rest @ ..] = &block.words[..] else { panic!("an empty heading") };
    match *what {
        "request" => Ok(requested(block.text, &Ends::read(rest))),
        "response" => responded(block.text, rest[0], &Ends::read(&rest[1..])),
        "progress" => {
            let splice = progress(&notification(block.text), br#""to\u006b""#);
            Ok(splice.apply(block.text.as_bytes()))
        }
        "updated" => {
            let ends = Ends::read(rest);
            let modern = ends.client.era() == Era::Modern;
            let subscription = modern.then_some(&br#""L-\u0031""#[..]);
            let message = notification(block.text);
            let splice = updated(&message, ends.slug(), subscription);
            Ok(splice.apply(block.text.as_bytes()))
        }
        other => panic!("{other}: not a heading of a message"),
    }
}

/// Every vector file: its name and its text.
fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bridging");
    let listed = fs::read_dir(&folder).expect("the vectors");
    let mut paths: Vec<_> = listed.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    let read = |path: &Path| fs::read_to_string(path).expect("a readable vector");
    paths.iter().map(|path| (path.display().to_string(), read(path))).collect()
}

#[test]
fn every_message_becomes_what_is_written() {
    for (name, text) in files() {
        let text = text.replace("@STAMP@", &stamp());
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let blocks = blocks(text);
        assert!(
            blocks.len() > 1 && blocks.len().is_multiple_of(2),
            "{name}: a block without its outcome"
        );
        for pair in blocks.chunks(2) {
            let [message, expected] = pair else { continue };
            let got = outcome(message);
            let got = got.as_ref().map(|bytes| std::str::from_utf8(bytes).expect("utf-8"));
            let wanted = match expected.words[0] {
                "becomes" => Ok(expected.text),
                "same" => Ok(message.text),
                "refused" => Err(expected.heading.split_once(' ').expect("a reason").1),
                other => panic!("{name}: {other}: not an outcome"),
            };
            assert_eq!(got.map_err(|why| *why), wanted, "{name}: {}", message.heading);
        }
    }
}

/// Requests and responses of every pair of eras are there, alone and on a shared endpoint.
#[test]
fn every_pair_of_eras_has_its_vectors() {
    let mut seen = BTreeSet::new();
    for (_, text) in files() {
        for block in blocks(&text) {
            let ends = match &block.words[..] {
                ["request", rest @ ..] | ["response", _, rest @ ..] => Ends::read(rest),
                _ => continue,
            };
            let client = ends.client.era() == Era::Modern;
            let shared = ends.more.iter().any(|word| *word != "personal");
            seen.insert((
                block.words[0] == "request",
                client,
                ends.upstream.era() == Era::Modern,
                shared,
            ));
        }
    }
    assert_eq!(seen.len(), 16, "{seen:?}");
}

/// White space that JSON allows.
fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\r\n\t")]
}

/// Tokens that a reader and writer of JSON would not give back as they were.
fn scalar() -> impl Strategy<Value = String> {
    const ODD: &[&str] = &[
        "null",
        "true",
        "-0",
        "1.0",
        "1e400",
        "12345678901234567890123",
        r#""\u0041\/""#,
        r#""\ud83d\ude00é""#,
        r#""\ud800""#,
        r#""resource_link""#,
        r#""resource""#,
        r#""audio""#,
        r#""input_required""#,
        r#""complete""#,
        r#""ref/prompt""#,
        r#""file:\/\/\/a""#,
        r#""ui://a""#,
        r#""mcp-s+a:b""#,
        r#""""#,
        "-32602",
        "-32002",
        "-32021",
    ];
    prop_oneof![4 => prop::sample::select(ODD).prop_map(str::to_owned), 1 => "\"[ -!#-\\[\\]-~]{0,9}\""]
}

/// Keys that mean something somewhere, in plain and escaped form, and others.
fn key() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "\"uri\"",
        r#""u\u0072i""#,
        "\"type\"",
        "\"resource\"",
        "\"content\"",
        "\"contents\"",
        "\"messages\"",
        "\"_meta\"",
        "\"ui\"",
        "\"resourceUri\"",
        r#""ui\/resourceUri""#,
        "\"structuredContent\"",
        "\"resultType\"",
        "\"ttlMs\"",
        "\"cacheScope\"",
        "\"data\"",
        "\"ref\"",
        "\"name\"",
        "\"progressToken\"",
        "\"io.modelcontextprotocol/logLevel\"",
        "\"io.modelcontextprotocol/subscriptionId\"",
    ];
    prop_oneof![5 => prop::sample::select(KNOWN).prop_map(str::to_owned), 1 => "\"[a-z$]{0,3}\""]
}

fn members(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (space(), key(), space(), value, space())
        .prop_map(|(a, key, b, value, c)| format!("{a}{key}{b}:{a}{value}{c}"));
    prop::collection::vec(member, 0..6).prop_map(|members| members.join(","))
}

fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(5, 48, 6, |inner| {
        let array = prop::collection::vec((space(), inner.clone()), 0..4).prop_map(|elements| {
            let elements: Vec<String> =
                elements.iter().map(|(a, b)| format!("{a}{b}{a}")).collect();
            format!("[{}]", elements.join(","))
        });
        prop_oneof![1 => array, 2 => members(inner).prop_map(|members| format!("{{{members}}}"))]
    })
}

/// A content block whose members come in any order and may come twice.
fn block() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(&["resource_link", "resource", "audio", "text"][..]);
    let embedded = (members(scalar()), scalar())
        .prop_map(|(members, uri)| format!("{{\"uri\":{uri}{}{members}}}", comma(&members)));
    (kind, scalar(), embedded, members(value()), any::<bool>()).prop_map(
        |(kind, uri, embedded, members, first)| {
            let known = format!("\"type\":\"{kind}\",\"uri\":{uri},\"resource\":{embedded}");
            let (a, b) = if first { (&known, &members) } else { (&members, &known) };
            let between = if members.is_empty() { "" } else { "," };
            format!("{{{a}{between}{b}}}")
        },
    )
}

fn comma(members: &str) -> &'static str {
    if members.trim().is_empty() { "" } else { "," }
}

/// The URIs of MCP Apps, each of which may come twice.
fn apps() -> impl Strategy<Value = String> {
    (scalar(), scalar(), members(scalar())).prop_map(|(ui, flat, members)| {
        let rest = format!("{}{members}", comma(&members));
        let ui = format!("{{\"resourceUri\":{ui}{rest}}}");
        format!("{{\"ui\":{ui},\"ui/resourceUri\":{flat}{rest}}}")
    })
}

/// Metadata of a request or notification: some of the keys that mean something.
fn metadata() -> impl Strategy<Value = String> {
    const KEYS: [&str; 6] = [
        meta::PROGRESS_TOKEN,
        meta::PROTOCOL_VERSION,
        meta::CLIENT_INFO,
        meta::CLIENT_CAPABILITIES,
        meta::SUBSCRIPTION_ID,
        "other",
    ];
    let values = prop::collection::vec(value(), KEYS.len());
    (values, prop::sample::subsequence(&KEYS[..], 0..=KEYS.len())).prop_map(|(values, keys)| {
        let members = keys.iter().zip(values).map(|(key, value)| format!("\"{key}\": {value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(" ,"))
    })
}

fn params() -> impl Strategy<Value = String> {
    let kinds = prop::sample::select(&["ref/prompt", "ref\\/resource", "ref/tool"][..]);
    let reference = (kinds, scalar(), members(scalar())).prop_map(|(kind, name, members)| {
        let rest = format!("{}{members}", comma(&members));
        format!("{{\"type\":\"{kind}\",\"name\":{name},\"uri\":{name}{rest}}}")
    });
    (reference, prop::option::of(metadata()), scalar(), value()).prop_map(
        |(reference, metadata, name, value)| {
            let metadata = metadata.map(|metadata| format!(",\"_meta\":{metadata} "));
            let metadata = metadata.unwrap_or_default();
            let named = format!("\"name\":{name},\"uri\":{name},\"progressToken\":{name}");
            format!("{{\"ref\":{reference},{named}{metadata},\"arguments\":{value}}}")
        },
    )
}

fn message() -> impl Strategy<Value = String> {
    let blocks = || prop::collection::vec(block(), 0..4).prop_map(|blocks| blocks.join(" ,"));
    let result = (members(value()), blocks(), apps()).prop_map(|(members, blocks, apps)| {
        let messages = format!("\"messages\":[{{\"content\":{{}}}},{{\"content\":[{blocks}]}}]");
        let rest = format!("\"_meta\":{apps}{}{members}", comma(&members));
        format!("\"result\":{{\"content\":[{blocks}],{messages},\"contents\":[{blocks}],{rest}}}")
    });
    let codes = prop::sample::select(&[-32002, -32602, -32021, -32022, -32042, -32050, 1][..]);
    let error = (codes, value(), members(value())).prop_map(|(code, data, members)| {
        let rest = format!("{}{members}", comma(&members));
        format!("\"error\":{{\"code\":{code},\"message\":\"\",\"data\":{data}{rest}}}")
    });
    let methods: Vec<&str> = Method::ALL.iter().map(|method| method.name()).collect();
    let call =
        (prop::sample::select(methods), prop::option::of(params())).prop_map(|(method, params)| {
            let params = params.map(|params| format!(",\"params\" :{params}"));
            format!("\"method\":\"{method}\"{}", params.unwrap_or_default())
        });
    let body = prop_oneof![3 => result, 1 => error, 2 => call];
    (space(), prop_oneof![Just("\"id\":1,"), Just("\"id\" : \"\\u0041\" ,"), Just("")], body)
        .prop_map(|(a, id, body)| format!("{a}{{{id}{a}\"jsonrpc\":\"2.0\",{a}{body}{a}}}{a}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The edits are those of a plain second implementation; every other token stays as it was written.
    #[test]
    fn nothing_else_changes(first: u8, second: u8, text in message()) {
        fuzzing::bridge(&[&[first, second][..], text.as_bytes()].concat());
    }
}

/// Without this the law above could hold for want of messages.
#[test]
fn what_is_made_up_is_mostly_messages_of_every_kind() {
    let mut runner = TestRunner::deterministic();
    let (mut requests, mut notifications, mut responses) = (0, 0, 0);
    for _ in 0..200 {
        let text = message().new_tree(&mut runner).expect("a message").current();
        match Message::parse(Bytes::from(text)) {
            Ok(Message::Request(_)) => requests += 1,
            Ok(Message::Notification(_)) => notifications += 1,
            Ok(Message::Response(_)) => responses += 1,
            Err(_) => {}
        }
    }
    assert!(requests > 10 && notifications > 5 && responses > 50);
    assert!(requests + notifications + responses > 100);
}
