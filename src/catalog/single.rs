//! The lists of one upstream alone, for `/mcp/{name}`: its own bytes, but for what the eras or the
//! operator's policy change.

use super::entry::Entry;
use super::listing::Listing;
use crate::mcp::{Era, ListKind, Revision};
use crate::wire::json::Span;
use crate::wire::splice::{Splice, removals};
use bytes::Bytes;

/// What a complete result of the modern era has, and what it means where a legacy one says nothing.
const MODERN_MEMBERS: [(&str, &str); 3] =
    [("resultType", "\"complete\""), ("ttlMs", "0"), ("cacheScope", "\"private\"")];

/// The raw result of listing, for one client. `source` is the era that the list was read in,
/// `personal` whether what clients get depends on who they are, `allows` whether a tool (by the
/// upstream's own name) exists for this one. Where nothing changes it is the upstream's own bytes.
pub fn render_single(
    listing: &Listing,
    source: Era,
    client: Revision,
    personal: bool,
    allows: &dyn Fn(&str) -> bool,
) -> Bytes {
    let mut splice = Splice::new();
    if listing.kind == ListKind::Tools {
        edit_tools(&mut splice, listing, source, client, allows);
    }
    if client.era() == Era::Modern {
        edit_members(&mut splice, listing, source, personal);
    }
    if splice.is_empty() { listing.whole.clone() } else { splice.apply(&listing.whole) }
}

fn edit_tools(
    splice: &mut Splice,
    listing: &Listing,
    source: Era,
    client: Revision,
    allows: &dyn Fn(&str) -> bool,
) {
    let all = listing.elements();
    let is_shown = |tool: &&Entry| {
        allows(&tool.key) && tool.fault(source).is_none() && tool.is_callable(source, client)
    };
    let shown: Vec<bool> = all.iter().map(is_shown).collect();
    for (tool, _) in all.iter().zip(&shown).filter(|(_, shown)| **shown) {
        let here = tool.removals(source, client).map(|span| span.shifted(tool.at.start));
        here.for_each(|span| splice.remove(span));
    }
    let items: Vec<Span> = all.iter().map(|tool| tool.at).collect();
    let gone = removals(&items, |index| shown.get(index).copied().unwrap_or_default());
    gone.into_iter().for_each(|span| splice.remove(span));
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
