"""Grade a folder of handed-in notebooks: `python -m resnet_helpers.check.grade --help`.

Handed-in notebooks are programs, and grading RUNS them, with all that the account that grades may do: read, write,
delete, send. Do it in a container or on a machine without secrets. Each notebook gets a temporary folder and a progress
file of its own, so that none meets another by accident; but no wall stands between programs of one account, and a
notebook may write into its own progress file what it likes. A result that matters deserves a look at the notebook.
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
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from traitlets import default

from resnet_helpers.check.attempts import FORMAT, MAX_BYTES, VARIABLE
from resnet_helpers.engine.cores import IS_FIXED, usable_cores
from resnet_helpers.runs.files import printable, written_whole

CELL_TIMEOUT_S, STARTUP_TIMEOUT_S = 600, 120
INTERRUPTED = 130  # what shells answer after Ctrl+C
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # the wide ones count in East Asian spreadsheets
PACKAGE_ROOT = Path(__file__).resolve().parents[2]
DESCRIPTION = """\
Run every notebook (*.ipynb) in FOLDER and in the folders below it, and list as CSV what its checks said.

CAREFUL: handed-in notebooks are programs, and they are RUN, with all that you may do on this machine. Grade in a
container or on a machine without secrets."""
EPILOG = """\
One line per notebook: its path, how many exercises are solved, a column per exercise (1 solved, at the first attempt or
a later one; 0 tried and wrong; empty not attempted), and what went wrong in running it, if anything did. Cells that
raise errors are no trouble: what the checks said counts. Who wrote the code that a check accepts it cannot tell: the
package's own functions and classes pass, too. Hidden files and folders are left out. A notebook is run alone, in a
temporary folder that holds a copy of it: files that lay beside it are not there.
Exit status: 0 all could be run; 1 some had trouble; 2 wrong options; 130 interrupted, nothing written."""


@dataclass(frozen=True)
class Grade:
    """What the checks of one notebook said.

    Attributes:
        path: of the notebook, relative to the folder that is graded.
        verdicts: {name of an exercise: is it solved}, of those that were attempted.
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
        return self.path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "replace")

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
        folders[:] = [name for name in folders if not name.startswith(".")]  # .ipynb_checkpoints, too
        found += [Path(parent, name).relative_to(folder) for name in files
                  if name.lower().endswith(".ipynb") and not name.startswith(".")]
    return sorted(found)


def _refuse(error):
    raise error


def read_code(path):
    """The code cells of a notebook that are not empty, as a list of strings.

    Raises:
        ValueError: it is not a notebook; the message says why.
    """
    try:
        content = json.loads(path.read_bytes())
        sources = ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]
    except UnicodeDecodeError:
        raise ValueError("not a notebook: the file holds no text") from None
    except json.JSONDecodeError as error:
        where = f"in line {error.lineno} ({error.msg})" if path.stat().st_size else "(the file is empty)"
        raise ValueError(f"not a notebook: the JSON is damaged {where}") from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError("not a notebook: the JSON holds no cells of a notebook of format 4") from None
    return [source for source in sources if source.strip()]


def has_checks(sources):
    """Does code, a list of strings, name `check` and one of the exercises? Otherwise it checks nothing."""
    words = set(re.findall(r"\w+", "\n".join(sources)))
    return "check" in words and not words.isdisjoint(_exercises())


def read_verdicts(path):
    """{name: is it solved} from the progress file of a run; ValueError if something else has written to it."""
    if not os.path.lexists(path):
        return {}
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:  # a pipe never ends
            raise ValueError
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise ValueError
        return {name: content["exercises"][name]["solved"] is True for name in _exercises()
                if name in content["exercises"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("its progress file is damaged: has its code written to it?") from None


def grade(folder, path, cell_timeout=CELL_TIMEOUT_S, environment=None, stop=None):
    """Run a copy of one notebook in a fresh kernel of the current Python.

    Args:
        folder: that is graded.
        path: of the notebook, relative to `folder`.
        cell_timeout: seconds that a cell may take.
        environment: more variables for the kernel, {name: text}.
        stop: a `threading.Event` that ends the run when it is set.

    Returns:
        `Grade`. Whatever the notebook does, nothing is raised.
    """
    verdicts, troubles = {}, []
    try:
        with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as own:
            own = Path(own)
            (own / "work").mkdir()
            copy = own / "work" / path.name
            if (folder / path).is_symlink() or not (folder / path).is_file():  # a link could lead to another's notebook
                raise ValueError("not a notebook: not a file but a link or the like")
            shutil.copyfile(folder / path, copy)
            sources = read_code(copy)
            if not has_checks(sources):
                raise ValueError("no checks in it, so it was not run")
            troubles.append(_execute(sources, own, cell_timeout, environment or {}, stop or threading.Event()))
            verdicts = read_verdicts(own / "progress.json")
    except ValueError as error:
        troubles.append(str(error))
    except Exception as error:  # the others are to be graded all the same
        troubles.append(_could_not_be_run(error))
    return Grade(path, verdicts, printable("; ".join(filter(None, troubles))))


def grade_folder(folder, cell_timeout=CELL_TIMEOUT_S, jobs=1, report=None):
    """Run all notebooks of a folder.

    Args:
        folder, cell_timeout: see `grade`.
        jobs: how many notebooks run at a time.
        report: is called with (how many are done, how many there are, `Grade`) as each is done.

    Returns:
        A `Grade` per notebook, sorted by path.
    """
    paths, grades, stop = find_notebooks(folder), [], threading.Event()
    environment = {}
    if jobs > 1 and not IS_FIXED:  # or each of them would start a thread for every core
        environment["OMP_NUM_THREADS"] = str(max(1, usable_cores() // jobs))
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(grade, Path(folder), path, cell_timeout, environment, stop) for path in paths}
        try:
            while waiting:  # with a timeout: on Windows a wait without end does not notice Ctrl+C
                done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                for future in done:
                    grades.append(future.result())
                    if report:
                        report(len(grades), len(paths), grades[-1])
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return sorted(grades, key=lambda g: g.path)


def to_csv(grades):
    """A table as text, ready for a file that is opened with `newline=""`: a header and a line per notebook."""
    names = list(_exercises())
    text = io.StringIO(newline="")
    # All text in quotes, or a ";" in a file name would begin a new cell where spreadsheets split there.
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["notebook", "solved", *names, "trouble"])
    for g in grades:
        marks = [int(g.verdicts[name]) if name in g.verdicts else None for name in names]
        writer.writerow([_no_formula(g.name), g.solved, *marks, _no_formula(g.trouble)])
    return text.getvalue()


def _no_formula(text):
    """Text that a spreadsheet program shows and does not compute."""
    return f"'{text}" if text.lstrip().startswith(FORMULA) or text[:1] in ("\t", "\r", "\n") else text


def _exercises():
    """{name: Exercise} of all notebooks, in their order."""
    from resnet_helpers.check import EXERCISES  # here: it is complete once all checks are imported
    return {e.name: e for e in sorted(EXERCISES.values(), key=lambda e: e.notebook)}


# --- the run ---

class CurrentPython(AsyncKernelManager):
    """Starts kernels of the Python that runs this, whatever kernel the user has installed under the name python3."""

    @default("kernel_spec_manager")
    def _no_installed_kernels(self):
        return KernelSpecManager(kernel_dirs=[])


class _Client(NotebookClient):
    """Runs cells and keeps nothing of what they print: nobody looks, and endless printing would fill the memory."""

    def output(self, outs, msg, display_id, cell_index):
        return None


def _could_not_be_run(error):
    return f"it could not be run: {type(error).__name__}: {error}"


def _execute(sources, own, cell_timeout, environment, stop):
    """Run code cells in a kernel that works in the folder `own`/work; returns what went wrong, or ""."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    client = _Client(notebook, kernel_name="python3", kernel_manager_class=CurrentPython, allow_errors=True,
                     timeout=cell_timeout, startup_timeout=STARTUP_TIMEOUT_S, shutdown_kernel="immediate",
                     record_timing=False, store_widget_state=False, resources={"metadata": {"path": str(own / "work")}})
    environment = {**os.environ, **environment, VARIABLE: str(own / "progress.json"),
                   "IPYTHONDIR": str(own / "ipython")}  # a start-up file that one leaves there would run in all others
    if PACKAGE_ROOT.name not in ("site-packages", "dist-packages"):  # not installed: the kernel has to find it, too
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))
    try:
        asyncio.run(_until_stopped(client, stop, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL))
    except CellTimeoutError:
        return (f"{_last_cell(client, sources)} ran longer than the limit of {cell_timeout} seconds; the cells after "
                f"it were not run")
    except DeadKernelError:
        return f"the kernel died in {_last_cell(client, sources)}; the cells after it were not run"
    except Exception as error:  # what was checked until then counts
        return _could_not_be_run(error)
    return ""


async def _until_stopped(client, stop, **start):
    run = asyncio.ensure_future(client.async_execute(**start))
    while not run.done():
        await asyncio.wait([run], timeout=0.5)
        if stop.is_set() and not run.done():
            run.cancel()
            await asyncio.wait([run])
    run.result()


def _last_cell(client, sources):
    """The cell that ran last, in words: the number that JupyterLab shows after Run All, and how it begins."""
    number = client.code_cells_executed
    if not number:
        return "its first cell"
    first_line = sources[number - 1].strip().splitlines()[0]
    return f"code cell {number} ({first_line if len(first_line) <= 60 else first_line[:60] + '...'})"


# --- the command line ---

def make_parser():
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m resnet_helpers.check.grade", description=DESCRIPTION,
                                     epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the handed-in notebooks are")
    parser.add_argument("--output", type=Path, metavar="FILE.csv", help="write the table to this file (print it)")
    parser.add_argument("--cell-timeout", type=int, default=CELL_TIMEOUT_S, metavar="SECONDS",
                        help=f"how long a cell may take ({CELL_TIMEOUT_S})")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="run so many notebooks at a time (1); take "
                        "no more than there are cores, since the checks stop code that takes too long")
    parser.add_argument("--quiet", action="store_true", help="no line on stderr for each notebook that is done")
    return parser


def main(arguments=None):
    """The command line; returns the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    folder, output = options.folder, options.output
    if not folder.is_dir():
        parser.error(f"{folder} is not a folder" if folder.exists() else f"there is no folder {folder}")
    if options.jobs < 1 or options.cell_timeout < 1:
        parser.error("--jobs and --cell-timeout must be at least 1")
    if output and output.suffix.lower() == ".ipynb":
        parser.error(f"--output {output} would overwrite a notebook: name a .csv file")
    if output and (output.is_dir() or not output.parent.is_dir()):
        parser.error(f"--output {output} is a folder" if output.is_dir() else
                     f"there is no folder {output.parent} for {output.name}")
    try:
        if not find_notebooks(folder):
            parser.error(f"there are no notebooks (*.ipynb) in {folder} and below it")
    except OSError as error:
        parser.error(f"{error.filename} cannot be read ({error.strerror}), so its notebooks would have no grade: make "
                     f"it readable, or take it out of {folder}")

    def report(done, total, result):
        if not options.quiet:
            print(f"[{done}/{total}] {result}", file=sys.stderr, flush=True)

    try:
        grades = grade_folder(folder, options.cell_timeout, options.jobs, report)
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    status = int(any(g.trouble for g in grades))
    table = to_csv(grades)
    if output:
        try:
            with written_whole(output) as temporary:
                temporary.write_bytes(table.encode("utf-8"))
            return status
        except OSError as error:  # after so long a run the table must not be lost
            print(f"{parser.prog}: {output} cannot be written ({error}); here is the table", file=sys.stderr)
            status = 1
    if sys.stdout.isatty():
        table = "\r\n".join(map(printable, table.split("\r\n")))
    sys.stdout.flush()
    sys.stdout.buffer.write(table.encode("utf-8"))  # as bytes: UTF-8 and these ends of lines on every system
    sys.stdout.buffer.flush()
    return status


if __name__ == "__main__":
    sys.exit(main())
