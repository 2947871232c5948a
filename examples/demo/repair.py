"""Scene: a program with a bug is tested, searched, mended and tested again."""

from pathlib import Path

from .player import Player

SHOP = Path(__file__).resolve().parent.parent / "shop"
TESTS = "python3 -m unittest"


async def play(player: Player) -> None:
    """Works on the program in `examples/shop` as an agent would."""
    stage = player.stage
    await _upload(player)
    before = await player.run(TESTS, cwd="shop")
    stage.show(before["stderr"], last=12)
    stage.claim(before["exit_code"] == 1, "the tests fail, with exit code 1")
    stage.claim("VAT 0.28" in before["stderr"], "the tax on 1.50 is 0.28, half a cent too little")
    await _find(player)
    await _mend(player)
    after = await player.run(TESTS, cwd="shop")
    stage.show(after["stderr"], last=4)
    stage.claim(after["exit_code"] == 0, "all tests pass")


async def _upload(player: Player) -> None:
    sources = sorted(path for path in SHOP.rglob("*.py"))
    player.stage.say(f"A small shop program of {len(sources)} files goes into the sandbox:")
    for source in sources:
        path = f"shop/{source.relative_to(SHOP)}"
        await player.call("filesystem_write", path=path, content=source.read_text("utf-8"))
    listing = await player.call("filesystem_glob", pattern="shop/**/*.py")
    player.stage.claim(listing["total"] == len(sources), f"all {len(sources)} files are there")


async def _find(player: Player) -> None:
    player.stage.say("The tax is a percentage. Where are percentages worked out?")
    found = await player.call("filesystem_grep", pattern=r"percent\s*//", path="shop", mode="lines")
    matches = found["matches"]
    player.stage.show("\n".join(f"{m['path']}:{m['line']}: {m['text']}" for m in matches))
    player.stage.claim(
        [m["path"] for m in matches] == ["shop/shop/money.py"],
        "one line cuts off where its own description says it rounds",
    )


async def _mend(player: Player) -> None:
    edit = {"old": "cents * percent // 100", "new": "(cents * percent + 50) // 100"}
    done = await player.call("filesystem_edit", path="shop/shop/money.py", edits=[edit])
    player.stage.show(done["diff"])
    player.stage.claim(done["replacements"] == 1, "one place was changed")
