"""Run a notebook's cells again and again in one kernel, and print after each pass what the kernel
holds.

    python tests/load/run_again.py [--times 20] [notebooks/NAME.ipynb ...]

Memory, open figures and live widgets must level off: ends with status 1 if the passes after the
first half still add more than a megabyte each to the least that is held, or any figure or widget.
Notebook 4 trains, a minute a pass; without names it is left out. For Linux.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from kernels import NOTEBOOKS, Kernel, code_cells

HELD = """
import gc, os
import ipywidgets, matplotlib.pyplot
gc.collect()
with open("/proc/self/statm") as file:
    pages = int(file.read().split()[1])
print(pages * os.sysconf("SC_PAGE_SIZE") // 2**20, len(matplotlib.pyplot.get_fignums()),
      len(ipywidgets.widgets.widget._instances))
"""
MOST_MB_A_PASS = 1.0


def held(kernel):
    """(memory in MiB, open figures, live widgets) of a kernel."""
    reply = kernel.run(HELD)
    if reply.error:
        raise SystemExit(f"what the kernel holds cannot be read: {reply.error}")
    return tuple(map(int, reply.printed.split()))


def run_again(path, times, folder):
    """Run all cells of a notebook `times` times; returns what was held after each pass."""
    cells, rows = code_cells(path), []
    with Kernel(folder, {"RESNET_HELPERS_PROGRESS": str(Path(folder) / "progress.json")}) as kernel:
        for i in range(times):
            for cell in cells:
                reply = kernel.run(cell.source, cell.id)
                if bool(reply.error) != cell.fails:
                    raise SystemExit(f"{path.name}, pass {i + 1}, cell {cell.id}: "
                                     f"{reply.error or 'no error'}")
            rows.append(held(kernel))
            print(f"{path.name}  pass {i + 1:2d}: {rows[-1][0]:5d} MiB, {rows[-1][1]} figures, "
                  f"{rows[-1][2]} widgets",
                  flush=True)
    return rows


def has_levelled_off(rows):
    """Does the last quarter of the passes hold no more than the second one, but for a little
    memory?

    Of memory the least counts: what is free does not go back to the system after every pass.
    """
    quarter = len(rows) // 4
    before, last = rows[-3 * quarter:-2 * quarter], rows[-quarter:]
    added = min(row[0] for row in last) - min(row[0] for row in before)
    return added <= MOST_MB_A_PASS * 2 * quarter and last[-1][1:] == before[-1][1:]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=20, help="passes, at least 4 (20)")
    parser.add_argument("notebooks", nargs="*", type=Path, default=NOTEBOOKS[:3])
    options = parser.parse_args()
    if options.times < 4:
        parser.error("--times must be at least 4: the last quarter is compared with the second")
    with tempfile.TemporaryDirectory() as folder:
        growing = [path.name for path in options.notebooks
                   if not has_levelled_off(run_again(path.resolve(), options.times, folder))]
    print(f"still growing: {', '.join(growing)}" if growing else "all have levelled off")
    sys.exit(bool(growing))
