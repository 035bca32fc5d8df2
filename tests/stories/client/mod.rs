//! What someone with an MCP client is promised.

mod a_tool_that_runs_only_as_a_task;
mod an_upstream_without_a_route_for_get;
