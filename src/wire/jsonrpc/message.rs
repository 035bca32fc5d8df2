//! One JSON-RPC message, read in one pass: what it is and where its parts stand.
//!
//! The bytes stay as they came. Duplicate members are refused in the envelope, in `params`, in
//! `params._meta` and in `error`, compared as decoded keys: otherwise another `name` could be
//! authorised than the one the upstream reads, or another `code` be acted upon than the one the
//! client reads. Duplicates deeper inside pass untouched.

use crate::wire::json::{JsonError, Kind, Object, Scanner, Span, Value, decoded_key, key_is};
use crate::wire::jsonrpc::id::MAX_ID;
use crate::wire::jsonrpc::{Code, Rejected, RequestId};
use bytes::Bytes;
use std::borrow::Cow;

/// A message, by what it is.
#[derive(Clone, Debug)]
pub enum Message {
    /// Has a method and an id.
    Request(Request),
    /// Has a method and no id.
    Notification(Notification),
    /// Has a result or an error.
    Response(Response),
}

/// A request and its id.
#[derive(Clone, Debug)]
pub struct Request {
    /// The id as it was written.
    pub id: RequestId,
    /// Where the id stands.
    pub id_span: Span,
    /// Method and parameters.
    pub call: Call,
}

/// A notification.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Method and parameters.
    pub call: Call,
}

/// What requests and notifications have in common.
#[derive(Clone, Debug)]
pub struct Call {
    /// The whole message.
    pub bytes: Bytes,
    /// The members of the message.
    pub root: Object,
    /// Where the method name stands, with its quotes.
    pub method: Value,
    /// The members of `params`, if there are parameters.
    pub params: Option<Object>,
    /// The members of `params._meta`, if there is one.
    pub meta: Option<Object>,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The whole message.
    pub bytes: Bytes,
    /// The id; an error may come without one.
    pub id: Option<RequestId>,
    /// Where the id stands, if there is an `id` member (`null` included).
    pub id_span: Option<Span>,
    /// Where the message begins (its opening brace).
    pub start: u32,
    /// The result or the error.
    pub outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The members of `result`.
    Result(Object),
    /// The members of `error`, and its code.
    Error {
        /// The members of the error object.
        error: Object,
        /// `error.code`.
        code: i64,
    },
}

impl Call {
    /// The method name, decoded.
    pub fn method_name(&self) -> Cow<'_, str> {
        self.method.text(&self.bytes).unwrap_or_default()
    }

    /// Whether this is the method's name.
    pub fn is_method(&self, name: &str) -> bool {
        self.method.is(&self.bytes, name)
    }

    /// The value of a member of `params`.
    pub fn param(&self, key: &str) -> Option<Value> {
        self.params.as_ref()?.value(&self.bytes, key)
    }

    /// The decoded text of a string member of `params`.
    pub fn param_text(&self, key: &str) -> Option<Cow<'_, str>> {
        self.param(key)?.text(&self.bytes)
    }

    /// The value of a member of `params._meta`.
    pub fn meta_value(&self, key: &str) -> Option<Value> {
        self.meta.as_ref()?.value(&self.bytes, key)
    }

    /// The raw bytes of a value of this message.
    pub fn raw(&self, value: Value) -> &[u8] {
        value.span.of(&self.bytes)
    }

    /// The raw bytes of a value of this message, sharing its buffer.
    pub fn slice(&self, span: Span) -> Bytes {
        if span.end as usize <= self.bytes.len() && span.start <= span.end {
            self.bytes.slice(span.range())
        } else {
            Bytes::new()
        }
    }
}

impl Response {
    /// The members of the result, if it is one.
    pub fn result(&self) -> Option<&Object> {
        match &self.outcome {
            Outcome::Result(object) => Some(object),
            Outcome::Error { .. } => None,
        }
    }

    /// The error code, if it is an error.
    pub fn error_code(&self) -> Option<i64> {
        match self.outcome {
            Outcome::Error { code, .. } => Some(code),
            Outcome::Result(_) => None,
        }
    }

    /// `error.message`, if it is an error with a text.
    pub fn error_message(&self) -> Option<Cow<'_, str>> {
        match &self.outcome {
            Outcome::Error { error, .. } => error.text(&self.bytes, "message"),
            Outcome::Result(_) => None,
        }
    }
}

impl Message {
    /// Reads one message. An array is not one: batches go through [`super::batch`].
    ///
    /// # Errors
    /// -32700 for what is not JSON, -32600 for what is not a message, with the id if it was
    /// readable.
    pub fn parse(bytes: Bytes) -> Result<Self, Rejected> {
        let draft = Draft::scan(&bytes).map_err(|e| refuse_json(&e))?;
        let id = draft.id(&bytes);
        draft.classify(bytes, id.clone()).map_err(|rejected| {
            // an id that is itself at fault is not echoed
            rejected.with_id(id.ok().flatten())
        })
    }
}

fn refuse_json(error: &JsonError) -> Rejected {
    match error {
        JsonError::WrongKind(_) => invalid("expected a json-rpc message, which is an object"),
        JsonError::TooManyMembers => invalid("an object of the message has too many members"),
        _ => Rejected::new(Code::Parse, format!("invalid json: {error}")),
    }
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Rejected {
    Rejected::new(Code::InvalidRequest, message)
}

/// The members that make a message what it is, each as it stands there first.
#[derive(Clone, Copy, Default)]
struct Named {
    jsonrpc: Option<Value>,
    id: Option<Value>,
    method: Option<Value>,
    params: Option<Value>,
    result: Option<Value>,
    error: Option<Value>,
}

impl Named {
    /// The place of the member with this key; `None` for one that we know nothing of.
    fn slot(&mut self, key: &[u8]) -> Option<&mut Option<Value>> {
        match key {
            b"jsonrpc" => Some(&mut self.jsonrpc),
            b"id" => Some(&mut self.id),
            b"method" => Some(&mut self.method),
            b"params" => Some(&mut self.params),
            b"result" => Some(&mut self.result),
            b"error" => Some(&mut self.error),
            _ => None,
        }
    }
}

/// What the pass over the bytes found, before it is judged.
#[derive(Default)]
struct Draft {
    root: Object,
    named: Named,
    params: Option<Object>,
    meta: Option<Object>,
    result: Option<Object>,
    error: Option<Object>,
}

impl Draft {
    fn scan(bytes: &[u8]) -> Result<Self, JsonError> {
        let mut draft = Self::default();
        let mut scanner = Scanner::new(bytes)?;
        if scanner.peek_kind()? != Kind::Object {
            scanner.value()?; // not JSON at all is the graver fault
            scanner.finish()?;
            return Err(JsonError::WrongKind(0));
        }
        let root = scanner.object(|scanner, key| {
            let key = decoded_key(bytes, key);
            let value = match (&*key, scanner.peek_kind()?) {
                (b"params", Kind::Object) => draft.params(scanner, bytes),
                (b"result", Kind::Object) => members(scanner, &mut draft.result),
                (b"error", Kind::Object) => members(scanner, &mut draft.error),
                _ => scanner.value(),
            }?;
            if let Some(slot) = draft.named.slot(&key) {
                slot.get_or_insert(value);
            }
            Ok(value)
        })?;
        scanner.finish()?;
        Ok(Self { root, ..draft })
    }

    fn params(&mut self, scanner: &mut Scanner<'_>, bytes: &[u8]) -> Result<Value, JsonError> {
        let params = scanner.object(|scanner, key| {
            if key_is(bytes, key, "_meta") && scanner.peek_kind()? == Kind::Object {
                return members(scanner, &mut self.meta);
            }
            scanner.value()
        })?;
        Ok(keep(params, &mut self.params))
    }

    /// The id, if there is one and it is acceptable; `null` counts as none here.
    fn id(&self, bytes: &Bytes) -> Result<Option<RequestId>, Rejected> {
        let Some(value) = self.named.id else { return Ok(None) };
        let token = value.span.of(bytes);
        let acceptable = match value.kind {
            Kind::Null => return Ok(None),
            Kind::String => value.is_text(bytes),
            Kind::Number => token.iter().all(|b| b.is_ascii_digit() || *b == b'-'),
            _ => false,
        };
        if !acceptable {
            return Err(invalid("expected id to be a string or an integer"));
        }
        if token.len() > MAX_ID {
            return Err(invalid("expected id to have at most 131072 bytes"));
        }
        Ok(Some(RequestId::from_token(bytes.slice(value.span.range()))))
    }

    fn classify(
        self,
        bytes: Bytes,
        id: Result<Option<RequestId>, Rejected>,
    ) -> Result<Message, Rejected> {
        self.refuse_duplicates(&bytes)?;
        let id = id?;
        if !self.named.jsonrpc.is_some_and(|version| version.is(&bytes, "2.0")) {
            return Err(invalid("expected the member jsonrpc to be \"2.0\""));
        }
        match self.named.method {
            Some(method) => self.into_call(bytes, id, method),
            None => self.into_response(bytes, id).map(Message::Response),
        }
    }

    fn refuse_duplicates(&self, bytes: &[u8]) -> Result<(), Rejected> {
        if let Some(key) = self.root.duplicate(bytes) {
            return Err(invalid(format!("the member {key:?} occurs twice in the message")));
        }
        let places =
            [("params", &self.params), ("params._meta", &self.meta), ("error", &self.error)];
        for (place, object) in places {
            if let Some(key) = object.as_ref().and_then(|object| object.duplicate(bytes)) {
                return Err(invalid(format!("the member {key:?} occurs twice in {place}")));
            }
        }
        Ok(())
    }

    fn into_call(
        self,
        bytes: Bytes,
        id: Option<RequestId>,
        method: Value,
    ) -> Result<Message, Rejected> {
        if !method.is_text(&bytes) {
            return Err(invalid("expected method to be a string"));
        }
        if self.named.result.or(self.named.error).is_some() {
            return Err(invalid("a message has either a method or an outcome, not both"));
        }
        if self.params.is_none() && self.named.params.is_some() {
            return Err(invalid("expected params to be an object"));
        }
        if self.meta.is_none() && self.has_meta(&bytes) {
            return Err(Rejected::new(
                Code::InvalidParams,
                "expected params._meta to be an object",
            ));
        }
        let id_span = self.named.id.map(|value| value.span);
        let call = Call { bytes, root: self.root, method, params: self.params, meta: self.meta };
        match (id, id_span) {
            (Some(id), Some(id_span)) => Ok(Message::Request(Request { id, id_span, call })),
            (None, Some(_)) => Err(invalid("expected id to be a string or an integer, not null")),
            _ => Ok(Message::Notification(Notification { call })),
        }
    }

    fn has_meta(&self, bytes: &[u8]) -> bool {
        self.params.as_ref().is_some_and(|params| params.get(bytes, "_meta").is_some())
    }

    fn into_response(self, bytes: Bytes, id: Option<RequestId>) -> Result<Response, Rejected> {
        let named = self.named;
        let outcome = match (self.result, self.error) {
            (Some(result), None) if named.error.is_none() && id.is_some() => {
                Outcome::Result(result)
            }
            (None, Some(error)) if named.result.is_none() => {
                let code = error.value(&bytes, "code").and_then(|code| code.integer(&bytes));
                let code = code.ok_or_else(|| invalid("expected error.code to be an integer"))?;
                Outcome::Error { error, code }
            }
            _ => return Err(invalid("expected a method, or an id with a result or an error")),
        };
        let id_span = named.id.map(|value| value.span);
        let start = self.root.span.start;
        Ok(Response { bytes, id, id_span, start, outcome })
    }
}

fn members(scanner: &mut Scanner<'_>, slot: &mut Option<Object>) -> Result<Value, JsonError> {
    let object = scanner.object(|scanner, _| scanner.value())?;
    Ok(keep(object, slot))
}

fn keep(object: Object, slot: &mut Option<Object>) -> Value {
    let value = Value::object(object.span);
    *slot = Some(object);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Message, Rejected> {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn refusal(text: &str) -> (i64, Option<RequestId>, String) {
        let rejected = parse(text).expect_err(text);
        (rejected.code.number(), rejected.id, rejected.message.into_owned())
    }

    #[test]
    fn a_request_is_read_by_position() {
        let text = r#" {"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":
            {"name":"x","_meta":{"progressToken":12345678901234567890123},"arguments":{}}} "#;
        let Ok(Message::Request(request)) = parse(text) else { panic!("a request") };
        assert_eq!(request.id.token(), br#""a\u0062""#);
        assert_eq!(request.call.method_name(), "tools/call");
        assert_eq!(request.call.param_text("name").as_deref(), Some("x"));
        let token = request.call.meta_value("progressToken").expect("a token");
        assert_eq!(request.call.raw(token), b"12345678901234567890123");
    }

    #[test]
    fn kinds_are_told_apart() {
        assert!(matches!(parse(r#"{"jsonrpc":"2.0","method":"m"}"#), Ok(Message::Notification(_))));
        let response = parse(r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete"}}"#);
        let Ok(Message::Response(response)) = response else { panic!("a response") };
        assert!(response.result().is_some());
        let error = parse(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"no"}}"#);
        let Ok(Message::Response(error)) = error else { panic!("a response") };
        assert_eq!((error.error_code(), error.id.is_none()), (Some(-1), true));
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_id_when_readable() {
        let seven = Some(RequestId::from_number(7));
        for (text, code, id) in [
            ("{", -32700, None),
            ("[]", -32600, None),
            ("[", -32700, None),
            ("3", -32600, None),
            (r#"{"jsonrpc":"2.0","id":7}"#, -32600, seven.clone()),
            (r#"{"jsonrpc":"1.0","id":7,"method":"m"}"#, -32600, seven.clone()),
            (r#"{"id":7,"method":"m"}"#, -32600, seven.clone()),
            (r#"{"jsonrpc":"2.0","id":7,"method":1}"#, -32600, seven.clone()),
            (r#"{"jsonrpc":"2.0","id":7,"method":"m","params":[]}"#, -32600, seven.clone()),
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":1}}"#,
                -32602,
                seven.clone(),
            ),
            (r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, -32600, None),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#, -32600, None),
            (r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#, -32600, None),
            (r#"{"jsonrpc":"2.0","id":7,"method":"m","result":{}}"#, -32600, seven.clone()),
            (r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1}}"#, -32600, seven.clone()),
            (r#"{"jsonrpc":"2.0","id":7,"result":3}"#, -32600, seven),
            (r#"{"jsonrpc":"2.0","result":{}}"#, -32600, None),
        ] {
            let (got, got_id, _) = refusal(text);
            assert_eq!((got, got_id), (code, id), "{text}");
        }
    }

    #[test]
    fn duplicates_are_refused_where_they_could_smuggle() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"a","n\u0061me":"b"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"a":1,"a":2}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"","c\u006fde":2}}"#,
        ] {
            assert_eq!(refusal(text).0, -32600, "{text}");
        }
        let deeper =
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"arguments":{"a":1,"a":2}}}"#;
        assert!(parse(deeper).is_ok());
    }

    #[test]
    fn nul_and_foreign_encodings_are_not_json() {
        assert_eq!(refusal("{\"jsonrpc\":\"2.0\",\"method\":\"a\u{0}\"}").0, -32700);
        let latin =
            Message::parse(Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xe9\"}"));
        assert_eq!(latin.expect_err("not utf-8").code, Code::Parse);
    }
}
