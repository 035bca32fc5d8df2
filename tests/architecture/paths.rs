//! Every path a file names, `use` trees unfolded and `crate`, `self` and `super` resolved.

use crate::lexer::{Kind, Token};
use crate::source::Source;

/// A path of at least two segments, or an import. A path of ours begins with `crate`; a `*` is a
/// segment of its own.
pub(crate) struct Named {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

impl Named {
    /// Do these segments stand in it, one after the other?
    pub(crate) fn has(&self, wanted: &[&str]) -> bool {
        self.segments.windows(wanted.len()).any(|w| w.iter().zip(wanted).all(|(a, b)| a == b))
    }

    pub(crate) fn begins(&self, wanted: &[&str]) -> bool {
        self.segments.len() >= wanted.len() && self.segments.iter().zip(wanted).all(|(a, b)| a == b)
    }

    pub(crate) fn text(&self) -> String {
        self.segments.join("::")
    }
}

struct Walk<'a> {
    tokens: &'a [Token],
    /// The module we are in: the file's, then inline ones with the depth of their braces.
    module: Vec<String>,
    inline: Vec<usize>,
    depth: usize,
    found: Vec<Named>,
}

/// All paths of the shipped part of a file.
pub(crate) fn named(source: &Source) -> Vec<Named> {
    let mut walk = Walk {
        tokens: &source.tokens,
        module: source.module.clone(),
        inline: Vec::new(),
        depth: 0,
        found: Vec::new(),
    };
    let mut at = 0;
    while at < source.tokens.len() {
        at = walk.step(at);
    }
    walk.found
}

impl Walk<'_> {
    fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|t| t.is(text))
    }

    fn ident(&self, at: usize) -> Option<&str> {
        self.tokens.get(at).filter(|t| t.kind == Kind::Ident).map(|t| t.text.as_str())
    }

    /// Looks at one token and says where to go on.
    fn step(&mut self, at: usize) -> usize {
        self.braces(at);
        if self.is(at, "use") && !self.is(at + 1, "<") {
            let begin = if self.is(at + 1, "::") { at + 2 } else { at + 1 };
            return self.tree(begin, &[]);
        }
        if self.ident(at).is_some() && self.is(at + 1, "::") && self.begins_here(at) {
            return self.plain(at);
        }
        at + 1
    }

    fn braces(&mut self, at: usize) {
        if self.is(at, "{") {
            self.depth += 1;
            if at >= 2 && self.is(at - 2, "mod") {
                self.module.push(self.tokens[at - 1].text.clone());
                self.inline.push(self.depth);
            }
        } else if self.is(at, "}") {
            if self.inline.last() == Some(&self.depth) {
                self.inline.pop();
                self.module.pop();
            }
            self.depth = self.depth.saturating_sub(1);
        }
    }

    /// Not in the middle of `a::b::c` or `<T as X>::y`; `::tokio::x` does begin at `tokio`.
    fn begins_here(&self, at: usize) -> bool {
        let after_colons = at >= 1 && self.is(at - 1, "::");
        !after_colons || at < 2 || (self.ident(at - 2).is_none() && !self.is(at - 2, ">"))
    }

    /// `a::b::c` in the middle of code; a turbofish ends it.
    fn plain(&mut self, begin: usize) -> usize {
        let mut segments = Vec::new();
        let mut at = begin;
        while let Some(word) = self.ident(at) {
            segments.push(word.to_owned());
            at += 1;
            if !self.is(at, "::") || self.ident(at + 1).is_none() {
                break;
            }
            at += 1;
        }
        self.record(&segments, begin);
        at
    }

    /// One entry of a `use` tree; returns the index after it.
    fn tree(&mut self, begin: usize, prefix: &[String]) -> usize {
        let mut segments = prefix.to_vec();
        let mut at = begin;
        loop {
            if self.is(at, "{") {
                return self.group(at + 1, &segments);
            }
            let Some(token) = self.tokens.get(at) else { return at };
            let keep = token.text != "self" || segments.is_empty();
            if keep {
                segments.push(token.text.clone());
            }
            at += 1;
            if !self.is(at, "::") {
                break;
            }
            at += 1;
        }
        self.record(&segments, begin);
        if self.is(at, "as") { at + 2 } else { at }
    }

    fn group(&mut self, begin: usize, prefix: &[String]) -> usize {
        let mut at = begin;
        while at < self.tokens.len() && !self.is(at, "}") {
            at = if self.is(at, ",") { at + 1 } else { self.tree(at, prefix) };
        }
        at + 1
    }

    fn record(&mut self, segments: &[String], at: usize) {
        let ours = ["crate", "self", "super"].contains(&segments[0].as_str());
        let segments = if ours { self.resolve(segments) } else { segments.to_vec() };
        self.found.push(Named { segments, line: self.tokens[at].line });
    }

    fn resolve(&self, segments: &[String]) -> Vec<String> {
        let mut out = vec!["crate".to_owned()];
        if segments[0] != "crate" {
            out.extend(self.module.iter().cloned());
        }
        for segment in segments {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" if out.len() > 1 => {
                    out.pop();
                }
                _ => out.push(segment.clone()),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(path: &str, text: &str) -> Vec<String> {
        named(&Source::parse(path, text)).iter().map(Named::text).collect()
    }

    #[test]
    fn use_trees_are_unfolded() {
        let text = "use std::{io::{self, Read as R}, process::Command}; use crate::{wire, mcp::*};";
        assert_eq!(
            paths("src/x.rs", text),
            ["std::io", "std::io::Read", "std::process::Command", "crate::wire", "crate::mcp::*"]
        );
    }

    #[test]
    fn super_and_self_are_resolved_also_in_inline_modules() {
        let text = "use super::super::wire::X; mod i { fn f() { super::g(); self::h(); } } \
                    fn k() { super::z() }";
        assert_eq!(
            paths("src/a/b.rs", text),
            ["crate::wire::X", "crate::a::b::g", "crate::a::b::i::h", "crate::a::z"]
        );
        assert_eq!(paths("src/a/mod.rs", "use super::{c, super::d};")[0], "crate::c");
    }

    #[test]
    fn paths_in_code_are_whole_and_a_turbofish_ends_them() {
        let text = "let a = tokio::task::spawn(x); Vec::<u8>::new(); ::tokio::spawn(y); \
                    <T as Trait>::name(); \"crate::no\"; a.b";
        assert_eq!(paths("src/x.rs", text), ["tokio::task::spawn", "Vec", "tokio::spawn"]);
    }

    #[test]
    fn visibility_is_no_path() {
        assert!(paths("src/a/b.rs", "pub(crate) fn f() {} pub(super) struct S;").is_empty());
    }
}
