//! A legacy server that asks something on a connection which several clients share does not say
//! whom. Whoever else could be meant, nobody is asked; the server is told so, the operator once;
//! and from then on calls whose clients can be asked have a connection of their own.

use crate::stage::progress;
use crate::support::{FakeHttp, FakeStdio, Incoming, Legacy, Proxy};
use serde_json::{Value, json};

fn form(text: &str) -> Value {
    json!([
        "elicitation/create",
        { "message": text, "requestedSchema": { "type": "object", "properties": {} } },
    ])
}

/// Begins, waits at the gate named for it, asks, waits for the end.
fn asking(name: &str, ask: &str) -> Value {
    json!([
        progress(1, "begun"), { "await": name }, { ask: form(&format!("of {name}")) },
        { "await": format!("{name}-end") }, { "usual": true },
    ])
}

fn script(ask: &str) -> Value {
    json!({ "tools": ["ada", "bob", "plain"], "on": {
        "tools/call:ada": asking("ada", ask),
        "tools/call:bob": asking("bob", ask),
    }})
}

async fn able(proxy: &Proxy) -> Legacy {
    let capabilities = json!({ "elicitation": {}, "sampling": {}, "roots": {} });
    Legacy::connect_with(&proxy.url("/mcp/x"), "2025-11-25", capabilities).await
}

async fn serve(entry: Value) -> Proxy {
    let proxy = Proxy::with(json!({ "mcpServers": { "x": entry } })).start().await;
    proxy.logs.wait_for("x: ready").await;
    proxy
}

/// A call of which the server has said that it has begun.
async fn begin(client: &Legacy, tool: &str) -> Incoming {
    begin_as(client, &json!(tool), tool).await
}

async fn begin_as(client: &Legacy, id: &Value, tool: &str) -> Incoming {
    let params = json!({ "name": tool, "_meta": { "progressToken": tool } });
    let mut stream = client.open_as(id, "tools/call", params).await;
    assert_eq!(stream.next().await.expect("progress")["method"], "notifications/progress");
    stream
}

/// The next message, which must be the question that this call has caused.
async fn asked(stream: &mut Incoming, whose: &str) -> Value {
    let question = stream.next().await.expect("a question");
    assert_eq!(question["params"]["message"], format!("of {whose}"), "{question}");
    question["id"].clone()
}

const WARNING: &str = "so nobody was asked";

#[tokio::test]
async fn two_people_on_one_process_never_see_each_others_questions() {
    let fake = FakeStdio::new(script("ask"));
    let proxy = serve(fake.entry()).await;
    let (ada, bob) = (able(&proxy).await, able(&proxy).await);
    let (first, second) = (begin(&ada, "ada").await, begin(&bob, "bob").await);
    fake.release("ada");
    fake.wait_for("nobody was asked: several calls can have caused this").await;
    fake.release("bob");
    proxy.logs.wait_for(WARNING).await;
    for gate in ["ada-end", "bob-end"] {
        fake.reached(gate).await; // both have asked
    }
    fake.release("ada-end");
    fake.release("bob-end");
    for stream in [first, second] {
        let reply = stream.finish().await;
        assert_eq!(reply.messages.len(), 2, "nothing but progress and the answer: {reply:?}");
        reply.result();
    }
    assert_eq!(fake.starts().len(), 1, "until then all share one process");

    for gate in ["ada", "bob", "ada-end", "bob-end"] {
        fake.shut(gate);
    }
    let (mut first, mut second) = (begin(&ada, "ada").await, begin(&bob, "bob").await);
    fake.release("bob");
    fake.release("ada");
    let ids = [asked(&mut first, "ada").await, asked(&mut second, "bob").await];
    for (client, id, name) in [(&bob, &ids[1], "bob"), (&ada, &ids[0], "ada")] {
        let answer = json!({ "action": "accept", "content": { "name": name } });
        assert_eq!(client.respond(id, answer).await, 202);
        fake.wait_for(&format!(r#""name":"{name}"}}}}"#)).await;
        fake.release(&format!("{name}-end"));
    }
    first.finish().await.result();
    second.finish().await.result();
    assert_eq!(fake.starts().len(), 3, "each had a process of its own");
    assert_eq!(proxy.logs.count(WARNING), 1, "it is said once");
    let told = fake.received_of("initialize");
    assert!(told.iter().all(|t| t["params"]["capabilities"].get("roots").is_none()), "{told:?}");
}

#[tokio::test]
async fn the_standing_stream_of_an_http_server_says_no_more() {
    let fake = FakeHttp::mcp(script("askAside")).await;
    let proxy = serve(fake.entry()).await;
    fake.wait_for("a standing stream", |recorded| recorded.head.method() == "GET").await;
    let (ada, bob) = (able(&proxy).await, able(&proxy).await);
    let mut alone = begin(&ada, "ada").await;
    fake.release("ada");
    let id = asked(&mut alone, "ada").await; // nobody else can be meant
    assert_eq!(ada.respond(&id, json!({ "action": "accept" })).await, 202);
    fake.wait_for("the answer", |r| r.body.contains(r#""action":"accept""#)).await;
    let second = begin(&bob, "bob").await;
    fake.release("bob");
    let declined = "several calls can have caused this";
    fake.wait_for("the refusal", |recorded| recorded.body.contains(declined)).await;
    proxy.logs.wait_for(WARNING).await;
    fake.release("ada-end");
    fake.release("bob-end");
    assert_eq!(alone.finish().await.messages.len(), 3);
    assert_eq!(second.finish().await.messages.len(), 2);

    for gate in ["ada", "bob", "ada-end", "bob-end"] {
        fake.shut(gate);
    }
    let (mut first, mut second) = (begin(&ada, "ada").await, begin(&bob, "bob").await);
    fake.release("bob");
    fake.release("ada");
    asked(&mut first, "ada").await;
    asked(&mut second, "bob").await;
    assert_eq!(fake.received_of("initialize").len(), 3, "each had a session of its own");
}

#[tokio::test]
async fn the_stream_of_a_call_says_it_all() {
    let fake = FakeHttp::mcp(script("ask")).await;
    let proxy = serve(fake.entry()).await;
    let (ada, bob) = (able(&proxy).await, able(&proxy).await);
    let (mut first, mut second) = (begin(&ada, "ada").await, begin(&bob, "bob").await);
    fake.release("bob");
    fake.release("ada");
    asked(&mut first, "ada").await;
    asked(&mut second, "bob").await;
    assert_eq!(fake.received_of("initialize").len(), 1, "one session is enough for all");
    assert_eq!(proxy.logs.count(WARNING), 0);
}

#[tokio::test]
async fn a_call_that_was_given_up_may_still_ask_and_nobody_answers_for_it() {
    let mut script = script("ask");
    let steps = script["on"]["tools/call:ada"].as_array_mut().expect("steps");
    steps.push(json!({ "await": "ada-answered" }));
    let fake = FakeStdio::new(script);
    let proxy = serve(fake.entry()).await;
    let (ada, bob) = (able(&proxy).await, able(&proxy).await);
    let given_up = begin(&ada, "ada").await;
    ada.notify("notifications/cancelled", json!({ "requestId": "ada" })).await;
    fake.wait_for("notifications/cancelled").await;
    drop(given_up);
    let mut bobs = begin(&bob, "bob").await;
    fake.release("ada"); // the server has not stopped, and asks
    fake.wait_for("nobody was asked: several calls can have caused this").await;
    fake.release("ada-end"); // and answers: from here on only one can be meant
    fake.reached("ada-answered").await;
    fake.release("bob");
    asked(&mut bobs, "bob").await;
}

#[tokio::test]
async fn who_cannot_be_asked_stays_on_the_connection_that_all_share() {
    let fake = FakeStdio::new(script("ask"));
    let proxy = serve(fake.entry()).await;
    let (ada, bob) = (able(&proxy).await, able(&proxy).await);
    let both = (begin(&ada, "ada").await, begin(&bob, "bob").await);
    fake.release("ada");
    proxy.logs.wait_for(WARNING).await;
    let mute = Legacy::connect(&proxy.url("/mcp/x"), "2025-11-25").await;
    mute.request("tools/call", json!({ "name": "plain" })).await.result();
    assert_eq!(fake.starts().len(), 1);
    ada.request("tools/call", json!({ "name": "plain" })).await.result();
    assert_eq!(fake.starts().len(), 2);
    drop(both);
}

#[tokio::test]
async fn a_question_that_is_taken_back_is_taken_back_from_whom_it_was_put_to() {
    let back = json!({ "notify": ["notifications/cancelled", { "requestId": "ask-1" }] });
    let steps = |ask: &str| json!([{ ask: form("now") }, { "await": "regret" }, back, { "await": "end" }, { "usual": true }]);
    let script = |ask| json!({ "tools": ["x"], "on": { "tools/call:x": steps(ask) } });
    let (stdio, http) = (FakeStdio::new(script("ask")), FakeHttp::mcp(script("ask")).await);
    let aside = FakeHttp::mcp(script("askAside")).await;
    let entries = json!({ "stdio": stdio.entry(), "http": http.entry(), "aside": aside.entry() });
    let proxy = Proxy::with(json!({ "mcpServers": entries })).start().await;
    for name in ["stdio", "http", "aside"] {
        proxy.logs.wait_for(&format!("{name}: ready")).await;
    }
    aside.wait_for("a standing stream", |recorded| recorded.head.method() == "GET").await;
    for name in ["stdio", "http", "aside"] {
        let url = proxy.url(&format!("/mcp/{name}"));
        let client = Legacy::connect_with(&url, "2025-11-25", json!({ "elicitation": {} })).await;
        let mut stream = client.open("tools/call", json!({ "name": "x" })).await;
        let question = stream.next().await.expect("a question");
        match name {
            "stdio" => stdio.release("regret"),
            "http" => http.release("regret"),
            _ => aside.release("regret"),
        }
        let taken_back = stream.next().await.expect("a cancellation");
        assert_eq!(taken_back["method"], "notifications/cancelled", "{name}");
        assert_eq!(taken_back["params"]["requestId"], question["id"], "{name}");
    }
}

const RELATED: &str = "io.modelcontextprotocol/related-task";

/// A tool that goes on as a task, and asks something because of it when it is let.
fn tasks() -> Value {
    let mut of_task = form("of the task");
    of_task[1]["_meta"] = json!({ RELATED: { "taskId": "t-1" } });
    let ask = json!({ "ask": of_task });
    let later = ask.clone();
    let task = json!({ "taskId": "t-1", "status": "working", "ttl": 60000 });
    let mut script = script("ask");
    script["capabilities"] =
        json!({ "tools": {}, "tasks": { "requests": { "tools": { "call": {} } } } });
    script["tools"] = json!(["ada", "bob", "plain", "job"]);
    script["on"]["tools/call:job"] =
        json!([{ "result": { "task": task } }, { "await": "early" }, later]);
    script["on"]["tasks/result:t-1"] = json!([ask, { "await": "told" }, { "usual": true }]);
    script
}

#[tokio::test]
async fn what_a_task_asks_is_asked_of_its_owner_alone() {
    let fake = FakeStdio::new(tasks());
    let proxy = serve(fake.entry()).await;
    let (ada, bob) = (able(&proxy).await, able(&proxy).await);
    let job = json!({ "name": "job", "task": { "ttl": 60000 } });
    let created = ada.request("tools/call", job).await;
    let id = created.result()["task"]["taskId"].clone();
    let bobs = begin(&bob, "bob").await;
    fake.release("early"); // nobody but bob has a call under way, and it does not concern him
    fake.wait_for("no call about its task is under way").await;
    // now there are two calls, and it is clear which one is meant
    let mut result = ada.open("tasks/result", json!({ "taskId": id })).await;
    asked(&mut result, "the task").await;
    assert_eq!(proxy.logs.count(WARNING), 0);
    drop(bobs);
}
