//! Connections that calls have for themselves are few, are used again where nobody can meet what
//! another left behind, end when nobody needs them, and leave nothing behind.

use crate::stage::progress;
use crate::support::{FakeStdio, Incoming, Legacy, Modern, Proxy, process};
use serde_json::{Value, json};

/// A tool that answers with the number of the process that serves it.
fn pid() -> Value {
    let answer =
        r#"{"jsonrpc":"2.0","id":$id,"result":{"content":[{"type":"text","text":"$pid"}]}}"#;
    json!({ "line": answer })
}

fn script() -> Value {
    let form = json!({ "message": "?", "requestedSchema": { "type": "object", "properties": {} } });
    json!({ "tools": ["pid", "slow", "ask", "die", "hang", "form"], "on": {
        "tools/call:form": [{ "ask": ["elicitation/create", form] }, { "await": "filled" }, pid()],
        "tools/call:pid": [pid()],
        "tools/call:slow": [progress(1, "begun"), { "await": "slow" }, pid()],
        "tools/call:ask": [progress(1, "begun"), { "await": "ask" }, { "ask": ["elicitation/create", form] }, pid()],
        "tools/call:die": [progress(1, "begun"), { "await": "die" }, { "exit": 3 }],
        "tools/call:hang": [progress(1, "begun"), { "await": "never" }, pid()],
    }})
}

struct Stage {
    fake: FakeStdio,
    proxy: Proxy,
}

impl Stage {
    /// With these members of the entry.
    async fn with(settings: Value) -> Stage {
        Stage::of(script(), settings).await
    }

    async fn of(script: Value, settings: Value) -> Stage {
        let fake = FakeStdio::new(script);
        let mut entry = fake.entry();
        for (name, value) in settings.as_object().expect("members") {
            entry[name] = value.clone();
        }
        let proxy = Proxy::with(
            json!({ "gateway": { "timeouts": { "drainMs": 300 } }, "mcpServers": { "x": entry } }),
        )
        .start()
        .await;
        proxy.logs.wait_for("x: ready").await;
        Stage { fake, proxy }
    }

    fn url(&self) -> String {
        self.proxy.url("/mcp/x")
    }

    /// A client that can be asked.
    async fn able(&self) -> Legacy {
        let capabilities = json!({ "elicitation": {}, "roots": {} });
        Legacy::connect_with(&self.url(), "2025-11-25", capabilities).await
    }

    /// The server has asked what nobody could be asked.
    async fn exclusive(settings: Value) -> Stage {
        Stage::made_exclusive(Stage::with(settings).await).await
    }

    async fn made_exclusive(stage: Stage) -> Stage {
        let (ada, bob) = (stage.able().await, stage.able().await);
        let calls = [begin(&ada, "ask").await, begin(&bob, "slow").await];
        stage.fake.release("ask");
        stage.proxy.logs.wait_for("so nobody was asked").await;
        stage.fake.release("slow");
        for call in calls {
            call.finish().await.result();
        }
        stage.fake.shut("slow");
        stage
    }

    fn main(&self) -> u32 {
        self.fake.starts()[0]
    }
}

/// A call of which the server has said that it has begun.
async fn begin(client: &Legacy, tool: &str) -> Incoming {
    let params = json!({ "name": tool, "_meta": { "progressToken": tool } });
    let mut stream = client.open_as(&json!(tool), "tools/call", params).await;
    assert_eq!(stream.next().await.expect("progress")["method"], "notifications/progress");
    stream
}

/// The process that an answer came from.
fn of(reply: &crate::support::Reply) -> u32 {
    let text = reply.result()["content"][0]["text"].as_str().expect("a text");
    text.parse().expect("a number")
}

async fn ask_pid(client: &Legacy) -> u32 {
    of(&client.request("tools/call", json!({ "name": "pid" })).await)
}

#[tokio::test]
async fn one_after_the_other_uses_the_same_lane() {
    let stage = Stage::exclusive(json!({})).await;
    let (ada, bob) = (stage.able().await, stage.able().await);
    let lane = ask_pid(&ada).await;
    assert_ne!(lane, stage.main());
    assert_eq!([ask_pid(&bob).await, ask_pid(&ada).await], [lane, lane]);
    let busy = begin(&ada, "slow").await;
    let other = ask_pid(&bob).await;
    assert!(other != lane && other != stage.main(), "one call at a time on a lane");
    stage.fake.release("slow");
    assert_eq!(of(&busy.finish().await), lane);
    assert_eq!(stage.fake.starts().len(), 3);
    assert_eq!(stage.fake.received_of("tools/list").len(), 1, "lanes read no lists");
}

#[tokio::test]
async fn after_a_call_that_was_given_up_nobody_comes() {
    let stage = Stage::exclusive(json!({})).await;
    let (ada, bob) = (stage.able().await, stage.able().await);
    let lane = ask_pid(&ada).await;
    let given_up = begin(&ada, "hang").await;
    ada.notify("notifications/cancelled", json!({ "requestId": "hang" })).await;
    assert_eq!(given_up.finish().await.messages.len(), 1, "no answer");
    process::ends(lane).await;
    let next = ask_pid(&bob).await;
    assert!(next != lane && next != stage.main());
    assert!(stage.fake.received_of("notifications/cancelled").len() == 1, "it was told first");
}

#[tokio::test]
async fn a_lane_that_dies_fails_its_call_and_no_other() {
    let stage = Stage::exclusive(json!({})).await;
    let (ada, bob) = (stage.able().await, stage.able().await);
    let (dying, other) = (begin(&ada, "die").await, begin(&bob, "slow").await);
    let mute = Legacy::connect(&stage.url(), "2025-11-25").await;
    let shared = begin(&mute, "slow").await;
    stage.fake.release("die");
    let reply = dying.finish().await;
    let error = reply.error()["message"].as_str().expect("a text");
    assert!(error.contains("the connection ended before the answer"), "{error}");
    stage.proxy.logs.wait_for("a further connection ended").await;
    stage.fake.release("slow");
    assert_ne!(of(&other.finish().await), stage.main());
    assert_eq!(of(&shared.finish().await), stage.main(), "the shared one does not notice");
    assert_eq!(stage.proxy.logs.count("x: ready"), 1);
    ask_pid(&ada).await;
}

#[tokio::test]
async fn who_is_not_needed_is_ended() {
    let stage = Stage::exclusive(json!({ "lanes": { "idleMs": 100 } })).await;
    let lane = ask_pid(&stage.able().await).await;
    process::ends(lane).await;
    assert_eq!(stage.fake.ended(), ["eof"], "in order: by the end of its input");
    assert_eq!(stage.proxy.logs.count("warn"), 2, "that is no news: {}", stage.proxy.logs.text());
    let mute = Legacy::connect(&stage.url(), "2025-11-25").await;
    assert_eq!(ask_pid(&mute).await, stage.main());
}

#[tokio::test]
async fn there_are_never_more_than_the_entry_allows() {
    let settings = json!({ "lanes": { "max": 1 }, "timeouts": { "startMs": 1500 } });
    let stage = Stage::exclusive(settings).await;
    let (ada, bob) = (stage.able().await, stage.able().await);
    let first = begin(&ada, "slow").await;
    let (waited, late) = (stage.able().await, stage.able().await);
    let waiting = async {
        let reply = bob.request("tools/call", json!({ "name": "pid" })).await;
        reply.error()["message"].as_str().expect("a text").to_owned()
    };
    let error = waiting.await;
    assert!(error.contains("all of its lanes are in use"), "{error}");
    let (second, third, first) = tokio::join!(ask_pid(&waited), ask_pid(&late), async {
        stage.fake.release("slow");
        of(&first.finish().await)
    });
    assert_eq!([second, third], [first, first], "who waits is served in turn");
    assert_eq!(stage.fake.starts().len(), 2);
}

#[tokio::test]
async fn a_process_for_each_call() {
    let stage = Stage::with(json!({ "isolation": "call" })).await;
    let (ada, mute) = (stage.able().await, Modern::new(&stage.url()));
    let first = ask_pid(&ada).await;
    process::ends(first).await;
    let second = of(&mute.request("tools/call", json!({ "name": "pid" })).await);
    process::ends(second).await;
    let third = ask_pid(&ada).await;
    let different = [stage.main(), first, second, third].into_iter();
    assert_eq!(different.collect::<std::collections::BTreeSet<_>>().len(), 4);
}

/// The same with tasks of 2025-11-25, which say the number of the process that has them.
fn with_tasks() -> Value {
    let mut script = script();
    script["capabilities"] =
        json!({ "tools": {}, "tasks": { "requests": { "tools": { "call": {} } } } });
    let answer = |result: &str| json!([{ "line": format!(r#"{{"jsonrpc":"2.0","id":$id,"result":{result}}}"#) }]);
    script["on"]["tools/call:job"] =
        answer(r#"{"task":{"taskId":"t","status":"working","statusMessage":"$pid"}}"#);
    script["on"]["tasks/get:t"] =
        answer(r#"{"taskId":"t","status":"working","statusMessage":"$pid"}"#);
    script
}

#[tokio::test]
async fn a_task_is_where_it_is_looked_for() {
    let stage = Stage::made_exclusive(Stage::of(with_tasks(), json!({})).await).await;
    let ada = stage.able().await;
    assert_ne!(ask_pid(&ada).await, stage.main(), "calls are on lanes");
    let wish = json!({ "name": "job", "task": {} });
    let created = ada.request("tools/call", wish).await;
    let task = &created.result()["task"];
    assert_eq!(task["statusMessage"], stage.main().to_string());
    let got = ada.request("tasks/get", json!({ "taskId": task["taskId"] })).await;
    assert_eq!(got.result()["statusMessage"], stage.main().to_string());
}

#[tokio::test]
async fn a_lane_where_a_task_runs_is_needed_until_that_is_over() {
    let mut script = with_tasks();
    script["on"]["tasks/cancel:t"] =
        json!([{ "result": { "taskId": "t", "status": "cancelled" } }]);
    let settings = json!({ "isolation": "session", "lanes": { "idleMs": 100 } });
    let stage = Stage::of(script, settings).await;
    let (ada, bob) = (stage.able().await, stage.able().await);
    let created = ada.request("tools/call", json!({ "name": "job", "task": {} })).await;
    let task = &created.result()["task"];
    for _ in 0..2 {
        process::ends(ask_pid(&bob).await).await; // used after the other, and idle
    }
    let about = json!({ "taskId": task["taskId"] });
    let got = ada.request("tasks/get", about.clone()).await;
    assert_eq!(got.result()["statusMessage"], task["statusMessage"], "the same process");
    ada.request("tasks/cancel", about).await.result();
    let pid = task["statusMessage"].as_str().expect("a text").parse().expect("a number");
    process::ends(pid).await;
}

#[tokio::test]
async fn there_are_no_tasks_where_they_would_end_with_their_call() {
    let stage = Stage::of(with_tasks(), json!({ "isolation": "call" })).await;
    let ada = stage.able().await;
    assert!(ada.initialized["capabilities"].get("tasks").is_none());
    let wish = json!({ "name": "pid", "task": {} });
    ada.request("tools/call", wish).await.result();
    let sent = stage.fake.received_of("tools/call");
    assert!(sent[0]["params"].get("task").is_none(), "{sent:?}");
    let unknown = ada.request("tasks/get", json!({ "taskId": "t" })).await;
    assert_eq!(unknown.error_code(), -32601);
}

#[tokio::test]
async fn a_call_that_waits_for_its_client_keeps_its_process() {
    let stage = Stage::with(json!({ "isolation": "call" })).await;
    let mut client = Modern::new(&stage.url());
    client.capabilities = json!({ "elicitation": {} });
    let asked = client.request("tools/call", json!({ "name": "form" })).await;
    assert_eq!(asked.result()["resultType"], "input_required", "{asked:?}");
    let lane = stage.fake.started(2).await;
    let other = of(&client.request("tools/call", json!({ "name": "pid" })).await);
    process::ends(other).await;
    let questions = asked.result()["inputRequests"].as_object().expect("questions");
    let key = questions.keys().next().expect("a question");
    stage.fake.release("filled");
    let answers = json!({ key: { "action": "accept", "content": {} } });
    let state = &asked.result()["requestState"];
    let again = json!({ "name": "form", "inputResponses": answers, "requestState": state });
    assert_eq!(of(&client.request("tools/call", again).await), lane);
    process::ends(lane).await;
}

#[tokio::test]
async fn calls_that_wait_for_their_clients_leave_lanes_to_others() {
    let settings = json!({
        "isolation": "call", "lanes": { "max": 2 }, "timeouts": { "startMs": 2000 },
    });
    let stage = Stage::with(settings).await;
    let mut client = Modern::new(&stage.url());
    client.capabilities = json!({ "elicitation": {} });
    let form = json!({ "name": "form" });
    let oldest = client.request("tools/call", form.clone()).await;
    let newest = client.request("tools/call", form).await;
    for asked in [&oldest, &newest] {
        assert_eq!(asked.result()["resultType"], "input_required", "{asked:?}");
    }
    ask_pid(&stage.able().await).await;
    stage.fake.wait_for("\"action\":\"cancel\"").await;
    let again = |asked: &crate::support::Reply| {
        let questions = asked.result()["inputRequests"].as_object().expect("questions");
        let key = questions.keys().next().expect("a question");
        let answers = json!({ key: { "action": "accept", "content": {} } });
        let state = &asked.result()["requestState"];
        json!({ "name": "form", "inputResponses": answers, "requestState": state })
    };
    let given_up = client.request("tools/call", again(&oldest)).await;
    assert_eq!(given_up.error_code(), -32602, "{given_up:?}");
    stage.fake.release("filled");
    client.request("tools/call", again(&newest)).await.result();
}

#[tokio::test]
async fn a_process_for_each_session() {
    let stage = Stage::with(json!({ "isolation": "session" })).await;
    let (ada, bob) = (stage.able().await, stage.able().await);
    let slow = begin(&ada, "slow").await;
    let (adas, bobs) = (ask_pid(&ada).await, ask_pid(&bob).await);
    assert!(adas != bobs && adas != stage.main() && bobs != stage.main());
    stage.fake.release("slow");
    assert_eq!(of(&slow.finish().await), adas, "several calls of one session share it");
    assert_eq!(ada.delete().await, 200);
    process::ends(adas).await;
    assert_eq!(ask_pid(&bob).await, bobs, "the other one is not touched");
    let modern = Modern::new(&stage.url());
    let one = of(&modern.request("tools/call", json!({ "name": "pid" })).await);
    let two = of(&modern.request("tools/call", json!({ "name": "pid" })).await);
    assert_eq!(one, two, "clients without sessions are taken by their principal");
    assert!(one != bobs && one != stage.main());
}

#[tokio::test]
async fn a_process_for_each_principal() {
    let stage = Stage::with(json!({ "isolation": "principal" })).await;
    let (ada, bob) = (stage.able().await, stage.able().await);
    let lane = ask_pid(&ada).await;
    assert_ne!(lane, stage.main());
    assert_eq!(ask_pid(&bob).await, lane, "today there is one");
    let other = Legacy::connect(&stage.url(), "2025-11-25").await;
    assert_ne!(ask_pid(&other).await, lane, "but the server is told what each client can do");
}

#[tokio::test]
async fn the_one_unused_for_longest_makes_room() {
    let stage = Stage::with(json!({ "isolation": "session", "lanes": { "max": 2 } })).await;
    let (ada, bob, eve) = (stage.able().await, stage.able().await, stage.able().await);
    let (adas, bobs) = (ask_pid(&ada).await, ask_pid(&bob).await);
    let eves = ask_pid(&eve).await;
    process::ends(adas).await;
    assert_eq!(ask_pid(&bob).await, bobs);
    assert_eq!(ask_pid(&eve).await, eves);
}

#[tokio::test]
async fn roots_are_of_one_client_or_of_none() {
    let mut script = script();
    script["on"]["notifications/initialized"] = json!([{ "ask": ["roots/list", {}] }]);
    let stage = Stage::of(script.clone(), json!({ "isolation": "session" })).await;
    let initialized = stage.fake.received_of("initialize");
    assert!(initialized[0]["params"]["capabilities"].get("roots").is_none(), "on the shared one");
    stage.fake.wait_for("no roots: several clients share this connection").await;
    let ada = stage.able().await;
    let mut stream = ada.open("tools/call", json!({ "name": "slow" })).await;
    let question = stream.next().await.expect("a question");
    assert_eq!(question["method"], "roots/list");
    let roots = json!({ "roots": [{ "uri": "file:///home/ada" }] });
    assert_eq!(ada.respond(&question["id"], roots).await, 202);
    stage.fake.wait_for("file:///home/ada").await;
    stage.fake.release("slow");
    stream.finish().await.result();
    let told = &stage.fake.received_of("initialize")[1]["params"]["capabilities"];
    assert_eq!(told, &json!({ "elicitation": { "form": {} }, "roots": {} }), "hers and no others");
}

#[tokio::test]
async fn a_stop_ends_them_all() {
    let mut stage = Stage::with(json!({ "isolation": "session" })).await;
    let (ada, bob) = (stage.able().await, stage.able().await);
    let _busy = begin(&ada, "hang").await;
    ask_pid(&bob).await;
    assert_eq!(stage.fake.starts().len(), 3);
    assert!(stage.proxy.terminate().await.success());
    stage.fake.gone().await;
    assert_eq!(stage.fake.ended(), ["eof"; 3], "each in order");
}
