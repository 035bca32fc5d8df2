//! A digest of JSON that does not change when the JSON is written anew: the order of members,
//! escapes and white space do not count; number lexemes, string values and the order of elements
//! do. It tells whether a retried request is the one that was asked for (MCP 2026-07-28
//! basic/patterns/mrtr, "Server Requirements").

use crate::wire::crypto::{Digest, Sha256};
use crate::wire::json::{self, JsonError, Kind, Scanner, Span, Value};
use std::borrow::Cow;

/// What is hashed of a value: the text of a scalar, the digest of a container.
enum Part<'a> {
    Text(u8, Cow<'a, [u8]>),
    Container(u8, Digest),
}

impl Part<'_> {
    fn add_to(&self, hash: &mut Sha256) {
        let (mark, bytes): (u8, &[u8]) = match self {
            Self::Text(mark, text) => (*mark, text),
            Self::Container(mark, digest) => (*mark, digest),
        };
        hash.update(&[mark]);
        hash.part(bytes);
    }
}

/// The digest of the value at `span`, which an earlier scan has found to be one. A value with
/// objects too large to be looked at ([`json::MAX_MEMBERS`]) counts as it is written.
pub fn digest(bytes: &[u8], span: Span) -> Digest {
    let mut hash = Sha256::default();
    let part = Scanner::at(bytes, span).and_then(|mut scanner| part(bytes, &mut scanner));
    match part {
        Ok((_, part)) => part.add_to(&mut hash),
        Err(_) => Part::Text(b'?', Cow::Borrowed(span.of(bytes))).add_to(&mut hash),
    }
    hash.finish()
}

/// Moves past a value. Recursive, as deep as the scanner allows ([`json::MAX_DEPTH`]).
fn part<'a>(bytes: &'a [u8], scanner: &mut Scanner<'_>) -> Result<(Value, Part<'a>), JsonError> {
    let value = match scanner.peek_kind()? {
        Kind::Object => return object(bytes, scanner),
        Kind::Array => return array(bytes, scanner),
        _ => scanner.value()?,
    };
    let is_text = value.kind == Kind::String;
    Ok((value, if is_text { text(bytes, value.span) } else { lexeme(bytes, value.span) }))
}

fn lexeme(bytes: &[u8], span: Span) -> Part<'_> {
    Part::Text(b'0', Cow::Borrowed(span.of(bytes)))
}

/// A string counts by its text; one with a lone surrogate has none and counts as it is written.
fn text(bytes: &[u8], span: Span) -> Part<'_> {
    match json::decode_string(span.of(bytes)) {
        Ok(Cow::Borrowed(text)) => Part::Text(b'"', Cow::Borrowed(text.as_bytes())),
        Ok(Cow::Owned(text)) => Part::Text(b'"', Cow::Owned(text.into_bytes())),
        Err(_) => lexeme(bytes, span),
    }
}

fn array<'a>(bytes: &'a [u8], scanner: &mut Scanner<'_>) -> Result<(Value, Part<'a>), JsonError> {
    let mut hash = Sha256::default();
    let span = scanner.array(|scanner| {
        part(bytes, scanner)?.1.add_to(&mut hash);
        Ok(())
    })?;
    Ok((Value::array(span), Part::Container(b'[', hash.finish())))
}

fn object<'a>(bytes: &'a [u8], scanner: &mut Scanner<'_>) -> Result<(Value, Part<'a>), JsonError> {
    let mut members: Vec<(Cow<'a, [u8]>, Part<'a>)> = Vec::new();
    let found = scanner.object(|scanner, key| {
        let (value, part) = part(bytes, scanner)?;
        members.push((json::decoded_key(bytes, key), part));
        Ok(value)
    })?;
    // stable: of members with one key the order stays, since readers differ in which one they take
    members.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut hash = Sha256::default();
    for (key, part) in &members {
        hash.part(key);
        part.add_to(&mut hash);
    }
    Ok((Value::object(found.span), Part::Container(b'{', hash.finish())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Digest {
        let span = json::check(text.as_bytes()).expect("json").span;
        digest(text.as_bytes(), span)
    }

    #[test]
    fn how_it_is_written_does_not_count() {
        let first = r#"{"a":[1,{"x":"\u00e9","y":null}],"b":"/","":{}}"#;
        let again = r#" {"" : { }, "\u0062":"\/", "a" :[1 ,{"y":null, "x":"é"}]} "#;
        assert_eq!(of(first), of(again));
    }

    #[test]
    fn what_it_says_does() {
        let different = [
            "1",
            "1.0",
            "1e0",
            "10",
            "\"1\"",
            "null",
            "\"null\"",
            "[]",
            "{}",
            "[[]]",
            "[1]",
            "[1,2]",
            "[2,1]",
            "[12]",
            "[[1],2]",
            "[[1,2]]",
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"b":1}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":1,"b":1}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":2,"a":1}"#,
            r#""\ud800""#,
            r#""\udc00""#,
            "true",
            "false",
            "\"\"",
        ];
        let digests: std::collections::HashSet<_> = different.iter().map(|text| of(text)).collect();
        assert_eq!(digests.len(), different.len());
    }

    #[test]
    fn an_object_too_large_to_be_looked_at_counts_as_it_is_written() {
        let members = |count: usize| {
            let members: Vec<String> = (0..count).map(|n| format!("\"k{n}\":{n}")).collect();
            format!("{{{}}}", members.join(","))
        };
        let large = members(json::MAX_MEMBERS + 1);
        assert_eq!(of(&large), of(&large));
        assert_ne!(of(&large), of(&members(json::MAX_MEMBERS)));
    }
}
