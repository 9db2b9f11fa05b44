"""Grade a folder of handed-in notebooks: run each (*.ipynb, none hidden) and list what checks said.

CAREFUL: handed-in notebooks are programs, and grading RUNS them, with all that you may do on this
machine: read, write, delete, send. Grade in a container (below) or on a machine without secrets.
Each notebook runs alone in a temporary folder, with a progress file of its own, but no wall stands
between programs of one account, and it may write there what it likes: a result that matters
deserves a look at the notebook.

The table is CSV: a line per notebook, with its path, how many exercises are solved, a column per
exercise, and what went wrong in running it. In a column, 1 is solved, at the first attempt or a
later one; 0 is tried and wrong, or an error in the cell of the check; empty is not attempted. With
--by-student the table has a line per student, for all that lies in one folder of FOLDER
(anna/02_residual_block.ipynb is anna's; a notebook in no folder stands for a student by itself):
points, one for each exercise that is solved in any of these notebooks, and the numbers of those
that are attempted in none. A folder without notebooks has a line, too.

Cells that raise errors are no trouble in the run. Who wrote the code that a check accepts it cannot
tell: the package's own functions and classes pass, too.

In a container (docker; podman takes the same words) a notebook reaches no network and nothing of
this machine but FOLDER, which it cannot change. Once, with the network, from what
`python -m resnet_helpers.publish class OUT` made:

docker build -t grading -f - OUT <<'END'
FROM python:{python}-slim
COPY requirements.txt *.whl /class/
RUN pip install uv && cd /class && uv pip install --system --torch-backend=cpu -r requirements.txt
END

and then, for a FOLDER that everybody on this machine may read:

docker run --rm --network none --read-only --tmpfs /tmp --user nobody --env HOME=/tmp \\
  --cap-drop ALL --security-opt no-new-privileges --pids-limit 2000 --memory 8g \\
  --volume "$PWD/FOLDER:/handed-in:ro" grading \\
  python -m resnet_helpers.check.grade /handed-in --by-student > grades.csv

Exit status: 0 all could be run; 1 some had trouble; 2 wrong options; 130 interrupted, nothing
written.
"""

import argparse
import asyncio
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from traitlets import default

from resnet_helpers.check import attempts
from resnet_helpers.engine.cores import IS_FIXED, usable_cores
from resnet_helpers.runs.files import printable, write_obstacle, written_whole

CELL_TIMEOUT_S, STARTUP_TIMEOUT_S = 600, 120
INTERRUPTED = 130  # what shells answer after Ctrl+C
FORMULA = tuple("=+-@＝＋－＠\t\r\n")  # how one begins; some spreadsheets count wide signs, too
PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Grade:
    """What the checks of one notebook said.

    Attributes:
        path: of the notebook, relative to the folder that is graded.
        verdicts: {name of an exercise: is it solved} of those that were attempted.
        trouble: what went wrong in running it, in words, or "".
    """

    path: Path
    verdicts: dict = field(default_factory=dict)
    trouble: str = ""

    @property
    def solved(self):
        """How many exercises are solved."""
        return sum(self.verdicts.values())

    @property
    def name(self):
        """The path as text that can be written in UTF-8, whatever bytes are in it."""
        return os.fsencode(self.path.as_posix()).decode("utf-8", "replace")

    @property
    def student(self):
        """Whose it is: the first folder of the path, or the notebook's own name if it has none."""
        return self.name.partition("/")[0].removesuffix(".ipynb")

    def __str__(self):
        text = f"{self.name}: {self.solved} solved, {len(self.verdicts) - self.solved} wrong"
        return printable(text + (f"; {self.trouble}" if self.trouble else ""))


def find_notebooks(folder):
    """Paths of the notebooks in a folder and below it, relative to it and sorted; nothing hidden.

    Raises:
        OSError: one of the folders cannot be read; none of its notebooks would have a grade.
    """
    found = []
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]  # .ipynb_checkpoints
        found += [Path(parent, name).relative_to(folder) for name in files
                  if name.lower().endswith(".ipynb") and not name.startswith(".")]
    return sorted(found)


def find_empty_handed(folder, paths):
    """The folders directly in `folder` in which none of the notebooks `paths` lies, as paths."""
    with_notebooks = {path.parts[0] for path in paths}
    return sorted(Path(entry.name) for entry in folder.iterdir() if entry.is_dir()
                  and not entry.name.startswith(".") and entry.name not in with_notebooks)


def _refuse(error):
    raise error


def read_code(path):
    """The code cells of a notebook, as a list of strings, if there are checks in it.

    Raises:
        ValueError: it is not a notebook, or has no checks; the message says so.
    """
    try:
        cells = json.loads(path.read_bytes())["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a notebook: {type(error).__name__}: {error}") from None
    words = set(re.findall(r"\w+", "\n".join(sources)))
    if "check" not in words or words.isdisjoint(_exercise_names()):
        raise ValueError("no checks in it, so it was not run")
    return [source for source in sources if source.strip()]


def _exercise_names():
    """Of all notebooks, in their order."""
    from resnet_helpers.check import EXERCISES  # here: complete once all checks are imported
    return sorted(EXERCISES, key=lambda name: EXERCISES[name].notebook)


def exercise_numbers():
    """{name of an exercise: its number in the notebooks}, such as "2.1" or "better_recipes 1"."""
    from resnet_helpers.check import EXERCISES
    numbers, counts = {}, Counter()
    for name in _exercise_names():
        notebook = EXERCISES[name].notebook
        counts[notebook] += 1
        place = f"{attempts.FURTHER[notebook]} " if notebook in attempts.FURTHER else f"{notebook}."
        numbers[name] = f"{place}{counts[notebook]}"
    return numbers


# --- the run ---

class CurrentPython(AsyncKernelManager):
    """Starts kernels of the Python that runs this, whatever is installed under the name python3."""

    @default("kernel_spec_manager")
    def _no_installed_kernels(self):
        return KernelSpecManager(kernel_dirs=[])


class _QuietClient(NotebookClient):
    """Keeps nothing of what cells print, since endless printing would fill the memory."""

    def output(self, outs, msg, display_id, cell_index):
        return None


def grade_notebook(folder, path, cell_timeout, environment, stop):
    """The `Grade` of one notebook, run in a fresh kernel; whatever it does, nothing is raised.

    Args:
        folder, path: where it is, and from there the path of the notebook.
        cell_timeout: seconds that a cell may take.
        environment: more variables for the kernel, {name: text}.
        stop: a `threading.Event` that ends the run when it is set.
    """
    original, verdicts, troubles = folder / path, {}, []
    try:
        with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as own:
            if original.is_symlink() or not original.is_file():  # a link may lead to another's work
                raise ValueError("not a notebook: not a file but a link or the like")
            (Path(own) / "work").mkdir()
            copy = shutil.copyfile(original, Path(own, "work", path.name))
            trouble, failed = _execute(read_code(copy), Path(own), cell_timeout, environment, stop)
            troubles.append(trouble)
            entries = attempts.load(Path(own, "progress.json"))
            verdicts = {name: name in entries and entries[name]["solved"]
                        for name in _exercise_names() if name in entries or name in failed}
    except ValueError as error:
        troubles.append(str(error))
    except Exception as error:  # the others are to be graded all the same
        troubles.append(f"it could not be run: {type(error).__name__}: {error}")
    return Grade(path, verdicts, printable("; ".join(filter(None, troubles))))


def _execute(sources, own, cell_timeout, environment, stop):
    """Run code cells in the folder `own`/work.

    Returns:
        What went wrong, or ""; and the exercises whose check is in a cell that raised an error, as
        where an answer is no Python and the check never came to see it.
    """
    failed = set()

    def note(cell, **_):
        failed.update(re.findall(r"\bcheck\.(\w+)\(", cell.source))

    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    client = _QuietClient(
        nbformat.v4.new_notebook(cells=cells), kernel_name="python3", timeout=cell_timeout,
        kernel_manager_class=CurrentPython, startup_timeout=STARTUP_TIMEOUT_S, allow_errors=True,
        shutdown_kernel="immediate", record_timing=False, store_widget_state=False,
        on_cell_error=note,
        resources={"metadata": {"path": str(own / "work")}})
    variables = {**os.environ, **environment, attempts.VARIABLE: str(own / "progress.json")}
    search = [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]  # if the package is not installed
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, search))
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    try:
        asyncio.run(_run_until(stop, client.async_execute(env=variables, **streams)))
        return "", failed
    except CellTimeoutError:
        end = f"ran longer than the limit of {cell_timeout} seconds"
    except DeadKernelError:
        end = "ended the kernel"
    number = client.code_cells_executed
    first_line = sources[max(0, number - 1)].strip().splitlines()[0][:60]
    return f"code cell {number} ({first_line}) {end}; the cells after it were not run", failed


async def _run_until(stop, coroutine):
    run = asyncio.ensure_future(coroutine)
    while not run.done():
        await asyncio.wait([run], timeout=0.5)
        if stop.is_set():
            run.cancel()
    run.result()


def grade_all(folder, paths, cell_timeout=CELL_TIMEOUT_S, jobs=1, quiet=True):
    """The `Grade` of each notebook, sorted by path.

    Args:
        folder, paths, cell_timeout: see `grade_notebook`.
        jobs: how many notebooks run at a time.
        quiet: print no line on stderr as each is done.
    """
    grades, stop, environment, start = [], threading.Event(), {}, time.monotonic()
    if jobs > 1 and not IS_FIXED:  # or each of them would start a thread for every core
        environment["OMP_NUM_THREADS"] = str(max(1, usable_cores() // jobs))
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(grade_notebook, folder, path, cell_timeout, environment, stop)
                   for path in paths}
        try:
            while waiting:  # a wait without end would not notice Ctrl+C on Windows
                done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                for future in done:
                    grades.append(future.result())
                    if not quiet:
                        left = time_left(len(grades), len(paths), time.monotonic() - start)
                        print(f"[{len(grades)}/{len(paths)}] {grades[-1]}{left}", file=sys.stderr,
                              flush=True)
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return sorted(grades, key=lambda g: g.path)


def time_left(done, total, seconds):
    """How long the other notebooks will take at the pace so far, in words; "" after the last."""
    if done == total:
        return ""
    minutes = round(seconds / done * (total - done) / 60)
    return f" (about {minutes} min left)" if minutes else " (less than a minute left)"


# --- the table and the command line ---

def to_csv(grades):
    """A table as text, ready for a file that is opened with `newline=""`: a line per notebook."""
    names = _exercise_names()
    rows = [[g.name, g.solved, *_marks(g.verdicts), g.trouble] for g in grades]
    return _csv_text([["notebook", "solved", *names, "trouble"], *rows])


def to_student_csv(grades):
    """The same with a line per student: what is solved in any of the notebooks handed in."""
    numbers, students = exercise_numbers(), {}
    for g in grades:
        students.setdefault(g.student, []).append(g)
    columns = [f"{number} {name}" for name, number in numbers.items()]
    rows = [["student", f"points of {len(numbers)}", *columns, "not attempted", "trouble"]]
    for student, handed_in in sorted(students.items()):
        verdicts = {}
        for name, solved in (pair for g in handed_in for pair in g.verdicts.items()):
            verdicts[name] = verdicts.get(name, False) or solved
        blank = [number for name, number in numbers.items() if name not in verdicts]
        troubles = [f"{g.name}: {g.trouble}" for g in handed_in if g.trouble]
        rows.append([student, sum(verdicts.values()), *_marks(verdicts),
                     f"{len(blank)}: {', '.join(blank)}" if blank else "", "; ".join(troubles)])
    return _csv_text(rows)


def _marks(verdicts):
    """A cell for each exercise: 1 solved, 0 wrong, None not attempted."""
    return [int(verdicts[name]) if name in verdicts else None for name in _exercise_names()]


def _csv_text(rows):
    """Rows of numbers and of text, in which no cell is a formula."""
    # All text in quotes, or a ";" in a name would begin a new cell where spreadsheets split there.
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC).writerows(
        [_no_formula(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()


def _no_formula(text):
    """Text that a spreadsheet program shows and does not compute."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text


def parse_options(arguments):
    """The options, and as `paths` the notebooks; wrong usage ends the program with a message."""
    parser = argparse.ArgumentParser(
        prog="python -m resnet_helpers.check.grade",
        description=__doc__.format(python=f"3.{sys.version_info.minor}"),
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="where the handed-in notebooks are")
    add("--output", type=Path, metavar="FILE.csv", help="write the table to this file (print it)")
    add("--by-student", action="store_true", help="a line per student, not per notebook")
    add("--cell-timeout", type=int, default=CELL_TIMEOUT_S, metavar="SECONDS",
        help=f"how long a cell may take ({CELL_TIMEOUT_S})")
    add("--jobs", type=int, default=1, metavar="N", help="run so many notebooks at a time (1), no "
        "more than there are cores, since the checks stop code that takes too long")
    add("--quiet", action="store_true", help="no line on stderr for each notebook that is done")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"there is no folder {options.folder}")
    if options.jobs < 1 or options.cell_timeout < 1:
        parser.error("--jobs and --cell-timeout must be at least 1")
    if options.output and options.output.suffix.lower() == ".ipynb":
        parser.error(f"--output {options.output} would overwrite a notebook: name a .csv file")
    if options.output and (obstacle := write_obstacle(options.output)):
        parser.error(f"--output: {obstacle}")
    try:
        options.paths = find_notebooks(options.folder)
    except OSError as error:
        parser.error(f"{error.filename} cannot be read ({error.strerror}), so its notebooks would "
                     f"have no grade: make it readable, or take it out of the folder")
    if not options.paths:
        parser.error(f"there are no notebooks (*.ipynb) in {options.folder} and below it")
    return options


def main(arguments=None):
    """The command line; returns the exit status."""
    options = parse_options(arguments)
    try:
        grades = grade_all(options.folder, options.paths, options.cell_timeout, options.jobs,
                           options.quiet)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    if options.by_student:
        grades += [Grade(path, trouble="no notebooks")
                   for path in find_empty_handed(options.folder, options.paths)]
    status = int(any(g.trouble for g in grades))
    table = to_student_csv(grades) if options.by_student else to_csv(grades)
    if options.output:
        try:
            with written_whole(options.output) as temporary:
                temporary.write_bytes(table.encode("utf-8"))
            return status
        except OSError as error:  # after so long a run the table must not be lost
            print(f"the file cannot be written ({error}); here is the table", file=sys.stderr)
            status = 1
    if sys.stdout.isatty():
        table = "\r\n".join(map(printable, table.split("\r\n")))
    sys.stdout.flush()
    sys.stdout.buffer.write(table.encode("utf-8"))  # the same bytes on every system
    sys.stdout.buffer.flush()
    return status


if __name__ == "__main__":
    sys.exit(main())
