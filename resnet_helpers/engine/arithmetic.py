"""The arithmetic of a training step: plain float32, or bfloat16 where this machine is faster in it.

`fit` hands its step and each batch to an `Arithmetic`; all that makes the step fast is there.
"""

import contextlib
import functools
import random
import time
import warnings

import numpy
import torch

from resnet_helpers.engine.cpu import SharedCores, SmallMaps, kept_memory
from resnet_helpers.errors import PlainError, is_full

PRECISIONS = ("auto", "float32", "bfloat16")
GAIN = 1.3  # how much faster bfloat16 products must be; the casts around them cost time too
TRICKS = ("bfloat16", "small_maps", "kept_memory", "shared_cores")


class Arithmetic:
    """How `fit` computes: each trick by its name, what it does, and where to see what it gains.

    - "bfloat16": convolutions and matrix products round their inputs to 8 significant bits and
      add in float32 (autocast). Weights, batch-norm statistics, loss and optimiser stay float32.
      Images and weights lie in memory with the channels last, as the fast kernels want them.
    - "small_maps": on CPUs, in bfloat16, some weight gradients are matrix products, see
      `cpu.SmallMaps`.
    - "kept_memory": on CPUs, memory stays with the process between two steps, see
      `cpu.kept_memory`.
    - "shared_cores": on CPUs, with precision "auto", fewer threads compute while other programs
      use the cores, see `cpu.SharedCores`. Another number of threads adds up in another order,
      so the other precisions keep it.

    `python -m resnet_helpers.benchmark --tricks` measures what each of them gains. With ResNet-18
    on two cores and torch 2.14, all together were 2.7 times as fast as the article's loop on an
    AMD EPYC with instructions for bfloat16, where small maps and kept memory brought a step to
    0.6 to 0.7 of its time. On an Intel Xeon whose bfloat16 products are slow, small maps gained
    8% in bfloat16, and kept memory 3% at most. Shared cores gain nothing for a run that is alone;
    beside another one see `tests/load/two_at_once.py`.

    Args:
        precision: "float32", as PyTorch computes without being told anything; "bfloat16"; or
            "auto", which is bfloat16 where the device multiplies matrices much faster in it, and
            float32 elsewhere, or if the net turns out not to compute in bfloat16.
        device: a `torch.device`.
        without: names of tricks to leave out.

    Attributes:
        precision: "float32" or "bfloat16".

    Raises:
        ValueError: another precision.
    """

    def __init__(self, precision, device, without=()):
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, "
                             f"got {precision!r}")
        is_auto, is_cpu = precision == "auto", device.type == "cpu"
        if is_auto:
            is_fast = "bfloat16" not in without and bfloat16_gain(device) >= GAIN
            precision = "bfloat16" if is_fast else "float32"
        self.precision, self.device = precision, device
        shares = is_auto and is_cpu and "shared_cores" not in without
        self._cores = SharedCores() if shares else None
        self._keeps_memory = is_cpu and "kept_memory" not in without
        self._has_small_maps = is_cpu and "small_maps" not in without
        self._may_give_up = is_auto and precision == "bfloat16"
        self._start = None  # of the run, to come back to if its first step fails
        self._former = []  # (weight, its data as they lay) of weights that lie in another way now
        self._optimizer = None

    @contextlib.contextmanager
    def in_use(self, net, optimizer):
        """The context of a whole run. At its end the weights lie in memory as they did."""
        with contextlib.ExitStack() as contexts:
            if self._keeps_memory:
                contexts.enter_context(kept_memory())
            if self._cores is not None:
                contexts.enter_context(self._cores.in_use())
            contexts.callback(self._lay_back, optimizer)
            if self.precision == "bfloat16":
                self._former = lay_channels_last(net)
                lay_out_as_weights(optimizer)
            if self._may_give_up:
                self._start = _Moment(net, self.device)
            self._optimizer = optimizer
            yield

    def compute(self, function, X, y):
        """What `function(X, y)` gives, for a batch that is moved to the device first.

        If the choice was left to this object and the net fails in bfloat16, everything is computed
        in float32 from then on, and a warning says so. What a failed first step has changed is put
        back; a later one has changed no more than running averages.
        """
        try:
            result = function(self._move(X), self._move(y))
        except PlainError:
            raise
        except Exception as error:
            if not self._may_give_up or is_full(error):
                raise
            reason = f"{type(error).__name__}: {error}".split("\n")[0]
        else:
            self._start = None
            if self._cores is not None:
                self._cores.look()
            return result
        self.precision, self._may_give_up = "float32", False
        if self._start is not None:
            self._start.come_back()
        self._lay_back(self._optimizer)
        result = function(self._move(X), self._move(y))  # may raise an error of its own
        warnings.warn(f"training goes on in plain float32, since this net fails in bfloat16 "
                      f"({reason})", stacklevel=3)
        return result

    @contextlib.contextmanager
    def autocast(self):
        """The context to compute logits in."""
        if self.precision == "float32":
            yield
            return
        small_maps = SmallMaps() if self._has_small_maps else contextlib.nullcontext()
        with torch.autocast(self.device.type, torch.bfloat16), small_maps:
            yield

    def _move(self, X):
        """A tensor, or each of a list, on the device; a GPU need not be waited for."""
        if isinstance(X, (list, tuple)):
            return [self._move(x) for x in X]
        order = {}
        if self.precision == "bfloat16" and X.dim() == 4:
            order = {"memory_format": torch.channels_last}
        return X.to(self.device, non_blocking=self.device.type == "cuda", **order)

    def _lay_back(self, optimizer):
        for weight, data in self._former:
            weight.data = data.copy_(weight.data)
            if weight.grad is not None:
                weight.grad = torch.empty_like(weight.data).copy_(weight.grad)
        self._former = []
        lay_out_as_weights(optimizer)


class _Moment:
    """The weights and buffers of a net, and the random states, to come back to."""

    def __init__(self, net, device):
        self.device = device
        self.tensors = [(tensor, tensor.detach().clone())
                        for tensor in (*net.parameters(), *net.buffers())]
        self.states = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
        self.of_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    @torch.no_grad()
    def come_back(self):
        """Put everything back."""
        for tensor, value in self.tensors:
            tensor.copy_(value)
        of_python, of_numpy, of_torch = self.states
        random.setstate(of_python)
        numpy.random.set_state(of_numpy)
        torch.set_rng_state(of_torch)
        if self.of_gpu is not None:
            torch.cuda.set_rng_state(self.of_gpu, self.device)


def lay_channels_last(net):
    """Let the weights of convolutions lie in memory with the channels last.

    Returns:
        Pairs of a weight and its data as they lay, for those that lay otherwise.
    """
    moved = [weight for weight in net.parameters()  # `Module.to` would fail on those of volumes
             if weight.dim() == 4 and not weight.is_contiguous(memory_format=torch.channels_last)]
    former = [(weight, weight.data) for weight in moved]
    for weight in moved:
        weight.data = weight.data.to(memory_format=torch.channels_last)
    return former


def lay_out_as_weights(optimizer):
    """Let what an optimiser remembers for each number of a weight lie in memory as the weight does.

    Fused optimisers take that for granted: on GPUs they raise an error otherwise, on CPUs they
    compute nonsense.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if not torch.is_tensor(value) or value.shape != weight.shape:
                continue
            if value.stride() != weight.stride():
                laid_out = torch.empty_like(weight, dtype=value.dtype, requires_grad=False)
                state[name] = laid_out.copy_(value)


# --- what the machine is fast in ---

@functools.cache
def bfloat16_gain(device, side=1024, repeats=5):
    """How many times as fast as float32 a device multiplies bfloat16 matrices, measured once.

    Processors without instructions for bfloat16 can do it too, but many times slower. A net of few
    channels, or batches of a few images, can be slower in bfloat16 even on machines where these
    large products are faster.

    Args:
        device: a `torch.device`; 0 is the answer for any but CPUs and CUDA GPUs, where nobody has
            tried, and for those that cannot do it at all.
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
