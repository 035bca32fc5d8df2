//! Streamable HTTP of the revisions up to 2025-11-25: a session begins with `initialize`, is named
//! by a header, and may have one stream for messages outside requests.

use crate::downstream::Front;
use crate::downstream::http::answer::{self, Accept, Answered, legacy_status};
use crate::downstream::http::deliver;
use crate::downstream::http::route::{VERSION, legacy_version};
use crate::downstream::legacy::{self, Fault, Served, invalid, notified, serve};
use crate::downstream::session::Session;
use crate::mcp::{Era, Method, Revision};
use crate::net::body::Outgoing;
use crate::oauth::Permit;
use crate::relay::{Answer, Endpoint};
use crate::wire::jsonrpc::{Message, Rejected, Request};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use std::sync::Arc;

/// `Last-Event-ID`.
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// `Mcp-Session-Id`.
pub const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// The session of a request whose version header, if it has one, is fit for it.
fn admit(
    front: &Front,
    permit: &Permit,
    endpoint: Endpoint,
    headers: &HeaderMap,
) -> Result<Arc<Session>, Fault> {
    legacy_version(headers).map_err(|rejected| (400, rejected))?;
    session(front, permit, endpoint, headers)
}

/// Finds the session that a request names. Those of other principals are unknown here.
fn session(
    front: &Front,
    permit: &Permit,
    endpoint: Endpoint,
    headers: &HeaderMap,
) -> Result<Arc<Session>, Fault> {
    let mut ids = headers.get_all(&SESSION).iter();
    let (Some(id), None) = (ids.next(), ids.next()) else {
        return Err((400, invalid("expected the header Mcp-Session-Id once")));
    };
    let found =
        id.to_str().ok().and_then(|id| front.sessions.find(id, endpoint, &permit.principal()));
    let gone = || (404, invalid("no such session: begin with initialize"));
    found.ok_or_else(gone)
}

/// Serves one message.
pub async fn post(
    front: &Arc<Front>,
    permit: &Permit,
    endpoint: Endpoint,
    headers: &HeaderMap,
    accept: Accept,
    message: Message,
) -> Answered {
    if let Message::Request(request) = &message
        && request.call.is_method(Method::Initialize.name())
    {
        return begin(front, permit, endpoint, accept, request).await;
    }
    let id = match &message {
        Message::Request(request) => Some(request.id.clone()),
        _ => None,
    };
    let refuse = |(status, rejected): Fault| answer::rejected(status, &rejected.with_id(id));
    let session = admit(front, permit, endpoint, headers).map_err(refuse)?;
    match message {
        Message::Request(request) => {
            let id = request.id.clone();
            let served = serve(front, permit, &session, accept.stream, request).await;
            Ok(match served {
                Ok(Served::Now(answer)) => answer::complete(answer, accept, legacy_status),
                Ok(Served::Later(flow)) => flow.respond(accept, legacy_status).await,
                Ok(Served::Cancelled) => answer::accepted(),
                Err(rejected) => {
                    let answer = Answer::rejected(&rejected.with_id(Some(id)));
                    answer::complete(answer, accept, legacy_status)
                }
            })
        }
        Message::Notification(notification) => {
            notified(&session, &notification.call);
            Ok(answer::accepted())
        }
        Message::Response(response) => {
            session.answered(&response);
            Ok(answer::accepted())
        }
    }
}

/// Serves several messages at once (2025-03-26 basic/transports, "Sending Messages").
pub async fn batch(
    front: &Arc<Front>,
    permit: &Permit,
    endpoint: Endpoint,
    headers: &HeaderMap,
    messages: Vec<Bytes>,
) -> Answered {
    let text = "expected one message: batches exist in sessions of revision 2025-03-26 only";
    let refuse = || answer::rejected(400, &invalid(text));
    if !headers.contains_key(&SESSION) {
        return Err(refuse());
    }
    let session =
        admit(front, permit, endpoint, headers).map_err(|(s, r)| answer::rejected(s, &r))?;
    if !session.revision.batches() {
        return Err(refuse());
    }
    let answers = legacy::batch(front, permit, &session, messages).await;
    Ok(answers.map_or_else(answer::accepted, |body| answer::json(StatusCode::OK, vec![body])))
}

async fn begin(
    front: &Front,
    permit: &Permit,
    endpoint: Endpoint,
    accept: Accept,
    request: &Request,
) -> Answered {
    let begun = legacy::begin(front, permit, endpoint, request).await;
    let (session, answer) = begun.map_err(|(status, rejected)| {
        answer::rejected(status, &rejected.with_id(Some(request.id.clone())))
    })?;
    let mut response = answer::complete(answer, accept, legacy_status);
    if let Ok(id) = HeaderValue::from_str(&session.id) {
        response.headers_mut().insert(SESSION, id);
    }
    Ok(response)
}

/// Whether a GET or DELETE is of the modern era, where neither exists.
fn is_modern(headers: &HeaderMap) -> bool {
    let version = headers.get(&VERSION).and_then(|value| value.to_str().ok());
    let revision = version.and_then(|text| Revision::parse(text.trim()));
    revision.is_some_and(|revision| revision.era() == Era::Modern)
}

/// GET: the stream for messages outside requests, or the rest of any stream whose connection broke.
pub fn get(front: &Front, permit: &Permit, head: &Parts, endpoint: Endpoint) -> Answered {
    if !head.headers.contains_key(&SESSION) || is_modern(&head.headers) {
        return Err(answer::not_allowed());
    }
    legacy_version(&head.headers).map_err(|r| answer::rejected(400, &r))?;
    if !Accept::read(&head.headers).is_some_and(|accept| accept.stream) {
        return Err(answer::not_acceptable());
    }
    let session = session(front, permit, endpoint, &head.headers)
        .map_err(|(s, r)| answer::rejected(s, &r))?;
    let place = resumed(&session, &head.headers).map_err(|r| answer::rejected(400, &r))?;
    let opening = place.map_or(deliver::Opening::Fresh, |_| deliver::Opening::Resumed);
    Ok(deliver::response(front, session.listen(place), opening))
}

/// The place that a client has come back to. A 404 would tell it that its session is gone.
fn resumed(session: &Session, headers: &HeaderMap) -> Result<Option<(u64, u64)>, Rejected> {
    let mut ids = headers.get_all(&LAST_EVENT).iter();
    let Some(id) = ids.next().filter(|id| !id.is_empty()) else { return Ok(None) };
    let place = id.to_str().ok().filter(|_| ids.next().is_none()).and_then(|id| session.place(id));
    let unknown = "no such event: it is of another session, or not kept any more";
    place.map(Some).ok_or_else(|| invalid(unknown))
}

/// DELETE: the client ends its session.
pub fn delete(front: &Front, permit: &Permit, head: &Parts, endpoint: Endpoint) -> Answered {
    if !head.headers.contains_key(&SESSION) || is_modern(&head.headers) {
        return Err(answer::not_allowed());
    }
    let session =
        admit(front, permit, endpoint, &head.headers).map_err(|(s, r)| answer::rejected(s, &r))?;
    front.sessions.close(&session, &front.relay.hub, &front.relay.world());
    Ok(Response::new(Outgoing::empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::front::tests::bare;
    use http_body_util::BodyExt;

    const ACCEPT: &str = "application/json, text/event-stream";

    fn head(verb: &str, session: Option<&str>) -> Parts {
        let mut request = http::Request::builder().method(verb).header("accept", ACCEPT);
        if let Some(id) = session {
            request = request.header(SESSION, id);
        }
        request.body(()).expect("a request").into_parts().0
    }

    async fn told(answered: Answered) -> (StatusCode, Bytes) {
        let response = answered.unwrap_or_else(|refused| *refused);
        let (head, body) = response.into_parts();
        let body = match head.status {
            StatusCode::OK => Bytes::new(), // it may be a stream that stays open
            _ => body.collect().await.expect("our own body").to_bytes(),
        };
        (head.status, body)
    }

    async fn say(front: &Arc<Front>, permit: &Permit, head: &Parts, body: &str) -> Answered {
        let accept = Accept::read(&head.headers).expect("it accepts both");
        let message = Message::parse(Bytes::copy_from_slice(body.as_bytes())).expect("a message");
        post(front, permit, Endpoint::Aggregate, &head.headers, accept, message).await
    }

    /// What POST, GET and DELETE answer to whoever names this session.
    async fn tries(front: &Arc<Front>, permit: &Permit, id: &str) -> Vec<(StatusCode, Bytes)> {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let said = r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#;
        let (verb, endpoint) = (|verb| head(verb, Some(id)), Endpoint::Aggregate);
        vec![
            told(say(front, permit, &verb("POST"), ping).await).await,
            told(say(front, permit, &verb("POST"), said).await).await,
            told(batch(front, permit, endpoint, &verb("POST").headers, vec![ping.into()]).await)
                .await,
            told(get(front, permit, &verb("GET"), endpoint)).await,
            told(delete(front, permit, &verb("DELETE"), endpoint)).await,
        ]
    }

    #[tokio::test]
    async fn a_session_of_another_principal_is_as_unknown_as_one_that_never_was() {
        let front = bare();
        let owner = Permit::dangerously_for_anyone_on_this_machine();
        let other = Permit::local_owner();
        assert_ne!(owner.principal(), other.principal());
        let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":
            "2025-03-26","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#;
        let begun = say(&front, &owner, &head("POST", None), hello).await.expect("a session");
        let id = begun.headers().get(SESSION).expect("its id").to_str().expect("text");
        let unknown = tries(&front, &other, &"0".repeat(32)).await;
        assert!(unknown.iter().all(|(status, _)| *status == StatusCode::NOT_FOUND), "{unknown:?}");
        assert_eq!(tries(&front, &other, id).await, unknown);
        let mine: Vec<_> = tries(&front, &owner, id).await.into_iter().map(|told| told.0).collect();
        assert_eq!(mine, [200, 202, 200, 200, 200], "it is still there for its own");
    }
}
