//! Marks a resource URI with the upstream it belongs to, and takes the mark off again.
//!
//! On the aggregate endpoint two upstreams may use the same URI, and a URI may be made from a
//! template or never listed at all; so the URI itself carries the upstream's slug, and routing one
//! needs no lookup:
//!
//! | the upstream says | the client sees |
//! |---|---|
//! | `file:///a` | `mcp-<slug>+file:///a` |
//! | `ui://app/x` (MCP Apps, whose hosts look for this scheme; any case) | `ui://<slug>+app/x` |
//! | `notes/a`, `{base}/a`, anything else without a scheme | `mcp-<slug>+:notes/a` |
//!
//! A slug holds no `+`, so the first one ends it. A mark is put on always, even over another mark:
//! whatever an upstream writes, what the client sees belongs to that upstream. Only text at the front
//! is added, so the expressions of a URI template (RFC 6570) stay as they are, and what a client
//! expands from a marked template unmarks to what the upstream's own template would have given. Taking
//! a mark off is therefore lenient about which form was used. URIs are opaque otherwise: nothing
//! here normalises, decodes or validates one.

use std::borrow::Cow;

/// The longest slug, in bytes.
pub const SLUG_BYTES: usize = 32;

const MARK: &str = "mcp-";

/// Whether a text is a slug: `[a-z0-9][a-z0-9-]*`, at most [`SLUG_BYTES`].
pub fn is_slug(text: &str) -> bool {
    text.len() <= SLUG_BYTES
        && !text.is_empty()
        && !text.starts_with('-')
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// A URI or URI template of the upstream `slug`, as the clients of the aggregate endpoint see it.
/// `None` only if `slug` is not a slug. Exactly undone by [`unwrap`].
pub fn wrap(slug: &str, uri: &str) -> Option<String> {
    if !is_slug(slug) {
        return None;
    }
    Some(if let Some((scheme, rest)) = split_ui(uri) {
        format!("{scheme}{slug}+{rest}")
    } else if has_scheme(uri) {
        format!("{MARK}{slug}+{uri}")
    } else {
        format!("{MARK}{slug}+:{uri}")
    })
}

/// The slug of the upstream and its own URI. `None` for a URI that carries no mark: nobody's.
pub fn unwrap(uri: &str) -> Option<(&str, Cow<'_, str>)> {
    if let Some((scheme, rest)) = split_ui(uri) {
        let (slug, rest) = rest.split_once('+')?;
        return is_slug(slug).then(|| (slug, Cow::Owned(format!("{scheme}{rest}"))));
    }
    let (slug, inner) = uri.strip_prefix(MARK)?.split_once('+')?;
    let own = match inner.strip_prefix(':') {
        Some(raw) => raw,
        None if has_scheme(inner) => inner,
        None => return None,
    };
    is_slug(slug).then_some((slug, Cow::Borrowed(own)))
}

/// Splits `ui://rest` after its slashes, keeping the case the scheme was written in.
fn split_ui(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_at_checked("ui://".len())?;
    scheme.eq_ignore_ascii_case("ui://").then_some((scheme, rest))
}

/// Whether it begins with a scheme and a colon (RFC 3986 §3.1).
fn has_scheme(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table() {
        let table = [
            ("file:///a", "mcp-git+file:///a"),
            ("HTTPS://Host/x?q#f", "mcp-git+HTTPS://Host/x?q#f"),
            ("urn:x:y", "mcp-git+urn:x:y"),
            ("git+ssh://h/p", "mcp-git+git+ssh://h/p"),
            ("ui://app/x", "ui://git+app/x"),
            ("UI://app", "UI://git+app"),
            ("ui://other+app", "ui://git+other+app"),
            ("ui://", "ui://git+"),
            ("ui:app", "mcp-git+ui:app"),
            ("ui:/app", "mcp-git+ui:/app"),
            ("mcp-other+file:///a", "mcp-git+mcp-other+file:///a"),
            ("mcp-other+:x", "mcp-git+mcp-other+:x"),
            ("mcp-git+file:///a", "mcp-git+mcp-git+file:///a"),
            ("notes/a", "mcp-git+:notes/a"),
            ("/a:b", "mcp-git+:/a:b"),
            ("1a:b", "mcp-git+:1a:b"),
            (":x", "mcp-git+::x"),
            ("", "mcp-git+:"),
            ("世:x", "mcp-git+:世:x"),
            ("db://{table}/{+row}", "mcp-git+db://{table}/{+row}"),
            ("{scheme}://x", "mcp-git+:{scheme}://x"),
            ("ui://{app}", "ui://git+{app}"),
        ];
        for (own, seen) in table {
            assert_eq!(wrap("git", own).as_deref(), Some(seen));
            assert_eq!(unwrap(seen), Some(("git", own.into())));
        }
    }

    #[test]
    fn an_unmarked_uri_is_nobodys() {
        for uri in [
            "",
            "file:///a",
            "ui://app",
            "ui://a/b+c",
            "ui://+x",
            "ui://-a+x",
            "ui://A+x",
            "ui:a+b",
            "mcp-git",
            "mcp-git+",
            "mcp-git+notes",
            "mcp-+file:///a",
            "mcp--a+file:///a",
            "mcp-Git+file:///a",
            "MCP-git+file:///a",
            "mcp-git:x",
            "mcp-gi t+x:y",
            " mcp-git+file:///a",
            "uí://a+b",
            "mcp-012345678901234567890123456789012+x:y",
        ] {
            assert_eq!(unwrap(uri), None, "{uri:?}");
        }
    }

    #[test]
    fn slugs() {
        for slug in ["a", "0", "a-b", "a-", "01234567890123456789012345678901"] {
            assert!(is_slug(slug), "{slug:?}");
        }
        for slug in ["", "-a", "A", "a_b", "a+b", "é", "a b", "012345678901234567890123456789012"]
        {
            assert!(!is_slug(slug), "{slug:?}");
            assert_eq!(wrap(slug, "file:///a"), None);
        }
    }

    #[test]
    fn an_expanded_template_unmarks_to_the_upstreams_own_expansion() {
        let table = [
            ("{+base}/x", "{+base}", "file:///d"),
            ("{scheme}://x", "{scheme}", "ui"),
            ("ui:{+path}", "{+path}", "//app/x"),
            ("ui://{app}/x", "{app}", "mine"),
            ("db://{table}", "{table}", "t%2B"),
        ];
        for (template, expression, value) in table {
            let seen = wrap("s", template).expect("a slug").replace(expression, value);
            let own = template.replace(expression, value);
            assert_eq!(unwrap(&seen), Some(("s", own.into())));
        }
    }

    /// Mostly URIs that come close to being marked.
    fn uris() -> impl Strategy<Value = String> {
        let near = "((mcp-|ui://|UI:|[a-z]{1,3}:|:|\\+|-|/|[a-z0-9]{1,3}|\\{[+]?[a-z]\\})){0,8}";
        prop_oneof![near, any::<String>()]
    }

    proptest! {
        #[test]
        fn every_uri_comes_back_and_belongs_to_its_upstream(
            slug in "[a-z0-9][a-z0-9-]{0,31}", other in "[a-z0-9][a-z0-9-]{0,31}",
            uri in uris(), another in uris(),
        ) {
            let seen = wrap(&slug, &uri).expect("a slug");
            prop_assert_eq!(unwrap(&seen), Some((&*slug, Cow::Borrowed(&*uri))));
            let theirs = wrap(&other, &another).expect("a slug");
            prop_assert_eq!(seen == theirs, (slug, uri) == (other, another));
        }

        #[test]
        fn what_carries_a_mark_can_be_marked_the_same(uri in uris()) {
            if let Some((slug, own)) = unwrap(&uri) {
                let again = wrap(slug, &own).expect("a slug");
                prop_assert_eq!(unwrap(&again), Some((slug, own)));
            }
        }
    }
}
