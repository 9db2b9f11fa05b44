"""What test_processes.py runs in two processes under torchrun. Arguments: a folder, and a mode.

Modes: "synchronize" batch norm; leave it "apart"; or "freeze", where the second process does not
answer any more.
"""

import datetime
import sys
import time

import torch

from resnet_helpers.runs import processes
from resnet_helpers.runs.processes import process_group
from resnet_helpers.runs.recipes import RunSettings, prepare_run

SETTINGS = RunSettings(num_epochs=1, batch_size=16, image_size=64, precision="float32", lr=0.001)


def few(run, n=32):
    """With n training images and 17 test images: the second process has none of the last batch."""
    for batches, number in ((run.train_iter, n), (run.test_iter, 17)):
        batches.images, batches.labels = batches.images[:number], batches.labels[:number]
    return run


if __name__ == "__main__":
    folder, mode = sys.argv[1:]
    if mode == "freeze":
        processes.TIMEOUT = datetime.timedelta(seconds=3)
    with process_group("cpu") as group:
        if mode == "freeze" and not group.is_main:
            time.sleep(3600)
        run = few(prepare_run(SETTINGS, group.device))
        net = group.wrap(run.net, mode == "synchronize")
        train_iter, test_iter = (batches.share(group.rank, group.world_size)
                                 for batches in (run.train_iter, run.test_iter))
        records = list(run.fit(net=net, train_iter=train_iter, test_iter=test_iter,
                               all_reduce=group.all_reduce))
        torch.save({"net": run.net.state_dict(), "records": [vars(p) for p in records]},
                   f"{folder}/{group.rank}.pt")
