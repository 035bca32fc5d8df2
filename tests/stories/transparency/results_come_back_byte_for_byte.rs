//! What the client reads is what the upstream wrote, byte for byte, but for its own id and what
//! its era demands of a result.

use crate::stage::{Case, Stage, progress};
use crate::support::{Answer, FakeHttp, Legacy, Modern, Proxy};
use serde_json::{Value, json};

/// Everything in it that somebody might be tempted to write in another way; `@` is where a modern
/// client of a legacy upstream gets what its era demands.
const RESULT: &str = r#"{@ "content":[ {"type":"text","text":"\u0041\/\u00e9é\ud800 sl__odd mem:a","annotations":{"priority":1.0e5,"x":1,"x":2}} ,{"type":"text","text":""}] ,"structuredContent":{"big":12345678901234567890123,"dup":1,"dup":{"dup":[ ]},"$defs":{"$anchor":"a"},"uri":"mem:a"},"unknown":[ -0.0,1E+2 ],"isError":false,"_meta":{"x":1.50,"io.modelcontextprotocol/serverInfo":{"name":"\u0074heirs","version":"1"}} }"#;

fn response(id: &str, added: &str) -> String {
    let result = RESULT.replace('@', added);
    format!(
        r#" {{"result" : {result},"extra":null , "id": {id} ,"jsonrpc" : "2.0","more":{{"a":1,"a":2}} }}  "#
    )
}

/// What is added to a result for this pair of eras.
fn added(case: &Case<'_>) -> &'static str {
    match (case.era, case.upstream_era()) {
        ("modern", "legacy") => r#""resultType":"complete","#,
        _ => "",
    }
}

fn call(case: &Case<'_>, id: &str, tool: &str) -> String {
    let mut params = json!({ "name": case.name(tool), "_meta": { "progressToken": "t" } });
    if case.era == "modern" {
        params = Modern::new("").with_meta(params);
    }
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#)
}

#[tokio::test]
async fn alone_and_after_a_notification() {
    let odd = json!({ "line": response("$id", "") });
    let stage = Stage::with(json!({ "tools": ["odd", "loud"], "on": {
        "tools/call:odd": [odd], "tools/call:loud": [progress("1.50", "\\u0041\\/"), odd],
    }}))
    .await;
    for case in stage.cases() {
        let client = case.client().await;
        for id in ["7", "-0", r#""\u0069d \/ é""#, "12345678901234567890123"] {
            let reply = client.send(&call(&case, id, "odd")).await;
            assert_eq!(reply.headers.header("content-type"), Some("application/json"), "{case}");
            assert_eq!(reply.texts, [response(id, added(&case))], "{case}");

            let reply = client.send(&call(&case, id, "loud")).await;
            let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1.50,"message":"\u0041\/"}}"#;
            assert_eq!(reply.texts, [progress.to_owned(), response(id, added(&case))], "{case}");
        }
    }
}

#[tokio::test]
async fn reads_prompts_and_completions() {
    let prompt = r#"{@"messages":[{"role":"user","content":{"type":"text","text":"\u0041"}} ],"description":"\/","x":1.0e5}"#;
    let read = r#"{@"contents" : [{"text":"\u0041\ud800","uri":"mem:a" ,"_meta":{"n":1.0e5}},{"blob":"AA==","uri":"mem:b"}],"x":[ ]}"#;
    let completion =
        r#"{@"completion":{"values":[ "\u0041" ],"total":1.0e5,"hasMore":false,"x":{}} }"#;
    let alone = |text: &str| json!([{ "resultText": text.replace('@', "") }]);
    let stage = Stage::with(json!({ "prompts": ["p"], "on": {
        "prompts/get": alone(prompt), "resources/read": alone(read), "completion/complete": alone(completion),
    }}))
    .await;
    for case in stage.cases() {
        let client = case.client().await;
        let cross = case.era == "modern" && case.upstream_era() == "legacy";
        let plain = if cross { r#""resultType":"complete","# } else { "" };
        let cached =
            if cross { r#""resultType":"complete","ttlMs":0,"cacheScope":"private","# } else { "" };
        let marked = |text: &str| match case.aggregate {
            true => text.replace(r#""uri":"mem:"#, &format!(r#""uri":"mcp-{}+mem:"#, case.kind)),
            false => text.to_owned(),
        };
        let argument = json!({ "name": "a", "value": "" });
        let reference = json!({ "type": "ref/prompt", "name": case.name("p") });
        for (method, params, text, members) in [
            ("prompts/get", json!({ "name": case.name("p") }), prompt.to_owned(), plain),
            ("resources/read", json!({ "uri": case.uri("mem:x") }), marked(read), cached),
            (
                "completion/complete",
                json!({ "ref": reference, "argument": argument }),
                completion.to_owned(),
                plain,
            ),
        ] {
            let reply = client.open_as(&json!("i"), method, params).await.finish().await;
            let result = text.replace('@', members);
            assert_eq!(
                reply.texts,
                [format!(r#"{{"jsonrpc":"2.0","id":"i","result":{result}}}"#)],
                "{case}"
            );
        }
    }
}

/// An HTTP upstream may break its lines between tokens.
#[tokio::test]
async fn line_breaks_between_tokens() {
    let pretty =
        "{\n  \"jsonrpc\": \"2.0\",\r\n\t\"id\": @,\n  \"result\": {\n\n\"content\": [\r]\n}\n}\n";
    let fake = FakeHttp::serve(move |_, body| {
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        let id = message["id"].to_string();
        let token = &message["params"]["_meta"]["progressToken"];
        let result = |result: &str| Answer::json(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
        match (message["method"].as_str(), message["params"]["name"].as_str()) {
            (Some("server/discover"), _) => result(r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}"#),
            (Some("tools/list"), _) => result(r#"{"resultType":"complete","tools":[],"ttlMs":0,"cacheScope":"private"}"#),
            (_, Some("json")) => Answer::json(pretty.replace('@', &id)),
            _ => {
                let progress = format!("{{\"jsonrpc\":\"2.0\",\n\"method\":\"notifications/progress\",\n\"params\":{{\"progressToken\":{token},\n\"progress\":1}}}}");
                let data = pretty.replace('@', &id).replace(['\r', '\n'], "\n");
                Answer::sse().event(progress).event(data.trim_end_matches('\n'))
            }
        }
    })
    .await;
    let proxy = Proxy::with(json!({ "mcpServers": { "fake": fake.entry() } })).start().await;
    let url = proxy.url("/mcp/fake");
    let call = |tool: &str| json!({ "name": tool, "_meta": { "progressToken": 1 } });
    let legacy = Legacy::connect(&url, "2025-11-25").await;
    let modern = Modern::new(&url);
    for reply in [
        legacy.open_as(&json!(5), "tools/call", call("json")).await.finish().await,
        modern.open_as(&json!(5), "tools/call", call("json")).await.finish().await,
    ] {
        assert_eq!(reply.texts, [pretty.replace('@', "5")], "as it was written");
    }
    for reply in [
        legacy.open_as(&json!(5), "tools/call", call("stream")).await.finish().await,
        modern.open_as(&json!(5), "tools/call", call("stream")).await.finish().await,
    ] {
        let line = pretty.replace('@', "5").replace(['\r', '\n'], " ");
        assert_eq!(reply.texts[1], line.trim_end(), "one event has one line");
        assert!(reply.texts[0].starts_with(r#"{"jsonrpc":"2.0", "method""#), "{reply:?}");
    }
}

/// What only the newest era has goes from end to end untouched, but for the state, which is ours
/// while the client carries it, and the name of who asks where there are several.
#[tokio::test]
async fn between_modern_ends_input_is_asked_for_and_given() {
    let asked = r#"{"resultType":"input_required" , "inputRequests":{"k\u0031":{"method":"elicitation/create","params":{"message":"who? sl__x mem:a","mode":"form","requestedSchema":{"type":"object","$defs":{"$anchor":"x"}}}}},"requestState":"st\u0061te\/"}"#;
    let stage = Stage::of(&["sm", "hm"], json!({ "tools": ["ask"], "on": {
        "tools/call:ask": [{ "line": format!(r#"{{"jsonrpc":"2.0","id":$id,"result":{asked}}}"#) }],
    }}))
    .await;
    let theirs = r#""st\u0061te\/""#;
    for case in stage.cases().iter().filter(|case| case.era == "modern") {
        let client = case.client().await;
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{} }}}"#;
        let name = case.name("ask");
        let request = |id: &str, name: &str, retry: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}",{meta}{retry}}}}}"#
            )
        };
        let reply = client.send(&request("1", &name, "")).await;
        let ours = reply.result()["requestState"].to_string();
        assert!(!ours.contains("state"), "{case}: {ours}");
        let who = if case.aggregate { format!("[{}] who?", case.kind) } else { "who?".to_owned() };
        let shown = asked.replace(theirs, &ours).replace("who?", &who);
        let expected = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{shown}}}"#);
        assert_eq!(reply.texts, [expected], "{case}");
        let retry = |state: &str| {
            format!(
                r#","inputResponses":{{"k\u0031":{{"action":"accept","content":{{"n":1.0e5}}}}}},"requestState":{state}"#
            )
        };
        client.send(&request("2", &name, &retry(&ours))).await;
        let received = case.upstream.last_with("inputResponses");
        let id = serde_json::from_str::<Value>(&received).expect("JSON")["id"].to_string();
        assert_eq!(received, request(&id, "ask", &retry(theirs)), "{case}");
    }
}
