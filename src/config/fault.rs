//! What is wrong with a configuration file, in words an operator can act on.
//!
//! Every fault of a file is reported at once, each with its line, column and JSON pointer (RFC 6901),
//! what was expected and what was found. A fault never repeats a value that may be a secret: it names
//! the kind of value, a key or a variable, and nothing from `env`, `headers`, `args` or `url`.

use std::fmt;

use super::document::Document;
use crate::base::text::is_harmful;

/// Most faults reported for one file; beyond it one last line counts the rest.
pub const MAX_FAULTS: usize = 100;

/// Whether a fault keeps something from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The entry it stands in, or the whole file, is not used.
    Error,
    /// Something was ignored; the rest is used.
    Warning,
}

/// How far an error reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Outside every entry: the file as a whole is unusable.
    File,
    /// Inside the entry with this key: that entry alone is unusable.
    Entry(String),
}

/// One thing wrong with the file, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Error or warning.
    pub severity: Severity,
    /// What an error makes unusable.
    pub scope: Scope,
    /// JSON pointer of the value concerned; empty for the document itself.
    pub pointer: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1; a byte order mark is not counted.
    pub column: usize,
    /// What stands there, where that is known and not secret.
    pub found: Option<String>,
    /// What should stand there, where one thing should.
    pub expected: Option<String>,
    /// The nearest valid key or word, for what looks like a misspelling.
    pub hint: Option<String>,
    /// The whole sentence, without place and hint; one line, lower case.
    pub message: String,
}

impl Fault {
    /// The fault as one line that starts with the name of its file, as compilers do.
    pub fn in_file<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        InFile { file, fault: self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)?;
        if !self.pointer.is_empty() {
            write!(f, " {}", printable(&self.pointer))?;
        }
        write!(f, ": {}", printable(&self.message))?;
        match &self.hint {
            Some(hint) => write!(f, " (did you mean `{}`?)", printable(hint)),
            None => Ok(()),
        }
    }
}

struct InFile<'a> {
    file: &'a str,
    fault: &'a Fault,
}

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", printable(self.file), self.fault)
    }
}

/// Keys come from the file and end up on a terminal: one line, without escapes and bidi marks.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// A fault before its place was looked up: only the byte offset is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// Byte offset into the text of the document.
    pub(super) at: usize,
    pub(super) found: Option<String>,
    pub(super) expected: Option<String>,
    pub(super) hint: Option<String>,
    pub(super) message: String,
}

/// The findings of one reading, in the order they were made.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    /// Something else was expected at this offset.
    pub(super) fn expected(&mut self, at: usize, expected: &str, found: &str) {
        self.0.push(Finding {
            severity: Severity::Error,
            at,
            found: Some(found.to_owned()),
            expected: Some(expected.to_owned()),
            hint: None,
            message: format!("expected {expected}, found {found}"),
        });
    }

    /// An error that is not about one expected thing.
    pub(super) fn error(&mut self, at: usize, message: impl Into<String>) {
        self.push(Severity::Error, at, message.into());
    }

    /// Something that is ignored.
    pub(super) fn warning(&mut self, at: usize, message: impl Into<String>) {
        self.push(Severity::Warning, at, message.into());
    }

    /// Adds the nearest valid word to the finding made last.
    pub(super) fn hint(&mut self, hint: Option<&str>) {
        if let Some(last) = self.0.last_mut() {
            last.hint = hint.map(ToOwned::to_owned);
        }
    }

    fn push(&mut self, severity: Severity, at: usize, message: String) {
        self.0.push(Finding { severity, at, found: None, expected: None, hint: None, message });
    }

    /// Whether any finding is an error.
    pub(super) fn has_error(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Turns every error into a warning: what is switched off harms nobody.
    pub(super) fn soften(&mut self) {
        for finding in &mut self.0 {
            finding.severity = Severity::Warning;
        }
    }

    /// The faults with their places, by position, each once, at most [`MAX_FAULTS`] and a count.
    pub(super) fn into_faults(mut self, document: &Document) -> Vec<Fault> {
        self.0.sort_by(|a, b| (a.at, a.severity, &a.message).cmp(&(b.at, b.severity, &b.message)));
        self.0.dedup();
        let rest = self.0.split_off(self.0.len().min(MAX_FAULTS));
        if let Some(first) = rest.first() {
            let severity = rest.iter().map(|f| f.severity).min().unwrap_or(Severity::Warning);
            let message = format!("{} more faults are not shown", rest.len());
            let at = first.at;
            self.push(severity, at, message);
        }
        self.0.into_iter().map(|finding| document.place(finding)).collect()
    }
}
