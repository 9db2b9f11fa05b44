"""What test_distributed.py runs in two processes under torchrun. Arguments: a folder, and whether to synchronise."""

import sys

import torch

from resnet_helpers.distributed import process_group
from resnet_helpers.recipes import RunSettings, prepare_run

SETTINGS = RunSettings(num_epochs=1, batch_size=16, image_size=64, precision="float32", lr=0.001)


def few(run, n=32):
    """The run with its first n training images and 20 test images."""
    for batches, number in ((run.train_iter, n), (run.test_iter, 20)):
        batches.images, batches.labels = batches.images[:number], batches.labels[:number]
    return run


if __name__ == "__main__":
    folder, synchronize = sys.argv[1], sys.argv[2] == "synchronize"
    with process_group("cpu") as group:
        run = few(prepare_run(SETTINGS, group.device))
        net = group.wrap(run.net, synchronize)
        batches = [batches.share(group.rank, group.world_size) for batches in (run.train_iter, run.test_iter)]
        records = list(run.fit(net=net, train_iter=batches[0], test_iter=batches[1], all_reduce=group.all_reduce))
        torch.save({"net": run.net.state_dict(), "records": [vars(p) for p in records]},
                   f"{folder}/{group.rank}.pt")
