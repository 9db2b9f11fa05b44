"""The arithmetic of a training step: plain float32, or bfloat16 where this machine is much faster in it."""

import contextlib
import functools
import random
import time
import warnings

import numpy
import torch

from resnet_helpers.cpu import SharedCores, SmallMaps, kept_memory
from resnet_helpers.diagnosis import is_full

PRECISIONS = ("auto", "float32", "bfloat16")
GAIN = 1.3  # how much faster bfloat16 products must be; the casts around them cost time too


class Arithmetic:
    """How `fit` computes.

    In bfloat16, convolutions and matrix products round their inputs to 8 significant bits and add in float32
    (autocast); weights, batch-norm statistics, loss and optimiser stay float32. During the run images and weights lie
    in memory with the channels last, which is how the fast kernels want them. On CPUs some weight gradients are
    computed in another way, see `cpu.SmallMaps`.

    Args:
        precision: "float32", as PyTorch computes without being told anything (newer GPUs round the inputs of
            convolutions to TF32 then, unless `torch.backends.cudnn.allow_tf32` is False); "bfloat16"; or "auto":
            bfloat16 where the device multiplies matrices much faster in it, and float32 elsewhere, or if the net does
            not compute in bfloat16. On a CPU "auto" also takes fewer threads while other programs use the cores;
            another number of threads adds up in another order, so the others keep it.
        device: a `torch.device`.

    Attributes:
        precision: "float32" or "bfloat16".

    Raises:
        ValueError: another precision.
    """

    def __init__(self, precision, device):
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        is_auto = precision == "auto"
        if is_auto:
            precision = "bfloat16" if bfloat16_gain(device) >= GAIN else "float32"
        self.precision, self.device, self.net, self.optimizer = precision, device, None, None
        self.cores = SharedCores() if is_auto and device.type == "cpu" else None
        self._may_give_up = is_auto and not self.is_plain
        self._before = []  # (weight, its data as they lay) of weights that lie in another way now

    @property
    def is_plain(self):
        """Is it float32?"""
        return self.precision == "float32"

    @contextlib.contextmanager
    def run(self, net, optimizer):
        """The context of a whole run. At its end the weights lie in memory as they did."""
        self.net, self.optimizer = net, optimizer
        with contextlib.ExitStack() as contexts:
            if self.device.type == "cpu":
                contexts.enter_context(kept_memory())
            if self.cores is not None:
                contexts.enter_context(self.cores.in_use())
            contexts.callback(self._lay_back)
            if not self.is_plain:
                self._before = lay_channels_last(net)
                lay_out_as_weights(optimizer)
            yield

    def _lay_back(self):
        for weight, data in self._before:
            weight.data = data.copy_(weight.data)
            if weight.grad is not None:
                weight.grad = torch.empty_like(weight.data).copy_(weight.grad)
        self._before = []
        lay_out_as_weights(self.optimizer)

    def attempt(self, compute, is_first=False):
        """What `compute`, a function without arguments, gives.

        If the choice was left to this object and the net fails in bfloat16, everything is computed in float32 from then
        on, and a warning says so.

        Args:
            is_first: is it the first step of the run? Then a net that fails is put back to where it was. (A later
                step that fails has changed no more than running averages.)
        """
        if not self._may_give_up:
            return compute()
        before = _Moment(self.net, self.device) if is_first else None
        try:
            return compute()
        except Exception as error:
            if is_full(error):
                raise
            reason = f"{type(error).__name__}: {error}".split("\n")[0]
        self.precision, self._may_give_up = "float32", False
        if before is not None:
            before.come_back()
        self._lay_back()
        result = compute()  # its own error, if the net fails in float32, too
        warnings.warn(f"training goes on in plain float32, since this net fails in bfloat16 ({reason})", stacklevel=2)
        return result

    def batch(self, X):
        """Move a tensor, or each tensor of a list or tuple, to the device."""
        if isinstance(X, (list, tuple)):
            return [self.batch(x) for x in X]
        order = {} if self.is_plain or X.dim() != 4 else {"memory_format": torch.channels_last}
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
        if self.is_plain:
            yield
            return
        small_maps = SmallMaps() if self.device.type == "cpu" else contextlib.nullcontext()
        with torch.autocast(self.device.type, torch.bfloat16), small_maps:
            yield

    def share_cores(self):
        """To be called after each step: leave cores to other programs, if the number of threads may change."""
        if self.cores is not None:
            self.cores.look()

    def sgd(self, parameters, lr):
        """Plain SGD; see `can_fuse`."""
        return torch.optim.SGD(parameters, lr=lr, fused=can_fuse(self.device, self.is_plain))


class _Moment:
    """The weights and buffers of a net, and the random states, to come back to."""

    def __init__(self, net, device):
        self.device = device
        self.tensors = [(tensor, tensor.detach().clone()) for tensor in (*net.parameters(), *net.buffers())]
        self.states = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
        self.of_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    @torch.no_grad()
    def come_back(self):
        """Put everything back."""
        for tensor, value in self.tensors:
            tensor.copy_(value)
        for put_back, state in zip((random.setstate, numpy.random.set_state, torch.set_rng_state), self.states,
                                   strict=True):
            put_back(state)
        if self.of_gpu is not None:
            torch.cuda.set_rng_state(self.of_gpu, self.device)


def lay_channels_last(net):
    """Let the weights of convolutions lie in memory with the channels last.

    Returns:
        Pairs of a weight and its data as they lay, for those that lay otherwise.
    """
    moved = [weight for weight in net.parameters()  # `Module.to` would try those of 5 dimensions too, and fail
             if weight.dim() == 4 and not weight.is_contiguous(memory_format=torch.channels_last)]
    before = [(weight, weight.data) for weight in moved]
    for weight in moved:
        weight.data = weight.data.to(memory_format=torch.channels_last)
    return before


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
