"""What a net makes of every image: its probabilities, the confusion matrix, and pictures and sentences about both."""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from resnet_helpers.errors import unpack
from resnet_helpers.plotting import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    TEXT_GREEN,
    TEXT_ORANGE,
    WHITE,
    drawing,
)
from resnet_helpers.training import expect_examples, in_mode, move_to

PAGE = 8  # images shown at once


@dataclass(frozen=True, eq=False)
class Predictions:
    """Images with their true classes and the probabilities that a net gave.

    Attributes:
        images: tensor (n, height, width), (n, 1, height, width) or (n, 3, height, width).
        labels: true classes, integer tensor (n,).
        probabilities: tensor (n, classes); each row adds up to 1.

    All three are kept on the CPU and without gradients.

    Raises:
        ValueError: no image, shapes that do not belong together, labels that are no class, or rows that are no
            probabilities.
    """

    images: torch.Tensor
    labels: torch.Tensor
    probabilities: torch.Tensor

    def __post_init__(self):
        for name in ("images", "labels", "probabilities"):
            object.__setattr__(self, name, getattr(self, name).detach().cpu())  # the class is frozen
        images, labels, probabilities = self.images, self.labels, self.probabilities
        expect_examples(len(labels))
        if images.dim() not in (3, 4) or images.dim() == 4 and images.shape[1] not in (1, 3):
            raise ValueError(f"images must be (n, height, width) or (n, 1 or 3, height, width), got "
                             f"{tuple(images.shape)}")
        if labels.dim() != 1 or probabilities.dim() != 2 or not len(images) == len(labels) == len(probabilities):
            raise ValueError(f"expected n images, labels (n,) and probabilities (n, classes), got "
                             f"{len(images)} images, {tuple(labels.shape)} and {tuple(probabilities.shape)}")
        if labels.is_floating_point() or labels.is_complex():
            raise ValueError(f"labels must be whole numbers, got {labels.dtype}")
        if (bad := ((labels < 0) | (labels >= self.num_classes)).nonzero()).numel():
            raise ValueError(f"label {labels[bad[0, 0]]} of image {bad[0, 0]} is no class: with {self.num_classes} "
                             f"probabilities for an image, labels go from 0 to {self.num_classes - 1}")
        if not (probabilities >= 0).all() or not ((probabilities.sum(dim=1) - 1).abs() < 1e-3).all():
            raise ValueError("probabilities must be at least 0 and add up to 1 for each image; for logits, call "
                             "softmax(dim=1) first")

    @property
    def num_classes(self):
        """How many classes the net knows."""
        return self.probabilities.shape[1]

    @functools.cached_property
    def predicted(self):
        """The most probable class of each image, int64 tensor (n,)."""
        return self.probabilities.argmax(dim=1)

    @functools.cached_property
    def confusion(self):
        """Number of images for each true class (row) and predicted class (column), int64 (classes, classes)."""
        cells = self.num_classes * self.labels.long() + self.predicted
        return cells.bincount(minlength=self.num_classes ** 2).view(self.num_classes, self.num_classes)

    def select(self, true=None, predicted=None, wrong_only=False):
        """Which images have this true and this predicted class, those first whose prediction is most certain.

        Args:
            true, predicted: a class; None means any.
            wrong_only: leave out the images whose predicted class is the true one.

        Returns:
            Indices, int64 tensor, empty if there is no such image. Equally certain ones are in the order of the data.

        Raises:
            ValueError: `true` or `predicted` is no class.
        """
        chosen = self.labels != self.predicted if wrong_only else torch.ones(len(self.labels), dtype=torch.bool)
        for name, label, labels in (("true", true, self.labels), ("predicted", predicted, self.predicted)):
            if label is not None:
                if not 0 <= label < self.num_classes:
                    raise ValueError(f"{name} must be a class from 0 to {self.num_classes - 1} or None, got {label}")
                chosen = chosen & (labels == label)
        indices = chosen.nonzero().flatten()
        confidence = self.probabilities[indices].amax(dim=1)
        return indices[confidence.argsort(descending=True, stable=True)]

    def most_frequent_mistake(self):
        """(true class, predicted class) of the mistake made most often; (None, None) if there was none."""
        mistakes = self.confusion - torch.diag(self.confusion.diag())
        return divmod(int(mistakes.argmax()), self.num_classes) if mistakes.any() else (None, None)


def predict(net, data_iter, device=None):
    """Send all batches of `data_iter` through `net` and keep images, labels and probabilities.

    A module is in eval mode meanwhile; afterwards each of its layers is in the mode it was in. No gradients are
    computed. All images stay in memory, in the size that `data_iter` gives them.

    Args:
        net: a module, or any function from X to logits (batch, classes).
        data_iter: iterable of (X, y): images (batch, height, width) or (batch, 1 or 3, height, width), and classes
            (batch,).
        device: where to compute; None means where the net's parameters are.

    Returns:
        Predictions, on the CPU.

    Raises:
        ValueError: `data_iter` gave no image, labels that are no class, or something that is no batch of images; or
            the net gave something else than one row of finite logits for each image.
    """
    if device is None and isinstance(net, nn.Module):
        device = next((p.device for p in net.parameters()), None)
    images, labels, logits = [], [], []
    with in_mode(net, training=False), torch.no_grad():
        for X, y in map(unpack, data_iter):
            if not isinstance(X, torch.Tensor):
                raise ValueError(f"each X must be one tensor of images, got a {type(X).__name__}")
            y_hat = net(move_to(X, device))
            if not torch.is_tensor(y_hat) or y_hat.dim() != 2 or len(y_hat) != len(y):
                got = tuple(y_hat.shape) if torch.is_tensor(y_hat) else f"a {type(y_hat).__name__}"
                raise ValueError(f"the net must give logits (n, classes) for n images, got {got} for {len(y)}")
            images.append(X.cpu())
            labels.append(y.cpu())
            logits.append(y_hat.float().cpu())
    expect_examples(sum(map(len, labels)))
    logits = torch.cat(logits)
    if (bad := (~logits.isfinite()).nonzero()).numel():
        i, j = bad[0].tolist()
        raise ValueError(f"the net's logit for class {j} of image {i} is {logits[i, j].item()}, and so there are no "
                         f"probabilities: training has probably diverged. Train new weights with a smaller learning "
                         f"rate, and look for images that are not finite")
    return Predictions(torch.cat(images), torch.cat(labels), logits.softmax(dim=1))


def expect_class_names(class_names, num_classes):
    """`class_names` as a tuple of strings.

    Raises:
        ValueError: there is not one name for each class.
    """
    names = tuple(" ".join(str(name).split()) for name in class_names)  # in one line each
    if len(names) != num_classes:
        raise ValueError(f"{len(names)} class names for {num_classes} classes: pass class_names=[...] with a name for "
                         f"each class")
    return names


def describe_selection(count, class_names, true=None, predicted=None, wrong_only=False):
    """How many images `Predictions.select` found, in a sentence.

    Args:
        count: their number.
        class_names: one per class.
        true, predicted, wrong_only: as for `Predictions.select`.
    """
    if wrong_only and true is not None and true == predicted:
        return f"No mistakes here: {_a(class_names[true])} taken for {_a(class_names[true])} is right."
    subject = f"{count:,} test images" if count > 1 else "1 test image" if count else "No test image"
    if true is not None:
        subject += f" of class {class_names[true]}"
    elif wrong_only and predicted is not None:
        subject += " of another class" if count < 2 else " of other classes"
    if predicted is None and not wrong_only:
        return f"{subject} in all." if count else f"{subject} at all."
    subject += " was" if count < 2 else " were"
    if true == predicted and not wrong_only:
        return f"{subject} recognised."
    return f"{subject} taken for {'something else' if predicted is None else _a(class_names[predicted])}."


def describe_image(predictions, class_names, index):
    """True class and probabilities of one image in words: `coat 0.83, true class shirt 0.12`."""
    label, guess, p = _answer(predictions, index)
    if label == guess:
        return f"{class_names[guess]} {p:.2f}, which is right"
    return (f"{class_names[guess]} {p:.2f}, true class {class_names[label]} "
            f"{predictions.probabilities[index, label]:.2f}")


def describe_probabilities(predictions, class_names, index):
    """All probabilities of one image in words, the largest first."""
    p, classes = predictions.probabilities[index].sort(descending=True)
    listed = ", ".join(f"{class_names[c]} {q:.2f}" for c, q in zip(classes.tolist(), p.tolist(), strict=True))
    return f"True class {class_names[int(predictions.labels[index])]}. Probabilities: {listed}."


def _a(name):
    return f"{'an' if name[:1].lower() in tuple('aeiou') else 'a'} {name}"


def _answer(predictions, index):
    """(true class, predicted class, its probability) of one image."""
    guess = int(predictions.predicted[index])
    return int(predictions.labels[index]), guess, float(predictions.probabilities[index, guess])


# How strong the blue behind a count is: nothing for none, and the more the closer it comes to the largest.
SHADES = (0, 0.08, 0.17, 0.28, 0.42, 0.58, 1)


def shade(count, largest):
    """Index into `SHADES` for a count; by its square root, so that single mistakes are seen beside many hits."""
    return 1 + min(int(6 * math.sqrt(count / largest)), 5) if count else 0


def draw_images(predictions, class_names, indices, chosen=None):
    """A row of at most `PAGE` images, below each its true class, its predicted class and the probability of that.

    Args:
        indices: of the images.
        chosen: the one to mark, counted from 0 within the row.

    Returns:
        Figure, 8.4 inches wide.
    """
    fig, ax = drawing(8.4, ROW_HEIGHT)
    _draw_images(ax, (0, 0), predictions, class_names, indices, chosen)
    return fig


def draw_probabilities(predictions, class_names, index=None):
    """One image, large, above a bar for each class as long as its probability; the true class is marked.

    Args:
        index: of the image; None draws a note that there is none.

    Returns:
        Figure, 3.2 inches wide.
    """
    fig, ax = drawing(BARS_WIDTH, _bars_height(predictions))
    _draw_probabilities(ax, (0, 0), predictions, class_names, index)
    return fig


def draw_overview(predictions, class_names, true, predicted, indices, chosen=None):
    """The confusion matrix with the chosen cell, the row of images and the probabilities of the chosen one.

    Args:
        true, predicted: class of the chosen row and column, None for all.
        indices, chosen: as for `draw_images`.

    Returns:
        Figure, at least 8.6 inches wide.
    """
    side = CELL * predictions.num_classes
    top = max(side + 1.15, _bars_height(predictions))
    note, width = 0.35, max(8.6, side + 1.3 + BARS_WIDTH)
    height = note + ROW_HEIGHT + 0.1 + top
    fig, ax = drawing(width, height)
    _draw_confusion(ax, (1.0, height - side - 1.1), predictions, class_names, true, predicted)
    corner = (side + 1.2, height - _bars_height(predictions))
    _draw_probabilities(ax, corner, predictions, class_names, None if chosen is None else indices[chosen])
    caption = "the surest first; below each image: true class, predicted class and its probability"
    _text(ax, width / 2, note / 2, caption, 11, color=GREY)
    _draw_images(ax, (0.1, note), predictions, class_names, indices, chosen)
    return fig


ROW_HEIGHT, PITCH, THUMBNAIL = 1.62, 1.05, 0.9  # of the row of images, in inches
CELL, BARS_WIDTH, BAR, BAR_LENGTH = 0.38, 3.2, 0.225, 1.2


def _bars_height(predictions):
    return 1.6 + BAR * predictions.num_classes


def _text(ax, x, y, text, size=9.5, **kwargs):
    """Text that is never taken for a formula: a class may be called `$`."""
    return ax.text(x, y, text, fontsize=size, parse_math=False, **{"ha": "center", "va": "center", **kwargs})


def _short(name, length=12):
    return name if len(name) <= length else f"{name[:length - 1]}…"


def _draw_images(ax, corner, predictions, class_names, indices, chosen):
    left, bottom = corner
    for i, index in enumerate(indices):
        x = left + (i + 0.5) * PITCH
        label, guess, p = _answer(predictions, index)
        _image(ax, predictions.images[index], x, bottom + ROW_HEIGHT - 0.5, THUMBNAIL)
        if i == chosen:
            _frame(ax, x - 0.485, bottom + ROW_HEIGHT - 0.985, 0.97, 0.97)
        sign, colour = ("✓", TEXT_GREEN) if label == guess else ("✗", TEXT_ORANGE)
        _text(ax, x, bottom + 0.52, _short(class_names[label], 11), 10.5)  # on narrow pages the row shrinks
        _text(ax, x, bottom + 0.32, f"{sign} {_short(class_names[guess], 10)}", 10.5, color=colour)
        _text(ax, x, bottom + 0.12, f"{p:.2f}", 10.5)
    if not len(indices):
        _text(ax, left + 4.2, bottom + ROW_HEIGHT / 2, "no image here", 12, color=GREY)


def _draw_probabilities(ax, corner, predictions, class_names, index):
    left, bottom = corner
    top = bottom + _bars_height(predictions)
    if index is None:
        _text(ax, left + BARS_WIDTH / 2, top - 1.2, "no image here", 12, color=GREY)
        return
    label, guess, p = _answer(predictions, index)
    _image(ax, predictions.images[index], left + 0.7, top - 0.7, 1.36)
    right = label == guess
    for y, heading, text, colour in ((0.2, "true class", _short(class_names[label], 14), BLACK),
                                     (0.8, "predicted", f"{'✓' if right else '✗'} {_short(class_names[guess])}",
                                      TEXT_GREEN if right else TEXT_ORANGE)):
        _text(ax, left + 1.55, top - y, heading, ha="left", color=GREY)
        _text(ax, left + 1.55, top - y - 0.22, text, 12, ha="left", weight="bold", color=colour)
    start, ys = left + 1.05, top - 1.6 - BAR * np.arange(predictions.num_classes) - 0.04
    lengths = predictions.probabilities[index].double().numpy()
    colours = [GREEN if c == label else ORANGE if c == guess else GREY for c in range(predictions.num_classes)]
    ax.hlines(ys, start, start + BAR_LENGTH * lengths, colors=colours, linewidth=9)
    ax.plot([start, start], [ys[0] + BAR / 2, ys[-1] - BAR / 2], color=BLACK, linewidth=1)
    for c, y in enumerate(ys):
        weight = "bold" if c in (label, guess) else "normal"
        _text(ax, start - 0.06, y, _short(class_names[c], 11), ha="right", weight=weight)
        _text(ax, start + BAR_LENGTH * lengths[c] + 0.05, y, f"{lengths[c]:.2f}", ha="left", weight=weight)
    _text(ax, start + BAR_LENGTH * lengths[label] + 0.42, ys[label], "◂ true", ha="left", weight="bold",
          color=TEXT_GREEN)


def _draw_confusion(ax, corner, predictions, class_names, true, predicted):
    """The counts on shades of blue; `corner` is the lower left one of the counts, the names are left and above."""
    from matplotlib.colors import to_rgb
    left, bottom = corner
    n, counts = predictions.num_classes, predictions.confusion.tolist()
    largest = max(map(max, counts))
    alpha = np.array([[SHADES[shade(count, largest)] for count in row] for row in counts])[..., None]
    ax.imshow(1 - alpha * (1 - np.array(to_rgb(BLUE))), extent=(left, left + n * CELL, bottom, bottom + n * CELL),
              interpolation="none", aspect="auto")
    for c, name in enumerate(class_names):
        y, x = bottom + (n - c - 0.5) * CELL, left + (c + 0.5) * CELL
        _text(ax, left - 0.06, y, _short(name), ha="right", weight="bold" if c == true else "normal")
        _text(ax, x, bottom + n * CELL + 0.06, _short(name), rotation=90, va="bottom",
              weight="bold" if c == predicted else "normal")
        for guess, count in enumerate(counts[c]):
            colour = WHITE if shade(count, largest) == len(SHADES) - 1 else BLACK
            _text(ax, left + (guess + 0.5) * CELL, y, str(count), color=colour)
    _text(ax, left + n * CELL / 2, bottom + n * CELL + 1.0, "predicted class", color=GREY)
    _text(ax, left - 0.06, bottom + n * CELL + 0.12, "true class", ha="right", color=GREY)
    if (true, predicted) != (None, None):
        row, rows = (0, n) if true is None else (n - 1 - true, 1)
        column, columns = (0, n) if predicted is None else (predicted, 1)
        _frame(ax, left + column * CELL, bottom + row * CELL, columns * CELL, rows * CELL)


def _frame(ax, left, bottom, width, height):
    right, top = left + width, bottom + height
    ax.plot([left, right, right, left, left], [bottom, bottom, top, top, bottom], color=BLACK, linewidth=2.5)


def _image(ax, image, x, y, side):
    """One image centred at (x, y) in a square of this side, from its darkest value to its brightest."""
    from resnet_helpers.pixels import Pixels
    Z = image.detach().float().nan_to_num()
    Z = Z.unsqueeze(0) if Z.dim() == 2 else Z
    Z = (Z - Z.min()) / (Z.max() - Z.min()).clamp(min=1e-12)
    rgb = (255 * Z).byte().expand(3, -1, -1).permute(1, 2, 0).numpy()  # bytes: matplotlib takes them as they are
    height, width = side * np.array(rgb.shape[:2]) / max(rgb.shape[:2]) / 2
    ax.add_artist(Pixels(rgb, (x - width, x + width, y - height, y + height)))
