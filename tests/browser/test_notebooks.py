"""The four notebooks, opened and run in JupyterLab: no error, and explorers that follow every
control.
"""

import json
import time
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest
from kernels import HURRY, NO_HURRY
from nbconvert import HTMLExporter

from resnet_helpers import widgets
from resnet_helpers.costs import block_costs, block_remedies, model_costs
from resnet_helpers.function_classes import fit_class
from resnet_helpers.widgets.block_explorer import describe_block
from resnet_helpers.widgets.function_class_explorer import describe_class_fit
from resnet_helpers.widgets.model_explorer import bytes_in_words, describe_model

from .explorers import Change, Explorer, picked, radio, slid, ticked, typed
from .lab import NOTEBOOKS, SLIDER


@dataclass(frozen=True)
class Tour:
    """A way through all controls of an explorer and back to where it began.

    Attributes:
        notebook, source: file name, and text in the cell that makes the explorer.
        start: {trait: value} of the state that the notebook shows.
        fields: {trait: label} of the number fields with a slider.
        changes: one after the other; the last leads back to the start.
        tab_stops: where the Tab key stops, in order.
        words: function of the state: the sentence below the picture, which describes the picture
            too.
        extra, shown: functions of the state and of `Explorer.seen()`: what only this explorer
            shows, and what the page shows of it.
    """

    notebook: str
    source: str
    start: dict
    fields: dict
    changes: tuple
    tab_stops: tuple
    words: object
    extra: object = lambda state: None
    shown: object = lambda seen: None

    @property
    def name(self):
        return self.source.rstrip("(")


# --- notebook 1 ---

FUNCTION_CLASSES = Tour(
    "01_function_classes.ipynb", "FunctionClassExplorer(",
    {"nested": False, "complexity": 3, "target": "jump", "noise": 0.2, "num_points": 40},
    {"complexity": "complexity k", "noise": "noise", "num_points": "points"},
    (ticked("nested", True, nested=...), typed("complexity k", 4, complexity=...),
     slid("complexity k", 5, complexity=...), radio("f* = ramp", target="ramp"),
     radio("f* = wave", target="wave"),
     radio("f* = bump", target="bump"), typed("noise", 0.25, noise=...),
     slid("noise", 0.3, noise=...),
     typed("points", 45, num_points=...), slid("points", 50, num_points=...),
     ticked("nested", False, nested=...),
     slid("complexity k", 4, complexity=...), typed("complexity k", 3, complexity=...),
     radio("f* = jump", target="jump"), typed("noise", 0.2, noise=...),
     typed("points", 40, num_points=...)),
    ("nested", "complexity k", "slider complexity k", "f* = jump", "f* = ramp", "f* = wave",
     "f* = bump", "noise", "slider noise", "points", "slider points"),
    lambda state: describe_class_fit(fit_class(**state)))


# --- notebook 2 ---

def block_words(state):
    arguments = {name: value for name, value in state.items() if name != "image"}
    return describe_block(block_costs(**arguments), state["use_1x1conv"], state["strides"])


def button_text(**change):
    return "Set " + ", ".join(f"{name}={value}" for name, value in change.items())


def mending_buttons(state):
    arguments = {name: value for name,
                 value in state.items() if name not in ("image", "shortcut_kernel_size")}
    return [button_text(**remedy) for remedy in block_remedies(**arguments)]


def mended(**state):
    """A click on a button that mends the block."""
    return Change(button_text(**state), True, "button", state)


BLOCK = Tour(
    "02_residual_block.ipynb", "BlockExplorer(",
    {"input_channels": 3, "num_channels": 6, "use_1x1conv": True, "strides": 2, "size": 28,
     "shortcut_kernel_size": 1, "image": "ankle boot"},
    {"input_channels": "input_channels", "num_channels": "num_channels", "size": "image size"},
    (ticked("use_1x1conv", False, use_1x1conv=...), mended(use_1x1conv=True),
     ticked("use_1x1conv", False, use_1x1conv=...), mended(strides=1, num_channels=3),
     radio("strides = 2", strides=2), mended(strides=1), typed("num_channels", 5, num_channels=...),
     mended(num_channels=3), ticked("use_1x1conv", True, use_1x1conv=...),
     radio("conv3: article's 3×3", shortcut_kernel_size=3),
     slid("input_channels", 4, input_channels=...),
     slid("num_channels", 7, num_channels=...), slid("image size", 30, size=...),
     picked("image", "bag", image="bag"), radio("conv3: true 1×1", shortcut_kernel_size=1),
     typed("image size", 28, size=...), typed("input_channels", 3, input_channels=...),
     typed("num_channels", 6, num_channels=...), picked("image", "ankle boot", image="ankle boot"),
     radio("strides = 2", strides=2)),
    ("use_1x1conv", "strides = 1", "strides = 2", "conv3: true 1×1", "conv3: article's 3×3",
     "input_channels", "slider input_channels", "num_channels", "slider num_channels",
     "image size", "slider image size", "image"),
    block_words, mending_buttons, lambda seen: seen["buttons"])


# --- notebook 3 ---

def stages_of(state):
    return model_costs(**{name: value for name, value in state.items() if name != "batch_size"})


def model_words(state):
    name = f"ResNet-{state['depth']}" if state["shortcuts"] else f"Plain net of {state['depth']} layers"
    return describe_model(name, stages_of(state), state["batch_size"])


def stage_table(state):
    """Name, output shape, parameters and activations of each stage and of all together, and the
    last title.
    """
    stages, batch = stages_of(state), state["batch_size"]
    parameters = [stage.parameters for stage in stages]
    activations = [stage.activation_bytes for stage in stages]
    columns = ([*(stage.name for stage in stages), "together"],
               [*("×".join(map(str, stage.shape)) for stage in stages), ""],
               [f"{n:,}" for n in (*parameters, sum(parameters))],
               [bytes_in_words(batch * n) for n in (*activations, sum(activations))])
    return [list(row) for row in zip(*columns, strict=True)], f"activations, batch of {batch}"


def shown_stages(seen):
    titles, *rows = seen["rows"]
    return [[row[i] for i in (0, 2, 3, 5)] for row in rows], titles[-1]


MODEL = Tour(
    "03_resnet_model.ipynb", "ModelExplorer(",
    {"depth": 50, "size": 224, "num_classes": 10, "in_channels": 1, "batch_size": 256,
     "shortcuts": True},
    {"size": "image size", "in_channels": "image channels", "num_classes": "classes",
     "batch_size": "batch size"},
    (radio("ResNet-18", depth=18), radio("ResNet-34", depth=34), radio("ResNet-101", depth=101),
     radio("ResNet-152", depth=152), ticked("residual connections", False, shortcuts=...),
     typed("image size", 223, size=...), slid("image size", 220, size=...),
     slid("image channels", 2, in_channels=...),
     typed("image channels", 3, in_channels=...), slid("classes", 20, num_classes=...),
     typed("classes", 1000, num_classes=...),
     slid("batch size", 252, is_drawn=False, batch_size=...),
     typed("batch size", 64, is_drawn=False, batch_size=...),
     ticked("residual connections", True, shortcuts=...),
     radio("ResNet-50", depth=50), typed("image size", 224, size=...),
     typed("image channels", 1, in_channels=...),
     typed("classes", 10, num_classes=...),
     typed("batch size", 256, is_drawn=False, batch_size=...)),
    ("ResNet-18", "ResNet-34", "ResNet-50", "ResNet-101", "ResNet-152", "residual connections",
     "image size", "slider image size", "image channels", "slider image channels",
     "classes", "slider classes", "batch size", "slider batch size"),
    model_words, stage_table, shown_stages)


@pytest.mark.parametrize("tour", [FUNCTION_CLASSES, BLOCK, MODEL], ids=lambda tour: tour.name)
def test_notebook_runs_and_its_explorer_follows_every_control(lab, measure, tour):
    notebook = lab.open(tour.notebook)
    check_saved_picture(notebook, tour.source)
    run_all(notebook)
    explorer = Explorer(notebook, tour.source)
    check(explorer, tour, tour.start)
    for by in ("mouse", "keyboard"):
        measure(f"{tour.name}, {by} to new picture", walk(explorer, tour, by))
    measure(f"{tour.name}, computed and drawn without a browser", draw(tour))
    assert tuple(notebook.tab_stops(explorer.output)) == tour.tab_stops
    assert notebook.errors() == [] and notebook.console_errors == []


def check_saved_picture(notebook, source):
    """Is the picture of the explorer to be seen, as saved, before anything runs?"""
    picture = notebook.cell_output(notebook.find_cell(source)).locator("img")
    picture.wait_for()
    assert picture.evaluate("async picture => { await picture.decode(); return "
                            "picture.naturalWidth }") >= 700
    assert not picture.evaluate("picture => picture.width > "
                                "picture.closest('.jp-OutputArea').clientWidth")


def run_all(notebook):
    notebook.execute(HURRY)
    notebook.run_all(timeout=600)
    notebook.execute(NO_HURRY)
    assert notebook.errors() == [] and notebook.console_errors == []


def check(explorer, tour, state):
    """Does the page show this state: in words, in the picture's description, in all numbers, and in
    what is extra?
    """
    def shown():
        seen = explorer.seen()
        return seen["words"], seen["descriptions"], seen["numbers"], tour.shown(seen)

    words = [tour.words(state)]
    numbers = {label: [state[trait]] * 2 for trait, label in tour.fields.items()}
    expected = words, words, numbers, tour.extra(state)
    assert explorer.notebook.eventually(shown, expected) == expected


def walk(explorer, tour, by):
    """Make all changes of a tour, check what the page shows after each, and return the milliseconds
    of each.
    """
    state, times, before = dict(tour.start), [], explorer.drawn()
    for change in tour.changes:
        times.append(explorer.time_choice(change.label, change.value, by, change.role))
        state |= change.state
        if change.role == "slider" and by == "mouse":
            state |= dict.fromkeys(change.state, where_it_was_dropped(explorer, change))
        check(explorer, tour, state)
        after = explorer.drawn()
        assert (after != before) == change.is_drawn, (change, by)
        before = after
    assert state == tour.start
    return times


def draw(tour):
    """Draw all states of a tour in this process; return the milliseconds of each."""
    explorer, times = getattr(widgets, tour.name)(**tour.start), []
    explorer.unobserve_all()
    for change in tour.changes:
        for trait, value in change.state.items():
            setattr(explorer, trait, value)
        start = time.perf_counter()
        picture, text = explorer._picture()
        picture.svg(text)
        times.append(1000 * (time.perf_counter() - start))
    explorer.close()
    return times


def where_it_was_dropped(explorer, change):
    """Where the mouse has left a slider: there are fewer pixels than numbers, but it must be near.
    """
    low, high, now = explorer.control(change.label, "slider").evaluate(SLIDER)
    assert abs(now - change.value) <= (high - low) / 50
    return explorer.seen()["numbers"][change.label][1]


# --- notebook 4 ---

def test_training_notebook_runs_and_its_explorers_work(lab, measure):
    notebook = lab.open("04_training.ipynb")
    check_saved_picture(notebook, "PredictionBrowser(")
    check_saved_picture(notebook, "TrainingPanel(")
    run_all(notebook)
    check_predictions(Explorer(notebook, "PredictionBrowser("))
    check_panel(Explorer(notebook, "TrainingPanel("), measure)
    assert notebook.errors() == [] and notebook.console_errors == []


def check_predictions(explorer):
    """Numbers and lists select images; `test_prediction_browser.py` has the details."""
    explorer.output.get_by_role("button", name="true sandal, predicted sandal").click()
    assert explorer.notebook.eventually(lambda: " of class sandal were recognised. Image 1 of " in explorer.words())
    explorer.choose("predicted class", "all", by="keyboard")
    assert explorer.notebook.eventually(lambda: "100 test images of class sandal in all. " in explorer.words())


def check_panel(explorer, measure):
    """A run starts, goes on, and can be stopped; `test_training_panel.py` has the details."""
    assert explorer.notebook.eventually(lambda: explorer.words().startswith("Ready."))
    sentence = explorer.output.locator(".widget-html").first
    explorer.choose("Train")
    assert explorer.notebook.eventually(lambda: "train acc" in explorer.words(), timeout=120)
    stop = explorer.notebook.time_change(lambda: explorer.choose("Stop"), sentence, "Stopped after")
    measure("panel of notebook 4, Stop to stopped", [stop])
    assert explorer.notebook.eventually(lambda: [row[:2] for row in explorer.seen()["rows"][1:]] ==
                                        [["run 1", "ResNet-18"]])


# --- pages without a kernel ---

class Images(HTMLParser):
    """Attributes of all images in a page."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.found.append(dict(attributes))


def saved_explorers(path):
    """(PNG, description) of each explorer that is saved in a notebook."""
    outputs = [output for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
               for output in cell.get("outputs", [])]
    return [(output["data"]["image/png"], output["metadata"]["image/png"]["alt"])
            for output in outputs
            if "application/vnd.jupyter.widget-view+json" in output.get("data", {})]


# nbconvert's usual template, "lab", leaves the descriptions of all pictures out.
@pytest.mark.parametrize("template", ["lab", "classic"])
@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_html_page_has_a_picture_of_every_explorer(path, template):
    page, _ = HTMLExporter(template_name=template).from_filename(path)
    images = {image["src"].partition("base64,")[2]: image for image in Images(page).found}
    explorers = saved_explorers(path)
    assert len(explorers) == (2 if path.stem.startswith("04") else 1)
    for png, description in explorers:
        assert "".join(png.split()) in {"".join(src.split()) for src in images}
        if template == "classic":
            assert images[png]["alt"] == description
