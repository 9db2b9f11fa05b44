"""Print how long imports take, each in a fresh process: the median of five, in turn so that all
meet the same machine.

    python tests/tools/import_time.py
"""

import argparse
import statistics
import subprocess
import sys

CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
MODULES = ("torch", "resnet_helpers", "resnet_helpers.check", "resnet_helpers.widgets")


def seconds(module):
    return float(subprocess.run([sys.executable, "-c", CODE.format(module)], capture_output=True,
                                check=True).stdout)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    # the first fills the cache of the disk
    measured = [[seconds(module) for module in MODULES] for _ in range(6)][1:]
    for module, times in zip(MODULES, zip(*measured, strict=True), strict=True):
        print(f"import {module}: {statistics.median(times):.2f} s")
