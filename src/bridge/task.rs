//! Tasks, in both of their designs: a part of MCP 2025-11-25 (basic/utilities/tasks), and later the
//! extension `io.modelcontextprotocol/tasks`. Where their ids stand, so that clients see ours; which
//! requests want tasks, and which can have none.
//!
//! The designs are never translated into each other, and what a task asks for or results in passes
//! as it is, but for its URIs ([`super::content`]).

use crate::bridge::content::objects;
use crate::bridge::request::drop_extensions;
use crate::mcp::{Era, Method, meta};
use crate::wire::json::{self, JsonError, Kind, Object, Span, Value};
use crate::wire::jsonrpc::{Call, Code, Message, Notification, Rejected, Request, Response};
use crate::wire::splice::Splice;
use bytes::Bytes;
use std::time::Duration;

/// `resultType` of a call that has become a task.
pub(super) const KIND: &str = "task";

/// How long a task lasts from its creation; `None` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(pub Option<Duration>);

/// A task as the upstream has created it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The upstream's own id.
    pub id: String,
    /// How long it lasts.
    pub lifetime: Lifetime,
    /// It is over already.
    pub over: bool,
}

/// Whether a task is in a state that it does not leave ("Task Status Lifecycle").
fn is_terminal(bytes: &[u8], task: &Object) -> bool {
    let status = task.text(bytes, "status");
    matches!(status.as_deref(), Some("completed" | "failed" | "cancelled"))
}

/// Whether the answer to a request about a task says that it is over.
pub fn is_over(response: &Response, method: Method) -> bool {
    let over = |task| method == Method::TasksResult || is_terminal(&response.bytes, task);
    response.result().is_some_and(over)
}

/// Whether `notifications/tasks/status` says that the task is over.
pub fn has_ended(notification: &Notification) -> bool {
    let params = notification.call.params.as_ref();
    params.is_some_and(|task| is_terminal(&notification.call.bytes, task))
}

fn section(bytes: &[u8], object: &Object, key: &str) -> Option<Object> {
    let value = object.value(bytes, key).filter(|value| value.kind == Kind::Object)?;
    Object::read(bytes, value.span).ok()
}

/// The task that a call of a tool has become, if it has.
pub fn created(response: &Response, upstream: Era) -> Option<Created> {
    let (bytes, result) = (&response.bytes, response.result()?);
    let legacy;
    let (task, ttl) = match upstream {
        Era::Modern => {
            result.text(bytes, "resultType").filter(|kind| kind == KIND)?;
            (result, "ttlMs")
        }
        Era::Legacy => {
            legacy = section(bytes, result, "task")?;
            (&legacy, "ttl")
        }
    };
    let id = task.text(bytes, "taskId")?.into_owned();
    let lifetime = lifetime(bytes, task, ttl).unwrap_or(Lifetime(None));
    Some(Created { id, lifetime, over: is_terminal(bytes, task) })
}

/// What the answer to a `tasks/` request says of how long the task lasts.
pub fn lasting(response: &Response, upstream: Era) -> Option<Lifetime> {
    let key = match upstream {
        Era::Modern => "ttlMs",
        Era::Legacy => "ttl",
    };
    lifetime(&response.bytes, response.result()?, key)
}

fn lifetime(bytes: &[u8], task: &Object, key: &str) -> Option<Lifetime> {
    let ttl = task.value(bytes, key)?;
    let millis = ttl.integer(bytes).and_then(|ttl| u64::try_from(ttl).ok());
    Some(Lifetime(millis.map(Duration::from_millis)))
}

/// Puts a client's id (a JSON string token) in the place of the upstream's, wherever a result of
/// this method has it. Of a member that occurs twice, both are replaced.
pub(super) fn rename(
    bytes: &[u8],
    method: Method,
    result: &Object,
    id: &[u8],
    splice: &mut Splice,
) -> Result<(), JsonError> {
    for task in objects(bytes, result, "task").filter(|_| method == Method::ToolsCall) {
        replace(bytes, &task?, id, splice);
    }
    if method != Method::TasksResult {
        replace(bytes, result, id, splice);
    }
    related(bytes, result, id, splice)
}

/// The task that a message of 2025-11-25 belongs to stands in its `_meta`.
fn related(bytes: &[u8], object: &Object, id: &[u8], splice: &mut Splice) -> Result<(), JsonError> {
    for meta in objects(bytes, object, "_meta") {
        for related in objects(bytes, &meta?, meta::RELATED_TASK) {
            replace(bytes, &related?, id, splice);
        }
    }
    Ok(())
}

fn replace(bytes: &[u8], object: &Object, id: &[u8], splice: &mut Splice) {
    for value in object.all(bytes, "taskId") {
        splice.replace(value.span, id);
    }
}

/// The parameters of a question, or the result that answers one, with the other side's id of its
/// task. What cannot be read stays as it is.
pub(super) fn readdressed(object: &Bytes, id: &[u8]) -> Bytes {
    let mut splice = Splice::new();
    let read = Object::read(object, Span::whole(object));
    match read.and_then(|read| related(object, &read, id, &mut splice)) {
        Ok(()) if !splice.is_empty() => splice.apply(object),
        _ => object.clone(),
    }
}

/// `notifications/tasks/status` with the client's id.
pub fn status(notification: &Notification, id: &[u8]) -> Bytes {
    let mut splice = Splice::new();
    if let Some(theirs) = notification.call.param("taskId") {
        splice.replace(theirs.span, id);
    }
    splice.apply(&notification.call.bytes)
}

/// Whether a modern request declares that its client knows the extension.
pub fn declares(call: &Call) -> bool {
    let read = |value: Value| Object::read(&call.bytes, value.span).ok();
    let declared = call.meta_value(meta::CLIENT_CAPABILITIES).filter(|v| v.kind == Kind::Object);
    let extensions = declared.and_then(read).and_then(|c| section(&call.bytes, &c, "extensions"));
    extensions.is_some_and(|extensions| section(&call.bytes, &extensions, meta::TASKS).is_some())
}

/// The request as one that does not declare the extension, for an upstream whose tasks would be lost:
/// it answers without one then. `None` for one that does not declare it.
pub fn undeclaring(request: &Request) -> Option<Request> {
    let call = &request.call;
    let mut splice = Splice::new();
    drop_extensions(call, |key| json::key_is(&call.bytes, key, meta::TASKS), &mut splice);
    if splice.is_empty() {
        return None;
    }
    match Message::parse(splice.apply(&call.bytes)) {
        Ok(Message::Request(request)) => Some(request),
        _ => None,
    }
}

/// What a client hears that uses tasks and has not declared them ("Protocol Errors").
pub fn undeclared() -> Rejected {
    let data =
        format!("{{\"requiredCapabilities\":{{\"extensions\":{{\"{}\":{{}}}}}}}}", meta::TASKS);
    let text = "tasks need the client capability io.modelcontextprotocol/tasks";
    Rejected::new(Code::MissingCapability, text).with_data(data)
}

/// Whether a listen wants to hear of tasks.
pub fn is_listened_for(call: &Call) -> bool {
    let filter = call.param("notifications").filter(|value| value.kind == Kind::Object);
    let filter = filter.and_then(|filter| Object::read(&call.bytes, filter.span).ok());
    filter.is_some_and(|filter| filter.value(&call.bytes, "taskIds").is_some())
}

/// `tasks/cancel` of our own, for a task that its client has given up.
pub fn cancel_request(id: u64, task: &str) -> Bytes {
    let mut out = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tasks/cancel\",\"params\":{{\"taskId\":"
    )
    .into_bytes();
    json::encode_string(task, &mut out);
    out.extend_from_slice(b"}}");
    Bytes::from(out)
}

/// A call without the wish to be a task of 2025-11-25, where it cannot be one: it is carried out as
/// any other ("Task Support and Handling"). `None` for one that has no such wish.
pub fn plain(request: &Request) -> Option<Request> {
    let (call, params) = (&request.call, request.call.params.as_ref()?);
    let wish = call.param("task")?;
    let at = params.members.iter().position(|member| member.value.span == wish.span);
    let mut splice = Splice::new();
    splice.edit_members(params, at.as_slice(), &[]);
    match Message::parse(splice.apply(&call.bytes)) {
        Ok(Message::Request(request)) => Some(request),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(result: &str) -> Response {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        match Message::parse(Bytes::from(text)) {
            Ok(Message::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    fn request(params: &str) -> Request {
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{params}}}}}"#);
        match Message::parse(Bytes::from(text)) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_task_is_found_where_its_design_puts_it() {
        let modern = r#"{"resultType":"task","taskId":"\u0061","ttlMs":5,"task":{"taskId":"b"}}"#;
        let lifetime = Lifetime(Some(Duration::from_millis(5)));
        let created = |text, era| created(&response(text), era);
        assert_eq!(
            created(modern, Era::Modern),
            Some(Created { id: "a".into(), lifetime, over: false })
        );
        let forever = Lifetime(None);
        let legacy = r#"{"task":{"taskId":"b","ttl":null}}"#;
        let expected = Some(Created { id: "b".into(), lifetime: forever, over: false });
        assert_eq!(created(legacy, Era::Legacy), expected);
        for none in [
            r#"{"resultType":"complete","taskId":"a"}"#,
            r#"{"resultType":"task"}"#,
            r#"{"resultType":"task","taskId":7}"#,
            legacy,
        ] {
            assert_eq!(created(none, Era::Modern), None, "{none}");
        }
        assert_eq!(created(r#"{"taskId":"a","task":"b"}"#, Era::Legacy), None);
        assert_eq!(lasting(&response(r#"{"ttlMs":null}"#), Era::Modern), Some(forever));
        assert_eq!(lasting(&response("{}"), Era::Modern), None);
        assert_eq!(lasting(&response(r#"{"ttl":-1}"#), Era::Legacy), Some(forever));
    }

    #[test]
    fn a_task_is_over_when_its_status_says_so_or_its_result_is_there() {
        let over = |text: &str, method| is_over(&response(text), method);
        for status in ["completed", "failed", "cancelled"] {
            let text = format!(r#"{{"taskId":"a","status":"{status}"}}"#);
            assert!(over(&text, Method::TasksGet), "{status}");
            let text = format!(r#"{{"task":{text}}}"#);
            assert!(created(&response(&text), Era::Legacy).expect("a task").over, "{status}");
        }
        for text in [r#"{"status":"working"}"#, r#"{"status":"input_required"}"#, "{}"] {
            assert!(!over(text, Method::TasksGet), "{text}");
        }
        assert!(over(r#"{"content":[]}"#, Method::TasksResult));
    }

    fn renamed(method: Method, text: &str) -> String {
        let response = response(text);
        let mut splice = Splice::new();
        let result = response.result().expect("a result");
        rename(&response.bytes, method, result, b"\"X\"", &mut splice).expect("it can be read");
        let out = String::from_utf8(splice.apply(&response.bytes).to_vec()).expect("utf-8");
        out.replace(r#"{"jsonrpc":"2.0","id":1,"result":"#, "")
    }

    #[test]
    fn ids_are_replaced_where_they_stand_and_nowhere_else() {
        for (method, text) in [
            (Method::ToolsCall, r#"{"task":{"taskId":"t","x":"t"},"content":[{"taskId":"t"}]}"#),
            (Method::ToolsCall, r#"{"resultType":"task","taskId":"t","t\u0061skId":"t"}"#),
            (Method::TasksGet, r#"{"taskId":"t","result":{"taskId":"t","content":[]}}"#),
            (
                Method::TasksResult,
                r#"{"taskId":"t","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#,
            ),
        ] {
            let out = renamed(method, text);
            let ours = out.matches("\"X\"").count();
            assert_eq!(ours, if text.contains("u0061") { 2 } else { 1 }, "{out}");
            assert_eq!(
                out.trim_end_matches('}').replace("\"X\"", "\"t\""),
                text.trim_end_matches('}')
            );
        }
        assert!(renamed(Method::TasksResult, r#"{"taskId":"t"}"#).contains("\"t\""), "payload");
        assert!(
            renamed(Method::TasksGet, r#"{"taskId":"t","result":{"taskId":"t"}}"#)
                .starts_with(r#"{"taskId":"X","result":{"taskId":"t"}"#)
        );
    }

    #[test]
    fn a_question_and_its_answer_name_the_task_as_each_side_knows_it() {
        let text = r#"{"message":"m","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"},"k":{"taskId":"t"}}}"#;
        let out = readdressed(&Bytes::from(text), b"\"X\"");
        assert_eq!(out, text.replacen("\"t\"", "\"X\"", 1));
        let other = Bytes::from_static(br#"{"_meta":{"taskId":"t"}}"#);
        assert_eq!(readdressed(&other, b"\"X\""), other);
    }

    #[test]
    fn only_an_object_in_its_place_declares_the_extension() {
        let declares = |capabilities: &str| {
            let meta = format!(r#""_meta":{{"{}":{capabilities}}}"#, meta::CLIENT_CAPABILITIES);
            declares(&request(&meta).call)
        };
        assert!(declares(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#));
        for not in [
            "{}",
            r#"{"tasks":{}}"#,
            r#"{"extensions":["io.modelcontextprotocol/tasks"]}"#,
            r#"{"extensions":{"io.modelcontextprotocol/tasks":true}}"#,
            r#"{"io.modelcontextprotocol/tasks":{}}"#,
        ] {
            assert!(!declares(not), "{not}");
        }
        assert!(!super::declares(&request("").call));
    }

    #[test]
    fn the_wish_goes_and_nothing_else() {
        for (before, after) in [
            (r#""name":"a","task":{"ttl":5},"x":1"#, r#""name":"a","x":1"#),
            (r#""task":null"#, ""),
        ] {
            let plain = plain(&request(before)).expect("a request");
            assert_eq!(plain.call.bytes, request(after).call.bytes);
        }
        assert!(plain(&request(r#""arguments":{"task":1}"#)).is_none());
    }
}
