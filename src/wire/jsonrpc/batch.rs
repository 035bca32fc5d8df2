//! JSON-RPC batches, which only revision 2025-03-26 knows (basic, "Batching").

use crate::wire::json::{self, Kind, Scanner};
use crate::wire::jsonrpc::{Code, Rejected};
use bytes::Bytes;

/// Most messages in one batch.
pub const MAX_BATCH: usize = 64;

/// Whether the text is an array: then it is a batch or nothing.
pub fn is_batch(bytes: &[u8]) -> bool {
    bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[')
}

/// The messages of a batch, sharing its buffer and not yet read.
///
/// # Errors
/// -32700 for what is not JSON; -32600 for an empty or overlong batch.
pub fn split(bytes: &Bytes) -> Result<Vec<Bytes>, Rejected> {
    let mut parts = Vec::new();
    let mut scan = || {
        let mut scanner = Scanner::new(bytes)?;
        scanner.array(|scanner| {
            let value = scanner.value()?;
            if parts.len() <= MAX_BATCH {
                parts.push((value.kind, bytes.slice(value.span.range())));
            }
            Ok(())
        })?;
        scanner.finish()
    };
    scan()
        .map_err(|e: json::JsonError| Rejected::new(Code::Parse, format!("invalid json: {e}")))?;
    let refuse = |text: &'static str| Err(Rejected::new(Code::InvalidRequest, text));
    match parts.len() {
        0 => refuse("expected a batch to have at least one message"),
        n if n > MAX_BATCH => refuse("expected at most 64 messages in a batch"),
        _ if parts.iter().any(|(kind, _)| *kind != Kind::Object) => {
            refuse("expected every element of a batch to be an object")
        }
        _ => Ok(parts.into_iter().map(|(_, part)| part).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_split_without_copying() {
        let bytes = Bytes::from_static(b" [{\"a\":1}, {\"b\":2}] ");
        assert!(is_batch(&bytes));
        let parts = split(&bytes).expect("a batch");
        assert_eq!(parts, ["{\"a\":1}", "{\"b\":2}"]);
        for (text, code) in [("[]", -32600), ("[1]", -32600), ("[{}", -32700)] {
            let refused = split(&Bytes::from(text)).expect_err(text);
            assert_eq!(refused.code.number(), code, "{text}");
        }
        let many = format!("[{}]", ["{}"; MAX_BATCH + 1].join(","));
        assert_eq!(split(&Bytes::from(many)).expect_err("too many").code, Code::InvalidRequest);
    }
}
