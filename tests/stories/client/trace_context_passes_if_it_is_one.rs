//! MCP 2026-07-28 basic, "OpenTelemetry trace context": the reserved keys hold what W3C says or are
//! not there. What is well-formed passes as it is, also what a client of the legacy era sends; what is
//! not stays here, because towards a modern upstream it is we who would send it.

use crate::stage::{Client, Stage};
use serde_json::{Value, json};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";

async fn sent(
    client: &Client,
    upstream: &crate::stage::Upstream,
    name: &str,
    meta: &Value,
) -> Value {
    let params = json!({ "name": name, "_meta": meta });
    client.request("tools/call", params).await.result();
    let call = upstream.received_of("tools/call").pop().expect("a call");
    let meta = call["params"].get("_meta").cloned().unwrap_or_else(|| json!({}));
    let keys = ["traceparent", "tracestate", "baggage", "x.y/k"];
    let kept = keys.into_iter().filter_map(|key| Some((key.to_owned(), meta.get(key)?.clone())));
    Value::Object(kept.collect())
}

#[tokio::test]
async fn what_is_one_passes() {
    let stage = Stage::with(json!({ "tools": ["echo"] })).await;
    let meta = json!({
        "traceparent": PARENT, "tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "baggage": "userId=alice;p,region=eu", "x.y/k": 1,
    });
    for case in stage.cases() {
        let client = case.client().await;
        assert_eq!(sent(&client, case.upstream, &case.name("echo"), &meta).await, meta, "{case}");
    }
}

#[tokio::test]
async fn what_is_none_does_not_reach_a_modern_upstream() {
    let stage = Stage::with(json!({ "tools": ["echo"] })).await;
    let cases = [
        // a state without the trace that it is about is of no use to anybody
        (
            json!({ "traceparent": "00-x-y-01", "tracestate": "a=1", "baggage": "a=1", "x.y/k": 1 }),
            json!({ "baggage": "a=1", "x.y/k": 1 }),
        ),
        (json!({ "tracestate": "a=1", "x.y/k": 2 }), json!({ "x.y/k": 2 })),
        (json!({ "traceparent": PARENT, "tracestate": "A B" }), json!({ "traceparent": PARENT })),
        (json!({ "traceparent": PARENT, "baggage": "a" }), json!({ "traceparent": PARENT })),
        (json!({ "traceparent": 7, "tracestate": [], "baggage": null }), json!({})),
    ];
    for case in stage.cases() {
        let client = case.client().await;
        for (meta, kept) in &cases {
            let sent = sent(&client, case.upstream, &case.name("echo"), meta).await;
            // in the legacy era the keys are reserved for nothing
            let expected = if case.upstream_era() == "modern" { kept } else { meta };
            assert_eq!(&sent, expected, "{case}: {meta}");
        }
    }
}
