"""What can be seen of custom tools, and what a newer file changes."""

from sandbox_sdk.tools.models import Source
from sandbox_sdk.tools.shelf import Shelf
from tool_plugins.contract import ToolFailure

from .versions import tool, version

BROKEN = ToolFailure(code="SCHEMA_ERROR", message="line 1: no")


def names(shelf: Shelf) -> list[str]:
    return [each.name for each in shelf.tools()]


def test_a_tool_is_found_by_both_of_its_names() -> None:
    shelf = Shelf("sandbox")
    shelf.put(version("text.count", "text.words"))

    by_dots, by_mcp = shelf.find("text.words"), shelf.find("text_words")

    assert by_dots is not None
    assert by_dots == by_mcp
    assert by_dots.tool.function == "words"
    assert shelf.find("text.other") is None


def test_a_sandbox_sees_its_groups_tools_and_its_own_and_the_group_only_the_groups() -> None:
    group = Shelf("group")
    one, two = Shelf("sandbox", below=group), Shelf("sandbox", below=group)
    one.put(version("mine.f"))
    group.put(version("ours.f"))

    assert names(one) == ["ours.f", "mine.f"]
    assert names(two) == ["ours.f"]
    assert names(group) == ["ours.f"]
    assert two.find("mine.f") is None


def test_a_newer_version_replaces_every_tool_of_the_file_at_once() -> None:
    shelf = Shelf("sandbox")
    shelf.put(version("text.old", "text.same", text="1"))
    held = shelf.find("text.same")

    before = shelf.put(version("text.same", "text.new", text="2"))

    assert names(shelf) == ["text.same", "text.new"]
    assert shelf.find("text_old") is None
    assert held is not None
    assert before is held.version  # who holds the old one can go on with it


def test_a_file_that_no_longer_works_keeps_its_tools_and_shows_why() -> None:
    shelf = Shelf("group")
    good = version("text.f")
    shelf.put(good)

    shelf.fail(good.source, BROKEN)
    entry = shelf.get("text")

    assert entry is not None
    assert (entry.version, entry.error) == (good, BROKEN)
    assert names(shelf) == ["text.f"]

    shelf.put(good)
    assert shelf.get("text").error is None  # type: ignore[union-attr]


def test_a_file_that_never_worked_is_listed_without_tools() -> None:
    shelf = Shelf("group")

    shelf.fail(Source(namespace="bad", text="", origin="bad.py"), BROKEN)

    assert [each.namespace for each in shelf.entries()] == ["bad"]
    assert names(shelf) == []
    assert shelf.builds() == set()


def test_what_was_registered_in_a_sandbox_hides_a_file_that_comes_to_the_group_later() -> None:
    group = Shelf("group")
    sandbox = Shelf("sandbox", below=group)
    sandbox.put(version("text.mine"))
    group.put(version("text.ours"))

    assert names(sandbox) == ["text.mine"]
    assert sandbox.find("text.ours") is None
    assert names(group) == ["text.ours"]


def test_files_of_a_group_do_not_take_each_others_place() -> None:
    group = Shelf("group")
    sandbox = Shelf("sandbox", below=group)
    group.put(version("text.f", origin="a/text.py"))
    sandbox.put(version("own.f", origin="first"))
    ours, own = group.get("text"), sandbox.get("own")
    assert ours is not None
    assert own is not None

    assert group.may_replace(ours, Source(namespace="text", text="", origin="a/text.py"))
    assert not group.may_replace(ours, Source(namespace="text", text="", origin="b/text.py"))
    assert not sandbox.may_replace(ours, Source(namespace="text", text="", origin="a/text.py"))
    assert sandbox.may_replace(own, Source(namespace="own", text="", origin="second"))


def test_a_version_changes_with_the_source_the_packages_and_what_the_file_says_of_itself() -> None:
    plain = version("text.f", text="1")
    described = plain.model_copy(update={"tools": (tool("text.f", "Does it. <IMPORTANT>"),)})

    assert plain.id == version("text.f", text="1", origin="elsewhere").id
    assert plain.id != version("text.f", text="2").id
    assert plain.id != described.id
    assert plain.build == described.build


def test_no_two_tools_have_one_name_where_the_group_gets_a_file_later() -> None:
    group = Shelf("group")
    sandbox = Shelf("sandbox", below=group)
    sandbox.put(version("text.a_b"))

    group.put(version("text_a.b", "text_a.c"))

    assert names(sandbox) == ["text_a.c", "text.a_b"]
    assert names(group) == ["text_a.b", "text_a.c"]


def test_a_sandbox_sees_names_of_its_groups_files_and_not_where_they_lie() -> None:
    group = Shelf("group")
    sandbox = Shelf("sandbox", below=group)
    good = version("text.f", origin="/home/ann/tools/text.py")
    group.put(good)
    clash = "the namespace 'text' of /srv/text.py is taken by /home/ann/tools/text.py"
    group.fail(good.source, ToolFailure(code="ALREADY_EXISTS", message=clash))

    [seen], [known] = sandbox.entries(), group.entries()

    assert seen.origin == "text.py"
    assert seen.error is not None
    assert seen.error.message == "the namespace 'text' of text.py is taken by text.py"
    assert sandbox.places(but="")["text_f"] == "text.py"
    assert known.origin == "/home/ann/tools/text.py"
    assert seen.version is known.version
