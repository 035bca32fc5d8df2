//! A short name from a peer, made safe for one log line.
//!
//! Logs take labels and typed ids, never raw text: a tool's name or a peer's version string could
//! otherwise break lines, colour a terminal or fill a disk. A label is lossy and for eyes only; it is
//! never used to look anything up.

use super::text::is_harmful;
use std::fmt;
use std::sync::Arc;

/// The longest label, in characters; a cut one ends in `…`.
pub const LABEL_CHARS: usize = 64;

/// At most [`LABEL_CHARS`] characters without line breaks, controls or invisible characters. Cheap
/// to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(Arc<str>);

impl Label {
    /// Replaces each harmful character by U+FFFD and cuts what is too long. Reads no further than
    /// the cut, however long the text is.
    pub fn new(text: &str) -> Self {
        let safe = |c| if is_harmful(c) { char::REPLACEMENT_CHARACTER } else { c };
        let cut = text.chars().nth(LABEL_CHARS).is_some();
        let kept = if cut { LABEL_CHARS - 1 } else { LABEL_CHARS };
        let mut out: String = text.chars().take(kept).map(safe).collect();
        if cut {
            out.push('…');
        }
        Self(out.into())
    }

    /// The safe text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_kept() {
        for text in ["", "github", "séarch 世界", &"x".repeat(LABEL_CHARS)] {
            assert_eq!(Label::new(text).as_str(), text);
        }
    }

    #[test]
    fn long_text_is_cut_at_the_limit_in_characters() {
        for text in ["x".repeat(LABEL_CHARS + 1), "世".repeat(100_000)] {
            let label = Label::new(&text);
            assert_eq!(label.as_str().chars().count(), LABEL_CHARS);
            assert!(label.as_str().ends_with('…'));
        }
    }

    #[test]
    fn nothing_harmful_survives() {
        let label = Label::new("a\nb\tc\u{1b}[31m\u{202e}d\r\u{200b}\0");
        assert_eq!(
            label.to_string(),
            "a\u{fffd}b\u{fffd}c\u{fffd}[31m\u{fffd}d\u{fffd}\u{fffd}\u{fffd}"
        );
    }
}
