//! What the upstream reads is what the client wrote, byte for byte, but for the edits that the
//! protocol demands: the id, the progress token, the name on the merged endpoint, and the metadata
//! that one era has and the other does not.

use crate::stage::{Case, Stage};
use serde_json::{Value, json};

const LIST: &str = r#"{"tools":[{"name":"od\u0064","inputSchema":{"type":"object"}}],"prompts":[{"name":"\u0070"}],"resources":[]}"#;

/// What only modern requests say of themselves, as we say it for a legacy client.
fn ours() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"1mcp","title":"1MCP","version":"{version}"}},"io.modelcontextprotocol/clientCapabilities":{{}}"#
    )
}

const VERSION: &str = r#""io.modelcontextprotocol/protocolVersion" : "2026-07-28""#;
const CAPABILITIES: &str =
    r#""io.modelcontextprotocol\/clientCapabilities":{ "sampling" : {},"x":1.0e5 }"#;
const INFO: &str = r#""io.modelcontextprotocol/clientInfo":{"name":"\u0041","version":"1"}"#;

/// Everything in it that somebody might be tempted to write in another way.
const ODD: &str = r##"{"$schema":"x","$defs":{"$anchor":"a","$ref":"#\/$defs"}, "big":12345678901234567890123 ,"float":1.0e5,"zero":-0.0,"e":1E+2,"escapes":"\u0041\/\u00e9é\ud800\uDFFF\u0000\t","dup":1,"dup":{"dup":[ ],"dup":{ }},"":null,"uri":"mem:a","name":"sl__odd"}"##;

struct Text {
    before: &'static str,
    between: &'static str,
    after: &'static str,
}

const PLAIN: Text = Text { before: "", between: "", after: "" };
const AIRY: Text = Text { before: " \t", between: " \t  ", after: "  \t " };
const PRETTY: Text = Text { before: "\r\n", between: "\n\t  ", after: "\r\n\n" };

/// A call; `meta` is the whole `_meta` member with a comma after it, or nothing.
fn call(layout: &Text, id: &str, name: &str, meta: &str) -> String {
    let Text { before, between: w, after } = layout;
    format!(
        r#"{before}{{{w}"extra"{w}:{w}{{"a":1,"a":2}},"jsonrpc"{w}:"2.0",{w}"id":{id}{w},"params":{{{meta}"unknown"{w}:{w}[1.0e5,-0],"name":{w}{name},"arguments"{w}:{ODD}{w}}},{w}"method":"tools\/call"{w}}}{after}"#
    )
}

/// `_meta` as a client of this era writes it.
fn meta_of(era: &str, token: &str) -> String {
    match era {
        "legacy" => format!(r#""_meta":{{ "progressToken":{token} ,"example.com/x":"\u0041"}}, "#),
        _ => format!(
            r#""_meta":{{ {VERSION} ,"progressToken":{token} ,{CAPABILITIES}, "example.com/x":"\u0041" , {INFO} }}, "#
        ),
    }
}

/// The same as an upstream of this era must get it.
fn edited_meta(case: &Case<'_>, token: &str) -> String {
    match (case.era, case.upstream_era()) {
        ("legacy", "modern") => {
            let ours = ours();
            format!(r#""_meta":{{{ours}, "progressToken":{token} ,"example.com/x":"\u0041"}}, "#)
        }
        ("modern", "legacy") => {
            format!(r#""_meta":{{ "progressToken":{token} ,"example.com/x":"\u0041" }}, "#)
        }
        (same, _) => meta_of(same, token),
    }
}

fn script() -> Value {
    json!({ "on": {
        "tools/list": [{ "resultText": LIST }],
        "prompts/list": [{ "resultText": LIST }],
        "resources/list": [{ "resultText": LIST }],
        "tools/call": [{ "resultText": r#"{"content":[]}"# }],
        "prompts/get": [{ "resultText": r#"{"messages":[]}"# }],
        "resources/read": [{ "resultText": r#"{"contents":[]}"# }],
        "completion/complete": [{ "resultText": r#"{"completion":{"values":[]}}"# }],
    }})
}

/// The id that we gave the last request with this in it.
fn our_id(received: &str) -> String {
    let at = received.rfind("\"id\":").expect("an id") + "\"id\":".len();
    received[at..].chars().take_while(char::is_ascii_digit).collect()
}

#[tokio::test]
async fn calls_with_everything_odd_in_them() {
    let stage = Stage::with(script()).await;
    for case in stage.cases() {
        let client = case.client().await;
        for layout in [PLAIN, AIRY, PRETTY] {
            for (id, token) in [("7", r#""t\u006fken""#), (r#""\u0069d\/""#, "-12")] {
                // written in an odd way, which nobody must see through
                let name = if case.aggregate {
                    format!(r#""{}__\u006fdd""#, case.kind)
                } else {
                    r#""\u006fdd""#.to_owned()
                };
                let body = call(&layout, id, &name, &meta_of(case.era, token));
                let reply = client.send(&body).await;
                assert!(reply.texts[0].contains(&format!(r#""id":{id},"#)), "{case}: {reply:?}");
                let received = case.upstream.last_with("tools\\/call");
                let ours = our_id(&received);
                let name = if case.aggregate { r#""od\u0064""# } else { &name };
                let mut expected = call(&layout, &ours, name, &edited_meta(&case, &ours));
                if case.is_stdio() {
                    expected = expected.replace(['\r', '\n'], " ");
                }
                assert_eq!(received, expected, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn calls_with_no_metadata_or_only_their_own() {
    let stage = Stage::with(script()).await;
    for case in stage.cases() {
        let client = case.client().await;
        let own = format!(r#""_meta":{{{VERSION}, {CAPABILITIES}}}, "#);
        let name =
            if case.aggregate { format!(r#""{}__odd""#, case.kind) } else { r#""odd""#.to_owned() };
        let sent = if case.era == "legacy" { "" } else { &own };
        client.send(&call(&AIRY, "1", &name, sent)).await;
        let received = case.upstream.last_with("tools\\/call");
        let theirs = match (case.era, case.upstream_era()) {
            ("legacy", "modern") => format!(r#""_meta":{{{}}},"#, ours()),
            ("modern", "modern") => own.clone(),
            _ => String::new(),
        };
        let name = if case.aggregate { r#""od\u0064""# } else { &name };
        let expected = call(&AIRY, &our_id(&received), name, &theirs);
        assert_eq!(received, expected, "{case}");
    }
}

#[tokio::test]
async fn prompts_reads_and_completions() {
    let stage = Stage::with(script()).await;
    for case in stage.cases() {
        let client = case.client().await;
        let (era, theirs) = (case.era, case.upstream_era());
        let meta = if era == "legacy" {
            String::new()
        } else {
            format!(r#""_meta":{{{VERSION},{CAPABILITIES}}},"#)
        };
        let edited = match (era, theirs) {
            ("legacy", "modern") => format!(r#""_meta":{{{}}},"#, ours()),
            ("modern", "modern") => meta.clone(),
            _ => String::new(),
        };
        let rows = [
            (
                "prompts/get",
                r#""arguments":{"who":"\u0041\/"},"name":$,"x":[1.0e5]"#,
                case.name("p"),
                r#""\u0070""#,
                r#""p""#,
            ),
            (
                "resources/read",
                r#""uri" : $ ,"x":1.0e5"#,
                case.uri("mem:ä"),
                r#""mem:ä""#,
                r#""mem:ä""#,
            ),
            (
                "completion/complete",
                r#""ref":{"x":1.0e5,"type":"ref\/prompt","name":$ },"argument":{"name":"a","value":"\u0041"}"#,
                case.name("p"),
                r#""\u0070""#,
                r#""p""#,
            ),
            (
                "completion/complete",
                r#""ref":{"uri": $, "type":"ref/resource"},"argument":{"value":"\/","name":"a"},"context":{"arguments":{"a":"\u0041"}}"#,
                case.uri("mem:{a}"),
                r#""mem:{a}""#,
                r#""mem:{a}""#,
            ),
        ];
        for (method, params, seen, own, alone) in rows {
            let request = |id: &str, meta: &str, name: &str| {
                let params = params.replace('$', name);
                format!(
                    r#"{{"method":"{method}","params":{{{meta}{params}}},"jsonrpc":"2.0","id":{id}, "end":1}}"#
                )
            };
            let seen = serde_json::to_string(&seen).expect("a string");
            let reply = client.send(&request(r#""x""#, &meta, &seen)).await;
            reply.result();
            let received = case.upstream.last_with(&format!("\"method\":\"{method}\""));
            let own = if case.aggregate { own } else { alone };
            assert_eq!(received, request(&our_id(&received), &edited, own), "{case}");
        }
    }
}
