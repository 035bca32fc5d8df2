//! Connections that do nothing keep nobody out: the one that has been idle for longest makes room.

use super::{MODERN, Scene};
use crate::support::RawHttp;
use serde_json::json;
use std::time::{Duration, Instant};

/// More than the 1,024 that may be open.
const CROWD: usize = 1_100;

#[tokio::test]
async fn a_newcomer_is_served_at_once_and_so_is_who_was_there() {
    let scene = Scene::new().await;
    let client = scene.legacy().await;
    let mut stream = client.get_stream().await; // busy, and older than all of them
    let url = scene.url();
    let mut crowd = Vec::with_capacity(CROWD);
    for _ in 0..CROWD {
        crowd.push(RawHttp::connect(&url).await);
    }
    let begun = Instant::now();
    let mut newcomer = RawHttp::connect(&url).await;
    newcomer.request("GET", &url, &[MODERN], "").await;
    assert_eq!(newcomer.head().await.status(), 405);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    scene.others_are_served().await;
    assert_eq!(scene.modern().request("tools/list", json!({})).await.status, 200);
    assert_eq!(scene.proxy.logs.count("closed unserved"), 0);
    assert_eq!(client.notify("notifications/initialized", json!({})).await, 202);
    assert_eq!(client.delete().await, 200);
    assert!(stream.next().await.is_none(), "the stream was there to its end");
}
