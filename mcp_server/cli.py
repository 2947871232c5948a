"""The command `sandbox-mcp`. What it needs is imported when a command runs, not before."""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8765
MIN_MCP = (2, 3)
LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. 0: done; 1: it failed; 2: it was asked for wrongly."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(
        level=arguments.log_level.upper(), format=LOG_FORMAT, stream=sys.stderr, force=True
    )
    from tool_plugins.errors import ConfigurationError, SandboxError

    try:
        _check_mcp()
        from . import commands

        return commands.run(arguments)
    except SandboxError as error:
        hint = f" - {error.hint}" if error.hint else ""
        print(f"sandbox-mcp: {error.message}{hint}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        logging.getLogger(__name__).debug("the command failed", exc_info=True)
        print(
            f"sandbox-mcp: {type(error).__name__}: {error} - --log-level debug shows where",
            file=sys.stderr,
        )
        return 1


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="sandbox-mcp",
        description="Gives every MCP client its own hardened Docker container to work in.",
    )
    top.add_argument("--version", action="version", version=f"sandbox-mcp {version('sandbox-sdk')}")
    top.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="warning",
        help="what to log to standard error (default: %(default)s)",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    _add_serve(commands)
    image = commands.add_parser("image", help="the sandbox image")
    image_commands = image.add_subparsers(dest="action", required=True, metavar="action")
    build = image_commands.add_parser("build", help="build it, if its inputs changed")
    _add_browser(build)
    _add_engine(build)
    _add_engine(commands.add_parser("doctor", help="say what this host and engine can do"))
    tools = commands.add_parser("tools", help="list the tools, each with its origin")
    _add_databases(tools)
    _add_web(tools)
    _add_custom(tools)
    _add_extension(tools)
    _add_engine(tools)
    sandboxes = commands.add_parser("sandboxes", help="the sandboxes of this machine")
    sandbox_commands = sandboxes.add_subparsers(dest="action", required=True, metavar="action")
    _add_engine(sandbox_commands.add_parser("list", help="list them, whoever started them"))
    prune = sandbox_commands.add_parser("prune", help="remove those whose server is gone")
    _add_databases(prune)
    _add_engine(prune)
    return top


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser(
        "serve",
        help="serve MCP",
        description="Serves MCP. http and sse serve one application: Streamable HTTP at /mcp, "
        "SSE at /sse. There is no authentication yet: every caller is the same user.",
    )
    serve.add_argument("--transport", choices=("stdio", "http", "sse"), default="stdio")
    serve.add_argument("--host", default=DEFAULT_HOST, help="address (default: %(default)s)")
    serve.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)"
    )
    serve.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME[:PORT]",
        help="a further name clients may use in Host and Origin; may be repeated",
    )
    limits = serve.add_argument_group("limits of each sandbox, unless its creator asks for others")
    limits.add_argument("--cpus", type=float)
    limits.add_argument("--memory-mb", type=int)
    limits.add_argument("--disk-mb", type=int)
    limits.add_argument("--pids", type=int)
    databases = serve.add_argument_group("databases of each sandbox")
    _add_databases(databases)
    _add_web(serve.add_argument_group("what each sandbox may reach on the network (nothing)"))
    _add_custom(serve.add_argument_group("custom tools: Python files whose functions are tools"))
    _add_extension(serve)
    _add_engine(serve)


def _add_databases(command: "argparse._ActionsContainer") -> None:
    command.add_argument(
        "--database-access",
        metavar="FILE",
        help="a YAML file that says which databases sandboxes have, and what they may do there",
    )
    command.add_argument(
        "--database-population",
        metavar="FILE",
        help="a YAML file that says what these databases hold at first",
    )


def _add_web(command: "argparse._ActionsContainer") -> None:
    command.add_argument(
        "--egress-policy", metavar="FILE", help="a YAML file that says which hosts, and how"
    )
    command.add_argument(
        "--egress-allow",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="a host sandboxes may reach, such as docs.example or '*.example.com'; may be repeated",
    )
    command.add_argument(
        "--web-search", metavar="FILE", help="a YAML file that names a search provider"
    )
    _add_browser(command)


def _add_custom(command: "argparse._ActionsContainer") -> None:
    command.add_argument(
        "--tools",
        action="append",
        default=[],
        metavar="PATH",
        help="a Python file or a folder of them, which is watched; it is never imported here, only "
        "in sandboxes; may be repeated",
    )
    command.add_argument(
        "--tool-registration",
        action="store_true",
        help="let models register tools of their own, each in its own sandbox",
    )
    command.add_argument(
        "--package-index",
        metavar="URL",
        help="where packages that files of tools ask for come from",
    )


def _add_browser(command: "argparse._ActionsContainer") -> None:
    command.add_argument(
        "--browser", action="store_true", help="use an image with Chromium, and its tools"
    )


def _add_extension(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--extension",
        action="append",
        default=[],
        metavar="MODULE:ATTRIBUTE",
        help="a ServerExtension to load; may be repeated",
    )


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--engine",
        choices=("docker", "in_process"),
        help="what runs sandboxes (default: docker); in_process isolates nothing, for tests only",
    )
    command.add_argument("--state-dir", help="where state is kept")


def _check_mcp() -> None:
    """The package allows older versions of `mcp` beside it, because the SDK does without."""
    from tool_plugins.errors import ConfigurationError

    hint = (
        "run: pip install 'mcp>=2.3,<3' (in an environment of its own, if another package pins it)"
    )
    if find_spec("mcp") is None:
        raise ConfigurationError("the package mcp is not installed", hint=hint)
    found = version("mcp")
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if numbers < MIN_MCP:
        raise ConfigurationError(f"mcp {found} is too old, 2.3 or later is needed", hint=hint)
