//! Clients of both eras share one endpoint. Each message says by itself which era it is of; one
//! that contradicts itself is refused as the specification of its own era wants it.

use crate::stage::Stage;
use crate::support::{Legacy, RawHttp};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const BOTH: (&str, &str) = ("Accept", "application/json, text/event-stream");
const V: &str = "MCP-Protocol-Version";
const M: &str = "Mcp-Method";
const N: &str = "Mcp-Name";
const S: &str = "Mcp-Session-Id";

/// `params` with the metadata of a revision.
fn of(version: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    params
}

fn modern(params: Value) -> Value {
    of("2026-07-28", params)
}

/// Headers, body, and what must come: the status, and the error's code if it is one.
struct Row(&'static str, Vec<(&'static str, String)>, Value, u16, Option<i64>);

fn row(
    what: &'static str,
    headers: &[(&'static str, &str)],
    method: &str,
    params: Value,
    status: u16,
    code: Option<i64>,
) -> Row {
    let mut body = json!({ "jsonrpc": "2.0", "id": "same", "method": method });
    if !params.is_null() {
        body["params"] = params;
    }
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Row(what, headers, body, status, code)
}

async fn play(url: &str, rows: Vec<Row>) {
    for Row(what, headers, body, status, code) in rows {
        let headers = headers.iter().map(|(n, v)| (*n, v.as_str())).chain([BOTH, JSON]);
        let headers: Vec<_> = headers.collect();
        let reply = RawHttp::once("POST", url, &headers, body.to_string()).await;
        let answer: Value = serde_json::from_str(&reply.text()).unwrap_or_default();
        let found = answer["error"]["code"].as_i64();
        assert_eq!((reply.status(), found), (status, code), "{what}: {}", reply.text());
        if body.get("method").is_some() && body.get("id").is_some() && answer.is_object() {
            assert_eq!(answer["id"], "same", "{what}: the id is echoed: {answer}");
        }
        if code == Some(-32022) {
            assert_eq!(answer["error"]["data"]["supported"], json!(["2026-07-28"]), "{what}");
        }
    }
}

const NOW: &str = "2026-07-28";
const OLD: &str = "2025-11-25";

#[tokio::test]
async fn requests_by_metadata_then_headers_then_version_then_method() {
    let stage = Stage::of(&["sl"], json!({ "tools": ["echo"], "resources": ["mem:ä"] })).await;
    let echo = || modern(json!({ "name": "echo" }));
    let call = "tools/call";
    let mut only_version = modern(json!({}));
    only_version["_meta"]
        .as_object_mut()
        .expect("an object")
        .shift_remove("io.modelcontextprotocol/clientCapabilities");
    let mut no_version = modern(json!({}));
    no_version["_meta"]
        .as_object_mut()
        .expect("an object")
        .shift_remove("io.modelcontextprotocol/protocolVersion");
    let mut odd_version = modern(json!({}));
    odd_version["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(20260728);
    let mut odd_capabilities = modern(json!({}));
    odd_capabilities["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!([]);
    let list = "tools/list";
    let read = || modern(json!({ "uri": "mem:ä" }));
    let rows = vec![
        row("all is well", &[(V, NOW), (M, list)], list, modern(json!({})), 200, None),
        row("with a name", &[(V, NOW), (M, call), (N, "echo")], call, echo(), 200, None),
        row(
            "the name in base64",
            &[(V, NOW), (M, call), (N, "=?base64?ZWNobw==?=")],
            call,
            echo(),
            200,
            None,
        ),
        row(
            "space around",
            &[(V, " 2026-07-28 "), (M, "\ttools/list ")],
            list,
            modern(json!({})),
            200,
            None,
        ),
        row(
            "a uri in base64",
            &[(V, NOW), (M, "resources/read"), (N, "=?base64?bWVtOsOk?=")],
            "resources/read",
            read(),
            200,
            None,
        ),
        row(
            "a session id means nothing",
            &[(V, NOW), (M, list), (S, "unknown")],
            list,
            modern(json!({})),
            200,
            None,
        ),
        // required metadata
        row("no metadata", &[(V, NOW), (M, list)], list, json!({}), 400, Some(-32602)),
        row("no params", &[(V, NOW), (M, list)], list, Value::Null, 400, Some(-32602)),
        row("no version in it", &[(V, NOW), (M, list)], list, no_version, 400, Some(-32602)),
        row("no capabilities", &[(V, NOW), (M, list)], list, only_version, 400, Some(-32602)),
        row(
            "a version that is no text",
            &[(V, NOW), (M, list)],
            list,
            odd_version,
            400,
            Some(-32602),
        ),
        row(
            "capabilities of another kind",
            &[(V, NOW), (M, list)],
            list,
            odd_capabilities,
            400,
            Some(-32602),
        ),
        row("metadata comes before headers", &[(V, NOW)], list, json!({}), 400, Some(-32602)),
        // headers
        row("no version header", &[(M, list)], list, modern(json!({})), 400, Some(-32020)),
        row("a legacy header", &[(V, OLD), (M, list)], list, modern(json!({})), 400, Some(-32020)),
        row(
            "a legacy header and session",
            &[(V, OLD), (M, list), (S, "unknown")],
            list,
            modern(json!({})),
            400,
            Some(-32020),
        ),
        row(
            "another version in the body",
            &[(V, NOW), (M, list)],
            list,
            of("v999.0.0", json!({})),
            400,
            Some(-32020),
        ),
        row(
            "two version headers",
            &[(V, NOW), (V, NOW), (M, list)],
            list,
            modern(json!({})),
            400,
            Some(-32020),
        ),
        row("no method header", &[(V, NOW)], list, modern(json!({})), 400, Some(-32020)),
        row(
            "another method",
            &[(V, NOW), (M, "tools/call")],
            list,
            modern(json!({})),
            400,
            Some(-32020),
        ),
        row(
            "a method in another case",
            &[(V, NOW), (M, "Tools/List")],
            list,
            modern(json!({})),
            400,
            Some(-32020),
        ),
        row("no name header", &[(V, NOW), (M, call)], call, echo(), 400, Some(-32020)),
        row("another name", &[(V, NOW), (M, call), (N, "other")], call, echo(), 400, Some(-32020)),
        row(
            "a name in another case",
            &[(V, NOW), (M, call), (N, "Echo")],
            call,
            echo(),
            400,
            Some(-32020),
        ),
        row(
            "a name that is no base64",
            &[(V, NOW), (M, call), (N, "=?base64?§?=")],
            call,
            echo(),
            400,
            Some(-32020),
        ),
        row(
            "another uri",
            &[(V, NOW), (M, "resources/read"), (N, "mem:b")],
            "resources/read",
            read(),
            400,
            Some(-32020),
        ),
        // version
        row(
            "a version of the future",
            &[(V, "2099-01-01"), (M, list)],
            list,
            of("2099-01-01", json!({})),
            400,
            Some(-32022),
        ),
        row(
            "no version at all",
            &[(V, "garbage"), (M, list)],
            list,
            of("garbage", json!({})),
            400,
            Some(-32022),
        ),
        row(
            "a legacy date in both",
            &[(V, OLD), (M, list)],
            list,
            of(OLD, json!({})),
            400,
            Some(-32022),
        ),
        row(
            "the version comes before the method",
            &[(V, "2099-01-01"), (M, "nobody/knows")],
            "nobody/knows",
            of("2099-01-01", json!({})),
            400,
            Some(-32022),
        ),
        // method
        row(
            "an unknown method",
            &[(V, NOW), (M, "nobody/knows")],
            "nobody/knows",
            modern(json!({})),
            404,
            Some(-32601),
        ),
        row(
            "a notification as a request",
            &[(V, NOW), (M, "notifications/progress")],
            "notifications/progress",
            modern(json!({})),
            404,
            Some(-32601),
        ),
        row(
            "a request of servers",
            &[(V, NOW), (M, "roots/list")],
            "roots/list",
            modern(json!({})),
            404,
            Some(-32601),
        ),
        row(
            "initialize",
            &[(V, NOW), (M, "initialize")],
            "initialize",
            modern(json!({})),
            404,
            Some(-32601),
        ),
        row("ping", &[(V, NOW), (M, "ping")], "ping", modern(json!({})), 404, Some(-32601)),
        row(
            "setLevel",
            &[(V, NOW), (M, "logging/setLevel")],
            "logging/setLevel",
            modern(json!({ "level": "info" })),
            404,
            Some(-32601),
        ),
        row(
            "subscribe",
            &[(V, NOW), (M, "resources/subscribe")],
            "resources/subscribe",
            modern(json!({ "uri": "mem:a" })),
            404,
            Some(-32601),
        ),
        row(
            "unsubscribe",
            &[(V, NOW), (M, "resources/unsubscribe")],
            "resources/unsubscribe",
            modern(json!({ "uri": "mem:a" })),
            404,
            Some(-32601),
        ),
        // parameters
        row(
            "a tool without a name",
            &[(V, NOW), (M, call), (N, "echo")],
            call,
            modern(json!({})),
            200,
            Some(-32602),
        ),
        row(
            "an unknown level",
            &[(V, NOW), (M, call), (N, "echo")],
            call,
            {
                let mut params = echo();
                params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("loud");
                params
            },
            200,
            Some(-32602),
        ),
    ];
    play(&stage.proxy.url("/mcp/sl"), rows).await;
}

#[tokio::test]
async fn initialize_is_no_exception() {
    let stage = Stage::of(&["sl"], json!({})).await;
    let params = || json!({ "protocolVersion": OLD, "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } });
    let init = "initialize";
    let rows = vec![
        row("legacy", &[], init, params(), 200, None),
        row("legacy with its header", &[(V, OLD)], init, params(), 200, None),
        row("modern by its header", &[(V, NOW), (M, init)], init, params(), 400, Some(-32602)),
        row("modern by its metadata", &[], init, modern(params()), 400, Some(-32020)),
        row("modern by both", &[(V, NOW), (M, init)], init, modern(params()), 404, Some(-32601)),
        row(
            "an unknown header",
            &[(V, "1999-01-01"), (M, init)],
            init,
            params(),
            400,
            Some(-32602),
        ),
        row("modern only, unmarked", &[], "server/discover", json!({}), 400, Some(-32600)),
    ];
    play(&stage.proxy.url("/mcp"), rows).await;
}

#[tokio::test]
async fn bodies_without_an_id_are_judged_by_the_version_header_alone() {
    let stage = Stage::of(&["sl"], json!({})).await;
    let notification = |what, headers: &[(&'static str, &str)], params: Value, status, code| {
        let Row(what, headers, mut body, status, code) =
            row(what, headers, "notifications/cancelled", params, status, code);
        body.as_object_mut().expect("an object").shift_remove("id");
        Row(what, headers, body, status, code)
    };
    let plain = || json!({ "requestId": 1 });
    let rows = vec![
        notification("plain", &[(V, NOW)], plain(), 202, None),
        notification("with metadata", &[(V, NOW), (M, "other")], modern(plain()), 202, None),
        notification("no header", &[], modern(plain()), 400, Some(-32020)),
        notification("a legacy header", &[(V, OLD)], modern(plain()), 400, Some(-32020)),
        notification("a version of the future", &[(V, "2099-01-01")], plain(), 400, Some(-32022)),
        notification("legacy, no session", &[(V, OLD)], plain(), 400, Some(-32600)),
        Row(
            "a response",
            vec![(V, NOW.to_owned())],
            json!({ "jsonrpc": "2.0", "id": "same", "result": {} }),
            400,
            Some(-32600),
        ),
    ];
    play(&stage.proxy.url("/mcp"), rows).await;
}

#[tokio::test]
async fn legacy_requests_need_neither() {
    let stage = Stage::of(&["sl"], json!({ "tools": ["echo"] })).await;
    let url = stage.proxy.url("/mcp/sl");
    let client = Legacy::connect(&url, "2025-06-18").await;
    let id = client.session.clone().expect("a session");
    let call = "tools/call";
    let echo = || json!({ "name": "echo" });
    let mirrored = &[(S, id.as_str()), (M, "tools/list"), (N, "other")];
    let rows = vec![
        row("no version header", &[(S, &id)], call, echo(), 200, None),
        row("modern headers mean nothing", mirrored, call, echo(), 200, None),
        row("another legacy version", &[(S, &id), (V, "2024-11-05")], call, echo(), 200, None),
        row("an unknown method", &[(S, &id)], "nobody/knows", json!({}), 200, Some(-32601)),
        row(
            "a method of the other era",
            &[(S, &id)],
            "server/discover",
            json!({}),
            200,
            Some(-32601),
        ),
        row(
            "another of the other era",
            &[(S, &id)],
            "subscriptions/listen",
            json!({ "notifications": {} }),
            200,
            Some(-32601),
        ),
        row(
            "modern metadata in a session",
            &[(S, &id), (V, "2025-06-18")],
            call,
            modern(echo()),
            400,
            Some(-32020),
        ),
        row("a tool without a name", &[(S, &id)], call, json!({}), 200, Some(-32602)),
        row("no session", &[], call, echo(), 400, Some(-32600)),
    ];
    play(&url, rows).await;
}

#[tokio::test]
async fn what_is_no_message_is_refused_before_any_era() {
    let stage = Stage::of(&["sl"], json!({})).await;
    for (body, code) in [
        ("{", -32700),
        ("", -32700),
        ("nonsense", -32700),
        ("\u{feff}{}", -32700),
        ("7", -32600),
        ("{}", -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"x"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1,"a":2}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":7}}"#, -32602),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (r#"{"id":1,"method":"ping"}"#, -32600),
    ] {
        for headers in [&[(V, NOW), (M, "ping"), BOTH, JSON][..], &[BOTH, JSON]] {
            let reply = RawHttp::once("POST", &stage.proxy.url("/mcp"), headers, body).await;
            let answer: Value = serde_json::from_str(&reply.text()).expect("JSON");
            let found = (reply.status(), answer["error"]["code"].as_i64());
            assert_eq!(found, (400, Some(code)), "{body}: {answer}");
            assert_eq!(answer["jsonrpc"], "2.0");
        }
    }
}
