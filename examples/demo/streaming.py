"""Scene: a long command shows its output while it runs."""

from .player import Clock, Player

COMMAND = """\
for size in 10 20 30 40 50; do
    sum=$(head -c ${size}M /dev/zero | sha256sum | cut -c1-16)
    echo "the sum of $size MB of zeros is $sum"
    sleep 0.6
done"""
LINES = 5


async def play(player: Player) -> None:
    """Runs a command of some seconds and prints what comes, when it comes."""
    stage = player.stage
    clock = Clock()
    pieces: list[tuple[float, str]] = []

    def on_text(text: str) -> None:
        pieces.append((clock.seconds, text))
        for line in text.rstrip("\n").split("\n"):
            stage.show(f"{clock.seconds:5.1f} s  {line}")

    result = await player.run(COMMAND, on_text=on_text)
    total = clock.seconds
    stage.claim(result["exit_code"] == 0, f"the command ended well after {total:.1f} s")
    stage.claim(
        result["stdout"].count("MB of zeros") == LINES, f"its result holds all {LINES} lines"
    )
    live = [when for when, text in pieces if "zeros" in text]
    stage.claim(len(live) >= LINES - 1, f"{len(live)} pieces of output came as progress messages")
    stage.claim(live[0] < total - 1, f"the first came {total - live[0]:.1f} s before the end")
