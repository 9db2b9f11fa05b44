"""The arithmetic of a training step: plain float32, or what is faster on this machine: bfloat16, another layout."""

import contextlib
import functools
import math
import time
from typing import NamedTuple

import torch

from resnet_helpers.cpu import SharedCores, SmallMaps, kept_memory

PRECISIONS = ("auto", "float32", "bfloat16")
GAIN = 1.3  # how much faster bfloat16 products must be for a trial; the casts around them cost time too


class Way(NamedTuple):
    """A way to compute a step: the type that products are computed in, and how images and weights lie in memory."""

    precision: str
    memory_format: torch.memory_format


PLAIN = Way("float32", torch.preserve_format)
FLOAT32, FLOAT32_LAST = Way("float32", torch.contiguous_format), Way("float32", torch.channels_last)
BFLOAT16_LAST = Way("bfloat16", torch.channels_last)


def ways_to_try(device):
    """The ways of which "auto" takes the fastest: bfloat16 only where matrices are multiplied much faster in it."""
    if bfloat16_gain(device) >= GAIN:
        return [BFLOAT16_LAST, FLOAT32_LAST, FLOAT32]
    return [FLOAT32_LAST, FLOAT32] if device.type == "cpu" else [PLAIN]


class Arithmetic:
    """How `fit` computes.

    In bfloat16, convolutions and matrix products round their inputs to 8 significant bits and add in float32
    (autocast); weights, batch-norm statistics, loss and optimiser stay float32. Images and weights lie in memory with
    the channels last, which is how the fast kernels want them. On CPUs some weight gradients are computed in another
    way, see `cpu.SmallMaps`.

    Args:
        precision: "float32", as PyTorch computes without being told anything (newer GPUs round the inputs of
            convolutions to TF32 then, unless `torch.backends.cudnn.allow_tf32` is False); "bfloat16"; or "auto": the
            first steps of the run try what may be faster on the device, and the fastest stays, see `ways_to_try`. On a
            CPU "auto" also takes fewer threads while other programs use the cores; another number of threads adds up
            in another order, so the others keep it.
        device: a `torch.device`.

    Attributes:
        precision: "float32" or "bfloat16"; "auto" as long as that is being tried.

    Raises:
        ValueError: another precision.
    """

    def __init__(self, precision, device):
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        self.cores = SharedCores() if precision == "auto" and device.type == "cpu" else None
        ways = {"float32": [PLAIN], "bfloat16": [BFLOAT16_LAST]}.get(precision) or ways_to_try(device)
        self.device, self.net, self.optimizer, self.is_plain = device, None, None, ways == [PLAIN]
        long = 1.0 if device.type == "cpu" else math.inf  # what a GPU's first step loads can take that long
        self._way, self.trial = ways[0], Trial(ways, long=long) if len(ways) > 1 else None

    @property
    def precision(self):
        return "auto" if self.trial else self._way.precision

    def prepare(self, net):
        """Move a module to the device, in place, and lay out its weights."""
        self.net = net.to(self.device)
        self._lay_out()

    def attach(self, optimizer):
        """Lay out what the optimiser of the prepared module remembers, now and whenever its weights are."""
        self.optimizer = optimizer
        lay_out_as_weights(optimizer)

    def batch(self, X):
        """Move a tensor, or each tensor of a list or tuple, to the device."""
        if isinstance(X, (list, tuple)):
            return [self.batch(x) for x in X]
        order = {"memory_format": self._way.memory_format} if X.dim() == 4 else {}
        return X.to(self.device, non_blocking=self._can_wait, **order)

    def labels(self, y):
        """Move classes to the device, as int64; to be called before the forward pass.

        Later a GPU would first have to come to the end of that pass, unless it can copy while it computes.
        """
        return y.to(self.device, torch.int64, non_blocking=self._can_wait)

    @property
    def _can_wait(self):
        """May a tensor from the host arrive later? A GPU waits for it by itself before it computes with it."""
        return self.device.type == "cuda"

    @contextlib.contextmanager
    def autocast(self):
        """The context to compute logits in."""
        if self._way.precision == "float32":
            yield
            return
        small_maps = SmallMaps() if self.device.type == "cpu" else contextlib.nullcontext()
        with torch.autocast(self.device.type, torch.bfloat16), small_maps:
            yield

    @contextlib.contextmanager
    def run(self):
        """The context of a whole run."""
        with contextlib.ExitStack() as contexts:
            if self.device.type == "cpu":
                contexts.enter_context(kept_memory())
            if self.cores is not None:
                contexts.enter_context(self.cores.in_use())
            yield

    @contextlib.contextmanager
    def step(self, num_images):
        """The context of a whole training step; times it as long as ways are being tried."""
        if self.trial is None:
            yield
            if self.cores is not None:
                self.cores.look()
            return
        synchronize(self.device)
        begin = time.perf_counter()
        yield
        synchronize(self.device)
        self.trial.add(time.perf_counter() - begin, num_images)
        self._way = self.trial.winner or self.trial.next
        if self.trial.winner:
            self.trial = None
        self._lay_out()

    def sgd(self, parameters, lr):
        """Plain SGD; see `can_fuse`."""
        return torch.optim.SGD(parameters, lr=lr, fused=can_fuse(self.device, self.is_plain))

    def _lay_out(self):
        for weight in self.net.parameters() if not self.is_plain else ():
            if weight.dim() == 4:  # `Module.to` would do it for those of 5 dimensions too, and fail
                weight.data = weight.data.to(memory_format=self._way.memory_format)
        if self.optimizer is not None:
            lay_out_as_weights(self.optimizer)


def can_fuse(device, is_plain):
    """What to tell an optimiser for `fused`: True for one kernel for all parameters, None for PyTorch's choice.

    On GPUs that saves launching a kernel for each parameter. On CPUs it was slower where it mattered at all, with
    batches of 16 images.
    """
    return True if device.type == "cuda" and not is_plain else None


def lay_out_as_weights(optimizer):
    """Let momentum, and whatever else an optimiser remembers for each number of a weight, lie in memory as it does.

    Fused optimisers take that for granted: on GPUs they raise an error otherwise, on CPUs they compute nonsense.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == weight.shape and value.stride() != weight.stride():
                state[name] = torch.empty_like(weight, dtype=value.dtype, requires_grad=False).copy_(value)


class Trial:
    """Finds out which of several ways of doing a step takes the least time for an image, by taking turns.

    The first step of each way also loads its kernels and gets its memory: it counts only if it takes longer than
    `long`, where that no longer matters and every further step in a slow way would cost.

    Args:
        names: what tells the ways apart.
        long: in seconds.
    """

    STEPS = 3  # of each way

    def __init__(self, names, long=1.0):
        self.tried, self.long = {name: [] for name in names}, long  # (seconds, images) of steps

    def _is_tried(self, name):
        return len(self.tried[name]) >= self.STEPS or any(seconds > self.long for seconds, _ in self.tried[name])

    @property
    def next(self):
        """The way whose turn it is."""
        return min((name for name in self.tried if not self._is_tried(name)), key=lambda name: len(self.tried[name]))

    def add(self, seconds, num_images):
        """Note what the step of `next` took, and for how many images: an epoch's last batch may have fewer."""
        self.tried[self.next].append((seconds, num_images))

    @property
    def winner(self):
        """The fastest, once all have had their steps; else None."""
        if not all(map(self._is_tried, self.tried)):
            return None
        return min(self.tried, key=lambda name: min(seconds / num_images for seconds, num_images
                                                    in self.tried[name][1:] or self.tried[name]))


@functools.cache
def bfloat16_gain(device, side=1024, repeats=5):
    """How many times as fast as float32 a device multiplies bfloat16 matrices, measured once in a process.

    Processors without instructions for bfloat16 can do it too, but many times slower than float32. These products are
    large ones: a net of few channels, or batches of a few images, can be slower in bfloat16 even where they are faster.

    Args:
        device: a `torch.device`; on any but CPUs and CUDA GPUs, where nobody has tried, the answer is 0, and on those
            that cannot do it at all.
        side: of the square matrices.
        repeats: of each kind; the fastest counts.
    """
    if device.type not in ("cpu", "cuda"):
        return 0.0
    try:
        seconds = matmul_seconds(torch.bfloat16, device, side, repeats)
    except RuntimeError:
        return 0.0
    return matmul_seconds(torch.float32, device, side, repeats) / seconds


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
    elif device.type == "mps":
        torch.mps.synchronize()
