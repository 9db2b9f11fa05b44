"""A class on one computer: many kernels at once that run all notebooks, and what each student
needs.

    python tests/load/class_on_one_server.py [--students 12] [--threads 1] [--limit 90]
    [notebooks/NAME.ipynb ...]

Every student starts a kernel at the same moment, runs a notebook from top to bottom, shuts the
kernel down and goes on with the next one. Prints memory, time and the slowest cell of each
notebook. Ends with status 1 if a cell fails, a kernel dies, or it takes longer than the limit. For
Linux.
"""

import argparse
import collections
import math
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from kernels import NOTEBOOKS, Kernel, code_cells

from resnet_helpers.engine.cores import usable_cores
from resnet_helpers.history import describe_hardware, name_hardware

MIB = 2**20
SERVER_GIB = 0.17  # of a student's JupyterLab, measured on a hub


@dataclass
class Measured:
    """What one notebook took one student: seconds, the slowest cell, and bytes of memory: the peak,
    and what the kernel alone holds as long as it is left running.
    """

    seconds: float
    slowest: float
    slowest_cell: str
    memory: int
    held: int


def peak_memory(pid):
    """The most main memory that a process has had, in bytes, libraries that others share with it
    included.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def memory(pid, kind):
    """Bytes of main memory of a process.

    Args:
        kind: "Pss" for its own and its share of what it has in common with others, 0 if it has
            ended; "Private_Dirty" for what would be free without it.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{kind}:"))


class Students:
    """Runs notebooks for several students at once, until all are done or `deadline` has come."""

    def __init__(self, notebooks, number, environment, deadline):
        self.notebooks, self.number, self.environment = notebooks, number, environment
        self.deadline = deadline
        self.measured, self.failures = collections.defaultdict(list), []
        # pids of live kernels; the most that all had at once
        self.kernels, self.most_memory = {}, 0
        self.start = threading.Barrier(number)

    def run(self):
        """Let all of them work; afterwards `measured` and `failures` tell how it went."""
        stop = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(stop,))
        watcher.start()
        with ThreadPoolExecutor(self.number) as pool:
            list(pool.map(self._work, range(self.number)))
        stop.set()
        watcher.join()

    def _watch(self, stop):
        while not stop.wait(2):
            self.most_memory = max(self.most_memory,
                                   sum(memory(pid, "Pss") for pid in list(self.kernels.values())))

    def _work(self, student):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**self.environment,
                           "RESNET_HELPERS_PROGRESS": str(Path(folder) / "progress.json")}
            self.start.wait()
            for path in self.notebooks:
                try:
                    self.measured[path.name].append(self._run_notebook(student, path, folder,
                                                                       environment))
                except Exception as error:  # any must be in the table, and not stop the others
                    self.failures.append(f"student {student + 1}, {path.name}: {error}")

    def _run_notebook(self, student, path, folder, environment):
        begin, slowest, slowest_cell = time.monotonic(), 0.0, ""
        self._expect_time_left()
        with Kernel(folder, environment) as kernel:
            self.kernels[student] = kernel.pid
            try:
                for cell in code_cells(path):
                    reply = kernel.run(cell.source, cell.id, timeout=self._expect_time_left())
                    if bool(reply.error) != cell.fails:
                        raise RuntimeError(f"cell {cell.id}: {reply.error or 'it should fail'}")
                    if reply.seconds > slowest:
                        slowest, slowest_cell = reply.seconds, cell.source.strip().splitlines()[0]
                return Measured(time.monotonic() - begin, slowest, slowest_cell,
                                peak_memory(kernel.pid), memory(kernel.pid, "Private_Dirty"))
            finally:
                del self.kernels[student]

    def _expect_time_left(self):
        """Seconds until the deadline; TimeoutError if it is over."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the limit of time for all was over")
        return left


def print_table(students, names):
    """A line for each notebook: median and worst student."""
    print(f"{'notebook':26} {'done':>5} {'memory, peak':>13} {'then held':>10} {'median time':>12} "
          f"{'longest':>9}   slowest cell")
    for name in names:
        rows = students.measured[name]
        if rows:
            worst, seconds = max(rows, key=lambda row: row.slowest), [row.seconds for row in rows]
            print(f"{name:26} {len(rows):5} {max(row.memory for row in rows) / MIB:9.0f} MiB "
                  f"{max(row.held for row in rows) / MIB:6.0f} MiB "
                  f"{statistics.median(seconds):10.0f} s {max(seconds):7.0f} s   "
                  f"{worst.slowest:.0f} s: {worst.slowest_cell[:60]}")


def print_needs(number, cores, minutes, gib):
    """What 10, 20 and 40 students need, in proportion to what `number` of them took together."""
    print(f"computed from it, with {SERVER_GIB} GiB for each Jupyter server:")
    for n in (10, 20, 40):
        print(f"{n:4} students: {math.ceil(n * cores / number)} cores, "
              f"{n * (gib / number + SERVER_GIB):.0f} GiB, {minutes:.0f} minutes")


def main():
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--students", type=int, default=12)
    parser.add_argument("--threads", type=int,
                        help="OMP_NUM_THREADS of each kernel (what the system gives)")
    parser.add_argument("--limit", type=float, default=90, help="minutes, for everything")
    parser.add_argument("notebooks", nargs="*", type=Path, default=NOTEBOOKS)
    options = parser.parse_args()
    environment = {"OMP_NUM_THREADS": str(options.threads)} if options.threads else {}
    print(f"{options.students} students on "
          f"{name_hardware(describe_hardware(torch.device('cpu')))}, "
          f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB; Python "
          f"{platform.python_version()}, torch {torch.__version__.partition('+')[0]}; threads of "
          "each kernel: "
          f"{options.threads or 'not set'}", flush=True)
    begin = time.monotonic()
    students = Students([path.resolve() for path in options.notebooks], options.students,
                        environment, begin + 60 * options.limit)
    students.run()
    print_table(students, [path.name for path in options.notebooks])
    gib = students.most_memory / 2**30
    print(f"all together: {(time.monotonic() - begin) / 60:.1f} minutes, at most {gib:.1f} GiB at "
          "once, "
          f"{gib / options.students:.2f} GiB each")
    minutes = (time.monotonic() - begin) / 60
    print_needs(options.students, usable_cores(), minutes, gib)
    for failure in students.failures:
        print(failure)
    return bool(students.failures)


if __name__ == "__main__":
    sys.exit(main())
