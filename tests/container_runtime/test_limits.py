"""What becomes of each limit on hosts that can more or less."""

import pytest

from container_runtime.limits import DISK_RATES, HostFacts, plan, settle, spool_mb, verify
from container_runtime.spec import ComputeResources, EffectiveLimit
from tool_plugins.errors import UnenforceableLimitError

ABLE = HostFacts(cgroup_version=2, workspace="loop-ext4")
OLD = HostFacts(cgroup_version=1, workspace="loop-ext4")
IN_MEMORY = HostFacts(
    cgroup_version=1, workspace="tmpfs", workspace_reason="mounting a workspace needs root"
)
BARE = HostFacts(
    cgroup_version=1, workspace="loop-ext4", missing={"pids": "the engine reports no PidsLimit"}
)
RATES = ComputeResources(disk_read_mb_s=8, disk_write_mb_s=4, disk_read_iops=90, disk_write_iops=80)


def by_name(table: tuple[EffectiveLimit, ...]) -> dict[str, EffectiveLimit]:
    return {limit.name: limit for limit in table}


def test_every_requested_limit_has_a_row() -> None:
    names = {limit.name for limit in plan(RATES, ABLE)}
    asked = RATES.model_dump(exclude={"runtime", "enforcement"}, exclude_none=True)
    assert names == {*asked, "disk_mb"}


def test_limits_not_asked_for_have_no_row() -> None:
    assert not {limit.name for limit in plan(ComputeResources(), ABLE)} & set(DISK_RATES)


def test_nothing_counts_as_verified_before_it_was_read() -> None:
    assert not any(limit.verified for limit in plan(RATES, ABLE))


def test_disk_rates_are_average_on_unified_groups_and_approximate_on_old_ones() -> None:
    new, old = by_name(plan(RATES, ABLE)), by_name(plan(RATES, OLD))
    assert {new[name].limit_class for name in DISK_RATES} == {"average"}
    assert {old[name].limit_class for name in DISK_RATES} == {"approximate"}
    assert "direct I/O only" in old["disk_write_mb_s"].note


def test_required_limit_without_its_facility_is_refused_by_name() -> None:
    with pytest.raises(UnenforceableLimitError, match=r"pids: the engine reports no PidsLimit"):
        plan(ComputeResources(), BARE)


def test_best_effort_accepts_and_says_none() -> None:
    limit = by_name(plan(ComputeResources(enforcement="best_effort"), BARE))["pids"]
    assert (limit.limit_class, limit.effective, limit.mechanism) == ("none", None, "none")
    assert limit.note == "the engine reports no PidsLimit"


def test_workspace_in_memory_is_refused_when_it_outgrows_the_memory() -> None:
    resources = ComputeResources(memory_mb=512, disk_mb=512)
    with pytest.raises(UnenforceableLimitError, match="needs root"):
        plan(resources, IN_MEMORY)


def test_workspace_in_memory_is_hard_and_says_where_it_lies() -> None:
    resources = ComputeResources(memory_mb=512, disk_mb=256)
    limit = by_name(plan(resources, IN_MEMORY))["disk_mb"]
    assert (limit.mechanism, limit.limit_class, limit.effective) == ("tmpfs", "hard", 256)
    assert "counts against memory_mb" in limit.note


def test_a_workspace_left_to_the_host_fits_where_it_lies() -> None:
    on_disk, in_memory = (settle(ComputeResources(), facts) for facts in (ABLE, IN_MEMORY))

    assert (on_disk.disk_mb, in_memory.disk_mb) == (1024, 256)
    assert by_name(plan(in_memory, IN_MEMORY))["disk_mb"].limit_class == "hard"


def test_disk_rate_without_a_disk_is_refused() -> None:
    resources = ComputeResources(memory_mb=512, disk_mb=64, disk_write_mb_s=5)
    with pytest.raises(UnenforceableLimitError, match="disk_write_mb_s: the workspace is in mem"):
        plan(resources, IN_MEMORY)


def test_reading_as_asked_is_verified() -> None:
    limit = by_name(verify(plan(ComputeResources(), ABLE), {"memory_mb": 512.0}))["memory_mb"]
    assert (limit.effective, limit.verified) == (512.0, True)


def test_smaller_reading_is_verified_and_told() -> None:
    limit = by_name(verify(plan(ComputeResources(), ABLE), {"disk_mb": 989.4}))["disk_mb"]
    assert (limit.effective, limit.verified) == (989.4, True)


def test_larger_reading_is_told_and_not_verified() -> None:
    limit = by_name(verify(plan(ComputeResources(), ABLE), {"pids": 4096.0}))["pids"]
    assert (limit.effective, limit.verified) == (4096.0, False)


def test_missing_reading_leaves_the_row_unverified() -> None:
    assert not any(limit.verified for limit in verify(plan(ComputeResources(), ABLE), {}))


@pytest.mark.parametrize(("memory_mb", "expected"), [(64, 16), (256, 64), (4096, 64)])
def test_spool_stays_a_part_of_the_memory(memory_mb: int, expected: int) -> None:
    assert spool_mb(ComputeResources(memory_mb=memory_mb)) == expected
