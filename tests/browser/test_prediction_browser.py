"""The prediction browser in JupyterLab: numbers of the confusion matrix, pages of images, and the
same by keyboard.
"""

import re

import pytest
import torch

from resnet_helpers.data import FASHION_MNIST_CLASSES, load_fashion_mnist_subset
from resnet_helpers.predictions import (
    PAGE,
    Predictions,
    describe_image,
    describe_probabilities,
    describe_selection,
)

from .explorers import Explorer

SETUP = """
import torch
from resnet_helpers.predictions import Predictions
from resnet_helpers.widgets import PredictionBrowser
predictions = Predictions(**torch.load({path!r}, weights_only=True))
"""
BROWSER = "PredictionBrowser(predictions=predictions, true=6, predicted=0)"
T_SHIRT, TROUSER, COAT, SHIRT, BAG, BOOT = (FASHION_MNIST_CLASSES.index(name) for name in (
    "t-shirt", "trouser", "coat", "shirt", "bag", "ankle boot"))


@pytest.fixture(scope="module")
def predictions():
    """Random ones: most are right, and there are mistakes of almost every kind, but no bag is taken
    for a boot.
    """
    data, generator = load_fashion_mnist_subset(), torch.Generator().manual_seed(0)
    labels = data.test_labels.long()
    logits = 2 * torch.randn(len(labels), 10, generator=generator)
    logits += 4 * torch.nn.functional.one_hot(labels, 10)
    logits[labels == BAG, BOOT] = -10
    return Predictions(data.test_images, labels, logits.softmax(dim=1))


@pytest.fixture(scope="module")
def notebook(shared_lab, predictions, tmp_path_factory):
    """A notebook for all tests here."""
    path = tmp_path_factory.mktemp("predictions") / "predictions.pt"
    torch.save({name: getattr(predictions, name) for name in ("images", "labels", "probabilities")},
               path)
    notebook = shared_lab.new([SETUP.format(path=str(path)), BROWSER])
    notebook.run_cell(0)
    return notebook


class Browser(Explorer):
    """The prediction browser in an open notebook, and what it should show."""

    def __init__(self, notebook, predictions):
        super().__init__(notebook, "PredictionBrowser(pred")
        self.predictions, self.names = predictions, FASHION_MNIST_CLASSES

    def count(self, true, predicted):
        """Locator of the button with the number of images of this true and predicted class."""
        says = f"true {self.names[true]}, predicted {self.names[predicted]}"
        return self.output.get_by_role("button", name=re.compile(rf"^✓?\d+\s+{says}(, chosen)?$"))

    def click(self, button):
        """Click a locator; return the milliseconds until the images have changed."""
        return self.notebook.time_change(button.click, self.drawings.last)

    def shown(self):
        """What is chosen, what the page says of the selection and of both pictures, and the numbers
        of the images.
        """
        seen = self.seen()
        chosen = [self.output.get_by_label(label,
                                           exact=True).evaluate("list => list.selectedIndex - 1")
                  for label in ("true class", "predicted class")]
        images = [text.split("\n")[0] for text in seen["buttons"] if "image:" in text]
        return chosen, seen["words"], seen["descriptions"], images

    def wait_for(self, true=None, predicted=None, image=1, wrong_only=False):
        """Wait until the page shows these images, and this of them."""
        chosen = [-1 if label is None else label for label in (true, predicted)]
        indices = self.predictions.select(true, predicted, wrong_only).tolist()
        words = describe_selection(len(indices), self.names, true, predicted, wrong_only)
        bars = "No image."
        if indices:
            about = describe_image(self.predictions, self.names, indices[image - 1])
            words += f" Image {image:,} of {len(indices):,}: {about}."
            bars = describe_probabilities(self.predictions, self.names, indices[image - 1])
        first = (image - 1) // PAGE * PAGE + 1
        images = [f"{'✓ ' if n == image else ''}{n:,}"
                  for n in range(first, min(first + PAGE, len(indices) + 1))]
        expected = chosen, [words], [bars, words], images
        assert self.notebook.eventually(self.shown, expected) == expected


@pytest.fixture
def page(notebook, predictions):
    """A new prediction browser, which shows the shirts that were taken for t-shirts."""
    notebook.console_errors.clear()
    notebook.run_cell(1)
    page = Browser(notebook, predictions)
    page.wait_for(SHIRT, T_SHIRT)
    return page


def assert_no_errors(page):
    assert page.notebook.errors() == [] and page.notebook.console_errors == []


def test_every_number_and_name_selects_its_images(page, predictions, measure):
    times = []
    for true, predicted in ((COAT, SHIRT), (TROUSER, TROUSER), (BAG, BOOT), (BOOT, BAG),
                            (T_SHIRT, SHIRT)):
        assert page.count(true,
                          predicted).inner_text().split()[0] == str(int(predictions.confusion[true,
                                                                                              predicted]))
        times.append(page.click(page.count(true, predicted)))
        page.wait_for(true, predicted)
        assert page.count(true, predicted).inner_text().startswith("✓")
        name = page.output.get_by_role("button",
                                       name=re.compile(rf"^{page.names[true]}\s+all of this true class"))
        times.append(page.click(name))
        page.wait_for(true, None)
        name = page.output.get_by_role("button",
                                       name=re.compile(rf"^{page.names[predicted]}\s+all predicted as this"))
        times.append(page.click(name))
        page.wait_for(None, predicted)
    times.append(page.click(page.output.get_by_role("button", name=re.compile(r"^all\s+classes"))))
    page.wait_for(None, None)
    measure("prediction browser, mouse on the matrix to new images", times)
    assert_no_errors(page)


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_lists_and_tick_select_images(page, by):
    page.choose("true class", "coat", by)
    page.wait_for(COAT, T_SHIRT)
    page.choose("predicted class", "coat", by)
    page.wait_for(COAT, COAT)
    page.choose("only mistakes", True, by)
    page.wait_for(COAT, COAT, wrong_only=True)  # none
    page.choose("predicted class", "all", by)
    page.wait_for(COAT, None, wrong_only=True)
    page.choose("true class", "all", by)
    page.wait_for(None, None, wrong_only=True)
    page.choose("only mistakes", False, by)
    page.wait_for(None, None)
    assert_no_errors(page)


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_images_are_chosen_and_pages_turned(page, predictions, by):
    page.choose("true class", "coat", by)
    page.choose("predicted class", "all", by)
    page.wait_for(COAT, None)
    page.notebook.press_or_click(page.output.get_by_role("button", name=re.compile(r"^3\s+image:")),
                                 by)
    page.wait_for(COAT, None, image=3)
    page.choose("image", 4, by, role="spinbutton")
    page.wait_for(COAT, None, image=4)
    page.choose("Next", by=by)
    page.wait_for(COAT, None, image=PAGE + 1)
    page.choose("Previous", by=by)
    page.wait_for(COAT, None, image=1)
    assert page.control("Previous").is_disabled()
    last = len(predictions.select(COAT))
    page.choose("image", last, by, role="spinbutton")
    page.wait_for(COAT, None, image=last)
    assert page.control("Next").is_disabled()
    assert_no_errors(page)


def test_tab_key_stops_at_the_controls_but_not_at_each_number(page):
    stops = page.notebook.tab_stops(page.output)
    assert stops[:4] == ["true class", "predicted class", "only mistakes", "image"]
    assert [stop.split("\n")[0] for stop in stops[4:]] == ["✓ 1",
                                                           *map(str, range(2, len(stops) - 3))]
