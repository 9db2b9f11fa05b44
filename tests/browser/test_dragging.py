"""A slider dragged quickly across its whole range: pictures follow, the last one is right, and none
comes later. A click draws once, and every key does what it does in sliders.
"""

import time
from dataclasses import dataclass

import pytest

from resnet_helpers.costs import block_costs, model_costs
from resnet_helpers.function_classes import fit_class
from resnet_helpers.widgets.block_explorer import describe_block
from resnet_helpers.widgets.function_class_explorer import describe_class_fit
from resnet_helpers.widgets.model_explorer import describe_model

from .explorers import Explorer
from .lab import SLIDER, point_on

MOVES, SECONDS = 60, 1.0

# Notes [milliseconds, picture] for every picture, and when the mouse button was let go.
RECORD = """drawing => {
    window.recorded = {pictures: [], released: null};
    window.addEventListener('pointerup', event => { window.recorded.released = event.timeStamp }, {once: true,
                                                                                                   capture: true});
    new MutationObserver(() => window.recorded.pictures.push([performance.now(), drawing.innerHTML]))
        .observe(drawing, {childList: true, subtree: true});
}"""


@dataclass(frozen=True)
class Drag:
    """Code that makes an explorer, label of a slider that stands at its lowest value, and the words
    at its highest.
    """

    code: str
    label: str
    words: str


DRAGS = [
    Drag("FunctionClassExplorer(complexity=1)", "complexity k",
         describe_class_fit(fit_class(6, False, "jump", 0.1, 40))),
    Drag("FunctionClassExplorer(num_points=5)", "points",
         describe_class_fit(fit_class(3, False, "jump", 0.1, 200))),
    Drag("BlockExplorer(num_channels=1, use_1x1conv=True)", "num_channels",
         describe_block(block_costs(3, 64, True, 1, 28), True, 1)),
    Drag("ModelExplorer(size=32, depth=152)", "image size",
         describe_model("ResNet-152", model_costs(152, 256), 256))]


def drag_across(notebook, slider):
    """Move a slider from its lowest to its highest value in `MOVES` moves of the mouse within
    `SECONDS`.
    """
    slider.scroll_into_view_if_needed()
    low, high, _ = slider.evaluate(SLIDER)
    (x, y), (end, _) = point_on(slider, low), point_on(slider, high)
    mouse = notebook.page.mouse
    mouse.move(x, y)
    mouse.down()
    begin = time.perf_counter()
    for i in range(1, MOVES + 1):
        mouse.move(x + (end + 5 - x) * i / MOVES, y)
        notebook.page.wait_for_timeout(max(0,
                                           1000
                                           * (SECONDS * i / MOVES - (time.perf_counter() - begin))))
    mouse.up()


@pytest.fixture(scope="module")
def notebook(shared_lab):
    notebook = shared_lab.new(["from resnet_helpers.widgets import *", ""])
    notebook.run_cell(0)
    return notebook


def ask_for_explorer(notebook, code):
    """The explorer that this code makes in the last cell."""
    notebook.ask(code)
    explorer = Explorer(notebook, code)
    explorer.pictures.wait_for()
    return explorer


@pytest.mark.parametrize("drag", DRAGS,
                         ids=lambda drag: f"{drag.code.partition('(')[0]}-{drag.label}")
def test_pictures_follow_the_mouse_and_end_with_it(notebook, report, drag):
    explorer = ask_for_explorer(notebook, drag.code)
    explorer.drawings.first.evaluate(RECORD)
    drag_across(notebook, explorer.control(drag.label, "slider"))
    assert notebook.eventually(explorer.words, drag.words) == drag.words
    notebook.page.wait_for_timeout(1000)  # for pictures that should not come
    recorded = notebook.page.evaluate("() => window.recorded")
    pictures = [picture for _, picture in recorded["pictures"]]
    assert len(pictures) == len(set(pictures)), "a picture came twice"
    assert explorer.seen()["descriptions"] == [explorer.words()] == [drag.words]
    wait = recorded["pictures"][-1][0] - recorded["released"]
    report(f"{drag.code}, {drag.label} dragged across: {len(pictures)} pictures for {MOVES} moves, "
           f"the last {wait:.0f} ms after the mouse was let go")


def test_a_click_beside_the_handle_draws_once(notebook):
    explorer = ask_for_explorer(notebook, "FunctionClassExplorer(complexity=3, noise=0.2)")
    explorer.drawings.first.evaluate(RECORD)
    notebook.page.mouse.click(*point_on(explorer.control("complexity k", "slider"), 5))
    words = describe_class_fit(fit_class(5, False, "jump", 0.2, 40))
    assert notebook.eventually(explorer.words, words) == words
    notebook.page.wait_for_timeout(1000)  # for pictures that should not come
    assert len(notebook.page.evaluate("() => window.recorded.pictures")) == 1


# JupyterLab uses most of these keys itself, elsewhere in a notebook.
KEYS = {"ArrowRight": 0.25, "ArrowUp": 0.3, "ArrowLeft": 0.25, "ArrowDown": 0.2, "End": 0.5,
        "PageDown": 0.45, "PageUp": 0.5, "Home": 0.0}


def test_keys_move_a_slider(notebook):
    explorer = ask_for_explorer(notebook, "FunctionClassExplorer(complexity=3, noise=0.2)")
    slider = explorer.control("noise", "slider")
    for key, noise in KEYS.items():
        slider.press(key)
        words = describe_class_fit(fit_class(3, False, "jump", noise, 40))
        assert notebook.eventually(explorer.words, words) == words, key
        assert explorer.seen()["numbers"]["noise"] == [noise, noise]
