//! `input_required` towards modern clients (MCP 2026-07-28 basic/patterns/mrtr): questions of legacy
//! servers as entries of `inputRequests`, and what clients answer in `inputResponses`.

use crate::bridge::question::Question;
use crate::mcp::{Method, meta};
use crate::wire::json::{self, Key, Kind, Object, Span, Value};
use crate::wire::jsonrpc::{Call, Outcome, Response};
use crate::wire::splice::Splice;
use bytes::Bytes;

/// A legacy server wants URLs to be opened, and to be called again (2025-11-25 client/elicitation,
/// "URL Elicitation Required Error").
pub const URL_REQUIRED: i64 = -32042;

/// Most URLs of one error that wants them to be opened.
pub const MAX_URLS: usize = 16;

/// The members of `params` that only the legacy era knows.
const LEGACY_MEMBERS: [&str; 2] = ["elicitationId", "task"];
/// The same of `params._meta`.
const LEGACY_META: [&str; 2] = [meta::PROGRESS_TOKEN, "io.modelcontextprotocol/related-task"];

/// A question by its key in `inputRequests`.
pub type Entry = (String, Question);

/// The result that asks a client for input: a raw JSON object. `space` is the slug of the upstream
/// where several share the endpoint; `state` needs no escape.
pub fn input_required(entries: &[(&str, &Question)], space: Option<&str>, state: &str) -> Vec<u8> {
    let mut out = b"{\"resultType\":\"input_required\",\"inputRequests\":{".to_vec();
    for (at, (key, question)) in entries.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::encode_string(key, &mut out);
        out.push(b':');
        out.extend_from_slice(&entry(question, space));
    }
    out.extend_from_slice(b"},\"requestState\":");
    json::encode_string(state, &mut out);
    out.push(b'}');
    out
}

/// A question as an entry of `inputRequests`.
fn entry(question: &Question, space: Option<&str>) -> Vec<u8> {
    let mut out = format!("{{\"method\":\"{}\"", question.method.name()).into_bytes();
    if let Some(params) = question.shown(space) {
        out.extend_from_slice(b",\"params\":");
        out.extend_from_slice(&modern_params(&params));
    }
    out.push(b'}');
    out
}

/// The places of the members with these keys.
fn places(bytes: &[u8], object: &Object, keys: &[&str]) -> Vec<usize> {
    let is_one = |key: Key| keys.iter().any(|name| json::key_is(bytes, key, name));
    let members = object.members.iter().enumerate();
    members.filter(|(_, member)| is_one(member.key)).map(|(at, _)| at).collect()
}

/// Parameters without what only the legacy era knows; a `_meta` that held nothing else goes too.
fn modern_params(params: &Bytes) -> Bytes {
    let Ok(object) = Object::read(params, Span::whole(params)) else { return params.clone() };
    let mut removed = places(params, &object, &LEGACY_MEMBERS);
    let mut splice = Splice::new();
    for at in places(params, &object, &["_meta"]) {
        let span = object.members.get(at).map(|member| member.value.span).unwrap_or_default();
        let Ok(meta) = Object::read(params, span) else { continue };
        let legacy = places(params, &meta, &LEGACY_META);
        match legacy.len() == meta.members.len() {
            true => removed.push(at),
            false => splice.edit_members(&meta, &legacy, &[]),
        }
    }
    splice.edit_members(&object, &removed, &[]);
    splice.apply(params)
}

/// The questions of a legacy error that wants URLs to be opened (-32042); `None` if it names none.
pub fn urls(bytes: &Bytes, error: &Object) -> Option<Vec<Entry>> {
    let data = error.value(bytes, "data").filter(|data| data.kind == Kind::Object)?;
    let list = Object::read(bytes, data.span).ok()?.value(bytes, "elicitations")?;
    let list = json::elements(bytes, list.span).ok()?;
    let question = |(at, value): (usize, Value)| {
        let params = Object::read(bytes, value.span).ok()?;
        let is_url = params.text(bytes, "mode").as_deref() == Some("url");
        let params = bytes.slice(value.span.range());
        let question = Question { method: Method::Elicit, params: Some(params) };
        is_url.then(|| (format!("u{}", at + 1), question))
    };
    let found: Option<Vec<Entry>> = list.into_iter().enumerate().map(question).collect();
    found.filter(|found| (1..=MAX_URLS).contains(&found.len()))
}

/// The ids of the elicitations by URL that a legacy error names.
pub fn elicitation_ids(response: &Response) -> Vec<String> {
    let Outcome::Error { .. } = &response.outcome else { return Vec::new() };
    let whole = Object::read(&response.bytes, Span::whole(&response.bytes)).ok();
    let error = whole.and_then(|whole| whole.value(&response.bytes, "error"));
    let error = error.and_then(|error| Object::read(&response.bytes, error.span).ok());
    let questions = error.and_then(|error| urls(&response.bytes, &error)).unwrap_or_default();
    questions.into_iter().filter_map(|(_, question)| question.elicitation_id()).collect()
}

/// The members of `inputResponses`: none if there are no such member.
///
/// # Errors
/// When it is no object that can be read, or answers one key twice.
pub fn answers(call: &Call) -> Result<Object, WrongShape> {
    let Some(value) = call.param("inputResponses") else { return Ok(Object::default()) };
    let object = Object::read(&call.bytes, value.span).map_err(|_| WrongShape)?;
    match object.duplicate(&call.bytes) {
        Some(_) => Err(WrongShape),
        None => Ok(object),
    }
}

/// An answer that is none to its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongShape;

/// Whether this can be an answer to the question.
///
/// # Errors
/// When it cannot (schema `ElicitResult`, `CreateMessageResult`, `ListRootsResult`).
pub fn check(question: &Question, bytes: &[u8], answer: Value) -> Result<(), WrongShape> {
    let object = Object::read(bytes, answer.span).map_err(|_| WrongShape)?;
    let is = |key, kind| object.value(bytes, key).is_some_and(|value: Value| value.kind == kind);
    let fits = match question.method {
        Method::Elicit => elicited(question, bytes, &object),
        Method::CreateMessage => {
            let content = is("content", Kind::Object) || is("content", Kind::Array);
            is("role", Kind::String) && is("model", Kind::String) && content
        }
        _ => is("roots", Kind::Array),
    };
    if fits { Ok(()) } else { Err(WrongShape) }
}

fn elicited(question: &Question, bytes: &[u8], result: &Object) -> bool {
    // some clients write null for what they leave out
    let content = result.value(bytes, "content").filter(|content| content.kind != Kind::Null);
    let object = content.map(|content| Object::read(bytes, content.span));
    match (result.text(bytes, "action").as_deref(), object) {
        (Some("accept"), Some(Ok(content))) => Form::of(question).admits(bytes, &content),
        (Some("accept"), None) => Form::of(question).admits(bytes, &Object::default()),
        (Some("decline" | "cancel"), None | Some(Ok(_))) => true,
        _ => false,
    }
}

/// The form that a question asks to be filled in: what of its schema tells a wrong answer.
#[derive(Default)]
struct Form<'a> {
    bytes: &'a [u8],
    properties: Object,
    required: Vec<Value>,
}

impl<'a> Form<'a> {
    fn of(question: &'a Question) -> Self {
        let read = || {
            let bytes: &[u8] = question.params.as_ref()?;
            let params = Object::read(bytes, Span::whole(bytes)).ok()?;
            let schema = params.value(bytes, "requestedSchema")?;
            let schema = Object::read(bytes, schema.span).ok()?;
            let properties = schema.value(bytes, "properties");
            let properties = properties.and_then(|found| Object::read(bytes, found.span).ok());
            let required = schema.value(bytes, "required");
            let required = required.and_then(|found| json::elements(bytes, found.span).ok());
            let (properties, required) =
                (properties.unwrap_or_default(), required.unwrap_or_default());
            Some(Self { bytes, properties, required })
        };
        read().unwrap_or_default()
    }

    fn admits(&self, bytes: &[u8], content: &Object) -> bool {
        let given = |name: &Value| {
            let name = name.text(self.bytes);
            let value = |name: &str| content.value(bytes, name);
            name.is_none_or(|name| value(&name).is_some_and(|value| value.kind != Kind::Null))
        };
        let fits = |member: &json::Member| {
            // some clients write null for what the user has left empty
            if member.value.kind == Kind::Null {
                return true;
            }
            let key = json::decode_string(member.key.of(bytes)).ok();
            let schema = key.and_then(|key| self.properties.value(self.bytes, &key));
            let schema = schema.and_then(|schema| Object::read(self.bytes, schema.span).ok());
            schema.is_none_or(|schema| self.is_of(&schema, bytes, member.value))
        };
        self.required.iter().all(given) && content.members.iter().all(fits)
    }

    /// Whether a value has the type of its property, and is one of its choices if it has any.
    fn is_of(&self, schema: &Object, bytes: &[u8], value: Value) -> bool {
        let typed = match schema.text(self.bytes, "type").as_deref() {
            Some("string") => value.kind == Kind::String,
            Some("number") => value.kind == Kind::Number,
            Some("integer") => value.kind == Kind::Number && is_whole(value.span.of(bytes)),
            Some("boolean") => value.kind == Kind::Bool,
            Some("array") => value.kind == Kind::Array,
            _ => true,
        };
        let choices = schema.value(self.bytes, "enum");
        let choices = choices.and_then(|choices| json::elements(self.bytes, choices.span).ok());
        let text = value.text(bytes);
        let chosen = |choices: Vec<Value>| {
            text.is_none() || choices.iter().any(|choice| choice.text(self.bytes) == text)
        };
        typed && choices.is_none_or(chosen)
    }
}

/// Whether a number has no fraction, however it is written.
fn is_whole(lexeme: &[u8]) -> bool {
    let number = std::str::from_utf8(lexeme).ok().and_then(|text| text.parse::<f64>().ok());
    number.is_some_and(|number| number.fract() == 0.0)
}

/// What a modern result asks for.
#[derive(Debug, Default)]
pub struct Asks {
    /// The upstream's own `requestState`.
    pub state: Option<Value>,
    /// The questions.
    pub questions: Vec<Question>,
}

impl Asks {
    /// Reads a result whose `resultType` is `input_required`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: &Bytes, result: &Object) -> Result<Self, &'static str> {
        let state = result.value(bytes, "requestState");
        let requests = result.value(bytes, "inputRequests");
        if result.duplicate(bytes).is_some() {
            return Err("it asks for input twice over");
        }
        if state.is_none() && requests.is_none() {
            return Err("it asks for input and does not say which");
        }
        if state.is_some_and(|state| state.kind != Kind::String) {
            return Err("it asks for input with a state that is no string");
        }
        let mut asks = Self { state, questions: Vec::new() };
        if let Some(requests) = requests {
            let entries = Object::read(bytes, requests.span);
            let entries = entries.map_err(|_| "it asks for input that cannot be read")?;
            for member in &entries.members {
                let question = Question::of_entry(bytes, member.value);
                let question = question.ok_or("it asks for something that clients do not give")?;
                asks.questions.push(question);
            }
        }
        Ok(asks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::check as parse;

    fn question(method: Method, params: &str) -> Question {
        Question { method, params: Some(Bytes::copy_from_slice(params.as_bytes())) }
    }

    fn fits(question: &Question, answer: &str) -> bool {
        let value = parse(answer.as_bytes()).expect("json");
        check(question, answer.as_bytes(), value).is_ok()
    }

    #[test]
    fn an_entry_has_nothing_that_only_the_legacy_era_knows() {
        let url = question(
            Method::Elicit,
            r#"{"mode":"url","elicitationId":"e","url":"u:v","message":"go","task":{},"_meta":{"progressToken":1}}"#,
        );
        assert_eq!(
            String::from_utf8(entry(&url, Some("fs"))).expect("utf-8"),
            r#"{"method":"elicitation/create","params":{"mode":"url","url":"u:v","message":"[fs] go"}}"#
        );
        let sampling = question(
            Method::CreateMessage,
            r#"{"maxTokens":1.0e1,"_meta":{"progressToken":1,"k/v":2},"elicitation":0}"#,
        );
        assert_eq!(
            String::from_utf8(entry(&sampling, None)).expect("utf-8"),
            r#"{"method":"sampling/createMessage","params":{"maxTokens":1.0e1,"_meta":{"k/v":2},"elicitation":0}}"#
        );
        let roots = Question { method: Method::RootsList, params: None };
        assert_eq!(entry(&roots, None), br#"{"method":"roots/list"}"#);
    }

    #[test]
    fn the_result_is_what_the_schema_says() {
        let roots = Question { method: Method::RootsList, params: None };
        let result = input_required(&[("k1_1", &roots), ("k1_2", &roots)], None, "s");
        let result: serde_json::Value = serde_json::from_slice(&result).expect("json");
        assert_eq!(result["resultType"], "input_required");
        assert_eq!(result["requestState"], "s");
        assert_eq!(result["inputRequests"]["k1_2"]["method"], "roots/list");
    }

    #[test]
    fn an_answer_has_the_shape_of_its_question() {
        let sampling = question(Method::CreateMessage, "{}");
        assert!(fits(&sampling, r#"{"role":"assistant","model":"m","content":{"type":"text"}}"#));
        assert!(fits(&sampling, r#"{"role":"assistant","model":"m","content":[]}"#));
        for wrong in [
            r#"{"role":"assistant","model":"m"}"#,
            r#"{"role":"assistant","content":{}}"#,
            r#"{"model":"m","content":{}}"#,
            r#"{"role":1,"model":"m","content":{}}"#,
            r#"{"action":"accept"}"#,
            "[]",
            "null",
        ] {
            assert!(!fits(&sampling, wrong), "{wrong}");
        }
        let roots = question(Method::RootsList, "{}");
        assert!(fits(&roots, r#"{"roots":[]}"#));
        assert!(!fits(&roots, r#"{"roots":{}}"#) && !fits(&roots, "{}"));
    }

    #[test]
    fn a_form_is_filled_in_as_its_schema_wants_it() {
        let form = question(
            Method::Elicit,
            r#"{"message":"m","requestedSchema":{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},"ok":{"type":"boolean"},"c":{"type":"string","enum":["red","gr\u0065en"]},"many":{"type":"array"}},"required":["name"]}}"#,
        );
        for right in [
            r#"{"action":"accept","content":{"name":"Ada","age":36.0,"ok":true,"c":"green","many":["x"],"more":null}}"#,
            r#"{"action":"accept","content":{"n\u0061me":"Ada"}}"#,
            r#"{"action":"accept","content":{"name":"Ada","age":null,"c":null,"many":null}}"#,
            r#"{"action":"decline"}"#,
            r#"{"action":"cancel","content":{}}"#,
            r#"{"action":"decline","content":null}"#,
            r#"{"action":"cancel","content":null}"#,
        ] {
            assert!(fits(&form, right), "{right}");
        }
        for wrong in [
            r#"{"action":"accept"}"#,
            r#"{"action":"accept","content":{}}"#,
            r#"{"action":"accept","content":[]}"#,
            r#"{"action":"accept","content":{"name":1}}"#,
            r#"{"action":"accept","content":{"name":null}}"#,
            r#"{"action":"accept","content":{"name":"a","age":1.5}}"#,
            r#"{"action":"accept","content":{"name":"a","ok":"true"}}"#,
            r#"{"action":"accept","content":{"name":"a","c":"blue"}}"#,
            r#"{"action":"accept","content":{"name":"a","many":"x"}}"#,
            r#"{"action":"yes"}"#,
            r#"{"content":{"name":"a"}}"#,
            r#"{"role":"assistant","model":"m","content":{"name":"a"}}"#,
        ] {
            assert!(!fits(&form, wrong), "{wrong}");
        }
        let url = question(Method::Elicit, r#"{"mode":"url","url":"u:v","message":"m"}"#);
        assert!(fits(&url, r#"{"action":"accept"}"#));
    }

    #[test]
    fn urls_of_an_error_become_questions() {
        let error = |data: &str| {
            let text = Bytes::from(format!(r#"{{"code":-32042,"message":"m","data":{data}}}"#));
            let object = Object::read(&text, Span::whole(&text)).expect("an object");
            urls(&text, &object).map(|found| found.into_iter().map(|(key, _)| key).collect())
        };
        let one = r#"{"mode":"url","elicitationId":"e","url":"u:v","message":"m"}"#;
        let found: Option<Vec<String>> = error(&format!(r#"{{"elicitations":[{one},{one}]}}"#));
        assert_eq!(found, Some(vec!["u1".to_owned(), "u2".to_owned()]));
        for none in
            ["null", "{}", r#"{"elicitations":[]}"#, r#"{"elicitations":[{"mode":"form"}]}"#]
        {
            assert_eq!(error(none), None, "{none}");
        }
    }
}
