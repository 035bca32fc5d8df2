//! What somebody who runs the gateway is promised: it is there at once, says clearly what is wrong,
//! keeps one bad server from spoiling the others, and leaves nothing behind.

mod a_crash_loop_is_rare_and_readable;
mod a_crashed_upstream_comes_back_within_5s;
mod a_dead_upstream_never_empties_or_delays_the_others;
mod a_hung_upstream_does_not_stay_ready;
mod a_question_to_a_file_says_what_is_missing;
mod a_replica_dies_and_nobody_is_harmed;
mod a_server_that_cannot_be_used_says_why;
mod a_stop_lets_requests_finish;
mod a_tree_that_outgrows_its_bounds_is_killed;
mod bad_config_is_told_whole;
mod cli_asks_and_answers;
mod config_search_never_reads_the_current_directory;
mod disabled_means_not_there;
mod lanes_are_few_and_end;
mod listens_within_50ms_whatever_upstreams_do;
mod missing_command_is_one_clear_line;
mod port_in_use_is_clear;
mod protocol_pins_are_obeyed;
mod refuses_addresses_that_are_not_loopback;
mod sigkill_of_the_gateway_leaves_no_children;
mod sigterm_ends_everything;
mod systemd_is_told_and_obeyed;
mod the_first_list_waits_two_seconds;
mod what_holds_a_server_is_said;

use crate::support::Modern;
use serde_json::{Value, json};

/// The names of the tools that an endpoint shows.
pub(crate) async fn tools(url: &str) -> Vec<String> {
    let reply = Modern::new(url).request("tools/list", json!({})).await;
    let tools = reply.result()["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect()
}

/// What the built-in server says of the server with this key.
pub(crate) async fn status(url: &str, key: &str) -> Value {
    let client = Modern::new(url);
    let reply = client.request("tools/call", json!({ "name": "1mcp__list_servers" })).await;
    let servers = reply.result()["structuredContent"]["servers"].clone();
    let found = servers.as_array().and_then(|all| all.iter().find(|s| s["name"] == key).cloned());
    found.unwrap_or_else(|| panic!("no {key} in {servers}"))
}
