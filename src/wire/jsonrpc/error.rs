//! Error answers of our own: JSON-RPC codes, and the ones MCP 2026-07-28 defines.

use crate::wire::json;
use crate::wire::jsonrpc::RequestId;
use bytes::Bytes;
use std::borrow::Cow;

/// Error codes that we emit (JSON-RPC 2.0 section 5.1; MCP 2026-07-28 basic, "Error Codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// -32700: not JSON.
    Parse,
    /// -32600: JSON, but not a message of this protocol.
    InvalidRequest,
    /// -32601: no such method here.
    MethodNotFound,
    /// -32602: parameters that do not fit.
    InvalidParams,
    /// -32603: something failed on the way.
    Internal,
    /// -32002: no such resource, towards legacy clients.
    ResourceNotFound,
    /// -32020: a header is missing or differs from the body.
    HeaderMismatch,
    /// -32021: the client has not declared what the request needs.
    MissingCapability,
    /// -32022: a protocol version that is not served.
    UnsupportedVersion,
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> i64 {
        match self {
            Self::Parse => -32700,
            Self::InvalidRequest => -32600,
            Self::MethodNotFound => -32601,
            Self::InvalidParams => -32602,
            Self::Internal => -32603,
            Self::ResourceNotFound => -32002,
            Self::HeaderMismatch => -32020,
            Self::MissingCapability => -32021,
            Self::UnsupportedVersion => -32022,
        }
    }
}

/// A message that cannot be served: what is answered, and to which id if it could be read.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The id of the offending request.
    pub id: Option<RequestId>,
    /// The error code.
    pub code: Code,
    /// One line that says what was expected.
    pub message: Cow<'static, str>,
    /// A raw JSON value for `error.data`.
    pub data: Option<Bytes>,
}

impl Rejected {
    /// An error with a fixed or made text.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { id: None, code, message: message.into(), data: None }
    }

    /// The same for a request whose id is known.
    pub fn with_id(self, id: Option<RequestId>) -> Self {
        Self { id, ..self }
    }

    /// With a raw JSON value as `error.data`.
    pub fn with_data(self, data: impl Into<Bytes>) -> Self {
        Self { data: Some(data.into()), ..self }
    }

    /// The answer as a JSON-RPC error response. When the id could not be read there is none
    /// (`JSONRPCErrorResponse` of both eras' schemas).
    pub fn to_json(&self) -> Bytes {
        let mut out = Vec::with_capacity(96 + self.message.len());
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\"");
        if let Some(id) = &self.id {
            out.extend_from_slice(b",\"id\":");
            out.extend_from_slice(id.token());
        }
        out.extend_from_slice(b",\"error\":{\"code\":");
        out.extend_from_slice(self.code.number().to_string().as_bytes());
        out.extend_from_slice(b",\"message\":");
        json::encode_string(&self.message, &mut out);
        if let Some(data) = &self.data {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(data);
        }
        out.extend_from_slice(b"}}");
        Bytes::from(out)
    }
}

/// A result of our own as a JSON-RPC response; `result` is a raw JSON value.
pub fn result_json(id: &RequestId, result: &[u8]) -> Bytes {
    let parts = [b"{\"jsonrpc\":\"2.0\",\"id\":", id.token(), b",\"result\":", result, b"}"];
    Bytes::from(parts.concat())
}

/// The same in pieces, of which the result is one.
pub fn result_pieces(id: &RequestId, result: Bytes) -> [Bytes; 3] {
    let head = [b"{\"jsonrpc\":\"2.0\",\"id\":", id.token(), b",\"result\":"].concat();
    [Bytes::from(head), result, Bytes::from_static(b"}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_answer_is_json_and_carries_its_id() {
        let id = RequestId::from_token(Bytes::from_static(b"\"a\\\"b\""));
        let rejected = Rejected::new(Code::InvalidParams, "quote \" here").with_id(Some(id));
        let json = rejected.with_data("{\"x\":1}").to_json();
        let value: serde_json::Value = serde_json::from_slice(&json).expect("json");
        assert_eq!(value["id"], "a\"b");
        assert_eq!(value["error"]["code"], -32602);
        assert_eq!(value["error"]["data"]["x"], 1);
    }
}
