//! An upstream's error is the client's error: code, message and data as they were written, and in
//! the newest era with the HTTP status that its code has.

use crate::stage::{Case, Stage};
use serde_json::{Value, json};

fn text(id: &str, code: i64) -> String {
    format!(
        r#"{{"error": {{"message":"\u0041\/ sl__x","data":{{"n":12345678901234567890123,"x":1,"x":[1.0e5]}},"code": {code} ,"unknown":{{ }}}},"jsonrpc":"2.0", "id":{id}}}"#
    )
}

const CODES: [i64; 11] =
    [-32000, -32001, -32003, -32019, -32602, -32603, -32700, -32600, -1, 0, 4711];

fn steps(code: i64) -> Value {
    json!([{ "line": text("$id", code) }])
}

async fn call(case: &Case<'_>, name: &str) -> crate::support::Reply {
    let params = json!({ "name": case.name(name) });
    case.client().await.open_as(&json!("i"), "tools/call", params).await.finish().await
}

#[tokio::test]
async fn as_they_were_written() {
    let tools: Vec<String> = CODES.iter().map(|code| format!("e{code}")).collect();
    let on = CODES.iter().map(|code| (format!("tools/call:e{code}"), steps(*code)));
    let on: serde_json::Map<String, Value> = on.collect();
    let stage = Stage::with(json!({ "tools": tools, "on": on })).await;
    for case in stage.cases() {
        for code in CODES {
            let reply = call(&case, &format!("e{code}")).await;
            assert_eq!(reply.status, 200, "{case}: {code}");
            assert_eq!(reply.texts, [text(r#""i""#, code)], "{case}");
        }
    }
}

#[tokio::test]
async fn with_the_status_that_the_newest_era_has_for_them() {
    let stage = Stage::with(json!({ "tools": ["method", "capability", "echo"], "on": {
        "tools/call:method": steps(-32601), "tools/call:capability": steps(-32021),
    }}))
    .await;
    for case in stage.cases() {
        let modern = case.era == "modern";
        let reply = call(&case, "method").await;
        assert_eq!(reply.status, if modern { 404 } else { 200 }, "{case}");
        assert_eq!(reply.texts, [text(r#""i""#, -32601)], "{case}");

        let reply = call(&case, "capability").await;
        // in the older era this number means whatever the upstream likes
        let (status, code) = match (case.era, case.upstream_era()) {
            ("modern", "modern") => (400, -32021),
            ("modern", _) => (200, -32603),
            _ => (200, -32021),
        };
        assert_eq!(reply.status, status, "{case}");
        assert_eq!(reply.texts, [text(r#""i""#, code)], "{case}");
        // a 404 of an upstream is an answer like any other
        call(&case, "echo").await.result();
    }
}

/// They speak of the hop between the upstream and us, which no client can mend.
#[tokio::test]
async fn but_for_those_of_our_own_hop() {
    let stage = Stage::with(json!({ "tools": ["headers", "version"], "on": {
        "tools/call:headers": steps(-32020), "tools/call:version": steps(-32022),
    }}))
    .await;
    for case in stage.cases() {
        for tool in ["headers", "version"] {
            let reply = call(&case, tool).await;
            assert_eq!((reply.status, reply.error_code()), (200, -32603), "{case}");
            assert_eq!(reply.response()["id"], "i", "{case}");
            let message = reply.error()["message"].as_str().expect("a text");
            assert!(message.contains(case.kind), "{case}: it names the upstream: {message}");
        }
    }
}

/// MCP 2026-07-28 server/resources: the eras number an unknown resource differently.
#[tokio::test]
async fn an_unknown_resource_has_the_number_of_the_clients_era() {
    let error = |id: &str, code: i64, uri: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"none","data":{{"uri":"{uri}","x":1.0e5}}}}}}"#
        )
    };
    let own = |era: &str| if era == "legacy" { -32002 } else { -32602 };
    for era in ["legacy", "modern"] {
        let kinds: &'static [&'static str] = match era {
            "legacy" => &["sl", "hl"],
            _ => &["sm", "hm"],
        };
        let line = error("$id", own(era), "mem:x");
        let stage =
            Stage::of(kinds, json!({ "on": { "resources/read": [{ "line": line }] } })).await;
        for case in stage.cases() {
            let params = json!({ "uri": case.uri("mem:x") });
            let reply = case
                .client()
                .await
                .open_as(&json!(1), "resources/read", params)
                .await
                .finish()
                .await;
            assert_eq!(reply.texts, [error("1", own(case.era), &case.uri("mem:x"))], "{case}");
        }
    }
}

/// An error of a tool is a result, and stays one.
#[tokio::test]
async fn a_tools_own_error_is_a_result() {
    let result = r#"{"content":[{"type":"text","text":"it \u0062roke"}],"isError":true}"#;
    let stage = Stage::with(
        json!({ "tools": ["broken"], "on": { "tools/call:broken": [{ "resultText": result }] } }),
    )
    .await;
    for case in stage.cases() {
        let reply = call(&case, "broken").await;
        assert_eq!(reply.status, 200, "{case}");
        assert_eq!(reply.result()["isError"], true, "{case}");
        assert!(reply.texts[0].contains(&result[1..]), "{case}");
    }
}

#[tokio::test]
async fn a_null_id_is_no_obstacle_over_http() {
    let stage = Stage::of(
        &["hl", "hm"],
        json!({ "tools": ["none"], "on": { "tools/call:none": [{ "line": text("null", 7) }] } }),
    )
    .await;
    for case in stage.cases() {
        let reply = call(&case, "none").await;
        assert_eq!(
            reply.texts,
            [text(r#""i""#, 7)],
            "{case}: on this connection it can mean only this"
        );
    }
}
