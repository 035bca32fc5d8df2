//! Makes text from peers harmless on a terminal and in a log line.
//!
//! A tool description can carry escape sequences that rewrite the screen, bidirectional overrides
//! that show another text than the bytes say, or characters nobody sees. They become visible
//! `\u{…}` escapes. This is for eyes, not for machines: the result is not meant to be decoded (a
//! backslash is not escaped), and raw output (`--json`) never comes through here.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with every harmful character replaced by its visible `\u{hex}` escape; newline and tab
/// stay. Borrowed when there is nothing to replace. At most six times as long as the input.
pub fn terminal_safe(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| is_harmful(c) && !matches!(c, '\n' | '\t');
    let Some(first) = text.find(harmful) else {
        return Cow::Borrowed(text);
    };
    let (clean, rest) = text.split_at(first);
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(clean);
    for c in rest.chars() {
        if harmful(c) {
            write!(out, "\\u{{{:x}}}", u32::from(c)).expect("a String takes every write");
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The same on one line: newline and tab are escaped as well.
pub fn one_line(text: &str) -> String {
    terminal_safe(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// Whether a character can act on a terminal or deceive the eye: controls (C0, DEL, C1), line and
/// paragraph separators, interlinear annotation, and what Unicode calls
/// `Default_Ignorable_Code_Point` (bidirectional controls, zero-width and filler characters, tags),
/// but not the sixteen variation selectors U+FE00..U+FE0F, which only choose a glyph's shape.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_is_borrowed() {
        for text in ["", "plain", "two\n\tlines", "héllo 世界 🙂\u{fe0f}", "a\\b"] {
            assert!(matches!(terminal_safe(text), Cow::Borrowed(t) if t == text), "{text:?}");
        }
    }

    #[test]
    fn harmful_characters_become_visible() {
        let table = [
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("\r\n", "\\u{d}\n"),
            ("\0", "\\u{0}"),
            ("\u{7f}", "\\u{7f}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("safe\u{202e}gpj.exe", "safe\\u{202e}gpj.exe"),
            ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
            ("pay\u{200b}pal", "pay\\u{200b}pal"),
            ("a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"),
            ("\u{feff}", "\\u{feff}"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
        ];
        for (text, want) in table {
            assert_eq!(terminal_safe(text), want);
        }
    }

    #[test]
    fn what_comes_out_needs_no_second_pass() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let text = c.to_string();
            let once = terminal_safe(&text);
            assert!(matches!(terminal_safe(&once), Cow::Borrowed(_)), "{c:?}");
        }
    }
}
