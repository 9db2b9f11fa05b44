"""The web site: formulas without a library, explorers as in JupyterLab, folded answers."""

import functools
import re
from pathlib import Path

import nbformat
import pytest

import resnet_helpers as d2l
from resnet_helpers import live, pages, publish
from resnet_helpers.experiments import train_small_net
from resnet_helpers.predictions import predict
from resnet_helpers.widgets import (
    BlockExplorer,
    FunctionClassExplorer,
    ModelExplorer,
    PredictionBrowser,
)

WIDGETS = {"block": BlockExplorer, "classes": FunctionClassExplorer, "model": ModelExplorer}
drawn = functools.cache(live.Drawn)


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDGETS)
def test_every_state_is_what_jupyterlab_shows(name):
    explorer = WIDGETS[name]()
    for numbers, traits in live.states(name):
        with explorer.hold_trait_notifications():
            for trait, value in traits.items():
                setattr(explorer, trait, value)
        _, _, text, changes = drawn(name).states[numbers]
        assert drawn(name).picture(numbers) == explorer._drawing.value
        assert text == explorer.text
        assert drawn(name).table(numbers) == "".join(part.value for part in explorer.below)
        assert list(changes) == [button.description for box in explorer.above
                                 for button in box.children
                                 if button.layout.display != "none"]
    explorer.close()


@pytest.mark.slow
def test_every_page_of_the_prediction_browser_is_what_jupyterlab_shows():
    net = train_small_net(20, num_epochs=1)[0]
    predictions = predict(net, d2l.load_data_fashion_mnist(250, subset=True)[1])
    show = live.by_browser(PredictionBrowser(predictions=predictions))
    browser = PredictionBrowser(predictions=predictions)
    for _, traits in live.states("predictions"):
        browser.true, browser.predicted = traits["true"], traits["predicted"]
        browser.image = max(1, min(traits["image"], len(browser.indices)))
        sketch, alt = browser._still()
        shown = show(**traits)
        assert shown.picture == sketch.svg(alt) and shown.text == browser.text
    browser.close()


@pytest.mark.parametrize("name", WIDGETS)
def test_controls_have_the_labels_of_jupyterlab(name):
    explorer, there = WIDGETS[name](), set()
    for control in explorer._controls.values():
        there |= {control.input.description, *getattr(control.input, "_options_labels", ())}
    for axis in live.EXPLORERS[name][1]:
        shown = (axis.label or axis.name).split(" → ")
        if axis.name != "data":  # points and noise at once
            assert there >= {*shown} or there >= {*axis.options}, axis.name
    explorer.close()


@pytest.mark.slow
def test_buttons_that_mend_a_block_lead_to_one_that_works():
    block, number = drawn("block"), 0
    for numbers in block.states:
        _, _, text, changes = block.states[numbers]
        assert bool(changes) == ("output shape" not in text)
        for to in changes.values():
            number += 1
            assert "output shape" in block.states[to][2]
    assert number > 10


@pytest.mark.slow
def test_pieces_are_stored_once_and_the_data_is_small():
    for name in WIDGETS:
        assert len(set(drawn(name).parts)) == len(drawn(name).parts)
        assert len(drawn(name).script().encode()) < 1.5e6


def test_the_nearest_state_agrees_with_what_is_asked_for():
    numbers = live.nearest("block", use_1x1conv=True, strides=2, input_channels=3, num_channels=6)
    traits = dict(live.states("block"))[numbers]
    assert (traits["use_1x1conv"], traits["strides"]) == (True, 2)
    assert (traits["input_channels"], traits["num_channels"]) == (3, 6)


def test_addresses_name_each_option():
    for name, (_, axes, _) in live.EXPLORERS.items():
        for axis in axes:
            assert len(set(axis.values)) == len(axis.options) > 1, (name, axis.name)
    assert live.BLOCK[0].values == ["0", "1"] and live.BLOCK[3].values[1] == "3-6"


def test_formulas_become_mathml_and_code_stays():
    text = pages.with_mathml("Let $f^*$ be $$x + g(x)$$ as in `$HOME` and\n```\n$a$\n```")
    assert text.count("<math") == 2 and 'display="block"' in text
    assert "`$HOME`" in text and "$a$" in text


@pytest.mark.parametrize("path", publish.course_notebooks(publish.NOTEBOOKS),
                         ids=lambda path: path.stem)
def test_all_formulas_of_the_notebooks_are_understood(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            text = pages.with_mathml(cell.source)
            formulas = re.findall(r"<math.*?</math>", text, re.DOTALL)
            assert "\\" not in "".join(formulas)
            assert "$" not in re.sub(r"`[^`]*`", "", text)


def page_of_block(address=None):
    place = Path("02_residual_block.html")
    return pages.notebook_page(publish.NOTEBOOKS / "02_residual_block.ipynb", place,
                               pages.Course({place: "The residual block"}, address), {})


def test_a_page_says_how_to_run_it():
    page = page_of_block("https://github.com/some/course")
    notebook = "notebooks/02_residual_block.ipynb"
    assert "<summary>Run this yourself</summary>" in page
    assert f'"https://mybinder.org/v2/gh/some/course/main?urlpath=lab/tree/{notebook}"' in page
    assert f'"https://colab.research.google.com/github/some/course/blob/main/{notebook}"' in page
    assert 'href="https://github.com/some/course#start"' in page


@pytest.mark.parametrize("address", [None, "https://example.org/some/course"])
def test_a_page_links_to_colab_only_where_it_can_open_the_notebook(address):
    page = page_of_block(address)
    assert "There open <code>02_residual_block.ipynb</code>" in page
    assert "colab" not in page and "binder" not in page
    assert (f'href="{address}#start"' in page) == bool(address)


def test_a_page_folds_answers_and_solutions_and_asks_no_other_host():
    path = publish.NOTEBOOKS / "02_residual_block.ipynb"
    page = page_of_block()
    asked = path.read_text(encoding="utf-8").count('"outputs_hidden": true')
    assert page.count("<summary>Show the answer</summary>") == asked > 5
    assert page.count("<summary>Show a solution</summary>") == 8
    assert "<title>The residual block</title>" in page and "<math" in page
    assert "assert" not in page  # what holds the text to its numbers is for those who run it
    assert not re.search(r'(src|<link[^>]*href)="(https?:)?//', page)
    assert not re.search(r"@import|url\(['\"]?https?:", page)
    assert "No description" not in page and 'alt=""' not in page
