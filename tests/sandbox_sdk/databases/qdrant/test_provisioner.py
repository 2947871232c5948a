"""Copies: made once, apart from each other, gone when dropped. In files, and on the fake."""

import asyncio
import subprocess
import sys

import pytest

from sandbox_sdk.databases.access import Access
from sandbox_sdk.databases.provisioner import Place
from sandbox_sdk.options import new_sandbox_id
from tests.sandbox_sdk.databases.qdrant.conftest import (
    Backend,
    Open,
    Sandboxes,
    find,
    ids,
    put,
    remove,
)
from tool_plugins.errors import ConfigurationError

GOOD = {"id": 9, "vector": [1, 0, 0]}


async def test_a_copy_made_again_keeps_its_data(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()
    put(driver, GOOD)
    driver.close()

    again = sandboxes.connect(await sandboxes.copy(sandboxes.ids[0]))

    assert sorted(ids(find(again))) == [1, 2, 3, 4, 9]


async def test_a_copy_made_again_may_have_other_rights(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()
    driver.close()

    again = await sandboxes.copy(sandboxes.ids[0], {"tables": {"docs": "read"}})

    assert again.settings["collections"] == {"docs": "read"}


async def test_a_reset_brings_the_population_back(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()
    remove(driver, ids=[1, 2, 3])
    driver.close()

    await sandboxes.provisioner.drop(sandboxes.ids[0])
    again = sandboxes.connect(await sandboxes.copy(sandboxes.ids[0]))

    assert sorted(ids(find(again))) == [1, 2, 3, 4]


async def test_a_drop_leaves_nothing_and_others_alone(
    sandboxes: Sandboxes, backend: Backend, place: Place
) -> None:
    gone, kept = await sandboxes.add(), await sandboxes.add()
    gone.close()

    await sandboxes.provisioner.drop(sandboxes.ids[0])
    await sandboxes.provisioner.drop(sandboxes.ids[0])

    assert len(ids(find(kept))) == 4
    assert not place.copy_folder(sandboxes.ids[0], "kb").exists()
    assert place.copy_folder(sandboxes.ids[1], "kb").exists()
    if backend.fake is not None:
        assert {name.split("__")[0] for name in backend.fake.names()} == {sandboxes.ids[1]}
        assert await sandboxes.provisioner.copies() == {sandboxes.ids[1]}


async def test_many_at_once_are_all_made(sandboxes: Sandboxes) -> None:
    drivers = await asyncio.gather(*(sandboxes.add() for _ in range(8)))

    for driver in drivers[::3]:
        assert len(ids(find(driver))) == 4


async def test_one_copy_asked_for_twice_at_once_is_made_once(sandboxes: Sandboxes) -> None:
    sandbox_id = new_sandbox_id()
    sandboxes.ids.append(sandbox_id)

    one, other = await asyncio.gather(sandboxes.copy(sandbox_id), sandboxes.copy(sandbox_id))

    assert one.settings["collections"] == other.settings["collections"]
    assert len(ids(find(sandboxes.connect(one)))) == 4


async def test_a_rule_for_no_collection_is_found_when_the_group_starts(
    opened: Open, backend: Backend
) -> None:
    with pytest.raises(ConfigurationError, match="'dosc', which is not there"):
        await opened(**backend.fields, access=Access(tables={"dosc": "read"}))


async def test_a_rule_for_no_collection_makes_no_copy(sandboxes: Sandboxes, place: Place) -> None:
    sandbox_id = new_sandbox_id()

    with pytest.raises(ConfigurationError, match="'dosc', which is not there"):
        await sandboxes.copy(sandbox_id, {"tables": {"dosc": "read"}})

    assert not place.copy_folder(sandbox_id, "kb").exists()


async def test_what_an_interrupted_copy_left_is_replaced(embedded: Sandboxes, place: Place) -> None:
    sandbox_id = new_sandbox_id()
    embedded.ids.append(sandbox_id)
    folder = place.copy_folder(sandbox_id, "kb")
    folder.mkdir(parents=True)
    (folder / "points.sqlite").write_bytes(b"half a file")

    driver = embedded.connect(await embedded.copy(sandbox_id))

    assert len(ids(find(driver))) == 4


async def test_without_a_population_a_copy_has_no_collections(
    opened: Open, reports: list[str]
) -> None:
    made = Sandboxes(await opened(None))
    driver = await made.add()

    assert reports == ["kb: no population names collections, so copies have none"]
    with pytest.raises(Exception, match="no collection 'docs'"):
        find(driver)
    await made.aclose()


async def test_a_copy_is_for_this_user_alone(embedded: Sandboxes, place: Place) -> None:
    await embedded.add()
    folder = place.copy_folder(embedded.ids[0], "kb")

    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "points.sqlite").stat().st_mode & 0o077 == 0


async def test_terminate_leaves_the_data(sandboxes: Sandboxes) -> None:
    driver = await sandboxes.add()

    await sandboxes.provisioner.terminate(sandboxes.ids[0])

    assert len(ids(find(driver))) == 4


async def test_settings_hold_no_credential_of_the_operator(
    sandboxes: Sandboxes, backend: Backend
) -> None:
    sandbox_id = new_sandbox_id()
    sandboxes.ids.append(sandbox_id)
    copy = await sandboxes.copy(sandbox_id)

    assert backend.fields.get("api_key") not in str(copy.settings).split("'")
    assert str(copy.settings) not in repr(copy)


def test_the_group_loads_no_client_of_qdrant() -> None:
    program = (
        "import sandbox_sdk.databases.qdrant.provisioner, sys\n"
        "print([name for name in ('qdrant_client', 'numpy', 'grpc') if name in sys.modules])"
    )

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert shown.stdout.strip() == "[]"
