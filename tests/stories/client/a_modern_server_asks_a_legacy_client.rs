//! A modern server demands input before it can finish: a legacy client is asked with requests of
//! its own era, on the stream of its call, and the server gets the call again with the answers
//! (MCP 2026-07-28 basic/patterns/mrtr).

use crate::stage::{Case, Stage, Upstream};
use crate::support::script::readable;
use crate::support::{FakeStdio, Incoming, Legacy, Proxy, clients};
use serde_json::{Value, json};

const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const REVISIONS: [&str; 2] = ["2025-06-18", "2025-11-25"];

fn able() -> Value {
    json!({ "sampling": {}, "elicitation": {}, "roots": { "listChanged": true } })
}

fn form() -> Value {
    json!({ "method": "elicitation/create", "params": {
        "mode": "form", "message": "Your name?",
        "requestedSchema": { "type": "object", "properties": {
            "name": { "type": "string" },
            "size": { "type": "string", "oneOf": [{ "const": "s", "title": "Small" }, { "const": "l", "title": "Large" }] },
        }},
    }})
}

fn by_url(url: &str) -> Value {
    json!({ "method": "elicitation/create", "params": { "mode": "url", "message": "Please log in.", "url": url } })
}

fn sample() -> Value {
    let blocks = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
    json!({ "method": "sampling/createMessage", "params": {
        "messages": [{ "role": "user", "content": blocks }], "maxTokens": 5,
    }})
}

fn roots() -> Value {
    json!({ "method": "roots/list" })
}

/// The demand for input, as a step.
fn demand(requests: Value, state: Option<&str>) -> Value {
    let mut result = json!({ "resultType": "input_required", "inputRequests": requests });
    if let Some(state) = state {
        result["requestState"] = state.into();
    }
    json!({ "result": result })
}

/// The tag finds the messages of one case again.
fn params(case: &Case<'_>, tool: &str, tag: &str) -> Value {
    json!({ "name": case.name(tool), "arguments": { "tag": tag }, "_meta": { "progressToken": tag } })
}

async fn call(client: &Legacy, case: &Case<'_>, tool: &str, tag: &str) -> Incoming {
    client.open("tools/call", params(case, tool, tag)).await
}

fn tag(case: &Case<'_>, revision: &str) -> String {
    format!("{case}, {revision}")
}

/// What the upstream got with this tag, byte for byte and read.
fn received(case: &Case<'_>, tag: &str) -> Vec<(String, Value)> {
    let tag = format!("\"tag\":\"{tag}\"");
    let texts = case.upstream.received().into_iter().filter(|text| text.contains(&tag));
    texts
        .map(|text| (text.clone(), serde_json::from_str(&readable(&text)).expect("json")))
        .collect()
}

async fn next(stream: &mut Incoming, method: &str) -> Value {
    let message = stream.next().await.expect("a message");
    assert_eq!(message["method"], method, "{message}");
    message
}

async fn stage(on: Value) -> Stage {
    let tools: Vec<String> = on
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| {
            let name = key.strip_prefix("tools/call:")?;
            (!name.contains('@')).then(|| name.to_owned())
        })
        .collect();
    Stage::of(&["sm", "hm"], json!({ "tools": tools, "prompts": ["p"], "on": on })).await
}

fn legacy<'a>(stage: &'a Stage) -> Vec<Case<'a>> {
    stage.cases().into_iter().filter(|case| case.era == "legacy").collect()
}

#[tokio::test]
async fn several_questions_are_asked_at_once_and_all_answers_go_back_in_one_call() {
    let state = r#""\u00e9\/\ud800 \"'\u0000""#;
    let requests = json!({ "who": form(), "w\u{e9}re": roots(), "what": sample() });
    let text = format!(
        r#"{{"resultType":"input_required","inputRequests":{requests},"requestState":{state}}}"#
    );
    let again = format!(
        "tools/call:ask@{}",
        serde_json::from_str::<String>(&readable(state)).expect("json")
    );
    let on = json!({ "tools/call:ask": [{ "resultText": text }], again: [{ "progress": 1 }, { "usual": true }] });
    let stage = stage(on).await;
    for (case, revision) in legacy(&stage).iter().flat_map(|c| REVISIONS.map(|r| (c, r))) {
        let tag = tag(case, revision);
        let client = Legacy::connect_with(&case.url(), revision, able()).await;
        let mut stream = call(&client, case, "ask", &tag).await;
        let mut questions = Vec::new();
        for _ in 0..3 {
            questions.push(stream.next().await.expect("a question"));
        }
        let of = |method| questions.iter().find(|q| q["method"] == method).expect("was asked");
        let (form, sample) = (of("elicitation/create"), of("sampling/createMessage"));
        let message = form["params"]["message"].as_str().expect("a message");
        let shown = if case.aggregate {
            format!("[{}] Your name?", case.kind)
        } else {
            "Your name?".into()
        };
        assert_eq!(message, shown, "{tag}: who asks is shown on /mcp");
        let old = revision == "2025-06-18";
        let size = &form["params"]["requestedSchema"]["properties"]["size"];
        let messages = sample["params"]["messages"].as_array().expect("messages");
        if old {
            assert_eq!(size["enum"], json!(["s", "l"]), "{tag}");
            assert_eq!(size["enumNames"], json!(["Small", "Large"]), "{tag}");
            assert!(form["params"].get("mode").is_none() && size.get("oneOf").is_none(), "{tag}");
            let texts: Vec<_> = messages.iter().map(|m| m["content"]["text"].clone()).collect();
            assert_eq!(texts, ["a", "b"], "{tag}: one message for every block");
        } else {
            assert_eq!(form["params"]["mode"], "form", "{tag}");
            assert!(size["oneOf"].is_array(), "{tag}");
            assert_eq!(messages.len(), 1, "{tag}");
        }
        let answers = [
            (
                "elicitation/create",
                r#"{"_meta":{"x":1},"action":"accept","content":{"name":"Ad\u0061","n":1.0e0}}"#,
            ),
            (
                "sampling/createMessage",
                r#"{"role":"assistant","resultType":"complete","content":{"type":"text","text":"c"},"model":"m"}"#,
            ),
            ("roots/list", r#"{"roots":[{"uri":"file:///here"}]}"#),
        ];
        for (method, result) in answers {
            let id = &of(method)["id"];
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
            assert_eq!(client.send("POST", &body).await.head.status(), 202);
        }
        let progress = next(&mut stream, "notifications/progress").await;
        assert_eq!(progress["params"]["progressToken"], json!(tag), "the client's own");
        let answer = stream.next().await.expect("the answer");
        assert_eq!(answer["result"]["content"][0]["text"], "called ask", "{tag}");
        assert!(stream.next().await.is_none());

        let calls = received(case, &tag);
        let [(_, first), (text, second)] = calls.as_slice() else { panic!("{tag}: {calls:?}") };
        for part in [
            r#""who":{"action":"accept","content":{"name":"Ad\u0061","n":1.0e0}}"#,
            r#""what":{"role":"assistant","content":{"type":"text","text":"c"},"model":"m"}"#,
            r#""wére":{"roots":[{"uri":"file:///here"}]}"#,
            &format!(r#""requestState":{state}"#),
        ] {
            assert!(text.contains(part), "{tag}: {part} in {text}");
        }
        assert_ne!(first["id"], second["id"], "{tag}: independent requests");
        assert_eq!(second["params"]["_meta"]["progressToken"], second["id"], "{tag}");
        for (member, value) in first["params"].as_object().expect("an object") {
            if member != "_meta" {
                assert_eq!(second["params"][member], *value, "{tag}: {member}");
            }
        }
        for request in [first, second] {
            let shown = &request["params"]["_meta"][CAPABILITIES];
            assert_eq!(
                *shown,
                json!({ "sampling": {}, "elicitation": { "form": {} }, "roots": {} }),
                "{tag}"
            );
        }
        if let Upstream::Http(fake) = case.upstream {
            let sent = fake.recorded().into_iter().rfind(|r| r.body == *text).expect("recorded");
            assert_eq!(sent.head.header("mcp-name"), Some("ask"), "{tag}");
            assert_eq!(sent.head.header("mcp-method"), Some("tools/call"), "{tag}");
        }
    }
}

#[tokio::test]
async fn prompts_and_resources_are_asked_for_too() {
    let on = json!({
        "prompts/get:p": [demand(json!({ "k": roots() }), Some("s"))], "prompts/get:p@s": [{ "usual": true }],
        "resources/read:mem:a": [demand(json!({ "k": roots() }), None)], "resources/read:mem:a@": [{ "usual": true }],
    });
    let stage = stage(on).await;
    for case in legacy(&stage) {
        let client = Legacy::connect_with(&case.url(), "2025-11-25", able()).await;
        let requests = [
            ("prompts/get", json!({ "name": case.name("p") })),
            ("resources/read", json!({ "uri": case.uri("mem:a") })),
        ];
        for (method, params) in requests {
            let mut stream = client.open(method, params).await;
            let question = next(&mut stream, "roots/list").await;
            assert_eq!(client.respond(&question["id"], json!({ "roots": [] })).await, 202);
            let answer = stream.next().await.expect("the answer");
            assert!(answer["result"].is_object(), "{case}: {answer}");
            let sent = case.upstream.received_of(method);
            let (first, second) = (&sent[sent.len() - 2], &sent[sent.len() - 1]);
            assert_eq!(
                second["params"]["inputResponses"],
                json!({ "k": { "roots": [] } }),
                "{case}"
            );
            let state = (method == "prompts/get").then(|| json!("s"));
            assert_eq!(second["params"].get("requestState"), state.as_ref(), "{case}");
            let same =
                ["name", "uri"].iter().all(|key| first["params"][key] == second["params"][key]);
            assert!(same, "{case}");
        }
    }
}

#[tokio::test]
async fn there_may_be_several_rounds_and_each_gives_back_its_own_state() {
    let on = json!({
        "tools/call:steps": [demand(json!({ "a": form() }), Some("one"))],
        "tools/call:steps@one": [demand(json!({ "b": roots() }), None)],
        "tools/call:steps@": [{ "result": { "resultType": "input_required", "requestState": "three" } }],
        "tools/call:steps@three": [{ "usual": true }],
    });
    let stage = stage(on).await;
    for (case, revision) in legacy(&stage).iter().flat_map(|c| REVISIONS.map(|r| (c, r))) {
        let tag = tag(case, revision);
        let client = Legacy::connect_with(&case.url(), revision, able()).await;
        let mut stream = call(&client, case, "steps", &tag).await;
        let question = next(&mut stream, "elicitation/create").await;
        client.respond(&question["id"], json!({ "action": "decline" })).await;
        let question = next(&mut stream, "roots/list").await;
        client.respond(&question["id"], json!({ "roots": [] })).await;
        let answer = stream.next().await.expect("the answer");
        assert_eq!(answer["result"]["content"][0]["text"], "called steps", "{tag}");
        let calls = received(case, &tag);
        let carried: Vec<_> = calls
            .iter()
            .map(|(_, call)| {
                (
                    call["params"].get("inputResponses").cloned(),
                    call["params"].get("requestState").cloned(),
                )
            })
            .collect();
        assert_eq!(
            carried,
            [
                (None, None),
                (Some(json!({ "a": { "action": "decline" } })), Some(json!("one"))),
                (Some(json!({ "b": { "roots": [] } })), None),
                (None, Some(json!("three"))),
            ],
            "{tag}"
        );
    }
}

#[tokio::test]
async fn a_server_that_never_has_enough_is_given_up() {
    let stage = stage(json!({ "tools/call:more": [demand(json!({ "a": roots() }), None)] })).await;
    for case in legacy(&stage) {
        let client = Legacy::connect_with(&case.url(), "2025-11-25", able()).await;
        let tag = tag(&case, "");
        let mut stream = call(&client, &case, "more", &tag).await;
        for _ in 0..10 {
            let question = next(&mut stream, "roots/list").await;
            client.respond(&question["id"], json!({ "roots": [] })).await;
        }
        let answer = stream.next().await.expect("the answer");
        assert_eq!(answer["error"]["code"], -32603, "{case}");
        let text = answer["error"]["message"].as_str().expect("a text");
        assert!(text.contains("it has asked for input 10 times"), "{case}: {text}");
        assert_eq!(received(&case, &tag).len(), 11, "{case}");
    }
}

#[tokio::test]
async fn who_gives_no_answer_has_cancelled_a_form_and_ended_the_call_otherwise() {
    let on = json!({
        "tools/call:form": [demand(json!({ "a": form() }), None)], "tools/call:form@": [{ "usual": true }],
        "tools/call:sample": [demand(json!({ "a": sample(), "b": form() }), None)],
    });
    let stage = stage(on).await;
    let error = json!({ "code": -1, "message": "no \"model\" today" });
    for case in legacy(&stage) {
        let client = Legacy::connect_with(&case.url(), "2025-11-25", able()).await;
        let tag = tag(&case, "form");
        let mut stream = call(&client, &case, "form", &tag).await;
        let question = next(&mut stream, "elicitation/create").await;
        assert_eq!(client.refuse(&question["id"], error.clone()).await, 202);
        assert!(stream.next().await.expect("the answer")["result"].is_object(), "{case}");
        let (_, last) = received(&case, &tag).pop().expect("a call");
        assert_eq!(
            last["params"]["inputResponses"],
            json!({ "a": { "action": "cancel" } }),
            "{case}"
        );

        let tag = tag.replace("form", "sample");
        let mut stream = call(&client, &case, "sample", &tag).await;
        let question = next(&mut stream, "sampling/createMessage").await;
        let open = next(&mut stream, "elicitation/create").await;
        assert_eq!(client.refuse(&question["id"], error.clone()).await, 202);
        let withdrawn = next(&mut stream, "notifications/cancelled").await;
        assert_eq!(
            withdrawn["params"]["requestId"], open["id"],
            "{case}: it is not asked any more"
        );
        let answer = stream.next().await.expect("the answer");
        assert_eq!(answer["error"]["code"], -32603, "{case}");
        let text = answer["error"]["message"].as_str().expect("a text");
        assert!(text.contains("no \"model\" today"), "{case}: {text}");
        assert_eq!(client.respond(&open["id"], json!({ "action": "cancel" })).await, 202);
        assert_eq!(received(&case, &tag).len(), 1, "{case}: it is not sent again");
    }
}

#[tokio::test]
async fn a_cancellation_in_the_middle_ends_everything() {
    let on = json!({
        "tools/call:ask": [demand(json!({ "a": form(), "b": sample() }), None)],
        "tools/call:plain": [{ "usual": true }],
    });
    let stage = stage(on).await;
    for case in legacy(&stage) {
        let client = Legacy::connect_with(&case.url(), "2025-11-25", able()).await;
        let (tag, id) = (tag(&case, ""), json!("give up"));
        let mut stream = client.open_as(&id, "tools/call", params(&case, "ask", &tag)).await;
        let answered = next(&mut stream, "elicitation/create").await;
        let open = next(&mut stream, "sampling/createMessage").await;
        client.respond(&answered["id"], json!({ "action": "accept", "content": {} })).await;
        let status = client.notify("notifications/cancelled", json!({ "requestId": id })).await;
        assert_eq!(status, 202);
        let withdrawn = next(&mut stream, "notifications/cancelled").await;
        assert_eq!(withdrawn["params"]["requestId"], open["id"], "{case}");
        assert!(stream.next().await.is_none(), "{case}: there is no answer");
        assert_eq!(client.respond(&open["id"], json!({ "role": "assistant" })).await, 202);
        client.request("tools/call", json!({ "name": case.name("plain") })).await.result();
        assert_eq!(received(&case, &tag).len(), 1, "{case}: it is not sent again");
    }
}

#[tokio::test]
async fn who_cannot_be_asked_is_not_asked() {
    let on = json!({
        "tools/call:both": [demand(json!({ "a": roots(), "b": sample() }), None)],
        "tools/call:url": [demand(json!({ "a": by_url("https://log.in/") }), None)],
        "tools/call:tools": [demand(json!({ "a": { "method": "sampling/createMessage", "params": { "messages": [], "tools": [] } } }), None)],
        "tools/call:odd": [demand(json!({ "a": { "method": "ping" } }), None)],
        "tools/call:empty": [{ "result": { "resultType": "input_required" } }],
    });
    let stage = stage(on).await;
    let rooted = json!({ "roots": {} });
    let everything = json!({ "sampling": { "tools": {} }, "elicitation": { "url": {} } });
    for case in legacy(&stage) {
        for (tool, revision, declared, shown, why) in [
            ("both", "2025-11-25", &rooted, json!({ "roots": {} }), "cannot be sampled"),
            ("url", "2025-11-25", &rooted, json!({ "roots": {} }), "cannot be sent to a url"),
            // the revision has no such form, whatever the client says
            (
                "url",
                "2025-06-18",
                &everything,
                json!({ "sampling": {}, "elicitation": { "form": {} } }),
                "cannot be sent to a url",
            ),
            (
                "tools",
                "2025-06-18",
                &everything,
                json!({ "sampling": {}, "elicitation": { "form": {} } }),
                "with tools",
            ),
            ("odd", "2025-11-25", &everything, everything.clone(), "clients do not serve"),
            ("empty", "2025-11-25", &everything, everything.clone(), "does not say for which"),
        ] {
            let tag = tag(&case, &format!("{tool} {revision}"));
            let client = Legacy::connect_with(&case.url(), revision, declared.clone()).await;
            let reply = call(&client, &case, tool, &tag).await.finish().await;
            assert_eq!(reply.messages.len(), 1, "{tag}: nothing but the answer");
            assert_eq!(reply.error_code(), -32603, "{tag}");
            let text = reply.error()["message"].as_str().expect("a text").to_owned();
            assert!(text.contains(why) && text.contains(case.kind), "{tag}: {text}");
            let calls = received(&case, &tag);
            assert_eq!(calls.len(), 1, "{tag}");
            assert_eq!(calls[0].1["params"]["_meta"][CAPABILITIES], shown, "{tag}");
        }
    }
}

#[tokio::test]
async fn who_takes_no_stream_cannot_be_asked() {
    let stage = stage(json!({ "tools/call:ask": [demand(json!({ "a": roots() }), None)] })).await;
    for case in legacy(&stage) {
        let client = Legacy::connect_with(&case.url(), "2025-11-25", able()).await;
        let tag = tag(&case, "");
        let session = client.session.as_deref().expect("a session");
        let headers = [
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
            ("Mcp-Session-Id", session),
            ("MCP-Protocol-Version", "2025-11-25"),
        ];
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params(&case, "ask", &tag) });
        let reply =
            clients::open("POST", &case.url(), &headers, &body.to_string()).await.finish().await;
        assert_eq!(reply.error_code(), -32603, "{case}");
        let text = reply.error()["message"].as_str().expect("a text").to_owned();
        assert!(text.contains("takes no event stream"), "{case}: {text}");
        assert_eq!(
            received(&case, &tag)[0].1["params"]["_meta"][CAPABILITIES],
            json!({}),
            "{case}"
        );
    }
}

#[tokio::test]
async fn a_url_that_the_user_has_opened_is_not_shown_again_and_again() {
    let on = json!({
        "tools/call:login": [demand(json!({ "a": by_url("https://log.in/?x=%20") }), Some("1"))],
        "tools/call:login@1": [demand(json!({ "a": by_url("https://log.in/?x=%20") }), Some("2"))],
        "tools/call:login@2": [demand(json!({ "b": by_url("https://log.in/?x=%20") }), Some("3"))],
        "tools/call:login@3": [demand(json!({ "a": by_url("https://log.in/other") }), Some("4"))],
        "tools/call:login@4": [{ "usual": true }],
    });
    let stage = stage(on).await;
    for case in legacy(&stage) {
        let able = json!({ "elicitation": { "url": {} } });
        let client = Legacy::connect_with(&case.url(), "2025-11-25", able).await;
        let tag = tag(&case, "");
        let mut stream = call(&client, &case, "login", &tag).await;
        let question = next(&mut stream, "elicitation/create").await;
        assert_eq!(question["params"]["url"], "https://log.in/?x=%20", "{case}");
        let first_id = question["params"]["elicitationId"].as_str().expect("an id").to_owned();
        client.respond(&question["id"], json!({ "action": "accept" })).await;
        let question = next(&mut stream, "elicitation/create").await;
        assert_eq!(
            question["params"]["url"], "https://log.in/other",
            "{case}: another one is shown"
        );
        assert_ne!(question["params"]["elicitationId"], json!(first_id), "{case}");
        client.respond(&question["id"], json!({ "action": "accept" })).await;
        assert!(stream.next().await.expect("the answer")["result"].is_object(), "{case}");
        let calls = received(&case, &tag);
        let answered: Vec<_> =
            calls.iter().map(|(_, c)| c["params"]["inputResponses"].clone()).collect();
        let (a, b) =
            (json!({ "a": { "action": "accept" } }), json!({ "b": { "action": "accept" } }));
        assert_eq!(answered, [Value::Null, a.clone(), a.clone(), b, a], "{case}");
    }
}

#[tokio::test]
async fn what_a_legacy_client_says_of_a_retry_does_not_get_there() {
    let on = json!({ "tools/call:ask": [demand(json!({ "a": roots() }), Some("theirs"))], "tools/call:ask@theirs": [{ "usual": true }] });
    let stage = stage(on).await;
    for case in legacy(&stage) {
        let client = Legacy::connect_with(&case.url(), "2025-11-25", able()).await;
        let tag = tag(&case, "");
        let mut params = params(&case, "ask", &tag);
        params["requestState"] = "forged".into();
        params["inputResponses"] = json!({ "a": 1 });
        let mut stream = client.open("tools/call", params).await;
        let question = next(&mut stream, "roots/list").await;
        client.respond(&question["id"], json!({ "roots": [] })).await;
        assert!(stream.next().await.expect("the answer")["result"].is_object(), "{case}");
        let calls = received(&case, &tag);
        assert_eq!(calls[0].1["params"].get("requestState"), None, "{case}");
        assert_eq!(calls[0].1["params"].get("inputResponses"), None, "{case}");
        assert_eq!(calls[1].1["params"]["requestState"], "theirs", "{case}");
        assert!(!calls.iter().any(|(text, _)| text.contains("forged")), "{case}");
    }
}

#[tokio::test]
async fn a_missing_capability_is_told_in_the_words_of_the_server() {
    let error = json!({ "code": -32021, "message": "I must sample", "data": { "requiredCapabilities": { "sampling": {} } } });
    let stage = stage(json!({ "tools/call:must": [{ "error": error.clone() }] })).await;
    for case in legacy(&stage) {
        let client = Legacy::connect(&case.url(), "2025-11-25").await;
        let reply = client.request("tools/call", json!({ "name": case.name("must") })).await;
        assert_eq!(*reply.error(), error, "{case}");
    }
}

#[tokio::test]
async fn two_legacy_revisions_understand_each_other_too() {
    let params = |value: &Value| value["params"].clone();
    let on = json!({
        "tools/call:form": [{ "ask": ["elicitation/create", params(&form())] }, { "await": "form" }, { "usual": true }],
        "tools/call:sample": [{ "ask": ["sampling/createMessage", params(&sample())] }, { "await": "sample" }, { "usual": true }],
    });
    for (theirs, ours) in [("2025-11-25", "2025-06-18"), ("2025-06-18", "2025-11-25")] {
        let script = json!({ "tools": ["form", "sample"], "revision": theirs, "on": on });
        let stage = Stage::of(&["sl", "hl"], script).await;
        for case in legacy(&stage) {
            let client = Legacy::connect_with(&case.url(), ours, able()).await;
            let mut stream = call(&client, &case, "form", "").await;
            let question = next(&mut stream, "elicitation/create").await;
            let size = &question["params"]["requestedSchema"]["properties"]["size"];
            assert_eq!(size.get("enum").is_some(), ours == "2025-06-18", "{case}: {question}");
            client.respond(&question["id"], json!({ "action": "cancel" })).await;
            case.upstream.reached("form").await;
            case.upstream.release("form");
            assert!(stream.next().await.expect("the answer")["result"].is_object(), "{case}");
            case.upstream.shut("form");

            let mut stream = call(&client, &case, "sample", "").await;
            let question = next(&mut stream, "sampling/createMessage").await;
            let count = question["params"]["messages"].as_array().map(Vec::len);
            assert_eq!(count, Some(if ours == "2025-06-18" { 2 } else { 1 }), "{case}: {question}");
            let model = format!("model of {case}");
            let text = |text: &str| json!({ "type": "text", "text": text });
            let content = json!([text("a"), text("b")]);
            let result = json!({ "role": "assistant", "content": content, "model": model });
            client.respond(&question["id"], result).await;
            let answered = case.upstream.wait_for(&model).await;
            let answered: Value = serde_json::from_str(&answered).expect("json");
            let expected = if theirs == "2025-06-18" { text("a\nb") } else { content };
            assert_eq!(answered["result"]["content"], expected, "{case}");
            case.upstream.release("sample");
            assert!(stream.next().await.expect("the answer")["result"].is_object(), "{case}");
            case.upstream.shut("sample");
        }
    }
}

#[tokio::test]
async fn a_call_takes_no_longer_in_all_because_the_client_is_asked() {
    let on = json!({ "tools/call:ask": [demand(json!({ "a": form() }), None)] });
    let fake = FakeStdio::new(json!({ "era": "modern", "tools": ["ask"], "on": on }));
    let mut entry = fake.entry();
    entry["timeouts"] = json!({ "totalMs": 1000 });
    let proxy = Proxy::with(json!({ "mcpServers": { "one": entry } })).start().await;
    let client = Legacy::connect_with(&proxy.url("/mcp/one"), "2025-11-25", able()).await;
    let mut stream = client.open("tools/call", json!({ "name": "ask" })).await;
    let question = next(&mut stream, "elicitation/create").await;
    let withdrawn = next(&mut stream, "notifications/cancelled").await;
    assert_eq!(withdrawn["params"]["requestId"], question["id"]);
    let answer = stream.next().await.expect("the answer");
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    assert_eq!(fake.received_of("tools/call").len(), 1);
}
