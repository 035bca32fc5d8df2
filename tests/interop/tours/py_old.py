"""The client of the Python SDK as py.py knows it, made of what the SDK had before version 2."""

from __future__ import annotations

import inspect
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import mcp.types as types
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.exceptions import McpError as MCPError
from pydantic import AnyUrl

__all__ = ["Client", "MCPError", "template_reference"]


def template_reference(uri: str) -> Any:
    kind = getattr(types, "ResourceTemplateReference", None) or types.ResourceReference
    return kind(type="ref/resource", uri=uri)


class Client:
    def __init__(self, server: str, *, message_handler: Any, read_timeout_seconds: float, **_: Any) -> None:
        self.server, self.handler = server, message_handler
        self.timeout, self.stack = timedelta(seconds=read_timeout_seconds), AsyncExitStack()

    async def heard(self, message: Any) -> None:
        if isinstance(message, types.ServerNotification):
            await self.handler(message.root)

    async def __aenter__(self) -> "Client":
        read, write, _ = await self.stack.enter_async_context(streamablehttp_client(self.server))
        session = ClientSession(read, write, self.timeout, message_handler=self.heard)
        self.session = await self.stack.enter_async_context(session)
        result = await self.session.initialize()
        self.protocol_version, self.instructions = str(result.protocolVersion), result.instructions
        self.server_capabilities = result.capabilities
        return self

    async def __aexit__(self, *failed: Any) -> None:
        await self.stack.__aexit__(*failed)

    async def call_tool(self, name: str, arguments: Any, *, progress_callback: Any = None, meta: Any = None) -> Any:
        # the first of them has no way to send more than arguments
        known = inspect.signature(self.session.call_tool).parameters
        more = {"meta": meta} if meta and "meta" in known else {}
        return await self.session.call_tool(name, arguments, progress_callback=progress_callback, **more)

    async def list_tools(self, cursor: str | None) -> Any:
        return await self.session.list_tools(cursor)

    async def list_prompts(self, cursor: str | None) -> Any:
        return await self.session.list_prompts(cursor)

    async def list_resources(self, cursor: str | None) -> Any:
        return await self.session.list_resources(cursor)

    async def list_resource_templates(self, cursor: str | None) -> Any:
        return await self.session.list_resource_templates(cursor)

    async def read_resource(self, uri: str) -> Any:
        return await self.session.read_resource(AnyUrl(uri))

    async def subscribe_resource(self, uri: str) -> Any:
        return await self.session.subscribe_resource(AnyUrl(uri))

    async def unsubscribe_resource(self, uri: str) -> Any:
        return await self.session.unsubscribe_resource(AnyUrl(uri))

    async def get_prompt(self, name: str, arguments: Any) -> Any:
        return await self.session.get_prompt(name, arguments)

    async def complete(self, ref: Any, argument: Any, context_arguments: Any = None) -> Any:
        known = inspect.signature(self.session.complete).parameters
        more = {"context_arguments": context_arguments} if "context_arguments" in known else {}
        return await self.session.complete(ref, argument, **more)

    async def set_logging_level(self, level: Any) -> Any:
        return await self.session.set_logging_level(level)

    async def send_ping(self) -> Any:
        return await self.session.send_ping()
