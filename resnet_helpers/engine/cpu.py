"""What makes training on a CPU faster, each in a context of its own; none changes the mathematics.

Kept memory, as many threads as there are free cores, weight gradients as matrix products.
"""

import contextlib
import ctypes
import os
import platform
import threading
import time

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from resnet_helpers.engine.cores import IS_FIXED, computing_time, usable_cores

SMALL_MAP = 16  # positions: up to 4 x 4


# --- memory ---

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of glibc's malloc.h
_users, _lock = 0, threading.Lock()


@contextlib.contextmanager
def kept_memory():
    """A context in which freed memory stays with the process; at its end the system gets it back.

    The activations of a step are large blocks, allocated and freed again and again. By default
    glibc, the C library of most Linux systems, returns such a block at once, and the next step
    pays for every one of its pages: the kernel has to find it and to fill it with zeros. With
    another C library this context does nothing.
    """
    global _users
    libc = glibc()
    if libc is None:
        yield
        return
    with _lock:
        _users += 1
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:  # the values that glibc reaches by itself where large blocks are freed
                libc.mallopt(M_MMAP_MAX, 65_536)
                libc.mallopt(M_MMAP_THRESHOLD, 2**25)
                libc.mallopt(M_TRIM_THRESHOLD, 2**26)
                libc.malloc_trim(0)


def give_back_memory(*_):
    """Return to the system what is freed, unless it is kept for a training that is going on.

    glibc holds on to small blocks: tens of megabytes in a notebook whose kernel nobody uses.
    """
    if (libc := glibc()) is not None:
        with _lock:
            if not _users:
                libc.malloc_trim(0)


def glibc():
    """The C library, if it is glibc; else None."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


# --- threads ---

OMP_PAUSE_SOFT = 1  # of omp.h


def respect_cores():
    """Let PyTorch compute with no more threads than this process has cores.

    More of them wait for each other most of the time. `OMP_NUM_THREADS`, if set, decides instead.
    """
    if not IS_FIXED and torch.get_num_threads() > (cores := usable_cores()):
        torch.set_num_threads(cores)


@contextlib.contextmanager
def one_thread():
    """A context in which the calling thread computes alone: for so little that sharing is no gain.

    Where others use the cores sharing costs much, see `SharedCores`.
    """
    with _kept_num_threads():
        torch.set_num_threads(1)
        yield


@contextlib.contextmanager
def _kept_num_threads():
    number = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(number)


class SharedCores:
    """Takes threads from PyTorch while other programs use the cores, and gives them back.

    Threads that share an operation wait for each other at its end. Where one of them has to wait
    for a core, all do, operation after operation: two programs with a thread for each core take
    many times as long as two with fewer. Nothing is changed if `OMP_NUM_THREADS` says how many
    threads there are to be, or where the system does not tell how busy it is.

        cores = SharedCores()
        with cores.in_use():
            for ...:
                cores.look()  # often
    """

    INTERVAL = 2.0  # seconds between two looks that count

    def __init__(self):
        self._most = torch.get_num_threads()
        self._seen = None if IS_FIXED or self._most == 1 else computing_time()
        self._time = time.monotonic()

    def in_use(self):
        """The context in which `look` may be called; after it the number is what it was."""
        return _kept_num_threads()

    def look(self):
        """Take as many threads as others have left cores free since the last look."""
        now = time.monotonic()
        if self._seen is None or now - self._time < self.INTERVAL:
            return
        seen = computing_time()
        if seen is None:
            return
        everything, own = (after - before
                           for after, before in zip(seen, self._seen, strict=True))
        free = (os.cpu_count() or 1) - (everything - own) / (now - self._time)
        self._seen, self._time = seen, now
        torch.set_num_threads(max(1, min(self._most, round(free))))


def end_workers():
    """End the worker threads that computed for the calling thread; they come back when needed.

    To be called before another thread is started that will train. Each thread has workers of its
    own, and once there are more of them than cores, GNU's OpenMP lets them all sleep after every
    operation.
    """
    with contextlib.suppress(OSError, AttributeError):  # an OpenMP that cannot do it, or none
        ctypes.CDLL(torch._C.__file__).omp_pause_resource_all(OMP_PAUSE_SOFT)


# --- convolutions ---

class SmallMaps(TorchFunctionMode):
    """A context in which bfloat16 convolutions compute small maps' weight gradients as products.

    Where the output has only a few positions, the kernel behind PyTorch's convolution takes
    several times as long for the gradient of the weights as for the output. That gradient is a
    product of two matrices, of the output's gradient and of the windows that the kernel looked
    at; products are fast whatever their shape. It holds for all convolutions of any module that
    is called in this context, but for those that are grouped or dilated.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.conv2d:
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """`torch.conv2d`, by way of `_SmallMapConvolution` where that pays."""
    arguments = input, weight, bias, stride, padding, dilation, groups
    if (input.dim() != 4 or isinstance(padding, str) or _both(dilation) != (1, 1) or groups != 1
            or input.device.type != "cpu" or input.dtype not in (torch.float32, torch.bfloat16)
            or not (weight.requires_grad and torch.is_grad_enabled())):
        return torch.conv2d(*arguments)
    stride, padding = _both(stride), _both(padding)
    sides = zip(input.shape[2:], padding, weight.shape[2:], stride, strict=True)
    height, width = ((n + 2 * p - k) // s + 1 for n, p, k, s in sides)
    if not (height > 0 and width > 0 and height * width <= SMALL_MAP):
        return torch.conv2d(*arguments)
    bias = None if bias is None else bias.bfloat16()
    return _SmallMapConvolution.apply(input.bfloat16(), weight.bfloat16(), bias, stride, padding)


class _SmallMapConvolution(torch.autograd.Function):
    """A convolution whose weight gradient is a product of two matrices."""

    @staticmethod
    def forward(ctx, X, weight, bias, stride, padding):
        ctx.save_for_backward(X, weight)
        ctx.stride, ctx.padding = stride, padding
        return torch.conv2d(X, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx, gradient):
        X, weight = ctx.saved_tensors
        of_input = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_input = torch.nn.grad.conv2d_input(X.shape, weight, gradient, ctx.stride,
                                                  ctx.padding)
        rows = gradient.permute(0, 2, 3, 1).flatten(0, 2)  # (positions of all images, out_channels)
        if ctx.needs_input_grad[1]:
            windows = _windows(X, weight.shape[2:], ctx.stride, ctx.padding)
            product = rows.T @ windows.flatten(3).flatten(0, 2)
            of_weight = product.unflatten(1, windows.shape[3:]).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(0)
        return of_input, of_weight, of_bias, None, None


def _windows(X, kernel_size, stride, padding):
    """What a kernel sees at each output position: (N, H, W, kernel height and width, channels)."""
    X = F.pad(X, (padding[1], padding[1], padding[0], padding[0])).permute(0, 2, 3, 1)
    rows = X.unfold(1, kernel_size[0], stride[0])
    windows = rows.unfold(2, kernel_size[1], stride[1])  # (N, H, W, channels, kernel)
    return windows.permute(0, 1, 2, 4, 5, 3)


def _both(size):
    """A size for height and width, as a tuple of two numbers."""
    return (size, size) if isinstance(size, int) else tuple(size) * (3 - len(size))
