"""What a net answers to every image, pictures of it, and the clickable confusion matrix."""

import gc
import itertools
import weakref
import xml.etree.ElementTree as ElementTree
from contextlib import suppress

import ipywidgets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from traitlets import TraitError

from resnet_helpers import predictions as module
from resnet_helpers.data import FASHION_MNIST_CLASSES, ImageBatches
from resnet_helpers.predictions import (
    PAGE,
    Predictions,
    describe_selection,
    draw_images,
    draw_overview,
    draw_probabilities,
    predict,
)
from resnet_helpers.raster import rasterize
from resnet_helpers.widgets import prediction_browser as widget_module
from resnet_helpers.widgets.prediction_browser import PredictionBrowser

NAMES = ("cat", "owl", "dog")


def random_predictions(n=60, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Predictions(torch.rand(n, 1, 5, 4, generator=generator),
                       torch.randint(0, classes, (n,), generator=generator),
                       (3 * torch.randn(n, classes, generator=generator)).softmax(dim=1))


def three_classes(**kwargs):
    return PredictionBrowser(predictions=random_predictions(), class_names=NAMES, **kwargs)


def without_mistakes():
    return PredictionBrowser(predictions=Predictions(IMAGES, LABELS, torch.eye(3)),
                             class_names=NAMES)


def reference_confusion(predictions):
    """The counts, by a loop over the images in NumPy."""
    probabilities = predictions.probabilities.numpy()
    counts = np.zeros((probabilities.shape[1],) * 2, dtype=int)
    for label, row in zip(predictions.labels.numpy(), probabilities, strict=True):
        counts[label, np.argmax(row)] += 1
    return counts


def reference_selection(predictions, true, predicted, wrong_only):
    """The indices, by a loop over the images in NumPy and Python's own sort."""
    found = []
    rows = zip(predictions.labels.tolist(), predictions.probabilities.numpy(), strict=True)
    for i, (label, row) in enumerate(rows):
        guess = int(np.argmax(row))
        is_chosen = true in (None, label) and predicted in (None, guess)
        if is_chosen and not (wrong_only and guess == label):
            found.append((-float(row[guess]), i))
    return [i for _, i in sorted(found)]


# predict and Predictions


def batches(n=10, classes=4, size=6):
    generator = torch.Generator().manual_seed(1)
    return [(torch.rand(k, 1, size, size, generator=generator),
             torch.randint(0, classes, (k,), generator=generator))
            for k in (n // 2, n - n // 2)]


def test_predict_gives_softmax_of_the_logits_in_the_order_of_the_data():
    data, net = batches(), nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    predictions = predict(net, data)
    X, y = (np.concatenate([batch[i].numpy() for batch in data]) for i in (0, 1))
    weight, bias = (p.detach().double().numpy() for p in net[1].parameters())
    e = np.exp(X.reshape(10, 36) @ weight.T + bias)
    expected = e / e.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predictions.probabilities, expected, rtol=1e-5)
    np.testing.assert_array_equal(predictions.images, X)
    np.testing.assert_array_equal(predictions.labels, y)
    assert not predictions.probabilities.requires_grad


class Interrupted(nn.Module):
    def forward(self, X):
        raise KeyboardInterrupt


@pytest.mark.parametrize("end", [nn.Identity(), Interrupted()])
def test_predict_is_in_eval_mode_and_leaves_each_layer_in_its_own(end):
    seen = []
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Dropout(), nn.Linear(36, 4), end)
    net.train()
    net[1].eval()  # frozen, as for fine-tuning
    net[2].register_forward_hook(
        lambda layer, *_: seen.append((layer.training, torch.is_grad_enabled())))
    running_mean = net[1].running_mean.clone()
    with suppress(KeyboardInterrupt):
        predict(net, batches())
    assert set(seen) == {(False, False)}
    assert [layer.training for layer in net] == [True, False, True, True, True] and net.training
    assert torch.equal(net[1].running_mean, running_mean)


def test_predict_takes_any_function_and_what_the_data_loaders_give():
    images, labels = torch.zeros(5, 28, 28, dtype=torch.uint8), torch.arange(5)
    data = ImageBatches(images, labels, batch_size=2)
    predictions = predict(lambda X: torch.eye(10)[:len(X)], data)
    assert predictions.predicted.tolist() == [0, 1, 0, 1, 0]
    assert predictions.images.shape == (5, 1, 28, 28)


IMAGES, LABELS = torch.rand(3, 1, 4, 4), torch.tensor([0, 1, 2])


@pytest.mark.parametrize(("logits", "data", "message"), [
    (torch.zeros(3, 3), [], "no batch"),
    (torch.zeros(0, 3), [(IMAGES[:0], LABELS[:0])], "no batch"),
    (torch.zeros(3, 2), [(IMAGES, LABELS)], "label 2 of image 2 is invalid.*from 0 to 1"),
    (torch.zeros(3, 3), [(IMAGES, LABELS - 1)], "label -1 of image 0"),
    (torch.zeros(3, 3), [(IMAGES, LABELS.float())], "whole numbers"),
    (torch.tensor([[0, 0, 0], [0, 0, 0], [0, float("nan"), 0]]), [(IMAGES, LABELS)],
     "class 1 of image 2 is nan.*learning rate"),
    (torch.full((3, 3), float("inf")), [(IMAGES, LABELS)], "class 0 of image 0 is inf"),
    (torch.zeros(3, 3, 1), [(IMAGES, LABELS)], r"\(3, 3, 1\)"),
    (torch.zeros(2, 3), [(IMAGES, LABELS)], r"\(2, 3\) for 3"),
    (torch.zeros(3, 3), [([IMAGES, IMAGES], LABELS)], "got a list"),
    ((torch.zeros(3, 3),), [(IMAGES, LABELS)], "got a tuple for 3"),
    (torch.zeros(3, 3), [(IMAGES, [0, 1, 2])], "pair .* of tensors"),
    (torch.zeros(3, 3), [(IMAGES.flatten(1), LABELS)], r"got \(3, 16\)"),
])
def test_predict_says_what_is_wrong_with_data_or_logits(logits, data, message):
    with pytest.raises(ValueError, match=message):
        predict(lambda X: logits, data)


def test_predictions_refuse_logits_and_shapes_that_do_not_belong_together():
    with pytest.raises(ValueError, match="softmax"):
        Predictions(IMAGES, LABELS, torch.randn(3, 3))
    with pytest.raises(ValueError, match="2 images"):
        Predictions(IMAGES[:2], LABELS, torch.eye(3))


@settings(deadline=None)
@given(st.data(), st.integers(2, 5), st.integers(1, 30))
def test_confusion_and_selection_are_those_of_a_loop(data, classes, n):
    logits = data.draw(st.lists(st.lists(st.integers(-3, 3), min_size=classes, max_size=classes),
                                min_size=n, max_size=n))  # few values: many ties
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    predictions = Predictions(torch.zeros(n, 2, 2), torch.tensor(labels),
                              torch.tensor(logits).double().softmax(dim=1))
    np.testing.assert_array_equal(predictions.confusion, reference_confusion(predictions))
    for true in (None, *range(classes)):
        for predicted in (None, *range(classes)):
            for wrong_only in (False, True):
                assert (predictions.select(true, predicted, wrong_only).tolist()
                        == reference_selection(predictions, true, predicted, wrong_only))


@pytest.mark.parametrize("label", [-1, 3])
def test_selection_refuses_what_is_no_class(label):
    with pytest.raises(ValueError, match=f"from 0 to 2 or None, got {label}"):
        random_predictions().select(predicted=label)


def test_most_frequent_mistake():
    predictions = random_predictions()
    counts = reference_confusion(predictions)
    np.fill_diagonal(counts, 0)
    true, predicted = predictions.most_frequent_mistake()
    assert true != predicted and counts[true, predicted] == counts.max()
    assert Predictions(IMAGES, LABELS, torch.eye(3)).most_frequent_mistake() == (None, None)


@pytest.mark.parametrize(("count", "chosen", "sentence"), [
    (0, {"true": 0, "predicted": 1}, "No test image of class cat was taken for an owl."),
    (1, {"true": 0, "predicted": 2}, "1 test image of class cat was taken for a dog."),
    (1200, {"true": 1, "predicted": 2}, "1,200 test images of class owl were taken for a dog."),
    (5, {"true": 1, "predicted": 1}, "5 test images of class owl were recognised."),
    (0, {"true": 1, "predicted": 1, "wrong_only": True},
     "No mistakes here: an owl taken for an owl is right."),
    (0, {"true": 1}, "No test image of class owl at all."),
    (7, {"true": 1}, "7 test images of class owl in all."),
    (7, {"true": 1, "wrong_only": True},
     "7 test images of class owl were taken for something else."),
    (7, {"predicted": 1}, "7 test images were taken for an owl."),
    (1, {"predicted": 1, "wrong_only": True},
     "1 test image of another class was taken for an owl."),
    (7, {"predicted": 1, "wrong_only": True},
     "7 test images of other classes were taken for an owl."),
    (7, {}, "7 test images in all."),
    (7, {"wrong_only": True}, "7 test images were taken for something else."),
])
def test_selection_in_words(count, chosen, sentence):
    assert describe_selection(count, NAMES, **chosen) == sentence


# Pictures

ONE_MISTAKE = Predictions(IMAGES, LABELS,
                          torch.tensor([[0.9, 0.1, 0], [0.2, 0.3, 0.5], [0, 0, 1]]))


def drawn_text(sketch):
    return [text.get_text() for text in sketch.figure().axes[0].texts]


def test_row_of_images_says_for_each_what_it_is_and_what_was_predicted():
    sketch = draw_images(ONE_MISTAKE, NAMES, [1, 2], chosen=0)
    assert drawn_text(sketch) == ["owl", "✗ dog", "0.50", "dog", "✓ dog", "1.00"]
    assert sketch.svg("").count("<image") == 2


def test_bars_are_as_long_as_the_probabilities_and_the_true_class_is_marked():
    fig = draw_probabilities(ONE_MISTAKE, NAMES, 1).figure()
    bars = [np.ptp(bar.get_segments()[0][:, 0]) for bar in fig.axes[0].collections[:3]]
    np.testing.assert_allclose(np.array(bars) / sum(bars), [0.2, 0.3, 0.5], rtol=1e-5)
    texts = {text.get_text(): text.get_position()[1] for text in fig.axes[0].texts}
    assert {"true class", "✗ dog", "0.20", "0.30", "0.50", "◂ true"} <= texts.keys()
    assert texts["◂ true"] == pytest.approx(texts["0.30"])


def test_what_a_net_just_gave_can_be_looked_at():
    logits = nn.Linear(4, 3)(torch.rand(3, 4))
    images, probabilities = torch.rand(3, 2, 2, requires_grad=True), logits.softmax(dim=1)
    predictions = Predictions(images, LABELS, probabilities)
    assert not predictions.probabilities.requires_grad and not predictions.images.requires_grad
    overview = draw_overview(predictions, NAMES, None, None, [0, 1, 2], 1)
    assert np.ptp(rasterize(overview.figure())) == 255


def test_overview_has_every_count():
    predictions = random_predictions()
    shown = predictions.select(0, 1).tolist()[:PAGE]
    texts = drawn_text(draw_overview(predictions, NAMES, 0, 1, shown, 0))
    for count in reference_confusion(predictions).flat:
        texts.remove(str(count))
    assert {"true class", "predicted class", *NAMES} <= set(texts)


@pytest.mark.parametrize("images", [
    torch.rand(3, 7, 5), torch.rand(3, 3, 5, 7) - 4, torch.zeros(3, 1, 2, 2),
    torch.full((3, 2, 2), float("nan")), torch.arange(12).view(3, 2, 2)])
def test_images_of_any_kind_can_be_drawn(images):
    predictions = Predictions(images, LABELS, torch.eye(3))
    assert "<image" in draw_probabilities(predictions, NAMES, 2).svg("")
    overview = draw_overview(predictions, NAMES, None, None, [0, 1, 2], 1)
    assert np.ptp(rasterize(overview.figure())) == 255


@pytest.mark.parametrize("label", range(10))
def test_texts_stay_inside_and_apart(label):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    predictions = Predictions(torch.rand(16, 4, 4), torch.arange(16) % 10,
                              torch.eye(10)[[label] * 16])
    page = list(range(PAGE))
    for sketch in (draw_images(predictions, FASHION_MNIST_CLASSES, page, chosen=1),
                   *(draw_probabilities(predictions, FASHION_MNIST_CLASSES, i) for i in page),
                   draw_overview(predictions, FASHION_MNIST_CLASSES, label, None, page, 1)):
        fig = sketch.figure()
        renderer = FigureCanvasAgg(fig).get_renderer()
        boxes = [(text.get_text(), text.get_window_extent(renderer).padded(-1))
                 for text in fig.axes[0].texts]
        inside = fig.bbox.padded(1)
        for text, box in boxes:
            assert inside.contains(*box.min) and inside.contains(*box.max), text
        for (text, box), (other, other_box) in itertools.combinations(boxes, 2):
            assert not box.overlaps(other_box), (text, other)


# PredictionBrowser


def descendants(widget):
    for child in getattr(widget, "children", ()):
        yield child
        yield from descendants(child)


def cells(browser):
    return browser._matrix.buttons


def shown(button):
    """The visible first line of a button, without its check mark."""
    return button.description.split("\n")[0].removeprefix("✓")


def control(browser, description):
    return next(w for w in descendants(browser) if getattr(w, "description", None) == description)


def button(browser, description):
    return next(w for w in descendants(browser)
                if isinstance(w, ipywidgets.Button) and w.description == description)


def test_buttons_carry_the_counts_and_names():
    predictions = random_predictions(n=200, classes=10)
    browser = PredictionBrowser(predictions=predictions)
    for (true, predicted), count in np.ndenumerate(reference_confusion(predictions)):
        cell = cells(browser)[true, predicted]
        says = f"true {FASHION_MNIST_CLASSES[true]}, predicted {FASHION_MNIST_CLASSES[predicted]}"
        assert shown(cell) == str(count) and says in cell.description
        assert cell.tooltip == f"{says}: {count} image{'' if count == 1 else 's'}"
    for label, name in enumerate(FASHION_MNIST_CLASSES):
        assert shown(cells(browser)[label, None]) == shown(cells(browser)[None, label]) == name


def test_darker_cells_hold_more_and_the_darkest_have_white_text():
    predictions = random_predictions(n=300)
    browser = PredictionBrowser(predictions=predictions, class_names=NAMES)
    counts = reference_confusion(predictions)
    shades = [float(cells(browser)[key].style.button_color.rstrip(")").split(",")[-1])
              for key in sorted(np.ndindex(counts.shape), key=lambda key: counts[key])]
    assert shades == sorted(shades) and shades[-1] == 1
    largest = np.unravel_index(counts.argmax(), counts.shape)
    assert cells(browser)[largest].style.text_color == "white"


def test_it_starts_with_the_most_frequent_mistake_and_its_surest_image():
    browser = three_classes()
    assert (browser.true, browser.predicted) == browser.predictions.most_frequent_mistake()
    assert browser.image == 1
    assert cells(browser)[browser.true, browser.predicted].description.startswith("✓")


def test_a_net_without_mistakes_starts_with_everything():
    browser = without_mistakes()
    assert (browser.true, browser.predicted) == (None, None)
    assert browser.text.startswith("3 test images in all.")
    assert cells(browser)[None, None].description.startswith("✓")
    assert "2px solid var" in cells(browser)[None, None].layout.border_top


def test_a_net_and_data_do_as_well():
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    browser = PredictionBrowser(net, batches(), class_names="abcd", true=2)
    assert browser.true == 2 and browser.predicted is None and net.training
    assert len(browser.indices) == sum(int((y == 2).sum()) for _, y in batches())


def consistent(browser):
    """Everything on the page agrees with the traits, by the references above."""
    predictions, count = browser.predictions, len(browser.indices)
    choice = browser.true, browser.predicted
    assert browser.indices == reference_selection(predictions, *choice, browser.wrong_only)
    assert browser.text.endswith(".") and browser.text[0].isalnum() and "\n" not in browser.text
    assert 'role="status"' in browser._status.value and browser.text in browser._status.value
    field = control(browser, "image")
    assert field.value == browser.image and 1 <= browser.image <= max(count, 1) == field.max
    assert control(browser, "only mistakes").value == browser.wrong_only
    for name, label in (("true class", browser.true), ("predicted class", browser.predicted)):
        assert control(browser, name).index == (0 if label is None else label + 1)
    for key, cell in cells(browser).items():
        assert cell.description.startswith("✓") == (key == (browser.true, browser.predicted))
        inside = (browser.true in (None, key[0]) and browser.predicted in (None, key[1])
                  and (None not in key) and (browser.true, browser.predicted) != (None, None)
                  and not (browser.wrong_only and key[0] == key[1]))
        assert ("solid var" in cell.layout.border_top) == (inside or key == choice)
    first = (browser.image - 1) // PAGE * PAGE
    numbers = [int(b.description.split("\n")[0].removeprefix("✓ ")) for b in browser._row.buttons
               if b.layout.visibility != "hidden"]
    assert numbers == list(range(first + 1, min(first + PAGE, count) + 1))
    if not count:
        assert all("no image here" in part.value for part in (browser._drawing, browser._detail))
        return
    chosen = browser.indices[browser.image - 1]
    assert f"Image {browser.image} of {count}: " in browser.text
    assert f"{float(predictions.probabilities[chosen].max()):.2f}" in browser.text
    assert f"True class {browser.class_names[predictions.labels[chosen]]}." in browser._detail.value
    assert browser._drawing.value.count("<image") == len(numbers)
    assert f"{first + 1}–{numbers[-1]} of {count}" in browser._row.where.value


CHOICE = st.one_of(st.none(), st.integers(0, 2))
ACTION = st.one_of(
    st.tuples(st.just("cell"), CHOICE, CHOICE),
    st.tuples(st.sampled_from(("true", "predicted")), CHOICE),
    st.tuples(st.sampled_from(("true class", "predicted class")), st.integers(0, 3)),
    st.tuples(st.just("wrong_only"), st.booleans()),
    st.tuples(st.just("image"), st.integers(0, 25)),
    st.tuples(st.just("field"), st.integers(-3, 99)),
    st.tuples(st.just("pick"), st.integers(0, PAGE - 1)),
    st.tuples(st.just("turn"), st.sampled_from(("Previous", "Next"))),
    st.tuples(st.just("together"), CHOICE, st.integers(-1, 25), st.booleans()))


def act(browser, name, *values):
    """What a reader does with mouse, keyboard or Python; what cannot be is refused."""
    if name == "cell":
        cells(browser)[values].click()
    elif name in ("true", "predicted", "wrong_only", "image"):
        setattr(browser, name, *values)
    elif name.endswith("class"):
        control(browser, name).index = values[0]
    elif name == "field":
        control(browser, "image").value = values[0]
    elif name == "pick":
        browser._row.buttons[values[0]].click()
    elif name == "turn":
        button(browser, values[0]).click()
    else:
        true, image, image_first = values
        with browser.hold_trait_notifications():
            values = sorted({"true": true, "image": image}.items(), reverse=not image_first)
            for trait, value in values:
                setattr(browser, trait, value)


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 80), st.integers(0, 9), st.lists(ACTION, min_size=4, max_size=8))
def test_any_sequence_of_clicks_leaves_a_consistent_page(n, seed, actions):
    browser = PredictionBrowser(predictions=random_predictions(n, seed=seed), class_names=NAMES)
    consistent(browser)
    for action in actions:
        with suppress(TraitError):
            act(browser, *action)
        consistent(browser)
    browser.close()


def test_impossible_values_are_refused_and_change_nothing():
    browser = three_classes()
    before = [browser.true, browser.predicted, browser.wrong_only, browser.image, browser.text]
    for trait, value in (("true", 3), ("true", -1), ("true", "cat"), ("true", True),
                         ("predicted", 3), ("predicted", 1.5), ("wrong_only", "yes"),
                         ("image", 0), ("image", 61), ("image", None), ("image", True)):
        with pytest.raises(TraitError):
            setattr(browser, trait, value)
            pytest.fail(f"{trait} = {value!r} was accepted")
        after = [browser.true, browser.predicted, browser.wrong_only, browser.image, browser.text]
        assert after == before, (trait, value)
    consistent(browser)


def test_a_new_selection_starts_at_its_first_image():
    browser = three_classes(true=0)
    browser.image = 9
    cells(browser)[1, None].click()
    assert browser.image == 1
    with browser.hold_trait_notifications():  # unless one is asked for with it
        browser.image, browser.true = 60, None
    assert (browser.true, browser.image) == (None, 60)
    consistent(browser)


def test_pages():
    browser = three_classes(wrong_only=True)
    count = len(browser.indices)
    assert count > 2 * PAGE
    assert button(browser, "Previous").disabled and not button(browser, "Next").disabled
    browser.image = 5
    button(browser, "Next").click()
    assert browser.image == PAGE + 1
    browser._row.buttons[2].click()
    assert browser.image == PAGE + 3
    button(browser, "Previous").click()
    assert browser.image == 1
    browser.image = count
    assert button(browser, "Next").disabled


def test_an_empty_cell_is_a_plain_sentence():
    browser = without_mistakes()
    cells(browser)[2, 1].click()
    assert browser.text == "No test image of class dog was taken for an owl."
    assert browser.indices == []
    assert all(b.layout.visibility == "hidden" for b in browser._row.buttons)


def test_a_click_draws_once(monkeypatch):
    browser, calls = three_classes(true=0, predicted=1), []

    def draw(*args, **kwargs):
        calls.append(1)
        return draw_images(*args, **kwargs)

    monkeypatch.setattr(widget_module, "draw_images", draw)
    browser.image = 2
    calls.clear()
    cells(browser)[2, 0].click()
    assert len(calls) == 1


def test_clicks_make_no_new_widgets():
    browser = three_classes()
    before = len(ipywidgets.widgets.widget._instances)
    for cell in cells(browser).values():
        cell.click()
    assert len(ipywidgets.widgets.widget._instances) == before


HOSTILE = ("<b>bold</b>", "a & $x^2$", '"><script>alert(1)</script>\n')


def test_class_names_are_text_wherever_they_appear():
    browser = PredictionBrowser(predictions=random_predictions(), class_names=HOSTILE)
    for cell in cells(browser).values():
        cell.click()
        for widget in descendants(browser):
            if isinstance(widget, ipywidgets.HTML):
                assert "<b>" not in widget.value and "<script" not in widget.value
        picture = browser._detail.value.replace("xlink:", "")
        texts = "".join(ElementTree.fromstring(picture[picture.index("<svg"):]).itertext())
        assert not browser.indices or "<b>bold</b>" in texts and "a & $x^2$" in texts
    assert "\n" not in browser.class_names[2]


def test_close_closes_everything():
    browser = three_classes()
    everything = [browser, *descendants(browser)]
    before = {id(w) for w in everything if w.comm is not None}
    browser.close()
    browser.close()
    assert len(before) == len(everything) and all(w.comm is None for w in everything)
    assert all(model.comm is None for w in cells(browser).values() for model in (w.layout, w.style))
    text = browser.text
    browser.wrong_only = True  # an old reference in a cell does no harm
    cells(browser)[0, 0].click()
    assert browser.text == text
    reference = weakref.ref(browser)
    del browser, everything
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize(("arguments", "message"), [
    ({"true": 3, "class_names": NAMES}, "from 0 to 2 or None, got 3"),
    ({}, "10 class names for 3 classes"), ({"class_names": NAMES, "colour": 1}, "colour"),
    ({"predictions": random_predictions(classes=21)}, "at most 20 classes, got 21")])
def test_a_refused_browser_says_why_and_leaves_nothing_behind(arguments, message):
    before = len(ipywidgets.widgets.widget._instances)
    with pytest.raises((TraitError, ValueError, TypeError), match=message):
        PredictionBrowser(**{"predictions": random_predictions(), **arguments})
    assert len(ipywidgets.widgets.widget._instances) == before


def test_saved_notebook_has_a_picture_of_the_present_state():
    browser = three_classes()
    cells(browser)[2, 0].click()
    data, metadata = browser._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= data.keys()
    right = int(np.trace(reference_confusion(browser.predictions)))
    assert metadata["image/png"]["alt"] == (
        f"Confusion matrix: {right} of 60 images are right. {browser.text}")
    assert browser.text in data["text/plain"]
    browser.image = 2
    assert browser._repr_mimebundle_()[0]["image/png"] != data["image/png"]


def test_keyboard_reaches_every_state_without_the_matrix():
    browser = three_classes()
    assert all(cell.tabbable is False for cell in cells(browser).values())
    control(browser, "true class").index, control(browser, "predicted class").index = 3, 0
    assert (browser.true, browser.predicted) == (2, None)
    assert control(browser, "true class").label == "dog"
    assert control(browser, "predicted class").label == "all"


@pytest.mark.parametrize("arguments", [{}, {"net": nn.Flatten()}, {"data_iter": []},
                                       {"net": nn.Flatten(), "predictions": random_predictions()}])
def test_it_needs_a_net_and_data_or_predictions(arguments):
    with pytest.raises(TypeError, match="net and data_iter, or predictions"):
        PredictionBrowser(**arguments)


def test_shade_grows_with_the_count():
    shades = [module.shade_index(count, 100) for count in range(101)]
    assert shades == sorted(shades) and shades[:2] == [0, 1]
    assert shades[-1] == len(module.SHADES) - 1
