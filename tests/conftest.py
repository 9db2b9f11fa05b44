"""What several test files use."""

import pytest

from resnet_helpers import runs
from resnet_helpers.data import ImageBatches, load_fashion_mnist_subset


@pytest.fixture
def few_images(monkeypatch):
    """Runs train on 40 images: a step takes milliseconds."""
    def load(batch_size, resize, *, device, subset, generator):
        data = load_fashion_mnist_subset()
        train_iter = ImageBatches(data.train_images[:40], data.train_labels[:40], batch_size, True, resize, device,
                                  generator)
        return train_iter, ImageBatches(data.test_images[:20], data.test_labels[:20], batch_size, False, resize, device)
    monkeypatch.setattr(runs, "load_data_fashion_mnist", load)
