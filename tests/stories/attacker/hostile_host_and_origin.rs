//! DNS rebinding and web pages (CVE-2025-66414 and its many siblings): only this machine by its own
//! names, only origins of this machine or of the configuration, whatever else the request says.

use super::{ACCEPT, JSON, MODERN, Scene, modern_body};
use crate::support::RawHttp;
use serde_json::json;

const LIST: (&str, &str) = ("Mcp-Method", "tools/list");

/// The status of an otherwise perfect request with this target and these headers.
async fn status(scene: &Scene, target: &str, headers: &[(&str, &str)]) -> u16 {
    let body = modern_body(1, "tools/list", json!({}));
    let mut head = format!("POST {target} HTTP/1.1\r\n");
    for (name, value) in [&[ACCEPT, JSON, MODERN, LIST], headers].concat() {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let mut http = RawHttp::connect(&scene.url()).await;
    http.send(head).await;
    http.response().await.status()
}

#[tokio::test]
async fn only_this_machine_by_its_own_names() {
    let scene = Scene::new().await;
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:3050", "127.0.0.1", "[::1]", "[::1]:80"] {
        assert_eq!(status(&scene, "/mcp/good", &[("Host", host)]).await, 200, "{host}");
    }
    for host in [
        "evil.com",
        "evil.com:3050",
        "localhost.",
        "localhost.evil.com",
        "127.0.0.1.evil.com",
        "127.0.0.1.",
        "127.0.0.2",
        "127.1",
        "0.0.0.0:3050",
        "2130706433",
        "0x7f.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::1%lo]",
        "[::1]evil.com",
        "::1",
        "[0:0:0:0:0:0:0:1]",
        "user@localhost",
        "localhost@evil.com",
        "localhost:3050@evil.com",
        "localhost:port",
        "localhost:80:80",
        "localhost, evil.com",
        "localhost evil.com",
        "localhost/",
        "https://localhost",
        "",
    ] {
        let got = status(&scene, "/mcp/good", &[("Host", host)]).await;
        assert!([400, 403].contains(&got), "Host {host:?}: {got}");
    }
    assert_eq!(status(&scene, "/mcp/good", &[("Host", "evil.com")]).await, 403);
    assert_eq!(status(&scene, "/mcp/good", &[]).await, 400, "no Host");
    let twice = [("Host", "localhost"), ("Host", "evil.com")];
    assert_eq!(status(&scene, "/mcp/good", &twice).await, 400, "two hosts");
    let same = [("Host", "localhost"), ("Host", "localhost")];
    assert_eq!(status(&scene, "/mcp/good", &same).await, 400, "one host twice");
    scene.others_are_served().await;
}

#[tokio::test]
async fn what_a_proxy_would_say_changes_nothing() {
    let scene = Scene::new().await;
    for (name, value) in [
        ("X-Forwarded-Host", "localhost"),
        ("Forwarded", "host=localhost"),
        ("X-Original-Host", "localhost"),
        ("X-Host", "localhost"),
        (":authority", "localhost"),
    ] {
        let got = status(&scene, "/mcp/good", &[("Host", "evil.com"), (name, value)]).await;
        assert!([400, 403].contains(&got), "{name}: {got}");
    }
    for (name, value) in [("X-Original-URL", "/mcp/good"), ("X-HTTP-Method-Override", "GET")] {
        let got = status(&scene, "/nowhere", &[("Host", "localhost"), (name, value)]).await;
        assert_eq!(got, 404, "{name}");
    }
}

/// RFC 9112 §3.2.2: the target of an absolute-form request is who is asked.
#[tokio::test]
async fn an_absolute_target_must_be_the_host() {
    let scene = Scene::new().await;
    let local = [("Host", "localhost")];
    assert_eq!(status(&scene, "http://localhost/mcp/good", &local).await, 200);
    for target in [
        "http://evil.com/mcp/good",
        "http://user@localhost/mcp/good",
        "http://localhost@evil.com/mcp/good",
        "http://localhost.evil.com/mcp/good",
        "http://[::1]/mcp/good",
    ] {
        let got = status(&scene, target, &local).await;
        assert!([400, 403].contains(&got), "{target}: {got}");
    }
    for host in ["evil.com", "user@localhost"] {
        let got = status(&scene, &format!("http://{host}/mcp/good"), &[("Host", host)]).await;
        assert!([400, 403].contains(&got), "{host}: {got}");
    }
    let mut http = RawHttp::connect(&scene.url()).await;
    http.send("CONNECT evil.com:80 HTTP/1.1\r\nHost: evil.com\r\n\r\n").await;
    assert!((400..500).contains(&http.head().await.status()));
    let mut http = RawHttp::connect(&scene.url()).await;
    http.send("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!((400..500).contains(&http.head().await.status()));
    scene.others_are_served().await;
}

#[tokio::test]
async fn only_our_origins_and_only_one() {
    let gateway = json!({ "allowedOrigins": ["https://app.example:8443"] });
    let scene = Scene::with(json!({}), gateway).await;
    let host = ("Host", "localhost");
    for origin in
        ["http://localhost:6274", "https://127.0.0.1", "http://[::1]:1", "https://APP.example:8443"]
    {
        let got = status(&scene, "/mcp/good", &[host, ("Origin", origin)]).await;
        assert_eq!(got, 200, "{origin}");
    }
    for origin in [
        "null",
        "",
        "http://evil.com",
        "https://app.example",
        "https://app.example:8443.evil.com",
        "https://app.example:84430",
        "http://app.example:8443",
        "http://localhost.evil.com",
        "http://localhost.",
        "http://localhost@evil.com",
        "http://user@localhost",
        "http://localhost/path",
        "http://127.0.0.1.evil.com",
        "http://0.0.0.0",
        "http://[::ffff:127.0.0.1]",
        "http://localhost, http://evil.com",
        "http://localhost http://evil.com",
        "file://",
        "file://localhost",
        "ftp://localhost",
        "javascript://localhost",
        "localhost",
        "//localhost",
        "chrome-extension://abc",
    ] {
        let got = status(&scene, "/mcp/good", &[host, ("Origin", origin)]).await;
        assert_eq!(got, 403, "Origin {origin:?}");
    }
    for second in ["http://localhost", "http://evil.com", "null"] {
        let two = [host, ("Origin", "http://localhost"), ("Origin", second)];
        assert_eq!(status(&scene, "/mcp/good", &two).await, 403, "two: {second}");
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn every_verb_and_path_asks_the_same() {
    let scene = Scene::new().await;
    let session = scene.legacy().await.session.expect("a session");
    for method in ["GET", "DELETE", "POST", "OPTIONS", "PUT", "HEAD", "PATCH", "TRACE"] {
        for path in ["/mcp", "/mcp/good", "/", "/favicon.ico", "/health"] {
            let url = scene.proxy.url(path);
            let headers = [("Origin", "http://evil.com"), ("Mcp-Session-Id", session.as_str())];
            let mut http = RawHttp::connect(&url).await;
            http.request(method, &url, &headers, "").await;
            let head = http.head().await;
            assert_eq!(head.status(), 403, "{method} {path}");
            let cors = head.headers.iter().find(|(n, _)| n.starts_with("access-control-"));
            assert_eq!(cors, None, "nothing is allowed to a foreign page");
        }
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn a_browser_that_names_another_site_is_refused() {
    let scene = Scene::new().await;
    for (site, expected) in
        [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
    {
        let headers = [("Host", "localhost"), ("Sec-Fetch-Site", site)];
        assert_eq!(status(&scene, "/mcp/good", &headers).await, expected, "{site}");
    }
}

/// The refusal goes into the log as one harmless line, and not once per attempt without end.
#[tokio::test]
async fn a_refused_host_cannot_forge_the_log() {
    let scene = Scene::new().await;
    let host = "evil.com\u{1b}[31m";
    let _ = status(&scene, "/mcp/good", &[("Host", host)]).await;
    let long = "e".repeat(5000);
    let _ = status(&scene, "/mcp/good", &[("Host", &long)]).await;
    scene.proxy.logs.wait_for("eeee").await;
    for line in scene.proxy.logs.lines() {
        assert!(!line.contains('\u{1b}') && line.len() < 1000, "{line}");
    }
}
