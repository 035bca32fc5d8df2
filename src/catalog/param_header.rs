//! Arguments of a tool that are mirrored into `Mcp-Param-*` headers (MCP 2026-07-28
//! basic/transports/streamable-http, "Custom Headers from Tool Parameters").
//!
//! Which ones is compiled once from a tool's input schema. Towards an upstream the headers are made
//! anew from the body, and a client's are compared with the body: a header is never believed, and
//! never decides anything. Messages are read by position in one pass.

use super::annotation::{self, Annotation};
use super::number;
use crate::wire::header;
use crate::wire::json::{self, JsonError, Kind, Object, Scanner, Span, Value, key_is};
use std::fmt;

/// What every header of this kind begins with, in lower case.
const PREFIX: &str = "mcp-param-";

/// Most annotations of one tool: more headers than that no peer takes.
pub const MAX_ANNOTATIONS: usize = 128;

/// Longest name in an annotation, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// Why a tool cannot be offered with its annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidAnnotation {
    /// Not at a property that a chain of `properties` leads to.
    NotReachable,
    /// The annotated property is no string, integer or boolean.
    NotPrimitive,
    /// The name is not a text that a header name can hold.
    NotToken,
    /// The name is longer than [`MAX_NAME_BYTES`].
    TooLong,
    /// Another annotation has the same name, upper and lower case being equal.
    NotUnique,
    /// A member on the way to it occurs twice, so that readers may differ.
    Ambiguous,
    /// More than [`MAX_ANNOTATIONS`].
    TooMany,
    /// The schema itself cannot be read.
    Unreadable(JsonError),
}

impl fmt::Display for InvalidAnnotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::NotReachable => "does not stand at a property reached by properties alone",
            Self::NotPrimitive => "stands at a property that is no string, integer or boolean",
            Self::NotToken => "is not a name that a header can have",
            Self::TooLong => return write!(f, "x-mcp-header is over {MAX_NAME_BYTES} bytes long"),
            Self::NotUnique => "has the name of another one",
            Self::Ambiguous => "is ambiguous: a member on the way to it occurs twice",
            Self::TooMany => return write!(f, "more than {MAX_ANNOTATIONS} x-mcp-header"),
            Self::Unreadable(error) => return write!(f, "the input schema is unreadable: {error}"),
        };
        write!(f, "x-mcp-header {what}")
    }
}

impl std::error::Error for InvalidAnnotation {}

/// The mirrored arguments of one tool; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamHeaders {
    params: Vec<Param>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Param {
    /// The header's full name in lower case.
    header: String,
    /// The properties that lead to the value, outermost first; at least one.
    path: Vec<String>,
}

/// What the input schema of a tool says about headers.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The valid annotations.
    pub(super) headers: Option<ParamHeaders>,
    /// The first fault, if there is one.
    pub(super) fault: Option<InvalidAnnotation>,
    /// What to take out so that only the valid annotations are left.
    pub(super) removals: Vec<Span>,
}

impl Survey {
    /// Reads the input schemas of a tool: one, unless the member occurs twice. `bytes` must be what
    /// an earlier scan has found to be JSON.
    pub(super) fn of(bytes: &[u8], schemas: &[Span]) -> Result<Self, JsonError> {
        let mut survey = Self::default();
        let mut params = Vec::new();
        for span in schemas.iter().filter(|span| annotation::may_be_in(span.of(bytes))) {
            for Annotation { path, name, removal } in annotation::find(bytes, *span)? {
                let name = name.and_then(|name| match schemas.len() {
                    1 => Ok(name),
                    _ => Err(InvalidAnnotation::Ambiguous),
                });
                match name {
                    Ok(name) => {
                        let header = format!("{PREFIX}{}", name.to_ascii_lowercase());
                        params.push(Param { header, path });
                    }
                    Err(fault) => {
                        survey.fault.get_or_insert(fault);
                        survey.removals.extend(removal);
                    }
                }
            }
        }
        survey.headers = (!params.is_empty()).then_some(ParamHeaders { params });
        Ok(survey)
    }
}

/// What to take out of a tool so that every annotation left is valid. `tool` is a JSON object.
///
/// # Errors
/// For what is not JSON, not an object, or has too many members.
pub fn strip_invalid(tool: &[u8]) -> Result<Vec<Span>, JsonError> {
    let object = Object::read(tool, json::check(tool)?.span)?;
    let schemas: Vec<Span> = object.all(tool, "inputSchema").map(|value| value.span).collect();
    Ok(Survey::of(tool, &schemas)?.removals)
}

impl ParamHeaders {
    /// Reads an input schema. `None`: nothing is mirrored.
    ///
    /// # Errors
    /// The first annotation that breaks a rule: the specification wants such a tool left out.
    pub fn compile(input_schema: &[u8]) -> Result<Option<Self>, InvalidAnnotation> {
        let schema = json::check(input_schema).map_err(InvalidAnnotation::Unreadable)?;
        let survey = Survey::of(input_schema, &[schema.span]);
        let survey = survey.map_err(InvalidAnnotation::Unreadable)?;
        survey.fault.map_or(Ok(survey.headers), Err)
    }

    /// The headers for a call, as lower-case names and encoded values. `arguments` is where they
    /// stand in `message`. An argument that is absent, `null`, of no primitive type or ambiguous (a
    /// member on its way occurs twice) has no header.
    pub fn values(&self, message: &[u8], arguments: Option<Span>) -> Vec<(String, String)> {
        let mut out = Vec::new();
        for (param, slot) in self.params.iter().zip(self.read(message, arguments)) {
            if let Slot::Here(value) = slot
                && let Some(text) = mirrored(message, value)
            {
                out.push((param.header.clone(), header::encode(&text).into_owned()));
            }
        }
        out
    }

    /// Checks a client's headers against its arguments. `lookup` gives the value of a header by
    /// its lower-case name; a header that occurs twice is for the caller to refuse.
    ///
    /// # Errors
    /// What differs, as one line without payload, for -32020 `HeaderMismatch`.
    pub fn validate<'h>(
        &self,
        message: &[u8],
        arguments: Option<Span>,
        lookup: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Result<(), String> {
        for (param, slot) in self.params.iter().zip(self.read(message, arguments)) {
            let fault = |what: &str| format!("the header {} {what}", param.header);
            let path = || format!("params.arguments.{}", param.path.join("."));
            let sent = lookup(&param.header);
            let agree = match (slot, sent) {
                (Slot::Twice, _) => return Err(format!("{} occurs twice", path())),
                (Slot::Absent, None) => continue,
                (Slot::Absent, Some(_)) => {
                    return Err(fault("is not expected: the argument has no value"));
                }
                (Slot::Here(_), None) => return Err(fault("is missing")),
                (Slot::Here(value), Some(raw)) => {
                    let text =
                        header::decode(raw).map_err(|e| fault(&format!("is refused: {e}")))?;
                    agrees(message, value, &text)
                }
            };
            if !agree {
                return Err(fault(&format!("differs from {}", path())));
            }
        }
        Ok(())
    }

    /// One pass over the arguments: a slot for each parameter.
    fn read(&self, message: &[u8], arguments: Option<Span>) -> Vec<Slot> {
        let slots = vec![Slot::Absent; self.params.len()];
        let mut reading = Reading { bytes: message, params: &self.params, slots };
        let all: Vec<usize> = (0..self.params.len()).collect();
        let walked = arguments.map(|span| {
            Scanner::at(message, span).and_then(|mut scanner| reading.object(&mut scanner, 0, &all))
        });
        if let Some(Err(_)) = walked {
            reading.slots.fill(Slot::Twice); // more members than are looked at: nothing is sure
        }
        reading.slots
    }
}

/// What stands at the path of one parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Nothing to mirror: no value, `null`, an array or an object.
    Absent,
    /// A string, a number or a boolean.
    Here(Value),
    /// A member on the way occurs twice.
    Twice,
}

struct Reading<'a> {
    bytes: &'a [u8],
    params: &'a [Param],
    slots: Vec<Slot>,
}

impl Reading<'_> {
    /// Past one value that the parameters `wanted` lead into with their first `depth` properties.
    fn object(
        &mut self,
        scanner: &mut Scanner<'_>,
        depth: usize,
        wanted: &[usize],
    ) -> Result<Value, JsonError> {
        if wanted.is_empty() || scanner.peek_kind()? != Kind::Object {
            return scanner.value();
        }
        let mut met: Vec<usize> = Vec::new();
        let object = scanner.object(|scanner, key| {
            let (ends, goes_on) = self.matching(key, depth, wanted);
            let value = self.object(scanner, depth + 1, &goes_on)?;
            for at in ends {
                self.set(at, slot_of(value), met.contains(&at));
                met.push(at);
            }
            for at in goes_on {
                if met.contains(&at) {
                    self.set(at, Slot::Twice, true);
                }
                met.push(at);
            }
            Ok(value)
        })?;
        Ok(Value { kind: Kind::Object, span: object.span })
    }

    /// The parameters whose path ends at this key, and those whose path goes on behind it.
    fn matching(&self, key: Span, depth: usize, wanted: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let path = |at: &usize| self.params.get(*at).map_or(&[][..], |param| &param.path);
        let here = wanted.iter().copied().filter(|at| {
            path(at).get(depth).is_some_and(|property| key_is(self.bytes, key, property))
        });
        here.partition(|at| path(at).len() == depth + 1)
    }

    fn set(&mut self, at: usize, slot: Slot, again: bool) {
        if let Some(place) = self.slots.get_mut(at)
            && *place != Slot::Twice
        {
            *place = if again { Slot::Twice } else { slot };
        }
    }
}

fn slot_of(value: Value) -> Slot {
    match value.kind {
        Kind::String | Kind::Number | Kind::Bool => Slot::Here(value),
        Kind::Null | Kind::Array | Kind::Object => Slot::Absent,
    }
}

/// "Type conversion" of the specification. `None` for a string that holds a lone surrogate.
fn mirrored(message: &[u8], value: Value) -> Option<String> {
    let raw = value.span.of(message);
    match value.kind {
        Kind::String => value.text(message).map(|text| text.into_owned()),
        Kind::Number => std::str::from_utf8(raw).ok().map(number::decimal),
        _ => String::from_utf8(raw.to_vec()).ok(),
    }
}

fn agrees(message: &[u8], value: Value, text: &str) -> bool {
    let raw = value.span.of(message);
    match value.kind {
        Kind::String => value.text(message).is_some_and(|own| own == text),
        Kind::Number => std::str::from_utf8(raw).is_ok_and(|own| number::same_value(own, text)),
        _ => raw == text.as_bytes(),
    }
}
