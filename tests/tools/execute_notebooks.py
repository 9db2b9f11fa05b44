"""Run notebooks from a fresh kernel and save them with their outputs, ready to be committed.

    python tests/tools/execute_notebooks.py [notebooks/NAME.ipynb ...]

Without names: all of them. Leaves out what differs from machine to machine: execution times, the
Python version, the state of widgets. A cell that fails stops it, and the file stays as it was.
"""

import argparse
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from resnet_helpers.check.grade import CurrentPython
from resnet_helpers.publish import course_notebooks

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


def execute(path):
    """Run the notebook at `path` in its own folder and replace the file."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, kernel_manager_class=CurrentPython, timeout=600, record_timing=False,
                   store_widget_state=False, coalesce_streams=True,
                   resources={"metadata": {"path": str(path.parent)}}).execute()
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python",
                                        "name": "python3"},
                         "language_info": {"name": "python"}}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, default=course_notebooks(FOLDER))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # not what you have solved yourself
        os.environ["RESNET_HELPERS_PROGRESS"] = str(Path(folder) / "progress.json")
        for path in options.notebooks:
            execute(path)
            print("executed", path.name)
