"""How long a training takes alone, and how long two take at once, with and without `engine.cores`.

    python tests/load/two_at_once.py [--number 2] [--limit 120]

Prints seconds from start to end, that of Python included, of one epoch of the quick run at 28
pixels.
"""

import argparse
import os
import subprocess
import sys
import time

import torch

from resnet_helpers.history import describe_hardware, name_hardware

COMMAND = [sys.executable, "-m", "resnet_helpers.train", "--num-epochs", "1", "--quiet"]
WAYS = {"with waiting as it comes": {"GOMP_SPINCOUNT": "300000"},  # GNU's OpenMP by itself
        "as this package sets it": {},
        "one thread each": {"OMP_NUM_THREADS": "1"}}


def seconds(number, variables, limit):
    """Time until all of `number` trainings have ended, started at once; None if that takes longer
    than `limit`.
    """
    begin = time.monotonic()
    environment = {name: text for name,
                   text in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_NUM_THREADS")}
    processes = [subprocess.Popen(COMMAND, env=environment | variables) for _ in range(number)]
    try:
        for process in processes:
            if process.wait(max(0.0, begin + limit - time.monotonic())):
                raise SystemExit("a training failed")
    except subprocess.TimeoutExpired:
        return None
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return time.monotonic() - begin


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--number", type=int, default=2)
    parser.add_argument("--limit", type=float, default=120, help="seconds for each measurement")
    options = parser.parse_args()
    print(f"{name_hardware(describe_hardware(torch.device('cpu')))}, torch "
          f"{torch.__version__.partition('+')[0]}")
    seconds(1, {}, 600)  # fills the cache of the disk
    for name, variables in WAYS.items():
        alone, together = (seconds(number, variables, options.limit)
                           for number in (1, options.number))
        shown = [f"over {options.limit:.0f} s" if s is None else f"{s:.1f} s"
                 for s in (alone, together)]
        print(f"{name:24} alone {shown[0]:>10}, {options.number} at once {shown[1]:>10}",
              flush=True)
