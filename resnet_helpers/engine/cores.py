"""How many cores and how much memory this process may use, and how many threads PyTorch takes.

To be imported before PyTorch, as the package does: PyTorch's threads read the environment once.
"""

import contextlib
import math
import os
import sys
import time
from pathlib import Path

# Linux's control groups, version 2, and what its cores have spent their time on
GROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
CLOCKS = Path("/proc/stat")
# Tells a process that this one starts that nobody asked for OMP_NUM_THREADS.
OUR_NUM_THREADS = "RESNET_HELPERS_NUM_THREADS"


def control_groups():
    """Folders of the control groups that hold this process, from the innermost up.

    There are none elsewhere than on Linux.
    """
    with contextlib.suppress(OSError):
        path = next((line[3:] for line in OWN_GROUP.read_text().splitlines()
                     if line.startswith("0::")), "/")
        folder = GROUPS / path.strip().lstrip("/")
        yield from (group for group in (folder, *folder.parents) if group.is_relative_to(GROUPS))


# --- memory ---

def available_memory():
    """Bytes of main memory that this process can still get; None where that is not known."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = (line.partition(":") for line in Path("/proc/meminfo").read_text().splitlines())
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in lines}
        free = 1024 * (kilobytes["MemAvailable"] + kilobytes.get("SwapFree", 0))
        return min([free, *memory_left_in_groups()])
    return None


def memory_left_in_groups():
    """Bytes that each limit of a control group leaves."""
    for group in control_groups():
        with contextlib.suppress(OSError, ValueError, KeyError):  # "max" is no number: no limit
            limit = int((group / "memory.max").read_text())
            used = int((group / "memory.current").read_text())
            lines = (group / "memory.stat").read_text().splitlines()
            stat = dict(line.split() for line in lines)
            cached = int(stat["inactive_file"]) + int(stat["active_file"])  # dropped when needed
            yield limit - used + cached


# --- cores ---

def usable_cores():
    """How many cores this process may use: those it is bound to, or its share of their time.

    The share is a container's, or the `CPU_LIMIT` that JupyterHub sets for each user.
    """
    is_bound = hasattr(os, "sched_getaffinity")
    bound_to = len(os.sched_getaffinity(0)) if is_bound else os.cpu_count() or 1
    return max(1, min([bound_to, *_shares()]))


def _shares():
    """Limits of computing time, in cores, rounded up."""
    with contextlib.suppress(KeyError, ValueError, OverflowError):
        yield math.ceil(float(os.environ["CPU_LIMIT"]))
    for group in control_groups():
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # "max": no limit
            quota, period = (group / "cpu.max").read_text().split()
            yield math.ceil(int(quota) / int(period))


def computing_time():
    """Seconds that all cores together, and that this process, have computed so far.

    None where that is not known.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        ticks = [int(n) for n in CLOCKS.read_text().splitlines()[0].split()[1:9]]
        idle = ticks[3] + ticks[4]  # the latter waits for a disk
        return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"), time.process_time()
    return None


# --- threads, before PyTorch makes them ---

# Has somebody said how many threads there are to be?
IS_FIXED = os.environ.get("OMP_NUM_THREADS") not in (None, os.environ.get(OUR_NUM_THREADS))

if "torch" not in sys.modules:
    # A thread without work looks for some, on a core of its own, for milliseconds. Two notebooks
    # that compute at once keep each other from the cores that way, and both take many times as
    # long. To look less often costs nothing measurable: `tests/load/two_at_once.py`.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # of GNU's OpenMP, as in PyTorch for Linux
    if not IS_FIXED and (share := usable_cores()) < (os.cpu_count() or 1):
        os.environ["OMP_NUM_THREADS"] = os.environ[OUR_NUM_THREADS] = str(share)
