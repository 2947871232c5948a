"""Tools that ask the client something: within the call (2025), or by handing it back (2026)."""

import hashlib
import hmac
import json
import secrets
import warnings
from collections.abc import Mapping
from typing import Any

import mcp.types as types
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.message import ServerMessageMetadata

from mcp_server.extension import Context, ExtensionPrompt, ExtensionTool
from tests.conformance.making import raw, schema, text, tool

KEY = secrets.token_bytes(32)
NAME = schema(name="string")
Answer = types.CallToolResult | types.InputRequiredResult
Requests = dict[str, Any]


def ask(message: str, wanted: dict[str, Any]) -> types.ElicitRequest:
    """A question to the user."""
    return types.ElicitRequest(
        params=types.ElicitRequestFormParams(message=message, requested_schema=_plain(wanted))
    )


def sample(question: str, max_tokens: int) -> types.CreateMessageRequest:
    """A question to the client's model."""
    message = types.SamplingMessage(role="user", content=text(question))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    )


def sign(value: str) -> str:
    """A state that cannot be forged."""
    return f"{value}.{hmac.new(KEY, value.encode(), hashlib.sha256).hexdigest()}"


def verified(state: str | None) -> str | None:
    """The value of a state we signed.

    Raises:
        MCPError: somebody else wrote it.
    """
    if state is None:
        return None
    value = state.rpartition(".")[0]
    if not hmac.compare_digest(sign(value), state):
        raise MCPError(code=types.INVALID_PARAMS, message="requestState fails its integrity check")
    return value


def said(value: str) -> types.CallToolResult:
    """A complete result."""
    return types.CallToolResult(content=[text(value)])


def _plain(wanted: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in wanted.items() if key != "additionalProperties"}


def _complete(requests: Requests, given: Mapping[str, Any] | None) -> bool:
    return given is not None and all(key in given for key in requests)


def asking(name: str, requests: Requests, *, state: str | None = None) -> ExtensionTool:
    """A tool that needs all of these answers, and gets its own state back with them."""

    async def call(ctx: Context, params: types.CallToolRequestParams) -> Answer:
        given = verified(params.request_state)
        if not _complete(requests, params.input_responses) or (state and given != state):
            return types.InputRequiredResult(
                input_requests=requests, request_state=sign(state) if state else None
            )
        answers = {key: params.input_responses[key] for key in requests}  # type: ignore[index]
        dumped = {key: each.model_dump(mode="json", by_alias=True) for key, each in answers.items()}
        return said(f"state-ok {json.dumps(dumped)}" if state else json.dumps(dumped))

    return raw(name, call)


async def _multi_round(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    state, given = verified(params.request_state), params.input_responses or {}
    if state == "two" and "step2" in given:
        return said("both answers are here")
    if state == "one" and "step1" in given:
        question = ask("Step 2: What is your favorite color?", schema(color="string"))
        return types.InputRequiredResult(
            input_requests={"step2": question}, request_state=sign("two")
        )
    question = ask("Step 1: What is your name?", NAME)
    return types.InputRequiredResult(input_requests={"step1": question}, request_state=sign("one"))


async def _capabilities(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    """Asks only for what the client says it can do."""
    capabilities = ctx.session.client_capabilities or types.ClientCapabilities()
    requests: Requests = {}
    if capabilities.elicitation is not None:
        requests["user_name"] = ask("What is your name?", NAME)
    if capabilities.sampling is not None:
        requests["greeting"] = sample("Generate a greeting", 50)
    if not requests or _complete(requests, params.input_responses):
        return said("nothing to ask")
    return types.InputRequiredResult(input_requests=requests)


async def _needs_sampling(ctx: Context, _params: types.CallToolRequestParams) -> Answer:
    needed = types.ClientCapabilities(sampling=types.SamplingCapability())
    if not ctx.session.check_client_capability(needed):
        raise MCPError(
            code=types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="this tool needs sampling",
            data={"requiredCapabilities": {"sampling": {}}},
        )
    return said("sampling is there")


async def _prompt(
    _ctx: Context, params: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    requests: Requests = {
        "user_context": ask("What context should the prompt use?", schema(context="string"))
    }
    if not _complete(requests, params.input_responses):
        return types.InputRequiredResult(input_requests=requests)
    return types.GetPromptResult(
        messages=[types.PromptMessage(role="user", content=text("Use the context given."))]
    )


PROMPT = ExtensionPrompt(
    types.Prompt(name="test_input_required_result_prompt", description="Asks first."), _prompt
)
USER_NAME = ask("What is your name?", NAME)
CONFIRM = ask("Please confirm", schema(ok="boolean"))
TOOLS = (
    asking("test_input_required_result_elicitation", {"user_name": USER_NAME}),
    asking(
        "test_input_required_result_sampling",
        {"capital_question": sample("What is the capital of France?", 100)},
    ),
    asking("test_input_required_result_list_roots", {"client_roots": types.ListRootsRequest()}),
    asking("test_input_required_result_request_state", {"confirm": CONFIRM}, state="confirm"),
    asking(
        "test_input_required_result_multiple_inputs",
        {
            "user_name": USER_NAME,
            "greeting": sample("Generate a greeting", 50),
            "client_roots": types.ListRootsRequest(),
        },
        state="several",
    ),
    asking("test_input_required_result_tampered_state", {"confirm": CONFIRM}, state="tampered"),
    raw("test_input_required_result_multi_round", _multi_round),
    raw("test_input_required_result_capabilities", _capabilities),
    raw("test_missing_capability", _needs_sampling),
)


async def _sampling(ctx: Context, arguments: dict[str, Any]) -> list[types.ContentBlock]:
    message = types.SamplingMessage(role="user", content=text(arguments["prompt"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        result = await ctx.session.create_message(
            [message], max_tokens=100, related_request_id=ctx.request_id
        )
    answer = result.content.text if isinstance(result.content, types.TextContent) else ""
    return [text(f"LLM response: {answer}")]


async def _elicit(ctx: Context, message: str, wanted: dict[str, Any]) -> types.ElicitResult:
    return await ctx.session.send_request(
        ask(message, wanted),
        types.ElicitResult,
        metadata=ServerMessageMetadata(related_request_id=ctx.request_id),
    )


async def _elicitation(ctx: Context, arguments: dict[str, Any]) -> list[types.ContentBlock]:
    result = await _elicit(ctx, arguments["message"], schema(response="string"))
    said = json.dumps(result.content or {})
    return [text(f"User response: action={result.action}, content={said}")]


DEFAULTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
    },
}


async def _defaults(ctx: Context, _arguments: dict[str, Any]) -> list[types.ContentBlock]:
    result = await _elicit(ctx, "Please provide user information", DEFAULTS)
    return [text(f"Elicitation completed: action={result.action}")]


def _choices(**titles: str) -> list[dict[str, str]]:
    return [{"const": value, "title": title} for value, title in titles.items()]


ENUMS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": _choices(value1="First", value2="Second")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {
            "type": "array",
            "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
        },
        "titledMulti": {
            "type": "array",
            "items": {"anyOf": _choices(value1="First Choice", value2="Second Choice")},
        },
    },
}


async def _enums(ctx: Context, _arguments: dict[str, Any]) -> list[types.ContentBlock]:
    result = await _elicit(ctx, "Please select options", ENUMS)
    return [text(f"Elicitation completed: action={result.action}")]


LEGACY_TOOLS = (
    tool("test_sampling", _sampling, schema(prompt="string")),
    tool("test_elicitation", _elicitation, schema(message="string")),
    tool("test_elicitation_sep1034_defaults", _defaults),
    tool("test_elicitation_sep1330_enums", _enums),
)
