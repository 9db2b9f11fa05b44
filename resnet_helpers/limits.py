"""How much memory and how many cores the system, or the container that this process runs in, lets it use."""

import contextlib
import math
import os
import time
from pathlib import Path

GROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")  # Linux's control groups, version 2
CLOCKS = Path("/proc/stat")  # what Linux's cores have spent their time on


def control_groups():
    """Folders of the control groups that hold for this process, from the innermost up; none elsewhere than on Linux."""
    with contextlib.suppress(OSError):
        path = next((line[3:] for line in OWN_GROUP.read_text().splitlines() if line.startswith("0::")), "/")
        folder = GROUPS / path.strip().lstrip("/")
        yield from (group for group in (folder, *folder.parents) if group.is_relative_to(GROUPS))


def available_memory():
    """Bytes of main memory that this process can still get; None where that is not known."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        return min([1024 * (kilobytes["MemAvailable"] + kilobytes.get("SwapFree", 0)), *memory_left_in_groups()])
    return None


def memory_left_in_groups():
    """Bytes that each limit of a control group leaves."""
    for group in control_groups():
        with contextlib.suppress(OSError, ValueError, KeyError):  # "max" is no number: no limit
            limit = int((group / "memory.max").read_text())
            used = int((group / "memory.current").read_text())
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            yield limit - used + int(stat["inactive_file"]) + int(stat["active_file"])  # files are dropped when needed


def usable_cores():
    """How many cores this process may use: those it is bound to, or fewer if its share of time is limited.

    A container's share, or the `CPU_LIMIT` that JupyterHub sets where it gives each user a part of the cores.
    """
    bound_to = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound_to, *_shares()]))


def _shares():
    """Limits of computing time, in cores, rounded up."""
    with contextlib.suppress(KeyError, ValueError, OverflowError):
        yield math.ceil(float(os.environ["CPU_LIMIT"]))
    for group in control_groups():
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # "max" is no number: no limit
            quota, period = (group / "cpu.max").read_text().split()
            yield math.ceil(int(quota) / int(period))


def computing_time():
    """Seconds that all cores together, and that this process, have computed so far; None where that is not known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        ticks = [int(n) for n in CLOCKS.read_text().splitlines()[0].split()[1:9]]
        idle = ticks[3] + ticks[4]  # the latter waits for a disk
        return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"), time.process_time()
    return None
