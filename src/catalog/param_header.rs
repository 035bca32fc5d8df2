//! Arguments of a tool that are mirrored into `Mcp-Param-*` headers (MCP 2026-07-28
//! basic/transports/streamable-http, "Custom Headers from Tool Parameters").
//!
//! Which ones is compiled once from a tool's input schema. Towards an upstream the headers are made
//! anew from the body, and a client's are compared with the body: a header is never believed, and
//! never decides anything. Messages are read by position in one pass.

use super::annotation::{self, Annotation};
use super::number;
use crate::base::label::Label;
use crate::wire::header;
use crate::wire::json::{self, JsonError, Key, Kind, Object, Scanner, Span, Value, key_is};
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

    /// The names of the headers, in lower case.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.params.iter().map(|param| param.header.as_str())
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
            let path = || Label::new(&format!("params.arguments.{}", param.path.join(".")));
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
        Ok(Value::object(object.span))
    }

    /// The parameters whose path ends at this key, and those whose path goes on behind it.
    fn matching(&self, key: Key, depth: usize, wanted: &[usize]) -> (Vec<usize>, Vec<usize>) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use InvalidAnnotation::*;

    /// `(header name, path)` of each.
    fn compiled(schema: &str) -> Result<Vec<(String, String)>, InvalidAnnotation> {
        let headers = ParamHeaders::compile(schema.as_bytes())?;
        let params = headers.map(|headers| headers.params).unwrap_or_default();
        Ok(params.into_iter().map(|param| (param.header, param.path.join("/"))).collect())
    }

    /// What is left of a tool with this input schema once the invalid annotations are out.
    fn stripped(schema: &str) -> String {
        let tool = format!("{{\"inputSchema\":{schema}}}");
        let mut splice = crate::wire::splice::Splice::new();
        let spans = strip_invalid(tool.as_bytes()).expect("a tool");
        spans.into_iter().for_each(|span| splice.remove(span));
        let out = String::from_utf8(splice.apply(tool.as_bytes()).to_vec()).expect("text");
        out.strip_prefix("{\"inputSchema\":").and_then(|s| s.strip_suffix('}')).expect("it").into()
    }

    #[test]
    fn annotations_are_taken_from_chains_of_properties() {
        let schema = r#"{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "options":{"type":"object","properties":{"limit":{"type":"integer","x-mcp-header":"Row-Limit"}}},
            "dry\u0052un":{"x-mcp-head\u0065r":"Dry","type":"boolean"},
            "query":{"type":"string"}}}"#;
        let want = [("region", "region"), ("row-limit", "options/limit"), ("dry", "dryRun")];
        let want = want.map(|(name, path)| (format!("mcp-param-{name}"), path.to_owned()));
        assert_eq!(compiled(schema), Ok(want.to_vec()));
        assert_eq!(stripped(schema), schema);
        for none in [r#"{"type":"object"}"#, "{}", "true", r#"{"a":"\u0041"}"#] {
            assert_eq!(compiled(none), Ok(vec![]), "{none}");
        }
    }

    /// A schema whose one property is this.
    fn one(property: &str) -> String {
        format!(r#"{{"properties":{{"a":{property}}}}}"#)
    }

    #[test]
    fn names_must_be_tokens() {
        for name in ["Region", "x", "9", "a.b", "!#$%&'*+-.^_`|~"] {
            let schema = one(&format!(r#"{{"type":"string","x-mcp-header":"{name}"}}"#));
            assert!(compiled(&schema).is_ok_and(|all| all.len() == 1), "{name}");
        }
        let values = [r#""""#, r#""a b""#, r#""a:b""#, r#""a\r\nb""#, r#""é""#, r#""\ud800""#, "7"];
        for value in values.into_iter().chain(["null", "true", "{}", "[\"a\"]", r#""a\u0000""#]) {
            let schema = one(&format!(r#"{{"type":"string","x-mcp-header":{value}}}"#));
            assert_eq!(compiled(&schema), Err(NotToken), "{value}");
            assert_eq!(stripped(&schema), one(r#"{"type":"string"}"#), "{value}");
        }
        let name =
            |bytes| one(&format!(r#"{{"type":"string","x-mcp-header":"{}"}}"#, "n".repeat(bytes)));
        assert!(compiled(&name(MAX_NAME_BYTES)).is_ok());
        assert_eq!(compiled(&name(MAX_NAME_BYTES + 1)), Err(TooLong));
    }

    #[test]
    fn only_primitive_types_are_mirrored() {
        for kind in [r#""number""#, r#""object""#, r#""array""#, r#""null""#, r#"["string"]"#, "7"]
        {
            let schema = one(&format!(r#"{{"x-mcp-header":"A","type":{kind}}}"#));
            assert_eq!(compiled(&schema), Err(NotPrimitive), "{kind}");
            assert_eq!(stripped(&schema), one(&format!(r#"{{"type":{kind}}}"#)));
        }
        assert_eq!(compiled(&one(r#"{"x-mcp-header":"A"}"#)), Err(NotPrimitive));
        assert_eq!(stripped(&one(r#"{"x-mcp-header":"A"}"#)), one("{}"));
    }

    #[test]
    fn names_are_unique_whatever_their_case() {
        let two = |first: &str, second: &str| {
            format!(r#"{{"properties":{{"a":{{"type":{first}}},"b":{{"type":{second}}}}}}}"#)
        };
        let with = r#""string","x-mcp-header":"Region""#;
        let schema = two(with, r#""string","x-mcp-header":"REGION""#);
        assert_eq!(compiled(&schema), Err(NotUnique));
        assert_eq!(stripped(&schema), two(with, r#""string""#));
        // an annotation that is invalid anyway takes no name away
        let schema = two(r#""number","x-mcp-header":"region""#, with);
        assert_eq!(stripped(&schema), two(r#""number""#, with));
    }

    #[test]
    fn an_annotation_anywhere_else_is_found() {
        let inner = r#"{"type":"string","x-mcp-header":"A"}"#;
        let deep = one(inner);
        for keyword in [
            "items",
            "additionalItems",
            "contains",
            "unevaluatedItems",
            "not",
            "if",
            "then",
            "else",
            "additionalProperties",
            "unevaluatedProperties",
            "propertyNames",
            "contentSchema",
        ] {
            for schema in [inner, &deep] {
                for at in [
                    format!(r#"{{"{keyword}":{schema}}}"#),
                    one(&format!(r#"{{"{keyword}":{schema}}}"#)),
                ] {
                    assert_eq!(compiled(&at), Err(NotReachable), "{at}");
                    assert!(!stripped(&at).contains("x-mcp-header"), "{at}");
                }
            }
        }
        for keyword in ["items", "prefixItems", "allOf", "anyOf", "oneOf"] {
            let at = format!(r#"{{"{keyword}":[true,{deep}]}}"#);
            assert_eq!(compiled(&at), Err(NotReachable), "{at}");
        }
        for keyword in
            ["$defs", "definitions", "patternProperties", "dependentSchemas", "dependencies"]
        {
            let at = format!(r#"{{"{keyword}":{{"x":["y"],"z":{inner}}}}}"#);
            assert_eq!(compiled(&at), Err(NotReachable), "{at}");
        }
        assert_eq!(compiled(r#"{"type":"string","x-mcp-header":"A"}"#), Err(NotReachable));
        let escaped = r#"{"it\u0065ms":{"type":"string","x-mcp-header":"A"}}"#;
        assert_eq!(compiled(escaped), Err(NotReachable));
        let nameless = r#"{"properties":{"\ud800":{"type":"string","x-mcp-header":"A"}}}"#;
        assert_eq!(compiled(nameless), Err(NotReachable));
    }

    #[test]
    fn what_is_no_annotation_is_left_alone() {
        let inner = r#"{"x-mcp-header":"A b"}"#;
        for keyword in ["default", "const", "enum", "examples", "x-vendor", "required", "$comment"]
        {
            for value in [inner.to_owned(), format!("[{inner}]"), one(inner)] {
                let schema = format!(r#"{{"{keyword}":{value}}}"#);
                assert_eq!(compiled(&schema), Ok(vec![]), "{schema}");
                assert_eq!(stripped(&schema), schema);
            }
        }
        let named = r#"{"properties":{"x-mcp-header":{"type":"string"},
            "properties":{"properties":{"x-mcp-header":{"type":"number"}}}},
            "$defs":{"x-mcp-header":{"type":"number"},"items":true}}"#;
        assert_eq!(compiled(named), Ok(vec![]));
        assert_eq!(stripped(named), named);
        let both = r#"{"properties":{"x-mcp-header":{"type":"string","x-mcp-header":"A"}}}"#;
        let want = ("mcp-param-a".to_owned(), "x-mcp-header".to_owned());
        assert_eq!(compiled(both), Ok(vec![want]));
    }

    #[test]
    fn members_that_occur_twice_make_it_ambiguous() {
        let a = r#""a":{"type":"string","x-mcp-header":"A"}"#;
        let ok = r#""b":{"type":"string","x-mcp-header":"B"}"#;
        for schema in [
            format!(r#"{{"properties":{{{a},"\u0061":true}}}}"#),
            format!(r#"{{"properties":{{"a":1,{a}}}}}"#),
            format!(r#"{{"properties":{{{a}}},"properties":{{}}}}"#),
            format!(r#"{{"properties":{{"o":{{"properties":{{{a}}},"properties":{{}}}}}}}}"#),
            one(r#"{"type":"string","type":"string","x-mcp-header":"A"}"#),
            one(r#"{"type":"string","x-mcp-header":"A","x-mcp-header":"A"}"#),
        ] {
            assert_eq!(compiled(&schema), Err(Ambiguous), "{schema}");
            assert!(!stripped(&schema).contains("x-mcp-header"), "{schema}");
        }
        // another property's trouble is its own
        let schema = format!(r#"{{"properties":{{"c":1,"c":2,{ok}}}}}"#);
        assert_eq!(compiled(&schema).map(|all| all.len()), Ok(1));
        let twice = format!(r#"{{"inputSchema":{{"properties":{{{ok}}}}},"inputSchema":{{}}}}"#);
        assert_eq!(strip_invalid(twice.as_bytes()).map(|spans| spans.len()), Ok(1));
    }

    #[test]
    fn limits() {
        let many = |n: usize| {
            let property = |i| format!(r#""p{i}":{{"type":"string","x-mcp-header":"H{i}"}}"#);
            format!("{{\"properties\":{{{}}}}}", (0..n).map(property).collect::<Vec<_>>().join(","))
        };
        assert_eq!(compiled(&many(MAX_ANNOTATIONS)).map(|all| all.len()), Ok(MAX_ANNOTATIONS));
        assert_eq!(compiled(&many(MAX_ANNOTATIONS + 1)), Err(TooMany));
        let left = stripped(&many(MAX_ANNOTATIONS + 2));
        assert_eq!(left.matches("x-mcp-header").count(), MAX_ANNOTATIONS);
        let nested = |n: usize| {
            let (open, close) = (r#"{"properties":{"a":"#.repeat(n), "}}".repeat(n));
            format!(r#"{open}{{"type":"string","x-mcp-header":"A"}}{close}"#)
        };
        assert_eq!(compiled(&nested(63)).map(|all| all.len()), Ok(1));
        assert_eq!(compiled(&nested(64)), Err(Unreadable(JsonError::TooDeep)));
        assert_eq!(compiled("{"), Err(Unreadable(JsonError::Truncated)));
    }

    const SCHEMA: &str = r#"{"properties":{
        "s":{"type":"string","x-mcp-header":"S"},
        "i":{"type":"integer","x-mcp-header":"Int"},
        "b":{"type":"boolean","x-mcp-header":"B"},
        "o":{"properties":{"s":{"type":"string","x-mcp-header":"Deep"}}}}}"#;

    fn headers() -> ParamHeaders {
        ParamHeaders::compile(SCHEMA.as_bytes()).expect("valid").expect("some")
    }

    /// The values for a message that is nothing but its arguments.
    fn values(arguments: &str) -> Vec<(String, String)> {
        headers().values(arguments.as_bytes(), Some(Span::whole(arguments.as_bytes())))
    }

    #[test]
    fn values_are_encoded_as_the_table_of_the_specification() {
        let table = [
            (r#"{"s":"us-west1"}"#, "s", "us-west1"),
            (r#"{"s":"Hello, \u4e16界"}"#, "s", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (r#"{"s":" padded "}"#, "s", "=?base64?IHBhZGRlZCA=?="),
            (r#"{"s":"line1\nline2"}"#, "s", "=?base64?bGluZTEKbGluZTI=?="),
            (r#"{"s":"=?base64?literal?="}"#, "s", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
            (r#"{"s":""}"#, "s", ""),
            (r#"{"i":42}"#, "int", "42"),
            (r#"{"i":-7.0}"#, "int", "-7"),
            (r#"{"i":12345678901234567890123}"#, "int", "12345678901234567890123"),
            (r#"{"b":true}"#, "b", "true"),
            (r#"{ "\u006f" : {"x":{"s":1},"s":"in"} }"#, "deep", "in"),
        ];
        for (arguments, name, value) in table {
            let want = (format!("mcp-param-{name}"), value.to_owned());
            assert_eq!(values(arguments), [want], "{arguments}");
        }
    }

    #[test]
    fn what_has_no_value_has_no_header() {
        for arguments in [
            "{}",
            "null",
            "[]",
            "7",
            r#"{"s":null,"i":null,"b":null,"o":null}"#,
            r#"{"o":{}}"#,
            r#"{"o":"s"}"#,
            r#"{"s":["a"],"i":{"s":1}}"#,
            r#"{"S":"x","x":{"s":"y"}}"#,
            r#"{"s":"a","s":"b"}"#,
            r#"{"s":"a","\u0073":null}"#,
            r#"{"o":{"s":"a"},"o":{}}"#,
            r#"{"o":{},"o":{"s":"a"}}"#,
            r#"{"o":{"s":"a","s":"a"}}"#,
            r#"{"s":"\ud800"}"#,
        ] {
            assert_eq!(values(arguments), [], "{arguments}");
        }
        assert_eq!(headers().values(b"{}", None), []);
    }

    /// Headers by what follows `mcp-param-`.
    type Sent<'a> = &'a [(&'a str, &'a [u8])];

    fn validate(arguments: &str, sent: Sent<'_>) -> Result<(), String> {
        let lookup = |name: &str| {
            let name = name.strip_prefix("mcp-param-").expect("the full name");
            sent.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
        };
        headers().validate(arguments.as_bytes(), Some(Span::whole(arguments.as_bytes())), lookup)
    }

    #[test]
    fn headers_must_say_what_the_body_says() {
        let good: [(&str, Sent<'_>); 12] = [
            ("{}", &[]),
            (r#"{"s":null,"o":{"s":null}}"#, &[]),
            ("{}", &[("unknown", b"x")]),
            (r#"{"s":"a b"}"#, &[("s", b" a b ")]),
            (r#"{"s":"\u00e9"}"#, &[("s", b"=?base64?w6k=?=")]),
            (r#"{"s":"plain"}"#, &[("s", b"=?base64?cGxhaW4=?=")]),
            (r#"{"s":""}"#, &[("s", b"")]),
            (r#"{"i":42}"#, &[("int", b"42.0")]),
            (r#"{"i":42.0}"#, &[("int", b"42")]),
            (r#"{"b":false}"#, &[("b", b"false")]),
            (r#"{"s":42}"#, &[("s", b"42")]),
            (r#"{"o":{"s":"x"},"s":["a"]}"#, &[("deep", b"x")]),
        ];
        for (arguments, sent) in good {
            assert_eq!(validate(arguments, sent), Ok(()), "{arguments} {sent:?}");
        }
        let bad: [(&str, Sent<'_>, &str); 18] = [
            (r#"{"s":"a"}"#, &[], "is missing"),
            (r#"{"s":"a"}"#, &[("s", b"b")], "differs from params.arguments.s"),
            (r#"{"s":"a"}"#, &[("s", b"A")], "differs"),
            (r#"{"s":"a"}"#, &[("s", b"\"a\"")], "differs"),
            (r#"{"s":"42"}"#, &[("s", b"42.0")], "differs"),
            (r#"{"i":42}"#, &[("int", b"43")], "differs"),
            (r#"{"i":42}"#, &[("int", b"forty-two")], "differs"),
            (r#"{"b":true}"#, &[("b", b"True")], "differs"),
            (r#"{"b":true}"#, &[("b", b"1")], "differs"),
            ("{}", &[("s", b"a")], "is not expected"),
            (r#"{"s":null}"#, &[("s", b"null")], "is not expected"),
            (r#"{"s":null}"#, &[("s", b"")], "is not expected"),
            (r#"{"s":["a"]}"#, &[("s", b"a")], "is not expected"),
            (r#"{"s":"\u00e9"}"#, &[("s", b"\xc3\xa9")], "is refused"),
            (r#"{"s":"a"}"#, &[("s", b"=?base64?YQ?=")], "is refused"),
            (r#"{"s":"a","s":"a"}"#, &[("s", b"a")], "params.arguments.s occurs twice"),
            (r#"{"o":{"s":"a"},"o":1}"#, &[("deep", b"a")], "params.arguments.o.s occurs twice"),
            (r#"{"s":"\ud800"}"#, &[("s", b"x")], "differs"),
        ];
        for (arguments, sent, why) in bad {
            let refused = validate(arguments, sent).expect_err(arguments);
            assert!(refused.contains(why), "{arguments}: {refused}");
        }
    }

    #[test]
    fn what_we_write_we_accept() {
        let arguments = r#"{"s":"\u0000 é","i":1e2,"b":true,"o":{"s":" "}}"#;
        let sent = values(arguments);
        assert_eq!(sent.len(), 4);
        let lookup = |name: &str| {
            sent.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_bytes())
        };
        let whole = Some(Span::whole(arguments.as_bytes()));
        assert_eq!(headers().validate(arguments.as_bytes(), whole, lookup), Ok(()));
    }
}
