"""The share of a processor that Lambda gives to a memory size, as a quota of the kernel's scheduler (Linux, root).

Lambda gives a function one vCPU for 1,769 MB, and in proportion below and above (AWS Lambda Developer Guide, "Configure
Lambda function memory"). The guide does not state the length of the scheduler's periods; users have measured 20 ms.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

MB_A_VCPU = 1_769
PERIOD_MICROSECONDS = 20_000
CGROUPS = Path("/sys/fs/cgroup")
NO_QUOTA = "nothing, because the kernel's control groups are not writable"

Add = Callable[[int], None]
"""Puts a process, and every process that it starts from then on, under the quota."""


def quota_microseconds(memory_mb: int) -> int:
    """How long the processes of a function of this memory may run in each period, all cores together.

    >>> quota_microseconds(1769), quota_microseconds(512)
    (20000, 5788)
    """
    return memory_mb * PERIOD_MICROSECONDS // MB_A_VCPU


@contextmanager
def quota(memory_mb: int) -> Iterator[tuple[str, Add]]:
    """How the quota is set, and the function that puts a process under it; leaving the context removes the quota.

    If neither version of the kernel's control groups can be written, the former is NO_QUOTA and nothing is limited.
    """
    share, name = quota_microseconds(memory_mb), f"lambda-{memory_mb}-{os.getpid()}"
    # The highest possible shares or weight, so that other load on the machine matters as little as possible.
    first = {
        "cpu.cfs_period_us": f"{PERIOD_MICROSECONDS}",
        "cpu.cfs_quota_us": f"{share}",
        "cpu.shares": "262144",
    }
    second = {"cpu.max": f"{share} {PERIOD_MICROSECONDS}", "cpu.weight": "10000"}
    for version, group, limits in (("v1", CGROUPS / "cpu" / name, first), ("v2", CGROUPS / name, second)):
        if _made(group, limits):
            try:
                yield f"cgroup {version}", lambda pid, group=group: _write(group / "cgroup.procs", f"{pid}")
            finally:
                group.rmdir()
            return
    yield NO_QUOTA, lambda _: None


def _made(group: Path, limits: Mapping[str, str]) -> bool:
    """Make a group with these limits, and return whether it could be made; a failed attempt leaves nothing behind."""
    try:
        group.mkdir()
    except OSError:
        return False
    try:
        for name, limit in limits.items():
            _write(group / name, limit)
    except OSError:
        group.rmdir()
        return False
    return True


def _write(path: Path, text: str) -> None:
    """Write to an existing file; it must not be created in a folder that is not a control group."""
    with os.fdopen(os.open(path, os.O_WRONLY), "w") as file:
        file.write(text)
