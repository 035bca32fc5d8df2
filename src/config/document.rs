//! A JSON text as a small tree that remembers where everything stood.
//!
//! Only the configuration file is ever read into this tree; MCP messages never are. Members keep the
//! file's order. `Debug` shows kinds and never values, because the file may hold secrets.

use std::borrow::Cow;
use std::fmt;

use super::fault::{Fault, Finding, Scope};

/// A range of bytes in [`Document::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A value and where it stands.
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    /// The bytes of the value itself.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// One JSON value.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Something that is no JSON value; a fault was recorded for it.
    Invalid,
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as written.
    Number(String),
    /// A string, unescaped.
    String(String),
    /// An array.
    Array(Vec<Node>),
    /// An object, members in file order, duplicates included.
    Object(Vec<Member>),
}

/// One member of an object.
#[derive(Clone, PartialEq, Eq)]
pub struct Member {
    /// The key, unescaped.
    pub key: String,
    /// The bytes of the key with its quotes.
    pub key_span: Span,
    /// The value.
    pub node: Node,
}

impl Node {
    /// The kind with its article, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Invalid => "something that is no JSON value",
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }

    /// The members of an object; none for any other kind.
    pub fn members(&self) -> &[Member] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }

    /// The elements of an array; none for any other kind.
    pub fn elements(&self) -> &[Node] {
        match &self.value {
            Value::Array(elements) => elements,
            _ => &[],
        }
    }

    /// The value of the first member with this key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        find(self.members(), key).map(|member| &member.node)
    }

    /// Whether this is an object or array without content, or `null`.
    pub fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Array(elements) => elements.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        }
    }
}

/// The first member with this key.
pub fn find<'a>(members: &'a [Member], key: &str) -> Option<&'a Member> {
    members.iter().find(|member| member.key == key)
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}..{}", self.kind(), self.span.start, self.span.end)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(value not shown)")
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.key, self.node)
    }
}

/// The text of a file without its byte order mark, and its tree as far as it could be read.
#[derive(Clone)]
pub struct Document {
    /// What the spans point into.
    pub text: String,
    /// Absent when the text has no value at all.
    pub root: Option<Node>,
    /// Whether it used anything that plain JSON does not have: comments, trailing commas, a BOM.
    pub relaxed: bool,
    /// Offset of the first byte of every line.
    lines: Vec<usize>,
    /// Pointer tokens of the object whose members are the entries (`mcpServers`, …).
    entry_root: Option<&'static [&'static str]>,
}

impl Document {
    pub(super) fn new(text: String, root: Option<Node>, relaxed: bool) -> Self {
        let breaks = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        Document { text, root, relaxed, lines, entry_root: None }
    }

    /// Says which object holds the entries, so that faults know how far they reach.
    pub(super) fn set_entry_root(&mut self, root: Option<&'static [&'static str]>) {
        self.entry_root = root;
    }

    /// Line and column (characters) of a byte offset, both from 1.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..at).map_or(0, |text| text.chars().count());
        (line, before + 1)
    }

    /// The pointer tokens of the innermost value whose member or element holds this offset.
    fn tokens(&self, at: usize) -> Vec<Cow<'_, str>> {
        let mut tokens = Vec::new();
        let mut node = self.root.as_ref();
        while let Some(here) = node {
            node = match &here.value {
                Value::Object(members) => {
                    let next = members.partition_point(|member| member.key_span.start <= at);
                    let member = next.checked_sub(1).and_then(|index| members.get(index));
                    member.filter(|member| at < member.node.span.end.max(member.key_span.end)).map(
                        |member| {
                            tokens.push(Cow::Borrowed(member.key.as_str()));
                            &member.node
                        },
                    )
                }
                Value::Array(elements) => {
                    let next = elements.partition_point(|element| element.span.start <= at);
                    let index = next.checked_sub(1);
                    let element = index.and_then(|index| Some((index, elements.get(index)?)));
                    element.filter(|(_, element)| at < element.span.end).map(|(index, element)| {
                        tokens.push(Cow::Owned(index.to_string()));
                        element
                    })
                }
                _ => None,
            };
        }
        tokens
    }

    /// The key of the entry that a place is in.
    fn entry_key<'a>(&self, tokens: &'a [Cow<'_, str>]) -> Option<&'a str> {
        let root = self.entry_root?;
        let key = tokens.get(root.len())?;
        tokens.iter().zip(root).all(|(token, name)| token == name).then_some(key)
    }

    /// Gives a finding its place.
    pub(super) fn place(&self, finding: Finding) -> Fault {
        let tokens = self.tokens(finding.at);
        let (line, column) = self.position(finding.at);
        Fault {
            severity: finding.severity,
            scope: match self.entry_key(&tokens) {
                Some(key) => Scope::Entry(key.to_owned()),
                None => Scope::File,
            },
            pointer: pointer(&tokens),
            line,
            column,
            found: finding.found,
            expected: finding.expected,
            hint: finding.hint,
            message: finding.message,
        }
    }

    /// Whether a finding at this offset concerns one entry alone.
    pub(super) fn in_entry(&self, at: usize) -> bool {
        self.entry_key(&self.tokens(at)).is_some()
    }
}

// RFC 6901 §3: `~` and `/` inside a token are written `~0` and `~1`.
fn pointer(tokens: &[Cow<'_, str>]) -> String {
    let mut out = String::new();
    for token in tokens {
        out.push('/');
        out.push_str(&token.replace('~', "~0").replace('/', "~1"));
    }
    out
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes, root: {:?})", self.text.len(), self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    #[test]
    fn every_place_has_its_pointer() {
        let text = r#"{"a": [1, {"b/c~": true}], "d": {}}"#;
        let (document, _) = parse::read(text.as_bytes());
        let pointer = |at: &str| {
            let at = text.find(at).expect("part of the text");
            super::pointer(&document.tokens(at))
        };
        assert_eq!(super::pointer(&document.tokens(0)), "");
        assert_eq!(pointer("\"a"), "/a");
        assert_eq!(pointer("[1"), "/a");
        assert_eq!(pointer("1,"), "/a/0");
        assert_eq!(pointer(", {"), "/a");
        assert_eq!(pointer("true"), "/a/1/b~1c~0");
        assert_eq!(pointer("\"d"), "/d");
    }
}
