//! A server on pipes that lies, floods, repeats itself or dies in the middle of a line: its own
//! calls get a proper answer, the log has one line for it, memory stays bounded, and the others
//! notice nothing.

use super::Scene;
use crate::support::process::resident;
use crate::support::{FakeStdio, Legacy, Modern, Proxy, Reply};
use serde_json::{Value, json};

/// A gateway with this liar beside the honest one, and a client of the liar.
async fn scene(script: Value) -> (Scene, FakeStdio, Legacy) {
    let liar = FakeStdio::new(script);
    let mut entry = liar.entry();
    entry["timeouts"] = json!({ "listMs": 1000 });
    let scene = Scene::with(json!({ "liar": entry }), json!({})).await;
    let client = Legacy::connect(&scene.proxy.url("/mcp/liar"), "2025-11-25").await;
    (scene, liar, client)
}

async fn call(client: &Legacy, name: &str) -> Reply {
    client
        .request("tools/call", json!({ "name": name, "_meta": { "progressToken": "mine" } }))
        .await
}

fn message(reply: &Reply) -> &str {
    reply.error()["message"].as_str().unwrap_or_default()
}

/// The aggregate still shows the tools of the honest one.
async fn list_of_all(scene: &Scene) -> Vec<String> {
    let client = Modern::new(&scene.proxy.url("/mcp"));
    let reply = client.request("tools/list", json!({})).await;
    let tools = reply.result()["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn lines_that_are_no_messages_are_passed_over() {
    let noise = [
        "Server started!",
        "",
        "{",
        "[]",
        "null",
        "{\"jsonrpc\":\"2.0\"}",
        "\u{1b}[2J",
        "{\"id\":1}",
    ];
    let lines: Vec<Value> = noise.iter().map(|line| json!({ "line": line })).collect();
    let call_steps = [lines.clone(), vec![json!({ "usual": true })]].concat();
    let (scene, _liar, client) = scene(json!({
        "tools": ["noisy"], "start": lines, "on": { "tools/call:noisy": call_steps },
    }))
    .await;
    for _ in 0..20 {
        assert!(call(&client, "noisy").await.result().is_object());
    }
    scene.others_are_served().await;
    let logged = scene.proxy.logs.count("liar: ignored what it wrote");
    assert!((1..=3).contains(&logged), "said {logged} times");
    assert_eq!(scene.proxy.logs.count("not logged any more"), 1, "and that it is not said again");
}

#[tokio::test]
async fn answers_that_nobody_waits_for_reach_nobody() {
    let foreign: Vec<Value> = [
        json!(0),
        json!(1),
        json!(65536),
        json!(65537),
        json!(131072),
        json!(-1),
        json!(9_007_199_254_740_993u64),
        json!("1"),
        json!(null),
        json!(1.5),
    ]
    .iter()
    .map(|id| json!({ "foreign": id }))
    .collect();
    let steps =
        [&foreign[..], &[json!({ "result": { "content": [], "true": 1 } })], &foreign[..]].concat();
    let twice = json!([
        { "result": { "content": [], "first": 1 } },
        { "result": { "content": [], "second": 1 } },
        { "error": { "code": -1, "message": "third" } },
    ]);
    let (scene, _liar, client) = scene(json!({ "tools": ["foreign", "twice", "echo"],
        "on": { "tools/call:foreign": steps, "tools/call:twice": twice } }))
    .await;
    for _ in 0..10 {
        assert_eq!(call(&client, "foreign").await.result()["true"], 1);
        assert_eq!(call(&client, "twice").await.result()["first"], 1);
        let echo =
            client.request("tools/call", json!({ "name": "echo", "arguments": { "n": 1 } })).await;
        assert_eq!(echo.result()["content"][0]["text"], r#"{"n":1}"#);
    }
    scene.others_are_served().await;
    let logged = scene.proxy.logs.count("liar: ignored what it wrote");
    assert!((1..=3).contains(&logged), "said {logged} times");
}

/// A response of another shape ends its own request at once, with an error that says why.
#[tokio::test]
async fn an_answer_of_another_shape_is_an_error_at_once() {
    let shapes = [
        r#"{"jsonrpc":"2.0","id":$id,"result":7}"#,
        r#"{"jsonrpc":"2.0","id":$id,"result":[]}"#,
        r#"{"jsonrpc":"2.0","id":$id}"#,
        r#"{"jsonrpc":"2.0","id":$id,"error":"text"}"#,
        r#"{"jsonrpc":"2.0","id":$id,"error":{"message":"no code"}}"#,
        r#"{"jsonrpc":"2.0","id":$id,"result":{},"error":{"code":1,"message":""}}"#,
        r#"{"jsonrpc":"1.0","id":$id,"result":{}}"#,
        r#"{"id":$id,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":$id,"result":{},"result":{}}"#,
    ];
    let on: serde_json::Map<_, _> = shapes
        .iter()
        .enumerate()
        .map(|(n, line)| (format!("tools/call:{n}"), json!([{ "line": line }])))
        .collect();
    let (scene, liar, client) = scene(json!({ "on": on })).await;
    for (n, shape) in shapes.iter().enumerate() {
        let reply = call(&client, &n.to_string()).await;
        assert_eq!(reply.error_code(), -32603, "{shape}: {reply:?}");
        assert!(message(&reply).contains("\"liar\""), "names the upstream: {}", message(&reply));
    }
    assert_eq!(liar.starts().len(), 1, "that is no reason to start it anew");
    scene.others_are_served().await;
}

#[tokio::test]
async fn half_a_line_then_the_end_is_an_error_and_a_new_start() {
    let (scene, liar, client) = scene(json!({ "tools": ["half", "echo"], "on": {
        "tools/call:half": [{ "raw": "{\"jsonrpc\":\"2.0\",\"id\":$id,\"res" }, { "exit": 3 }],
    }}))
    .await;
    let reply = call(&client, "half").await;
    assert_eq!(reply.error_code(), -32603);
    assert!(message(&reply).contains("\"liar\""), "{}", message(&reply));
    scene.others_are_served().await;
    liar.started(2).await;
    let line = scene.proxy.logs.wait_for("liar: it closed its output").await;
    assert!(line.contains("exited with code 3"), "{line}");
    let again = client.request("tools/call", json!({ "name": "echo", "arguments": {} })).await;
    assert_eq!(again.status, 200);
}

#[tokio::test]
async fn a_line_of_100_megabytes_does_not_fill_memory() {
    let (scene, liar, client) = scene(json!({ "tools": ["big", "echo"], "on": {
        "tools/call:big": [{ "big": 100_000_000 }, { "await": "written" }, { "usual": true }],
    }}))
    .await;
    let before = resident(scene.proxy.pid());
    let big = client.open("tools/call", json!({ "name": "big" }));
    let meanwhile = async {
        liar.reached("written").await;
        scene.others_are_served().await;
        liar.release("written");
    };
    let (big, ()) = tokio::join!(big, meanwhile);
    assert!(big.finish().await.result().is_object(), "the next line is read as ever");
    let grown = resident(scene.proxy.pid()).peak.saturating_sub(before.peak);
    assert!(grown < 64 << 20, "grew by {grown} bytes");
    assert_eq!(scene.proxy.logs.count("liar: ignored what it wrote"), 1);
    assert_eq!(liar.starts().len(), 1);
}

/// Nobody looks at notifications before the handshake is over, which the server can put off.
#[tokio::test]
async fn what_a_server_says_before_it_is_ready_does_not_fill_memory() {
    let large = json!(["notifications/tools/list_changed", { "padding": "x".repeat(1 << 20) }]);
    let steps = json!([{ "times": [32, { "notify": large }] }, { "await": "written" }]);
    let liar = FakeStdio::new(json!({ "tools": ["echo"], "start": steps }));
    let scene = Scene::with(json!({ "liar": liar.entry() }), json!({})).await;
    liar.reached("written").await;
    let peak = resident(scene.proxy.pid()).peak;
    assert!(peak < 30 << 20, "{peak} bytes of memory");
    scene.others_are_served().await;
    liar.release("written");
    scene.proxy.logs.wait_for("liar: ready").await;
    assert_eq!(liar.starts().len(), 1);
}

#[tokio::test]
async fn a_flood_on_standard_error_is_drained_and_counted() {
    let (scene, _liar, client) = scene(json!({ "tools": ["flood"], "on": {
        "tools/call:flood": [{ "flood": 10_000_000 }, { "usual": true }],
    }}))
    .await;
    let before = resident(scene.proxy.pid());
    assert!(call(&client, "flood").await.result().is_object());
    scene.others_are_served().await;
    // 125 000 lines were written; 20 are logged in a second
    assert!(scene.proxy.logs.count("liar: stderr") < 500);
    let grown = resident(scene.proxy.pid()).peak.saturating_sub(before.peak);
    assert!(grown < 32 << 20, "grew by {grown} bytes");
}

#[tokio::test]
async fn lists_without_end_are_given_up() {
    for (way, said) in [("endless", "too many pages"), ("stuck", "a cursor came twice")] {
        let (scene, liar, client) = scene(json!({ "tools": ["a"], "prompts": ["fine"],
            way: ["tools/list", "resources/list"] }))
        .await;
        assert_eq!(list_of_all(&scene).await, ["good__echo"]);
        let line = scene.proxy.logs.wait_for("liar: tools/list failed").await;
        assert!(line.contains(said), "{line}");
        let reply = client.request("tools/list", json!({})).await;
        assert_eq!(reply.error_code(), -32603, "{reply:?}");
        assert!(message(&reply).contains(said), "{}", message(&reply));
        let prompts = client.request("prompts/list", json!({})).await;
        assert_eq!(prompts.result()["prompts"][0]["name"], "fine", "its other lists are shown");
        let asked = liar.received_of("tools/list").len();
        assert!(asked <= 400, "asked {asked} times");
        scene.others_are_served().await;
        assert_eq!(scene.proxy.logs.count("liar: tools/list failed"), 1);
    }
}

#[tokio::test]
async fn pages_of_another_shape_show_nothing_and_hide_nobody() {
    for page in [
        json!({}),
        json!({ "tools": {} }),
        json!({ "tools": "x" }),
        json!({ "tools": null }),
        json!({ "tools": [], "nextCursor": 7 }),
        json!({ "tools": [], "resultType": "surprise" }),
    ] {
        let (scene, _liar, client) =
            scene(json!({ "on": { "tools/list": [{ "result": page }] } })).await;
        assert_eq!(list_of_all(&scene).await, ["good__echo"], "{page}");
        assert_eq!(client.request("tools/list", json!({})).await.error_code(), -32603, "{page}");
        scene.others_are_served().await;
        assert_eq!(scene.proxy.logs.count("liar: tools/list failed"), 1, "{page}");
    }
}

#[tokio::test]
async fn entries_that_are_none_are_left_out() {
    let tools = json!([
        1, "x", null, [], {},
        { "title": "nameless", "inputSchema": { "type": "object" } },
        { "name": 7, "inputSchema": {} },
        { "name": null },
        { "name": "fine", "inputSchema": { "type": "object" } },
    ]);
    let page = json!({ "tools": tools });
    let (scene, _liar, client) =
        scene(json!({ "on": { "tools/list": [{ "result": page }] } })).await;
    assert_eq!(list_of_all(&scene).await, ["liar__fine", "good__echo"]);
    let alone = client.request("tools/list", json!({})).await;
    let names: Vec<_> =
        alone.result()["tools"].as_array().expect("tools").iter().map(|t| &t["name"]).collect();
    assert_eq!(names, ["fine"]);
    scene.others_are_served().await;
    assert_eq!(scene.proxy.logs.count("liar: tools/list"), 1, "said once for all of them");
}

#[tokio::test]
async fn a_name_twice_is_settled_the_same_way_each_time() {
    let tool = |title: &str| json!({ "name": "same", "title": title, "inputSchema": { "type": "object" } });
    let (scene, liar, _client) = scene(json!({ "tools": [tool("first"), tool("second")] })).await;
    for _ in 0..3 {
        assert_eq!(list_of_all(&scene).await, ["liar__same", "good__echo"]);
    }
    let client = Modern::new(&scene.proxy.url("/mcp"));
    let listed = client.request("tools/list", json!({})).await;
    assert_eq!(listed.result()["tools"][0]["title"], "first");
    client.request("tools/call", json!({ "name": "liar__same" })).await;
    assert_eq!(liar.received_of("tools/call").len(), 1);
    assert_eq!(scene.proxy.logs.count("comes again"), 1, "said once");
    scene.others_are_served().await;
}

#[tokio::test]
async fn progress_of_others_reaches_nobody() {
    let tokens = ["0", "1", "65536", "65537", "\"mine\"", "null", "[]", "-1", "1.5"];
    let mut steps: Vec<Value> = tokens
        .iter()
        .map(|token| {
            let line = format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":9}}}}"#);
            json!({ "line": line })
        })
        .collect();
    steps.push(json!({ "line": r#"{"jsonrpc":"2.0","method":"notifications/progress"}"# }));
    steps.push(json!({ "usual": true }));
    let (scene, _liar, client) = scene(json!({ "tools": ["lie", "wait"], "on": {
        "tools/call:lie": steps, "tools/call:wait": [{ "await": "gate" }, { "usual": true }],
    }}))
    .await;
    let lie = call(&client, "lie").await;
    assert_eq!(lie.notifications("notifications/progress"), Vec::<&Value>::new());
    assert!(lie.result().is_object());
    scene.others_are_served().await;
}

/// Progress faster than anybody reads it is dropped; the answer is not.
#[tokio::test]
async fn a_flood_of_progress_leaves_room_for_the_answer() {
    let (scene, _liar, client) = scene(json!({ "tools": ["run"], "on": {
        "tools/call:run": [{ "progress": 50_000 }, { "usual": true }],
    }}))
    .await;
    let before = resident(scene.proxy.pid());
    let reply = call(&client, "run").await;
    assert!(reply.result().is_object());
    let seen: Vec<_> = reply
        .notifications("notifications/progress")
        .iter()
        .filter_map(|p| p["progress"].as_f64())
        .collect();
    assert!(seen.is_sorted() && !seen.is_empty());
    scene.others_are_served().await;
    let grown = resident(scene.proxy.pid()).peak.saturating_sub(before.peak);
    assert!(grown < 32 << 20, "grew by {grown} bytes");
}

#[tokio::test]
async fn what_a_server_asks_of_clients_is_declined_and_ping_is_answered() {
    let (scene, liar, client) = scene(json!({ "tools": ["ask"], "on": { "tools/call:ask": [
        { "ask": ["ping", {}] },
        { "ask": ["sampling/createMessage", { "messages": [], "maxTokens": 1 }] },
        { "ask": ["elicitation/create", { "message": "password?" }] },
        { "ask": ["roots/list", {}] },
        { "ask": ["tools/call", { "name": "ask" }] },
        { "ask": ["nobody/knows", {}] },
        { "ask": ["ping", []] },
        { "usual": true },
    ]}}))
    .await;
    let reply = call(&client, "ask").await;
    assert_eq!(reply.messages.len(), 1, "nothing of it reaches the client: {reply:?}");
    let answered = liar.wait_for(r#""ask-7""#).await;
    assert!(answered.contains("-32600"), "of another shape: {answered}");
    let answer = |n: usize| {
        let id = format!("ask-{n}");
        let lines = liar.received().into_iter().filter_map(|l| serde_json::from_str(&l).ok());
        let answers: Vec<Value> = lines.filter(|m: &Value| m["id"] == id.as_str()).collect();
        assert_eq!(answers.len(), 1, "{id}");
        answers[0].clone()
    };
    assert_eq!(answer(1)["result"], json!({}));
    // an elicitation in a mode that was not declared (2025-11-25 client/elicitation, "Error Handling")
    for (n, code) in [(2, -32601), (3, -32602), (4, -32601), (5, -32601), (6, -32601)] {
        assert_eq!(answer(n)["error"]["code"], code, "{n}");
    }
    scene.others_are_served().await;
}

/// Pings are all that a server may send before the handshake is over (2025-11-25 basic/lifecycle,
/// "Initialization"), and each is to be answered: there are servers that end if one is not.
#[tokio::test]
async fn a_ping_is_answered_in_the_middle_of_the_handshake() {
    let ping = |id: &str| json!({ "say": { "jsonrpc": "2.0", "id": id, "method": "ping" } });
    let server = FakeStdio::new(json!({ "tools": ["t"], "on": {
        "initialize": [ping("early"), { "usual": true }, ping("later")],
    }}));
    let proxy = Proxy::with(json!({ "mcpServers": { "s": server.entry() } })).start().await;
    proxy.logs.wait_for("s: ready").await;
    for id in ["early", "later"] {
        let pong = server.wait_for(&format!("\"{id}\"")).await;
        let pong: Value = serde_json::from_str(&pong).expect("a message");
        assert_eq!(pong, json!({ "jsonrpc": "2.0", "id": id, "result": {} }));
    }
}

#[tokio::test]
async fn a_flood_of_list_changes_is_read_a_few_times() {
    let line = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    let flood = format!("{line}\n").repeat(20_000);
    let (scene, liar, client) = scene(json!({ "tools": ["flood"], "on": {
        "tools/call:flood": [{ "raw": flood }, { "usual": true }],
    }}))
    .await;
    let listener = Modern::new(&scene.proxy.url("/mcp/liar"));
    let mut stream = listener.listen(json!({ "toolsListChanged": true })).await;
    assert!(call(&client, "flood").await.result().is_object());
    let told = stream.next().await.expect("a notification");
    assert_eq!(told["method"], "notifications/tools/list_changed");
    scene.others_are_served().await;
    assert_eq!(list_of_all(&scene).await, ["liar__flood", "good__echo"]);
    let read = liar.received_of("tools/list").len();
    assert!(read < 200, "its list was read {read} times");
    let logged = scene.proxy.logs.count("liar");
    assert!(logged < 10, "{logged} lines in the log");
}

#[tokio::test]
async fn a_server_that_stops_reading_stalls_nobody_else() {
    let (scene, liar, client) = scene(json!({ "tools": ["deaf", "big"], "on": {
        "tools/call:deaf": [{ "usual": true }, { "deaf": true }],
    }}))
    .await;
    assert!(call(&client, "deaf").await.result().is_object());
    let before = resident(scene.proxy.pid());
    let padding = "p".repeat(1 << 20);
    for n in 0..8 {
        let arguments = json!({ "n": n, "padding": padding });
        let call = json!({ "name": "big", "arguments": arguments });
        let open = client.open("tools/call", call);
        // nobody answers; the client goes away while it waits
        let gone = tokio::time::timeout(std::time::Duration::from_millis(50), open).await;
        assert!(gone.is_err(), "a deaf server cannot have answered");
        scene.others_are_served().await;
    }
    let grown = resident(scene.proxy.pid()).now.saturating_sub(before.now);
    assert!(grown < 64 << 20, "grew by {grown} bytes");
    assert_eq!(liar.starts().len(), 1);
}

#[tokio::test]
async fn a_server_that_never_answers_its_lists_delays_nobody() {
    let liar = FakeStdio::new(json!({ "on": { "tools/list": [], "prompts/list": [] } }));
    let scene = Scene::with(json!({ "liar": liar.entry() }), json!({})).await;
    let begun = std::time::Instant::now();
    assert_eq!(list_of_all(&scene).await, ["good__echo"]);
    assert!(begun.elapsed().as_secs() < 4, "the first list waits 2 s for those that start");
    scene.others_are_served().await;
}

/// A handshake of another shape: the entry is down with a reason, and tried again later.
#[tokio::test]
async fn handshakes_that_make_no_sense_are_one_line() {
    for (n, answer) in [
        json!({}),
        json!({ "protocolVersion": 7, "capabilities": {} }),
        json!({ "protocolVersion": "1999-01-01", "capabilities": {}, "serverInfo": {} }),
        json!({ "protocolVersion": "2026-07-28", "capabilities": {} }),
    ]
    .into_iter()
    .enumerate()
    {
        let liar = FakeStdio::new(json!({ "on": { "initialize": [{ "result": answer }] } }));
        let scene = Scene::with(json!({ "liar": liar.entry() }), json!({})).await;
        liar.started(2).await;
        scene.others_are_served().await;
        let client = Modern::new(&scene.proxy.url("/mcp/liar"));
        let reply = client.request("tools/call", json!({ "name": "x" })).await;
        assert_eq!(reply.error_code(), -32603, "{n}: {answer}");
        assert_eq!(list_of_all(&scene).await, ["good__echo"]);
        assert_eq!(scene.proxy.logs.count("warn\",\"target\":\"upstream"), 1, "{n}: {answer}");
    }
}
