"""Starts the action server: settings, socket, identity, then uvicorn, in this order.

The socket is made by the server's user, who alone may connect to it; everything after that
touches files as the agent.
"""

import logging
import os
import socket
import sys
from pathlib import Path

from .app import TokenGuard, create_app
from .config import Settings, read_settings
from .identity import become_server, touch_files_as
from .plugins import load_executors, read_plugins
from .serve import BACKLOG, serve

# What agent code and the server write is private to the agent, unless it says otherwise.
UMASK = 0o022


def main() -> None:
    """Runs until it is told to stop."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    settings = read_settings(os.environ)
    if settings.server_uid is not None:
        become_server(settings.server_uid)
    listener = listen(settings)
    if settings.agent_uid is not None:
        touch_files_as(settings.agent_uid)
    os.umask(UMASK)
    app = create_app(settings.host(), load_executors(read_plugins()), settings.egress)
    serve(TokenGuard(app, settings.token) if settings.token else app, listener)


def listen(settings: Settings) -> socket.socket:
    """The socket requests come in on: a private unix socket, or TCP where one cannot be shared."""
    if settings.listen is not None:
        listener = socket.create_server(settings.listen, backlog=BACKLOG)
    else:
        listener = _listen_unix(settings.socket)
    listener.setblocking(False)
    return listener


def _listen_unix(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


if __name__ == "__main__":
    main()
    # Worker threads may still wait for a disk; the interpreter would wait for them.
    sys.stderr.flush()
    os._exit(0)
