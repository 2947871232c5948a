"""What a file may say it needs: packages, and nothing an installer takes for something else."""

import tomllib

import pytest

from sandbox_sdk.tools.requirements import (
    MAX_REQUIREMENTS,
    names_of,
    parse_requirements,
    project,
)
from tool_plugins.errors import ErrorCode, ToolError


def test_one_spelling_and_order_for_the_same_packages() -> None:
    one = parse_requirements(
        ["Zope.Interface >= 5 , != 5.1", "requests[Socks, security]", "requests[socks,security]"]
    )
    assert one == parse_requirements(["requests[security,socks]", "zope-interface!=5.1,>=5"])
    assert one == ("requests[security,socks]", "zope-interface!=5.1,>=5")
    assert names_of(one) == ("requests", "zope-interface")


def test_markers_and_urls_of_wheels_are_kept() -> None:
    given = [
        'six; python_version < "3.14"',
        "cow @ https://files.example/cow-1.0-py3-none-any.whl#sha256=00",
    ]
    assert parse_requirements(given) == (
        "cow @ https://files.example/cow-1.0-py3-none-any.whl#sha256=00",
        'six ; python_version < "3.14"',
    )


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--index-url=https://evil.example",
        "-r /etc/passwd",
        "-e .",
        ".",
        "./cow",
        "/workspace/cow.whl",
        "cow --index-url https://evil.example",
        "cow\n--index-url https://evil.example",
        'cow; python_version > "3\n--index-url https://evil.example"',
        "cow \\",
        "cow==1 --hash=sha256:00",
        "cow; extra == '--no-index --find-links /'",
        "cow @ https://files.example/${SECRET}/cow-1.0-py3-none-any.whl",
        "cow @ file:///workspace/cow-1.0-py3-none-any.whl",
        "cow @ https://[/cow-1.0-py3-none-any.whl",
        "cow @ git+https://git.example/cow",
        "cow @ https://files.example/cow-1.0.tar.gz",
        "cow>=1 # comment",
        "cöw",
        "cow\x1b[31m",
        f"{'c' * 600}",
    ],
)
def test_what_is_more_than_a_requirement_is_refused(line: str) -> None:
    with pytest.raises(ToolError) as refused:
        parse_requirements(["requests", line])
    assert refused.value.code is ErrorCode.DEPENDENCY_ERROR
    assert "\x1b" not in refused.value.message
    assert len(refused.value.message) < 300


def test_too_many_are_refused() -> None:
    with pytest.raises(ToolError, match="are more than"):
        parse_requirements([f"cow{n}" for n in range(MAX_REQUIREMENTS + 1)])


def test_project_says_what_was_asked_for_and_no_more() -> None:
    asked = parse_requirements(["six; python_version < '3.14'", "cow[a]>=1"])
    assert tomllib.loads(project("mine", asked)) == {
        "project": {"name": "mine", "version": "0", "dependencies": list(asked)}
    }
