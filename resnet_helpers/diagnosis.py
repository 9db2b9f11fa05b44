"""What is wrong when a step cannot be done, in words: batches that do not suit the net, memory that is full.

`fit` and `predict` ask here. Errors of any other kind, such as those of a net that a reader is still writing, stay as
they are.
"""

import contextlib
import re
import traceback
import warnings

import torch
from torch import nn

from resnet_helpers.errors import MemoryFullError, UnsuitableBatchError

LARGE = 32.0  # images as numbers around 0 to 1, or standardised, have no pixel as large as that


# --- batches ---

def unpack(batch):
    """X and y of a batch."""
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        X, y = batch
        if torch.is_tensor(y) and all(map(torch.is_tensor, X if isinstance(X, (list, tuple)) else [X])):
            return X, y
        batch = f"({type(X).__name__}, {type(y).__name__})"
    else:
        batch = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
    raise UnsuitableBatchError(f"a batch must be a pair (X, y) of tensors, images and their classes; the data gave a "
                               f"{batch}. DataLoader makes such pairs of a data set whose items are (tensor, number)")


def check_images(X, net):
    """Raise `UnsuitableBatchError` if images are floats of a type that the net does not compute in: autocast hides it.

    Warn if they have pixels far from the numbers around 0 to 1 that nets are made for.
    """
    if not torch.is_tensor(X) or X.dim() != 4 or not X.numel() or not X.is_floating_point():
        return  # whole numbers autocast leaves alone, and a net may convert them itself
    if reason := _why_wrong_type(X, net):
        raise UnsuitableBatchError(reason)
    low, high = torch.aminmax(X)
    if high > LARGE or low < -LARGE:
        warnings.warn(f"the images have values from {low:g} to {high:g}; nets learn from values around 0 to 1, and "
                      f"hardly from these: divide images of 8 bits by 255", stacklevel=4)


def _why_wrong_type(X, net):
    dtype = next((p.dtype for p in net.parameters() if p.is_floating_point()), X.dtype)
    if X.dtype == dtype:
        return None
    advice = "X.float() / 255" if X.dtype == torch.uint8 else f"X.to({dtype})"
    return (f"the images are {X.dtype}, but the net computes in {dtype}: {advice} makes them fit (torchvision's "
            f"ToTensor does it too)")


def check_labels(labels, y_hat, ignored=None):
    """Raise `UnsuitableBatchError` unless these are classes for such logits.

    Args:
        labels: tensor of the batch, or of all the data.
        y_hat: what the net gave for the batch.
        ignored: a number beside the classes that the loss allows.
    """
    if not torch.is_tensor(y_hat) or y_hat.dim() != 2:
        got = f"a tensor {tuple(y_hat.shape)}" if torch.is_tensor(y_hat) else f"a {type(y_hat).__name__}"
        raise UnsuitableBatchError(f"the net must give logits of shape (images, classes), and gave {got}")
    num_classes = y_hat.shape[1]
    if labels.dim() != 1:
        one_hot = ": y.argmax(dim=1) turns one-hot rows into them" if labels.shape[1:] == (num_classes,) else ""
        raise UnsuitableBatchError(f"labels must be class numbers of shape (images,), these are "
                                   f"{tuple(labels.shape)}{one_hot}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UnsuitableBatchError(f"labels must be whole numbers, these are {labels.dtype}: y.long() makes them so")
    wrong = (labels < 0) | (labels >= num_classes)
    if ignored is not None:
        wrong &= labels != ignored
    if wrong.any():
        number = int(wrong.nonzero()[0])
        raise UnsuitableBatchError(
            f"label {int(labels[number])} (number {number}) is no class: the net gives {num_classes} logits for an "
            f"image, so that labels go from 0 to {num_classes - 1}. Mend the labels, or give the net's last layer as "
            f"many outputs as there are classes")


@contextlib.contextmanager
def explained(net, X, y):
    """Turn an error that `net` or its loss raises because of a batch into an `UnsuitableBatchError`."""
    try:
        yield
    except Exception as error:
        reason = why_unsuitable(error, net, X, y)
        if reason is None:
            raise
        raise UnsuitableBatchError(reason) from error


def why_unsuitable(error, net, X, y):
    """What about a batch made the net, or the loss, raise `error`; None if it was something else."""
    if not torch.is_tensor(X) or not isinstance(net, nn.Module):
        return None
    shape, text = tuple(X.shape), str(error)
    first = next((layer for layer in net.modules() if isinstance(layer, nn.Conv2d)), None)
    if isinstance(error, RuntimeError) and "type" in text and (reason := _why_wrong_type(X, net)):
        return reason
    if len(X) == 1 and "more than 1 value per channel" in text:
        return ("a batch of one image cannot be used for training: batch norm needs more than one value in each "
                "channel. Take another batch size, which does not leave one image over at the end, or a DataLoader "
                "with drop_last=True")
    if first is not None and X.dim() == 3:
        return f"images must have the shape (images, channels, height, width), these are {shape}: try X.unsqueeze(1)"
    if first is not None and X.dim() == 4 and "to have" in text and "channels" in text:
        return (f"the net's first convolution takes images with {first.in_channels} channel"
                f"{'s' * (first.in_channels > 1)}, these have {shape[1]} (shape {shape}). Convert the images, or make "
                f"the net with in_channels={shape[1]}")
    if torch.is_tensor(y) and y.dim() == 1 and len(X) != len(y):
        return f"a batch has {len(X)} images but {len(y)} labels; there must be one label for each image"
    if any(sign in text for sign in ("shapes cannot be multiplied", "greater than actual input size",
                                     "Output size is too small", "more than 1 value per channel")):
        return (f"the net cannot take images of shape {shape} ({text.splitlines()[0]}). If it was made for another "
                f"size, resize them, as load_data_fashion_mnist(batch_size, resize=...) does; if not, mend the layer")
    return None


# --- memory ---

# ALLOC_FAILED is what cuBLAS and cuDNN say. The last is what oneDNN, behind the convolutions on CPUs, calls it; with
# "descriptor" it has no way to compute this.
SIGNS_OF_FULL_MEMORY = re.compile("not enough memory|can't allocate memory|out of memory|STATUS_ALLOC_FAILED"
                                  "|could not create a primitive(?! descriptor)")


def is_full(error):
    """Does an error say that there was no memory?"""
    return (isinstance(error, (torch.OutOfMemoryError, MemoryError)) or isinstance(error, RuntimeError)
            and SIGNS_OF_FULL_MEMORY.search(str(error)) is not None)


def kept_bytes(step, net):
    """Bytes that a training step keeps for its backward pass: what autograd saves, without weights.

    Args:
        step: function that runs the forward pass.
        net: the module.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in (*net.parameters(), *net.buffers())}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = step()  # a name, so that what autograd saved stays until it is counted
    del logits
    return sum(kept.values())


def forget(error):
    """Free what the steps on the way to an error still hold, and a GPU's cache."""
    traceback.clear_frames(error.__traceback__)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def memory_full(X, fitting):
    """The error for a batch of images.

    Args:
        X: the images, or a list of tensors.
        fitting: a batch size that fits; 0 if none does, None if nobody knows.
    """
    images = f"{len(X)} images of {'x'.join(map(str, X.shape[1:]))}" if torch.is_tensor(X) else "a batch"
    if fitting:
        advice = f"Batches of {fitting} fit: take batch_size={fitting}"
    elif fitting is None:
        advice = "Take a smaller batch size"
    else:
        advice = "Not even two images fit: take smaller images or a smaller net, or close other programs and notebooks"
    return MemoryFullError(f"the memory is full: a training step on {images} does not fit. {advice}. The "
                           f"weights are those of the last whole step")
