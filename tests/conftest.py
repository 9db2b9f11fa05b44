"""What several test files use."""

import signal

import pytest
from mirror import idx  # noqa: F401

from resnet_helpers import recipes
from resnet_helpers.data import FashionMNIST, load_fashion_mnist_subset

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background: checks and tests interrupt with it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def few():
    """40 images to train on and 20 to test on: a step takes milliseconds."""
    data = load_fashion_mnist_subset()
    return FashionMNIST(data.train_images[:40], data.train_labels[:40], data.test_images[:20], data.test_labels[:20])


@pytest.fixture
def few_images(monkeypatch, few):
    """Runs train and test on `few`."""
    monkeypatch.setattr(recipes, "load_fashion_mnist_subset", lambda: few)
    monkeypatch.setattr(recipes, "load_fashion_mnist", lambda root=None: few)


@pytest.fixture(autouse=True)
def own_progress_file(monkeypatch, tmp_path):
    """Exercises that a test solves are not the reader's."""
    monkeypatch.setenv("RESNET_HELPERS_PROGRESS", str(tmp_path / "progress.json"))


@pytest.fixture
def group_of_one(tmp_path):
    """A process group in which this process is alone."""
    from torch import distributed  # not above: the package wants to be imported before torch
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()
