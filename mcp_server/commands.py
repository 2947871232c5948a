"""What the commands do. Standard output is for answers, standard error for progress."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from container_runtime.engine import Engine, load_engine
from sandbox_sdk import SandboxGroup
from sandbox_sdk.config import Settings, environment
from sandbox_sdk.egress.loading import parse_policy
from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.models import ComputeResources
from tool_plugins.errors import ConfigurationError
from tool_plugins.tool.results import FileSummary

from .extension import load_extensions
from .process import run_until_signal
from .sandboxes import overridden
from .server import SandboxServer

LIMITS = ("cpus", "memory_mb", "disk_mb", "pids")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command that was parsed."""
    command = " ".join(filter(None, (arguments.command, getattr(arguments, "action", None))))
    return COMMANDS[command](arguments)


def report(line: str) -> None:
    """Tells a person what is going on. Never on standard output: that may be a protocol."""
    print(line, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Without what a terminal would obey: an error quotes the file it is about."""
    return "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text)


def serve(arguments: argparse.Namespace) -> int:
    """Serves MCP until a signal comes or the client hangs up."""
    server = _server(arguments)
    if arguments.transport == "stdio":
        from .stdio import serve_stdio

        run_until_signal(lambda stop: serve_stdio(server, stop))
    from .guard import LOOPBACK_ADDRESSES
    from .web import bind, serve_http

    if arguments.host not in LOOPBACK_ADDRESSES:
        _check_exposure(arguments)
    listener = bind(arguments.host, arguments.port)
    path = "/sse" if arguments.transport == "sse" else "/mcp"
    report(f"serving MCP at http://{_authority(listener.getsockname())}{path}")
    run_until_signal(lambda stop: serve_http(server, listener, arguments.allowed_host, stop))


def image_build(arguments: argparse.Namespace) -> int:
    """Builds the image and prints its id."""
    print(asyncio.run(_with_engine(arguments, lambda engine: engine.ensure_image(report))))
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Prints what this host and engine can do."""
    found = asyncio.run(_with_engine(arguments, lambda engine: engine.capabilities()))
    for name, value in found.model_dump(exclude={"warnings", "details"}).items():
        shown = ", ".join(value) if isinstance(value, tuple) else value
        print(f"{name.replace('_', ' ')}: {'none' if shown in (None, '') else shown}")
    for name, value in found.details.items():
        print(f"{name.replace('_', ' ')}: {value}")
    for warning in found.warnings:
        print(f"warning: {warning}")
    return 0


def tools(arguments: argparse.Namespace) -> int:
    """Prints every tool with its origin, and every file of tools that does not work."""
    server = _server(arguments)
    lines = [(entry.tool.name, entry.origin) for entry in server.catalog]
    files = asyncio.run(_files_of_tools(server)) if arguments.tools else []
    lines += [(tool.mcp_name, file.origin) for file in files for tool in file.tools]
    failed = [file for file in files if file.error]
    lines += [(file.namespace, f"{file.origin}: {file.error}") for file in failed]
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        print(f"{name:{width}}  {printable(text)}".replace("\n", "\n" + " " * (width + 2)))
    return 1 if failed else 0


def sandboxes_list(arguments: argparse.Namespace) -> int:
    """Prints the live sandboxes of this machine, whoever started them."""
    return asyncio.run(_list_sandboxes(_settings(arguments)))


def sandboxes_prune(arguments: argparse.Namespace) -> int:
    """Removes what dead servers left behind."""
    return asyncio.run(_prune(_group(arguments)))


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "serve": serve,
    "image build": image_build,
    "doctor": doctor,
    "tools": tools,
    "sandboxes list": sandboxes_list,
    "sandboxes prune": sandboxes_prune,
}


def _server(arguments: argparse.Namespace) -> SandboxServer:
    extensions = load_extensions(arguments.extension)
    return SandboxServer(lambda: _group(arguments), extensions)


def _group(arguments: argparse.Namespace) -> SandboxGroup:
    return SandboxGroup(
        compute_resources=_resources(arguments),
        database_access=getattr(arguments, "database_access", None),
        initial_database_population_config=getattr(arguments, "database_population", None),
        egress_policy=_egress_policy(arguments),
        web_search=getattr(arguments, "web_search", None),
        browser=getattr(arguments, "browser", False),
        tools=getattr(arguments, "tools", ()),
        tool_registration=getattr(arguments, "tool_registration", False),
        package_index=getattr(arguments, "package_index", None),
        engine=arguments.engine,
        state_dir=arguments.state_dir,
        report=report,
    )


def _egress_policy(arguments: argparse.Namespace) -> EgressPolicy | None:
    """That of the file, with the hosts of the command line added."""
    policy = parse_policy(getattr(arguments, "egress_policy", None), environment())
    allowed = getattr(arguments, "egress_allow", [])
    if not allowed:
        return policy
    added = parse_policy({"allow": allowed}, environment())
    if policy is None or added is None:
        return added
    return policy.model_copy(update={"allow": policy.allow + added.allow})


def _resources(arguments: argparse.Namespace) -> ComputeResources:
    wanted = {name: getattr(arguments, name, None) for name in LIMITS}
    return overridden(ComputeResources(), wanted)


def _settings(arguments: argparse.Namespace) -> Settings:
    return Settings.load(state_dir=arguments.state_dir, engine=arguments.engine)


async def _with_engine(arguments: argparse.Namespace, work: Callable[[Engine], Any]) -> Any:
    settings = _settings(arguments)
    chosen = {"image": settings.image} if settings.image else {}
    if getattr(arguments, "browser", False):
        chosen["flavour"] = "browser"
    async with load_engine(settings.engine, state_dir=settings.state_dir, **chosen) as engine:
        return await work(engine)


async def _files_of_tools(server: SandboxServer) -> list[FileSummary]:
    """Only a sandbox reads files of tools, so that takes a group that has started."""
    try:
        group = await server.door.group()
        await group.tools_ready()
        return group.custom_files()
    finally:
        await server.door.close()


async def _list_sandboxes(settings: Settings) -> int:
    from sandbox_sdk.state import State

    if not settings.state_dir.exists():
        report("no sandboxes")
        return 0
    state = await State.open(settings.state_url)
    try:
        records = await state.list_live()
    finally:
        await state.aclose()
    for record in records:
        created = datetime.fromtimestamp(record.created_at, UTC).isoformat(timespec="seconds")
        print(f"{record.id}  {record.state:8}  {created}  {record.owner}  {record.name}")
    if not records:
        report("no sandboxes")
    return 0


async def _prune(group: SandboxGroup) -> int:
    # A group's start removes what it finds and logs it; the sweep then tells what is left.
    logging.getLogger("sandbox_sdk.recovery").setLevel(logging.INFO)
    async with group:
        left = (await group.sweep()).left
    for sandbox_id in left:
        report(f"could not remove {sandbox_id}")
    return 1 if left else 0


def _check_exposure(arguments: argparse.Namespace) -> None:
    if not arguments.allowed_host:
        raise ConfigurationError(
            f"{arguments.host} is not a loopback address and there is no authentication",
            hint="name who may reach it with --allowed-host, and keep it behind a firewall",
        )
    report(f"warning: anybody who can reach {arguments.host} can run code in your sandboxes")


def _authority(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
