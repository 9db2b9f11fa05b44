"""Explorers for pages without a kernel: every sensible state, drawn beforehand by the explorers.

What a page shows is what JupyterLab shows: pictures, sentences and tables are those of the widgets.
"""

import functools
import html
import itertools
import json
import re
from dataclasses import dataclass, field, replace

from resnet_helpers.data import FASHION_MNIST_CLASSES, load_data_fashion_mnist
from resnet_helpers.diagrams import draw_runs
from resnet_helpers.experiments import train_small_net
from resnet_helpers.runs.recordings import load_recording
from resnet_helpers.widgets import (
    BlockExplorer,
    FunctionClassExplorer,
    ModelExplorer,
    PredictionBrowser,
)

PIECE = re.compile(r"<[^>]+>[^<]*|[^<]+")  # a tag and the text behind it


@dataclass(frozen=True)
class Axis:
    """One control of a live explorer.

    Attributes:
        name: what the address calls it.
        options: {label: {trait: value}}, in the order on the page; a switch has two of them, the
            first one off.
        kind: "switch", "choice", "list" or "range", whose labels are whole numbers in a row.
        label: what the page calls it, as JupyterLab does. Without one it is the name, which a
            choice does not show, as its options say it.
    """

    name: str
    options: dict
    kind: str = "choice"
    label: str = ""

    @property
    def values(self):
        """What the address says for each option, such as "1", "224" or "3-6"."""
        return ["-".join(str(int(value) if isinstance(value, bool) else value)
                         for value in traits.values()) for traits in self.options.values()]


def _axis(trait, values, kind="choice", option="{trait} = {value}", name=None, label=""):
    options = {option.format(trait=name or trait, value=value): {trait: value} for value in values}
    return Axis(name or trait, options, kind, label)


def _switch(trait, name=None):
    return _axis(trait, (False, True), "switch", name=name)


BLOCK = (
    _switch("use_1x1conv"),
    _axis("strides", (1, 2)),
    Axis("conv3", {"conv3: true 1×1": {"shortcut_kernel_size": 1},
                   "conv3: article's 3×3": {"shortcut_kernel_size": 3}}),
    Axis("channels", {f"{a} → {b}": {"input_channels": a, "num_channels": b}
                      for a, b in ((3, 3), (3, 6), (1, 6), (1, 1))},
         label="input_channels → num_channels"),
    _axis("image", ("ankle boot", "t-shirt", "bag"), "list", "{value}"),
)
CLASSES = (
    _switch("nested"),
    _axis("complexity", range(1, 7), option="{value}", name="k", label="complexity k"),
    _axis("target", ("jump", "ramp", "wave", "bump"), name="f*"),
    Axis("data", {f"{points} points, noise {noise}": {"num_points": points, "noise": noise}
                  for points, noise in ((40, 0.2), (5, 0.5), (200, 0.5))}, "list"),
)
MODEL = (
    _axis("depth", (18, 34, 50, 101, 152), option="ResNet-{value}"),
    _switch("shortcuts", "residual connections"),
    _axis("size", (32, 96, 128, 224, 256), "list", "{value}", label="image size"),
    _axis("batch_size", (64, 256), "list", "{value}", label="batch size"),
)
PREDICTIONS = (
    Axis("true", {name: {"true": i} for i, name in enumerate(FASHION_MNIST_CLASSES)}, "list",
         "true class"),
    Axis("answer", {name: {"predicted": i} for i, name in enumerate(FASHION_MNIST_CLASSES)},
         "list", "predicted class"),
    _axis("image", range(1, 9), "range", "{value}"),
)
RUNS = {"ResNet-18": "article-seed0", "ResNet-34": "depth-resnet-34",
        "plain, 18 layers": "depth-plain-18", "plain, 34 layers": "depth-plain-34",
        "ResNet-18, better recipe": "modern-seed0"}
PLAYER = (
    _axis("run", RUNS, "list", "{value}"),
    _axis("other", ("none", *RUNS), "list", "{value}", name="beside it"),
    _axis("epoch", range(1, 11), "range", "{value}"),
)


@dataclass(frozen=True)
class Shown:
    """What one state of an explorer shows, as HTML and words.

    Attributes:
        picture: an <svg>.
        text: a sentence.
        table: HTML below the picture.
        changes: {words on a button: {trait: value} that it sets}.
    """

    picture: str
    text: str
    table: str = ""
    changes: dict = field(default_factory=dict)


def by_widget(explorer_class):
    """A function of traits that shows what the explorer shows in JupyterLab."""
    explorer = explorer_class()

    def show(**traits):
        with explorer.hold_trait_notifications():
            for trait, value in traits.items():
                setattr(explorer, trait, value)
        remedies = getattr(explorer, "remedies", {})
        changes = {f"Set {words}": change for words, change in remedies.items()}
        table = "".join(widget.value for widget in explorer.below)
        return Shown(explorer._drawing.value, explorer.text, table, changes)

    return show


def by_predictions():
    """`by_browser` for a residual network of 20 layers and the test images of this package."""
    net, _ = train_small_net(20, num_epochs=4)
    browser = PredictionBrowser(net, load_data_fashion_mnist(250, subset=True)[1])
    return by_browser(browser, "<p>The network has 20 layers with shortcuts, and was trained on "
                               "6,000 images. A number of the matrix and an image can be "
                               "clicked.</p>")


def by_browser(browser, about=""):
    """A function of two classes and a number that shows the still picture of a `PredictionBrowser`.

    Past the last image the last one stays.

    Args:
        about: HTML below each picture.
    """
    @functools.cache
    def draw(true, predicted, image):
        browser.true, browser.predicted = true, predicted
        browser.image = image
        sketch, words = browser._still()
        return Shown(sketch.svg(words), browser.text, about)

    def show(true, predicted, image):
        count = len(browser.predictions.select(true, predicted))
        return draw(true, predicted, max(1, min(image, count)))

    return show


def by_recordings():
    """A function of one or two runs and an epoch that shows their curves so far."""
    recordings = {name: load_recording(recording) for name, recording in RUNS.items()}

    def show(run, other, epoch):
        whole = {name: recordings[name] for name in (run, other) if name in recordings}
        so_far = {name: replace(history, records=[record for record in history.records
                                                  if record.epoch <= epoch])
                  for name, history in whole.items()}
        epochs = f"{epoch} epoch{'s' * (epoch > 1)}"
        text = "; ".join(f"{name} after {epochs}: training loss {history.train_loss:.3f}, "
                         f"test accuracy {history.test_acc:.3f}"
                         for name, history in so_far.items()) + "."
        return Shown(draw_runs(whole, until=epoch).svg(text), text)

    return show


EXPLORERS = {  # name -> (heading, controls, what makes the function that shows a state)
    "block": ("A residual block", BLOCK, functools.partial(by_widget, BlockExplorer)),
    "classes": ("Classes of functions", CLASSES,
                functools.partial(by_widget, FunctionClassExplorer)),
    "model": ("ResNet-18 to ResNet-152", MODEL, functools.partial(by_widget, ModelExplorer)),
    "predictions": ("What a network gets wrong", PREDICTIONS, by_predictions),
    "runs": ("Recorded runs, epoch by epoch", PLAYER, by_recordings),
}


def states(name):
    """All states of an explorer, as (numbers of the options, {trait: value})."""
    axes = EXPLORERS[name][1]
    for numbers in itertools.product(*(range(len(axis.options)) for axis in axes)):
        chosen = [list(axis.options.values())[i] for axis, i in zip(axes, numbers, strict=True)]
        yield numbers, {trait: value for traits in chosen for trait, value in traits.items()}


def nearest(name, **traits):
    """Numbers of the options that agree with as many of these traits as possible."""
    def agreement(state):
        return sum(state[1].get(trait) == value for trait, value in traits.items())

    return max(states(name), key=agreement)[0]


class Drawn:
    """All states of one explorer, as data for a page: equal pieces of SVG are stored once."""

    def __init__(self, name):
        self.name, self.axes = name, EXPLORERS[name][1]
        self.parts, self.states = {}, {}
        show = EXPLORERS[name][2]()
        for numbers, traits in states(name):
            shown = show(**traits)
            changes = {words: nearest(name, **{**traits, **change})
                       for words, change in shown.changes.items()}
            self.states[numbers] = (self._pieces(shown.picture), self._pieces(shown.table),
                                    shown.text, changes)

    def _pieces(self, text):
        return [self.parts.setdefault(piece, len(self.parts)) for piece in PIECE.findall(text)]

    def picture(self, numbers):
        """The SVG of a state, put together again."""
        return self._joined(self.states[numbers][0])

    def table(self, numbers):
        """The HTML below the picture of a state."""
        return self._joined(self.states[numbers][1])

    def _joined(self, pieces):
        parts = list(self.parts)
        return "".join(parts[i] for i in pieces)

    def script(self):
        """A JavaScript file that hands the data to the page, from a file too."""
        def key(numbers):
            return ".".join(map(str, numbers))

        shown, kept = {}, {}
        for numbers, (picture, table, text, changes) in self.states.items():
            state = [picture, table, text, [[words, key(to)] for words, to in changes.items()]]
            kept[key(numbers)] = shown.setdefault(json.dumps(state), len(shown))
        data = {"parts": list(self.parts), "shown": list(map(json.loads, shown)), "states": kept}
        return (f"(window.LIVE ??= {{}})[{json.dumps(self.name)}] = "
                f"{json.dumps(data, ensure_ascii=False, separators=(',', ':'))};\n")

    def markup(self, numbers):
        """The explorer in a state, as HTML: native controls, picture, table and sentence."""
        form = "".join(_control(self.name, axis, i)
                       for axis, i in zip(self.axes, numbers, strict=True))
        table = self.table(numbers)
        scrolls = ' tabindex="0"' if "<table" in table else ""  # by keyboard, too
        return (f'<section class="live" data-live="{self.name}" aria-label="{self.name} explorer">'
                f'<form>{form}</form><p class="mend"></p><div class="picture" tabindex="0">'
                f'{self.picture(numbers)}</div><div class="table"{scrolls}>{table}</div>'
                f'<p role="status" aria-live="polite">{html.escape(self.states[numbers][2])}</p>'
                f"</section>")


def _control(explorer, axis, chosen):
    """A control as HTML; its values are the numbers of the options, its data what addresses say."""
    name, words = html.escape(axis.name), html.escape(json.dumps(axis.values), quote=True)
    label = html.escape(axis.label) or name
    data = f'data-axis="{name}" data-values="{words}"'
    if axis.kind == "switch":
        checked = " checked" if chosen else ""
        return f'<label {data}><input type="checkbox"{checked}> {label}</label>'
    if axis.kind == "range":
        numbers = list(map(int, axis.options))
        return (f'<label {data}>{label} <input type="range" min="{numbers[0]}" '
                f'max="{numbers[-1]}" value="{numbers[chosen]}"> '
                f"<output>{numbers[chosen]}</output></label>")
    labels = [html.escape(str(label)) for label in axis.options]
    if axis.kind == "list":
        options = "".join(f'<option value="{i}"{" selected" if i == chosen else ""}>{label}'
                          f"</option>" for i, label in enumerate(labels))
        return f"<label {data}>{label} <select>{options}</select></label>"
    buttons = "".join(
        f'<label><input type="radio" name="{explorer}-{name}" value="{i}"'
        f'{" checked" if i == chosen else ""}> {label}</label>' for i, label in enumerate(labels))
    shown = f'<span aria-hidden="true">{label}</span>' if axis.label else ""
    return f"<fieldset {data}><legend>{label}</legend>{shown}{buttons}</fieldset>"
