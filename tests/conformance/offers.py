"""Prompts, resources, completion and subscriptions."""

import json

import mcp.types as types

from mcp_server.extension import (
    Context,
    ExtensionMethod,
    ExtensionPrompt,
    ExtensionResource,
    GetPrompt,
    ReadResource,
)
from tests.conformance.contents import IMAGE, resource
from tests.conformance.making import PIXEL, text


def says(*blocks: types.ContentBlock) -> types.GetPromptResult:
    """A prompt of one message of the user per block."""
    return types.GetPromptResult(
        messages=[types.PromptMessage(role="user", content=block) for block in blocks]
    )


async def _simple(_ctx: Context, _params: types.GetPromptRequestParams) -> types.GetPromptResult:
    return says(text("This is a simple prompt for testing."))


async def _with_arguments(
    _ctx: Context, params: types.GetPromptRequestParams
) -> types.GetPromptResult:
    given = params.arguments or {}
    return says(
        text(f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'")
    )


async def _embedded(_ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    uri = (params.arguments or {}).get("resourceUri", "test://example-resource")
    return says(
        resource(uri, "text/plain", "Embedded resource content for testing."),
        text("Please process the embedded resource above."),
    )


async def _image(_ctx: Context, _params: types.GetPromptRequestParams) -> types.GetPromptResult:
    return says(IMAGE, text("Please analyze the image above."))


async def _complete(_ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    values = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values)))


def prompt(name: str, get: GetPrompt, *arguments: str) -> ExtensionPrompt:
    """A prompt with required arguments."""
    definition = types.Prompt(
        name=name,
        description=f"Fixture {name}.",
        arguments=[types.PromptArgument(name=each, required=True) for each in arguments],
    )
    return ExtensionPrompt(definition, get, _complete if arguments else None)


PROMPTS = (
    prompt("test_simple_prompt", _simple),
    prompt("test_prompt_with_arguments", _with_arguments, "arg1", "arg2"),
    prompt("test_prompt_with_embedded_resource", _embedded, "resourceUri"),
    prompt("test_prompt_with_image", _image),
)


def fixed(uri: str, mime_type: str, value: str, *, blob: bool = False) -> ExtensionResource:
    """A resource that never changes."""

    async def read(
        _ctx: Context, _params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        if blob:
            content = types.BlobResourceContents(uri=uri, mime_type=mime_type, blob=value)
        else:
            content = types.TextResourceContents(uri=uri, mime_type=mime_type, text=value)
        return types.ReadResourceResult(contents=[content], ttl_ms=0, cache_scope="private")

    definition = types.Resource(
        uri=uri, name=uri.removeprefix("test://"), description="Fixture.", mime_type=mime_type
    )
    return ExtensionResource(definition, read)


async def _template(
    _ctx: Context, params: types.ReadResourceRequestParams
) -> types.ReadResourceResult:
    uri = str(params.uri)
    identity = uri.removeprefix("test://template/").removesuffix("/data")
    value = json.dumps({"id": identity, "templateTest": True, "data": f"Data for ID: {identity}"})
    content = types.TextResourceContents(uri=uri, mime_type="application/json", text=value)
    return types.ReadResourceResult(contents=[content], ttl_ms=0, cache_scope="private")


_read_template: ReadResource = _template
RESOURCES = (
    fixed("test://static-text", "text/plain", "This is the content of the static text resource."),
    fixed("test://static-binary", "image/png", PIXEL, blob=True),
    fixed("test://watched-resource", "text/plain", "Watched resource content"),
    ExtensionResource(
        types.ResourceTemplate(
            uri_template="test://template/{id}/data",
            name="template",
            description="Fixture.",
            mime_type="application/json",
        ),
        _read_template,
    ),
)


async def _accepted(_ctx: Context, _params: types.RequestParams) -> types.EmptyResult:
    return types.EmptyResult()


METHODS = {
    "resources/subscribe": ExtensionMethod(types.SubscribeRequestParams, _accepted),
    "resources/unsubscribe": ExtensionMethod(types.UnsubscribeRequestParams, _accepted),
    "logging/setLevel": ExtensionMethod(types.SetLevelRequestParams, _accepted),
}
