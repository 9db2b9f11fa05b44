"""What readers do to notebooks: cells again and out of order, restarts, two at once, files that are
gone.
"""

import concurrent.futures
import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from kernels import HURRY, NOTEBOOKS, WITHOUT_ASSERTIONS, Kernel, code_cells

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


def run_all(kernel, cells):
    for cell in cells:
        reply = kernel.run(cell.source, cell.id)
        assert bool(reply.error) == cell.fails, f"{cell.source}\n{reply.error}"


@pytest.fixture
def kernel(tmp_path):
    with Kernel(tmp_path) as kernel:
        yield kernel


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_restart_in_the_middle_and_cells_again_in_any_order(path, tmp_path):
    cells = code_cells(path)
    with Kernel(tmp_path, WITHOUT_ASSERTIONS) as kernel:
        run_all(kernel, cells[:4])
        kernel.restart()
        kernel.run(HURRY)
        errors = [kernel.run(cell.source, cell.id).error for cell in cells[4:8]]
        # what is missing is named
        assert {error.split(":")[0] for error in errors} <= {"", "NameError"}, errors
        run_all(kernel, cells)
        run_all(kernel, reversed(cells))


TRAIN = """
import torch
import resnet_helpers as d2l
torch.manual_seed(0)
train_iter, test_iter = d2l.load_data_fashion_mnist(64, resize=8, subset=True)
history = d2l.train_ch6(d2l.resnet18(), train_iter, test_iter, num_epochs=1, lr=0.05,
                        precision="float32")
print(history.completed)
"""


def test_two_notebooks_can_train_at_once(tmp_path):
    both = threading.Barrier(2)

    def train(number):
        with Kernel(tmp_path, {"OMP_NUM_THREADS": "1"}) as kernel:
            both.wait()
            return kernel.run(TRAIN)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        replies = list(pool.map(train, range(2)))
    assert [reply.error for reply in replies] == ["", ""]
    assert all("True" in reply.printed.splitlines() for reply in replies)


@pytest.mark.parametrize("wait", ["", "while not panel._run.history.records: time.sleep(0.05)"])
def test_a_run_in_the_background_does_not_outlive_its_kernel(kernel, wait):
    code = f"""
import time
from resnet_helpers.widgets import TrainingPanel
panel = TrainingPanel(num_epochs=100)
panel.train()
{wait}
"""
    assert not kernel.run(code).error
    process = kernel.manager.provisioner.process
    kernel.restart()
    # it ended when it was asked to, and did not crash
    assert process.returncode in (0, -signal.SIGTERM)
    assert kernel.pid != process.pid
    assert kernel.run("print('usable')").printed == "usable\n"


EXPLORERS = ["FunctionClassExplorer()", "BlockExplorer()", "ModelExplorer()", "TrainingPanel()"]


@pytest.mark.parametrize("make", EXPLORERS)
def test_running_its_cell_again_closes_an_explorer_and_nothing_else(make, kernel):
    name = make.split("(")[0]
    kernel.run(f"import ipywidgets\nfrom resnet_helpers.widgets import {name}")
    kernel.run(f"other = {make}\nother", "other cell")
    live = "print(len(ipywidgets.widgets.widget._instances))"
    one = int(kernel.run(live).printed)
    counts = []
    for _ in range(3):
        assert not kernel.run(f"first = {make}\nsecond = {make}" if name != "TrainingPanel"
                              else f"first = {make}", "this cell").error
        counts.append(int(kernel.run(live).printed))
    assert counts[0] > one and counts == counts[:1] * 3
    printed = kernel.run("print(other.comm is not None, first.comm is not None)").printed
    assert printed == "True True\n"


def test_an_explorer_that_was_closed_by_running_its_cell_again_still_answers(kernel):
    make = "from resnet_helpers.widgets import BlockExplorer\nexplorer = BlockExplorer()\nexplorer"
    kernel.run(make, "cell")
    kernel.run("old = explorer")
    kernel.run(make, "cell")
    reply = kernel.run("old.strides = 2; print(explorer.strides, old.strides)")
    assert not reply.error and reply.printed == "1 2\n"


@pytest.mark.parametrize("make", EXPLORERS)
def test_an_explorer_that_was_closed_is_not_kept_by_the_history_of_outputs(make, kernel):
    kernel.run("import gc, weakref\nfrom resnet_helpers.widgets import "
               f"{make.split('(')[0]}\nseen, keep = [], 'kept'")
    kernel.run("keep", "other cell")
    for _ in range(3):
        assert not kernel.run(f"explorer = {make}\nseen.append(weakref.ref(explorer))\nexplorer",
                              "this cell").error
    reply = kernel.run("gc.collect()\nprint([ref() is not None for ref in seen], _ is explorer, "
                       "Out[2], _2, len(Out))")
    assert not reply.error and reply.printed == "[False, False, True] True kept kept 2\n"
    kernel.run("explorer.close()\ndel explorer")
    reply = kernel.run("gc.collect()\nprint(seen[-1](), repr(_), Out)")
    assert not reply.error and reply.printed == "None '' {2: 'kept'}\n"


@pytest.fixture
def package_without_assets(tmp_path):
    """A folder with a copy of the package whose data and recordings are gone."""
    shutil.copytree(ROOT / "resnet_helpers", tmp_path / "resnet_helpers",
                    ignore=shutil.ignore_patterns("*.npz", "recordings", "__pycache__"))
    return tmp_path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_run_all_without_the_bundled_files_says_which_file_to_get_again(path,
                                                                        package_without_assets):
    with Kernel(package_without_assets, {"PYTHONPATH": str(package_without_assets)}) as kernel:
        for cell in code_cells(path):  # "Run all" ends at the first cell that fails
            reply = kernel.run(cell.source, cell.id)
            if bool(reply.error) != cell.fails:
                break
        else:
            pytest.fail("no cell missed them")
        assert reply.error.startswith("DatasetUnavailableError: ")
        assert "Get that file again" in reply.error
        assert kernel.run("print('usable')").printed == "usable\n"


def test_missing_recordings_are_told_with_what_to_do(package_without_assets):
    code = ("import resnet_helpers as d2l\ntry:\n    d2l.load_recording('fast-seed0')\n"
            "except Exception as error:\n    print(type(error).__name__, error)")
    done = subprocess.run([sys.executable, "-c", code], cwd=package_without_assets,
                          capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    assert "git checkout" in done.stdout, done.stdout + done.stderr


def test_progress_of_several_users_is_apart(tmp_path):
    code = ("from resnet_helpers import check\ncheck.block_parameters(-1)\n"
            "print(check.progress_file())")
    files = []
    for user in ("ann", "bo"):
        home = tmp_path / user
        homes = {name: str(home)
                 for name in ("HOME", "USERPROFILE", "XDG_DATA_HOME", "LOCALAPPDATA")}
        with Kernel(tmp_path, {**homes, "RESNET_HELPERS_PROGRESS": ""}) as kernel:
            files.append(Path(kernel.run(code).printed.splitlines()[-1]))
        assert home in files[-1].parents
    assert [json.loads(file.read_text())["exercises"]["block_parameters"]["attempts"]
            for file in files] == [1, 1]
