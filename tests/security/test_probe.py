"""Every wall of a sandbox, tried from inside as the agent; each refusal has an accepted twin.

A row is one promise. `refused` attempts must end as said, `accepted` ones prove that the wall does
not stand in the way of work, and that the probe can tell one from the other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from .conftest import AGENT_UID, RESOURCES, Probed
from .probe import CALLS

pytestmark = [pytest.mark.docker, pytest.mark.slow]

Expected = Any | Callable[[Any], bool]
NO_RIGHTS = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16)
NOT_ALLOWED = ("EPERM", "EACCES", "EROFS", "ENOENT")
MOUNTS = (
    "/dev",
    "/etc/hostname",
    "/etc/hosts",
    "/proc",
    "/run/sandbox",
    "/run/spool",
    "/sys",
    "/tmp",
    "/workspace",
)
UNREACHABLE = "ENETUNREACH"


@dataclass(frozen=True)
class Row:
    """One wall: attempts by name with what must come of them."""

    name: str
    refused: dict[str, Expected]
    accepted: dict[str, Expected]


def every(*allowed: Any) -> Callable[[dict[str, Any]], bool]:
    """All values of a non-empty record are among these."""
    return lambda found: bool(found) and all(value in allowed for value in found.values())


def full(limit_mb: int) -> Callable[[dict[str, Any]], bool]:
    """It was filled to nearly its size, and not beyond."""
    return lambda found: found["why"] == "ENOSPC" and limit_mb * 0.85 <= found["mb"] <= limit_mb


ROWS = [
    Row(
        "the agent is not root and cannot become it",
        {
            "become_root": "EPERM",
            "become_the_root_group": "EPERM",
            "drop_supplementary_groups": "EPERM",
        },
        {"user_is_the_agent": [AGENT_UID] * 6, "become_oneself": "ok"},
    ),
    Row(
        "no capability is left",
        {
            "capability_sets": NO_RIGHTS,
            "make_a_block_device": "EPERM",
            "change_root": "EPERM",
            "give_a_file_to_root": "EPERM",
            "send_a_raw_packet": "EPERM",
        },
        {"make_a_pipe": "ok", "keep_a_file": "ok"},
    ),
    Row(
        "no program gives new privileges",
        {
            "no_new_privileges": "1",
            "take_privileges_back": "EINVAL",
            "set_user_id_files": [],
        },
        {"set_user_id_copy_runs_as_the_agent": str(AGENT_UID)},
    ),
    Row(
        "the root file system is read-only",
        {
            "root_mount_flags": "ro",
            "plant_a_program": "EROFS",
            "change_the_server": lambda found: found in NOT_ALLOWED,
            "change_the_user_table": lambda found: found in NOT_ALLOWED,
            "remount_the_root": "EPERM",
            "writable_folders": lambda found: set(found) <= {"/workspace", "/tmp", "/run/spool"},
        },
        {"write_a_file": "ok", "read_the_user_table": lambda text: f"agent:x:{AGENT_UID}" in text},
    ),
    Row(
        "the system call filter is on",
        {
            "filter_mode": "2",
            "clone_with_a_namespace": every("EPERM"),
            "clone3_is_unknown": "ENOSYS",
            "forbidden_sockets": every("EPERM"),
            "turn_off_address_randomisation": "EPERM",
        },
        {
            "allowed_sockets": every("ok"),
            "ask_for_the_personality": "ok",
            "open_a_process_descriptor": "ok",
            "open_by_openat2": "ok",
            "make_a_memory_file": "ok",
            "start_a_thread_and_a_process": "ok",
        },
    ),
    Row(
        "the number of processes is limited",
        {
            "fork_bomb": lambda found: (
                found["refused"] == "EAGAIN" and 10 < found["forks"] < RESOURCES.pids
            )
        },
        {"ten_forks": "ok"},
    ),
    Row(
        "orphans are reaped",
        {"orphans_leave_no_zombies": {"zombies": 0, "first": "tini"}},
        {"ten_forks": "ok"},
    ),
    Row(
        "memory is limited and the kernel takes the agent's processes",
        {"take_too_much_memory": "signal 9", "avoid_the_memory_killer": "EACCES"},
        {"take_a_little_memory": "ok", "offer_oneself_to_the_memory_killer": "ok"},
    ),
    Row(
        "memory file systems have a size and run nothing",
        {
            "overfill_tmp": full(RESOURCES.tmp_mb),
            "overfill_shared_memory": full(16),
            "too_many_files_in_tmp": lambda found: (
                found["why"] == "ENOSPC" and found["files"] <= RESOURCES.tmp_mb * 256
            ),
            "run_a_program_from_tmp": "EACCES",
        },
        {"write_a_little_to_tmp": "ok", "run_a_program_from_the_workspace": "ok"},
    ),
    Row(
        "the workspace has a size",
        {"overfill_the_workspace": full(RESOURCES.disk_mb)},
        {"write_a_file": "ok"},
    ),
    Row(
        "processor time is limited",
        {"hog_the_processors": {"throttled": True}},
        {"ten_forks": "ok"},
    ),
    Row(
        "direct disk writes are slowed to their rate",
        # Eight MiB at four MiB a second: a throttled writer cannot be quicker than this.
        {"write_eight_megabytes_directly": lambda found: found["seconds"] >= 1.0},
        {"write_a_file": "ok"},
    ),
    Row(
        "there is no network",
        {
            "interfaces": ["lo"],
            "reach_out": every(UNREACHABLE),
            "resolve_a_name": "no answer",
        },
        {
            "talk_to_oneself": "ok",
            "talk_over_loopback": "ok",
            "resolve_localhost": lambda found: "127.0.0.1" in found,
        },
    ),
    Row(
        "nothing of the host is in reach",
        {
            "mount_points": lambda found: all(
                point == "/" or point.startswith(MOUNTS) for point in found
            ),
            "mounts_that_propagate": [],
            "sockets_in_reach": [],
            "device_nodes": [],
            "raw_devices": every(*NOT_ALLOWED),
        },
        {"write_a_file": "ok"},
    ),
    Row(
        "kernel facts are masked and settings cannot be written",
        {
            "masked_files": every(0, *NOT_ALLOWED),
            "kernel_settings": every(*NOT_ALLOWED),
        },
        {"read_ones_own_status": True, "read_memory_facts": True},
    ),
    Row(
        "control groups are private and read-only",
        {
            "group_paths": ["/"],
            "rewrite_limits": every(*NOT_ALLOWED),
            "make_a_group": lambda found: found in NOT_ALLOWED,
        },
        {"read_ones_own_limit": RESOURCES.memory_mb * 2**20},
    ),
    Row(
        "interprocess memory is private and small",
        {"shared_memory_mb": 16, "segments_of_others": 0},
        {"use_shared_memory": "ok"},
    ),
    Row(
        "every process has its limits",
        {
            "process_limits": {
                "CORE": [0, 0],
                "NOFILE": [RESOURCES.open_files] * 2,
                "FSIZE": [RESOURCES.disk_mb * 2**20] * 2,
                "MEMLOCK": [65_536] * 2,
                "MSGQUEUE": [0, 0],
            },
            "raise_a_limit": "EPERM",
            "write_a_giant_file": "EFBIG",
        },
        {"lower_a_limit": "ok"},
    ),
    Row(
        "the container's log is out of reach",
        {"write_to_the_log": "EACCES"},
        {"write_to_ones_own_output": "ok"},
    ),
    Row(
        "the agent cannot touch the action server",
        {
            "signal_the_server": "EPERM",
            "signal_the_first_process": "EPERM",
            "trace_the_server": "EPERM",
            "read_the_servers_memory": "EACCES",
            "read_the_servers_environment": "EACCES",
            "read_the_first_process_environment": "EACCES",
            "list_the_servers_files": "EACCES",
            "slow_the_server_down": "EPERM",
            "limit_the_server": "EPERM",
            "enter_the_control_folder": "EACCES",
            "call_the_action_server": "EACCES",
        },
        {"command_one_s_own_child": -15},
    ),
    Row(
        "the action server keeps only what it needs",
        {
            "server_rights": lambda found: (
                # KILL, SETGID and SETUID; nothing can be gained and nothing is inherited.
                found["CapEff"] == found["CapPrm"] == f"{0b11100000:016x}"
                and found["CapBnd"] == found["CapInh"] == found["CapAmb"] == "0" * 16
                and found["NoNewPrivs"] == "1"
            )
        },
        {"read_ones_own_status": True},
    ),
]


def check(probe: Probed, attempt: str, expected: Expected) -> None:
    """Fails with what really came of the attempt."""
    found = probe[attempt]
    held = expected(found) if callable(expected) else expected == found
    assert held, f"{attempt}: {found!r}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_wall_holds_and_work_goes_on(probe: Probed, row: Row) -> None:
    for attempt, expected in (row.refused | row.accepted).items():
        check(probe, attempt, expected)


@pytest.mark.parametrize("call", sorted(CALLS))
def test_forbidden_system_call_is_refused(probe: Probed, call: str) -> None:
    assert probe["forbidden_calls"][call] in ("EPERM", "no such call here")


def test_every_attempt_of_the_probe_is_judged(probe: Probed) -> None:
    judged = {name for row in ROWS for name in row.refused | row.accepted}
    elsewhere = {"forbidden_calls", "apparmor_profile", "user_map"}
    assert set(probe.outcomes) == judged | elsewhere


def test_second_wall_is_there_or_missed_aloud(probe: Probed, facts: dict[str, Any]) -> None:
    if facts["capabilities"].apparmor:
        assert probe["apparmor_profile"] == "docker-default (enforce)"
    else:
        assert any("AppArmor" in warning for warning in facts["capabilities"].warnings)


def test_user_namespace_is_there_or_missed_aloud(probe: Probed, facts: dict[str, Any]) -> None:
    if probe["user_map"] == ["0", "0", "4294967295"]:
        assert any("user namespaces" in warning for warning in facts["capabilities"].warnings)
    else:
        assert not any("user namespaces" in w for w in facts["capabilities"].warnings)


def test_engine_keeps_little_of_what_a_sandbox_prints(facts: dict[str, Any]) -> None:
    log = facts["inspected"]["HostConfig"]["LogConfig"]
    assert log["Type"] == "local"
    assert (log["Config"]["max-size"], log["Config"]["max-file"]) == ("1m", "1")


def test_only_folders_of_its_own_are_bound(facts: dict[str, Any]) -> None:
    bound = {m["Destination"]: m["RW"] for m in facts["inspected"]["Mounts"] if m["Type"] == "bind"}
    assert bound == {"/run/sandbox": True, "/workspace": True, "/etc/hosts": False}


@pytest.mark.parametrize(
    "name", ["cpus", "memory_mb", "pids", "disk_mb", "tmp_mb", "open_files", "disk_write_mb_s"]
)
def test_limit_is_read_back_from_the_running_container(probe: Probed, name: str) -> None:
    limit = probe.limits[name]
    assert limit.verified, limit
    assert limit.effective == pytest.approx(limit.requested, rel=0.05)
