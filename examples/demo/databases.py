"""Scene: two sandboxes work on one database; the engine itself holds what each may do."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp import StdioServerParameters

from .attacks import ATTACKS, OUT_OF_PLACE, Attack
from .player import Player
from .servers import children, containers, descendants, running, server
from .shop import AFTER, BEFORE, SALE, STATE_OF_SALE, Shop, opened
from .stage import DemoError
from .waiting import until

CUSTOMERS = "SELECT id, name, city FROM customers ORDER BY id"
ELSEWHERE = "SELECT count(*) FROM customers WHERE city <> 'Lyon'"
IDENTITY = """\
SELECT current_user = session_user, rolsuper FROM pg_roles WHERE rolname = current_user"""
OPEN_TRANSACTIONS = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
ROLES = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'sbx%'"


async def play(player: Player) -> None:
    """Shows a reader, what it tries in vain, and a writer whose client is killed."""
    stage = player.stage
    with opened() as shop:
        if shop.reason:
            stage.say(f"The shop is an SQLite file, because {shop.reason}.")
        reading = player.connected(_server(shop, "reader"))
        # The seller starts at once: what it does takes a while, and is seen by nobody.
        async with _started_seller(player, shop) as seller, reading as reader:
            await _read(reader, shop)
            await _attack(reader, shop)
            left = await _sell_and_die(reader, shop, seller)
            async with player.connected(_server(shop, "writer")) as writer:
                await _sell(writer, reader)
                stage.claim(
                    left and not left & containers(),
                    "the writer's new server has removed the sandbox that the dead one left",
                )
        if shop.url:
            held = await until(lambda: shop.ask(ROLES) == 0)
            stage.claim(held, "the database server has no role of a sandbox any more")


def _server(shop: Shop, access: str) -> StdioServerParameters:
    return server(str(shop.folder), *shop.arguments(access), **shop.variables)


async def _query(player: Player, query: str) -> list[list[Any]]:
    return (await player.call("database_query", database="shop", query=query))["rows"]


async def _read(reader: Player, shop: Shop) -> None:
    """What the access file allows."""
    stage = reader.stage
    access = shop.access_file("reader")
    stage.say(f"The operator says in {access.name} what a reader may do:")
    stage.show(access.read_text("utf-8"), last=5)
    (listed,) = (await reader.call("database_list"))["databases"]
    stage.claim(
        (listed["engine"], listed["writable"]) == (shop.engine, False),
        f"its sandbox has the database {listed['name']!r} in {listed['engine']}, to read",
    )
    rows = await _query(reader, CUSTOMERS)
    stage.show("\n".join(str(row) for row in rows))
    if shop.url:
        cities = {row[2] for row in rows}
        stage.claim(cities == {"Lyon"} and len(rows) == 3, "it sees the customers of Lyon alone")
        (count,) = await _query(reader, ELSEWHERE)
        stage.claim(count == [0], "for those elsewhere it may ask: to it, there are none")
    else:
        stage.claim(len(rows) == 8, "it sees every customer: SQLite has no rules for rows")


async def _attack(reader: Player, shop: Shop) -> None:
    """What it does not allow, tried one by one."""
    stage = reader.stage
    stage.say("What else could it try? Nothing here reads the statements; the engine itself does:")
    await _refused(reader, ATTACKS[shop.engine])
    if shop.url:
        stage.say("Some statements are not about rights; they have no place in a call at all:")
        await _refused(reader, OUT_OF_PLACE[shop.engine])
        rows = await _query(reader, IDENTITY)
        stage.claim(rows == [[True, False]], "it logged in as what it is, and is no superuser")
    rows = await _query(reader, STATE_OF_SALE)
    stage.claim(rows == [BEFORE], "nothing has changed: 12 teapots, 10 orders")


async def _refused(reader: Player, attacks: tuple[Attack, ...]) -> None:
    for attack in attacks:
        words = await reader.refusal("database_query", database="shop", query=attack.query)
        reader.stage.claim(attack.words in words, f"it may not {attack.after}")


async def _sell_and_die(reader: Player, shop: Shop, seller: Process) -> set[str]:
    """A client of its own sells, and is killed before it commits. Returns its sandboxes."""
    stage = reader.stage
    stage.say("A writer, with a client and a server of its own, sells a teapot in a transaction:")
    stage.call("python", "-m examples.demo.seller", _statements())
    news = await _first_line(seller)
    stage.claim(news.get("sees") == AFTER, "inside of it, there are 11 teapots and 11 orders")
    rows = await _query(reader, STATE_OF_SALE)
    stage.claim(rows == [BEFORE], "outside, the reader sees none of that")
    if shop.url:
        stage.claim(shop.ask(OPEN_TRANSACTIONS) == 1, "the database holds it open")
    started = descendants(seller.pid)
    (mcp_server,) = children(seller.pid)
    stage.call("kill", f"-9 {mcp_server} {seller.pid}", "the server and its client, at once")
    os.kill(mcp_server, signal.SIGKILL)
    seller.kill()
    await seller.wait()
    held = await until(lambda: not running(started))
    stage.claim(held, f"with them, all {len(started) + 1} processes of the writer have ended")
    if shop.url:
        held = await until(lambda: shop.ask(OPEN_TRANSACTIONS) == 0)
        stage.claim(held, "the database has rolled the transaction back")
    rows = await _query(reader, STATE_OF_SALE)
    stage.claim(rows == [BEFORE], "the sale never was: 12 teapots, 10 orders")
    return set(news["sandboxes"])


@asynccontextmanager
async def _started_seller(player: Player, shop: Shop) -> AsyncIterator[Process]:
    """The client that will be killed; at the latest when the block ends."""
    seller = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "examples.demo.seller", str(shop.folder), *shop.arguments("writer"),
        env={**os.environ, **shop.variables}, stdout=asyncio.subprocess.PIPE, stderr=player.log,
    )  # fmt: skip
    try:
        yield seller
    finally:
        left = descendants(seller.pid)
        if seller.returncode is None:
            seller.kill()
        await seller.wait()
        await until(lambda: not running(left))  # a server without a client ends by itself


async def _first_line(seller: Process) -> dict[str, Any]:
    if seller.stdout is None or not (line := await seller.stdout.readline()):
        raise DemoError("the seller ended before its transaction was open")
    return json.loads(line)


async def _sell(writer: Player, reader: Player) -> None:
    """The same sale with a client that lives: nothing that was killed is in its way."""
    stage = writer.stage
    stage.say("The same once more, all or nothing, by a writer that lives:")
    refused = [*SALE, {"query": "UPDATE products SET price = 0"}]
    words = await writer.refusal("database_execute", database="shop", statements=refused)
    stage.claim("products" in words and "PERMISSION_DENIED" in words, "a price it may not change")
    rows = await _query(reader, STATE_OF_SALE)
    stage.claim(rows == [BEFORE], "so of the three statements none took effect")
    done = await writer.call("database_execute", database="shop", statements=SALE)
    stage.claim(done["committed"], "without that one, they are committed")
    rows = await _query(reader, STATE_OF_SALE)
    stage.claim(rows == [AFTER], "and the reader sees 11 teapots and 11 orders")


def _statements() -> str:
    return "\n".join(each["query"] for each in SALE)
