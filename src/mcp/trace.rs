//! The trace context of a request (MCP 2026-07-28 basic, "OpenTelemetry trace context"): whether
//! values have the form that W3C Trace Context and W3C Baggage give them.
//!
//! A relay takes no part in a trace: what is well-formed passes as it is, nothing is added.

/// `_meta` keys that are reserved for it.
pub const TRACEPARENT: &str = "traceparent";
/// What vendors add to it.
pub const TRACESTATE: &str = "tracestate";
/// Properties of the user's own.
pub const BAGGAGE: &str = "baggage";

/// Most members of a `tracestate` (W3C Trace Context 3.3.1.1).
const MAX_STATES: usize = 32;

/// Longest baggage, in bytes (W3C Baggage 3.3.2 guarantees no more).
const MAX_BAGGAGE: usize = 8192;

/// Whether this is a `traceparent` (W3C Trace Context 3.2).
pub fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let some = |part: &str| part.bytes().any(|b| b != b'0');
    let mut parts = text.splitn(5, '-');
    let [version, trace, parent, flags] = [(); 4].map(|()| parts.next().unwrap_or_default());
    let has_form = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    // later versions may say more
    has_form
        && some(trace)
        && some(parent)
        && match version {
            "ff" => false,
            "00" => parts.next().is_none(),
            _ => true,
        }
}

/// Whether this is a `tracestate` (W3C Trace Context 3.3).
pub fn is_tracestate(text: &str) -> bool {
    let members = || text.split(',').map(|member| member.trim_matches([' ', '\t']));
    members().count() <= MAX_STATES && members().all(|member| member.is_empty() || is_state(member))
}

fn is_state(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let first = key.bytes().next();
    let key_byte =
        |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let value_byte = |b: u8| matches!(b, 0x20..=0x7e) && b != b'=';
    first.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && key.len() <= 256
        && key.bytes().all(key_byte)
        && !value.is_empty()
        && value.len() <= 256
        && value.bytes().all(value_byte)
}

/// Whether this is a `baggage` (W3C Baggage 3.3.1).
pub fn is_baggage(text: &str) -> bool {
    text.len() <= MAX_BAGGAGE && text.split(',').all(is_item)
}

fn is_item(member: &str) -> bool {
    let trim = |part: &str| part.trim_matches([' ', '\t']).to_owned();
    let mut parts = member.split(';').map(|part| part.split_once('=').ok_or(part));
    let is_pair = |key: &str, value: &str| {
        let (key, value) = (trim(key), trim(value));
        crate::wire::header::is_token(&key) && value.bytes().all(is_baggage_byte)
    };
    let first = matches!(parts.next(), Some(Ok((key, value))) if is_pair(key, value));
    first
        && parts.all(|property| match property {
            Ok((key, value)) => is_pair(key, value),
            Err(key) => crate::wire::header::is_token(&trim(key)),
        })
}

fn is_baggage_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_has_one_form() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
        assert!(is_traceparent(good));
        assert!(is_traceparent(&good.replacen("00", "cc", 1)));
        assert!(is_traceparent(&(good.replacen("00", "cc", 1) + "-what-comes-later")));
        for bad in [
            "",
            "00",
            &good.replacen("00", "ff", 1),
            &good.to_uppercase(),
            &(good.to_owned() + "-01"),
            &(good.to_owned() + "x"),
            &(good.to_owned() + "\n"),
            &good.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &good.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &good.replace('-', "_"),
            &good[..54],
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }

    #[test]
    fn a_tracestate_is_a_list_of_pairs() {
        for good in
            ["", "a=1", "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE ,", "fw529a3039@dt=FfI/x b"]
        {
            assert!(is_tracestate(good), "{good}");
        }
        let many = ["a=1"; MAX_STATES + 1].join(",");
        for bad in ["a", "=1", "a=", "A=1", "a=1=2", "a=\u{e9}", "a=1\n", &many] {
            assert!(!is_tracestate(bad), "{bad}");
        }
    }

    #[test]
    fn a_baggage_is_a_list_of_pairs_with_properties() {
        for good in ["a=1", "userId=alice , b=%20;p;q = 7", "a=", "a=b=c"] {
            assert!(is_baggage(good), "{good}");
        }
        let long = format!("a={}", "x".repeat(MAX_BAGGAGE));
        for bad in ["", "a", "=1", "a=\"1\"", "a=1,", "a b=1", "a=1;;", "a=\u{e9}", &long] {
            assert!(!is_baggage(bad), "{bad}");
        }
    }
}
