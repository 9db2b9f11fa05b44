"""What several test files use, and how the tests share the cores."""

import os
import signal

# one of several processes that compute; set before there are threads
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from mirror import idx  # noqa: F401

from resnet_helpers.data import FashionMNIST, load_fashion_mnist_subset
from resnet_helpers.engine.cores import usable_cores
from resnet_helpers.experiments import small_net
from resnet_helpers.runs import recipes

# as in a shell's background: checks and tests interrupt with it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers():
    """How many processes share the tests: one for each core that this one may use, within reason
    for the memory.
    """
    return min(usable_cores(), 8)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items):
    """Notebooks come first, the last one before the others: it trains longest. Nothing shuffles
    their cells. Those of notebooks/further are slow.
    """
    for item in items:
        if hasattr(item, "cell_num") and item.path.parent.name == "further":
            item.add_marker(pytest.mark.slow)
    result = yield  # others leave out what is not asked for, and shuffle the rest
    cells = [item for item in items if hasattr(item, "cell_num")]
    cells.sort(key=lambda item: item.cell_num)
    cells.sort(key=lambda item: item.path.name, reverse=True)
    items[:] = [*cells, *(item for item in items if not hasattr(item, "cell_num"))]
    return result


def pytest_terminal_summary(terminalreporter):
    """What tests have measured, one after the other; nothing of it decides whether they pass."""
    lines = [line
             for report in (*terminalreporter.getreports("passed"),
                            *terminalreporter.getreports("failed"))
             for name, line in report.user_properties if name == "time in the browser"]
    if lines:
        terminalreporter.section("times in the browser")
        for line in dict.fromkeys(lines):  # the machine is named by each test
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def few():
    """40 images to train on and 20 to test on: a step takes milliseconds."""
    data = load_fashion_mnist_subset()
    return FashionMNIST(data.train_images[:40], data.train_labels[:40], data.test_images[:20],
                        data.test_labels[:20])


@pytest.fixture
def few_images(monkeypatch, few):
    """Runs train and test on `few`."""
    monkeypatch.setattr(recipes, "load_fashion_mnist_subset", lambda: few)
    monkeypatch.setattr(recipes, "load_fashion_mnist", lambda root=None: few)


@pytest.fixture
def narrow_net(monkeypatch):
    """A net of 6 narrow layers in the place of ResNet-18: for tests of what a run does, not of what
    it trains.
    """
    monkeypatch.setattr(recipes, "MODELS", {18: lambda shortcuts, stem: small_net(6, shortcuts)})


@pytest.fixture(autouse=True)
def the_same_random_numbers():
    """For a test, whichever came before it."""
    import torch  # not above: the package wants to be imported before torch
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def own_progress_file(monkeypatch, tmp_path):
    """Exercises that a test solves are not the reader's."""
    monkeypatch.setenv("RESNET_HELPERS_PROGRESS", str(tmp_path / "progress.json"))


@pytest.fixture
def group_of_one(tmp_path):
    """A process group in which this process is alone."""
    from torch import distributed
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0,
                                   world_size=1)
    yield
    distributed.destroy_process_group()
