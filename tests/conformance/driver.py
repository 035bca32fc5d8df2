#!/usr/bin/env python3
"""What the official suite's client scenarios run: `driver.py URL`, where URL is the suite's mock server.

The client that is judged is the gateway, as the mock's client. So the driver starts the gateway with
the mock as its only upstream, and does through it, with the official Python SDK, what the scenario
expects a client to do. Environment, beside what the suite sets:

    ONEMCP_BINARY   the gateway
    DRIVER_MODE     the era of the client in front: legacy, or auto for 2026-07-28
    DRIVER_MERGED   1: on /mcp instead of /mcp/mock
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import Any, Iterator

import mcp.types as types
from mcp.client.client import Client

SCENARIO = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
CONTEXT: dict[str, Any] = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
MERGED = os.environ.get("DRIVER_MERGED") == "1"
PREFIX = "mock__" if MERGED else ""
LIMIT = 30.0  # seconds for everything; the suite's own limit is longer


@contextmanager
def gateway(mock: str) -> Iterator[str]:
    """Runs the gateway with that one upstream; gives the endpoint."""
    with tempfile.TemporaryDirectory(prefix="onemcp-driver-") as folder:
        config = pathlib.Path(folder) / "mcp.json"
        servers = {"mock": {"type": "http", "url": mock}}
        config.write_text(json.dumps({"mcpServers": servers, "gateway": {"auth": {"mode": "dangerously-disabled"}}}))
        command = [os.environ["ONEMCP_BINARY"], "serve", "--listen", "127.0.0.1:0", "--config", str(config)]
        environment = {**os.environ, "ONEMCP_STATE_DIR": f"{folder}/state"}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        address, is_ready = None, False  # a list of /mcp does not wait long for an upstream
        try:
            for line in process.stderr:
                print(line, end="", file=sys.stderr)
                is_ready = is_ready or "mock: ready" in line
                if "listening on http://" in line:
                    address = line.split("listening on http://")[1].split("/")[0]
                if address is not None and is_ready:
                    yield f"http://{address}/mcp" if MERGED else f"http://{address}/mcp/mock"
                    return
            raise SystemExit("the gateway ended before it listened and had its upstream")
        finally:
            process.terminate()
            print(process.communicate(timeout=15)[1], file=sys.stderr)


async def elicit(context: Any, params: types.ElicitRequestFormParams) -> types.ElicitResult:
    """Fills in what the form proposes, and says yes to the rest."""
    fields = params.requested_schema.get("properties", {})
    content = {name: field.get("default", True) for name, field in fields.items()}
    return types.ElicitResult(action="accept", content=content)


def least(schema: dict[str, Any]) -> dict[str, Any]:
    """The smallest arguments that a schema takes."""
    values = {"string": "x", "integer": 0, "number": 0, "boolean": False, "object": {}, "array": []}
    kinds = {name: p.get("type") for name, p in schema.get("properties", {}).items()}
    return {name: values.get(kinds.get(name), "x") for name in schema.get("required", [])}


async def soft(work: Awaitable[Any]) -> Any:
    """Some scenarios contain calls that fail, and judge how."""
    try:
        return await work
    except Exception as e:
        print(f"{SCENARIO}: {e}", file=sys.stderr)


class Steps:
    def __init__(self, client: Client, tools: list[types.Tool]) -> None:
        self.client, self.tools = client, {tool.name: tool for tool in tools}

    async def call(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        return await self.client.call_tool(PREFIX + name, arguments or {})

    async def add(self) -> None:
        await self.call("add_numbers", {"a": 5, "b": 3})

    async def reconnect(self) -> None:
        await self.call("test_reconnection")

    async def every_tool(self) -> None:
        for tool in self.tools.values():
            arguments = {"a": 1, "b": 2} if tool.name.endswith("add_numbers") else least(tool.input_schema)
            await soft(self.client.call_tool(tool.name, arguments))

    async def everything(self) -> None:
        await self.every_tool()
        for resource in (await self.client.list_resources()).resources:
            await soft(self.client.read_resource(resource.uri))
        for prompt in (await self.client.list_prompts()).prompts:
            await soft(self.client.get_prompt(prompt.name, {a.name: "x" for a in prompt.arguments or []}))

    async def given_calls(self) -> None:
        for call in CONTEXT.get("toolCalls", []):
            if PREFIX + call["name"] in self.tools:
                await soft(self.call(call["name"], call.get("arguments")))

    async def echo_schema(self) -> None:
        schema = self.tools[PREFIX + "json_schema_2020_12_tool"].input_schema
        await self.call("json_schema_echo", {"schema": schema})

    async def request_state(self) -> None:
        for name in ("echo_state", "unrelated", "no_state", "no_result_type"):
            await soft(self.call(f"test_mrtr_{name}"))

    async def defaults(self) -> None:
        await self.call("test_client_elicitation_defaults")

    async def nothing(self) -> None:
        """Connecting and listing tools is all."""


STEPS: dict[str, Callable[[Steps], Awaitable[None]]] = {
    "initialize": Steps.nothing,
    "json-schema-ref-no-deref": Steps.nothing,
    "tools_call": Steps.add,
    "request-metadata": Steps.add,
    "sse-retry": Steps.reconnect,
    "http-standard-headers": Steps.everything,
    "http-custom-headers": Steps.given_calls,
    "http-invalid-tool-headers": Steps.every_tool,
    "json-schema-2020-12-preservation": Steps.echo_schema,
    "sep-2322-client-request-state": Steps.request_state,
    "elicitation-sep1034-client-defaults": Steps.defaults,
}


async def drive(url: str) -> None:
    mode = os.environ["DRIVER_MODE"]
    async with asyncio.timeout(LIMIT):
        async with Client(url, mode=mode, cache=None, elicitation_callback=elicit) as client:
            tools = (await client.list_tools()).tools
            await STEPS[SCENARIO](Steps(client, tools))


warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
with gateway(sys.argv[-1]) as endpoint:
    asyncio.run(drive(endpoint))
