//! What a server asks of a client in the middle of a request (sampling, elicitation, roots), in
//! both shapes: a request of its own (legacy) and an entry of `inputRequests` (MCP 2026-07-28
//! basic/patterns/mrtr); and what the client says to it.

use crate::bridge::content::objects;
use crate::bridge::fit;
use crate::bridge::task;
use crate::mcp::{ClientCapabilities, Era, Extensions, Method, Revision};
use crate::wire::json::{self, JsonError, Key, Kind, Object, Span, Value};
use crate::wire::jsonrpc::error::result_json;
use crate::wire::jsonrpc::{Code, Outcome, Rejected, Request, RequestId, Response};
use crate::wire::splice::Splice;
use bytes::Bytes;

/// Something that a client is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// `sampling/createMessage`, `elicitation/create` or `roots/list`.
    pub method: Method,
    /// The raw `params` object, if there is one.
    pub params: Option<Bytes>,
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The client's raw `result` object.
    Result(Bytes),
    /// The client's raw `error` object.
    Error(Bytes),
    /// The client could not be asked, or has not answered, and why.
    Unanswered(Declined),
}

/// Why a question has no answer, and the code that a legacy server hears it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declined {
    /// The code of the error.
    pub code: Code,
    /// In words for either side.
    pub why: &'static str,
}

impl Declined {
    /// -32601: the client serves no such request (2025-11-25 client/roots, "Error Handling").
    pub const fn unknown(why: &'static str) -> Self {
        Self { code: Code::MethodNotFound, why }
    }

    /// -32602: it asks for more than was declared, or in a form that the client does not have
    /// (2025-11-25 client/elicitation, "Error Handling").
    pub const fn unfit(why: &'static str) -> Self {
        Self { code: Code::InvalidParams, why }
    }

    /// -32603: there is nothing wrong with the question.
    pub const fn failed(why: &'static str) -> Self {
        Self { code: Code::Internal, why }
    }

    /// What clients have not declared that could be asked otherwise. For elicitation each mode is
    /// declared, so none was: that is -32602, too.
    pub fn undeclared(method: Method, why: &'static str) -> Self {
        if method == Method::Elicit { Self::unfit(why) } else { Self::unknown(why) }
    }
}

/// What can be asked of clients at all.
pub fn askable(name: &str) -> Option<Method> {
    let method = Method::parse(name)?;
    matches!(method, Method::CreateMessage | Method::Elicit | Method::RootsList).then_some(method)
}

impl Question {
    /// From a request of a legacy server; `None` for a request that is none.
    pub fn of_request(request: &Request) -> Option<Self> {
        let method = askable(&request.call.method_name())?;
        let params = request.call.root.value(&request.call.bytes, "params");
        let params = params.filter(|params| params.kind == Kind::Object);
        Some(Self { method, params: params.map(|params| request.call.slice(params.span)) })
    }

    /// From an entry of `inputRequests`; `None` for an entry that is none.
    pub fn of_entry(bytes: &Bytes, entry: Value) -> Option<Self> {
        let object = Object::read(bytes, entry.span).ok()?;
        let method = askable(&object.text(bytes, "method")?)?;
        let params = object.value(bytes, "params").filter(|params| params.kind == Kind::Object);
        Some(Self { method, params: params.map(|params| bytes.slice(params.span.range())) })
    }

    /// The question as a client of this revision understands it, if it can be asked: with
    /// `elicitation_id` where one must be given and none was.
    ///
    /// # Errors
    /// What the client lacks, or what its protocol has no form for.
    pub fn for_client(
        self,
        capabilities: &ClientCapabilities,
        client: Revision,
        elicitation_id: &str,
    ) -> Result<Self, Declined> {
        self.check(capabilities)?;
        let context = capabilities.sampling.is_some_and(|sampling| sampling.context);
        fit::question(self, client, context, elicitation_id).map_err(Declined::unfit)
    }

    /// The same about a task as the client knows it (2025-11-25 basic/utilities/tasks,
    /// "Associating Task-Related Messages").
    pub fn of_task(self, id: &[u8]) -> Self {
        Self { params: self.params.map(|params| task::readdressed(&params, id)), ..self }
    }

    /// Whether it sends the user to a URL.
    pub fn is_by_url(&self) -> bool {
        self.method == Method::Elicit && self.text("mode").as_deref() == Some("url")
    }

    /// What an elicitation by URL is called in the news that it is over (2025-11-25
    /// client/elicitation).
    pub fn elicitation_id(&self) -> Option<String> {
        self.is_by_url().then(|| self.text("elicitationId"))?
    }

    fn uses_tools(&self) -> bool {
        self.member("tools").is_some() || self.member("toolChoice").is_some()
    }

    pub(super) fn member(&self, key: &str) -> Option<Value> {
        let params = self.params.as_ref()?;
        Object::read(params, Span::whole(params)).ok()?.value(params, key)
    }

    fn text(&self, key: &str) -> Option<String> {
        let value = self.member(key)?;
        value.text(self.params.as_ref()?).map(std::borrow::Cow::into_owned)
    }

    /// Whether a client with these capabilities may be asked; the error says what it lacks
    /// (client/elicitation and client/sampling, "Capabilities").
    pub fn check(&self, capabilities: &ClientCapabilities) -> Result<(), Declined> {
        let undeclared = |why| Declined::undeclared(self.method, why);
        match self.method {
            Method::Elicit => {
                let modes = capabilities.elicitation.unwrap_or_default();
                match self.is_by_url() {
                    true if modes.url => Ok(()),
                    false if modes.form => Ok(()),
                    true => Err(undeclared("the client cannot be sent to a url")),
                    false => Err(undeclared("the client cannot fill in forms")),
                }
            }
            Method::CreateMessage => {
                let sampling = capabilities.sampling;
                let sampling = sampling.ok_or(undeclared("the client cannot be sampled"))?;
                match self.uses_tools() && !sampling.tools {
                    true => Err(Declined::unfit("the client cannot be sampled with tools")),
                    false => Ok(()),
                }
            }
            _ if capabilities.roots => Ok(()),
            _ => Err(undeclared("the client has no roots")),
        }
    }

    /// The parameters for the client. Where several servers share the endpoint, the user must see
    /// which one asks (client/elicitation, "User Interaction Model").
    pub(super) fn shown(&self, space: Option<&str>) -> Option<Bytes> {
        let params = self.params.as_ref()?;
        let (Method::Elicit, Some(slug)) = (self.method, space) else {
            return Some(params.clone());
        };
        let Ok(object) = Object::read(params, Span::whole(params)) else {
            return Some(params.clone());
        };
        let mut splice = Splice::new();
        sign(params, &object, slug, &mut splice);
        Some(splice.apply(params))
    }

    /// What the server hears when nobody has answered: that the user has not, or that it failed.
    pub fn given_up(&self) -> Reply {
        match self.method {
            Method::Elicit => Reply::Result(Bytes::from_static(b"{\"action\":\"cancel\"}")),
            _ => {
                let error = b"{\"code\":-32603,\"message\":\"nobody has answered in time\"}";
                Reply::Error(Bytes::from_static(error))
            }
        }
    }

    /// The question as a request to a legacy client, which it was made fit for.
    pub fn request(&self, id: u64, space: Option<&str>) -> Bytes {
        let name = self.method.name();
        let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{name}\"");
        let mut out = head.into_bytes();
        if let Some(params) = self.shown(space) {
            out.extend_from_slice(b",\"params\":");
            out.extend_from_slice(&params);
        }
        out.push(b'}');
        Bytes::from(out)
    }
}

/// Puts the upstream's name, which needs no escape, in front of what an elicitation with these
/// parameters tells the user; of a member that occurs twice, in front of both.
pub(super) fn sign(bytes: &[u8], params: &Object, slug: &str, splice: &mut Splice) {
    for message in params.all(bytes, "message").filter(|message| message.kind == Kind::String) {
        splice.insert(message.span.start + 1, format!("[{slug}] ").as_bytes());
    }
}

/// The same for each elicitation among the `inputRequests` of a result, whether of a call or of a
/// task.
///
/// # Errors
/// For an object with too many members to be looked at.
pub(super) fn sign_requests(
    bytes: &[u8],
    result: &Object,
    slug: &str,
    splice: &mut Splice,
) -> Result<(), JsonError> {
    for requests in objects(bytes, result, "inputRequests") {
        let requests = requests?;
        for entry in requests.members.iter().filter(|entry| entry.value.kind == Kind::Object) {
            let entry = Object::read(bytes, entry.value.span)?;
            let mut methods = entry.all(bytes, "method");
            let elicits = methods.any(|method| method.is(bytes, Method::Elicit.name()));
            for params in objects(bytes, &entry, "params").filter(|_| elicits) {
                sign(bytes, &params?, slug, splice);
            }
        }
    }
    Ok(())
}

/// What a modern client hears when it has not declared what these questions need (MCP 2026-07-28
/// basic, "`_meta`"); `None` if it can be asked all of them.
pub fn missing<'a>(
    questions: impl Iterator<Item = &'a Question>,
    capabilities: &ClientCapabilities,
) -> Option<Rejected> {
    let mut lacks = ClientCapabilities::default();
    for question in questions.filter(|question| question.check(capabilities).is_err()) {
        match question.method {
            Method::Elicit => {
                let modes = lacks.elicitation.get_or_insert_default();
                *(if question.is_by_url() { &mut modes.url } else { &mut modes.form }) = true;
            }
            Method::CreateMessage => {
                lacks.sampling.get_or_insert_default().tools |= question.uses_tools();
            }
            _ => lacks.roots = true,
        }
    }
    let lacks = lacks.any().then(|| lacks.to_json(Era::Modern, &Extensions::default()))?;
    let text = "the request needs something that the client has not declared";
    let data = format!("{{\"requiredCapabilities\":{lacks}}}");
    Some(Rejected::new(Code::MissingCapability, text).with_data(data))
}

/// What a result says besides what was asked for; it is not of the answer (MCP 2026-07-28
/// basic/patterns/mrtr, "InputResponses").
const OF_RESULT: [&str; 2] = ["_meta", "resultType"];

impl Reply {
    /// From a client's response.
    pub fn of_response(response: &Response) -> Self {
        let whole = Object::read(&response.bytes, Span::whole(&response.bytes)).ok();
        let member = |key| whole.as_ref()?.value(&response.bytes, key);
        let slice = |value: Value| response.bytes.slice(value.span.range());
        match (&response.outcome, member("result"), member("error")) {
            (Outcome::Result(_), Some(result), _) => Self::Result(slice(result)),
            (Outcome::Error { .. }, _, Some(error)) => Self::Error(slice(error)),
            _ => Self::Unanswered(Declined::failed("the client's answer cannot be read")),
        }
    }

    /// The same about a task as the upstream knows it.
    pub fn of_task(self, id: &[u8]) -> Self {
        match self {
            Self::Result(result) => Self::Result(task::readdressed(&result, id)),
            other => other,
        }
    }

    /// The response to the request of a legacy server of this revision.
    pub fn response(&self, id: &RequestId, method: Method, upstream: Revision) -> Bytes {
        let error = |error: &[u8]| {
            let head = [b"{\"jsonrpc\":\"2.0\",\"id\":", id.token(), b",\"error\":".as_slice()];
            Bytes::from([head.concat().as_slice(), error, b"}"].concat())
        };
        let refuse =
            |Declined { code, why }| Rejected::new(code, why).with_id(Some(id.clone())).to_json();
        match self {
            Self::Result(result) => match fit::answer(result, method, upstream) {
                Ok(fitting) => result_json(id, &fitting),
                Err(why) => refuse(Declined::failed(why)),
            },
            Self::Error(raw) => error(raw),
            Self::Unanswered(declined) => refuse(*declined),
        }
    }

    /// The entry of `inputResponses`: the bare result. There is no form for an error there, but
    /// a user who gives no answer has cancelled (client/elicitation, "Response Actions").
    ///
    /// # Errors
    /// Why there is no answer, in words for the client.
    pub fn input(&self, method: Method) -> Result<Bytes, String> {
        let why = match self {
            Self::Result(result) => return Ok(bare(result)),
            _ if method == Method::Elicit => {
                return Ok(Bytes::from_static(b"{\"action\":\"cancel\"}"));
            }
            Self::Unanswered(declined) => declined.why,
            Self::Error(error) => {
                let object = Object::read(error, Span::whole(error)).ok();
                let text = object.as_ref().and_then(|object| object.text(error, "message"));
                return Err(format!("the client answered: {}", text.unwrap_or_default()));
            }
        };
        Err(why.to_owned())
    }

    /// Whether a user has agreed to what an elicitation asked.
    pub fn is_accepted(&self) -> bool {
        let Self::Result(result) = self else { return false };
        let object = Object::read(result, Span::whole(result)).ok();
        object.and_then(|object| Some(object.text(result, "action")? == "accept")) == Some(true)
    }
}

/// A result without what every result may carry.
fn bare(result: &Bytes) -> Bytes {
    let Ok(object) = Object::read(result, Span::whole(result)) else { return result.clone() };
    let of_result = |key: Key| OF_RESULT.iter().any(|name| json::key_is(result, key, name));
    let members = object.members.iter().enumerate();
    let removed: Vec<usize> =
        members.filter(|(_, member)| of_result(member.key)).map(|(index, _)| index).collect();
    let mut splice = Splice::new();
    splice.edit_members(&object, &removed, &[]);
    splice.apply(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::client::{Elicitation, Sampling};

    fn question(method: Method, params: &'static str) -> Question {
        Question { method, params: Some(Bytes::from_static(params.as_bytes())) }
    }

    #[test]
    fn what_was_not_declared_is_declined_with_the_code_of_its_page() {
        const URL: &str = r#"{"mode":"url","url":"u:v"}"#;
        const FORM: &str = r#"{"message":"m"}"#;
        let nothing = ClientCapabilities::default();
        let with = |form, url| {
            let elicitation = Some(Elicitation { form, url });
            ClientCapabilities { elicitation, ..nothing }
        };
        let sampling = Some(Sampling { tools: false, context: false });
        let sampled = ClientCapabilities { sampling, ..nothing };
        let code = |method, params, capabilities: &ClientCapabilities| {
            let fitting =
                question(method, params).for_client(capabilities, Revision::LATEST_LEGACY, "id");
            fitting.err().map(|declined| declined.code.number())
        };
        // 2025-11-25 client/elicitation, "Error Handling"
        assert_eq!(code(Method::Elicit, URL, &with(true, false)), Some(-32602));
        assert_eq!(code(Method::Elicit, FORM, &with(false, true)), Some(-32602));
        assert_eq!(code(Method::Elicit, FORM, &nothing), Some(-32602));
        assert_eq!(code(Method::Elicit, FORM, &with(true, false)), None);
        // schema CreateMessageRequestParams.tools: "MUST return an error"
        let tools = r#"{"messages":[],"tools":[]}"#;
        assert_eq!(code(Method::CreateMessage, tools, &sampled), Some(-32602));
        assert_eq!(code(Method::CreateMessage, "{}", &sampled), None);
        assert_eq!(code(Method::CreateMessage, "{}", &nothing), Some(-32601));
        // client/roots, "Error Handling"
        assert_eq!(code(Method::RootsList, "{}", &nothing), Some(-32601));
    }

    #[test]
    fn a_server_hears_which_of_both_sides_is_at_fault() {
        let code = |reply: Reply| {
            let said = reply.response(
                &RequestId::from_number(1),
                Method::CreateMessage,
                Revision::V2025_06_18,
            );
            let said: serde_json::Value = serde_json::from_slice(&said).expect("json");
            said["error"]["code"].as_i64()
        };
        let image = r#"{"type":"image","data":""}"#;
        let parts = Bytes::from(format!(r#"{{"content":[{image},{image}]}}"#));
        assert_eq!(code(Reply::Unanswered(Declined::unfit("no"))), Some(-32602));
        assert_eq!(code(Reply::Unanswered(Declined::unknown("no"))), Some(-32601));
        assert_eq!(code(Reply::Unanswered(Declined::failed("no"))), Some(-32603));
        assert_eq!(code(Reply::Result(parts)), Some(-32603), "the server has asked well");
        let rejected = Bytes::from_static(br#"{"code":-1,"message":"no"}"#);
        assert_eq!(code(Reply::Error(rejected)), Some(-1), "the client's own words");
    }
}
