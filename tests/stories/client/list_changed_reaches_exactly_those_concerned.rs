//! A list that changes is announced to those who can see it and have asked, and to nobody else: on
//! the stream of a session, and on every listen that opted in, under that listen's own id.

use crate::stage::{KINDS, Stage};
use crate::support::{Incoming, Legacy, Modern};
use serde_json::{Value, json};

const TOOLS: &str = "notifications/tools/list_changed";
const PROMPTS: &str = "notifications/prompts/list_changed";
const RESOURCES: &str = "notifications/resources/list_changed";
const TAG: &str = "io.modelcontextprotocol/subscriptionId";

fn script() -> Value {
    json!({ "tools": ["grow", "prompts", "resources"], "on": {
        "tools/call:grow": [
            { "tools": ["grow", "prompts", "resources", "new"] },
            { "notify": [TOOLS, null] }, { "usual": true },
        ],
        "tools/call:prompts": [{ "notify": [PROMPTS, null] }, { "usual": true }],
        "tools/call:resources": [{ "notify": [RESOURCES, null] }, { "usual": true }],
    }})
}

/// A stream and what marks its messages.
struct Ear {
    stream: Incoming,
    tag: Option<Value>,
}

impl Ear {
    async fn session(url: &str) -> (Legacy, Ear) {
        let client = Legacy::connect(url, "2025-11-25").await;
        let stream = client.get_stream().await;
        (client, Ear { stream, tag: None })
    }

    async fn listen(url: &str, id: Value, notifications: Value) -> Ear {
        let params = json!({ "notifications": notifications });
        let mut stream = Modern::new(url).open_as(&id, "subscriptions/listen", params).await;
        let first = stream.next().await.expect("an acknowledgement");
        assert_eq!(first["params"]["_meta"][TAG], id, "{first}");
        Ear { stream, tag: Some(id) }
    }

    /// The next message is this, and nothing else came before it.
    async fn hears(&mut self, method: &str) {
        let message = self.stream.next().await.expect("a message");
        assert_eq!(message["method"], method, "{message}");
        let tag = message["params"]["_meta"].get(TAG);
        assert_eq!(tag, self.tag.as_ref(), "its own id, in its own type: {message}");
    }
}

async fn call(url: &str, tool: &str) {
    Modern::new(url).request("tools/call", json!({ "name": tool })).await.result();
}

#[tokio::test]
async fn the_right_list_of_the_right_endpoint() {
    let stage = Stage::with(script()).await;
    for (at, kind) in KINDS.into_iter().enumerate() {
        let (here, other) = (format!("/mcp/{kind}"), format!("/mcp/{}", KINDS[(at + 1) % 4]));
        let [here, other, all] = [&*here, &*other, "/mcp"].map(|path| stage.proxy.url(path));
        stage.upstream(kind).heard().await;
        let tools = json!({ "toolsListChanged": true, "promptsListChanged": false });
        let prompts = json!({ "promptsListChanged": true, "resourcesListChanged": true });
        let (client, session) = Ear::session(&here).await;
        let (_silent, mut elsewhere) = Ear::session(&other).await;
        let (_whole, whole) = Ear::session(&all).await;
        let mut concerned = [
            session,
            whole,
            Ear::listen(&here, json!(1), tools.clone()).await,
            Ear::listen(&here, json!("1"), tools.clone()).await,
            Ear::listen(&all, json!("ü"), tools.clone()).await,
        ];
        let mut for_prompts = [
            Ear::listen(&here, json!(1), prompts.clone()).await,
            Ear::listen(&all, json!(-1), prompts.clone()).await,
        ];
        let mut of_another = Ear::listen(&other, json!(1), tools).await;

        call(&here, "grow").await;
        for ear in &mut concerned {
            ear.hears(TOOLS).await;
        }
        let listed = client.request("tools/list", Value::Null).await;
        let names = listed.result()["tools"].as_array().expect("a list").iter();
        assert!(names.clone().any(|tool| tool["name"] == "new"), "what is announced can be listed");

        call(&here, "prompts").await;
        for ear in concerned.iter_mut().take(2).chain(&mut for_prompts) {
            ear.hears(PROMPTS).await; // and those who opted in to this one heard nothing before
        }
        call(&here, "resources").await;
        for ear in concerned.iter_mut().take(2).chain(&mut for_prompts) {
            ear.hears(RESOURCES).await;
        }
        // until its own upstream has news, nobody on another endpoint hears anything
        stage.upstream(KINDS[(at + 1) % 4]).heard().await;
        call(&other, "grow").await;
        elsewhere.hears(TOOLS).await;
        of_another.hears(TOOLS).await;
        for ear in &mut concerned[3..] {
            match ear.tag == Some(json!("ü")) {
                true => ear.hears(TOOLS).await,
                false => call(&here, "grow").await,
            }
        }
        concerned[3].hears(TOOLS).await;
    }
}

#[tokio::test]
async fn what_happened_before_the_stream_opened_is_told_when_it_does() {
    let stage = Stage::of(&["sl"], script()).await;
    let url = stage.proxy.url("/mcp/sl");
    let client = Legacy::connect(&url, "2025-11-25").await;
    let mut witness = Ear::listen(&url, json!(1), json!({ "toolsListChanged": true })).await;
    call(&url, "grow").await;
    witness.hears(TOOLS).await;
    let mut late = Ear { stream: client.get_stream().await, tag: None };
    late.hears(TOOLS).await;
}
