"""Run the notebooks by nbval where they do not expect it, and compare their outputs with the saved
ones.

    python tests/tools/nbval_everywhere.py [NAME ...]
    python tests/tools/nbval_everywhere.py --combined

NAME is one of those in `CIRCUMSTANCES` below; without names each of them is tried, which takes
minutes apiece. A locale that the machine does not have is tried all the same, as it meets readers
who have set it and not installed it. Prints a line for each, and pytest's report where an output
differed. Exit status: 0 all as saved, 1 not.
"""

import argparse
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
NOTEBOOKS = TESTS.parent / "notebooks"
SANITIZING = TESTS / "nbval.cfg"  # the copies lie where no conftest.py names it
# Root may write anywhere; without this privilege, where an ordinary user that owns the files may.
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
WITHOUT_PRIVILEGE = ("setpriv", "--bounding-set=-dac_override") if IS_ROOT else ()


def _locale(name, language):
    return {"environment": {"LANG": name, "LC_ALL": name, "LANGUAGE": language}}


CIRCUMSTANCES = {
    "folder": {"folder": "übung 一"},  # away from the package, which has to be found all the same
    "german": _locale("de_DE.UTF-8", "de"),
    "chinese": _locale("zh_CN.UTF-8", "zh_CN"),
    "no-locale": _locale("C", ""),
    "home": {"home": "read-only"},
    "one-thread": {"environment": {"OMP_NUM_THREADS": "1"}},
    "two-threads": {"environment": {"OMP_NUM_THREADS": "2"}},
    "random-order": {"order": "random"},
    "three-times": {"times": 3},
}
# pytest runs them with one thread each, this as readers do
COMBINED = ("folder", "chinese", "home", "random-order")


def combine(names):
    """Several circumstances as one."""
    combined = {"environment": {}}
    for name in names:
        combined |= CIRCUMSTANCES[name] | {
            "environment": combined["environment"] | CIRCUMSTANCES[name].get("environment", {})}
    return combined


def run(environment=(), folder="notebooks", home=None, order=None, times=1):
    """Run a copy of all notebooks.

    Args:
        environment: more variables, {name: text}.
        folder: name of the folder that the copy lies in.
        home: "read-only" gives a home folder that cannot be written to.
        order: "random" runs the notebooks in another order than their own.
        times: how often, one after the other.

    Yields:
        (pytest's exit status, what it printed), each time.
    """
    with tempfile.TemporaryDirectory(prefix="nbval-") as own:
        own = Path(own)
        copy = shutil.copytree(NOTEBOOKS, own / folder, ignore=shutil.ignore_patterns(".*"))
        variables = {**os.environ, **dict(environment), **(_read_only_home(own) if home else {})}
        for _ in range(times):
            yield _pytest(_in_order(copy, order), variables, own, WITHOUT_PRIVILEGE if home else ())


def _read_only_home(own):
    """Variables of a user whose home folder cannot be written to."""
    (own / "home").mkdir(mode=0o555)
    gone = dict.fromkeys(("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), "")
    # Without MPLCONFIGDIR, matplotlib says in red under the first picture that it uses a temporary
    # folder.
    return {**gone, "HOME": str(own / "home"), "MPLCONFIGDIR": str(own / "matplotlib")}


def _in_order(folder, order):
    paths = sorted(folder.glob("*.ipynb"))
    if order != "random":
        return paths
    orders = list(itertools.permutations(paths))[1:]  # the first is their own
    return random.choice(orders)


def _pytest(paths, environment, folder, prefix):
    result = subprocess.run(
        [*prefix, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "-p", "no:randomly", "--rootdir", folder, "-c", os.devnull,
         "--nbval", "--nbval-current-env", "--nbval-cell-timeout=600",
         "--nbval-sanitize-with", SANITIZING, *paths], cwd=folder, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="replace")
    order = ", ".join(path.stem[:2] for path in paths)
    return result.returncode, f"notebooks {order}\n{result.stdout.strip()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--combined", action="store_true",
                        help=f"once, with all of {', '.join(COMBINED)}")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CIRCUMSTANCES))
    options = parser.parse_args()
    if unknown := set(options.names) - CIRCUMSTANCES.keys():
        parser.error(f"no such circumstances: {', '.join(sorted(unknown))}; there are "
                     f"{', '.join(CIRCUMSTANCES)}")
    if options.combined and options.names:
        parser.error("--combined takes no names")
    tried = [COMBINED] if options.combined else [(name,) for name in options.names or CIRCUMSTANCES]
    failed = False
    for names in tried:
        for status, text in run(**combine(names)):
            print(f"{'failed' if status else 'ok'}: {' + '.join(names)}: {text.splitlines()[-1]}",
                  flush=True)
            if status:
                print(text, flush=True)
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
