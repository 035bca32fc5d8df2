"""The tour in the Python SDK, `py.py legacy` or `py.py auto`; `py.py old` before its version 2. What a tour
is: tour.mjs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sys
import warnings
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import mcp.types as types
from mcp.client.stdio import StdioServerParameters, stdio_client
from pydantic import BaseModel

if sys.argv[1] == "old":
    from py_old import Client, MCPError, template_reference
else:
    from mcp.client.client import Client
    from mcp.shared.exceptions import MCPError

    def template_reference(uri: str) -> Any:
        return types.ResourceTemplateReference(type="ref/resource", uri=uri)

WAIT = 5.0  # seconds for one notification
STEP = 60.0  # seconds for one step
LONG = 2048  # a longer string is shown by its hash
MODERN = "2026-07-28"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
Json = dict[str, Any]


def wire(value: Any) -> Any:
    """As it came: members that the server did not send are left out."""
    return value.model_dump(by_alias=True, mode="json", exclude_unset=True) if isinstance(value, BaseModel) else value


def brief(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONG:
        return "sha256:" + hashlib.sha256(value.encode()).hexdigest()
    if isinstance(value, list):
        return [brief(v) for v in value]
    if isinstance(value, dict):
        return {k: brief(value[k]) for k in sorted(value)}
    return value


class Heard:
    """Notifications as they arrive, and a wait for the next that matches."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Json]] = []
        self.more = asyncio.Event()

    async def add(self, message: Any) -> None:
        if not isinstance(message, Exception):
            self.all.append((message.method, wire(message).get("params") or {}))
            self.more.set()

    def of(self, method: str) -> list[Json]:
        return [params for m, params in self.all if m == method]

    async def until(self, method: str, count: int, seconds: float = WAIT) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while len(self.of(method)) < count:
                    self.more.clear()
                    await self.more.wait()
        except TimeoutError:
            return False
        return True

    def clear(self) -> None:
        self.all = []


class Tour:
    def __init__(self, client: Client, heard: Heard, job: Json) -> None:
        self.client, self.heard = client, heard
        self.name_prefix, self.uri_prefix = job.get("namePrefix", ""), job.get("uriPrefix", "")
        self.modern = client.protocol_version >= MODERN

    async def tool(self, step: Json, **options: Any) -> Any:
        return await self.client.call_tool(self.name_prefix + step["name"], step.get("arguments") or {}, **options)

    @asynccontextmanager
    async def watching(self, uris: list[str], kind: str | None = None) -> Any:
        """Opted in for as long as the block runs; what arrives is heard by the message handler."""
        if self.modern:
            filters = {f"{kind}_list_changed": True} if kind else {"resource_subscriptions": uris}
            async with self.client.listen(**filters):
                yield
            return
        for uri in uris:
            await self.client.subscribe_resource(uri)
        yield
        for uri in uris:
            await self.client.unsubscribe_resource(uri)

    async def until_heard(self, then: Json, method: str) -> bool:
        # Repeated, because before 2026-07-28 nothing tells a client that its event stream is open.
        for _ in range(4):
            await self.tool(then)
            if await self.heard.until(method, 1, WAIT / 4):
                return True
        return False

    async def connect(self, step: Json) -> Json:
        capabilities = sorted(wire(self.client.server_capabilities))
        return {"capabilities": capabilities, "instructions": self.client.instructions}

    async def list(self, step: Json) -> Json:
        kinds: dict[str, tuple[Callable[..., Awaitable[Any]], str]] = {
            "tools": (self.client.list_tools, "tools"),
            "prompts": (self.client.list_prompts, "prompts"),
            "resources": (self.client.list_resources, "resources"),
            "templates": (self.client.list_resource_templates, "resourceTemplates"),
        }
        fetch, key = kinds[step["kind"]]
        items, cursor = [], None
        while True:
            page = wire(await fetch(cursor=cursor))
            items += page[key]
            cursor = page.get("nextCursor")
            if cursor is None:
                return {"items": items}

    async def call(self, step: Json) -> Json:
        progress: list[Json] = []

        async def on_progress(done: float, total: float | None, message: str | None) -> None:
            seen = {"progress": done, "total": total, "message": message}
            progress.append({k: v for k, v in seen.items() if v is not None})

        self.heard.clear()
        meta = dict(step.get("meta") or {})
        if "level" in step:
            if self.modern:
                meta[LOG_LEVEL] = step["level"]
            else:
                await self.client.set_logging_level(step["level"])
        options: Json = {"progress_callback": on_progress} if step.get("progress") else {}
        outcome: Json = {"result": wire(await self.tool(step, meta=meta or None, **options))}
        if step.get("progress"):
            outcome["progress"] = progress
        if "logs" in step:
            await self.heard.until("notifications/message", step["logs"])
            logs = self.heard.of("notifications/message")
            outcome["logs"] = [{k: p[k] for k in ("level", "logger", "data") if k in p} for p in logs]
        return outcome

    async def read(self, step: Json) -> Json:
        return {"result": wire(await self.client.read_resource(self.uri_prefix + step["uri"]))}

    async def prompt(self, step: Json) -> Json:
        return {"result": wire(await self.client.get_prompt(self.name_prefix + step["name"], step.get("arguments") or {}))}

    async def complete(self, step: Json) -> Json:
        ref: Any
        if "uri" in step["ref"]:
            ref = template_reference(self.uri_prefix + step["ref"]["uri"])
        else:
            ref = types.PromptReference(type="ref/prompt", name=self.name_prefix + step["ref"]["name"])
        return {"result": wire(await self.client.complete(ref, step["argument"], context_arguments=step.get("context")))}

    async def subscribe(self, step: Json) -> Json:
        self.heard.clear()
        method = "notifications/resources/updated"
        async with self.watching([self.uri_prefix + step["uri"]]):
            await self.until_heard(step["then"], method)
        return {"updated": list(dict.fromkeys(p["uri"] for p in self.heard.of(method)))}

    async def changed(self, step: Json) -> Json:
        async def names() -> list[str]:
            return [item["name"] for item in (await self.list(step))["items"]]

        self.heard.clear()
        async with self.watching([], step["kind"]):
            before = await names()
            announced = await self.until_heard(step["then"], f"notifications/{step['kind']}/list_changed")
            after = await names()
            await self.tool(step["undo"])
        added, removed = [n for n in after if n not in before], [n for n in before if n not in after]
        return {"announced": announced, "added": added, "removed": removed}

    async def cancel(self, step: Json) -> Json:
        begun = asyncio.Event()

        async def on_progress(*_: Any) -> None:
            begun.set()

        call = asyncio.create_task(self.tool(step, progress_callback=on_progress))
        await asyncio.wait_for(begun.wait(), WAIT)
        call.cancel()
        done = (await asyncio.gather(call, return_exceptions=True))[0]
        local = "abandoned" if isinstance(done, BaseException) else "answered"
        return {"local": local, "result": wire(await self.tool(step["outcome"]))}

    async def parallel(self, step: Json) -> Json:
        return {"results": await asyncio.gather(*(self.call({**c, "progress": True}) for c in step["calls"]))}

    async def ping(self, step: Json) -> Json:
        return {"result": {} if self.modern else wire(await self.client.send_ping())}


def failure(e: BaseException) -> Json:
    while isinstance(e, BaseExceptionGroup):
        e = e.exceptions[0]
    if isinstance(e, MCPError):
        error: Json = {"code": e.error.code, "message": e.error.message}
        return {"error": error if e.error.data is None else {**error, "data": e.error.data}}
    return {"thrown": f"{type(e).__name__}: {e}"}


async def elicit(ctx: Any, params: Any) -> Any:
    content = {"name": "Alice", "response": "yes", "ok": True, "color": "green", "context": "tour"}
    return types.ElicitResult(action="accept", content=content)


async def sample(ctx: Any, params: Any) -> types.CreateMessageResult:
    text = types.TextContent(type="text", text="an answer")
    return types.CreateMessageResult(role="assistant", model="tour", content=text)


async def roots(ctx: Any) -> types.ListRootsResult:
    return types.ListRootsResult(roots=[types.Root(uri="file:///tour", name="tour")])


async def tour(job: Json, mode: str) -> Json:
    heard, outcomes, target = Heard(), {}, job["target"]
    if "url" in target:
        server: Any = target["url"]
    else:
        parameters = StdioServerParameters(
            command=target["command"], args=target.get("args", []), env=target.get("env"), cwd=target.get("cwd")
        )
        server = stdio_client(parameters, errlog=open("/dev/null", "w"))
    declares = job.get("declares", [])
    callbacks: Json = {"elicitation": ("elicitation_callback", elicit), "sampling": ("sampling_callback", sample)}
    callbacks["roots"] = ("list_roots_callback", roots)
    options = dict(callbacks[d] for d in declares)
    try:
        async with Client(server, mode=mode, cache=None, message_handler=heard.add, read_timeout_seconds=STEP, **options) as client:
            steps = Tour(client, heard, job)
            outcomes["(revision)"] = client.protocol_version
            for step in job["steps"]:
                try:
                    outcome = await asyncio.wait_for(getattr(steps, step["do"])(step), STEP)
                except Exception as e:
                    outcome = failure(e)
                outcomes[step["step"]] = brief(outcome)
    except Exception as e:
        outcomes.setdefault("connect", failure(e))
    return outcomes


async def main() -> None:
    results = {job["name"]: await tour(job, sys.argv[1]) for job in json.load(sys.stdin)["jobs"]}
    print(json.dumps(results, ensure_ascii=False))


warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
asyncio.run(main())
