//! Reads JSON with comments (`//`, `/* */`), trailing commas and a byte order mark (RFC 8259 plus
//! what editors' settings files allow) into a [`Document`].
//!
//! It does not stop at the first mistake: a missing comma, a bad escape or an unquoted word is
//! recorded and reading goes on. What it accepts without comments and trailing commas is exactly
//! what `serde_json` accepts, apart from duplicate keys and the limits below.

use std::collections::HashSet;

use super::document::{Document, Member, Node, Span, Value};
use super::fault::Findings;

/// Largest configuration file, in bytes.
pub const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;
/// Deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 64;
/// Longest key, in bytes; bounds what a report can repeat.
pub const MAX_KEY_BYTES: usize = 4096;
/// Most values in one file; bounds the memory of the tree.
pub const MAX_NODES: usize = 100_000;

/// Reads a whole file. The document's root is absent when nothing could be read.
pub(super) fn read(bytes: &[u8]) -> (Document, Findings) {
    let mut findings = Findings::default();
    if bytes.len() > MAX_FILE_BYTES {
        let found = format!("{} bytes", bytes.len());
        findings.expected(0, &format!("at most {MAX_FILE_BYTES} bytes"), &found);
        return (Document::new(String::new(), None, false), findings);
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        findings.expected(0, "a file in UTF-8", "UTF-16");
        return (Document::new(String::new(), None, false), findings);
    }
    let plain = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = String::from_utf8_lossy(plain);
    if let Err(error) = std::str::from_utf8(plain) {
        findings.expected(error.valid_up_to(), "UTF-8", "a byte that is not");
        // Reading on would report the replacement characters too.
        return (Document::new(text.into_owned(), None, false), findings);
    }
    let relaxed = plain.len() != bytes.len();
    let mut reader = Reader { text: &text, at: 0, nodes: 0, relaxed, stopped: false, findings };
    let root = reader.document();
    let Reader { relaxed, findings, .. } = reader;
    (Document::new(text.into_owned(), root, relaxed), findings)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
    relaxed: bool,
    /// Set by a mistake that reading cannot go past; nothing is recorded after it.
    stopped: bool,
    findings: Findings,
}

impl Reader<'_> {
    fn document(&mut self) -> Option<Node> {
        self.trivia();
        if self.peek().is_none() && !self.stopped {
            self.expected("an object");
            return None;
        }
        let root = self.value(0);
        self.trivia();
        if self.peek().is_some() {
            self.expected("the end of the file");
        }
        Some(root)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips one whole character, so that `at` always stands on a boundary.
    fn skip_character(&mut self) {
        self.at += self.rest().chars().next().map_or(0, char::len_utf8);
    }

    fn span_from(&self, start: usize) -> Span {
        Span { start, end: self.at }
    }

    /// Records that something else was expected here.
    fn expected(&mut self, what: &str) {
        if !self.stopped {
            let found = self.describe();
            self.findings.expected(self.at, what, &found);
        }
    }

    fn mistake(&mut self, at: usize, message: &str) {
        if !self.stopped {
            self.findings.error(at, message);
        }
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.at = self.text.len();
    }

    /// What stands here, without repeating a value: an unquoted word may be somebody's token.
    fn describe(&self) -> String {
        match self.rest().chars().next() {
            None => "the end of the file".to_owned(),
            Some('"') => "a string".to_owned(),
            Some('\'') => "a single quote".to_owned(),
            Some(c) if c.is_ascii_digit() => "a number".to_owned(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => "an unquoted word".to_owned(),
            Some(c) if c.is_ascii_graphic() => format!("`{c}`"),
            Some(c) => format!("the character U+{:04X}", u32::from(c)),
        }
    }

    // ---- between values ----

    /// Skips white space and comments.
    fn trivia(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(b'/') if self.comment() => self.relaxed = true,
                _ => return,
            }
        }
    }

    /// Skips one comment; false if there is none.
    fn comment(&mut self) -> bool {
        let rest = self.rest();
        if rest.starts_with("//") {
            self.at += memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
            return true;
        }
        if !rest.starts_with("/*") {
            return false;
        }
        let body = rest.get(2..).unwrap_or_default();
        match memchr::memmem::find(body.as_bytes(), b"*/") {
            Some(length) => self.at += length + 4,
            None => {
                self.mistake(self.at, "the comment is never closed");
                self.stop();
            }
        }
        true
    }

    // ---- values ----

    fn value(&mut self, depth: usize) -> Node {
        self.trivia();
        let start = self.at;
        self.nodes += 1;
        if depth >= MAX_DEPTH && matches!(self.peek(), Some(b'{' | b'[')) {
            self.mistake(start, &format!("nested deeper than {MAX_DEPTH} levels"));
            self.stop();
        } else if self.nodes > MAX_NODES {
            self.mistake(start, &format!("more than {MAX_NODES} values"));
            self.stop();
        }
        let value = match self.peek() {
            Some(b'{') => Value::Object(self.object(depth)),
            Some(b'[') => Value::Array(self.array(depth)),
            Some(b'"') => Value::String(self.string()),
            Some(b'-' | b'+' | b'.' | b'0'..=b'9') => self.number(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$') => self.word(),
            _ => self.no_value(),
        };
        Node { span: self.span_from(start), value }
    }

    fn no_value(&mut self) -> Value {
        self.expected("a value");
        match self.peek() {
            // A single-quoted string is skipped whole, so that it causes one fault, not ten.
            Some(b'\'') => {
                self.at += 1;
                let rest = self.rest().as_bytes();
                match memchr::memchr2(b'\'', b'\n', rest) {
                    Some(length) if rest.get(length) == Some(&b'\'') => self.at += length + 1,
                    _ => self.stop(),
                }
            }
            // A closer or a comma belongs to whoever reads the collection.
            Some(b'}' | b']' | b',' | b':') | None => {}
            Some(_) => self.skip_character(),
        }
        Value::Invalid
    }

    /// Takes the run of characters that a number or a bare word can have.
    fn take_run(&mut self) -> &str {
        let start = self.at;
        let is_run =
            |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'.' | b'+' | b'-');
        let length = self.rest().bytes().take_while(is_run).count();
        self.at += length;
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn word(&mut self) -> Value {
        let start = self.at;
        match self.take_run() {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => {
                if !self.stopped {
                    self.findings.expected(start, "a value", "an unquoted word");
                }
                Value::Invalid
            }
        }
    }

    fn number(&mut self) -> Value {
        let start = self.at;
        let text = self.take_run();
        if is_number(text) {
            return Value::Number(text.to_owned());
        }
        self.mistake(start, "not a number as JSON writes them");
        Value::Invalid
    }

    fn array(&mut self, depth: usize) -> Vec<Node> {
        let open = self.at;
        self.at += 1;
        let mut elements = Vec::new();
        loop {
            self.trivia();
            match self.peek() {
                Some(b']') => {
                    self.at += 1;
                    return elements;
                }
                None => {
                    self.mistake(open, "the array is never closed");
                    self.stop();
                    return elements;
                }
                Some(b',') => {
                    self.expected("a value");
                    self.at += 1;
                }
                Some(b'}' | b':') => {
                    self.expected("`,` or `]`");
                    self.stop();
                }
                Some(_) => {
                    elements.push(self.value(depth + 1));
                    self.separator(b']');
                }
            }
        }
    }

    fn object(&mut self, depth: usize) -> Vec<Member> {
        let open = self.at;
        self.at += 1;
        let mut members = Vec::new();
        let mut seen = HashSet::new();
        loop {
            self.trivia();
            match self.peek() {
                Some(b'}') => {
                    self.at += 1;
                    return members;
                }
                None => {
                    self.mistake(open, "the object is never closed");
                    self.stop();
                    return members;
                }
                Some(b',') => {
                    self.expected("a key in double quotes");
                    self.at += 1;
                }
                Some(_) => {
                    let Some(member) = self.member(depth) else { continue };
                    if !seen.insert(member.key.clone()) {
                        self.mistake(member.key_span.start, "the key is here twice");
                    }
                    members.push(member);
                    self.separator(b'}');
                }
            }
        }
    }

    /// Reads `"key": value`; nothing after a mistake that reading cannot go past.
    fn member(&mut self, depth: usize) -> Option<Member> {
        let start = self.at;
        let key = match self.peek() {
            Some(b'"') => self.string(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$') => {
                self.expected("a key in double quotes");
                self.take_run().to_owned()
            }
            _ => {
                self.expected("a key in double quotes");
                self.stop();
                return None;
            }
        };
        if key.len() > MAX_KEY_BYTES {
            self.mistake(start, &format!("the key is longer than {MAX_KEY_BYTES} bytes"));
            self.stop();
            return None;
        }
        let key_span = self.span_from(start);
        self.trivia();
        if self.peek() == Some(b':') {
            self.at += 1;
        } else {
            self.expected("`:`");
            // `"a" 1` and `"a" = 1` are read on; a closer or a comma leaves the value missing.
            if self.peek() == Some(b'=') {
                self.at += 1;
            }
        }
        let node = self.value(depth + 1);
        Some(Member { key, key_span, node })
    }

    /// Reads the comma between two elements, or sees the closer.
    fn separator(&mut self, close: u8) {
        self.trivia();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.trivia();
                if self.peek() == Some(close) {
                    self.relaxed = true;
                }
            }
            Some(byte) if byte == close => {}
            // The collection reports what is never closed.
            None => {}
            Some(b'}' | b']' | b':') => {
                self.expected(&format!("`,` or `{}`", char::from(close)));
                self.stop();
            }
            Some(_) => self.expected(&format!("`,` or `{}`", char::from(close))),
        }
    }

    // ---- strings ----

    fn string(&mut self) -> String {
        let open = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.rest();
            let special = |b: u8| matches!(b, b'"' | b'\\') || b < 0x20;
            let length = rest.bytes().position(special).unwrap_or(rest.len());
            out.push_str(rest.get(..length).unwrap_or_default());
            self.at += length;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return out;
                }
                Some(b'\\') => out.push(self.escape()),
                // Almost always a forgotten quote: going on at the next line finds the next fault.
                Some(b'\n' | b'\r') => {
                    self.mistake(open, "the string is not closed on its line");
                    return out;
                }
                Some(_) => {
                    self.mistake(self.at, "a control character must be escaped inside a string");
                    self.at += 1;
                }
                None => {
                    self.mistake(open, "the string is never closed");
                    self.stop();
                    return out;
                }
            }
        }
    }

    fn escape(&mut self) -> char {
        let start = self.at;
        self.at += 1;
        let escaped = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(start),
            _ => {
                // The character after the backslash is left for the string to read.
                self.mistake(start, "unknown escape; a backslash itself is written `\\\\`");
                return char::REPLACEMENT_CHARACTER;
            }
        };
        self.at += 1;
        escaped
    }

    fn unicode_escape(&mut self, start: usize) -> char {
        let Some(first) = self.hex4() else {
            self.mistake(start, "`\\u` takes four hexadecimal digits");
            return char::REPLACEMENT_CHARACTER;
        };
        // RFC 8259 §7: a character outside the basic plane is a pair of surrogates.
        let code = if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            self.at += 1;
            self.hex4().and_then(|second| {
                let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                Some(0x1_0000 + ((first - 0xd800) << 10) + low)
            })
        } else {
            Some(first)
        };
        code.and_then(char::from_u32).unwrap_or_else(|| {
            self.mistake(start, "half a surrogate pair");
            char::REPLACEMENT_CHARACTER
        })
    }

    /// Reads `uXXXX` from the `u` on; leaves the place alone after the `u` if it is not that.
    fn hex4(&mut self) -> Option<u32> {
        self.at += 1;
        let digits = self.rest().get(..4)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let code = u32::from_str_radix(digits, 16).ok()?;
        self.at += 4;
        Some(code)
    }
}

/// RFC 8259 §6.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let exponent_digits = |text: &str| digits(text.strip_prefix(['+', '-']).unwrap_or(text));
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(exponent_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let (document, findings) = read(text.as_bytes());
        findings.into_faults(&document).iter().map(ToString::to_string).collect()
    }

    fn root(text: &str) -> Node {
        let (document, findings) = read(text.as_bytes());
        assert_eq!(findings.0, [], "{text}");
        document.root.expect("a document without faults has a root")
    }

    #[test]
    fn comments_trailing_commas_and_a_mark_are_accepted() {
        let text =
            "\u{feff}// first\n{ \"a\": [1, 2,], /* in\nbetween */ \"b\": \"//no\", } // last";
        let (document, findings) = read(text.as_bytes());
        assert_eq!(findings.0, []);
        assert!(document.relaxed);
        let root = document.root.expect("read");
        assert_eq!(root.get("a").map(|n| n.elements().len()), Some(2));
        assert!(matches!(&root.get("b").expect("b").value, Value::String(s) if s == "//no"));
    }

    #[test]
    fn strings_are_unescaped() {
        let node = root(r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é""#);
        assert!(matches!(&node.value, Value::String(s) if s == "\"\\/\u{8}\u{c}\n\r\té\u{1f600}é"),);
    }

    #[test]
    fn numbers_are_those_of_json() {
        for good in ["0", "-0", "10", "1.5", "1e9", "-1.25E-10", "1E+2"] {
            assert!(is_number(good), "{good}");
        }
        for bad in ["", "-", "01", "1.", ".5", "+1", "1e", "0x1", "1e+", "1.e1", "--1", "1e1.5"] {
            assert!(!is_number(bad), "{bad}");
        }
    }

    #[test]
    fn every_syntax_fault_of_a_file_is_reported() {
        let text = "{\n  \"a\": tru,\n  \"b\" 1,\n  \"c\": \"\\x\",\n  \"d\": [1 2],\n  e: 'x',\n  \"f\": \"open\n}";
        assert_eq!(
            faults(text),
            [
                "2:8 /a: expected a value, found an unquoted word",
                "3:7 /b: expected `:`, found a number",
                "4:9 /c: unknown escape; a backslash itself is written `\\\\`",
                "5:11 /d/1: expected `,` or `]`, found a number",
                "6:3 /e: expected a key in double quotes, found an unquoted word",
                "6:6 /e: expected a value, found a single quote",
                "7:8 /f: the string is not closed on its line",
            ]
        );
    }

    #[test]
    fn columns_are_characters() {
        assert_eq!(
            faults("{\"é😀\": nope}"),
            ["1:8 /é😀: expected a value, found an unquoted word"]
        );
    }

    #[test]
    fn duplicate_keys_are_compared_unescaped() {
        assert_eq!(faults(r#"{"a":{"x":1,"\u0078":2}}"#), ["1:13 /a/x: the key is here twice"]);
    }

    #[test]
    fn unclosed_things_are_one_fault_each() {
        assert_eq!(faults(""), ["1:1: expected an object, found the end of the file"]);
        assert_eq!(faults("{\"a\": [1"), ["1:7 /a: the array is never closed"]);
        assert_eq!(faults("{\"a\": \"x"), ["1:7 /a: the string is never closed"]);
        assert_eq!(faults("{ /* \"a\": 1 }"), ["1:3: the comment is never closed"]);
        assert_eq!(faults("{} {}"), ["1:4: expected the end of the file, found `{`"]);
        assert_eq!(faults("{\"a\": [1}"), ["1:9 /a: expected `,` or `]`, found `}`"]);
    }

    #[test]
    fn foreign_encodings_and_bytes_are_named() {
        let (document, findings) = read(b"\xff\xfe{\0}\0");
        assert_eq!(
            findings.into_faults(&document).first().map(ToString::to_string).as_deref(),
            Some("1:1: expected a file in UTF-8, found UTF-16")
        );
        let (document, findings) = read(b"{\"a\":\n \"\xff\"}");
        assert_eq!(
            findings.into_faults(&document).first().map(ToString::to_string).as_deref(),
            Some("2:3: expected UTF-8, found a byte that is not")
        );
    }

    #[test]
    fn depth_size_and_count_are_limited() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(faults(&deep(MAX_DEPTH)), Vec::<String>::new());
        assert_eq!(faults(&deep(MAX_DEPTH + 1)).len(), 1);
        let found = faults(&deep(100_000));
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(|f| f.ends_with("nested deeper than 64 levels")), "{found:?}");
        let many = format!("[{}1]", "1,".repeat(MAX_NODES));
        assert!(faults(&many).iter().all(|f| f.ends_with("more than 100000 values")));
        let long = format!("{{\"{}\": 1}}", "k".repeat(MAX_KEY_BYTES + 1));
        assert_eq!(faults(&long), ["1:2: the key is longer than 4096 bytes"]);
        let huge = " ".repeat(MAX_FILE_BYTES + 1);
        assert_eq!(faults(&huge), ["1:1: expected at most 4194304 bytes, found 4194305 bytes"]);
    }
}
