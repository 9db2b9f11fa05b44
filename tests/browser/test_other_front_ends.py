"""The notebooks where they are not opened in JupyterLab: in Notebook 7, and by Voila, which runs a
notebook and shows what it gives without the code.

`pip install notebook voila` brings both. CI does so every night; elsewhere the tests are skipped.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time

import nbformat
import pytest
from kernels import HURRY

from . import test_notebooks as in_lab
from .explorers import Explorer
from .lab import NOTEBOOKS, OpenNotebook, Server, free_port
from .test_appearance import TOO_PALE, TROUBLE
from .test_notebooks import BLOCK, FUNCTION_CLASSES, MODEL

# Notebook 7.6.5 throws this while it opens, for an empty notebook too.
ITS_OWN_ERROR = "Cannot read properties of undefined (reading 'schema')"

# The widths of the pictures below each cell that shows something.
SHOWN = """() => [...document.querySelectorAll('.jp-Cell-outputArea:has(.jp-OutputArea-output)')]
    .map(output => [...output.querySelectorAll('img')].map(image => image.naturalWidth && image.width))"""


def saved_widths(name):
    """The same of a saved notebook; an explorer's picture is for pages without a kernel."""
    def widths(cell):
        return [output.metadata["image/png"]["width"] for output in cell.outputs
                if "image/png" in output.get("data", {})
                and "application/vnd.jupyter.widget-view+json" not in output.data]

    return [widths(cell) for cell in nbformat.read(NOTEBOOKS / name, as_version=4).cells
            if cell.get("outputs")]


def check_page(notebook, tour):
    """Is all that the notebook gives on the page, and can its explorer be seen and used?"""
    expected = saved_widths(tour.notebook)
    assert notebook.eventually(lambda: notebook.page.evaluate(SHOWN), expected) == expected
    explorer = Explorer(notebook, tour.source)
    in_lab.check(explorer, tour, tour.start)
    notebook.page.set_viewport_size({"width": 1280, "height": 2000})  # what is outside is not seen
    explorer.output.scroll_into_view_if_needed()
    assert explorer.output.evaluate(TOO_PALE) == explorer.output.evaluate(TROUBLE) == []
    in_lab.walk(explorer, tour, "mouse")


# --- Notebook 7 ---

@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    """Notebook 7 where `lab` opens JupyterLab elsewhere."""
    pytest.importorskip("notebook", "7", "Notebook 7 is not installed (pip install notebook)")
    server = Server(tmp_path_factory.mktemp("notebook"), "notebook")
    yield server
    server.stop()


def run_all(notebook):
    notebook.execute(HURRY)
    notebook.run_all(timeout=600)


def errors(notebook):
    return [*notebook.errors(), *set(notebook.console_errors) - {ITS_OWN_ERROR}]


@pytest.mark.parametrize(("tour", "theme"),
                         [(FUNCTION_CLASSES, "light"), (BLOCK, "dark"), (MODEL, "light")],
                         ids=lambda value: getattr(value, "name", value))
def test_notebook_7_runs_a_notebook_and_its_explorer_follows(lab, tour, theme):
    notebook = lab.open(tour.notebook, theme)
    run_all(notebook)
    check_page(notebook, tour)
    assert errors(notebook) == []


def test_notebook_7_trains(lab):
    notebook = lab.open("04_training.ipynb")
    run_all(notebook)
    in_lab.check_predictions(Explorer(notebook, "PredictionBrowser("))
    in_lab.check_panel(Explorer(notebook, "TrainingPanel("), measure=lambda label, times: None)
    assert errors(notebook) == []


# --- Voila ---

# Of a cell, which Voila does not name but shows as JupyterLab does, and of a widget. Its console is
# not asked: Voila fetches icons from elsewhere, and loads what Notebook 7 adds to JupyterLab in vain.
VOILA_ERRORS = "[data-mime-type='application/vnd.jupyter.stderr'], .jupyter-widgets-error-widget"


class VoilaPage(OpenNotebook):
    """A page of Voila. There is no code in it to find a cell by: it must have one explorer."""

    def __init__(self, page, name):
        self.page, self.name = page, name

    def find_cell(self, text):
        return None

    def cell_output(self, i):
        picture = self.page.locator("svg.rh-picture")
        return self.page.locator(".jp-Cell-outputArea").filter(has=picture)


@pytest.fixture
def voila(tmp_path):
    """Address of a Voila that serves notebook 2."""
    pytest.importorskip("voila", reason="Voila is not installed (pip install voila)")
    folder, port = tmp_path / "notebooks", free_port()
    shutil.copytree(NOTEBOOKS, folder)
    command = [sys.executable, "-m", "voila", BLOCK.notebook, "--no-browser", f"--port={port}",
               "--Voila.ip=127.0.0.1"]
    settings = dict.fromkeys(["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"], str(tmp_path))
    process = subprocess.Popen(command, cwd=folder, env=os.environ | settings)
    end = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(30)


def test_voila_runs_a_notebook_and_its_explorer_follows(browser, voila):
    with browser.new_context(locale="en-US") as context:
        page = context.new_page()
        page.goto(voila, timeout=600_000)  # it answers in full when all cells have run
        check_page(VoilaPage(page, BLOCK.notebook), BLOCK)
        assert page.locator(VOILA_ERRORS).all_inner_texts() == []
