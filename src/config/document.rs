//! A JSON text as a small tree that remembers where everything stood.
//!
//! Only the configuration file is ever read into this tree; MCP messages never are. Members keep the
//! file's order. `Debug` shows kinds and never values, because the file may hold secrets.

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

impl Member {
    fn contains(&self, at: usize) -> bool {
        self.key_span.start <= at && at < self.node.span.end.max(self.key_span.end)
    }
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
    /// Pointer tokens of the objects whose members are entries (`mcpServers`, …).
    entry_roots: Vec<Vec<String>>,
}

impl Document {
    pub(super) fn new(text: String, root: Option<Node>, relaxed: bool) -> Self {
        let breaks = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        Document { text, root, relaxed, lines, entry_roots: Vec::new() }
    }

    /// Says which objects hold the entries, so that faults know how far they reach.
    pub(super) fn set_entry_roots(&mut self, roots: Vec<Vec<String>>) {
        self.entry_roots = roots;
    }

    /// Line and column (characters) of a byte offset, both from 1.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..at).map_or(0, |text| text.chars().count());
        (line, before + 1)
    }

    /// The pointer tokens of the innermost value whose member or element holds this offset.
    fn tokens(&self, at: usize) -> Vec<String> {
        let mut tokens = Vec::new();
        let mut node = self.root.as_ref();
        while let Some(here) = node {
            node = match &here.value {
                Value::Object(members) => members.iter().find(|m| m.contains(at)).map(|member| {
                    tokens.push(member.key.clone());
                    &member.node
                }),
                Value::Array(elements) => {
                    let holds = |n: &Node| n.span.start <= at && at < n.span.end;
                    elements.iter().enumerate().find(|(_, n)| holds(n)).map(|(index, element)| {
                        tokens.push(index.to_string());
                        element
                    })
                }
                _ => None,
            };
        }
        tokens
    }

    fn scope(&self, tokens: &[String]) -> Scope {
        let holder = self.entry_roots.iter().find(|root| tokens.starts_with(root));
        match holder.and_then(|root| tokens.get(root.len())) {
            Some(key) => Scope::Entry(key.clone()),
            None => Scope::File,
        }
    }

    /// Gives a finding its place.
    pub(super) fn place(&self, finding: Finding) -> Fault {
        let tokens = self.tokens(finding.at);
        let (line, column) = self.position(finding.at);
        Fault {
            severity: finding.severity,
            scope: self.scope(&tokens),
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
        matches!(self.scope(&self.tokens(at)), Scope::Entry(_))
    }
}

// RFC 6901 §3: `~` and `/` inside a token are written `~0` and `~1`.
fn pointer(tokens: &[String]) -> String {
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
