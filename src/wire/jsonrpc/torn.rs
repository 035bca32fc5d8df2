//! What can be told of an answer that cannot be read whole: it is longer or deeper than the limits
//! allow, or not JSON from some place on.
//!
//! It only says which request was meant, so that this one need not wait for ever; nothing that
//! stands in such an answer is ever used.

use crate::wire::json::{Scanner, decoded_key};

/// How many bytes of a message are looked at; the members that are looked for come first.
pub const START: usize = 1 << 10;

/// The id of the request of ours that a message answers, from the start of the message. `None`
/// when it does not say so: the id and `result` or `error` must stand in `start`, the id once, and no
/// `method` before them.
pub fn answered(start: &[u8]) -> Option<u64> {
    let start = start.get(..START).unwrap_or(start);
    let start = match std::str::from_utf8(start) {
        Ok(_) => start,
        Err(e) => start.get(..e.valid_up_to())?, // a character was cut in two
    };
    let (mut ids, mut has_outcome, mut has_method) = (Vec::new(), false, false);
    let mut scanner = Scanner::new(start).ok()?;
    // that it fails somewhere is why we are here
    let _ = scanner.object(|scanner, key| {
        let key = decoded_key(start, key);
        has_outcome |= matches!(&*key, b"result" | b"error");
        has_method |= &*key == b"method";
        let value = scanner.value()?;
        if &*key == b"id" {
            ids.push(value.span);
        }
        Ok(value)
    });
    match (ids.as_slice(), has_outcome, has_method) {
        ([id], true, false) => std::str::from_utf8(id.of(start)).ok()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_seen_to_be_an_answer_is_one() {
        let far = " ".repeat(START);
        for (start, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"a":["#.to_owned(), Some(7)),
            (r#"{"i\u0064":7,"error":tru"#.to_owned(), Some(7)),
            (r#"{"jsonrpc":"2.0","result":{},"id":7}"#.to_owned(), Some(7)),
            (format!("{{\"id\":7,\"result\":\"{}", "\u{e9}".repeat(START)), Some(7)),
            (r#"{"id":7"#.to_owned(), None),
            (r#"{"id":7,"#.to_owned(), None),
            (r#"{"result":{},"id":7,"id":8"#.to_owned(), None),
            (r#"{"id":7,"method":"m","params":{"result":1},"result"#.to_owned(), None),
            (r#"{"id":7,"params":{"result":{"#.to_owned(), None),
            (r#"{"method":"m","id":7,"result":{"#.to_owned(), None),
            (format!("{{{far}\"id\":7,\"result\":{{"), None),
            ("[".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(answered(start.as_bytes()), id, "{start:.80}");
        }
    }
}
