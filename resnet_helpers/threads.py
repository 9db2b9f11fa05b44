"""What PyTorch's threads need to know before they exist; to be imported before PyTorch, as the package does.

When PyTorch's threads have nothing to do, they look again and again whether there is something, each on a core of its
own, for milliseconds; it makes the next operation start quickly. As soon as two notebooks compute at once, they keep
each other's threads from the cores that way, and both take many times as long. Looking less often before they go to
sleep costs nothing measurable and ends that. Figures: `tests/load/two_at_once.py`.
"""

import os
import sys

from resnet_helpers.limits import usable_cores

OURS = "RESNET_HELPERS_NUM_THREADS"  # tells a process that this one starts that nobody asked for OMP_NUM_THREADS
IS_FIXED = os.environ.get("OMP_NUM_THREADS") not in (None, os.environ.get(OURS))  # somebody said how many threads

if "torch" not in sys.modules:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # of GNU's OpenMP, as in PyTorch for Linux
    if not IS_FIXED and (cores := usable_cores()) < (os.cpu_count() or 1):  # a container's share; PyTorch takes all
        os.environ["OMP_NUM_THREADS"] = os.environ[OURS] = str(cores)
