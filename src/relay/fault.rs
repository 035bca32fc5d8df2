//! What a client is told when its request has failed on the way: the one table.
//!
//! The upstream's own errors are none of these; they are forwarded as they are. Everything here is
//! -32603, since no code of the protocol means any of it and -32000 to -32099 are not ours to give
//! out (MCP 2026-07-28 basic, "Error Codes"). What a program can act on stands in `error.data`:
//!
//! | member | |
//! |---|---|
//! | `reason` | `unavailable`, `lost`, `timeout`, `overload`, `answer` or `gateway` |
//! | `upstream` | the name of its entry |
//! | `carriedOut` | `no`: to call again is safe; `maybe`: it is not known |
//! | `state`, `retryAfterMs` | of an upstream that is unavailable: where it stands, and when there will be another attempt |
//! | `limit`, `retryAfterMs` | what there is too much of, and when to come back |
//! | `afterMs` | how long was waited |

use crate::control::admission::{Limit, RETRY_AFTER};
use crate::upstream::{CallError, State, Upstream};
use crate::wire::json;
use crate::wire::jsonrpc::{Code, Rejected};
use std::time::Duration;

/// What can go wrong with a request on its way.
#[derive(Debug, Clone, Copy)]
pub enum Fault<'a> {
    /// There is no connection that it could go through.
    Unavailable,
    /// What the connection says.
    Call(&'a CallError),
    /// There was neither an answer nor progress for so long.
    Idle(Duration),
    /// There was no answer for so long, whatever progress was made.
    Total(Duration),
    /// There is too much under way there already.
    Full(Limit),
    /// It was answered with what this client cannot be given, and why.
    Unfit(&'a str),
}

/// Whether the request may have had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CarriedOut {
    /// The upstream never got it.
    No,
    /// It got it, or may have got it.
    Maybe,
}

/// The answer to a request to `upstream` that has failed.
pub fn rejected(upstream: &Upstream, fault: Fault<'_>) -> Rejected {
    told(&upstream.entry.key, &upstream.state(), fault)
}

/// The answer to a request whose upstream is in the configuration no more.
pub fn not_configured() -> Rejected {
    let data = r#"{"reason":"gateway","carriedOut":"no"}"#;
    Rejected::new(Code::Internal, "the upstream is not configured any more").with_data(data)
}

/// The refusal of what is beyond a limit. There is no code for it: the range for implementations is
/// not to be used (MCP 2026-07-28 basic, "Error Codes"), so it is ours, and the data say which limit.
pub fn beyond(limit: Limit) -> Rejected {
    let (name, wait) = (limit.name(), RETRY_AFTER.as_millis());
    let data = format!(
        r#"{{"reason":"overload","carriedOut":"no","limit":"{name}","retryAfterMs":{wait}}}"#
    );
    Rejected::new(Code::Internal, limit.to_string()).with_data(data)
}

/// The answer to a request that we had no time left for.
pub fn stopping() -> Rejected {
    let data = r#"{"reason":"gateway","carriedOut":"maybe"}"#;
    Rejected::new(Code::Internal, "the gateway is stopping").with_data(data)
}

/// The table.
fn kind(fault: Fault<'_>) -> (&'static str, CarriedOut) {
    use CallError::{
        BadAnswer, Busy, Crowded, Gone, NotConnected, SessionLost, SessionUnknown, Status,
        TimedOut, Unsent,
    };
    use CarriedOut::{Maybe, No};
    match fault {
        Fault::Unavailable => ("unavailable", No),
        Fault::Call(NotConnected(_) | Unsent(_) | SessionUnknown) => ("unavailable", No),
        Fault::Call(Gone(_) | SessionLost) => ("lost", Maybe),
        Fault::Call(Busy | Crowded) | Fault::Full(_) => ("overload", No),
        Fault::Call(Status(_) | BadAnswer(_)) | Fault::Unfit(_) => ("answer", Maybe),
        Fault::Call(TimedOut) | Fault::Idle(_) | Fault::Total(_) => ("timeout", Maybe),
    }
}

fn told(key: &str, state: &State, fault: Fault<'_>) -> Rejected {
    let (reason, carried_out) = kind(fault);
    let why = match fault {
        Fault::Unavailable => format!("upstream {key:?} is {state}"),
        Fault::Call(error) => format!("upstream {key:?}: {error}"),
        Fault::Idle(time) => {
            format!("upstream {key:?}: no answer in time: no progress for {time:?}")
        }
        Fault::Total(time) => format!("upstream {key:?}: no answer in time: {time:?} in all"),
        Fault::Full(limit) => format!("upstream {key:?}: {limit}"),
        Fault::Unfit(why) => format!("upstream {key:?}: {why}"),
    };
    let (carried_out, meaning) = match carried_out {
        CarriedOut::No => ("no", "it was not carried out"),
        CarriedOut::Maybe => ("maybe", "it may have been carried out"),
    };
    let text = match fault {
        Fault::Unavailable => why, // that nothing was sent goes without saying
        _ => format!("{why}; {meaning}"),
    };
    let mut data = format!("{{\"reason\":\"{reason}\",\"upstream\":").into_bytes();
    json::encode_string(key, &mut data);
    data.extend_from_slice(format!(",\"carriedOut\":\"{carried_out}\"").as_bytes());
    if reason == "unavailable" {
        data.extend_from_slice(format!(",\"state\":\"{}\"", state.name()).as_bytes());
        if let Some(wait) = state.retry_after() {
            let wait = wait.as_nanos().div_ceil(1_000_000); // never too early
            data.extend_from_slice(format!(",\"retryAfterMs\":{wait}").as_bytes());
        }
    }
    if let Fault::Idle(time) | Fault::Total(time) = fault {
        data.extend_from_slice(format!(",\"afterMs\":{}", time.as_millis()).as_bytes());
    }
    if let Fault::Full(limit) = fault {
        let (name, wait) = (limit.name(), RETRY_AFTER.as_millis());
        data.extend_from_slice(format!(",\"limit\":\"{name}\",\"retryAfterMs\":{wait}").as_bytes());
    }
    data.push(b'}');
    Rejected::new(Code::Internal, text).with_data(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Instant;

    fn why() -> String {
        "exited with \"1\"".into()
    }

    /// Every error with its row; one more needs a place here, too.
    fn errors() -> Vec<(CallError, &'static str, &'static str)> {
        let all = [
            CallError::NotConnected(why()),
            CallError::Gone(why()),
            CallError::Unsent(why()),
            CallError::Busy,
            CallError::Crowded,
            CallError::Status(500),
            CallError::SessionLost,
            CallError::SessionUnknown,
            CallError::BadAnswer(why()),
            CallError::TimedOut,
        ];
        let row = |error: &CallError| match error {
            CallError::NotConnected(_) | CallError::Unsent(_) => ("unavailable", "no"),
            CallError::SessionUnknown => ("unavailable", "no"),
            CallError::Gone(_) | CallError::SessionLost => ("lost", "maybe"),
            CallError::Busy | CallError::Crowded => ("overload", "no"),
            CallError::Status(_) | CallError::BadAnswer(_) => ("answer", "maybe"),
            CallError::TimedOut => ("timeout", "maybe"),
        };
        let rows = all.into_iter().map(|error| {
            let (reason, carried_out) = row(&error);
            (error, reason, carried_out)
        });
        rows.collect()
    }

    /// All states without a connection; with one, nothing is said but its name.
    fn states() -> [(State, &'static str, bool); 7] {
        let soon = Instant::now() + Duration::from_secs(3600);
        [
            (State::Starting, "starting", false),
            (State::Returning(why().into()), "starting", false),
            (State::Backoff(why().into(), soon), "backoff", true),
            (State::Open(why().into(), soon), "open", true),
            (State::Draining, "draining", false),
            (State::Stopped, "stopped", false),
            (State::Disabled(why().into()), "disabled", false),
        ]
    }

    fn read(rejected: &Rejected) -> (String, Value) {
        let told: Value = serde_json::from_slice(&rejected.to_json()).expect("json");
        assert_eq!(told["error"]["code"], -32603);
        let text = told["error"]["message"].as_str().expect("a text").to_owned();
        assert!(!text.contains('\n'), "{text}");
        (text, told["error"]["data"].clone())
    }

    #[test]
    fn every_error_in_every_state_says_what_it_means() {
        for (error, reason, carried_out) in errors() {
            for (state, name, waits) in states() {
                let (text, data) = read(&told("a \"b\"", &state, Fault::Call(&error)));
                assert!(text.starts_with(r#"upstream "a \"b\"": "#), "{text}");
                let said = ["it was not carried out", "it may have been carried out"];
                let said = said.map(|said| text.ends_with(said));
                assert_eq!(said, [carried_out == "no", carried_out == "maybe"], "{text}");
                let unavailable = reason == "unavailable";
                let wait = data["retryAfterMs"].as_u64();
                assert_eq!(wait.is_some(), unavailable && waits, "{data}");
                let mut expected = json!({
                    "reason": reason, "upstream": "a \"b\"", "carriedOut": carried_out,
                });
                if unavailable {
                    expected["state"] = name.into();
                }
                if let Some(wait) = wait {
                    assert!((3_590_000..=3_600_000).contains(&wait), "{wait}");
                    expected["retryAfterMs"] = wait.into();
                }
                assert_eq!(data, expected, "{error:?} {name}");
            }
        }
    }

    #[test]
    fn who_is_not_there_says_where_it_stands_and_when_to_come_back() {
        for (state, name, waits) in states() {
            let (text, data) = read(&told("a", &state, Fault::Unavailable));
            assert_eq!(text, format!("upstream \"a\" is {state}"));
            assert_eq!(data["state"], name);
            assert_eq!(data["retryAfterMs"].is_u64(), waits, "{data}");
        }
    }

    #[test]
    fn a_time_that_is_over_is_named() {
        let (text, data) =
            read(&told("a", &State::Starting, Fault::Idle(Duration::from_millis(1500))));
        let idle = "no answer in time: no progress for 1.5s; it may have been carried out";
        assert_eq!(text, format!("upstream \"a\": {idle}"));
        assert_eq!((&data["reason"], &data["afterMs"]), (&json!("timeout"), &json!(1500)));
        let (text, data) =
            read(&told("a", &State::Starting, Fault::Total(Duration::from_secs(60))));
        assert!(text.contains("no answer in time: 60s in all; "), "{text}");
        assert_eq!(data["afterMs"], 60_000);
    }

    #[test]
    fn what_is_our_own_fault_blames_no_upstream() {
        for (rejected, carried_out) in [(not_configured(), "no"), (stopping(), "maybe")] {
            let (_, data) = read(&rejected);
            assert_eq!(data, json!({ "reason": "gateway", "carriedOut": carried_out }));
        }
    }
}
