"""Scene: a command that never ends is ended at its timeout, with everything it started."""

from .player import Clock, Player

TIMEOUT_S = 3
# One child in the foreground, one in the background, and one that left by a double fork into a
# session of its own: the one that a plain kill of the process group misses.
COMMAND = """\
sleep 7001 &
python3 -c 'import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(7002)
    os._exit(0)
'
yes > /dev/null"""
LOOK = "ps -eo pid,ppid,args | grep -E 'sleep.700[12]|yes' | grep -v grep || echo none"


async def play(player: Player) -> None:
    """Starts a process tree that will not end by itself, and looks for it afterwards."""
    stage = player.stage
    await player.run("mkdir -p work && cd work && export MARK=kept")
    watched = await _watch_tree(player)
    stage.claim(
        all(name in watched for name in ("sleep 7001", "time.sleep(7002)", "yes")),
        "a look from a second session sees all of them run, the detached one too",
    )
    clock = Clock()
    result = await player.run(COMMAND, timeout_s=TIMEOUT_S, on_timeout="kill")
    stage.claim(
        result["status"] == "timed_out" and TIMEOUT_S <= clock.seconds < TIMEOUT_S + 10,
        f"after its timeout of {TIMEOUT_S} s it was ended ({clock.seconds:.1f} s in all)",
    )
    left = await player.run(LOOK, session="second")
    stage.show(left["stdout"])
    stage.claim(left["stdout"].strip() == "none", "not one of its processes is left")
    kept = await player.run('pwd; echo "MARK is $MARK"')
    stage.show(kept["stdout"])
    stage.claim(
        kept["stdout"].split("\n")[:2] == ["/workspace/work", "MARK is kept"],
        "the shell it ran in kept its directory and its variables",
    )


async def _watch_tree(player: Player) -> str:
    """Runs the same tree in the background, looks at it, and ends it by its process id."""
    started = await player.run(COMMAND, session="background", background=True)
    seen = (await player.run(f"sleep 0.5; {LOOK}", session="second"))["stdout"]
    player.stage.show(seen)
    await player.call("terminal_kill", process_id=started["process_id"], signal="KILL")
    return seen
