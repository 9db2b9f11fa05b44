"""Training runs as curves: the loss on the left, the accuracies on the right."""

import math

from resnet_helpers.plotting import FORMATS, PALETTE, RUN_CURVES
from resnet_helpers.sketch import WIDTH, Panel, Sketch, ticks_between

LEFT, RIGHT, BOTTOM, PANEL_WIDTH, PANEL_HEIGHT = 0.6, 4.95, 0.6, 3.45, 2.1  # in inches
LEGEND_LINE, LONGEST_NAME = 0.26, 40  # inches, characters
MARKS = "osD^v"


def draw_runs(histories, until=math.inf):
    """Draw the training loss and the test (or held-out) accuracy of several runs.

    Args:
        histories: {name: `History`}. Runs differ in colour, line and mark.
        until: the last epoch to draw; the axes are those of the whole runs.
    """
    losses = [_points(history.records, "train_loss") for history in histories.values()]
    tested = [_points(history.records, "test_acc") for history in histories.values()]
    images = sorted({history.tested_on for history in histories.values()}, reverse=True) or ["test"]
    legend_height = LEGEND_LINE * -(-len(histories) // 2)
    sketch = Sketch(WIDTH, BOTTOM + PANEL_HEIGHT + 0.65 + legend_height)
    last = max((x for X, _ in losses for x in X), default=1)
    left, right = _panels(sketch, losses, tested, last, f"{' / '.join(images)} acc")
    legend = []
    for i, name in enumerate(histories):
        style = {"color": PALETTE[i % 6], "dash": FORMATS[i % 4], "mark": MARKS[i % 5], "size": 4}
        for panel, (X, Y) in ((left, losses[i]), (right, tested[i])):
            shown = sum(x <= until for x in X)
            panel.plot(X[:shown], Y[:shown], **style)
        short = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME - 1]}…"
        legend.append((short, style))
    top = BOTTOM + PANEL_HEIGHT + 0.6 + legend_height
    Panel(sketch, (0.3, 0, WIDTH, top)).legend(legend, columns=2, width=RIGHT - LEFT)
    return sketch


def draw_training(records, num_epochs):
    """Draw the curves of a run that may still be going on.

    Args:
        records: of the run so far, `Progress`es.
        num_epochs: how many it will have.
    """
    curves = [_points(records, what) for what in ("train_loss", "train_acc", "test_acc")]
    sketch = Sketch(WIDTH, BOTTOM + PANEL_HEIGHT + 0.65)
    left, right = _panels(sketch, curves[:1], curves[1:], num_epochs, "accuracy")
    legend = []
    for i, (name, (X, Y)) in enumerate(zip(RUN_CURVES, curves, strict=True)):
        is_short = len(X) <= 30
        style = {"color": PALETTE[i], "dash": FORMATS[i], "mark": "o" if is_short else "",
                 "size": 4}
        (right if i else left).plot(X, Y, **style)
        legend.append((name, style))
    right.legend(legend[1:], columns=2, width=1.5, above=True)
    return sketch


def _points(records, what):
    """(epochs, values) of the records that have a value."""
    records = [r for r in records if getattr(r, what) is not None]
    return [r.epoch for r in records], [getattr(r, what) for r in records]


def _panels(sketch, losses, accuracies, last_epoch, accuracy_name):
    """The two panels, with room for curves (X, Y) of losses and of accuracies."""
    losses = [y for _, Y in losses for y in Y if math.isfinite(y)]
    accuracies = [y for _, Y in accuracies for y in Y]
    epochs = {"xlabel": "epoch", "xlim": (0, 1.02 * last_epoch),
              "xticks": ticks_between(0, last_epoch, whole=True)}
    loss_ticks = ticks_between(0, max(losses, default=1))
    acc_ticks = ticks_between(min(accuracies, default=0), min(max(accuracies, default=1), 1))
    return [Panel(sketch, (x, BOTTOM, PANEL_WIDTH, PANEL_HEIGHT), title, yticks=ticks,
                  ylim=(ticks[0], ticks[-1]), **epochs)
            for x, title, ticks in ((LEFT, "train loss", loss_ticks),
                                    (RIGHT, accuracy_name, acc_ticks))]
