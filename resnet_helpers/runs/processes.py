"""Several processes that train one network: each on its part of every batch, gradients averaged.

The mean of a batch's gradients is the mean of the means of its equal parts; so every process takes
the same step as one process would with the whole batch. Only batch norm sees the difference: it
normalises each part by itself, unless its statistics are synchronised.

Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training" (2020).
"""

import contextlib
import datetime
import os
import zlib

import torch
import torch.distributed as dist
from torch import nn

from resnet_helpers.engine.arithmetic import GAIN, bfloat16_gain
from resnet_helpers.training import device_problem, try_gpu

TIMEOUT = datetime.timedelta(minutes=5)  # to wait for another process: no step should take longer


class Group:
    """The processes that train together, and this one among them.

    Attributes:
        rank, world_size: the number of this process, from 0, and how many there are.
        device: the `torch.device` where this process computes.
    """

    def __init__(self, device, rank=0, world_size=1):
        self.device, self.rank, self.world_size = device, rank, world_size

    @property
    def is_main(self):
        """Is this the process that prints and saves?"""
        return self.rank == 0

    def all_reduce(self, tensor):
        """The sum of all processes' tensors of this shape, where this one's is."""
        if self.world_size == 1:
            return tensor
        total = tensor.to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(tensor.device)

    def expect_agreement(self, *values):
        """Raise ValueError unless all processes call this with values of the same `repr`."""
        number = zlib.crc32(repr(values).encode())
        if self.all_reduce(torch.tensor(number)).item() != self.world_size * number:
            raise ValueError(
                "the processes were started with different options or checkpoints. Give all of "
                "them the same options, and have the checkpoint where all of them can read it")

    def choose_precision(self, precision):
        """What "auto" means: all processes take what suits the first one."""
        if self.world_size == 1 or precision != "auto":
            return precision
        gain = torch.tensor([bfloat16_gain(self.device) if self.is_main else 0.0])
        return "bfloat16" if self.all_reduce(gain).item() >= GAIN else "float32"

    def wrap(self, net, synchronize_batch_norm=False):
        """`net` with gradients that are averaged over the processes; itself if there is only one.

        Args:
            synchronize_batch_norm: normalise with the mean and variance of the whole batch instead
                of each process's part. Costs two messages a layer, each way.
        """
        if self.world_size == 1:
            return net
        if synchronize_batch_norm and self.device.type == "cuda":
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
        elif synchronize_batch_norm:
            synchronize_batch_norms(net)
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(net, devices)


@contextlib.contextmanager
def process_group(device=None):
    """The group that torchrun started this process in; a group of one if it did not.

    Messages go by NCCL between GPUs, by gloo between CPUs. If a process dies the others fail,
    after `TIMEOUT` at the latest, and torchrun ends them at once.

    Args:
        device: where to compute; None means `try_gpu()` for a group of one. In others None or
            "cuda" means a GPU for each process, and None the CPU if there are no GPUs.

    Raises:
        ValueError: the device cannot be used, or there are too few GPUs.
    """
    if not is_one_of_several():
        device = try_gpu() if device is None else torch.device(device)
        if problem := device_problem(device):
            raise ValueError(f"the device {device} cannot be used: {problem.rstrip('.')}. Leave "
                             f"--device out to use what there is")
        yield Group(device)
        return
    device = own_device(device, int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    yield Group(device, dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()  # not after an error: the others may never come to it


def is_one_of_several():
    """Has torchrun started this process?"""
    return dist.is_available() and dist.is_torchelastic_launched()


def is_main_process():
    """Is this the process that prints and saves? To be known before the group has met."""
    return not is_one_of_several() or os.environ["RANK"] == "0"


def own_device(device, local_rank, local_world_size):
    """The `torch.device` for process number `local_rank` of those on this machine.

    Raises:
        ValueError: there is no GPU for each of them.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"several processes train together on CPUs or on CUDA GPUs, not on "
                         f"{device}: add --device cpu")
    if device.type == "cpu" or local_world_size == 1 and device.index is not None:
        return device
    if device.index is not None:
        raise ValueError(f"{local_world_size} processes cannot share {device}: with --device cuda "
                         f"each takes a GPU of its own")
    gpus = torch.cuda.device_count()
    if local_world_size > gpus:
        raise ValueError(f"{local_world_size} processes need as many GPUs, and there are {gpus}: "
                         f"start a process for each GPU (--nproc-per-node), or add --device cpu")
    return torch.device("cuda", local_rank)


class _AllReduce(torch.autograd.Function):
    """The sum over all processes, and in the backward pass the sum of the gradients."""

    @staticmethod
    def forward(ctx, tensor):
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad):
        return _AllReduce.forward(ctx, grad)


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over all processes' parts of a batch, for CPUs; torch's own needs GPUs."""

    def forward(self, X):
        """(N, C, H, W) -> (N, C, H, W)."""
        if not self.training:
            return super().forward(X)
        x = X.float()
        n = dist.get_world_size() * x.numel() / x.shape[1]  # the parts are of one size
        mean = _AllReduce.apply(x.sum((0, 2, 3))) / n  # (C,)
        x = x - mean[:, None, None]
        variance = _AllReduce.apply(x.square().sum((0, 2, 3))) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight / (variance + self.eps).sqrt()
        return (x * scale[:, None, None] + self.bias[:, None, None]).to(X.dtype)


def synchronize_batch_norms(net):
    """Let each `BatchNorm2d` of a module be a `SynchronizedBatchNorm2d`: they hold the same."""
    for layer in net.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SynchronizedBatchNorm2d
