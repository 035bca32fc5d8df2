//! What a story is told with: the real binary, plain HTTP, thin MCP clients, fake peers.
//!
//! Only peers are fake, never a module of ours. Every wait is on an event and has a bound
//! ([`BOUND`]); what is not reached fails with what was waited for.
//!
//! ```ignore
//! let fake = FakeStdio::new(json!({ "tools": ["echo"] }));
//! let proxy = Proxy::with(json!({ "mcpServers": { "fake": fake.entry() } })).start().await;
//! let client = Legacy::connect(&proxy.url("/mcp/fake"), "2025-11-25").await;
//! let reply = client.request("tools/call", json!({ "name": "echo", "arguments": { "a": 1 } })).await;
//! assert_eq!(reply.result()["content"][0]["text"], r#"{"a":1}"#);
//! ```
#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]
#![allow(clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a failing story shows the log")]
#![allow(clippy::disallowed_methods, reason = "test peers spawn their own tasks")]

pub(crate) mod clients;
pub(crate) mod fake_http;
pub(crate) mod fake_stdio;
pub(crate) mod http;
pub(crate) mod piped;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod script;
pub(crate) mod sse_client;

pub(crate) use clients::{Incoming, Legacy, Modern, Reply};
pub(crate) use fake_http::{Answer, FakeHttp, Step};
pub(crate) use fake_stdio::FakeStdio;
pub(crate) use http::{Event, Head, RawHttp};
pub(crate) use piped::Piped;
pub(crate) use proxy::{Logs, Proxy};
pub(crate) use sse_client::Sse;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longer than anything here should ever take, short enough to fail a hanging story.
pub(crate) const BOUND: Duration = Duration::from_secs(5);

/// Awaits with the bound; fails saying what never came.
pub(crate) async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(BOUND, future).await else {
        panic!("waited {BOUND:?} in vain for {what}");
    };
    value
}

/// A folder of its own for one test, removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("1mcp-story-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder is writable");
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, whole or not at all, as an editor would.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let (path, fresh) = (self.0.join(name), self.0.join(format!(".{name}.new")));
        std::fs::write(&fresh, text).expect("the temporary folder is writable");
        std::fs::rename(&fresh, &path).expect("the temporary folder is writable");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
