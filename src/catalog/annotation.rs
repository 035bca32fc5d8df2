//! Finds every `x-mcp-header` of a schema and judges it (MCP 2026-07-28
//! basic/transports/streamable-http, "Schema Extension").
//!
//! One pass over the bytes. A value is taken from where a chain of `properties` alone leads;
//! violations are looked for in every place where JSON Schema 2020-12, or an older draft, has a
//! schema. Instances inside a schema (`default`, `const`, `enum`, `examples`), unknown keywords,
//! and a property that merely has that name are none. Nothing is ever fetched or resolved.

use super::param_header::{InvalidAnnotation, MAX_ANNOTATIONS, MAX_NAME_BYTES};
use crate::wire::header;
use crate::wire::json::{
    JsonError, Key, Kind, Member, Object, Scanner, Span, Value, decode_string, key_is,
};
use crate::wire::splice::removals;
use std::collections::HashSet;

pub(super) const KEYWORD: &str = "x-mcp-header";

/// One annotation, valid or not.
#[derive(Debug)]
pub(super) struct Annotation {
    /// The properties that lead to the value, outermost first.
    pub(super) path: Vec<String>,
    /// The name as it is annotated, or why it cannot be used.
    pub(super) name: Result<String, InvalidAnnotation>,
    /// What to take out of the schema to be without it.
    pub(super) removal: Vec<Span>,
}

/// Whether there can be an annotation at all; without `\u` no key is written in another way.
pub(super) fn may_be_in(schema: &[u8]) -> bool {
    memchr::memmem::find(schema, KEYWORD.as_bytes()).is_some()
        || memchr::memmem::find(schema, b"\\u").is_some()
}

/// All annotations of the schema at `span` of `bytes`, which an earlier scan has found to be JSON,
/// in their order. Positions are those of `bytes`.
///
/// # Errors
/// Only for an object with too many members to look at.
pub(super) fn find(bytes: &[u8], span: Span) -> Result<Vec<Annotation>, JsonError> {
    let mut walk = Walk { bytes, path: Vec::new(), found: Vec::new() };
    walk.schema(&mut Scanner::at(bytes, span)?, Place::Reachable)?;
    let mut found = walk.found;
    found.sort_by_key(|annotation| annotation.removal.first().map(|span| span.start));
    refuse_repeated(&mut found);
    Ok(found)
}

/// Of several with one name the first keeps it; so do the first of too many.
fn refuse_repeated(found: &mut [Annotation]) {
    let mut names = HashSet::new();
    for annotation in found {
        let Ok(name) = &annotation.name else { continue };
        let fault = if names.len() == MAX_ANNOTATIONS {
            InvalidAnnotation::TooMany
        } else if names.insert(name.to_ascii_lowercase()) {
            continue;
        } else {
            InvalidAnnotation::NotUnique
        };
        annotation.name = Err(fault);
    }
}

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the end of a chain of `properties`.
    Reachable,
    /// Anywhere else.
    Elsewhere,
}

struct Walk<'a> {
    bytes: &'a [u8],
    path: Vec<String>,
    found: Vec<Annotation>,
}

impl Walk<'_> {
    /// Past one schema. The scanner bounds how deep this goes.
    fn schema(&mut self, scanner: &mut Scanner<'_>, place: Place) -> Result<Value, JsonError> {
        if scanner.peek_kind()? != Kind::Object {
            return scanner.value();
        }
        let before = self.found.len();
        let object = scanner.object(|scanner, key| self.keyword(scanner, key, place))?;
        if place == Place::Reachable && object.all(self.bytes, "properties").nth(1).is_some() {
            self.refuse_from(before, |_| true);
        }
        self.judge(&object, place);
        Ok(Value::object(object.span))
    }

    /// Past the value of one member of a schema.
    fn keyword(
        &mut self,
        scanner: &mut Scanner<'_>,
        key: Key,
        place: Place,
    ) -> Result<Value, JsonError> {
        match decode_string(key.of(self.bytes)).unwrap_or_default().as_ref() {
            "properties" => self.named_schemas(scanner, place),
            "patternProperties" | "$defs" | "definitions" | "dependentSchemas" | "dependencies" => {
                self.named_schemas(scanner, Place::Elsewhere)
            }
            "items"
            | "prefixItems"
            | "additionalItems"
            | "contains"
            | "unevaluatedItems"
            | "allOf"
            | "anyOf"
            | "oneOf"
            | "not"
            | "if"
            | "then"
            | "else"
            | "additionalProperties"
            | "unevaluatedProperties"
            | "propertyNames"
            | "contentSchema" => self.schemas(scanner),
            _ => scanner.value(),
        }
    }

    /// Past one schema or an array of them, which no chain of `properties` leads through.
    fn schemas(&mut self, scanner: &mut Scanner<'_>) -> Result<Value, JsonError> {
        if scanner.peek_kind()? != Kind::Array {
            return self.schema(scanner, Place::Elsewhere);
        }
        let span = scanner.array(|scanner| self.schema(scanner, Place::Elsewhere).map(|_| ()))?;
        Ok(Value::array(span))
    }

    /// Past an object whose keys are names and whose values are schemas.
    fn named_schemas(
        &mut self,
        scanner: &mut Scanner<'_>,
        place: Place,
    ) -> Result<Value, JsonError> {
        if scanner.peek_kind()? != Kind::Object {
            return scanner.value();
        }
        let before = self.found.len();
        let object = scanner.object(|scanner, key| {
            let name = decode_string(key.of(self.bytes));
            // a name with a lone surrogate cannot be looked up in arguments
            let place = if name.is_ok() { place } else { Place::Elsewhere };
            self.path.push(name.unwrap_or_default().into_owned());
            let value = self.schema(scanner, place);
            self.path.pop();
            value
        })?;
        if place == Place::Reachable && self.found.len() > before {
            let twice = repeated(self.bytes, &object.members);
            let depth = self.path.len();
            self.refuse_from(before, |path| path.get(depth).is_some_and(|k| twice.contains(k)));
        }
        Ok(Value::object(object.span))
    }

    /// Which of several equal members counts is for each reader to say, so none does here.
    fn refuse_from(&mut self, at: usize, refused: impl Fn(&[String]) -> bool) {
        for annotation in self.found.iter_mut().skip(at) {
            if annotation.name.is_ok() && refused(&annotation.path) {
                annotation.name = Err(InvalidAnnotation::Ambiguous);
            }
        }
    }

    /// Notes the annotation of one schema, if it has one.
    fn judge(&mut self, object: &Object, place: Place) {
        let is_annotation = |member: &Member| key_is(self.bytes, member.key, KEYWORD);
        let Some(first) = object.members.iter().find(|member| is_annotation(member)) else {
            return;
        };
        let items: Vec<Span> = object.members.iter().map(Member::span).collect();
        let stays = |at: usize| object.members.get(at).is_none_or(|m| !is_annotation(m));
        let removal = removals(&items, stays);
        let name = if place == Place::Elsewhere || self.path.is_empty() {
            Err(InvalidAnnotation::NotReachable)
        } else if removal.len() > 1 {
            Err(InvalidAnnotation::Ambiguous)
        } else {
            is_primitive(self.bytes, object).and_then(|()| header_name(self.bytes, first.value))
        };
        self.found.push(Annotation { path: self.path.clone(), name, removal });
    }
}

fn is_primitive(bytes: &[u8], schema: &Object) -> Result<(), InvalidAnnotation> {
    let mut types = schema.all(bytes, "type");
    let first = types.next().and_then(|value| value.text(bytes));
    if types.next().is_some() {
        return Err(InvalidAnnotation::Ambiguous);
    }
    match first.as_deref() {
        Some("string" | "integer" | "boolean") => Ok(()),
        _ => Err(InvalidAnnotation::NotPrimitive),
    }
}

fn header_name(bytes: &[u8], value: Value) -> Result<String, InvalidAnnotation> {
    match value.text(bytes) {
        Some(name) if name.len() > MAX_NAME_BYTES => Err(InvalidAnnotation::TooLong),
        Some(name) if header::is_token(&name) => Ok(name.into_owned()),
        _ => Err(InvalidAnnotation::NotToken),
    }
}

/// The keys that more than one member has.
fn repeated(bytes: &[u8], members: &[Member]) -> HashSet<String> {
    let (mut seen, mut twice) = (HashSet::new(), HashSet::new());
    for member in members {
        let Ok(key) = decode_string(member.key.of(bytes)) else { continue };
        if !seen.insert(key.clone()) {
            twice.insert(key.into_owned());
        }
    }
    twice
}
