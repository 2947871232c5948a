"""Puts what extensions bring into the server: tools, prompts, resources, completion, methods."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import mcp.types as types
from mcp.shared.exceptions import MCPError
from mcp.shared.uri_template import UriTemplate

from tool_plugins.errors import ConfigurationError

from .catalog import CatalogEntry
from .extension import (
    CallTool,
    Context,
    ExtensionPrompt,
    ExtensionResource,
    ExtensionTool,
    ServerExtension,
)
from .render import MAX_RESULT_BYTES, render_failure, too_large_failure

if TYPE_CHECKING:
    from .server import SandboxServer

RESOURCE_NOT_FOUND = -32602
"""Since 2026-07-28; clients of the earlier era know -32002 and read the message all the same."""


def add_extensions(server: "SandboxServer", extensions: Iterable[ServerExtension]) -> None:
    """Adds all of them.

    Raises:
        ConfigurationError: two bring the same thing, or one claims a method of the server's own.
    """
    prompts = Prompts()
    resources = Resources()
    methods: dict[str, str] = {}
    loaded = tuple(extensions)
    for extension in loaded:
        origin = f"extension {extension.name!r}"
        for tool in extension.tools:
            server.catalog.add(extension_entry(tool, origin))
        for prompt in extension.prompts:
            prompts.add(prompt, origin)
        for resource in extension.resources:
            resources.add(resource, origin)
    if prompts:
        prompts.serve(server)
    if resources:
        resources.serve(server)
    if prompts or resources:
        _serve_completion(server, prompts, resources)
    for extension in loaded:
        _add_methods(server, extension, methods)
        if extension.on_load is not None:
            extension.on_load(server)


def extension_entry(tool: ExtensionTool, origin: str) -> CatalogEntry:
    """The catalog's entry of an extension's tool; its results are held to the size clients bear."""
    return CatalogEntry(tool.definition, _bounded(tool), origin)


def _bounded(tool: ExtensionTool) -> CallTool:
    async def call(
        ctx: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        result = await tool.call(ctx, params)
        size = len(result.model_dump_json(by_alias=True))
        if size > MAX_RESULT_BYTES:
            return render_failure(too_large_failure(tool.definition.name, size))
        return result

    return call


def _add_methods(
    server: "SandboxServer", extension: ServerExtension, origins: dict[str, str]
) -> None:
    for name, method in extension.methods.items():
        if server.get_request_handler(name) is not None:
            taken = origins.get(name, "the server itself")
            raise ConfigurationError(
                f"the method {name!r} of extension {extension.name!r} clashes with that of {taken}"
            )
        server.add_request_handler(name, method.params, method.handle)
        origins[name] = f"extension {extension.name!r}"


class Prompts:
    """The prompts of all extensions."""

    def __init__(self) -> None:
        self._prompts: dict[str, tuple[ExtensionPrompt, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._prompts)

    def add(self, prompt: ExtensionPrompt, origin: str) -> None:
        """Adds one; a name may exist once."""
        name = prompt.definition.name
        if name in self._prompts:
            other = self._prompts[name][1]
            raise ConfigurationError(
                f"the prompt {name!r} of {origin} clashes with that of {other}"
            )
        self._prompts[name] = (prompt, origin)

    def get(self, name: str) -> ExtensionPrompt:
        """The prompt of that name, or the protocol's error."""
        if name not in self._prompts:
            raise MCPError(code=types.INVALID_PARAMS, message=f"unknown prompt {name!r}")
        return self._prompts[name][0]

    def serve(self, server: "SandboxServer") -> None:
        """Makes the server answer `prompts/list` and `prompts/get`."""

        async def listed(
            _ctx: Context, _params: types.PaginatedRequestParams
        ) -> types.ListPromptsResult:
            prompts = [prompt.definition for prompt, _ in self._prompts.values()]
            return types.ListPromptsResult(prompts=prompts, ttl_ms=0, cache_scope="private")

        async def got(
            ctx: Context, params: types.GetPromptRequestParams
        ) -> types.GetPromptResult | types.InputRequiredResult:
            return await self.get(params.name).get(ctx, params)

        server.add_request_handler("prompts/list", types.PaginatedRequestParams, listed)
        server.add_request_handler("prompts/get", types.GetPromptRequestParams, got)


class Resources:
    """The resources and resource templates of all extensions."""

    def __init__(self) -> None:
        self._resources: dict[str, tuple[ExtensionResource, str]] = {}
        self._templates: dict[str, UriTemplate] = {}

    def __bool__(self) -> bool:
        return bool(self._resources)

    def add(self, resource: ExtensionResource, origin: str) -> None:
        """Adds one; a URI or template may exist once."""
        uri = resource.uri
        if uri in self._resources:
            other = self._resources[uri][1]
            raise ConfigurationError(
                f"the resource {uri!r} of {origin} clashes with that of {other}"
            )
        self._resources[uri] = (resource, origin)
        if isinstance(resource.definition, types.ResourceTemplate):
            self._templates[uri] = UriTemplate.parse(uri)

    def get(self, uri: str) -> ExtensionResource:
        """The resource of that URI, or of the first template it fits, or the protocol's error."""
        found = self._resources.get(uri)
        if found is None:
            fitting = (key for key, made in self._templates.items() if made.match(uri) is not None)
            found = self._resources.get(next(fitting, ""))
        if found is None:
            raise MCPError(RESOURCE_NOT_FOUND, f"unknown resource {uri!r}", {"uri": uri})
        return found[0]

    def serve(self, server: "SandboxServer") -> None:
        """Makes the server answer `resources/list`, `.../templates/list` and `.../read`."""

        async def listed(
            _ctx: Context, _params: types.PaginatedRequestParams
        ) -> types.ListResourcesResult:
            found = [r.definition for r, _ in self._resources.values()]
            plain = [each for each in found if isinstance(each, types.Resource)]
            return types.ListResourcesResult(resources=plain, ttl_ms=0, cache_scope="private")

        async def templates(
            _ctx: Context, _params: types.PaginatedRequestParams
        ) -> types.ListResourceTemplatesResult:
            found = [r.definition for r, _ in self._resources.values()]
            made = [each for each in found if isinstance(each, types.ResourceTemplate)]
            return types.ListResourceTemplatesResult(
                resource_templates=made, ttl_ms=0, cache_scope="private"
            )

        async def read(
            ctx: Context, params: types.ReadResourceRequestParams
        ) -> types.ReadResourceResult | types.InputRequiredResult:
            return await self.get(str(params.uri)).read(ctx, params)

        server.add_request_handler("resources/list", types.PaginatedRequestParams, listed)
        server.add_request_handler(
            "resources/templates/list", types.PaginatedRequestParams, templates
        )
        server.add_request_handler("resources/read", types.ReadResourceRequestParams, read)


def _serve_completion(server: "SandboxServer", prompts: Prompts, resources: Resources) -> None:
    async def complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        if isinstance(params.ref, types.PromptReference):
            handler = prompts.get(params.ref.name).complete
        else:
            handler = resources.get(params.ref.uri).complete
        if handler is None:
            return types.CompleteResult(completion=types.Completion(values=[]))
        return await handler(ctx, params)

    server.add_request_handler("completion/complete", types.CompleteRequestParams, complete)
