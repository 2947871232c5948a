"""Plugins of installed packages: found, loaded as ours are, taken into the image, or refused."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from container_runtime.image import inputs, plugins
from sandbox_sdk import ConfigurationError, ImageError, SandboxGroup, load_registry
from tests.documents import ROOT, blocks
from tool_plugins.plugins import executors, installed

EXAMPLE = ROOT / "examples" / "plugin"
DEFINITION = """
from tool_plugins.contract import Annotations, Arguments, Result, ToolDefinition

class Say(Arguments):
    text: str

class Said(Result):
    text: str

def tool(name, executor="loud_tools.executor:say", arguments=Say, **more):
    return ToolDefinition(name, "Says it.", arguments, Said, Annotations("Say"), executor, **more)

TOOLS = (tool("loud.say"),)
"""
EXECUTOR = """
async def say(context, *, text):
    return {"text": text.upper()}

EXECUTORS = {"say": say}
"""
LOUD = {"__init__": "", "definition": DEFINITION, "executor": EXECUTOR}

Install = Callable[..., Path]


@contextmanager
def found(folder: Path) -> Iterator[Path]:
    """Packages are found in that folder; what is loaded from it is forgotten again."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder where packages are found."""
    folder = tmp_path / "site"
    folder.mkdir()
    with found(folder):
        yield folder


@pytest.fixture
def install(site: Path) -> Install:
    """Puts a package there as an installer does: its modules, and the metadata that names it."""

    def put(
        modules: Mapping[str, str] = LOUD,
        *,
        package: str = "loud_tools",
        entries: str = "loud = loud_tools.definition",
        distribution: str = "loud-tools",
    ) -> Path:
        folder = site.joinpath(*package.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)
        metadata = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Name: {distribution}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[sandbox_sdk.plugins]\n{entries}\n")
        return folder

    return put


def install_for_real(source: Path, target: Path) -> Path:
    """Has a package built and installed into a folder, from what this machine has."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*pip, *offline, str(source)], check=True)
    return target


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the example is installed."""
    return install_for_real(EXAMPLE, tmp_path_factory.mktemp("example"))


def run(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a module of this environment, to which the packages of a folder are added."""
    environment = os.environ | {"PYTHONPATH": str(site), "SANDBOX_STATE_DIR": str(site / "state")}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=site, env=environment, capture_output=True, text=True
    )


def test_the_tests_of_the_example_pass(example: Path) -> None:
    done = run(example, "pytest", "-p", "no:cacheprovider", str(EXAMPLE))
    assert done.returncode == 0, done.stdout + done.stderr


def test_tools_are_listed_with_the_package_that_brought_them(example: Path) -> None:
    done = run(example, "mcp_server", "tools")
    origins = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert origins["csv_query"] == "acme-sandbox-tools 1.2 (acme_tools.definition)"
    assert origins["terminal_run"] == "tool_plugins.terminal.executor"


async def test_the_package_of_the_documents_adds_its_tool(tmp_path: Path, state_dir: Path) -> None:
    for block in blocks("toml", "python"):
        name = block.text.partition("\n")[0].removeprefix("# ")
        if name == "pyproject.toml" or name.startswith("acme_words/"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(block.text)
    (tmp_path / "installed").mkdir()
    with found(install_for_real(tmp_path, tmp_path / "installed")):
        group = SandboxGroup(engine="in_process", state_dir=state_dir)
        async with group, await group.create_sandbox() as sandbox:
            counted = await sandbox.execute("words.count", {"text": "a b"})
    assert counted.data == {"words": 2}


def test_ours_come_first_and_a_registry_can_name_what_it_wants(install: Install) -> None:
    install()
    everything = [tool.name for tool in load_registry()]
    assert (everything[0], everything[-1]) == ("filesystem.read", "loud.say")
    assert [tool.name for tool in load_registry(["loud", "document"])] == [
        "loud.say",
        "document.read",
    ]
    with pytest.raises(ConfigurationError, match=r"there is no plugin 'quiet'.*document, loud"):
        load_registry(["quiet"])


async def test_a_tool_of_a_package_is_called_like_ours(install: Install, state_dir: Path) -> None:
    install()
    group = SandboxGroup(engine="in_process", state_dir=state_dir)
    async with group, await group.create_sandbox() as sandbox:
        said = await sandbox.execute("loud.say", {"text": "hello"})
        assert said.data == {"text": "HELLO"}
        refused = await sandbox.execute("loud.say", {"words": "hello"})
        assert refused.error is not None
        assert refused.error.code == "INVALID_ARGUMENT"


def changed(line: str) -> dict[str, str]:
    """The package with one more line at the end of its definition."""
    return LOUD | {"definition": f"{DEFINITION}\n{line}\n"}


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        (changed("import nowhere"), "ModuleNotFoundError: No module named 'nowhere'"),
        (changed("raise SystemExit('no')"), "SystemExit: no"),
        (changed("this is no Python"), "SyntaxError: "),
        (changed("del TOOLS"), "TOOLS of loud_tools.definition is missing"),
        (changed("TOOLS = []"), "TOOLS of loud_tools.definition is a list"),
        (changed("TOOLS = ()"), "TOOLS of loud_tools.definition is a tuple"),
        (changed("TOOLS = ({},)"), "has a dict among its TOOLS"),
        (changed("TOOLS = (tool('other.say'),)"), "'other.say', whose name does not begin"),
        (changed("TOOLS = (tool('loud.say', 'os:say'),)"), "is not one of loud_tools.executor"),
        (changed("TOOLS = (tool('loud.say', broker='search'),)"), "is not one of loud_tools.ex"),
        (changed("TOOLS = (tool('loud.say', arguments=dict),)"), "a subclass of Arguments"),
        (changed("from .executor import say"), "imports its own executor"),
    ],
)
def test_a_definition_that_is_wrong_is_told_with_its_package(
    install: Install, modules: dict[str, str], told: str
) -> None:
    install(modules)
    for _ in range(2):  # what was loaded by half does not hide it from the next try
        with pytest.raises(ConfigurationError) as refused:
            load_registry()
        assert "'loud' of loud-tools 1.0 (loud_tools.definition)" in refused.value.message
        assert told in refused.value.message


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ("filesystem = loud_tools.definition", "name of the plugin 'filesystem' of tool_plugins."),
        ("web = loud_tools.definition", "name of the plugin 'web' of tool_plugins."),
        ("vector = loud_tools.definition", "has the name of tools of ours"),
        ("sandbox = loud_tools.definition", "has the name of tools of ours"),
        ("Loud-Tools = loud_tools.definition", "has a bad name"),
        ("loud = loud_tools.definition:TOOLS", "names no module of a package"),
        ("loud = loud_tools", "names no module of a package"),
        ("a = loud_tools.definition\nb = loud_tools.other", "same Python package as the plugin"),
    ],
)
def test_an_entry_point_that_is_wrong_is_told_with_its_package(
    install: Install, entries: str, told: str
) -> None:
    install(entries=entries)
    with pytest.raises(ConfigurationError) as refused:
        installed()
    assert "of loud-tools 1.0 (loud_tools" in refused.value.message
    assert told in refused.value.message


def test_two_packages_with_one_name_are_both_named(install: Install) -> None:
    install()
    install(package="other", entries="loud = other.definition", distribution="other-tools")
    with pytest.raises(ConfigurationError) as refused:
        installed()
    assert "loud-tools 1.0 (loud_tools.definition)" in refused.value.message
    assert "other-tools 1.0 (other.definition)" in refused.value.message


def test_tools_that_clash_over_mcp_name_both_packages(install: Install) -> None:
    install(changed("TOOLS = (tool('loud.and_clear'),)"))
    text = DEFINITION.replace("loud_tools", "other").replace("loud.say", "loud_and.clear")
    install(
        LOUD | {"definition": text},
        package="other",
        entries="loud_and = other.definition",
        distribution="other-tools",
    )
    with pytest.raises(ConfigurationError) as refused:
        load_registry()
    assert "loud-tools 1.0 (loud_tools.definition)" in refused.value.message
    assert "other-tools 1.0 (other.definition)" in refused.value.message


async def test_an_executor_that_cannot_be_loaded_is_told_when_the_group_starts(
    install: Install, state_dir: Path
) -> None:
    install(LOUD | {"executor": "import nowhere"})
    with pytest.raises(ConfigurationError, match=r"'loud' cannot be loaded: loud_tools\.executor"):
        await SandboxGroup(engine="in_process", state_dir=state_dir).start_sandbox_group()


async def test_a_sandbox_that_lacks_a_tool_does_not_start(
    install: Install, state_dir: Path
) -> None:
    install(LOUD | {"executor": "EXECUTORS = {'shout': print}"})
    async with SandboxGroup(engine="in_process", state_dir=state_dir) as group:
        sandbox = await group.create_sandbox()
        with pytest.raises(ImageError, match=r"no executor of loud\.say of loud-tools 1\.0 \("):
            await sandbox.start()


def test_the_package_is_a_part_of_the_image_and_of_its_name(install: Install) -> None:
    folder = install(package="loud_tools")
    (folder / "words.txt").write_text("hello")
    (folder / ".notes").write_text("hidden")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "executor.cpython-311.pyc").write_bytes(b"")
    tree = inputs.sources(installed())
    below = {path for path in tree if path.startswith("plugins/")}
    assert below == {
        "plugins/loud_tools/__init__.py",
        "plugins/loud_tools/definition.py",
        "plugins/loud_tools/executor.py",
        "plugins/loud_tools/words.txt",
    }
    listed = json.loads(tree["plugins.json"])
    assert listed["loud"] == "loud_tools.executor"
    assert listed["filesystem"] == "tool_plugins.filesystem.executor"
    names = {inputs.image_tag("debian:x", "x86_64", "default", installed())}
    (folder / "words.txt").write_text("good bye")
    names.add(inputs.image_tag("debian:x", "x86_64", "default", installed()))
    assert len(names) == 2
    assert {name.partition(":")[0] for name in names} == {"sandbox-sdk/sandbox-plugins"}


def test_packages_around_a_plugin_come_with_it_and_their_other_modules_do_not(
    install: Install, site: Path
) -> None:
    definition = DEFINITION.replace("loud_tools", "company.tools.loud")
    install(
        LOUD | {"definition": definition},
        package="company.tools.loud",
        entries="loud = company.tools.loud.definition",
    )
    (site / "company" / "__init__.py").write_text("")
    (site / "company" / "secrets.py").write_text("KEY = 1")
    assert {path for path in plugins.plugin_files(installed()) if "company" in path} == {
        "plugins/company/__init__.py",
        *(f"plugins/company/tools/loud/{name}.py" for name in LOUD),
    }
    assert "loud.say" in [tool.name for tool in load_registry()]


def test_what_cannot_be_taken_into_the_image_is_told_with_its_package(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = install()
    with monkeypatch.context() as small:
        small.setattr(plugins, "MAX_BYTES", 10)
        with pytest.raises(ConfigurationError, match=r"of loud-tools 1\.0 .* is larger than"):
            plugins.plugin_files(installed())
    (folder / "fast.cpython-313.so").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"of loud-tools 1\.0 .* not pure Python"):
        plugins.plugin_files(installed())
    (folder / "executor.py").unlink()
    with pytest.raises(ConfigurationError, match=r"loud-tools 1\.0 .* has no loud_tools\.executor"):
        executors(installed())


def check(tree: inputs.Tree, folder: Path) -> subprocess.CompletedProcess[str]:
    """The last step of a build, on files that lie here as they would in an image."""
    for path, data in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return subprocess.run(
        [sys.executable, "-IS", folder / "start.py", "check"], capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("executor", "told"),
    [
        (EXECUTOR, ""),
        ("import nowhere", "cannot be loaded: loud_tools.executor: ModuleNotFoundError: No module"),
        ("EXECUTORS = {'say': 'say'}", "has no EXECUTORS, functions by verb: loud_tools.executor"),
        (f"from .definition import Say\n{EXECUTOR}", "loads pydantic with loud_tools.executor"),
    ],
    ids=["good", "import", "form", "heavy"],
)
def test_the_build_ends_at_a_plugin_that_cannot_be_loaded(
    install: Install, tmp_path: Path, executor: str, told: str
) -> None:
    install(LOUD | {"executor": executor})
    stub = {"lib/pydantic.py": b"BaseModel, ConfigDict, Field = object, dict, lambda **_: None"}
    done = check(inputs.sources(installed()) | stub, tmp_path / "image")
    if told:
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith(f"the plugin 'loud' {told}")
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_a_package_takes_no_name_from_the_server(install: Install, tmp_path: Path) -> None:
    install()
    hostile = {
        f"plugins/{name}/__init__.py": b"raise SystemExit('shadowed')"
        for name in ("asyncio", "json", "container_runtime", "tool_plugins")
    }
    done = check(inputs.sources(installed()) | hostile, tmp_path / "image")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_container_has_the_tools_of_the_example(
    example: Path, docker_state_dir: Path
) -> None:
    with found(example):
        await use_the_example(docker_state_dir)


async def use_the_example(docker_state_dir: Path) -> None:
    """Asks a table in a container; the agent there cannot change what the tool is."""
    group = SandboxGroup(engine="docker", state_dir=docker_state_dir)
    async with group, await group.create_sandbox() as sandbox:
        await sandbox.upload("books.csv", b"title,year\nEmma,1815\nPersuasion,1817\n")
        query = {"path": "books.csv", "query": "SELECT max(year) FROM data"}
        answer = await sandbox.execute("csv.query", query)
        assert answer.data is not None, answer.error
        assert answer.data["rows"] == [[1817]]
        for file in ("plugins.json", "plugins/acme_tools/executor.py"):
            written = await sandbox.terminal.run(f"echo >> /opt/sandbox/{file}")
            assert (written.exit_code, "denied" in written.stderr) == (1, True)
