//! Subscriptions: what a client wants to hear (MCP 2026-07-28 basic/patterns/subscriptions), and
//! how upstreams of either era are asked for it.

use crate::bridge::request::own_members;
use crate::mcp::{ClientCapabilities, ListKind, Method, Revision, ServerCapabilities, meta};
use crate::wire::json::{self, Kind, Object};
use crate::wire::jsonrpc::{Call, Code, Notification, Rejected};
use bytes::Bytes;

/// Most resources that one listen may name.
pub const MAX_URIS: usize = 1000;

/// Which notifications are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `notifications/tools/list_changed`.
    pub tools: bool,
    /// `notifications/prompts/list_changed`.
    pub prompts: bool,
    /// `notifications/resources/list_changed`.
    pub resources: bool,
    /// `notifications/resources/updated` of these.
    pub uris: Vec<String>,
}

impl Filter {
    /// Every list and no resource: what a legacy session gets without asking.
    pub fn all_lists() -> Self {
        Self { tools: true, prompts: true, resources: true, uris: Vec::new() }
    }

    /// Whether changes of this list are wanted.
    pub fn wants(&self, kind: ListKind) -> bool {
        match kind {
            ListKind::Tools => self.tools,
            ListKind::Prompts => self.prompts,
            ListKind::Resources | ListKind::Templates => self.resources,
        }
    }

    /// Takes out what cannot be honoured.
    pub fn restrict(&mut self, capabilities: &ServerCapabilities) {
        self.tools &= capabilities.announces(ListKind::Tools);
        self.prompts &= capabilities.announces(ListKind::Prompts);
        self.resources &= capabilities.announces(ListKind::Resources);
        if !capabilities.subscribes() {
            self.uris.clear();
        }
    }

    /// As the filter object of the protocol.
    pub fn to_json(&self) -> String {
        let mut parts = Vec::new();
        let flags = [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ];
        for (name, _) in flags.iter().filter(|(_, on)| *on) {
            parts.push(format!("\"{name}\":true"));
        }
        if !self.uris.is_empty() {
            let uris: Vec<String> = self.uris.iter().map(|uri| quoted(uri)).collect();
            parts.push(format!("\"resourceSubscriptions\":[{}]", uris.join(",")));
        }
        format!("{{{}}}", parts.join(","))
    }
}

fn quoted(text: &str) -> String {
    String::from_utf8(json::string_token(text)).unwrap_or_default()
}

fn invalid(text: &'static str) -> Rejected {
    Rejected::new(Code::InvalidParams, text)
}

/// The filter of a listen request.
///
/// # Errors
/// -32602 for a filter of another shape.
pub fn read_filter(call: &Call) -> Result<Filter, Rejected> {
    let bytes = &call.bytes;
    let filter = call.param("notifications").filter(|value| value.kind == Kind::Object);
    let filter = filter.ok_or_else(|| invalid("expected params.notifications to be an object"))?;
    let filter = Object::read(bytes, filter.span).map_err(|_| invalid("expected an object"))?;
    let flag = |key| match filter.value(bytes, key) {
        None => Ok(false),
        Some(value) if value.kind == Kind::Bool => Ok(value.is_true(bytes)),
        Some(_) => Err(invalid("expected the flags of params.notifications to be booleans")),
    };
    Ok(Filter {
        tools: flag("toolsListChanged")?,
        prompts: flag("promptsListChanged")?,
        resources: flag("resourcesListChanged")?,
        uris: read_uris(bytes, &filter)?,
    })
}

fn read_uris(bytes: &[u8], filter: &Object) -> Result<Vec<String>, Rejected> {
    let wrong = || invalid("expected resourceSubscriptions to be an array of strings");
    let Some(list) = filter.value(bytes, "resourceSubscriptions") else { return Ok(Vec::new()) };
    if list.kind != Kind::Array {
        return Err(wrong());
    }
    let elements = json::elements(bytes, list.span).map_err(|_| wrong())?;
    if elements.len() > MAX_URIS {
        return Err(invalid("expected at most 1000 resourceSubscriptions"));
    }
    let texts = elements.iter().map(|value| value.text(bytes).map(|text| text.into_owned()));
    texts.collect::<Option<Vec<String>>>().ok_or_else(wrong)
}

/// A listen request of ours.
pub fn listen_request(id: u64, revision: Revision, kinds: &[ListKind], uris: &[String]) -> Bytes {
    let has = |wanted| kinds.contains(&wanted);
    let filter = Filter {
        tools: has(ListKind::Tools),
        prompts: has(ListKind::Prompts),
        resources: has(ListKind::Resources),
        uris: uris.to_vec(),
    };
    Bytes::from(format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{}\",\"params\":{{\"_meta\":{{{}}},\"notifications\":{}}}}}",
        Method::Listen.name(),
        own_members(revision, None, &ClientCapabilities::default()),
        filter.to_json(),
    ))
}

fn about(id: u64, method: Method, uri: &str) -> Bytes {
    Bytes::from(format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{}\",\"params\":{{\"uri\":{}}}}}",
        method.name(),
        quoted(uri),
    ))
}

/// A legacy `resources/subscribe` of ours.
pub fn subscribe_request(id: u64, uri: &str) -> Bytes {
    about(id, Method::Subscribe, uri)
}

/// A legacy `resources/unsubscribe` of ours.
pub fn unsubscribe_request(id: u64, uri: &str) -> Bytes {
    about(id, Method::Unsubscribe, uri)
}

/// Which listen request of ours a notification belongs to.
pub fn subscription_number(notification: &Notification) -> Option<u64> {
    let id = notification.call.meta_value(meta::SUBSCRIPTION_ID)?;
    u64::try_from(id.integer(&notification.call.bytes)?).ok()
}

/// The resources that an acknowledgement confirms.
pub fn acknowledged_uris(notification: &Notification) -> Vec<String> {
    let bytes = &notification.call.bytes;
    let filter = notification.call.param("notifications");
    let filter = filter.and_then(|filter| Object::read(bytes, filter.span).ok());
    filter.and_then(|filter| read_uris(bytes, &filter).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jsonrpc::Message;

    fn filter(text: &str) -> Result<Filter, i64> {
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{text}}}"#
        );
        match Message::parse(Bytes::from(message)) {
            Ok(Message::Request(request)) => {
                read_filter(&request.call).map_err(|rejected| rejected.code.number())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_filter_is_read_and_said_alike() {
        let text = r#"{"toolsListChanged":true,"resourceSubscriptions":["a:b","c:\"d"]}"#;
        let read = filter(&format!(r#"{{"notifications":{text}}}"#)).expect("a filter");
        assert_eq!(read.to_json(), text);
        assert!(read.wants(ListKind::Tools) && !read.wants(ListKind::Templates));
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in [
            "{}",
            r#"{"notifications":[]}"#,
            r#"{"notifications":{"toolsListChanged":1}}"#,
            r#"{"notifications":{"resourceSubscriptions":"a"}}"#,
            r#"{"notifications":{"resourceSubscriptions":[1]}}"#,
        ] {
            assert_eq!(filter(text), Err(-32602), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_left_out() {
        let mut all = Filter { uris: vec!["a:b".into()], ..Filter::all_lists() };
        all.restrict(&ServerCapabilities::default());
        assert_eq!(all, Filter::default());
    }
}
