//! What a modern server needs before it can finish a request (MCP 2026-07-28
//! basic/patterns/mrtr, "InputRequiredResult").

use crate::bridge::question::Question;
use crate::mcp::Method;
use crate::wire::json::{Kind, Object};
use crate::wire::jsonrpc::Response;
use bytes::Bytes;

/// An `InputRequiredResult`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Required {
    /// What is asked, by the raw keys that the answers are to have.
    pub questions: Vec<(Bytes, Question)>,
    /// The raw `requestState`, to be given back as it is.
    pub state: Option<Bytes>,
}

/// Whether a request may be answered with a demand for input.
pub fn may_require(method: Method) -> bool {
    matches!(method, Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead)
}

impl Required {
    /// Reads a response; `None` for one that demands no input.
    ///
    /// # Errors
    /// What is wrong with the demand.
    pub fn read(response: &Response) -> Option<Result<Self, &'static str>> {
        let result = response.result()?;
        let kind = result.text(&response.bytes, "resultType")?;
        (kind == "input_required").then(|| required(&response.bytes, result))
    }
}

fn required(bytes: &Bytes, result: &Object) -> Result<Required, &'static str> {
    let slice = |span: crate::wire::json::Span| bytes.slice(span.range());
    let state = match result.value(bytes, "requestState") {
        Some(state) if state.kind == Kind::String => Some(slice(state.span)),
        Some(_) => return Err("its requestState is no string"),
        None => None,
    };
    let mut questions = Vec::new();
    if let Some(requests) = result.value(bytes, "inputRequests") {
        let requests =
            Object::read(bytes, requests.span).map_err(|_| "its inputRequests is no object")?;
        if requests.duplicate(bytes).is_some() {
            return Err("two of its inputRequests have one key");
        }
        for entry in &requests.members {
            let question = Question::of_entry(bytes, entry.value);
            let question = question.ok_or("it asks for something that clients do not serve")?;
            questions.push((slice(entry.key.span), question));
        }
    }
    if questions.is_empty() && state.is_none() {
        return Err("it asks for input and does not say for which");
    }
    Ok(Required { questions, state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jsonrpc::Message;

    fn read(result: &str) -> Option<Result<Required, &'static str>> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        match Message::parse(Bytes::from(text)) {
            Ok(Message::Response(response)) => Required::read(&response),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_and_state_are_kept_as_they_were_written() {
        let required = read(
            r#"{"requestState":"\/\u0041\ud800","resultType":"input_required","inputRequests":{"a\u0062":{"method":"roots\/list"},"":{"params":{"n":1.0e0},"method":"elicitation/create"}}}"#,
        );
        let required = required.expect("it asks").expect("it can be read");
        assert_eq!(required.state.as_deref(), Some(br#""\/\u0041\ud800""#.as_slice()));
        let keys: Vec<&[u8]> = required.questions.iter().map(|(key, _)| key.as_ref()).collect();
        assert_eq!(keys, [br#""a\u0062""#.as_slice(), b"\"\""]);
        assert_eq!(required.questions[0].1, Question { method: Method::RootsList, params: None });
        assert_eq!(required.questions[1].1.params.as_deref(), Some(br#"{"n":1.0e0}"#.as_slice()));
    }

    #[test]
    fn a_demand_that_breaks_the_rules_is_told_from_none() {
        assert_eq!(read(r#"{"resultType":"complete","inputRequests":7}"#), None);
        assert_eq!(read("{}"), None);
        for broken in [
            "",
            r#","requestState":7"#,
            r#","inputRequests":[]"#,
            r#","inputRequests":{}"#,
            r#","inputRequests":{"a":{"method":"tools/list"}}"#,
            r#","inputRequests":{"a":7}"#,
            r#","inputRequests":{"a":{"method":"roots/list"},"\u0061":{"method":"roots/list"}}"#,
        ] {
            let result = format!(r#"{{"resultType":"input_required"{broken}}}"#);
            assert!(read(&result).expect("it asks").is_err(), "{broken}");
        }
        assert!(
            read(r#"{"resultType":"input_required","requestState":""}"#).expect("asks").is_ok()
        );
    }
}
