"""What an operator may say about web search, and how mistakes are told."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk import SandboxGroup
from sandbox_sdk.search.configuration import configure_search
from sandbox_sdk.search.execute import execute
from sandbox_sdk.search.provider import SearchProvider
from tests.sandbox_sdk.search.test_execute import Own
from tests.sandbox_sdk.search.test_providers import TAVILY, serve
from tests.services.web import Web
from tool_plugins.errors import ConfigurationError

SECRET = "sk-very-secret"


def test_nothing_is_nothing_and_a_users_provider_is_itself() -> None:
    own = Own()
    assert configure_search(None, {}) is None
    assert configure_search(own, {}) is own


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "provider: is missing"),
        ({"provider": "google"}, "brave, searxng, tavily"),
        ({"provider": ["brave"]}, "brave, searxng, tavily"),
        ({"provider": "brave"}, "api_key"),
        ({"provider": "searxng"}, "url"),
        ({"provider": "searxng", "url": "ftp://x"}, "http"),
        ({"provider": "searxng", "url": "http://"}, "no host"),
        ({"provider": "searxng", "url": "http://x:99999"}, "url"),
        ({"provider": "searxng", "url": "http://x/?q=1"}, "without ?"),
        ({"provider": "searxng", "url": f"http://u:{SECRET}@x y"}, "blanks"),
        ({"provider": "searxng", "url": "http://x", "api_key": SECRET}, "api_key"),
        ({"provider": "searxng", "url": "http://x", "timeout_s": 0}, "timeout_s"),
        ({"provider": "searxng", "url": "https://x", "ca_file": "/nowhere"}, "ca_file"),
        ({"provider": "searxng", "url": "https://x", "ca_file": __file__}, "ca_file"),
        ({"provider": "tavily", "api_key": f"{SECRET}\n"}, "printable"),
        ({"provider": "tavily", "api_key": f"{SECRET}ä"}, "printable"),
        ({"provider": "tavily", "api_key": ""}, "printable"),
        ({"provider": "tavily", "api_key": 7}, "api_key"),
        ({"provider": "tavily", "api_key": SECRET, "url": "http://x"}, "https only"),
        ({"provider": "tavily", "api_key": SECRET, "url": "https://u@x"}, "user name"),
        ({"provider": "tavily", "api_key": SECRET, "depth": "basic"}, "depth"),
        (7, "int"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_without_its_secrets(given: Any, told: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        configure_search(given, {})
    assert told in str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_provider_shows_no_secret_of_its_own() -> None:
    made = configure_search({"provider": "tavily", "api_key": SECRET}, {})
    assert SECRET not in repr(made) + repr(vars(made))


async def test_a_file_has_variables_and_paths_of_its_own(web: Web, tmp_path: Path) -> None:
    serve(web, "/search", TAVILY)
    (tmp_path / "ca.pem").write_bytes(web.ca_file.read_bytes())
    file = tmp_path / "search.yaml"
    file.write_text(
        "provider: tavily\napi_key: ${KEY}\nurl: https://${HOST}\nca_file: ca.pem\ntimeout_s: 5\n"
    )
    made = configure_search(str(file), {"KEY": SECRET, "HOST": f"localhost:{web.tls_port}"})
    assert isinstance(made, SearchProvider)
    assert len((await execute(made, {"query": "cats"}))["results"]) == 1
    assert web.seen[-1].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("provider: tavily\napi_key: ${KEY}\nkye: 1\n", 3, "kye"),
        ("provider: tavily\napi_key: ${OTHER}\n", 2, "OTHER"),
        ("provider: tavily\napi_key: ${KEY\n", 2, "NAME"),
        ("provider: tavily\n\napi_key: '${KEY} '\n", 3, "printable"),
        ("\nprovider: bing\n", 2, "searxng"),
        ("- provider: tavily\n", 1, "mapping"),
        ("provider: tavily\nprovider: brave\n", 2, "provider"),
        ("provider: !!python/name:os.system\n", 1, ""),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_line(
    tmp_path: Path, text: str, line: int, told: str
) -> None:
    file = tmp_path / "search.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        configure_search(file, {"KEY": SECRET})
    assert f"{file}:{line}:" in str(raised.value)
    assert told in str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"search\.yaml"):
        configure_search(tmp_path / "search.yaml", {})


def test_the_tool_is_listed_only_with_a_provider(tmp_path: Path) -> None:
    def tools(**given: Any) -> set[str]:
        group = SandboxGroup(engine="in_process", state_dir=tmp_path, **given)
        return {definition.name for definition in group.registry}

    assert "web.search" not in tools()
    assert tools(web_search=Own()) - tools() == {"web.search"}


def test_importing_the_sdk_loads_no_search_and_no_http_client() -> None:
    program = "import sandbox_sdk, sys\nprint(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(answer.stdout.split())
    assert not {each for each in loaded if each.startswith("sandbox_sdk.search")}
    assert "http.client" not in loaded
