"""The test images behind each number of a confusion matrix, and how sure the net was of each."""

import base64
import functools

import ipywidgets as widgets
import traitlets

from resnet_helpers.data import FASHION_MNIST_CLASSES
from resnet_helpers.plotting import PIXELS_PER_INCH, to_png, to_svg
from resnet_helpers.predictions import (
    PAGE,
    SHADES,
    describe_image,
    describe_probabilities,
    describe_selection,
    draw_images,
    draw_overview,
    draw_probabilities,
    expect_class_names,
    predict,
    shade,
)
from resnet_helpers.widgets.explorer import ROW, Control, Explorer, Whole, dropdown, switch

MAX_CLASSES = 20  # more would be a matrix of many hundred buttons, too wide for the page


class PredictionBrowser(Explorer):
    """A confusion matrix whose numbers can be clicked, and the images that each stands for, the surest first.

    A class name at the left or at the top selects its whole row or column, "all" everything. Below are the images, a
    page at a time, and beside the matrix the probabilities of one of them.

    Args:
        net, data_iter: what to ask, and about which (X, y) batches: as for `predictions.predict`.
        predictions: a `Predictions`, in place of the two.
        class_names: one per class, at most 20.
        true, predicted, wrong_only: as below; if none is given, the most frequent mistake is shown.

    Attributes to read or set:
        true, predicted: class of the row and of the column, None for all.
        wrong_only: leave out the images that the net got right.
        image: which of the selected images: 1 is the one with the surest prediction. A new selection starts there.

    Raises:
        TypeError: neither `predictions` nor both `net` and `data_iter`, or all of them.
        ValueError: as `predict`, or not one name per class, or too many classes.
    """

    true = Whole(None, allow_none=True)
    predicted = Whole(None, allow_none=True)
    wrong_only = traitlets.Bool(False)
    image = Whole(1)
    _shared = ()  # layouts and styles, each of many buttons; here, because a browser that is refused is closed too

    def __init__(self, net=None, data_iter=None, *, predictions=None, class_names=FASHION_MNIST_CLASSES, true=None,
                 predicted=None, wrong_only=False):
        if (net is None, data_iter is None) != (2 * (predictions is not None,)):
            raise TypeError("PredictionBrowser takes a net and data_iter, or predictions=Predictions(...)")
        self.predictions = predict(net, data_iter) if predictions is None else predictions
        if self.predictions.num_classes > MAX_CLASSES:
            raise ValueError(f"PredictionBrowser shows at most {MAX_CLASSES} classes, got "
                             f"{self.predictions.num_classes}")
        self.class_names = expect_class_names(class_names, self.predictions.num_classes)
        if true is None and predicted is None and not wrong_only:
            true, predicted = self.predictions.most_frequent_mistake()
        self.true, self.predicted, self.wrong_only = true, predicted, wrong_only
        self._last = None, self.image  # selection and image drawn last
        super().__init__()

    @property
    def indices(self):
        """Indices of the selected images in `predictions`, a list."""
        return self.predictions.select(self.true, self.predicted, self.wrong_only).tolist()

    @traitlets.validate("true", "predicted")
    def _check_class(self, proposal):
        if proposal.value is not None and not 0 <= proposal.value < self.predictions.num_classes:
            raise traitlets.TraitError(f"{proposal.trait.name} must be a class from 0 to "
                                       f"{self.predictions.num_classes - 1} or None, got {proposal.value}")
        return proposal.value

    @traitlets.validate("image")
    def _check_image(self, proposal):
        last = max(len(self.indices), 1)
        if not 1 <= proposal.value <= last:
            raise traitlets.TraitError(f"image must be from 1 to {last}, got {proposal.value}")
        return proposal.value

    def _make_controls(self):
        self._matrix = _Matrix(self.predictions.confusion.tolist(), self.class_names, self._choose)
        self._detail = widgets.HTML()
        self._row = _Row(self._show)
        self._shared = (*self._matrix.models, *self._row.models)
        self.above = (widgets.HBox([self._matrix.box, self._detail],
                                   layout={**ROW, "grid_gap": "8px 14px", "align_items": "flex-start"}),)
        self.below = self._row.boxes
        field = widgets.BoundedIntText(1, min=1, max=max(len(self.indices), 1), description="image", tooltip="image",
                                       style={"description_width": "initial"}, layout={"width": "120px"})
        return {"true": _class_choice("true class", self.class_names),
                "predicted": _class_choice("predicted class", self.class_names),
                "wrong_only": switch("only mistakes"), "image": Control(field)}

    def _choose(self, true, predicted):
        with self.hold_trait_notifications():
            self.true, self.predicted = true, predicted

    def _show(self, image):
        self.image = min(max(image, 1), max(len(self.indices), 1))

    def _update(self, _=None):
        before, self._last = self._last, ((self.true, self.predicted, self.wrong_only), self.image)
        if self._last[0] != before[0] and self._last[1] == before[1] != 1:  # no image was asked for with it
            self.image = 1  # its observers call this again
        else:
            super()._update()

    def _picture(self):
        indices = self.indices
        count, index = len(indices), indices[self.image - 1] if indices else None
        field = self._controls["image"].input
        field.max = max(field.max, self.image)  # first: a smaller one than the value would move the value
        field.value, field.max = self.image, max(count, 1)
        self._matrix.mark(self.true, self.predicted, self.wrong_only)
        shown, chosen = self._page()
        self._detail.value = to_svg(
            draw_probabilities(self.predictions, self.class_names, index),
            "No image." if index is None else describe_probabilities(self.predictions, self.class_names, index))
        self._row.update([describe_image(self.predictions, self.class_names, i) for i in shown], self.image, count)
        text = describe_selection(count, self.class_names, self.true, self.predicted, self.wrong_only)
        if count:
            text += f" Image {self.image:,} of {count:,}: {describe_image(self.predictions, self.class_names, index)}."
        return draw_images(self.predictions, self.class_names, shown, chosen=chosen), text

    def _page(self):
        """Indices of the images on the present page, and which of them is the chosen one; ([], None) if none is."""
        first = (self.image - 1) // PAGE * PAGE
        shown = self.indices[first:first + PAGE]
        return shown, self.image - 1 - first if shown else None

    def close(self):
        """Remove the browser from the page and free what it holds."""
        super().close()
        for model in self._shared:
            model.close()

    def _repr_mimebundle_(self, **kwargs):
        """The live widget, and matrix, images and probabilities in one picture for pages without a kernel."""
        data, metadata = super()._repr_mimebundle_(**kwargs)
        shown, chosen = self._page()
        fig = draw_overview(self.predictions, self.class_names, self.true, self.predicted, shown, chosen=chosen)
        right, total = int(self.predictions.confusion.diag().sum()), len(self.predictions.labels)
        data["image/png"] = base64.b64encode(to_png(fig)).decode()
        metadata["image/png"] = {"width": round(PIXELS_PER_INCH * fig.get_size_inches()[0]),
                                 "alt": f"Confusion matrix: {right:,} of {total:,} images are right. {self.text}"}
        return data, metadata


class _ClassIndex(traitlets.HasTraits):
    """A class or None, kept equal to the choice in a dropdown whose first option stands for None.

    An option whose value is None would be shown as an empty field.
    """

    value = traitlets.Int(None, allow_none=True)

    def __init__(self, box):
        super().__init__()
        traitlets.link((self, "value"), (box, "index"), transform=(lambda label: 0 if label is None else label + 1,
                                                                   lambda index: index - 1 if index else None))


def _class_choice(description, class_names):
    control = dropdown(description, [("all", -1), *((name, i) for i, name in enumerate(class_names))])
    return Control(_ClassIndex(control.box), control.box)


# Buttons have no other text for screen readers than their description, so this goes on in a second line, which is
# there but outside of the visible part. The style holds for the whole page, hence names of its own.
_STYLE = """<style>
.rh-first-line { white-space: pre; line-height: 24px; overflow: hidden; text-overflow: clip }
.rh-left, .rh-top, .rh-corner { text-align: left; text-overflow: ellipsis }
.rh-top { writing-mode: vertical-rl; transform: rotate(180deg); line-height: 32px }
.rh-corner { line-height: 82px }
.rh-line { line-height: 1.4; margin: 4px 0 }
</style>"""
_MARKED = "2px solid var(--jp-content-font-color1, #000000)"


def _button(text, says, tooltip, on_click, place, **kwargs):
    """A button that shows `text`, and on which screen readers find `says` as well; `place` is a name in `_STYLE`."""
    button = widgets.Button(description=f"{text}\n{says}", tooltip=tooltip, **kwargs)
    for name in ("first-line", place):
        button.add_class(f"rh-{name}")
    button.on_click(lambda _: on_click())
    return button


class _Matrix:
    """A confusion matrix of buttons, with one for each row, each column and everything.

    The Tab key leaves them out, or it would have to be pressed 121 times to get past them: the controls above the
    matrix reach the same. All buttons share a few models for layout and style.

    Args:
        counts: (classes, classes), as a list of lists.
        class_names: one per class.
        choose: called with the true and the predicted class of a button, None for all.
    """

    def __init__(self, counts, class_names, choose):
        n = len(class_names)
        self._counts, self._names, self._chosen, self._marked = counts, class_names, (None, None), set()
        self._largest = max(map(max, counts))
        self._layouts = {(place, marked): widgets.Layout(
            width="100%", height=height, padding=padding, margin="0",
            border=_MARKED if marked else "2px solid transparent") for place, height, padding in (
                ("cell", "30px", "0"), ("left", "30px", "0 3px"), ("top", "92px", "3px"), ("corner", "92px", "3px"))
            for marked in (False, True)}
        self._styles = [widgets.ButtonStyle(
            button_color=f"rgba(0, 114, 178, {alpha})", text_color="white" if alpha == 1 else None,
            font_size="12px" if self._largest < 1000 else "11px") for alpha in SHADES]
        self.models = (*self._layouts.values(), *self._styles)  # which the buttons share
        self.buttons = {(true, predicted): self._make(true, predicted, functools.partial(choose, true, predicted))
                        for true in (None, *range(n)) for predicted in (None, *range(n))}
        grid = widgets.GridBox(list(self.buttons.values()), layout={
            "grid_template_columns": f"86px repeat({n}, 40px)", "grid_gap": "2px", "overflow": "visible"})
        axes = widgets.HTML(f'{_STYLE}<div class="rh-line">↓ true class, → predicted class: click a number or a name'
                            "</div>")
        self.box = widgets.VBox([axes, grid])

    def _make(self, true, predicted, choose):
        text, says, tooltip = self._words(true, predicted)
        place = _place(true, predicted)
        style = self._styles[shade(self._count(true, predicted), self._largest) if place == "cell" else 0]
        return _button(text, says, tooltip, choose, place, layout=self._layouts[place, False], style=style,
                       tabbable=False)

    def _count(self, true, predicted):
        rows = self._counts if true is None else [self._counts[true]]
        return sum(sum(row) if predicted is None else row[predicted] for row in rows)

    def _words(self, true, predicted):
        """What a button shows, what else it says, and its tooltip."""
        count = self._count(true, predicted)
        images = f"{count:,} image" if count == 1 else f"{count:,} images"
        if true is None and predicted is None:
            return "all", "classes", f"all classes: {images}"
        if predicted is None:
            return self._names[true], "all of this true class", f"true {self._names[true]}: {images}"
        if true is None:
            return self._names[predicted], "all predicted as this", f"predicted {self._names[predicted]}: {images}"
        says = f"true {self._names[true]}, predicted {self._names[predicted]}"
        return f"{count}", says, f"{says}: {images}"

    def mark(self, true, predicted, wrong_only):
        """Put a check mark on the button of this choice and a border round all buttons that it holds."""
        for key, sign, more in ((self._chosen, "", ""), ((true, predicted), "✓", ", chosen")):
            text, says, _ = self._words(*key)
            self.buttons[key].description = f"{sign}{text}\n{says}{more}"
        before, self._chosen, self._marked = self._marked, (true, predicted), self._held(true, predicted, wrong_only)
        for key in before ^ self._marked:
            self.buttons[key].layout = self._layouts[_place(*key), key in self._marked]

    def _held(self, true, predicted, wrong_only):
        """The button of a choice, and those of its row or column; of everything, only the button that says so."""
        held = {(label, guess) for label, guess in self.buttons if None not in (label, guess)
                and true in (None, label) and predicted in (None, guess) and not (wrong_only and label == guess)}
        return {(true, predicted)} | (held if (true, predicted) != (None, None) else set())


def _place(true, predicted):
    """Where the button of a choice is: in a cell, to the left of its row, on top of its column or in the corner."""
    if true is None:
        return "corner" if predicted is None else "top"
    return "left" if predicted is None else "cell"


class _Row:
    """A button under each image of a page, and those that turn the pages.

    Args:
        show: called with the number of an image, counted from 1; it may be past the end.
    """

    def __init__(self, show):
        self._show, self._image = show, 1
        self._layouts = {name: widgets.Layout(width="100%", margin="0", padding="0", **more) for name, more in (
            ("plain", {"border": "2px solid transparent"}), ("chosen", {"border": _MARKED}),
            ("absent", {"visibility": "hidden"}))}
        style = widgets.ButtonStyle()
        self.models = (*self._layouts.values(), style)
        self.buttons = [_button("", "", "", functools.partial(self._pick, i), "image", layout=self._layouts["absent"],
                                style=style) for i in range(PAGE)]
        self.before = widgets.Button(description="Previous", icon="chevron-left", tooltip="the images before these",
                                     layout={"width": "96px"})
        self.after = widgets.Button(description="Next", icon="chevron-right", tooltip="the images after these",
                                    layout={"width": "96px"})
        self.before.on_click(lambda _: self._turn(-1))
        self.after.on_click(lambda _: self._turn(1))
        self.where = widgets.HTML()
        self.boxes = (widgets.GridBox(self.buttons, layout={
            "grid_template_columns": f"repeat({PAGE}, 1fr)", "grid_gap": "4px", "max_width": "840px",
            "overflow": "visible"}),
            widgets.HBox([self.before, self.after, self.where], layout={**ROW, "grid_gap": "2px 8px"}))

    def _first(self):
        return (self._image - 1) // PAGE * PAGE + 1

    def _pick(self, i):
        self._show(self._first() + i)

    def _turn(self, pages):
        self._show(self._first() + pages * PAGE)

    def update(self, descriptions, image, count):
        """Show the buttons for these images.

        Args:
            descriptions: of the images on the page, in words.
            image: number of the chosen one among all that are selected.
            count: how many are selected.
        """
        self._image = image
        first = self._first()
        for i, button in enumerate(self.buttons):
            chosen = first + i == image
            if i < len(descriptions):
                button.description = f"{'✓ ' if chosen else ''}{first + i:,}\nimage: {descriptions[i]}"
                button.tooltip = f"image {first + i:,}: {descriptions[i]}"
            button.layout = self._layouts["absent" if i >= len(descriptions) else "chosen" if chosen else "plain"]
        self.before.disabled, self.after.disabled = first == 1, first + PAGE > count
        where = (f"{first:,}–{first + len(descriptions) - 1:,} of {count:,}, surest first; below each: true class, "
                 "predicted (✓ right, ✗ wrong), probability" if count else "0 of 0")
        self.where.value = f'<div class="rh-line">{where}</div>'
