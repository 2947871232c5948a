"""First program of a sandbox: finds the action server and becomes it.

Runs in the container only, isolated from the environment (`python3 -IS`), so that nothing an agent
may write is ever imported. Standard library only. The host uses its user table too.
"""

import os
import sys
from pathlib import Path
from runpy import run_module

RUN = Path("/run/sandbox")


def passwd(agent_uid: int) -> str:
    """The user table a sandbox sees."""
    return (
        "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        f"agent:x:{agent_uid}:{agent_uid}:agent:/workspace:/bin/bash\n"
    )


def group(agent_uid: int) -> str:
    """The group table a sandbox sees."""
    return f"root:x:0:\nnogroup:x:65534:\nagent:x:{agent_uid}:\n"


def write_user_table(agent_uid: int) -> None:
    """Writes the files behind /etc/passwd and /etc/group where no host folder brought them."""
    if not (RUN / "passwd").exists():
        (RUN / "passwd").write_text(passwd(agent_uid))
        (RUN / "group").write_text(group(agent_uid))


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path[:0] = [str(here), str(here / "lib")]
    # Last, so that what an operator installed takes no name from what the server needs.
    sys.path.append(str(here / "plugins"))
    if sys.argv[1:] == ["check"]:
        run_module("container_runtime.server.check", run_name="__main__", alter_sys=True)
        sys.exit()
    write_user_table(int(os.environ["SANDBOX_AGENT_UID"]))
    run_module("container_runtime.server", run_name="__main__", alter_sys=True)
