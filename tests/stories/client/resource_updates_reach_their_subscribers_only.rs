//! An update of a resource reaches those who subscribed to it; the upstream is asked once for all
//! of them, and told when nobody wants it any more.

use crate::stage::{Case, Client, Stage};
use crate::support::{FakeStdio, Incoming, Legacy, Modern, Proxy};
use serde_json::{Value, json};

const UPDATED: &str = "notifications/resources/updated";
const TAG: &str = "io.modelcontextprotocol/subscriptionId";

fn script() -> Value {
    let touch =
        |uri| json!([{ "notify": [UPDATED, { "uri": uri, "x": 1.50 }] }, { "usual": true }]);
    json!({
        "tools": ["touch-a", "touch-b", "deep"],
        "resources": ["mem:a", "mem:b"],
        "on": {
            "tools/call:touch-a": touch("mem:a"), "tools/call:touch-b": touch("mem:b"),
        },
    })
}

async fn touch(case: &Case<'_>, what: &str) {
    let url = case.url();
    Modern::new(&url).request("tools/call", json!({ "name": case.name(what) })).await.result();
}

async fn hears(stream: &mut Incoming, uri: &str, tag: Option<&Value>) {
    let message = stream.next().await.expect("a message");
    assert_eq!((&message["method"], &message["params"]["uri"]), (&json!(UPDATED), &json!(uri)));
    assert_eq!(message["params"]["_meta"].get(TAG), tag, "{message}");
}

async fn session(case: &Case<'_>, uri: &str) -> (Legacy, Incoming) {
    let client = Legacy::connect(&case.url(), "2025-11-25").await;
    let stream = client.get_stream().await;
    let reply = client.request("resources/subscribe", json!({ "uri": uri })).await;
    assert_eq!(reply.result(), &json!({}), "{case}");
    (client, stream)
}

async fn listen(case: &Case<'_>, id: &Value, uri: &str) -> Incoming {
    let params = json!({ "notifications": { "resourceSubscriptions": [uri] } });
    let mut stream = Modern::new(&case.url()).open_as(id, "subscriptions/listen", params).await;
    let first = stream.next().await.expect("an acknowledgement");
    let accepted = &first["params"]["notifications"]["resourceSubscriptions"];
    assert_eq!(accepted, &json!([uri]), "{case}: named as the client names it");
    stream
}

/// (subscriptions, their ends) of one resource that a legacy upstream saw.
fn counts(case: &Case<'_>, uri: &str) -> (usize, usize) {
    let of = |method| {
        let messages = case.upstream.received_of(method);
        messages.iter().filter(|m| m["params"]["uri"] == uri).count()
    };
    (of("resources/subscribe"), of("resources/unsubscribe"))
}

/// Waits for more ends than there were.
async fn ended(case: &Case<'_>, uri: &str, before: usize) {
    let more = async {
        while counts(case, uri).1 == before {
            tokio::task::yield_now().await;
        }
    };
    crate::support::bounded("the end of the subscription", more).await;
}

#[tokio::test]
async fn to_each_its_own() {
    let stage = Stage::with(script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        case.upstream.heard().await;
        let (a, b) = (case.uri("mem:a"), case.uri("mem:b"));
        let before = counts(case, "mem:a");
        let (session_a, mut stream_a) = session(case, &a).await;
        let (_session_b, mut stream_b) = session(case, &b).await;
        let mut listen_a = listen(case, &json!(1), &a).await;
        let mut listen_b = listen(case, &json!("1"), &b).await;
        touch(case, "touch-a").await;
        hears(&mut stream_a, &a, None).await;
        hears(&mut listen_a, &a, Some(&json!(1))).await;
        touch(case, "touch-b").await;
        hears(&mut stream_b, &b, None).await;
        hears(&mut listen_b, &b, Some(&json!("1"))).await;
        if case.upstream_era() == "legacy" {
            let now = counts(case, "mem:a");
            assert_eq!(now, (before.0 + 1, before.1), "{case}: asked once for both");
        }

        // one of two leaves: the other still hears, the one that left does not
        let gone = session_a.request("resources/unsubscribe", json!({ "uri": a })).await;
        assert_eq!(gone.result(), &json!({}));
        touch(case, "touch-a").await;
        hears(&mut listen_a, &a, Some(&json!(1))).await;
        session_a.request("resources/subscribe", json!({ "uri": b })).await.result();
        touch(case, "touch-b").await;
        hears(&mut stream_a, &b, None).await;
        assert_eq!(counts(case, "mem:a").1, before.1, "{case}: somebody still wants it");

        drop(listen_a);
        if case.upstream_era() == "legacy" {
            case.upstream.wait_for(r#""method":"resources/unsubscribe""#).await;
            ended(case, "mem:a", before.1).await;
        }
        assert_eq!(session_a.delete().await, 200);
    }
}

#[tokio::test]
async fn the_end_of_a_session_ends_its_subscriptions() {
    let stage = Stage::of(&["sl", "hl"], script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        let ends = counts(case, "mem:b").1;
        let (client, mut stream) = session(case, &case.uri("mem:b")).await;
        assert_eq!(client.delete().await, 200);
        assert!(stream.next().await.is_none(), "{case}: its stream ends with it");
        ended(case, "mem:b", ends).await;
    }
}

#[tokio::test]
async fn subscribing_twice_is_one_subscription() {
    let stage = Stage::of(&["sl"], script()).await;
    for case in stage.cases().iter().filter(|case| case.era == "legacy") {
        let uri = case.uri("mem:a");
        let before = counts(case, "mem:a");
        let (client, mut stream) = session(case, &uri).await;
        client.request("resources/subscribe", json!({ "uri": uri })).await.result();
        client.request("resources/unsubscribe", json!({ "uri": uri })).await.result();
        client.request("resources/unsubscribe", json!({ "uri": uri })).await.result();
        let (other, mut witness) = session(case, &uri).await;
        touch(case, "touch-a").await;
        hears(&mut witness, &uri, None).await;
        client.request("resources/subscribe", json!({ "uri": case.uri("mem:b") })).await.result();
        touch(case, "touch-b").await;
        hears(&mut stream, &case.uri("mem:b"), None).await;
        assert_eq!(counts(case, "mem:a"), (before.0 + 2, before.1 + 1), "{case}");
        other.delete().await;
        ended(case, "mem:a", before.1 + 1).await;
    }
}

#[tokio::test]
async fn what_the_upstream_refuses_is_refused() {
    let mut script = script();
    let refusal = json!([{ "error": { "code": -32002, "message": "no such thing" } }]);
    script["on"]["resources/subscribe:mem:none"] = refusal;
    let stage = Stage::of(&["sl", "hl"], script).await;
    for case in stage.cases() {
        let uri = case.uri("mem:none");
        match case.client().await {
            Client::Legacy(client) => {
                let reply = client.request("resources/subscribe", json!({ "uri": uri })).await;
                assert_eq!(reply.error_code(), -32002, "{case}");
                assert_eq!(reply.error()["data"]["uri"], uri, "{case}: as the client names it");
            }
            Client::Modern(client) => {
                let wanted = json!({ "notifications": { "resourceSubscriptions": [uri, case.uri("mem:a")] } });
                let mut stream = client.open("subscriptions/listen", wanted).await;
                let first = stream.next().await.expect("an acknowledgement");
                let accepted = &first["params"]["notifications"]["resourceSubscriptions"];
                assert_eq!(
                    accepted,
                    &json!([case.uri("mem:a")]),
                    "{case}: without what was refused"
                );
            }
        }
    }
}

/// An end that came in after the new beginning would end it.
#[tokio::test]
async fn an_end_is_never_overtaken_by_a_new_beginning() {
    let mut script = script();
    script["on"]["resources/unsubscribe"] = json!([{ "await": "go" }, { "usual": true }]);
    for (kinds, aggregate) in [(["sl"], false), (["hl"], true)] {
        let stage = Stage::of(&kinds, script.clone()).await;
        let cases = stage.cases();
        let mut cases = cases.iter().filter(|case| case.era == "legacy");
        let case = cases.find(|case| case.aggregate == aggregate).expect("one of each");
        case.upstream.heard().await;
        let uri = case.uri("mem:a");
        let (client, mut stream) = session(case, &uri).await;
        client.request("resources/unsubscribe", json!({ "uri": uri })).await.result();
        case.upstream.reached("go").await;
        let again = client.request("resources/subscribe", json!({ "uri": uri }));
        let meanwhile = async {
            for _ in 0..5 {
                touch(case, "touch-b").await;
            }
            assert_eq!(counts(case, "mem:a").0, 1, "{case}: the end comes first");
            case.upstream.release("go");
        };
        let (again, ()) = tokio::join!(again, meanwhile);
        again.result();
        touch(case, "touch-a").await;
        hears(&mut stream, &uri, None).await;
    }
}

/// However many there are: none stays behind at the upstream, where places are few.
#[tokio::test]
async fn a_session_that_ends_takes_all_its_subscriptions_with_it() {
    const MANY: usize = 900;
    let stage = Stage::of(&["sl"], script()).await;
    let client = Legacy::connect(&stage.proxy.url("/mcp/sl"), "2025-11-25").await;
    for number in 0..MANY {
        let uri = json!({ "uri": format!("mem:{number}") });
        client.request("resources/subscribe", uri).await.result();
    }
    assert_eq!(client.delete().await, 200);
    for number in 0..MANY {
        stage
            .upstream("sl")
            .wait_for(&format!("unsubscribe\",\"params\":{{\"uri\":\"mem:{number}\""))
            .await;
    }
}

/// MCP 2026-07-28 basic/patterns/subscriptions, "Acknowledgment": what is left out is not honoured.
/// The client has named a resource without updates, not a method that is unknown.
#[tokio::test]
async fn a_resource_that_is_not_acknowledged_is_not_subscribed_to() {
    let acknowledged = json!({ "say": {
        "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": { "_meta": { TAG: "$id" }, "notifications": { "toolsListChanged": true } },
    }});
    let mut script = script();
    script["era"] = "modern".into();
    script["on"]["subscriptions/listen"] = json!([acknowledged]);
    let fake = FakeStdio::new(script);
    let proxy = Proxy::with(json!({ "mcpServers": { "s": fake.entry() } })).start().await;
    proxy.logs.wait_for("s: ready").await;
    let client = Legacy::connect(&proxy.url("/mcp/s"), "2025-11-25").await;
    let refused = client.request("resources/subscribe", json!({ "uri": "mem:a" })).await;
    assert_eq!(refused.error_code(), -32602, "{refused:?}");
}
