//! The lists of one upstream alone, for `/mcp/{name}`: its own bytes, but for what the eras or the
//! operator's policy change.

use super::entry::{Entry, Provenance};
use super::listing::{Listing, Viewer, left};
use crate::mcp::{Era, ListKind, Revision};
use crate::wire::json::Span;
use crate::wire::splice::{Splice, removals};
use bytes::Bytes;
use std::time::Duration;

/// What a complete result of the modern era has, and what it means where a legacy one says nothing.
const MODERN_MEMBERS: [(&str, &str); 3] =
    [("resultType", "\"complete\""), ("ttlMs", "0"), ("cacheScope", "\"private\"")];

/// The raw result of listing, for one client. `age` is how long ago it was read, `allows` whether a
/// tool (by the upstream's own name) exists for this one. Where nothing changes it is the
/// upstream's own bytes.
pub fn render_single(
    listing: &Listing,
    from: Provenance,
    viewer: Viewer,
    age: Duration,
    allows: &dyn Fn(&str) -> bool,
) -> Bytes {
    let mut splice = Splice::new();
    if listing.kind == ListKind::Tools {
        edit_tools(&mut splice, listing, from, viewer.revision, allows);
    }
    if viewer.revision.era() == Era::Modern {
        edit_members(&mut splice, listing, from.revision.era(), viewer.personal);
        edit_ttl(&mut splice, listing, age);
    }
    if splice.is_empty() { listing.whole.clone() } else { splice.apply(&listing.whole) }
}

fn edit_tools(
    splice: &mut Splice,
    listing: &Listing,
    from: Provenance,
    client: Revision,
    allows: &dyn Fn(&str) -> bool,
) {
    let all = listing.elements();
    let is_shown = |tool: &&Entry| {
        allows(&tool.key) && tool.fault(from).is_none() && tool.is_callable(from, client)
    };
    let shown: Vec<bool> = all.iter().map(is_shown).collect();
    for (tool, _) in all.iter().zip(&shown).filter(|(_, shown)| **shown) {
        tool.fit(from, client, tool.at.start, splice);
    }
    let items: Vec<Span> = all.iter().map(|tool| tool.at).collect();
    let gone = removals(&items, |index| shown.get(index).copied().unwrap_or_default());
    gone.into_iter().for_each(|span| splice.remove(span));
}

/// What was good for a minute 50 seconds ago is good for 10 more.
fn edit_ttl(splice: &mut Splice, listing: &Listing, age: Duration) {
    let own = listing.object.value(&listing.whole, "ttlMs");
    let (Some(own), Some(ttl_ms)) = (own, listing.ttl_ms) else { return };
    let left = left(ttl_ms, age);
    if left != ttl_ms {
        splice.replace(own.span, left.to_string().as_bytes());
    }
}

/// The members of the result for a modern client.
fn edit_members(splice: &mut Splice, listing: &Listing, source: Era, personal: bool) {
    let (whole, object) = (&listing.whole, &listing.object);
    let is_missing = |key: &str| match source {
        Era::Legacy => object.get(whole, key).is_none(),
        Era::Modern => personal && key == "cacheScope" && object.get(whole, key).is_none(),
    };
    let added: Vec<String> = MODERN_MEMBERS
        .iter()
        .filter(|(key, _)| is_missing(key))
        .map(|(key, value)| format!("\"{key}\":{value}"))
        .collect();
    let added: Vec<&[u8]> = added.iter().map(String::as_bytes).collect();
    splice.edit_members(object, &[], &added);
    let scope = object.value(whole, "cacheScope").filter(|_| personal);
    if let Some(scope) = scope.filter(|scope| scope.text(whole).as_deref() != Some("private")) {
        splice.replace(scope.span, b"\"private\"");
    }
}
