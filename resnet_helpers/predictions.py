"""What a net says to every image: probabilities, the confusion matrix, pictures and sentences.

For notebook 4 and the `PredictionBrowser`. Each `draw_...` returns a `Sketch`.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from resnet_helpers.errors import unpack
from resnet_helpers.models import in_mode
from resnet_helpers.plotting import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    TEXT_GREEN,
    TEXT_ORANGE,
    WHITE,
)
from resnet_helpers.sketch import CENTRED, Sketch
from resnet_helpers.training import expect_examples, move_to

PAGE = 8  # images shown at once


@dataclass(frozen=True, eq=False)
class Predictions:
    """Images with their true classes and the probabilities that a net gave.

    All three are kept on the CPU and without gradients.

    Attributes:
        images: tensor (n, height, width), (n, 1, height, width) or (n, 3, height, width).
        labels: true classes, integer tensor (n,).
        probabilities: tensor (n, classes); each row adds up to 1.

    Raises:
        ValueError: no image, shapes that do not belong together, invalid labels, or rows that are
            no probabilities.
    """

    images: torch.Tensor
    labels: torch.Tensor
    probabilities: torch.Tensor

    def __post_init__(self):
        for name in ("images", "labels", "probabilities"):  # by this way, as the class is frozen
            object.__setattr__(self, name, getattr(self, name).detach().cpu())
        images, labels, probabilities = self.images, self.labels, self.probabilities
        expect_examples(len(labels))
        if images.dim() not in (3, 4) or images.dim() == 4 and images.shape[1] not in (1, 3):
            raise ValueError(f"images must be (n, height, width) or (n, 1 or 3, height, width), "
                             f"got {tuple(images.shape)}")
        if (labels.dim() != 1 or probabilities.dim() != 2
                or not len(images) == len(labels) == len(probabilities)):
            raise ValueError(f"expected n images, labels (n,) and probabilities (n, classes), got "
                             f"{len(images)} images, {tuple(labels.shape)} and "
                             f"{tuple(probabilities.shape)}")
        if labels.is_floating_point() or labels.is_complex():
            raise ValueError(f"labels must be whole numbers, got {labels.dtype}")
        if (bad := ((labels < 0) | (labels >= self.num_classes)).nonzero()).numel():
            raise ValueError(f"label {labels[bad[0, 0]]} of image {bad[0, 0]} is invalid: with "
                             f"{self.num_classes} probabilities for an image, labels go from 0 to "
                             f"{self.num_classes - 1}")
        sums = probabilities.sum(dim=1)
        if not (probabilities >= 0).all() or not ((sums - 1).abs() < 1e-3).all():
            raise ValueError("probabilities must be at least 0 and add up to 1 for each image; "
                             "for logits, call softmax(dim=1) first")

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
        """Number of images per true class (row) and predicted class (column), an int64 tensor."""
        n = self.num_classes
        cells = n * self.labels.long() + self.predicted
        return cells.bincount(minlength=n ** 2).view(n, n)

    def select(self, true=None, predicted=None, wrong_only=False):
        """Which images have this true and this predicted class, the most certain ones first.

        Args:
            true, predicted: a class; None means any.
            wrong_only: leave out the images whose predicted class is the true one.

        Returns:
            Indices, int64 tensor, empty if there is no such image. Equally certain ones are in
            the order of the data.

        Raises:
            ValueError: `true` or `predicted` is not a class.
        """
        chosen = torch.ones(len(self.labels), dtype=torch.bool)
        if wrong_only:
            chosen = self.labels != self.predicted
        for name, label, labels in (("true", true, self.labels),
                                    ("predicted", predicted, self.predicted)):
            if label is None:
                continue
            if not 0 <= label < self.num_classes:
                raise ValueError(f"{name} must be a class from 0 to {self.num_classes - 1} or "
                                 f"None, got {label}")
            chosen = chosen & (labels == label)
        indices = chosen.nonzero().flatten()
        confidence = self.probabilities[indices].amax(dim=1)
        return indices[confidence.argsort(descending=True, stable=True)]

    def most_frequent_mistake(self):
        """(true class, predicted class) of the most frequent mistake; (None, None) without any."""
        mistakes = self.confusion - torch.diag(self.confusion.diag())
        return divmod(int(mistakes.argmax()), self.num_classes) if mistakes.any() else (None, None)

    def answer(self, index):
        """(true class, predicted class, its probability) of one image, as Python's numbers."""
        guess = int(self.predicted[index])
        return int(self.labels[index]), guess, float(self.probabilities[index, guess])


def predict(net, data_iter, device=None):
    """Send all batches of `data_iter` through `net` and keep images, labels and probabilities.

    A module is in eval mode meanwhile; afterwards each of its layers is in the mode it was in. No
    gradients are computed. All images stay in memory, in the size that `data_iter` gives them.

    Args:
        net: a module, or any function from X to logits (batch, classes).
        data_iter: iterable of (X, y): images (batch, height, width) or (batch, 1 or 3, height,
            width), and classes (batch,).
        device: where to compute; None means where the net's parameters are.

    Returns:
        Predictions, on the CPU.

    Raises:
        ValueError: `data_iter` gave no image, invalid labels, or something else than a batch of
            images; or the net gave something else than one row of finite logits for each image.
    """
    if device is None and isinstance(net, nn.Module):
        device = next((p.device for p in net.parameters()), None)
    images, labels, logits = [], [], []
    with in_mode(net, training=False), torch.no_grad():
        for X, y in map(unpack, data_iter):
            if not isinstance(X, torch.Tensor):
                raise ValueError(f"each X must be one tensor of images, got a {type(X).__name__}")
            y_hat = net(move_to(X, device))
            is_tensor = torch.is_tensor(y_hat)
            if not is_tensor or y_hat.dim() != 2 or len(y_hat) != len(y):
                got = tuple(y_hat.shape) if is_tensor else f"a {type(y_hat).__name__}"
                raise ValueError(f"the net must give logits (n, classes) for n images, got {got} "
                                 f"for {len(y)}")
            images.append(X.cpu())
            labels.append(y.cpu())
            logits.append(y_hat.float().cpu())
    expect_examples(sum(map(len, labels)))
    logits = torch.cat(logits)
    if (bad := (~logits.isfinite()).nonzero()).numel():
        i, j = bad[0].tolist()
        raise ValueError(f"the net's logit for class {j} of image {i} is {logits[i, j].item()}, "
                         f"and so there are no probabilities: training has probably diverged. "
                         f"Train new weights with a smaller learning rate, and look for images "
                         f"that are not finite")
    return Predictions(torch.cat(images), torch.cat(labels), logits.softmax(dim=1))


def expect_class_names(class_names, num_classes):
    """`class_names` as a tuple of strings.

    Raises:
        ValueError: there is not one name for each class.
    """
    names = tuple(" ".join(str(name).split()) for name in class_names)  # in one line each
    if len(names) != num_classes:
        raise ValueError(f"{len(names)} class names for {num_classes} classes: pass "
                         f"class_names=[...] with a name for each class")
    return names


# --- sentences ---

def describe_selection(count, class_names, true=None, predicted=None, wrong_only=False):
    """How many images `Predictions.select` found, in a sentence.

    Args:
        count: their number.
        class_names: one per class.
        true, predicted, wrong_only: as for `Predictions.select`.
    """
    is_right = true is not None and true == predicted
    if wrong_only and is_right:
        name = _with_article(class_names[true])
        return f"No mistakes here: {name} taken for {name} is right."
    is_plural = count > 1
    subject = f"{count:,} test image{'s' * is_plural}" if count else "No test image"
    if true is not None:
        subject += f" of class {class_names[true]}"
    elif wrong_only and predicted is not None:
        subject += " of other classes" if is_plural else " of another class"
    if predicted is None and not wrong_only:
        return f"{subject} in all." if count else f"{subject} at all."
    subject += " were" if is_plural else " was"
    if is_right:
        return f"{subject} recognised."
    guess = "something else" if predicted is None else _with_article(class_names[predicted])
    return f"{subject} taken for {guess}."


def describe_image(predictions, class_names, index):
    """True class and probabilities of one image in words: `coat 0.83, true class shirt 0.12`."""
    label, guess, p = predictions.answer(index)
    words = f"{class_names[guess]} {p:.2f}, "
    if label == guess:
        return f"{words}which is right"
    return f"{words}true class {class_names[label]} {predictions.probabilities[index, label]:.2f}"


def describe_probabilities(predictions, class_names, index):
    """All probabilities of one image in words, the largest first."""
    p, classes = predictions.probabilities[index].sort(descending=True)
    listed = ", ".join(f"{class_names[c]} {q:.2f}"
                       for c, q in zip(classes.tolist(), p.tolist(), strict=True))
    return f"True class {class_names[predictions.answer(index)[0]]}. Probabilities: {listed}."


def _with_article(name):
    return f"{'an' if name[:1].lower() in tuple('aeiou') else 'a'} {name}"


# --- pictures ---

# How strong the blue behind a count is: nothing for none, more the closer it is to the largest.
SHADES = (0, 0.08, 0.17, 0.28, 0.42, 0.58, 1)
ROW_HEIGHT, IMAGE_PITCH, THUMBNAIL = 1.62, 1.05, 0.9  # of the row of images, in inches
CELL, BARS_WIDTH, BAR, BAR_LENGTH = 0.38, 3.2, 0.225, 1.2


def shade_index(count, largest):
    """Index into `SHADES`, by a square root: single mistakes are to be seen beside many hits."""
    return 1 + min(int(6 * math.sqrt(count / largest)), 5) if count else 0


def draw_images(predictions, class_names, indices, chosen=None):
    """A row of at most `PAGE` images, each above its true and predicted class and probability.

    Args:
        indices: of the images.
        chosen: the one to mark, counted from 0 within the row.
    """
    sketch = Sketch(8.4, ROW_HEIGHT)
    _add_images(sketch, (0, 0), predictions, class_names, indices, chosen)
    return sketch


def draw_probabilities(predictions, class_names, index=None):
    """One image, large, above a bar for the probability of each class; the true one is marked.

    Args:
        index: of the image; None draws a note that there is none.
    """
    sketch = Sketch(BARS_WIDTH, _bars_height(predictions))
    _add_probabilities(sketch, (0, 0), predictions, class_names, index)
    return sketch


def draw_overview(predictions, class_names, true, predicted, indices, chosen=None):
    """The confusion matrix, the row of images and the probabilities of the chosen one.

    Args:
        true, predicted: class of the chosen row and column, None for all.
        indices, chosen: as for `draw_images`.
    """
    side = CELL * predictions.num_classes
    top = max(side + 1.15, _bars_height(predictions))
    note, width = 0.35, max(8.6, side + 1.3 + BARS_WIDTH)
    height = note + ROW_HEIGHT + 0.1 + top
    sketch = Sketch(width, height)
    corner = (1.0, height - side - 1.1)
    _add_confusion(sketch, corner, predictions, class_names, true, predicted)
    index = None if chosen is None else indices[chosen]
    corner = (side + 1.2, height - _bars_height(predictions))
    _add_probabilities(sketch, corner, predictions, class_names, index)
    sketch.text(width / 2, note / 2, "the surest first; below each image: true class, predicted "
                "class and its probability", 11, GREY, **CENTRED)
    _add_images(sketch, (0.1, note), predictions, class_names, indices, chosen, choices=True)
    return sketch


def _bars_height(predictions):
    return 1.6 + BAR * predictions.num_classes


def _short(name, length=12):
    return name if len(name) <= length else f"{name[:length - 1]}…"


def _sign(label, guess):
    """A mark and its colour: is the prediction right?"""
    return ("✓", TEXT_GREEN) if label == guess else ("✗", TEXT_ORANGE)


def _add_images(sketch, corner, predictions, class_names, indices, chosen, choices=False):
    left, bottom = corner
    for i, index in enumerate(indices):
        x, top = left + (i + 0.5) * IMAGE_PITCH, bottom + ROW_HEIGHT
        label, guess, p = predictions.answer(index)
        _add_image(sketch, predictions.images[index], x, top - 0.5, THUMBNAIL)
        if i == chosen:
            sketch.box(x, top - 0.5, 0.97, 0.97, line_width=2.5)
        if choices:
            sketch.choice(x, top - 0.5, 0.97, 0.97, f"image {i + 1}", image=i + 1)
        sign, color = _sign(label, guess)
        words = (_short(class_names[label], 11), f"{sign} {_short(class_names[guess], 10)}",
                 f"{p:.2f}")
        for line, y, ink in zip(words, (0.52, 0.32, 0.12), (BLACK, color, BLACK), strict=True):
            sketch.text(x, bottom + y, line, 10.5, ink, **CENTRED)
    if not len(indices):
        sketch.text(left + 4.2, bottom + ROW_HEIGHT / 2, "no image here", 12, GREY, **CENTRED)


def _add_probabilities(sketch, corner, predictions, class_names, index):
    left, bottom = corner
    top = bottom + _bars_height(predictions)
    if index is None:
        sketch.text(left + BARS_WIDTH / 2, top - 1.2, "no image here", 12, GREY, **CENTRED)
        return
    label, guess, _ = predictions.answer(index)
    _add_image(sketch, predictions.images[index], left + 0.7, top - 0.7, 1.36)
    sign, verdict = _sign(label, guess)
    for y, heading, words, color in (
            (top - 0.2, "true class", _short(class_names[label], 14), BLACK),
            (top - 0.8, "predicted", f"{sign} {_short(class_names[guess])}", verdict)):
        sketch.text(left + 1.55, y, heading, 9.5, GREY, va="center")
        sketch.text(left + 1.55, y - 0.22, words, 12, color, va="center", bold=True)
    _add_bars(sketch, left + 1.05, top - 1.64, predictions.probabilities[index].tolist(),
              class_names, label, guess)


def _add_bars(sketch, left, top, lengths, class_names, label, guess):
    """A bar for each class, from `left` to the right, its name before it and its number behind."""
    for c, length in enumerate(lengths):
        y, end, is_bold = top - BAR * c, left + BAR_LENGTH * length, c in (label, guess)
        color = GREEN if c == label else ORANGE if c == guess else GREY
        sketch.line([left, end], [y, y], color, 9)
        sketch.text(left - 0.06, y, _short(class_names[c], 11), 9.5, ha="right", va="center",
                    bold=is_bold)
        sketch.text(end + 0.05, y, f"{length:.2f}", 9.5, va="center", bold=is_bold)
        if c == label:
            sketch.text(end + 0.42, y, "◂ true", 9.5, TEXT_GREEN, va="center", bold=True)
    sketch.line([left, left], [top + BAR / 2, top - BAR * (len(lengths) - 0.5)], width=1)


def _add_confusion(sketch, corner, predictions, class_names, true, predicted):
    """The counts on shades of blue, with the names to the left and above.

    Args:
        corner: the lower left one of the counts.
        true, predicted: the chosen row and column, None for all.
    """
    left, bottom = corner
    n, counts = predictions.num_classes, predictions.confusion.tolist()
    right, top, largest = left + n * CELL, bottom + n * CELL, max(map(max, counts))
    for c, name in enumerate(class_names):
        y, x = top - (c + 0.5) * CELL, left + (c + 0.5) * CELL
        sketch.text(left - 0.06, y, _short(name), 9.5, ha="right", va="center", bold=c == true)
        sketch.text(x, top + 0.06, _short(name), 9.5, va="center", rotation=90,
                    bold=c == predicted)
        for guess, count in enumerate(counts[c]):
            x, shade = left + (guess + 0.5) * CELL, SHADES[shade_index(count, largest)]
            if shade:
                sketch.box(x, y, CELL, CELL, BLUE, edge=None, opacity=shade)
            sketch.text(x, y, count, 9.5, WHITE if shade == 1 else BLACK, **CENTRED)
            sketch.choice(x, y, CELL, CELL, f"true class {name}, answer {class_names[guess]}",
                          true=c, answer=guess, image=1)
    sketch.text((left + right) / 2, top + 1.0, "predicted class", 9.5, GREY, **CENTRED)
    sketch.text(left - 0.06, top + 0.12, "true class", 9.5, GREY, "right", "center")
    if (true, predicted) != (None, None):
        row, rows = (0, n) if true is None else (n - 1 - true, 1)
        column, columns = (0, n) if predicted is None else (predicted, 1)
        sketch.box(left + (column + columns / 2) * CELL, bottom + (row + rows / 2) * CELL,
                   columns * CELL, rows * CELL, line_width=2.5)


def _add_image(sketch, image, x, y, side):
    """One image centred in a square of this side, from its darkest value to its brightest."""
    Z = image.detach().float().nan_to_num()
    Z = Z.unsqueeze(0) if Z.dim() == 2 else Z
    Z = (Z - Z.min()) / (Z.max() - Z.min()).clamp(min=1e-12)
    pixels = (255 * Z).byte().expand(3, -1, -1).permute(1, 2, 0).numpy()
    height, width = side * np.array(pixels.shape[:2]) / max(pixels.shape[:2]) / 2
    sketch.pixels(pixels, x - width, x + width, y - height, y + height)
