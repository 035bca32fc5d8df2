//! Lists are shown as their upstreams wrote them: whole on an endpoint of their own, entry by entry
//! on the merged one, with nothing changed but names, URIs, and what an era does not know.

use crate::stage::Stage;
use serde_json::{Value, json};

/// A tool, in which `NAME`, `UI` and `FLAT` differ on the merged endpoint, and `EXECUTION` is what
/// only the legacy era knows.
const TOOL: &str = r#"{ "title":"\/ \u0041\ud800", "name":NAME ,"inputSchema":{"type":"object","$schema":"https:\/\/json-schema.org/draft/2020-12/schema","$defs":{"n":{"$anchor":"a","const":12345678901234567890123}},"properties":{"p":{"default":1.0e5,"examples":[ -0.0 ],"default":2}}},EXECUTION"annotations":{ "readOnlyHint" : true },"outputSchema":{"type":"object"},"icons":[{"src":"mem:icon"}],"unknown":{"dup":1,"dup":[ ]},"_meta":{"ui":{"resourceUri":UI,"x":1.50},"ui/resourceUri" : FLAT} }"#;
const PROMPT: &str = r#"{"description":"\u0041","name": NAME ,"arguments":[{"name":"a","required":true,"x":1.0e5}]}"#;
const RESOURCE: &str = r#"{"uri" : NAME,"name":"\/","size":12345678901234567890123,"annotations":{"priority":0.50}, "x":{"x":1,"x":2}}"#;
const TEMPLATE: &str = r#"{"name":"t","uriTemplate":NAME,"mimeType":"text\/plain"}"#;

const EXECUTION: &str = r#""execution":{"taskSupport":"optional"}, "#;

struct List {
    method: &'static str,
    member: &'static str,
    entry: &'static str,
    /// As the upstream writes them.
    names: [&'static str; 2],
}

const LISTS: [List; 4] = [
    List {
        method: "tools/list",
        member: "tools",
        entry: TOOL,
        names: [r#""\u0074ool.1""#, r#""tool/é""#],
    },
    List {
        method: "prompts/list",
        member: "prompts",
        entry: PROMPT,
        names: [r#""p\/1""#, r#""p2""#],
    },
    List {
        method: "resources/list",
        member: "resources",
        entry: RESOURCE,
        names: [r#""mem:\/\/a\u0041""#, r#""notes""#],
    },
    List {
        method: "resources/templates/list",
        member: "resourceTemplates",
        entry: TEMPLATE,
        names: [r#""mem:{+path}""#, r#""{x}""#],
    },
];

fn entry(list: &List, name: &str, ui: &str, flat: &str, execution: &str) -> String {
    let text = list.entry.replace("NAME", name).replace("UI", ui);
    text.replace("FLAT", flat).replace("EXECUTION", execution)
}

const UI: &str = r#""ui:\/\/app/x""#;
const FLAT: &str = r#""ui://app/y""#;

/// The result as the upstream writes it; `added` goes where a member may be added.
fn result(list: &List, execution: &str, added: &str) -> String {
    let [one, two] = list.names.map(|name| entry(list, name, UI, FLAT, execution));
    let member = list.member;
    format!(
        r#"{{{added} "extra":{{"a":1,"a":1.0e5}},"{member}" : [ {one} ,{two}], "_meta":{{"k":"\u0041"}} }}"#
    )
}

/// A name or URI of the upstream as clients of the merged endpoint see it.
fn seen(list: &List, kind: &str, raw: &str) -> String {
    let own: String = serde_json::from_str(raw).expect("a string");
    let seen = match list.member {
        "tools" | "prompts" => format!("{kind}__{own}"),
        _ if own.starts_with("mem:") => format!("mcp-{kind}+{own}"),
        _ => format!("mcp-{kind}+:{own}"), // without a scheme of its own
    };
    format!("\"{seen}\"")
}

async fn stage() -> Stage {
    let on: serde_json::Map<String, Value> = LISTS
        .iter()
        .map(|list| {
            (list.method.to_owned(), json!([{ "resultText": result(list, EXECUTION, "") }]))
        })
        .collect();
    Stage::with(json!({ "on": on })).await
}

#[tokio::test]
async fn whole_on_an_endpoint_of_their_own() {
    let stage = stage().await;
    for case in stage.cases().iter().filter(|case| !case.aggregate) {
        let client = case.client().await;
        for list in &LISTS {
            let reply = client.open_as(&json!("i"), list.method, Value::Null).await.finish().await;
            let result = match (case.era, case.upstream_era()) {
                ("modern", "legacy") => {
                    result(list, "", r#""resultType":"complete","ttlMs":0,"cacheScope":"private","#)
                }
                _ => result(list, EXECUTION, ""),
            };
            let expected = format!(r#"{{"jsonrpc":"2.0","id":"i","result":{result}}}"#);
            assert_eq!(reply.texts, [expected], "{case}: {}", list.method);
        }
    }
}

#[tokio::test]
async fn entry_by_entry_on_the_merged_one() {
    let stage = stage().await;
    for case in stage.cases().iter().filter(|case| case.aggregate && case.kind == "sl") {
        let client = case.client().await;
        for list in &LISTS {
            let mut entries = Vec::new();
            for kind in crate::stage::KINDS {
                let ui = [UI, FLAT]
                    .map(|raw| raw.replace(r"\/", "/").replace("app", &format!("{kind}+app")));
                let execution = match (case.era, kind.ends_with('l')) {
                    ("modern", true) => "",
                    _ => EXECUTION,
                };
                entries.extend(
                    list.names.map(|name| {
                        entry(list, &seen(list, kind, name), &ui[0], &ui[1], execution)
                    }),
                );
            }
            let (member, entries) = (list.member, entries.join(","));
            let about = match case.era {
                "legacy" => String::new(),
                _ => format!(
                    r#","resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"1mcp","title":"1MCP","version":"{}"}}}}"#,
                    env!("CARGO_PKG_VERSION"),
                ),
            };
            let reply = client.open_as(&json!(3), list.method, Value::Null).await.finish().await;
            let expected =
                format!(r#"{{"jsonrpc":"2.0","id":3,"result":{{"{member}":[{entries}]{about}}}}}"#);
            assert_eq!(reply.texts, [expected], "{case}: {}", list.method);
        }
    }
}
