"""The image: named by its inputs, built from what is installed, left alone when it is there."""

import json
import tarfile
import zipfile
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import pytest

from container_runtime.engines.docker_client import DockerClient
from container_runtime.image import inputs, wheels
from container_runtime.image.base import ensure_base
from container_runtime.image.build import build, exists
from container_runtime.image.builder import ImageBuilder
from container_runtime.image.start import group, passwd
from tool_plugins.errors import EngineError, ImageError

ARCHITECTURE = "x86_64"


@pytest.fixture
async def client(needs_docker: None) -> AsyncIterator[DockerClient]:
    made = DockerClient()
    await made.open()
    yield made
    await made.aclose()


def test_sources_hold_the_server_and_the_tools_and_nothing_of_the_host() -> None:
    tree = inputs.sources()
    assert {"start.py", "container_runtime/server/app.py", "tool_plugins/errors.py"} <= set(tree)
    assert "container_runtime/archive.py" in tree
    assert not [path for path in tree if "engines" in path or path.startswith("sandbox_sdk")]
    assert {path for path in tree if not path.endswith(".py")} == {"plugins.json"}


def test_every_import_of_the_server_is_in_the_image_or_the_wheels() -> None:
    tree = inputs.sources()
    for path, source in tree.items():
        for line in source.decode().splitlines():
            words = line.split()
            if words[:1] == ["from"] and words[1].startswith("container_runtime."):
                module = words[1].replace(".", "/")
                if path.startswith("container_runtime/server") or path.endswith("archive.py"):
                    assert f"{module}.py" in tree or f"{module}/__init__.py" in tree, (path, line)


def test_same_inputs_give_the_same_name() -> None:
    assert inputs.image_tag("debian:x", ARCHITECTURE) == inputs.image_tag("debian:x", ARCHITECTURE)
    assert inputs.base_tag("debian:x") == inputs.base_tag("debian:x")


def test_another_input_gives_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {inputs.image_tag("debian:x", ARCHITECTURE), inputs.image_tag("debian:y", ARCHITECTURE)}
    names.add(inputs.image_tag("debian:x", "aarch64"))
    changed = inputs.sources() | {"start.py": b"changed"}
    monkeypatch.setattr(inputs, "sources", lambda _plugins: changed)
    names.add(inputs.image_tag("debian:x", ARCHITECTURE))
    monkeypatch.setattr(inputs, "requirements", lambda _flavour: ["x==1"])
    names.add(inputs.image_tag("debian:x", ARCHITECTURE))
    assert len(names) == 5


def test_context_is_the_same_for_the_same_files() -> None:
    tree = {"b": b"2", "a/c": b"1"}
    with inputs.context(tree) as one, inputs.context(dict(reversed(tree.items()))) as other:
        assert one.read() == other.read()
        one.seek(0)
        with tarfile.open(fileobj=one) as archive:
            assert archive.getnames() == ["a/c", "b"]
            assert {member.mtime for member in archive} == {0}


def test_wheel_is_unpacked_without_its_extras(tmp_path: Path) -> None:
    wheel = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("x/__init__.py", "x/", "x-1.data/scripts/x", "x/tests/test_x.py", "x/x.pyx"):
            archive.writestr(name, b"")
    assert set(inputs.unpack(wheel)) == {"x/__init__.py"}


def test_installer_of_packages_is_a_program_of_the_image(tmp_path: Path) -> None:
    wheel = tmp_path / "uv-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("uv/__init__.py", "uv-1.data/scripts/uv", "uv-1.data/scripts/uvx"):
            archive.writestr(name, b"\x7fELF")
    assert inputs.unpack(wheel) == {}
    assert {name: type(data) for name, data in inputs.programs(wheel).items()} == {
        "uv": inputs.Program
    }


def test_wheels_in_the_cache_are_not_fetched_again(tmp_path: Path) -> None:
    folder = tmp_path / "cp313-x86_64"
    folder.mkdir()
    lines = inputs.requirements()
    for line in lines:
        name, _, version = line.partition("==")
        (folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl").touch()
    said: list[str] = []
    found = wheels.fetch(lines, "x86_64", tmp_path, said.append)
    assert len(found) == len(lines)
    assert said == []


def test_every_requirement_is_pinned_once() -> None:
    lines = inputs.requirements("browser")
    names = [line.partition("==")[0].lower() for line in lines]
    assert {"uvicorn", "lxml"} <= set(names)
    assert sorted(set(names)) == sorted(names)
    assert all("==" in line for line in lines)


def test_wheels_that_cannot_be_had_are_an_error_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ImageError, match="pip cannot fetch the wheels") as refused:
        wheels.fetch(["anyio==4.16.0"], "x86_64", tmp_path, lambda line: None)
    assert "package index" in refused.value.hint


def test_user_table_names_the_agent() -> None:
    assert "agent:x:4711:4711:agent:/workspace:/bin/bash\n" in passwd(4711)
    assert "agent:x:4711:\n" in group(4711)


def test_filter_allows_by_name_and_refuses_the_rest() -> None:
    profile = json.loads(files("container_runtime").joinpath("seccomp.json").read_text())
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    machines = {entry["architecture"] for entry in profile["archMap"]}
    assert machines == {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"}
    free = {n for rule in profile["syscalls"] if "args" not in rule for n in rule["names"]}
    assert {"openat2", "setfsuid", "capset", "pidfd_open"} <= free
    guarded = {"clone", "socket", "personality"}
    assert not free & guarded


@pytest.mark.docker
async def test_image_that_is_there_is_left_alone(client: DockerClient, tmp_path: Path) -> None:
    builder = ImageBuilder(client)
    first = await builder.ensure(ARCHITECTURE, print)
    said: list[str] = []
    assert await builder.ensure(ARCHITECTURE, said.append) == first
    assert said == []


@pytest.mark.docker
async def test_given_image_that_is_missing_is_refused_and_not_pulled(client: DockerClient) -> None:
    builder = ImageBuilder(client, image="sandbox-sdk/none:none")
    with pytest.raises(ImageError, match="has no image 'sandbox-sdk/none:none'"):
        await builder.ensure(ARCHITECTURE, print)


@pytest.mark.docker
async def test_given_image_that_is_there_is_used_as_it_is(client: DockerClient) -> None:
    tag = await ImageBuilder(client).ensure(ARCHITECTURE, print)
    assert await ImageBuilder(client, image=tag).ensure(ARCHITECTURE, print) == tag


@pytest.mark.docker
async def test_failing_step_is_told_with_its_last_words(client: DockerClient) -> None:
    base = await ensure_base(client, inputs.DEFAULT_BASE, "default", print)
    dockerfile = b"ARG BASE\nFROM ${BASE}\nRUN echo last words && false\n"
    with pytest.raises(ImageError, match="last words"):
        await build(
            client,
            "sandbox-sdk/test:broken",
            {"Dockerfile": dockerfile},
            arguments={"BASE": base},
            network="none",
            report=lambda line: None,
        )
    assert not await exists(client, "sandbox-sdk/test:broken")


async def test_engine_that_is_not_there_is_an_error_with_a_hint(tmp_path: Path) -> None:
    client = DockerClient(f"unix://{tmp_path}/none.sock")
    with pytest.raises(EngineError, match="cannot reach") as refused:
        await client.open()
    assert "start the Docker Engine" in refused.value.hint


def test_context_member_holds_its_bytes() -> None:
    with inputs.context({"a": b"xyz"}) as stream, tarfile.open(fileobj=stream) as archive:
        member = archive.extractfile("a")
        assert member is not None
        assert member.read() == b"xyz"


def test_programs_of_a_wheel_can_be_executed_in_the_image(tmp_path: Path) -> None:
    wheel = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, mode in (("x/run", 0o755), ("x/data", 0o644), ("x/lib.cpython-313.so", 0o755)):
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, b"\x7fELF")
    with (
        inputs.context(inputs.unpack(wheel)) as stream,
        tarfile.open(fileobj=stream) as archive,
    ):
        modes = {member.name: member.mode for member in archive}
    assert modes == {"x/run": 0o755, "x/data": 0o644, "x/lib.cpython-313.so": 0o644}


def test_flavours_have_names_of_their_own() -> None:
    plain = inputs.image_tag("debian:x", ARCHITECTURE)
    browser = inputs.image_tag("debian:x", ARCHITECTURE, "browser")
    assert plain.startswith("sandbox-sdk/sandbox:")
    assert browser.startswith("sandbox-sdk/browser:")
    assert plain.partition(":")[2] != browser.partition(":")[2]


def test_only_the_flavour_with_a_browser_has_what_drives_it() -> None:
    added = set(inputs.requirements("browser")) - set(inputs.requirements())
    assert {line.partition("==")[0] for line in added} == {"greenlet", "playwright"}


def test_other_packages_give_another_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, before = inputs.base_tag("debian:x"), inputs.image_tag("debian:x", "x86_64", "browser")
    monkeypatch.setattr(inputs, "browser_packages", lambda: ["another"])
    assert inputs.image_tag("debian:x", "x86_64", "browser") != before
    assert inputs.base_tag("debian:x") == plain
