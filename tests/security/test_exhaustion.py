"""A sandbox whose agent code has taken everything still answers, and can be mended from outside."""

from pathlib import Path

import pytest

from sandbox_sdk import SandboxGroup
from sandbox_sdk.models import ComputeResources

pytestmark = pytest.mark.docker

SMALL = ComputeResources(memory_mb=128, disk_mb=32, tmp_mb=8, pids=32)
FILL = """
import os, time
try:
    while os.fork():
        pass
    time.sleep(300)
except BlockingIOError:
    print("filled", flush=True)
    time.sleep(300)
"""


async def test_files_can_be_read_while_no_process_can_be_started(docker_state_dir: Path) -> None:
    async with (
        SandboxGroup(state_dir=docker_state_dir, compute_resources=SMALL) as group,
        await group.create_sandbox() as sandbox,
    ):
        hog = await sandbox.terminal.run(
            'touch here; exec python3 -c "$FILL"', background=True, env={"FILL": FILL}
        )
        await sandbox.terminal.read(hog.process_id, wait_for="filled", wait_s=20)
        refused = await sandbox.execute("terminal.run", {"command": "true", "background": True})
        listed = await sandbox.filesystem.list()

        await sandbox.terminal.kill(hog.process_id)
        mended = await sandbox.terminal.run("ls")

    assert refused.error is not None
    assert refused.error.code == "PIDS_LIMIT"
    assert [entry.path for entry in listed.entries] == ["here"]
    assert mended.stdout == "here\n"
