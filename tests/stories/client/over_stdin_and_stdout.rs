//! A client that starts us as its server gets the same gateway on our standard input and output.

use crate::support::piped::modern;
use crate::support::{FakeStdio, Piped, Proxy, process};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn fake() -> FakeStdio {
    FakeStdio::new(
        json!({ "tools": ["echo", "slow", "ask", "folded", "big"], "resources": ["file:///a"], "on": {
            "tools/call:slow": [{ "progress": 1 }, { "await": "go" }, { "usual": true }],
            "tools/call:ask": [
                { "ask": ["elicitation/create", { "message": "Who?", "requestedSchema": { "type": "object", "properties": {} } }] },
                { "await": "answered" }, { "usual": true },
            ],
            "tools/call:folded": [{ "line": "{\"jsonrpc\":\"2.0\",\r\"id\":$id,\r\"result\":{\"content\":[]}}" }],
            "tools/call:big": [{ "result": { "content": [{ "type": "text", "text": "x".repeat(128 << 10) }] } }],
        }}),
    )
}

fn servers(fake: &FakeStdio) -> Value {
    json!({ "mcpServers": { "one": fake.entry() } })
}

async fn started(fake: &FakeStdio) -> Piped {
    let piped = Proxy::with(servers(fake)).stdio();
    piped.proxy.logs.wait_for("one: ready").await;
    piped
}

fn call(tool: &str) -> Value {
    json!({ "name": tool, "arguments": { "a": 1 } })
}

fn text(answer: &Value) -> &Value {
    &answer["result"]["content"][0]["text"]
}

#[tokio::test]
async fn stdio_speaks_both_eras() {
    let fake = fake();
    let mut client = started(&fake).await;
    client.ask_modern(json!(1), "server/discover", json!({})).await;
    let discovered = client.answer(json!(1)).await;
    assert_eq!(discovered["result"]["supportedVersions"], json!(["2026-07-28"]), "{discovered}");
    let initialized = client.initialize("2025-06-18", json!({})).await;
    assert_eq!(initialized["protocolVersion"], "2025-06-18");
    for (id, is_modern) in [(1, false), (2, true), (3, false), (4, true)] {
        let with = |params| if is_modern { modern(params) } else { params };
        client.ask(json!(id), "tools/list", with(json!({}))).await;
        let listed = client.answer(json!(id)).await;
        assert_eq!(listed["result"]["tools"][0]["name"], "one__echo");
        assert_eq!(listed["result"].get("resultType").is_some(), is_modern, "{listed}");
        client.ask(json!(id), "tools/call", with(call("one__echo"))).await;
        assert_eq!(text(&client.answer(json!(id)).await), r#"{"a":1}"#);
    }
    assert_eq!(client.passed, [] as [Value; 0], "nothing else was said");
}

#[tokio::test]
async fn one_server_alone_has_its_own_names() {
    let fake = fake();
    let mut client = Proxy::with(servers(&fake)).arg("--server").arg("one").stdio();
    client.ask_modern(json!(1), "tools/call", call("echo")).await;
    assert_eq!(text(&client.answer(json!(1)).await), r#"{"a":1}"#);
    let mut wrong = Proxy::with(servers(&fake)).arg("--server").arg("two").stdio();
    assert_eq!(wrong.ended().await.code(), Some(2));
    assert!(wrong.rest().await.is_empty());
    wrong.proxy.logs.wait_for("--server \"two\": expected one of one").await;
}

#[tokio::test]
async fn what_follows_initialize_at_once_waits_for_it_and_what_precedes_it_is_refused() {
    let fake = FakeStdio::new(json!({ "tools": ["echo"], "start": [{ "await": "go" }] }));
    let mut client = Proxy::with(servers(&fake)).stdio();
    fake.reached("go").await;
    client.ask(json!(0), "ping", json!({})).await;
    assert_eq!(client.next().await["result"], json!({}));
    client.ask(json!(1), "tools/list", json!({})).await;
    let refused = client.next().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(1), &json!(-32600)));
    assert!(refused["error"]["message"].as_str().expect("text").contains("initialize"));
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "n", "version": "1" } });
    let initialize = json!({ "jsonrpc": "2.0", "id": 2, "method": "initialize", "params": params });
    let list = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/list" });
    let ping = json!({ "jsonrpc": "2.0", "id": 4, "method": "ping" });
    client.write(format!("{initialize}\n{list}\n{ping}\n")).await;
    assert_eq!(client.next().await["id"], 4, "a ping waits for nothing");
    fake.release("go");
    assert_eq!(client.next().await["id"], 2, "the handshake is answered first");
    assert_eq!(client.next().await["result"]["tools"][0]["name"], "one__echo");
    client.send(&initialize).await;
    let again = client.next().await;
    client.send(&json!([list])).await;
    assert_eq!(client.next().await["error"]["code"], -32600, "this revision has no batches");
    assert_eq!((&again["id"], &again["error"]["code"]), (&json!(2), &json!(-32600)));
}

#[tokio::test]
async fn a_slow_call_holds_up_nothing_and_can_be_cancelled() {
    let fake = fake();
    let mut client = started(&fake).await;
    client.initialize("2025-11-25", json!({})).await;
    for is_modern in [false, true] {
        let with = |params| if is_modern { modern(params) } else { params };
        let mut slow = with(call("one__slow"));
        slow["_meta"]["progressToken"] = json!("mine");
        let request = |id: u64, params: &Value| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        client.send(&request(10, &slow)).await;
        let progress = client.heard("notifications/progress").await;
        assert_eq!(progress["params"]["progressToken"], "mine");
        client.send(&request(11, &with(call("one__echo")))).await;
        assert_eq!(client.next().await["id"], 11, "the other one goes first");
        client.cancel(json!(10)).await;
        let theirs = fake
            .received_of("tools/call")
            .iter()
            .rfind(|c| c["params"]["name"] == "slow")
            .expect("sent")["id"]
            .clone();
        let cancelled = json!({ "requestId": theirs }).to_string();
        fake.wait_for(cancelled.trim_matches(['{', '}'])).await;
        fake.release("go");
        client.send(&request(12, &with(call("one__echo")))).await;
        assert_eq!(client.next().await["id"], 12, "what was cancelled is not answered");
        fake.shut("go");
    }
}

#[tokio::test]
async fn a_cancellation_right_behind_its_request_is_not_lost() {
    let fake = fake();
    let mut client = started(&fake).await;
    client.initialize("2025-11-25", json!({})).await;
    for (id, params) in [(1, call("one__slow")), (2, modern(call("one__slow")))] {
        let request =
            json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });
        client.write(format!("{request}\n{cancel}\n")).await;
    }
    fake.release("go");
    client.close_input();
    assert!(client.rest().await.is_empty(), "neither is answered");
}

#[tokio::test]
async fn a_question_is_put_on_the_pipe_and_its_answer_goes_back() {
    let fake = fake();
    let mut client = started(&fake).await;
    client.initialize("2025-11-25", json!({ "elicitation": {} })).await;
    client.ask(json!(7), "tools/call", call("one__ask")).await;
    let question = client.next().await;
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let result = json!({ "action": "accept", "content": { "name": "Ada" } });
    client.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })).await;
    let answered: Value = serde_json::from_str(&fake.wait_for("Ada").await).expect("json");
    assert_eq!(answered["result"], result);
    fake.release("answered");
    assert!(client.answer(json!(7)).await["result"].is_object());
}

#[tokio::test]
async fn a_question_of_a_call_that_is_cancelled_is_taken_back() {
    let fake = fake();
    let mut client = started(&fake).await;
    client.initialize("2025-11-25", json!({ "elicitation": {} })).await;
    client.ask(json!(7), "tools/call", call("one__ask")).await;
    let question = client.next().await;
    assert_eq!(question["method"], "elicitation/create", "{question}");
    client.cancel(json!(7)).await;
    let cancelled = client.next().await;
    assert_eq!(cancelled["method"], "notifications/cancelled", "{cancelled}");
    assert_eq!(cancelled["params"]["requestId"], question["id"]);
    fake.wait_for("notifications/cancelled").await;
    client.ask(json!(8), "ping", json!({})).await;
    assert_eq!(client.next().await["id"], 8, "nothing more is said of it");
}

#[tokio::test]
async fn a_modern_client_is_asked_by_the_end_of_its_request_and_repeats_it() {
    let fake = fake();
    let mut client = started(&fake).await;
    client.ask_modern(json!(7), "tools/call", call("one__ask")).await;
    let asked = client.next().await;
    assert_eq!(
        (&asked["id"], &asked["result"]["resultType"]),
        (&json!(7), &json!("input_required"))
    );
    let entries = asked["result"]["inputRequests"].as_object().expect("questions").clone();
    let (key, question) = entries.iter().next().expect("one");
    assert_eq!(question["method"], "elicitation/create");
    let mut again = call("one__ask");
    again["inputResponses"][key] = json!({ "action": "accept", "content": { "name": "Ada" } });
    again["requestState"] = asked["result"]["requestState"].clone();
    client.ask_modern(json!(8), "tools/call", again).await;
    fake.wait_for("Ada").await;
    fake.release("answered");
    let answer = client.next().await;
    assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&json!(8), &json!("complete")));
}

#[tokio::test]
async fn legacy_notices_and_updates_come_outside_requests() {
    let script = json!({ "tools": ["poke"], "resources": ["file:///a"], "on": { "tools/call:poke": [
        { "notify": ["notifications/resources/updated", { "uri": "file:///a" }] },
        { "tools": ["poke", "new"] }, { "notify": ["notifications/tools/list_changed", {}] }, { "usual": true },
    ]}});
    let fake = FakeStdio::new(script);
    let mut client = started(&fake).await;
    client.initialize("2025-11-25", json!({})).await;
    client.ask(json!(1), "resources/subscribe", json!({ "uri": "mcp-one+file:///a" })).await;
    assert_eq!(client.answer(json!(1)).await["result"], json!({}));
    fake.wait_for("resources/templates/list").await; // so that the next list is a new one
    client.ask(json!(2), "tools/call", call("one__poke")).await;
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let message = client.next().await;
        heard.push(message["method"].as_str().unwrap_or("answer").to_owned());
    }
    heard.sort();
    let expected =
        ["answer", "notifications/resources/updated", "notifications/tools/list_changed"];
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn stdio_listens_end_in_order() {
    let script = json!({ "era": "modern", "tools": ["poke"], "on": { "tools/call:poke": [
        { "tools": ["poke", "new"] }, { "notify": ["notifications/tools/list_changed", {}] }, { "usual": true },
    ]}});
    let fake = FakeStdio::new(script);
    let mut client = started(&fake).await;
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    let of = |message: &Value| {
        message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].clone()
    };
    for id in [json!("a"), json!(2)] {
        client.ask_modern(id.clone(), "subscriptions/listen", wanted.clone()).await;
        let first = client.next().await;
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(of(&first), id);
    }
    fake.wait_for("subscriptions/listen").await; // what it announces is heard from here on
    client.ask_modern(json!(3), "tools/call", call("one__poke")).await;
    client.answer(json!(3)).await;
    while client.passed.len() < 2 {
        let changed = client.heard("notifications/tools/list_changed").await;
        client.passed.push(changed);
    }
    let mut tags: Vec<Value> = client.passed.iter().map(of).collect();
    tags.sort_by_key(Value::to_string);
    assert_eq!(tags, [json!("a"), json!(2)], "each is tagged with its own");
    // the client ends one, and hears nothing of it any more; we end the other
    client.cancel(json!("a")).await;
    client.ask_modern(json!(4), "tools/list", json!({})).await;
    client.answer(json!(4)).await;
    client.proxy.note_children();
    process::terminate(client.proxy.pid());
    let last = client.rest().await;
    assert_eq!(last.len(), 2, "{last:?}");
    assert_eq!(last[0]["method"], "notifications/cancelled");
    assert_eq!(last[0]["params"]["requestId"], 2);
    assert_eq!((&last[1]["id"], &last[1]["result"]["resultType"]), (&json!(2), &json!("complete")));
    assert_eq!(client.ended().await.code(), Some(0));
}

#[tokio::test]
async fn stdio_ends_with_its_input() {
    let fake = fake();
    let mut client = started(&fake).await;
    client.ask_modern(json!(1), "tools/call", call("one__slow")).await;
    fake.reached("go").await;
    client.close_input();
    assert_eq!(client.ended().await.code(), Some(0));
    fake.gone().await;
}

/// Reading pauses once for room, not once for each request that there is no room for: the client's
/// last word, and the end of its input, stand behind them.
#[tokio::test]
async fn more_requests_than_there_is_room_for_do_not_put_off_the_end() {
    let fake = FakeStdio::new(json!({ "tools": ["hang"], "on": { "tools/call:hang": [] } }));
    let mut client = started(&fake).await;
    let hang = |id: u32| {
        let params = modern(call("one__hang"));
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        format!("{call}\n")
    };
    client.write((0..1024 + 8).map(hang).collect::<String>()).await;
    client.close_input();
    for id in 1024..1024 + 8 {
        let refused = if id == 1024 { client.late().await } else { client.next().await };
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(id), &json!(-32603)));
    }
    assert_eq!(client.ended().await.code(), Some(0));
    fake.gone().await;
}

#[tokio::test]
async fn what_was_asked_before_the_end_is_still_answered() {
    let fake = fake();
    let mut client = started(&fake).await;
    client.ask_modern(json!(1), "tools/call", call("one__slow")).await;
    fake.reached("go").await;
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    client.ask_modern(json!(2), "subscriptions/listen", wanted).await;
    client.heard("notifications/subscriptions/acknowledged").await;
    client.close_input();
    client.proxy.logs.wait_for("the client has closed our input").await;
    fake.release("go");
    let rest = client.rest().await;
    let ids: Vec<&Value> = rest.iter().filter_map(|message| message.get("id")).collect();
    assert_eq!(ids, [1, 2], "a subscription lasts as long as anything: {rest:?}");
    assert_eq!(client.ended().await.code(), Some(0));
}

#[tokio::test]
async fn who_has_introduced_itself_wrongly_may_do_it_again() {
    let fake = fake();
    let mut client = started(&fake).await;
    client.ask(json!(1), "initialize", json!({})).await;
    assert_eq!(client.next().await["error"]["code"], -32602);
    assert_eq!(client.initialize("2025-11-25", json!({})).await["protocolVersion"], "2025-11-25");
    client.ask(json!(2), "tools/list", json!({})).await;
    assert!(client.answer(json!(2)).await["result"]["tools"].is_array());
}

#[tokio::test]
async fn subscriptions_are_so_many_and_make_room_when_they_end() {
    let fake = fake();
    let mut client = started(&fake).await;
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    for id in 0..65 {
        client.ask_modern(json!(id), "subscriptions/listen", wanted.clone()).await;
    }
    let refused = client.answer(json!(64)).await;
    let text = refused["error"]["message"].as_str().expect("a refusal");
    assert!(text.contains("too many subscriptions"), "{text}");
    while client.passed.len() < 64 {
        let acknowledged = client.heard("notifications/subscriptions/acknowledged").await;
        client.passed.push(acknowledged);
    }
    client.cancel(json!(0)).await;
    let mut id = 100;
    loop {
        client.ask_modern(json!(id), "subscriptions/listen", wanted.clone()).await;
        if client.next().await.get("error").is_none() {
            break;
        }
        id += 1;
        assert!(id < 10_000, "there is no room again");
    }
}

#[tokio::test]
async fn when_too_much_is_under_way_reading_pauses_and_then_refuses() {
    let fake = FakeStdio::new(json!({ "tools": ["echo"], "start": [{ "await": "go" }] }));
    let mut client = Proxy::with(servers(&fake)).arg("--server").arg("one").stdio();
    fake.reached("go").await;
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "n", "version": "1" } });
    client.ask(json!(0), "initialize", params).await;
    let of = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" });
    let most: String = (1..=1024).map(|id| format!("{}\n", of(id))).collect();
    let begun = Instant::now();
    client.write(most).await;
    let refused = client.next_within(Duration::from_secs(15)).await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(1024), &json!(-32603)));
    assert!(begun.elapsed().as_secs() >= 4, "there was time for others to end: {refused}");
    fake.release("go");
    for id in 0..1024 {
        let answer = client.next().await;
        assert!(answer["result"].is_object(), "{id}: {answer}");
    }
    client.send(&of(2000)).await;
    assert!(client.answer(json!(2000)).await["result"].is_object(), "there is room again");
}

#[tokio::test]
async fn an_output_that_nobody_reads_ends_it() {
    let fake = fake();
    let mut client = started(&fake).await;
    client.proxy.note_children();
    client.break_output();
    client.ask_modern(json!(1), "tools/call", call("one__echo")).await;
    assert_eq!(client.ended().await.code(), Some(0));
    fake.gone().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_yet_loses_nothing() {
    let fake = fake();
    let mut client = started(&fake).await;
    for id in 0..100 {
        client.ask_modern(json!(id), "tools/call", call("one__big")).await;
    }
    // far more than pipe and queue hold; the upstream works on for others meanwhile
    client.cancel(json!("nothing")).await;
    let mut answered: Vec<u64> = Vec::new();
    while answered.len() < 100 {
        let message = client.next().await;
        assert_eq!(text(&message).as_str().map(str::len), Some(128 << 10));
        answered.push(message["id"].as_u64().expect("an id"));
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..100).collect::<Vec<u64>>());
}

#[tokio::test]
async fn sigkill_leaves_nobody_and_no_child_has_our_pipes() {
    let fake = fake();
    let mut client = started(&fake).await;
    let children = client.proxy.note_children();
    assert!(children.len() >= 2, "a keeper and a server: {children:?}");
    for pipe in [0, 1] {
        let link = |pid: u32, fd: &str| std::fs::read_link(format!("/proc/{pid}/fd/{fd}"));
        let ours = link(client.proxy.pid(), &pipe.to_string()).expect("a pipe");
        for child in &children {
            let open = std::fs::read_dir(format!("/proc/{child}/fd")).expect("it runs");
            for fd in open.flatten() {
                let theirs = link(*child, &fd.file_name().to_string_lossy());
                assert_ne!(theirs.ok().as_ref(), Some(&ours), "{child} has {fd:?}");
            }
        }
    }
    process::signal(client.proxy.pid(), Signal::KILL);
    client.ended().await;
    for child in children {
        process::ends(child).await;
    }
}

#[tokio::test]
async fn malformed_lines_are_refused_and_the_next_one_is_served() {
    let fake = fake();
    let config = json!({ "mcpServers": { "one": fake.entry() }, "gateway": { "limits": { "messageBytes": 65536 } } });
    let mut client = Proxy::with(config).stdio();
    let long = [&[b'x'; 70_000][..], b"\n"].concat();
    let cases: [(&[u8], i64, Value); 8] = [
        (b"not json\n", -32700, Value::Null),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"\n", -32700, Value::Null),
        (b"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}\n", -32700, Value::Null),
        (b"{\"jsonrpc\":\"1.0\",\"id\":5,\"method\":\"ping\"}\n", -32600, json!(5)),
        (b"17\n", -32600, Value::Null),
        (b"[]\n", -32600, Value::Null),
        (b"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]\n", -32600, Value::Null),
        (&long, -32600, Value::Null),
    ];
    for (line, code, id) in cases {
        client.write(line).await;
        let refused = client.next().await;
        let shown = String::from_utf8_lossy(&line[..line.len().min(80)]);
        assert_eq!((&refused["error"]["code"], &refused["id"]), (&json!(code), &id), "{shown}");
    }
    client.write(b"\n \r\n{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"ping\"}\r\n".as_slice()).await;
    assert_eq!(client.next().await, json!({ "jsonrpc": "2.0", "id": 9, "result": {} }));
    let version = json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "2099-01-01", "io.modelcontextprotocol/clientCapabilities": {} } });
    client.ask(json!(1), "tools/list", version).await;
    assert_eq!(client.next().await["error"]["code"], -32022);
    let bare = json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } });
    client.ask(json!(2), "tools/list", bare).await;
    assert_eq!(client.next().await["error"]["code"], -32602);
    client.ask_modern(json!(3), "initialize", json!({})).await;
    assert_eq!(client.next().await["error"]["code"], -32601);
}

#[tokio::test]
async fn however_input_is_chopped_and_a_payload_is_folded_messages_are_lines() {
    let fake = fake();
    let mut client = started(&fake).await;
    let request = |id: u64, tool: &str| {
        json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": modern(call(tool)) })
            .to_string()
    };
    let text_of = [request(1, "one__echo"), request(2, "one__folded"), request(3, "one__echo")]
        .join("\r\n")
        + "\n";
    for piece in text_of.as_bytes().chunks(7) {
        client.write(piece).await;
    }
    let mut ids = Vec::new();
    for _ in 0..3 {
        let line = client.next_line().await.expect("a line");
        assert!(!line.contains('\r'), "{line}");
        ids.push(serde_json::from_str::<Value>(&line).expect("json")["id"].as_u64());
    }
    ids.sort_unstable();
    assert_eq!(ids, [Some(1), Some(2), Some(3)]);
}

#[tokio::test]
async fn batches_are_for_sessions_of_2025_03_26() {
    let fake = fake();
    let mut client = started(&fake).await;
    client.initialize("2025-03-26", json!({})).await;
    let of = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call("one__echo") });
    client.send(&json!([of(1), of(2)])).await;
    let answers = client.next().await;
    assert_eq!(answers.as_array().map(Vec::len), Some(2), "{answers}");
    assert_eq!(text(&answers[1]), r#"{"a":1}"#);
}

#[tokio::test]
async fn it_listens_on_no_port() {
    let fake = fake();
    let config =
        json!({ "mcpServers": { "one": fake.entry() }, "gateway": { "listen": "127.0.0.1:1" } });
    let mut client = Proxy::with(config).stdio();
    client.initialize("2025-11-25", json!({})).await;
    let sockets: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", client.proxy.pid()))
        .expect("it runs")
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|to| {
            to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned)
        })
        .collect();
    let listening = ["tcp", "tcp6"].map(|table| {
        std::fs::read_to_string(format!("/proc/{}/net/{table}", client.proxy.pid()))
            .unwrap_or_default()
    });
    let inode = |line: &str| line.split_whitespace().nth(9).map(str::to_owned);
    let own = listening.iter().flat_map(|table| table.lines()).filter_map(inode);
    assert_eq!(own.filter(|inode| sockets.contains(inode)).count(), 0);
}
