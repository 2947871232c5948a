"""The command line: what it prints, what it refuses, how it fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from mcp_server import cli
from tests.mcp_server.customs import SHOUT
from tests.mcp_server.processes import COMMAND, ROOT, arguments


def run(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run([*COMMAND, *words], cwd=cwd, capture_output=True, text=True, timeout=30)


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    program = (
        "import sys; from mcp_server import cli; cli.parser().format_help(); "
        "print([name for name in ('mcp', 'pydantic', 'sandbox_sdk', 'docker') "
        "if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert told.stdout.strip() == "[]"


def test_every_command_is_known_to_the_parser_and_to_the_runner() -> None:
    from mcp_server.commands import COMMANDS

    words = {
        "serve": ["serve"],
        "image build": ["image", "build"],
        "doctor": ["doctor"],
        "tools": ["tools"],
        "sandboxes list": ["sandboxes", "list"],
        "sandboxes prune": ["sandboxes", "prune"],
    }
    assert set(words) == set(COMMANDS)
    for line in words.values():
        cli.parser().parse_args(line)


def test_version_is_that_of_the_package() -> None:
    assert run("--version").stdout.startswith("sandbox-mcp 0.")


def test_tools_are_listed_with_their_origins(tmp_path: Path) -> None:
    done = run("tools", "--extension", "tests.mcp_server.extensions:one")
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["sandbox_create"] == "sandbox-sdk"
    assert lines["terminal_run"] == "tool_plugins.terminal.executor"
    assert lines["demo_hello"] == "extension 'one'"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["tools", "--extension", "nowhere:here"], 2, "cannot load extension 'nowhere:here'"),
        (["tools", "--extension", "nonsense"], 2, "module:attribute"),
        (["tools", "--extension", "os:path"], 2, "not a ServerExtension"),
        (["serve", "--transport", "http", "--host", "0.0.0.0", "--port", "0"], 2, "--allowed-host"),
        (["serve", "--transport", "http", "--port", "99999"], 2, "--port"),
        (["serve", "--memory-mb", "1"], 2, "memory_mb"),
        (["serve", "--tools", "nowhere.py"], 2, "nowhere.py"),
        (["tools", "--tools", "README.md"], 2, "README.md"),
        (["serve", "--transport", "smoke"], 2, "smoke"),
        ([], 2, "command"),
    ],
)
def test_a_mistake_is_told_in_a_line_and_never_as_a_traceback(
    words: list[str], code: int, told: str
) -> None:
    done = run(*words)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_names_that_clash_are_refused_with_both_origins() -> None:
    both = [
        word
        for name in ("one", "other")
        for word in ("--extension", f"tests.mcp_server.extensions:{name}")
    ]
    done = run("tools", *both)
    assert done.returncode == 2
    assert "extension 'one'" in done.stderr
    assert "extension 'other'" in done.stderr
    assert "demo_hello" in done.stderr


def test_doctor_says_that_the_in_process_engine_isolates_nothing(tmp_path: Path) -> None:
    done = run("doctor", *arguments(tmp_path)[1:])
    assert done.returncode == 0
    assert "isolates: False" in done.stdout
    assert "warning: the in-process engine isolates nothing" in done.stdout


def test_sandboxes_are_listed_and_pruned_where_there_are_none(tmp_path: Path) -> None:
    options = arguments(tmp_path / "state")[1:]
    for action in ("list", "prune", "list"):
        done = run("sandboxes", action, *options)
        assert (done.returncode, done.stdout) == (0, "")


def test_an_engine_that_cannot_be_reached_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    done = run("doctor", "--state-dir", str(tmp_path))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_mcp_package_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from tool_plugins.errors import ConfigurationError

    monkeypatch.setattr(cli, "version", lambda _name: "1.30.0")
    with pytest.raises(ConfigurationError, match=r"mcp 1\.30\.0 is too old"):
        cli._check_mcp()


def test_files_of_tools_are_listed_with_their_place_and_what_is_wrong_with_them(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "loud.py").write_text(SHOUT)
    engine = arguments(tmp_path / "state")[1:]
    good = run("tools", "--tools", str(folder), *engine)
    assert good.returncode == 0
    lines = dict(line.split(maxsplit=1) for line in good.stdout.splitlines())
    assert lines["loud_shout"] == str(folder / "loud.py")
    assert lines["tool_call"].startswith("tool_plugins.tool")
    assert "tool_register" not in lines
    broken = folder / "broken.py"
    broken.write_text("def f(x):\n    return x\n")
    bad = run("tools", "--tools", str(folder), "--tool-registration", *engine)
    assert bad.returncode == 1
    lines = dict(line.split(maxsplit=1) for line in bad.stdout.splitlines() if line[0] != " ")
    assert lines["loud_shout"] == str(folder / "loud.py")
    assert lines["broken"].startswith(f"{broken}: SCHEMA_ERROR: ")
    assert "tool_register" in lines


def test_what_a_file_says_cannot_command_the_terminal() -> None:
    from mcp_server.commands import printable

    assert printable("a\x1b[2J\u202eb\u200b\nä💡") == "a�[2J�b�\nä💡"
