//! A legacy server asks something in the middle of a call: the modern client gets `input_required`
//! (MCP 2026-07-28 basic/patterns/mrtr), repeats its request with the answer, and the call goes on.

use crate::stage::{Case, Client, Stage};
use crate::support::{Modern, Proxy, Reply};
use serde_json::{Value, json};

fn able() -> Value {
    json!({ "sampling": {}, "elicitation": { "form": {}, "url": {} }, "roots": {} })
}

fn form() -> Value {
    let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] });
    json!({ "message": "Your name?", "requestedSchema": schema, "_meta": { "progressToken": 7 } })
}

fn sampling() -> Value {
    json!({ "messages": [], "maxTokens": 5, "x": 1.5 })
}

fn script() -> Value {
    json!({ "tools": ["form", "both", "rounds", "early", "death", "plain"], "on": {
        "tools/call:form": [{ "ask": ["elicitation/create", form()] }, { "await": "answered" }, { "usual": true }],
        "tools/call:both": [
            { "ask": ["elicitation/create", form()] }, { "ask": ["sampling/createMessage", sampling()] },
            { "await": "answered" }, { "usual": true },
        ],
        "tools/call:rounds": [
            { "ask": ["elicitation/create", form()] }, { "await": "once" },
            { "ask": ["elicitation/create", form()] }, { "await": "twice" }, { "usual": true },
        ],
        "tools/call:early": [
            { "ask": ["elicitation/create", form()] }, { "await": "parked" }, { "progress": 1 },
            { "log": "while parked" }, { "usual": true },
        ],
        "tools/call:death": [{ "ask": ["elicitation/create", form()] }, { "await": "doom" }, { "exit": 3 }],
    }})
}

/// A modern client of the case that can be asked anything.
async fn client(case: &Case<'_>) -> Option<Modern> {
    let Client::Modern(mut client) = case.client().await else { return None };
    client.capabilities = able();
    Some(client)
}

fn accept(name: &str) -> Value {
    json!({ "action": "accept", "content": { "name": name } })
}

/// What the client sends again, with the state of the reply.
fn retry(call: &Value, reply: &Reply, answers: Value) -> Value {
    let mut call = call.clone();
    call["requestState"] = reply.result()["requestState"].clone();
    if !answers.is_null() {
        call["inputResponses"] = answers;
    }
    call
}

fn keys(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.result()["resultType"], "input_required", "{reply:?}");
    let requests = reply.result()["inputRequests"].as_object().expect("requests");
    requests.keys().cloned().collect()
}

fn call(case: &Case<'_>, tool: &str) -> Value {
    json!({ "name": case.name(tool), "arguments": { "b": [1, "é"], "a": 2 } })
}

#[tokio::test]
async fn the_question_ends_the_request_and_the_retry_goes_on_with_the_call() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases() {
        let Some(client) = client(&case).await else { continue };
        let call = call(&case, "form");
        let asked = client.request("tools/call", call.clone()).await;
        assert_eq!(keys(&asked), ["k1_1"], "{case}");
        let entry = &asked.result()["inputRequests"]["k1_1"];
        assert_eq!(entry["method"], "elicitation/create", "{case}");
        let message = entry["params"]["message"].as_str().expect("a message");
        assert!(message.ends_with("Your name?"), "{case}: {message}");
        assert_eq!(message.starts_with('['), case.aggregate, "{case}: who asks is shown on /mcp");
        assert!(entry["params"].get("_meta").is_none(), "{case}: {entry}");
        let name = format!("Ada of {case}");
        let mut again = retry(&call, &asked, json!({ "k1_1": accept(&name), "more": 1 }));
        // written anew, as a client may
        again["arguments"] = serde_json::from_str(r#"{"a":2,"b":[1,"\u00e9"]}"#).expect("json");
        let told = async {
            let told = case.upstream.wait_for(&format!("{name}\"")).await;
            case.upstream.release("answered");
            told
        };
        let (done, told) = tokio::join!(client.request("tools/call", again), told);
        let told: Value = serde_json::from_str(&told).expect("json");
        assert_eq!(told["result"], accept(&name), "{case}");
        assert_eq!(done.result()["content"][0]["text"], "called form", "{case}");
        assert_eq!(done.result()["resultType"], "complete", "{case}");
        case.upstream.shut("answered");
    }
    let calls = stage.upstream("sl").received_of("tools/call").len();
    assert_eq!(calls, 2, "each was called once only");
}

#[tokio::test]
async fn what_was_not_answered_is_asked_again_and_what_was_is_not() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases() {
        let Some(client) = client(&case).await else { continue };
        let call = call(&case, "both");
        let asked = client.request("tools/call", call.clone()).await;
        assert_eq!(keys(&asked), ["k1_1", "k1_2"], "{case}");
        let nothing = client.request("tools/call", retry(&call, &asked, Value::Null)).await;
        assert_eq!(keys(&nothing).len(), 2, "{case}: a retry without answers");
        let of = |reply: &Reply, method: &str| {
            let requests = reply.result()["inputRequests"].as_object().expect("requests").clone();
            let found = requests.into_iter().find(|(_, request)| request["method"] == method);
            found.expect("it is asked").0
        };
        let key = of(&nothing, "elicitation/create");
        let one = json!({ key: accept("Ada") });
        let half = client.request("tools/call", retry(&call, &nothing, one)).await;
        assert_eq!(keys(&half).len(), 1, "{case}");
        let key = of(&half, "sampling/createMessage");
        let sample = json!({ "role": "assistant", "model": format!("m {case}"), "content": { "type": "text", "text": "t" } });
        let told = async {
            case.upstream.wait_for(&format!("m {case}\"")).await;
            case.upstream.release("answered");
        };
        let last = retry(&call, &half, json!({ key: sample }));
        let (done, ()) = tokio::join!(client.request("tools/call", last), told);
        assert_eq!(done.result()["resultType"], "complete", "{case}");
        case.upstream.shut("answered");
    }
}

#[tokio::test]
async fn a_client_is_asked_for_no_more_than_its_present_request_declares() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases() {
        let Some(mut client) = client(&case).await else { continue };
        let call = call(&case, "both");
        let asked = client.request("tools/call", call.clone()).await;
        assert_eq!(keys(&asked).len(), 2, "{case}");
        client.capabilities = json!({ "elicitation": {} });
        let less = client.request("tools/call", retry(&call, &asked, Value::Null)).await;
        assert_eq!(keys(&less).len(), 1, "{case}: {less:?}");
        let requests = less.result()["inputRequests"].as_object().expect("requests");
        let methods: Vec<&Value> = requests.values().map(|request| &request["method"]).collect();
        assert_eq!(methods, ["elicitation/create"], "{case}");
        let name = format!("less of {case}");
        let told = async {
            case.upstream.wait_for(&format!("{name}\"")).await;
            case.upstream.release("answered");
        };
        let answer = json!({ keys(&less)[0].clone(): accept(&name) });
        let last = retry(&call, &less, answer);
        let (done, ()) = tokio::join!(client.request("tools/call", last), told);
        assert_eq!(done.result()["resultType"], "complete", "{case}");
        case.upstream.shut("answered");
    }
}

#[tokio::test]
async fn a_server_may_ask_again_after_an_answer() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases() {
        let Some(client) = client(&case).await else { continue };
        let call = call(&case, "rounds");
        let first = client.request("tools/call", call.clone()).await;
        case.upstream.release("once");
        let answer = |reply: &Reply| json!({ keys(reply)[0].clone(): accept("Ada") });
        let second = client.request("tools/call", retry(&call, &first, answer(&first))).await;
        assert_ne!(second.result()["requestState"], first.result()["requestState"], "{case}");
        case.upstream.release("twice");
        let done = client.request("tools/call", retry(&call, &second, answer(&second))).await;
        assert_eq!(done.result()["resultType"], "complete", "{case}");
        ["once", "twice"].into_iter().for_each(|gate| case.upstream.shut(gate));
    }
}

#[tokio::test]
async fn who_declares_less_with_the_retry_is_not_asked_what_was_declared_before() {
    // what is asked after the retry, and what was asked before it and not answered
    for (tool, next, answers) in
        [("rounds", "twice", json!({ "k1_1": accept("Ada") })), ("form", "answered", Value::Null)]
    {
        let stage = Stage::of(&["sl"], script()).await;
        let cases = stage.cases();
        let case = cases.iter().find(|case| case.era == "legacy" && !case.aggregate);
        let case = case.expect("a case");
        let mut client = Modern::new(&case.url());
        client.capabilities = able();
        let call = json!({ "name": tool });
        let first = client.request("tools/call", call.clone()).await;
        client.capabilities = json!({ "sampling": {} });
        case.upstream.release("once");
        let again = retry(&call, &first, answers);
        let (second, _) = tokio::join!(client.request("tools/call", again), async {
            case.upstream.wait_for("the client cannot fill in forms").await;
            case.upstream.release(next);
        });
        assert_eq!(second.result()["resultType"], "complete", "{tool}: {second:?}");
    }
}

#[tokio::test]
async fn the_end_of_a_parked_call_is_kept_for_the_retry_and_what_comes_before_it_is_not() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases() {
        let Some(mut client) = client(&case).await else { continue };
        client.meta = json!({ "progressToken": "t", "io.modelcontextprotocol/logLevel": "debug" });
        let call = call(&case, "early");
        let asked = client.request("tools/call", call.clone()).await;
        assert_eq!(keys(&asked), ["k1_1"], "{case}");
        case.upstream.release("parked");
        let again = retry(&call, &asked, json!({ "k1_1": accept("Ada") }));
        let done = client.open_as(&json!("another id"), "tools/call", again).await.finish().await;
        assert_eq!(done.response()["id"], "another id", "{case}");
        assert_eq!(done.result()["content"][0]["text"], "called early", "{case}");
        case.upstream.shut("parked");
    }
}

#[tokio::test]
async fn what_the_server_takes_back_is_not_asked_any_more() {
    let back = json!({ "say": {
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "ask-1" },
    }});
    let form = json!({ "ask": ["elicitation/create", form()] });
    let sample = json!({ "ask": ["sampling/createMessage", sampling()] });
    let script = json!({ "tools": ["early", "late"], "on": {
        "tools/call:early": [form, back, sample, { "await": "never" }],
        "tools/call:late": [form, { "await": "parked" }, back, sample, { "await": "never" }],
    }});
    let asked_for = |reply: &Reply| {
        let requests = reply.result()["inputRequests"].as_object().expect("requests");
        requests.values().map(|request| request["method"].clone()).collect::<Vec<_>>()
    };
    for tool in ["early", "late"] {
        let stage = Stage::of(&["sl"], script.clone()).await;
        let mut client = Modern::new(&stage.proxy.url("/mcp/sl"));
        client.capabilities = able();
        let call = json!({ "name": tool });
        let mut asked = client.request("tools/call", call.clone()).await;
        if tool == "late" {
            assert_eq!(asked_for(&asked), ["elicitation/create"]);
            stage.upstream("sl").release("parked");
            stage.upstream("sl").reached("never").await;
            asked = client.request("tools/call", retry(&call, &asked, Value::Null)).await;
        }
        assert_eq!(asked_for(&asked), ["sampling/createMessage"], "{tool}");
    }
}

#[tokio::test]
async fn a_client_that_declared_nothing_is_never_asked() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases() {
        let Client::Modern(client) = case.client().await else { continue };
        let told = async {
            case.upstream.wait_for("the client cannot fill in forms").await;
            case.upstream.release("answered");
        };
        let (done, ()) = tokio::join!(client.request("tools/call", call(&case, "form")), told);
        assert_eq!(done.result()["resultType"], "complete", "{case}");
        case.upstream.shut("answered");
    }
}

#[tokio::test]
async fn a_call_that_was_lost_says_so_to_its_retry() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases().iter().filter(|case| !case.aggregate) {
        let Some(client) = client(case).await else { continue };
        let call = call(case, "death");
        let asked = client.request("tools/call", call.clone()).await;
        case.upstream.release("doom");
        let again = retry(&call, &asked, json!({ "k1_1": accept("Ada") }));
        if case.is_stdio() {
            stage.proxy.logs.wait_for("sl: it closed its output").await;
        }
        let lost = client.request("tools/call", again).await;
        assert_eq!(lost.error_code(), -32603, "{case}");
        if case.is_stdio() {
            let text = lost.error()["message"].as_str().expect("a text");
            assert!(text.ends_with("call again without requestState"), "{text}");
        }
        case.upstream.shut("doom");
    }
}

/// A call that may take little more than a second in all, and what its client was asked.
async fn impatient(script: Value, tool: &str) -> (Proxy, crate::support::FakeStdio, Modern, Reply) {
    let fake = crate::support::FakeStdio::new(script);
    let mut entry = fake.entry();
    entry["timeouts"] = json!({ "totalMs": 1200 });
    let proxy = Proxy::with(json!({ "mcpServers": { "s": entry } })).start().await;
    proxy.logs.wait_for("s: ready").await;
    let mut client = Modern::new(&proxy.url("/mcp/s"));
    client.capabilities = able();
    let asked = client.request("tools/call", json!({ "name": tool })).await;
    (proxy, fake, client, asked)
}

#[tokio::test]
async fn a_client_that_never_comes_back_has_not_answered() {
    let (_proxy, fake, client, asked) = impatient(script(), "both").await;
    assert_eq!(keys(&asked).len(), 2);
    let told = fake.wait_for(r#""action":"cancel""#).await;
    assert!(told.contains("ask-1"), "{told}");
    let told = fake.wait_for("nobody has answered in time").await;
    assert!(told.contains("ask-2"), "{told}");
    fake.wait_for("notifications/cancelled").await;
    let order: Vec<String> = fake.received();
    let at = |part: &str| order.iter().position(|line| line.contains(part));
    assert!(at("cancel\"}") < at("notifications/cancelled"), "{order:?}");
    let call = json!({ "name": "both" });
    let late = client.request("tools/call", retry(&call, &asked, Value::Null)).await;
    assert_eq!(late.error_code(), -32602);
}
