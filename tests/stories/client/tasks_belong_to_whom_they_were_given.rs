//! A call that becomes a task gives its client an id of ours, which is good for that client alone:
//! in the modern era the extension, bound to a principal and an endpoint, in 2025-11-25 bound to the
//! session. Whoever cannot have tasks never sees one.

use crate::stage::{Case, Client, Stage};
use crate::support::{FakeHttp, FakeStdio, Legacy, Modern, Proxy, Reply, process};
use rustix::process::Signal;
use serde_json::{Value, json};

const EXTENSION: &str = "io.modelcontextprotocol/tasks";
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// An upstream's own ids are as bad as can be: all alike.
const THEIRS: &str = "t-1";

fn extension() -> Value {
    json!({ "extensions": { EXTENSION: {} } })
}

fn modern_script() -> Value {
    let link = json!({ "type": "resource_link", "uri": "a:b", "name": "n" });
    let question = json!({ "method": "elicitation/create", "params": { "message": "Who?" } });
    json!({
        "capabilities": { "tools": {}, "resources": {}, "extensions": { EXTENSION: {}, "x/y": {} } },
        "tools": ["job", "plain"],
        "on": {
            "tools/call:job": [{ "result": { "resultType": "task", "taskId": THEIRS, "status": "working", "ttlMs": 60000 } }],
            "tasks/get:t-1": [{ "result": {
                "taskId": THEIRS, "status": "completed", "ttlMs": null,
                "inputRequests": { "q": question },
                "result": { "content": [link], "structuredContent": { "taskId": THEIRS } },
            } }],
            "tasks/update:t-1": [{ "result": {} }],
            "tasks/cancel:t-1": [{ "result": {} }],
        },
    })
}

fn able(url: &str) -> Modern {
    let mut client = Modern::new(url);
    client.capabilities = extension();
    client
}

async fn about(client: &Modern, method: &str, id: &str) -> Reply {
    client.request(method, json!({ "taskId": id })).await
}

fn count(case: &Case<'_>) -> usize {
    case.upstream.received().iter().filter(|text| text.contains("\"tasks/")).count()
}

#[tokio::test]
async fn tasks_of_the_extension_are_bound_to_their_owner() {
    let stage = Stage::of(&["sm", "hm"], modern_script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "modern") {
        let client = able(&case.url());
        let created = client.request("tools/call", json!({ "name": case.name("job") })).await;
        assert_eq!(created.result()["resultType"], "task", "{case}");
        let id = created.result()["taskId"].as_str().expect("an id").to_owned();
        assert!(id.len() >= 32 && !id.contains(THEIRS), "{case}: {id}");

        let got = about(&client, "tasks/get", &id).await;
        // the user must see who asks (MCP 2026-07-28 client/elicitation)
        let message = if case.aggregate { format!("[{}] Who?", case.kind) } else { "Who?".into() };
        let expected = json!({
            "resultType": "complete", "taskId": id, "status": "completed", "ttlMs": null,
            "inputRequests": { "q": { "method": "elicitation/create", "params": { "message": message } } },
            "result": {
                "content": [{ "type": "resource_link", "uri": case.uri("a:b"), "name": "n" }],
                "structuredContent": { "taskId": THEIRS },
            },
        });
        assert_eq!(*got.result(), expected, "{case}");
        let answers = json!({ "q": { "action": "accept", "content": { "n": case.to_string() } } });
        let update = json!({ "taskId": id, "inputResponses": answers });
        let updated = client.request("tasks/update", update).await;
        assert_eq!(*updated.result(), json!({ "resultType": "complete" }), "{case}");
        assert_eq!(about(&client, "tasks/cancel", &id).await.status, 200, "{case}");
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            let sent = case.upstream.received_of(method);
            let sent = sent.last().expect("a request");
            assert_eq!(sent["params"]["taskId"], THEIRS, "{case}");
        }
        let sent = case.upstream.received_of("tasks/update");
        assert_eq!(sent.last().expect("one")["params"]["inputResponses"], answers, "{case}");

        let before = count(case);
        let elsewhere = if case.aggregate { format!("/mcp/{}", case.kind) } else { "/mcp".into() };
        let elsewhere = able(&stage.proxy.url(&elsewhere));
        let mut tampered = id.clone();
        let last = if tampered.pop() == Some('0') { '1' } else { '0' };
        tampered.push(last);
        for (who, id) in [(&client, tampered.as_str()), (&client, THEIRS), (&elsewhere, &id)] {
            for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
                assert_eq!(about(who, method, id).await.error_code(), -32602, "{case}: {id}");
            }
        }
        let nameless = client.request("tasks/get", json!({ "name": "x" })).await;
        assert_eq!(nameless.error_code(), -32602, "{case}");
        let removed = about(&client, "tasks/result", &id).await;
        assert_eq!((removed.status, removed.error_code()), (404, -32601), "{case}");
        let session = Legacy::connect(&case.url(), "2025-11-25").await;
        let legacy = session.request("tasks/get", json!({ "taskId": id })).await;
        assert_eq!(legacy.error_code(), -32601, "{case}: no tasks of its kind");
        assert_eq!(count(case), before, "{case}: none of it reached the upstream");
    }
}

#[tokio::test]
async fn the_name_of_a_task_stands_in_the_header_on_both_sides() {
    let fake = FakeHttp::mcp({
        let mut script = modern_script();
        script["era"] = "modern".into();
        script
    })
    .await;
    let proxy = Proxy::with(json!({ "mcpServers": { "hm": fake.entry() } })).start().await;
    proxy.logs.wait_for("hm: ready").await;
    let client = able(&proxy.url("/mcp/hm"));
    let created = client.request("tools/call", json!({ "name": "job" })).await;
    let id = created.result()["taskId"].clone();
    // the client's header is that of another member, so it differs from the id
    let wrong = client.request("tasks/get", json!({ "taskId": id, "name": "other" })).await;
    assert_eq!((wrong.status, wrong.error_code()), (400, -32020));
    client.request("tasks/get", json!({ "taskId": id })).await.result();
    let sent = fake.recorded().into_iter().rfind(|r| r.body.contains("tasks/get"));
    let sent = sent.expect("it was sent");
    assert_eq!(sent.head.header("mcp-name"), Some(THEIRS));
    assert_eq!(sent.head.header("mcp-method"), Some("tasks/get"));
}

#[tokio::test]
async fn who_has_not_declared_the_extension_gets_no_task_and_reaches_none() {
    let stage = Stage::of(&["sm", "hm"], modern_script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "modern") {
        let job = json!({ "name": case.name("job") });
        let client = able(&case.url());
        let created = client.request("tools/call", job.clone()).await;
        let id = created.result()["taskId"].as_str().expect("an id").to_owned();
        let unable = Modern::new(&case.url());
        let before = count(case);
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            for id in [id.as_str(), THEIRS] {
                let refused = about(&unable, method, id).await;
                assert_eq!((refused.status, refused.error_code()), (400, -32021), "{case}");
                let required = &refused.error()["data"]["requiredCapabilities"];
                assert_eq!(*required, extension(), "{case}");
            }
        }
        assert_eq!(count(case), before, "{case}");
        let listen = json!({ "notifications": { "taskIds": [id] } });
        let refused = unable.request("subscriptions/listen", listen).await;
        assert_eq!(refused.error_code(), -32021, "{case}");
        let undeclared = unable.request("tools/call", job.clone()).await;
        assert_eq!(undeclared.error_code(), -32603, "{case}: a task it has not asked for");
        let session = Legacy::connect(&case.url(), "2025-11-25").await;
        let wish = json!({ "name": case.name("job"), "task": { "ttl": 1 } });
        assert_eq!(session.request("tools/call", wish).await.error_code(), -32603, "{case}");
        let sent = case.upstream.received_of("tools/call");
        let sent = &sent.last().expect("a call")["params"];
        assert!(sent.get("task").is_none(), "{case}: a wish of the other kind");
        let declared = &sent["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        assert!(declared.get("extensions").is_none(), "{case}: {declared}");

        let discovered = client.request("server/discover", json!({})).await;
        let mut extensions = extension()["extensions"].clone();
        if !case.aggregate {
            extensions["x/y"] = json!({}); // the other one that the upstream has
        }
        assert_eq!(discovered.result()["capabilities"]["extensions"], extensions, "{case}");
        assert!(discovered.result()["capabilities"].get("tasks").is_none());
        assert!(session.initialized["capabilities"].get("extensions").is_none(), "{case}");
        assert!(session.initialized["capabilities"].get("tasks").is_none(), "{case}");
        let stream = client.listen(json!({ "taskIds": [id], "toolsListChanged": true }));
        drop(stream.await); // it is acknowledged
    }
}

/// A process for each call takes its tasks along: such an upstream is not asked for any.
#[tokio::test]
async fn an_upstream_that_ends_with_each_call_makes_no_tasks() {
    let mut script = modern_script();
    script["era"] = "modern".into();
    let fake = FakeStdio::new(script);
    let mut entry = fake.entry();
    entry["isolation"] = "call".into();
    let proxy = Proxy::with(json!({ "mcpServers": { "s": entry } })).start().await;
    proxy.logs.wait_for("s: ready").await;
    let mut client = able(&proxy.url("/mcp/s"));
    client.capabilities["extensions"]["x/y"] = json!({ "n": 1.0 });
    let discovered = client.request("server/discover", json!({})).await;
    let extensions = &discovered.result()["capabilities"]["extensions"];
    assert_eq!(*extensions, json!({ "x/y": {} }), "none are promised");
    client.request("tools/call", json!({ "name": "plain" })).await.result();
    let call = fake.received_of("tools/call").pop().expect("a call");
    let declared = &call["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(*declared, json!({ "extensions": { "x/y": { "n": 1.0 } } }));
}

#[tokio::test]
async fn a_task_that_is_not_there_any_more_is_nobody_elses() {
    let mut script = modern_script();
    script["era"] = "modern".into();
    let fake = FakeStdio::new(script);
    let proxy = Proxy::with(json!({ "mcpServers": { "s": fake.entry() } })).start().await;
    proxy.logs.wait_for("s: ready").await;
    let (one, two) = (able(&proxy.url("/mcp/s")), able(&proxy.url("/mcp")));
    let created = one.request("tools/call", json!({ "name": "job" })).await;
    let first = created.result()["taskId"].as_str().expect("an id").to_owned();
    process::signal(fake.started(1).await, Signal::KILL);
    fake.started(2).await;
    // tasks may outlive their process: it is for the upstream to say
    about(&one, "tasks/get", &first).await.result();
    let created = two.request("tools/call", json!({ "name": "s__job" })).await;
    let second = created.result()["taskId"].as_str().expect("an id").to_owned();
    // the same id of the upstream is now that of another task
    assert_eq!(about(&one, "tasks/get", &first).await.error_code(), -32602);
    about(&two, "tasks/get", &second).await.result();
}

fn core_script() -> Value {
    let related = json!({ RELATED: { "taskId": THEIRS } });
    let form = json!({ "message": "Who?", "requestedSchema": { "type": "object", "properties": {} }, "_meta": related });
    let content = json!([{ "type": "resource_link", "uri": "a:b", "name": "n" }]);
    let news = json!({ "taskId": THEIRS, "status": "input_required", "ttl": 60000 });
    json!({
        "capabilities": { "tools": {}, "tasks": { "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } } },
        "tools": ["job", "plain"],
        "on": {
            "tools/call:job": [{ "result": { "task": { "taskId": THEIRS, "status": "working", "ttl": 60000 } } }],
            "tasks/get:t-1": [
                { "notify": ["notifications/tasks/status", news] },
                { "result": { "taskId": THEIRS, "status": "working", "ttl": 60000 } },
            ],
            "tasks/result:t-1": [
                { "ask": ["elicitation/create", form] }, { "await": "answered" },
                { "result": { "content": content, "_meta": related } },
            ],
            "tasks/cancel:t-1": [{ "result": { "taskId": THEIRS, "status": "cancelled" } }],
        },
    })
}

async fn session(case: &Case<'_>) -> Legacy {
    Legacy::connect_with(&case.url(), "2025-11-25", json!({ "elicitation": {} })).await
}

async fn job(client: &Legacy, case: &Case<'_>) -> String {
    let wish = json!({ "name": case.name("job"), "task": { "ttl": 60000 } });
    let created = client.request("tools/call", wish).await;
    let id = created.result()["task"]["taskId"].as_str().expect("an id").to_owned();
    assert!(id.len() >= 32 && !id.contains(THEIRS), "{case}: {id}");
    id
}

#[tokio::test]
async fn tasks_of_the_core_are_bound_to_their_session() {
    let stage = Stage::of(&["sl", "hl"], core_script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        let client = session(case).await;
        let tasks = json!({ "cancel": {}, "requests": { "tools": { "call": {} } } });
        assert_eq!(client.initialized["capabilities"]["tasks"], tasks, "{case}: no list");
        let id = job(&client, case).await;
        let sent = case.upstream.received_of("tools/call");
        assert_eq!(sent.last().expect("one")["params"]["task"], json!({ "ttl": 60000 }), "{case}");

        let mut news = client.get_stream().await;
        let got = client.request("tasks/get", json!({ "taskId": id })).await;
        assert_eq!(got.messages.len(), 1, "{case}");
        let expected = json!({ "taskId": id, "status": "working", "ttl": 60000 });
        assert_eq!(*got.result(), expected, "{case}");
        let told = news.next().await.expect("news");
        assert_eq!(told["method"], "notifications/tasks/status", "{case}");
        let expected = json!({ "taskId": id, "status": "input_required", "ttl": 60000 });
        assert_eq!(told["params"], expected, "{case}");

        result_of(case, &client, &id).await;
        let cancelled = client.request("tasks/cancel", json!({ "taskId": id })).await;
        assert_eq!(*cancelled.result(), json!({ "taskId": id, "status": "cancelled" }), "{case}");

        let before = count(case);
        let other = session(case).await;
        for (who, id) in [(&other, id.as_str()), (&client, THEIRS), (&client, &id[1..])] {
            for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
                let refused = who.request(method, json!({ "taskId": id })).await;
                assert_eq!(refused.error_code(), -32602, "{case}: {id}");
            }
        }
        let listed = client.request("tasks/list", json!({})).await;
        assert_eq!(listed.error_code(), -32601, "{case}: an upstream would list everybody's");
        let modern = able(&case.url());
        assert_eq!(about(&modern, "tasks/get", &id).await.error_code(), -32601, "{case}");
        assert_eq!(count(case), before, "{case}: none of it reached the upstream");
    }
}

/// The result waits for the task, which asks something on the way.
async fn result_of(case: &Case<'_>, client: &Legacy, id: &str) {
    let mut stream = client.open("tasks/result", json!({ "taskId": id })).await;
    let question = stream.next().await.expect("a question");
    assert_eq!(question["method"], "elicitation/create", "{case}");
    assert_eq!(question["params"]["_meta"][RELATED]["taskId"], *id, "{case}");
    let name = format!("Ada {case}");
    let related = |id: &str| json!({ RELATED: { "taskId": id } });
    let answer =
        |id| json!({ "action": "accept", "content": { "name": name }, "_meta": related(id) });
    assert_eq!(client.respond(&question["id"], answer(id)).await, 202);
    let answered = case.upstream.wait_for(&format!("{name}\"")).await;
    let answered: Value = serde_json::from_str(&answered).expect("json");
    assert_eq!(answered["result"], answer(THEIRS), "{case}");
    case.upstream.release("answered");
    let result = stream.next().await.expect("the result");
    let content = json!([{ "type": "resource_link", "uri": case.uri("a:b"), "name": "n" }]);
    assert_eq!(result["result"], json!({ "content": content, "_meta": related(id) }), "{case}");
    case.upstream.shut("answered");
}

#[tokio::test]
async fn the_wish_for_a_task_goes_no_further_than_it_can_be_granted() {
    let stage = Stage::of(&["sl", "hl"], core_script()).await;
    for case in stage.cases() {
        let params = json!({ "name": case.name("plain"), "task": { "ttl": 1 }, "arguments": {} });
        let client = match case.era {
            "modern" => Client::Modern(able(&case.url())),
            _ => Client::Legacy(Legacy::connect(&case.url(), "2025-06-18").await),
        };
        if let Client::Legacy(client) = &client {
            assert!(client.initialized["capabilities"].get("tasks").is_none(), "{case}");
        }
        client.request("tools/call", params).await.result();
        let sent = case.upstream.received_of("tools/call");
        let expected = json!({ "name": "plain", "arguments": {} });
        assert_eq!(sent.last().expect("a call")["params"], expected, "{case}");
    }
    let mut script = core_script();
    script["capabilities"] = json!({ "tools": {} });
    let stage = Stage::of(&["sl", "hl"], script).await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        let client = session(case).await;
        assert!(client.initialized["capabilities"].get("tasks").is_none(), "{case}");
        let params = json!({ "name": case.name("plain"), "task": {} });
        client.request("tools/call", params).await.result();
        let sent = case.upstream.received_of("tools/call");
        assert_eq!(sent.last().expect("a call")["params"], json!({ "name": "plain" }), "{case}");
        let unknown = client.request("tasks/get", json!({ "taskId": THEIRS })).await;
        assert_eq!(unknown.error_code(), -32601, "{case}");
    }
}

/// Progress of the task, under the token that its call had, by `step`; then news of the task.
fn tick(step: &str, value: u32, status: &str) -> Value {
    let params = json!({ "progressToken": "$last", "progress": value });
    let said = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params });
    let news = json!({ "taskId": THEIRS, "status": status, "ttl": 60000 });
    json!([{ step: said }, { "notify": ["notifications/tasks/status", news] }, { "usual": true }])
}

#[tokio::test]
async fn progress_of_a_task_goes_on_under_the_token_of_its_call_until_it_is_over() {
    let mut script = core_script();
    script["tools"] = json!(["job", "one", "two", "over", "change"]);
    script["on"]["tools/call:one"] = tick("say", 1, "working");
    script["on"]["tools/call:two"] = tick("sayAside", 2, "working");
    script["on"]["tools/call:over"] = tick("say", 3, "working");
    script["on"]["tools/call:change"] =
        json!([{ "notify": ["notifications/tools/list_changed", {}] }, { "usual": true }]);
    let stage = Stage::of(&["sl", "hl"], script).await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        let (client, other) = (session(case).await, session(case).await);
        let (mut news, mut others) = (client.get_stream().await, other.get_stream().await);
        let token = format!("tok {case}");
        let name = case.name("job");
        let wish = json!({ "name": name, "task": {}, "_meta": { "progressToken": token } });
        let created = client.request("tools/call", wish).await;
        let id = created.result()["task"]["taskId"].clone();
        let call = async |tool| {
            other.request("tools/call", json!({ "name": case.name(tool) })).await.result();
        };
        for (tool, value) in [("one", 1), ("two", 2)] {
            call(tool).await; // whoever makes the server say it
            let mut told = [news.next().await.expect("news"), news.next().await.expect("news")];
            told.sort_by_key(|message| message["method"].to_string());
            let expected = json!({ "progressToken": token, "progress": value });
            assert_eq!(told[0]["params"], expected, "{case}");
            assert_eq!(told[1]["params"]["taskId"], id, "{case}");
        }
        let cancelled = client.request("tasks/cancel", json!({ "taskId": id })).await;
        assert_eq!(cancelled.result()["status"], "cancelled", "{case}");
        call("over").await;
        let told = news.next().await.expect("news");
        assert_eq!(told["method"], "notifications/tasks/status", "{case}: no progress any more");
        call("change").await;
        for stream in [&mut news, &mut others] {
            let next = stream.next().await.expect("a notification");
            assert_eq!(next["method"], "notifications/tools/list_changed", "{case}");
        }
    }
}
