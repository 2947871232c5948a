"""A web server in a process of its own, so that what is between it and its client shows.

`python -m tests.benchmarks.download_server ADDRESS FOLDER` prints its ports once it has written its
authority's certificate to FOLDER/ca.pem, and ends with its standard input: HTTP and HTTPS at the
speed of a network, then both as fast as this machine is. `/SIZE` answers with so many bytes.
"""

import asyncio
import os
import socket
import sys
from pathlib import Path

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from examples.web.authority import Authority

NAME = "site.test"
LARGEST = 100 * 2**20
BYTES_PER_S = 312_500_000
"""2.5 Gbit/s; the kernel keeps each connection to it."""
SO_MAX_PACING_RATE = 47
PIECE = os.urandom(256 * 1024)


async def application(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers every request with as many bytes as its path says."""
    left = int(scope["path"].lstrip("/"))
    headers = [(b"content-length", b"%d" % left)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while left:
        piece = PIECE[:left]
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": left > 0})


async def main() -> None:
    """Serves both schemes."""
    address, folder = sys.argv[1], Path(sys.argv[2])
    certificate = Authority(folder).certificate(NAME)
    tls = {"ssl_certfile": certificate, "ssl_keyfile": certificate}
    servers: list[uvicorn.Server] = []
    async with asyncio.TaskGroup() as group:
        for paced in (True, False):
            for options in ({}, tls):
                config = uvicorn.Config(
                    application, lifespan="off", access_log=False, log_level="warning", **options
                )
                servers.append(uvicorn.Server(config))
                listener = socket.create_server((address, 0), backlog=128)
                if paced:
                    listener.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, BYTES_PER_S)
                print(listener.getsockname()[1], end=" ")
                group.create_task(servers[-1].serve([listener]))
        print(flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for server in servers:
            server.should_exit = True


if __name__ == "__main__":
    uvloop.run(main())
