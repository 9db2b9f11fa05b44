"""Errors that say what to do, and what is wrong with a batch, in words."""

import contextlib
import math
import traceback
import warnings

import torch
from torch import nn

from resnet_helpers.models import in_mode

GET_ASSETS_AGAIN = ("`git checkout -- resnet_helpers/assets` in the repository's folder, "
                    "or clone or install it anew.")
LARGE = 32.0  # images as numbers around 0 to 1, or standardised, have no pixel as large as that


class PlainError(Exception):
    """Base of errors whose message says all there is to say."""

    def _render_traceback_(self):
        """What IPython shows instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class DatasetUnavailableError(PlainError, OSError):
    """The full data set is not here and could not be fetched, or a file of it is damaged."""


class UnsuitableBatchError(PlainError, ValueError):
    """A batch that the net cannot compute with: its type, its shape, or its labels."""


class MemoryFullError(PlainError, MemoryError):
    """A training step needs more memory than there is."""

    def __init__(self, X, fitting=None):
        """
        Args:
            X: the images of the batch, or a list of tensors.
            fitting: how many of them should fit; None if nobody knows.
        """
        images = (f"{len(X)} images of {'x'.join(map(str, X.shape[1:]))}" if torch.is_tensor(X)
                  else "a batch")
        advice = f", of {fitting} images for example" if fitting and fitting >= 2 else ""
        super().__init__(
            f"the memory is full: a training step on {images} does not fit. Take a smaller "
            f"batch{advice}, smaller images or a smaller net, or close other programs and "
            f"notebooks. The weights are those of the last whole step")


class NonFiniteLossError(PlainError, ArithmeticError):
    """The training loss became infinite or not a number.

    Attributes:
        history: the `History` up to the last record before.
    """

    def __init__(self, value, step, history):
        self.history = history
        since = ""
        if history.records:
            since = f" (after epoch {history.records[-1].epoch:.3g} it was still finite)"
        lr = history.config.get("lr")
        advice = "a smaller learning rate"
        if lr:
            advice = f"a learning rate ten times smaller than {lr:g}"
        if history.config.get("optimizer", "SGD") != "SGD" or history.config.get("momentum"):
            advice += (", and with a new optimizer, as this one still remembers the numbers that "
                       "grew too large")
        super().__init__(
            f"the training loss became {value} at step {step}{since}. Training has stopped, and "
            f"the weights are lost: start again from fresh ones with {advice}. (With --checkpoint "
            f"a run from the shell keeps the last whole epoch.) If that does not help, look for "
            f"inputs that are not finite (torch.isfinite(X).all()), or logits that went through "
            f"softmax or log before the loss.")


def is_full(error):
    """Does an error say that there was no memory? On a CPU a RuntimeError has one of the words."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if not isinstance(error, RuntimeError):
        return False
    words = "not enough memory", "can't allocate memory", "out of memory", "ALLOC_FAILED"
    # the last is oneDNN's, whole, where there is no room for the code that it writes for a layer
    return any(word in str(error) for word in words) or str(error) == "could not create a primitive"


# --- what is wrong with a batch ---

def unpack(batch):
    """X and y of a batch.

    Raises:
        UnsuitableBatchError: it is no pair of tensors; X may also be a list of them.
    """
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        X, y = batch
        inputs = X if isinstance(X, (list, tuple)) else [X]
        if torch.is_tensor(y) and all(map(torch.is_tensor, inputs)):
            return X, y
        kind = f"({type(X).__name__}, {type(y).__name__})"
    else:
        size = f" of {len(batch)}" if hasattr(batch, "__len__") else ""
        kind = type(batch).__name__ + size
    raise UnsuitableBatchError(
        f"a batch must be a pair (X, y) of tensors, images and their classes; the data gave a "
        f"{kind}. DataLoader makes such pairs of a data set whose items are (tensor, number)")


def expect_usual_images(X, net):
    """Look at the first images: they must have the net's type, which autocast would not ask for.

    Warn if their values are far from those around 0 to 1 that nets are made for.

    Raises:
        UnsuitableBatchError: they are floats of another type. Whole numbers may be what a net
            converts itself.
    """
    if not torch.is_tensor(X) or X.dim() != 4 or not X.numel() or not X.is_floating_point():
        return
    if reason := _wrong_type(X, next(net.parameters(), X)):
        raise UnsuitableBatchError(reason)
    low, high = torch.aminmax(X)
    if high > LARGE or low < -LARGE:
        warnings.warn(
            f"the images have values from {low:g} to {high:g}; nets learn from values around 0 to "
            f"1, and hardly from these: divide images of 8 bits by 255", stacklevel=4)


def expect_labels(labels, y_hat, ignored=None):
    """Raise `UnsuitableBatchError` unless these are classes for such logits.

    Args:
        labels: tensor of the batch, or of all the data.
        y_hat: what the net gave for the batch.
        ignored: a number beside the classes that the loss allows.
    """
    if not torch.is_tensor(y_hat) or y_hat.dim() != 2:
        got = (f"a tensor {tuple(y_hat.shape)}" if torch.is_tensor(y_hat)
               else f"a {type(y_hat).__name__}")
        raise UnsuitableBatchError(f"the net must give logits of shape (images, classes), and "
                                   f"gave {got}")
    num_classes = y_hat.shape[1]
    if labels.dim() != 1:
        is_one_hot = labels.shape[1:] == (num_classes,)
        advice = ": y.argmax(dim=1) turns one-hot rows into them" if is_one_hot else ""
        raise UnsuitableBatchError(f"labels must be class numbers of shape (images,), these are "
                                   f"{tuple(labels.shape)}{advice}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UnsuitableBatchError(f"labels must be whole numbers, these are {labels.dtype}: "
                                   f"y.long() makes them so")
    wrong = (labels < 0) | (labels >= num_classes)
    if ignored is not None:
        wrong &= labels != ignored
    if wrong.any():
        number = int(wrong.nonzero()[0])
        raise UnsuitableBatchError(
            f"label {int(labels[number])} (number {number}) is invalid: the net gives "
            f"{num_classes} logits for an image, so that labels go from 0 to {num_classes - 1}. "
            f"Mend the labels, or give the net's last layer as many outputs as there are classes")


@contextlib.contextmanager
def explained(X, y):
    """Turn an error that a batch brings about in a net, or its loss, into words.

    Raises:
        UnsuitableBatchError: the layer that failed was made for other inputs.
        MemoryFullError: there was not enough memory.
    """
    try:
        yield
    except PlainError:
        raise
    except Exception as error:
        if is_full(error):
            traceback.clear_frames(error.__traceback__)  # they still hold what filled it
            raise MemoryFullError(X) from None
        reason = _batch_problem(error, X, y)
        if reason is None:
            raise
        raise UnsuitableBatchError(reason) from error


def _batch_problem(error, X, y):
    """What about a batch did not suit the layer that failed, or the loss; None if nothing."""
    if not torch.is_tensor(X) or not isinstance(error, (RuntimeError, ValueError)):
        return None
    layer, input = failing_layer(error)
    if layer is None or isinstance(layer, nn.modules.loss._Loss):
        return _label_problem(X, y)
    if input.dtype == X.dtype and (reason := _wrong_type(X, getattr(layer, "weight", X))):
        return reason
    shape, size = tuple(X.shape), tuple(input.shape)
    is_norm = isinstance(layer, nn.modules.batchnorm._BatchNorm)
    if is_norm and input.numel() == size[1] and len(X) == 1:
        return ("a batch of one image cannot be used for training: batch norm needs more than "
                    "one value in each channel. Take another batch size, which does not leave one "
                    "image over at the end, or a DataLoader with drop_last=True")
    elif isinstance(layer, nn.Conv2d) and len(size) == 3 and X.dim() == 3:
        return (f"images must have the shape (images, channels, height, width), these are "
                f"{shape}: try X.unsqueeze(1)")
    elif isinstance(layer, nn.Conv2d) and len(size) == 4 and size[1] != layer.in_channels:
        if size != shape:
            return None  # within the net: its own fault
        channels = f"{layer.in_channels} channel{'s' * (layer.in_channels > 1)}"
        return (f"the net's first convolution takes images with {channels}, these have {size[1]} "
                f"(shape {shape}). Convert the images, or make the net with in_channels={size[1]}")
    return (f"the net cannot take images of shape {shape}: a {type(layer).__name__} gets an input "
            f"of shape {size}, and fails ({str(error).splitlines()[0]}). If the net was made for "
            f"another size, resize them, as load_data_fashion_mnist(batch_size, resize=...) does; "
            f"if not, mend the layer")


def _label_problem(X, y):
    if torch.is_tensor(y) and y.dim() == 1 and len(X) != len(y):
        return (f"a batch has {len(X)} images but {len(y)} labels; there must be one label for "
                f"each image")
    return None


def failing_layer(error):
    """The layer of PyTorch's in which an error arose, and its input; (None, None) if none."""
    found = None, None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        layer, input = frame.f_locals.get("self"), frame.f_locals.get("input")
        is_torchs = type(layer).__module__.startswith("torch.nn.modules")
        if is_torchs and torch.is_tensor(input) and not list(layer.children()):
            found = layer, input
    return found


def _wrong_type(X, weight):
    if X.dtype == weight.dtype:
        return None
    advice = "X.float() / 255" if X.dtype == torch.uint8 else f"X.to({weight.dtype})"
    return (f"the images are {X.dtype}, but the net computes in {weight.dtype}: {advice} makes "
            f"them fit (torchvision's ToTensor does it too)")


# --- before the first step ---

MOST_KEPT = 5000  # at most: bytes kept for the backward pass, for each byte of the images
PEAK = 2.0  # at most: bytes of a step at its peak, for each byte that is kept


def look_ahead(net, X, arithmetic, memory=None, leaves_one=False):
    """Tell before the first step what would go wrong in it, or at the end of the epoch.

    Args:
        X: the images of the first batch.
        arithmetic: an `Arithmetic`, with the context in which the net will compute.
        memory: bytes that there are; None if that is not known, or nobody has to look.
        leaves_one: whether the last batch of an epoch has one image.

    Raises:
        UnsuitableBatchError: images of another type, or a net that cannot take that last batch.
        MemoryFullError: the step would surely need more memory than there is.
    """
    expect_usual_images(X, net)
    if memory is not None and torch.is_tensor(X):
        _expect_memory(net, X, arithmetic, memory)
    if leaves_one:
        with in_mode(net, training=True), torch.random.fork_rng(devices=[]), torch.no_grad():
            with explained(X[:1], None):
                net(X[:1])


def _expect_memory(net, X, arithmetic, memory):
    """Raise `MemoryFullError` if a step would surely need more than there is.

    Linux promises memory that it does not have, and kills the process that comes to use it, with
    all it has learnt. What a small part of the batch keeps for the backward pass tells in time.
    """
    if len(X) <= 4 or 4 * X.numel() * MOST_KEPT < memory:
        return
    try:
        of_two, of_four = (kept_bytes(net, X[:n], arithmetic) for n in (2, 4))
    except Exception:
        return  # of the net, which the step itself will raise again
    bytes_each = (of_four - of_two) / 2  # without what does not grow, such as weights in bfloat16
    if len(X) * bytes_each > memory:
        raise MemoryFullError(X, 2 ** max(0, int(math.log2(memory / (PEAK * bytes_each)))))


def kept_bytes(net, X, arithmetic):
    """Bytes that a step on X keeps for its backward pass: what autograd saves, without weights."""
    known = {t.untyped_storage().data_ptr() for t in (*net.parameters(), *net.buffers())}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with in_mode(net, training=True), torch.random.fork_rng(devices=[]), arithmetic.autocast(), \
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = net(X)  # a name, so that what autograd saved stays until it is counted
    del logits
    return sum(kept.values())
