//! What must hold for any bytes at all, for the fuzzer and for `cargo test`.

use serde::de::IgnoredAny;
use serde_json::Value as Reference;

use super::document::{Document, Node, Value};
use super::environment::Environment;
use super::fault::MAX_FAULTS;
use super::resolve::{parse, resolve};

/// Reads arbitrary bytes as a configuration file.
///
/// # Panics
/// If a property fails: a span out of bounds, a fault without a place or of more than one line,
/// disagreement with `serde_json`.
pub fn config(data: &[u8]) {
    let parsed = parse(data);
    let document = parsed.file.document();
    if let Some(root) = &document.root {
        check_spans(document, root, 0, document.text.len());
    }
    differential(data, document, parsed.faults.is_empty());
    let environment = Environment::default();
    let _ = (parsed.file.variables(), parsed.file.files(&environment));
    let resolved = resolve(&parsed.file, &environment);
    assert!(resolved.faults.len() <= MAX_FAULTS + 1, "more faults than the limit");
    for fault in &resolved.faults {
        assert!(fault.line >= 1 && fault.column >= 1, "a fault without a place");
        assert!(!fault.to_string().contains('\n'), "a fault of more than one line");
    }
    assert!(
        parsed.faults.is_empty() || !resolved.faults.is_empty(),
        "resolving forgot what reading found"
    );
}

fn check_spans(document: &Document, node: &Node, from: usize, to: usize) {
    let (start, end) = (node.span.start, node.span.end);
    assert!(from <= start && start <= end && end <= to, "a span outside its parent");
    assert!(document.text.get(start..end).is_some(), "a span that splits a character");
    match &node.value {
        Value::Array(elements) => {
            elements.iter().for_each(|element| check_spans(document, element, start, end));
        }
        Value::Object(members) => {
            for member in members {
                assert!(member.key_span.end <= member.node.span.start, "a key behind its value");
                check_spans(document, &member.node, member.key_span.end, end);
            }
        }
        _ => {}
    }
}

/// Without comments and trailing commas, we accept what `serde_json` accepts. Ours is stricter in
/// size, depth and duplicate keys, which these comparisons leave out.
fn differential(data: &[u8], document: &Document, clean: bool) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if clean && !document.relaxed {
        let reference = serde_json::from_str::<IgnoredAny>(text);
        assert!(reference.is_ok(), "accepted what is not JSON");
    }
    if let Ok(reference) = serde_json::from_str::<Reference>(text) {
        let same = document.root.as_ref().is_some_and(|root| matches_reference(root, &reference));
        assert!(!clean || same, "read another value");
        assert!(clean || is_beyond_limits(text), "refused JSON");
    }
}

/// The reasons for which JSON is refused: they are looked for in the message, as a user would.
fn is_beyond_limits(text: &str) -> bool {
    let reasons = ["here twice", "longer than", "nested deeper", "more than", "at most"];
    let faults = parse(text.as_bytes()).faults;
    faults.iter().all(|fault| reasons.iter().any(|reason| fault.message.contains(reason)))
}

fn matches_reference(node: &Node, reference: &Reference) -> bool {
    match (&node.value, reference) {
        (Value::Null, Reference::Null) => true,
        (Value::Bool(a), Reference::Bool(b)) => a == b,
        (Value::Number(_), Reference::Number(_)) => true,
        (Value::String(a), Reference::String(b)) => a == b,
        (Value::Array(a), Reference::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| matches_reference(a, b))
        }
        (Value::Object(a), Reference::Object(b)) => {
            let same = |(m, (key, value)): (&super::document::Member, (&String, &Reference))| {
                m.key == *key && matches_reference(&m.node, value)
            };
            a.len() == b.len() && a.iter().zip(b).all(same)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Pieces that meet the reader's corners more often than random bytes do.
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\u",
        "d83d",
        "\\ude00",
        "//",
        "/*",
        "*/",
        "\n",
        "\r",
        " ",
        "'",
        "true",
        "null",
        "-",
        "0",
        "1",
        ".",
        "e",
        "+",
        "x",
        "é",
        "😀",
        "\u{feff}",
        "\"a\"",
        "\"mcpServers\":{",
        "\"gateway\":{",
        "\"command\":\"x\"",
        "\"url\":\"http://a\"",
        "\"env\":[\"A\"]",
        "${A}",
        "\"args\":[",
        "\u{0}",
        "\u{a0}",
        "\"listen\":",
        "\"a\":{",
    ];

    proptest! {
        #[test]
        fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            super::config(&data);
        }

        #[test]
        fn any_pieces(picks in proptest::collection::vec(0..PIECES.len(), 0..60)) {
            let text: String = picks.iter().filter_map(|pick| PIECES.get(*pick)).copied().collect();
            super::config(text.as_bytes());
        }

        #[test]
        fn any_json(picks in proptest::collection::vec((any::<bool>(), ".{0,8}", any::<f64>()), 0..20)) {
            let value = serde_json::json!(picks);
            super::config(value.to_string().as_bytes());
        }
    }
}
