"""Make resnet_helpers/assets/fashion_mnist_subset.npz from the full Fashion-MNIST.

    python tests/tools/make_subset.py

Takes the first 600 images of each class from the training file and the first 100 from the test
file, in the order of the files. Needs the full data set (see
resnet_helpers.data.load_fashion_mnist).
"""

import argparse
from pathlib import Path

import numpy as np

from resnet_helpers import data
from resnet_helpers.runs.files import written_whole

TARGET = Path(data.__file__).parent / "assets" / "fashion_mnist_subset.npz"


def first_of_each_class(labels, num_per_class):
    """Sorted indices of the first `num_per_class` entries of each class."""
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:num_per_class] for c in range(10)]))


def make_subset(full):
    """The arrays of the archive, by name."""
    arrays = {}
    for split, num_per_class in (("train", 600), ("test", 100)):
        images, labels = (getattr(full, f"{split}_{kind}").numpy() for kind in ("images", "labels"))
        indices = first_of_each_class(labels, num_per_class)
        arrays |= {f"{split}_images": images[indices],
                   f"{split}_labels": labels[indices].astype(np.uint8),
                   f"{split}_indices": indices.astype(np.int32)}
    return arrays


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    with written_whole(TARGET) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **make_subset(data.load_fashion_mnist()))
    print(f"{TARGET.name}: {TARGET.stat().st_size / 1e6:.2f} MB")
