"""Run notebooks from a fresh kernel and save them with their outputs, ready to be committed.

    python tests/tools/execute_notebooks.py [notebooks/NAME.ipynb ...]

Without names: all four. Leaves out what differs from machine to machine: execution times, the Python version, the
state of widgets. A cell that fails stops it, and the file stays as it was.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


def execute(path):
    """Run the notebook at `path` in its own folder and replace the file."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, record_timing=False, store_widget_state=False, coalesce_streams=True,
                   resources={"metadata": {"path": str(path.parent)}}).execute()
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                         "language_info": {"name": "python"}}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RESNET_HELPERS_PROGRESS"] = str(Path(folder) / "progress.json")  # not what you have solved yourself
        for path in map(Path, sys.argv[1:] or sorted(FOLDER.glob("*.ipynb"))):
            execute(path)
            print("executed", path.name)
