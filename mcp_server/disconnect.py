"""Tells a running call that its HTTP client is gone.

The 2025 era of the `mcp` package leaves a call running when its socket drops, and the current one
knows only its own. Nothing here resumes a broken stream, so a result nobody can fetch is not
worth the process that makes it.
"""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SCOPE_KEY = "sandbox_mcp.gone"


class DisconnectWatch:
    """ASGI middleware that sets an event when the client drops before its response ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on, and looks at what passes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        gone = asyncio.Event()
        answered = False

        async def watched_receive() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not answered:
                gone.set()
            return message

        async def watched_send(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered = True
            await send(message)

        await self._app({**scope, SCOPE_KEY: gone}, watched_receive, watched_send)


def gone_event(request: Any) -> asyncio.Event | None:
    """The event of the HTTP request a call came with; None on other transports."""
    return getattr(request, "scope", {}).get(SCOPE_KEY)
