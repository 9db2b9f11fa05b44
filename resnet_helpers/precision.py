"""The arithmetic of a training step: plain float32, or bfloat16 where this machine is faster with it."""

import contextlib
import functools
import time

import torch

PRECISIONS = ("auto", "float32", "bfloat16")
GAIN = 1.3  # how much faster bfloat16 products must be; the casts around them cost time too


class Arithmetic:
    """How `fit` computes.

    In bfloat16, convolutions and matrix products round their inputs to 8 significant bits and add in float32
    (autocast); weights, batch-norm statistics, loss and optimiser stay float32. Images and weights lie in memory with
    the channels last, which is how the fast kernels want them.

    Args:
        precision: "float32", as PyTorch computes without being told anything; "bfloat16"; or "auto", which means
            bfloat16 if `bfloat16_gain` of the device is large enough, else float32.
        device: a `torch.device`.

    Attributes:
        precision: "float32" or "bfloat16".

    Raises:
        ValueError: another precision.
    """

    def __init__(self, precision, device):
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        if precision == "auto":
            precision = "bfloat16" if bfloat16_gain(device) >= GAIN else "float32"
        self.precision, self.device = precision, device

    @property
    def is_fast(self):
        """Anything but plain float32?"""
        return self.precision != "float32"

    def prepare(self, net):
        """Move a module to the device, in place."""
        return net.to(self.device, memory_format=torch.channels_last) if self.is_fast else net.to(self.device)

    def batch(self, X):
        """Move a tensor, or each tensor of a list or tuple, to the device."""
        if isinstance(X, (list, tuple)):
            return [self.batch(x) for x in X]
        is_image = self.is_fast and X.dim() == 4
        return X.to(self.device, memory_format=torch.channels_last) if is_image else X.to(self.device)

    def autocast(self):
        """The context to compute logits in."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.is_fast else contextlib.nullcontext()

    def sgd(self, parameters, lr):
        """Plain SGD, with all parameters in one kernel where that is not plain float32."""
        return torch.optim.SGD(parameters, lr=lr, fused=True if self.is_fast else None)


@functools.cache
def bfloat16_gain(device, side=1024, repeats=5):
    """How many times as fast as float32 a device multiplies bfloat16 matrices, measured once in a process.

    Processors without instructions for bfloat16 can do it too, but many times slower than float32. (Large products
    gain: a net of few channels, or batches of a few images, can be slower in bfloat16 even where these are faster.)

    Args:
        device: a `torch.device`; on any but CPUs and CUDA GPUs, where nobody has tried, the answer is 0.
        side: of the square matrices.
        repeats: of each kind; the fastest counts.
    """
    if device.type not in ("cpu", "cuda"):
        return 0.0
    return (matmul_seconds(torch.float32, device, side, repeats)
            / matmul_seconds(torch.bfloat16, device, side, repeats))


def matmul_seconds(dtype, device, side, repeats):
    """Time in seconds that the fastest of some products of two square matrices takes."""
    a, b = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
    seconds = []
    for _ in range(repeats + 1):  # the first also chooses and loads the kernel
        synchronize(device)
        begin = time.perf_counter()
        a @ b
        synchronize(device)
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])


def synchronize(device):
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
