//! Edits to a message: the few bytes that change, everything else copied as it is.
//!
//! A [`Splice`] collects replacements by position and applies them in one exact copy, or, for
//! large messages, as a chain of slices of the original ([`Splice::chunks`]).

use crate::wire::json::{Member, Object, Span};
use bytes::Bytes;

/// Room that is made at once for what a message usually needs, in edits and in bytes.
const USUAL_EDITS: usize = 4;
const USUAL_TEXT: usize = 128;

/// Edits to one message. Positions are those of the unedited message.
#[derive(Debug, Default)]
pub struct Splice {
    edits: Vec<Edit>,
    text: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Edit {
    at: Span,
    from: usize,
    to: usize,
}

impl Splice {
    /// No edits yet.
    pub fn new() -> Self {
        Self { edits: Vec::with_capacity(USUAL_EDITS), text: Vec::with_capacity(USUAL_TEXT) }
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Puts `with` where `at` is now. Edits of one message must not overlap.
    pub fn replace(&mut self, at: Span, with: &[u8]) {
        let from = self.text.len();
        self.text.extend_from_slice(with);
        self.edits.push(Edit { at, from, to: self.text.len() });
    }

    /// Puts `with` before the byte at `at`; insertions at one place keep their order.
    pub fn insert(&mut self, at: u32, with: &[u8]) {
        self.replace(Span { start: at, end: at }, with);
    }

    /// Takes the bytes of `at` out.
    pub fn remove(&mut self, at: Span) {
        self.replace(at, b"");
    }

    /// Removes members of an object by index and adds raw members (`"key":value`) at its start,
    /// with the commas that this needs. Values of members that stay may be edited besides.
    pub fn edit_members(&mut self, object: &Object, removed: &[usize], added: &[&[u8]]) {
        let items: Vec<Span> = object.members.iter().map(Member::span).collect();
        for span in removals(&items, |index| !removed.contains(&index)) {
            self.remove(span);
        }
        let mut text = added.join(&b','); // members are joined as JSON wants them
        if text.is_empty() {
            return;
        }
        if (0..items.len()).any(|index| !removed.contains(&index)) {
            text.push(b',');
        }
        self.insert(object.span.start + 1, &text);
    }

    fn sort(&mut self) {
        self.edits.sort_by_key(|edit| (edit.at.start, edit.at.end));
        debug_assert!(
            self.edits.windows(2).all(|pair| pair[0].at.end <= pair[1].at.start),
            "edits of one message overlap"
        );
    }

    /// The edited message in one piece: one allocation of its exact size.
    pub fn apply(mut self, source: &[u8]) -> Bytes {
        self.sort();
        let removed: usize = self.edits.iter().map(|edit| edit.at.len()).sum();
        let length = (source.len() + self.text.len()).saturating_sub(removed);
        let mut out = Vec::with_capacity(length);
        let mut done = 0;
        for edit in &self.edits {
            let start = edit.at.start as usize;
            out.extend_from_slice(source.get(done..start).unwrap_or_default());
            out.extend_from_slice(self.text.get(edit.from..edit.to).unwrap_or_default());
            done = edit.at.end as usize;
        }
        out.extend_from_slice(source.get(done..).unwrap_or_default());
        Bytes::from(out)
    }

    /// The edited message as slices of the original and of the new text, none of them copied.
    pub fn chunks(mut self, source: &Bytes) -> Vec<Bytes> {
        self.sort();
        let text = Bytes::from(std::mem::take(&mut self.text));
        let mut out = Vec::with_capacity(self.edits.len() * 2 + 1);
        let mut done = 0;
        let mut push = |piece: Bytes| {
            if !piece.is_empty() {
                out.push(piece);
            }
        };
        for edit in &self.edits {
            let start = (edit.at.start as usize).clamp(done, source.len());
            push(source.slice(done..start));
            push(text.slice(edit.from..edit.to));
            done = (edit.at.end as usize).clamp(start, source.len());
        }
        push(source.slice(done..));
        out
    }
}

/// What to take out so that of the members of an object, or the elements of an array, those at
/// the indices that `stays` accepts are left, with the commas that they need. None of the spans
/// reaches into an item that stays.
pub fn removals(items: &[Span], stays: impl Fn(usize) -> bool) -> Vec<Span> {
    let last_kept = (0..items.len()).rev().find(|index| stays(*index));
    let mut spans = Vec::new();
    for (index, item) in items.iter().enumerate().filter(|(index, _)| !stays(*index)) {
        // with an item that stays behind it, take it up to the next one; at the end of the
        // container, take it from the end of what comes before
        let trailing = last_kept.is_none_or(|kept| kept < index);
        let before = index.checked_sub(1).and_then(|before| items.get(before));
        spans.push(match (trailing, before, items.get(index + 1)) {
            (false, _, Some(next)) => Span { start: item.start, end: next.start },
            (_, Some(before), _) => Span { start: before.end, end: item.end },
            _ => *item,
        });
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::check;

    fn object(text: &str) -> Object {
        let bytes = text.as_bytes();
        Object::read(bytes, check(bytes).expect("valid").span).expect("an object")
    }

    #[test]
    fn everything_outside_the_edits_stays() {
        let source = Bytes::from_static(b"0123456789");
        let mut splice = Splice::new();
        splice.replace(Span { start: 7, end: 9 }, b"XYZ");
        splice.remove(Span { start: 2, end: 4 });
        splice.insert(0, b"<");
        splice.insert(10, b">");
        let mut again = Splice::new();
        again.replace(Span { start: 7, end: 9 }, b"XYZ");
        again.remove(Span { start: 2, end: 4 });
        again.insert(0, b"<");
        again.insert(10, b">");
        assert_eq!(splice.apply(&source), "<01456XYZ9>");
        assert_eq!(again.chunks(&source).concat(), b"<01456XYZ9>");
    }

    #[test]
    fn any_choice_of_members_leaves_a_valid_object() {
        let text = r#"{ "a" : 1 , "b":[2], "c":"3" ,"d":{}}"#;
        let parsed = object(text);
        for mask in 0..16_usize {
            let removed: Vec<usize> = (0..4).filter(|i| mask >> i & 1 == 1).collect();
            for added in [&[][..], &[&b"\"x\":0"[..]][..], &[&b"\"x\":0"[..], b"\"y\":1"][..]] {
                let mut splice = Splice::new();
                splice.edit_members(&parsed, &removed, added);
                let out = splice.apply(text.as_bytes());
                let value: serde_json::Value = serde_json::from_slice(&out)
                    .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out)));
                assert_eq!(
                    value.as_object().expect("object").len(),
                    4 - removed.len() + added.len()
                );
            }
        }
    }

    #[test]
    fn an_empty_object_takes_members() {
        let mut splice = Splice::new();
        splice.edit_members(&object("{ }"), &[], &[b"\"x\":0"]);
        assert_eq!(splice.apply(b"{ }"), "{\"x\":0 }");
    }
}
