"""What makes copies for a class a repository of its own, which starts without this one.

Beside the notebooks lie the package as a wheel, the versions to install, and how to start.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

from resnet_helpers.runs.files import write_page

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "resnet_helpers"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
LOWEST_SETUPTOOLS = 77  # as in pyproject.toml
TO_OPEN_NOTEBOOKS = ("jupyterlab", "ipykernel")  # which the package itself does not need
MADE_BY = "# Made by `python -m resnet_helpers.publish class`"
MADE_BY_STUDENTS = (".venv/", ".ipynb_checkpoints/", "__pycache__/", "Untitled*", "*.json", "*.pt")
COPIES = "notebooks"  # the folder in it with the notebooks
TARGET = "resnet-class"  # a student who has the full copy, in resnet-notebooks, gets another
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def class_obstacle(out):
    """What keeps such a folder from being made, in words; "" if nothing does."""
    if not (ROOT / "pyproject.toml").is_file():
        return f"the package is built from its repository, and {ROOT} is none: run this in a clone"
    if int(metadata.version("setuptools").split(".")[0]) < LOWEST_SETUPTOOLS:
        return f'run  python -m pip install "setuptools>={LOWEST_SETUPTOOLS}"  first'
    listed = out / "requirements.txt"
    if listed.exists() and not listed.read_text(encoding="utf-8").startswith(MADE_BY):
        return f"{listed} was not made by this command: name another folder"
    return ""


def surround(out, first):
    """Write to a folder what its notebooks need to start; yields the paths.

    Args:
        out: the folder. What is there from an earlier time is replaced.
        first: name of the notebook to open first.
    """
    wheel = build_wheel(out)
    yield wheel
    names = [*_needed_by(wheel), *TO_OPEN_NOTEBOOKS]
    versions = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]
    lines = [f"{MADE_BY} with Python {PYTHON}: versions that were tested together.", *versions,
             f"./{wheel.name}"]
    yield write_page(out / "requirements.txt", "\n".join(lines) + "\n")
    start = START.format(python=PYTHON, first=first, wheel=wheel.name)
    yield write_page(out / "START.md", start)
    yield _ignore(out / ".gitignore")


def build_wheel(out):
    """The package as a wheel in a folder, in place of those from earlier times; returns its path.

    Its version ends in a digest of its sources, since pip installs a wheel only where the version
    differs. The same sources give the same bytes, so that nothing needs to be committed then.
    """
    with tempfile.TemporaryDirectory() as temporary:
        source, built = Path(temporary, "source"), Path(temporary, "built")
        shutil.copytree(ROOT / PACKAGE, source / PACKAGE,
                        ignore=shutil.ignore_patterns("__pycache__", ".*"))
        for name in ("pyproject.toml", "LICENSE"):
            shutil.copyfile(ROOT / name, source / name)
        settings = source / "pyproject.toml"
        text = settings.read_text(encoding="utf-8")
        version = rf'version = "\g<1>+c{_digest(source)}"'
        settings.write_text(re.sub(r'^version = "(.+)"', version, text, count=1, flags=re.M),
                            encoding="utf-8")
        built.mkdir()
        made = subprocess.run([sys.executable, "-c", BUILD, str(built)], cwd=source, text=True,
                              env={**os.environ, "SOURCE_DATE_EPOCH": "315532800"},  # 1980
                              capture_output=True)
        if made.returncode:
            raise RuntimeError(f"the package could not be built:\n{made.stderr}")
        (wheel,) = built.glob("*.whl")
        for old in out.glob(f"{PACKAGE}-*.whl"):
            old.unlink()
        return Path(shutil.copyfile(wheel, out / wheel.name))


def _digest(folder):
    """Eight digits that differ where a file below the folder does."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:8]


def _needed_by(wheel):
    """Names of the packages that a wheel asks for."""
    with zipfile.ZipFile(wheel) as archive:
        (place,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(place).decode("utf-8")
    return re.findall(r"^Requires-Dist: ([\w.-]+)", text, re.MULTILINE)


def _ignore(path):
    """Add to a .gitignore what students make; what else is in it stays."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    lines += [pattern for pattern in MADE_BY_STUDENTS if pattern not in lines]
    return write_page(path, "\n".join(lines) + "\n")


def next_steps(out, first, address=None):
    """What a teacher does with the folder, in four lines.

    Args:
        out, first: see `surround`.
        address: of the repository that it is pushed to; None leaves a word to put it in place of.
    """
    place, link = shlex.quote(str(out.resolve())), hub_link(first, address)
    fill = "its address for https://HUB"
    fill += "" if address else ", your repository's for ADDRESS"
    return "\n".join((
        "Now and after each run, commit it into one repository (a forced push breaks every pull):",
        f'  git -C {place} init -b main; git -C {place} add .; git -C {place} commit -m "Copies"; '
        f'git -C {place} push {shlex.quote(address or "ADDRESS")} HEAD:main',
        f"The link for a hub with nbgitpuller; put {fill}:",
        f"  {link}"))


def hub_link(first, address=None):
    """The nbgitpuller link that gives each student on a hub a copy and opens a notebook."""
    opened = quote(f"lab/tree/{TARGET}/{COPIES}/{first}")
    return (f"https://HUB/hub/user-redirect/git-pull?repo={quote(address or 'ADDRESS', safe=':/')}"
            f"&branch=main&targetPath={TARGET}&urlpath={opened}")


START = """\
# Start

Welcome! These notebooks run on a laptop without a GPU, and, once installed, without a network.

## On a hub

Your teacher gave you a link to a hub? Open it: the first notebook is in front of you, and there is
nothing to install. Run the cells one by one with Shift+Enter, and save with Ctrl+S. Before you open
another notebook, choose *Kernel → Shut Down Kernel*. Save and close your notebooks before you open
the link again: it brings what is new, and keeps what you changed.

JupyterLab says that a file has changed, and offers *Revert* and *Overwrite*? Then a notebook was
still open when something new came. Copy your last answers out of it, choose *Revert*, and put them
in again.

The kernel died, or nothing answers? *File → Hub Control Panel → Stop My Server*. Wait until the
button says *Start My Server*, start it, and run the notebook from the top.

## On your own computer

Open a terminal in the folder in which this file is.

**With [uv](https://docs.astral.sh/uv/)**, on Windows, macOS and Linux. It fetches Python {python},
too, if you do not have it, and on Linux `--torch-backend=cpu` saves several gigabytes:

```bash
uv venv --python {python}
uv pip install --torch-backend=cpu -r requirements.txt
uv run --no-project jupyter lab notebooks/{first}
```

**With pip**, on macOS and Linux:

```bash
python3 -m venv .venv
.venv/bin/python -m pip install -r requirements.txt
.venv/bin/jupyter lab notebooks/{first}
```

On Windows (PowerShell):

```powershell
py -m venv .venv
.venv\\Scripts\\python -m pip install -r requirements.txt
.venv\\Scripts\\jupyter lab notebooks/{first}
```

The next time, the last of the three lines is enough. Run the cells one by one with Shift+Enter.

`requirements.txt` lists the versions that were tested together, with Python {python}. If pip does
not find one of them, you have another Python. Take {python}, or let pip choose the versions:
`.venv/bin/python -m pip install jupyterlab ./{wheel}`

## When an explorer does not answer

*Error displaying widget: model not found*, or a picture without controls? The kernel was restarted,
or has not run that cell yet. Run the cell again.

## When there is something new, on your own computer

`git pull`, and then the line that installs. If git says that your changes would be overwritten, it
names the files. Give each of these another name in JupyterLab, and for each run
`git checkout -- notebooks/ITS_OLD_NAME.ipynb`. Then `git pull` again: now you have both. (Never
`git checkout .`, which throws away your work in all of them.)

## Handing in

Leave the notebooks in `notebooks/`, saved, with your answers and the lines that check them in
place. They are run anew from top to bottom: try *Run → Restart Kernel and Run All Cells*.
"""
