//! Compares a tour through the gateway with the same tour spoken directly, result by result.
//!
//! Two results must be equal but for what is stated here, which is what the gateway may change:
//! - On the merged endpoint: names carry `slug__`, URIs `mcp-slug+`, in the places of `edit`; lists
//!   hold the other upstreams' entries too; a step may say `"merged": "code"` (the gateway's own
//!   refusal: only the error code is compared) or `"merged": "skip"`.
//! - Where client and upstream are of different eras: the result members `resultType`, `ttlMs`,
//!   `cacheScope` and the `serverInfo` in `_meta`; a tool's `execution`, and tools that can only run
//!   as a 2025-11-25 task.
//! - In `connect`: the gateway's own capabilities; the set of the five core ones is compared.
//! - The tools of `ASKING`: server-everything shows them only to clients that can be asked something,
//!   and the gateway can be, for its own clients.
//! - Progress: TypeScript clients drop a last event that arrives together with the answer.
//! - A step marked `"volatile": true`: words with a digit and names of days, in the members of
//!   `VOLATILE` only.

use serde_json::{Value, json};

/// Where a tour went, as far as its results may differ for it.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    /// The upstream's slug when the tour went to the merged endpoint.
    pub merged: Option<&'a str>,
    /// Whether client and upstream speak the same era through the gateway.
    pub same_era: bool,
}

const CORE: [&str; 5] = ["completions", "logging", "prompts", "resources", "tools"];
const ASKING: [&str; 5] = [
    "trigger-elicitation-request",
    "trigger-elicitation-request-async",
    "trigger-sampling-request",
    "trigger-sampling-request-async",
    "trigger-url-elicitation",
];
const VOLATILE: [&str; 4] = ["text", "blob", "datetime", "day_of_week"];
const WORDS: [&str; 9] =
    ["AM", "PM", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// One line for each step whose outcome differs. Empty: the tours are equal.
pub fn differences(
    steps: &[Value],
    direct: &Value,
    proxied: &Value,
    at: Situation<'_>,
) -> Vec<String> {
    let differing = |step: &Value| {
        let name = step["step"].as_str().unwrap_or_default();
        let (want, got) = (&direct[name], &proxied[name]);
        difference(step, want, got, at).map(|why| format!("{name}: {why}"))
    };
    steps.iter().filter_map(differing).collect()
}

/// One line for each step of a direct tour that failed, or that should have failed and did not.
pub fn unexpected(steps: &[Value], direct: &Value) -> Vec<String> {
    let odd = |step: &Value| {
        let outcome = &direct[step["step"].as_str().unwrap_or_default()];
        let failed = outcome.get("error").is_some();
        let fails = step["fails"].as_bool().unwrap_or(false);
        let lost = outcome.is_null() || outcome.get("thrown").is_some();
        (lost || failed != fails).then(|| format!("{}: {outcome}", step["step"]))
    };
    steps.iter().filter_map(odd).collect()
}

fn difference(step: &Value, direct: &Value, proxied: &Value, at: Situation<'_>) -> Option<String> {
    let (mut want, mut got) = (direct.clone(), proxied.clone());
    if step["do"] == "connect" {
        if at.merged.is_some() {
            return None;
        }
        keep_core(&mut want);
        keep_core(&mut got);
    }
    if let Some(slug) = at.merged {
        match step["merged"].as_str() {
            Some("skip") => return None,
            Some("code") => {
                (want, got) = (want["error"]["code"].take(), got["error"]["code"].take());
            }
            _ => {
                edit(step, &mut want, slug);
                keep_own(step, &mut got, slug);
            }
        }
    }
    for outcome in [&mut want, &mut got] {
        keep_unconditional(outcome);
        if !at.same_era {
            drop_era(outcome);
        }
        if step["volatile"] == true {
            blur(outcome);
        }
    }
    forgive_last_progress(&mut want, &mut got);
    first_difference("", &want, &got)
}

// ---- the merged endpoint ---------------------------------------------------------------------

/// What the gateway must have made of a direct outcome on the merged endpoint.
fn edit(step: &Value, outcome: &mut Value, slug: &str) {
    let uri = |v: &mut Value| prefix(v, &format!("mcp-{slug}+"));
    let name = |v: &mut Value| prefix(v, &format!("{slug}__"));
    match (step["do"].as_str(), step["kind"].as_str()) {
        (Some("list"), Some("resources")) => each(outcome, "items", |i| at(i, "uri", uri)),
        (Some("list"), Some("templates")) => each(outcome, "items", |i| at(i, "uriTemplate", uri)),
        (Some("list"), _) => each(outcome, "items", |i| at(i, "name", name)),
        (Some("changed"), _) => {
            each(outcome, "added", name);
            each(outcome, "removed", name);
        }
        (Some("subscribe"), _) => each(outcome, "updated", uri),
        _ => {
            at(outcome, "result", |r| edit_result(r, slug));
            each(outcome, "results", |o| at(o, "result", |r| edit_result(r, slug)));
        }
    }
    at(outcome, "error", |e| at(e, "data", |d| at(d, "uri", uri)));
}

/// Content blocks, messages and contents of a result.
fn edit_result(result: &mut Value, slug: &str) {
    let uri = |v: &mut Value| prefix(v, &format!("mcp-{slug}+"));
    let block = |b: &mut Value| match b["type"].as_str() {
        Some("resource_link") => at(b, "uri", uri),
        Some("resource") => at(b, "resource", |r| at(r, "uri", uri)),
        _ => {}
    };
    each(result, "content", block);
    each(result, "messages", |m| at(m, "content", block));
    each(result, "contents", |c| at(c, "uri", uri));
}

/// Leaves out the other upstreams' entries of a merged list.
fn keep_own(step: &Value, outcome: &mut Value, slug: &str) {
    let (member, start) = match step["kind"].as_str() {
        Some("resources") => ("uri", format!("mcp-{slug}+")),
        Some("templates") => ("uriTemplate", format!("mcp-{slug}+")),
        Some(_) => ("name", format!("{slug}__")),
        None => return,
    };
    if let Some(items) = outcome.get_mut("items").and_then(Value::as_array_mut) {
        items.retain(|i| i[member].as_str().is_some_and(|n| n.starts_with(&start)));
    }
}

fn prefix(value: &mut Value, start: &str) {
    if let Value::String(text) = value {
        text.insert_str(0, start);
    }
}

/// Changes a member, if it is there: indexing would make it.
fn at(value: &mut Value, member: &str, change: impl FnOnce(&mut Value)) {
    if let Some(member) = value.get_mut(member) {
        change(member);
    }
}

fn each(value: &mut Value, member: &str, change: impl FnMut(&mut Value)) {
    if let Some(Value::Array(items)) = value.get_mut(member) {
        items.iter_mut().for_each(change);
    }
}

// ---- eras, capabilities, what changes by itself ----------------------------------------------

/// Without the tools that a server shows only to clients which can be asked something.
fn keep_unconditional(outcome: &mut Value) {
    if let Some(items) = outcome.get_mut("items").and_then(Value::as_array_mut) {
        let asks = |item: &Value| {
            let name = item["name"].as_str().unwrap_or_default();
            ASKING.iter().any(|tool| name == *tool || name.ends_with(&format!("__{tool}")))
        };
        items.retain(|item| !asks(item));
    }
}

fn keep_core(outcome: &mut Value) {
    if let Some(list) = outcome.get_mut("capabilities").and_then(Value::as_array_mut) {
        list.retain(|c| c.as_str().is_some_and(|c| CORE.contains(&c)));
    }
}

fn drop_era(outcome: &mut Value) {
    if let Some(result) = outcome.get_mut("result") {
        drop_era_members(result);
    }
    if let Some(results) = outcome.get_mut("results") {
        results.as_array_mut().into_iter().flatten().for_each(drop_era);
    }
    if let Some(items) = outcome.get_mut("items").and_then(Value::as_array_mut) {
        items.retain(|i| i["execution"]["taskSupport"] != "required");
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.remove("execution");
        }
    }
}

fn drop_era_members(result: &mut Value) {
    let Value::Object(members) = result else {
        return;
    };
    for member in ["resultType", "ttlMs", "cacheScope"] {
        members.remove(member);
    }
    if let Some(Value::Object(meta)) = members.get_mut("_meta") {
        meta.remove("io.modelcontextprotocol/serverInfo");
        if meta.is_empty() {
            members.remove("_meta");
        }
    }
}

fn blur(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(blur),
        Value::Object(members) => {
            for (key, member) in members.iter_mut() {
                match member {
                    Value::String(text) if VOLATILE.contains(&key.as_str()) => {
                        *text = blurred(text)
                    }
                    _ => blur(member),
                }
            }
        }
        _ => {}
    }
}

fn blurred(text: &str) -> String {
    let word = |w: &str| {
        let bare = w.trim_matches(|c: char| !c.is_alphanumeric());
        let volatile = w.contains(|c: char| c.is_ascii_digit()) || WORDS.contains(&bare);
        if volatile { "#".to_owned() } else { w.to_owned() }
    };
    let words: Vec<String> = text.split_whitespace().map(word).collect();
    words.join(" ")
}

/// Where one of two lists has exactly one more event at its end, that event is taken away.
fn forgive_last_progress(want: &mut Value, got: &mut Value) {
    if let (Some(Value::Array(a)), Some(Value::Array(b))) =
        (want.get("results").cloned().as_mut(), got.get("results").cloned().as_mut())
    {
        for (a, b) in a.iter_mut().zip(b.iter_mut()) {
            forgive_last_progress(a, b);
        }
        want["results"] = json!(a);
        got["results"] = json!(b);
    }
    let length = |v: &Value| v.get("progress").and_then(Value::as_array).map_or(0, Vec::len);
    let (wanted, seen) = (length(want), length(got));
    let longer = if wanted == seen + 1 {
        want
    } else if seen == wanted + 1 {
        got
    } else {
        return;
    };
    if let Some(events) = longer.get_mut("progress").and_then(Value::as_array_mut) {
        events.pop();
    }
}

// ---- where two values differ -----------------------------------------------------------------

fn first_difference(path: &str, want: &Value, got: &Value) -> Option<String> {
    match (want, got) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
            keys.map(|k| (k, a.get(k), b.get(k)))
                .find_map(|(k, a, b)| member_difference(&format!("{path}/{k}"), a, b))
        }
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len()))
            .find_map(|i| member_difference(&format!("{path}/{i}"), a.get(i), b.get(i))),
        _ if want == got => None,
        _ => Some(format!("{path}: directly {want}, through us {got}")),
    }
}

fn member_difference(path: &str, want: Option<&Value>, got: Option<&Value>) -> Option<String> {
    match (want, got) {
        (Some(a), Some(b)) => first_difference(path, a, b),
        (Some(a), None) => Some(format!("{path}: directly {a}, through us nothing")),
        (None, Some(b)) => Some(format!("{path}: directly nothing, through us {b}")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Situation, differences, unexpected};
    use serde_json::{Value, json};

    const ALONE: Situation<'_> = Situation { merged: None, same_era: true };
    const MERGED: Situation<'_> = Situation { merged: Some("a"), same_era: true };

    fn one(step: &Value, direct: &Value, proxied: &Value, at: Situation<'_>) -> Vec<String> {
        let mut step = step.clone();
        step["step"] = json!("s");
        differences(&[step], &json!({ "s": direct }), &json!({ "s": proxied }), at)
    }

    #[test]
    fn equal_results_are_equal_and_others_are_named() {
        let call = json!({ "do": "call" });
        let a = json!({ "result": { "content": [{ "type": "text", "text": "x" }] } });
        let b = json!({ "result": { "content": [{ "type": "text", "text": "y" }] } });
        assert!(one(&call, &a, &a, ALONE).is_empty());
        assert!(one(&call, &a, &a, MERGED).is_empty());
        let found = one(&call, &a, &b, ALONE);
        assert_eq!(found, [r#"s: /result/content/0/text: directly "x", through us "y""#]);
        assert_eq!(one(&call, &a, &Value::Null, ALONE).len(), 1);
    }

    #[test]
    fn the_merged_endpoint_must_prefix_names_and_uris_and_may_hold_more() {
        let tools = json!({ "do": "list", "kind": "tools" });
        let direct = json!({ "items": [{ "name": "t", "title": "T" }] });
        let merged = json!({ "items": [{ "name": "b__t" }, { "name": "a__t", "title": "T" }] });
        assert!(one(&tools, &direct, &merged, MERGED).is_empty());
        assert!(!one(&tools, &direct, &direct, MERGED).is_empty());
        let read = json!({ "do": "read" });
        let direct = json!({ "result": { "contents": [{ "uri": "x://1", "text": "x://1" }] } });
        let merged =
            json!({ "result": { "contents": [{ "uri": "mcp-a+x://1", "text": "x://1" }] } });
        assert!(one(&read, &direct, &merged, MERGED).is_empty());
        assert!(!one(&read, &direct, &direct, MERGED).is_empty());
        let error = json!({ "error": { "code": -32602, "data": { "uri": "x://1" } } });
        assert!(!one(&read, &error, &error, MERGED).is_empty());
    }

    #[test]
    fn a_change_of_the_merged_list_must_name_its_own_entries() {
        let step = json!({ "do": "changed", "kind": "tools" });
        let changed = |added: &str| json!({ "announced": true, "added": [added], "removed": [] });
        assert!(one(&step, &changed("t"), &changed("a__t"), MERGED).is_empty());
        assert!(!one(&step, &changed("t"), &changed("b__t"), MERGED).is_empty());
    }

    #[test]
    fn nothing_is_added_where_nothing_is_edited() {
        let (ping, empty) = (json!({ "do": "ping" }), json!({ "result": {} }));
        assert!(one(&ping, &empty, &empty, MERGED).is_empty());
        let many = json!({ "do": "parallel" });
        let done = json!({ "results": [{ "result": { "content": [] }, "progress": [] }] });
        assert!(one(&many, &done, &done, MERGED).is_empty());
    }

    #[test]
    fn links_and_embedded_resources_must_be_rewritten() {
        let call = json!({ "do": "call" });
        let with = |start: &str| {
            let (link, inner) = (format!("{start}x://1"), format!("{start}x://2"));
            json!({ "result": { "content": [{ "type": "resource_link", "uri": link },
                { "type": "resource", "resource": { "uri": inner } }] } })
        };
        assert!(one(&call, &with(""), &with("mcp-a+"), MERGED).is_empty());
        assert!(!one(&call, &with(""), &with(""), MERGED).is_empty());
    }

    #[test]
    fn era_members_count_only_within_one_era() {
        let call = json!({ "do": "call" });
        let meta = json!({ "io.modelcontextprotocol/serverInfo": { "name": "n" } });
        let plain = json!({ "result": { "content": [] } });
        let modern =
            json!({ "result": { "content": [], "resultType": "complete", "_meta": meta } });
        let across = Situation { same_era: false, ..ALONE };
        assert!(one(&call, &plain, &modern, across).is_empty());
        assert!(!one(&call, &plain, &modern, ALONE).is_empty());
    }

    #[test]
    fn volatile_steps_are_compared_without_their_times() {
        let at = |time: &str| json!({ "result": { "content": [{ "type": "text", "text": format!("made at {time}") }] } });
        let (a, b) = (at("11:59:59 AM"), at("12:00:01 PM"));
        let volatile = json!({ "do": "call", "volatile": true });
        assert!(one(&volatile, &a, &b, ALONE).is_empty());
        assert!(!one(&json!({ "do": "call" }), &a, &b, ALONE).is_empty());
    }

    #[test]
    fn one_progress_event_may_be_lost_at_the_end_only() {
        let call = json!({ "do": "call" });
        let with = |events: Value| json!({ "result": {}, "progress": events });
        assert!(one(&call, &with(json!([1, 2])), &with(json!([1])), ALONE).is_empty());
        assert!(!one(&call, &with(json!([1, 2])), &with(json!([2])), ALONE).is_empty());
        assert!(!one(&call, &with(json!([1, 2, 3])), &with(json!([1])), ALONE).is_empty());
    }

    #[test]
    fn a_direct_tour_must_do_what_its_plan_says() {
        let steps = [json!({ "step": "a" }), json!({ "step": "b", "fails": true })];
        let error = json!({ "error": { "code": 1 } });
        let good = json!({ "a": { "result": {} }, "b": error });
        assert!(unexpected(&steps, &good).is_empty());
        let bad = json!({ "a": { "thrown": "E" }, "b": { "result": {} } });
        assert_eq!(unexpected(&steps, &bad).len(), 2);
        assert_eq!(unexpected(&steps, &json!({})).len(), 2);
    }
}
