//! MCP 2026-07-28 basic/transports/streamable-http, "Request Metadata": a modern upstream over HTTP
//! gets headers that mirror the body it gets, not the one the client sent; other upstreams get none.

use crate::stage::{Stage, Upstream};
use crate::support::{Answer, FakeHttp, Legacy, Modern, Proxy, clients, http::Head};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const ENCODED: &str = "=?base64?bsOkbWU=?=";

fn last_call(fake: &FakeHttp, method: &str) -> Head {
    let recorded = fake.recorded().into_iter().rfind(|r| r.json()["method"] == method);
    recorded.expect("it came in").head
}

#[tokio::test]
async fn method_and_name_are_those_of_the_upstream() {
    let names = ["echo", "näme", " padded ", "=?base64?bmFtZQ==?=", "tab\there"];
    let stage = Stage::of(&["hm", "hl"], json!({ "tools": names, "prompts": names })).await;
    for case in stage.cases() {
        let Upstream::Http(fake) = case.upstream else { unreachable!("over HTTP") };
        let client = case.client().await;
        for (method, own) in
            names.iter().flat_map(|own| [("tools/call", own), ("prompts/get", own)])
        {
            client.request(method, json!({ "name": case.name(own) })).await.result();
            let head = last_call(fake, method);
            let modern = case.upstream_era() == "modern";
            let encoded = clients::encode(own);
            assert_eq!(head.header("mcp-method"), modern.then_some(method), "{case}");
            assert_eq!(head.header("mcp-name"), modern.then_some(encoded.as_str()), "{case}");
            let version = if modern { "2026-07-28" } else { "2025-11-25" };
            assert_eq!(head.header("mcp-protocol-version"), Some(version), "{case}");
        }
        let uri = case.uri("mem:ä");
        client.request("resources/read", json!({ "uri": uri })).await.result();
        let head = last_call(fake, "resources/read");
        let encoded = clients::encode("mem:ä");
        let expected = (case.upstream_era() == "modern").then_some(encoded.as_str());
        assert_eq!(head.header("mcp-name"), expected, "{case}");
        let reference = json!({ "type": "ref/prompt", "name": case.name("echo") });
        let argument = json!({ "name": "a", "value": "" });
        client
            .request("completion/complete", json!({ "ref": reference, "argument": argument }))
            .await
            .result();
        assert_eq!(last_call(fake, "completion/complete").header("mcp-name"), None, "{case}");
    }
    assert_eq!(clients::encode("näme"), ENCODED, "the fake's own coding is the specification's");
}

fn annotated() -> Value {
    json!([{ "name": "pay", "inputSchema": { "type": "object", "properties": {
        "region": { "type": "string", "x-mcp-header": "Region" },
        "amount": { "type": "integer", "x-mcp-header": "Amount" },
        "deep": { "type": "object", "properties": { "flag": { "type": "boolean", "x-mcp-header": "Flag" } } },
        "plain": { "type": "string" },
    }}}])
}

/// A modern client mirrors them itself; here it may say what it likes.
async fn call(
    url: &str,
    name: &str,
    arguments: &Value,
    headers: &[(&str, &str)],
) -> crate::support::Reply {
    let params = Modern::new(url).with_meta(json!({ "name": name, "arguments": arguments }));
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let own = [
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", name),
        ("Content-Type", "application/json"),
        ("Accept", "*/*"),
    ];
    let headers: Vec<_> = own.into_iter().chain(headers.iter().copied()).collect();
    clients::open("POST", url, &headers, &body.to_string()).await.finish().await
}

#[tokio::test]
async fn annotated_arguments_are_mirrored_whoever_calls() {
    let fake = FakeHttp::mcp(json!({ "era": "modern", "tools": annotated() })).await;
    let proxy = Proxy::with(json!({ "mcpServers": { "fake": fake.entry() } })).start().await;
    let arguments =
        json!({ "region": "zürich", "amount": 42, "deep": { "flag": false }, "plain": "x" });
    let mirrored = [
        ("Mcp-Param-Region", "=?base64?esO8cmljaA==?="),
        ("mcp-param-amount", "42"),
        ("Mcp-Param-Flag", "false"),
    ];
    for (path, name) in [("/mcp/fake", "pay"), ("/mcp", "fake__pay")] {
        let url = proxy.url(path);
        let legacy = Legacy::connect(&url, "2025-11-25").await;
        legacy.request("tools/list", Value::Null).await.result();
        let params = json!({ "name": name, "arguments": arguments });
        let legacy = legacy.request("tools/call", params).await;
        let head = last_call(&fake, "tools/call");
        let modern = call(&url, name, &arguments, &mirrored).await;
        for (reply, head) in [(legacy, head), (modern, last_call(&fake, "tools/call"))] {
            reply.result();
            for (name, value) in mirrored {
                assert_eq!(head.header(name), Some(value), "{path}");
            }
            assert_eq!(head.headers.iter().filter(|(n, _)| n.starts_with("mcp-param-")).count(), 3);
        }
        // what the client mirrors must be what it says
        let sent = fake.received_of("tools/call").len();
        let wrong: [&[(&str, &str)]; 4] = [
            &[],
            &[mirrored[0], mirrored[1]],
            &[mirrored[0], ("Mcp-Param-Amount", "43"), mirrored[2]],
            &[("Mcp-Param-Region", "bern"), mirrored[1], mirrored[2]],
        ];
        for headers in wrong {
            let reply = call(&url, name, &arguments, headers).await;
            assert_eq!((reply.status, reply.error_code()), (400, -32020), "{path} {headers:?}");
            assert_eq!(reply.response()["id"], 1);
        }
        assert_eq!(
            fake.received_of("tools/call").len(),
            sent,
            "{path}: none of them was forwarded"
        );
        // absent and null arguments have no header
        let reply = call(&url, name, &json!({ "region": null }), &[]).await;
        reply.result();
        let head = last_call(&fake, "tools/call");
        assert!(head.headers.iter().all(|(name, _)| !name.starts_with("mcp-param-")), "{path}");
    }
}

#[tokio::test]
async fn upstreams_that_know_no_such_headers_get_none() {
    let stage = Stage::of(&["hl"], json!({ "tools": annotated() })).await;
    let Upstream::Http(fake) = stage.upstream("hl") else { unreachable!("over HTTP") };
    let arguments = json!({ "region": "x" });
    let url = stage.proxy.url("/mcp/hl");
    call(&url, "pay", &arguments, &[("Mcp-Param-Region", "x")]).await.result();
    let names = last_call(fake, "tools/call").headers;
    assert!(names.iter().all(|(name, _)| !name.starts_with("mcp-param-")), "{names:?}");
}

/// Whoever calls while the upstream is being started is waited for, not let through unchecked.
#[tokio::test]
async fn also_while_the_tool_is_not_listed_yet() {
    let fake = FakeHttp::mcp(json!({ "era": "modern", "tools": annotated(), "on": {
        "tools/list": [{ "await": "listed" }, { "usual": true }],
    }}))
    .await;
    let proxy = Proxy::with(json!({ "mcpServers": { "fake": fake.entry() } })).start().await;
    fake.reached("listed").await;
    let arguments = json!({ "region": "bern" });
    for (path, name) in [("/mcp/fake", "pay"), ("/mcp", "fake__pay")] {
        let url = proxy.url(path);
        let right = [("Mcp-Param-Region", "bern")];
        let with = call(&url, name, &arguments, &right);
        let without = call(&url, name, &arguments, &[]);
        let release = async {
            // a whole exchange of another client, so that the two are likely to be waiting
            crate::support::RawHttp::once("GET", &url, &[], "").await;
            fake.release("listed");
        };
        let (with, without, ()) = tokio::join!(with, without, release);
        assert_eq!((without.status, without.error_code()), (400, -32020), "{path}");
        with.result();
        assert_eq!(last_call(&fake, "tools/call").header("mcp-param-region"), Some("bern"));
    }
}

#[tokio::test]
async fn a_prompt_with_the_name_of_a_tool_has_no_mirrored_arguments() {
    let script = json!({ "era": "modern", "tools": annotated(), "prompts": ["pay"] });
    let fake = FakeHttp::mcp(script).await;
    let proxy = Proxy::with(json!({ "mcpServers": { "fake": fake.entry() } })).start().await;
    let client = Modern::new(&proxy.url("/mcp/fake"));
    client.request("tools/list", json!({})).await.result();
    let params = json!({ "name": "pay", "arguments": { "region": "bern" } });
    client.request("prompts/get", params).await.result();
    assert_eq!(last_call(&fake, "prompts/get").header("mcp-param-region"), None);
}

/// MCP 2026-07-28 basic/transports/streamable-http, "Client Behavior": a tool that wants other
/// headers than it was listed with is looked up again, though its upstream announced nothing.
#[tokio::test]
async fn a_mismatch_makes_the_list_be_read_anew() {
    let fake = FakeHttp::mcp(json!({ "era": "modern", "tools": ["pay"], "on": { "tools/call": [
        { "tools": annotated() }, { "error": { "code": -32020, "message": "Mcp-Param-Region" } },
    ]}}))
    .await;
    let proxy = Proxy::with(json!({ "mcpServers": { "fake": fake.entry() } })).start().await;
    let url = proxy.url("/mcp/fake");
    let arguments = json!({ "region": "bern" });
    let reply = call(&url, "pay", &arguments, &[]).await;
    assert_eq!(reply.error_code(), -32603, "it is no matter of the client");
    let client = Modern::new(&url);
    let listed = client.request("tools/list", json!({})).await;
    assert_eq!(listed.result()["tools"], annotated());
    let again = call(&url, "pay", &arguments, &[("Mcp-Param-Region", "bern")]).await;
    assert_eq!(again.error_code(), -32603);
    assert_eq!(last_call(&fake, "tools/call").header("mcp-param-region"), Some("bern"));
}

/// MCP 2026-07-28 basic/transports/streamable-http, "Client Behavior": a tool whose annotations have
/// changed since its list was read is called once more, as the list now says; when the list is as
/// it was, the refusal stands.
#[tokio::test]
async fn annotations_that_have_changed_are_read_anew() {
    let version = Arc::new(AtomicUsize::new(0));
    let present = Arc::clone(&version);
    let fake = FakeHttp::serve(move |head, body| {
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        let name = ["Region", "Area", "Area"][present.load(Ordering::SeqCst)];
        let properties = json!({ "region": { "type": "string", "x-mcp-header": name } });
        let schema = json!({ "type": "object", "properties": properties });
        let wanted = format!("mcp-param-{}", name.to_lowercase());
        let mut result = match (head.method(), message["method"].as_str().unwrap_or_default()) {
            ("POST", "server/discover") => json!({
                "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} } }),
            ("POST", "tools/list") => {
                json!({ "tools": [{ "name": "pay", "inputSchema": schema }] })
            }
            ("POST", "tools/call")
                if head.header(&wanted) == Some("x") && present.load(Ordering::SeqCst) < 2 =>
            {
                json!({ "content": [] })
            }
            ("POST", "tools/call") => {
                let error = json!({ "code": -32020, "message": "no" });
                let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "error": error });
                return Answer::json(answer).status(400);
            }
            _ => return Answer::empty(405),
        };
        (result["resultType"], result["ttlMs"]) = (json!("complete"), json!(3_600_000));
        result["cacheScope"] = json!("private");
        Answer::json(json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))
    })
    .await;
    let proxy = Proxy::with(json!({ "mcpServers": { "fake": fake.entry() } })).start().await;
    proxy.logs.wait_for("fake: ready").await;
    let clients = [("/mcp", "fake__pay"), ("/mcp/fake", "pay")];
    for (path, name) in clients {
        version.store(0, Ordering::SeqCst);
        let client = Legacy::connect(&proxy.url(path), "2025-11-25").await;
        let params = json!({ "name": name, "arguments": { "region": "x" } });
        let pay = || client.request("tools/call", params.clone());
        pay().await.result();
        version.store(1, Ordering::SeqCst);
        let before = fake.received_of("tools/call").len();
        pay().await.result();
        assert_eq!(fake.received_of("tools/call").len(), before + 2, "{path}");
        version.store(2, Ordering::SeqCst);
        assert!(pay().await.response().get("error").is_some(), "{path}");
        assert_eq!(fake.received_of("tools/call").len(), before + 3, "{path}: as refused before");
    }
}
