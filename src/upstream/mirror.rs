//! The headers that a modern request repeats from its body, so that what stands between can route
//! it unread (MCP 2026-07-28 basic/transports/streamable-http, "Request Metadata").

use crate::upstream::CallError;
use crate::wire::header;
use http::header::{HeaderMap, HeaderName, HeaderValue};

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The headers that mirror the body (streamable-http, "Request Metadata").
pub(super) fn mirror(
    headers: &mut HeaderMap,
    method: &str,
    name: Option<&str>,
    params: &[(String, String)],
) -> Result<(), CallError> {
    let bad = |_| CallError::BadAnswer("a header cannot be made of the request".into());
    if !method.is_empty() {
        headers.insert(METHOD, HeaderValue::from_str(method).map_err(bad)?);
    }
    if let Some(name) = name {
        headers.insert(NAME, HeaderValue::from_str(&header::encode(name)).map_err(bad)?);
    }
    for (name, value) in params {
        let name = HeaderName::from_bytes(name.as_bytes());
        let name = name.map_err(|_| CallError::BadAnswer("not a header name".into()))?;
        headers.insert(name, HeaderValue::from_str(value).map_err(bad)?);
    }
    Ok(())
}
