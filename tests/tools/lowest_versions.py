"""Install the lowest versions that requirements.txt allows, and run tests with them.

    python tests/tools/lowest_versions.py [--folder FOLDER [--install-only]] [TEST ...]

Needs a Python for which those versions were built, 3.10 to 3.12, about 6 GB of disk, and a package
index. Without names of tests: all of tests/ but the browser's, and the notebooks, whose outputs are
compared with the saved ones. Exit status: pytest's, or pip's.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Not the tests in a browser: they try JupyterLab's page, which depends little on what it shows, and
# take minutes.
TESTS = ("tests", "notebooks", "--ignore=tests/browser")


def lowest(requirements):
    """The lines of a constraints file that holds each `package>=version` of requirements.txt at
    that version.
    """
    return re.findall(r"^[\w-]+==[\w.]+$", requirements.replace(">=", "=="), re.MULTILINE)


def install(folder):
    """Make a virtual environment with the lowest versions, if it is not there yet; the path of its
    Python.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    whole = folder / "installed"
    if whole.exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    constraints = folder / "lowest.txt"
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    constraints.write_text("\n".join(lowest(requirements)) + "\n")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "-r",
                    "requirements.txt", "-c", constraints], cwd=ROOT, check=True)
    whole.touch()
    print(constraints.read_text(), end="", flush=True)
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path,
                        help="where to make the environment (a temporary folder)")
    parser.add_argument("--install-only", action="store_true",
                        help="make it there, and run no tests yet")
    parser.add_argument("tests", nargs="*", metavar="TEST", default=TESTS,
                        help="what to give to pytest")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lowest-") as temporary:
        python = install((options.folder or Path(temporary, "venv")).resolve())
        if options.install_only:
            return 0
        return subprocess.run([python, "-m", "pytest", "-q", *options.tests], cwd=ROOT).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
