"""The test images behind each number of a confusion matrix, and how sure the net was of each."""

import functools

import ipywidgets as widgets
import traitlets

from resnet_helpers.data import FASHION_MNIST_CLASSES
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
    shade_index,
)
from resnet_helpers.widgets.explorer import (
    ROW,
    WIDE,
    Control,
    Explorer,
    Whole,
    dropdown,
    switch,
)

MAX_CLASSES = 20  # more would be a matrix of many hundred buttons, too wide for the page


class PredictionBrowser(Explorer):
    """A confusion matrix whose numbers can be clicked, and the images that each stands for.

    A class name at the left or at the top selects its whole row or column, "all" everything.
    Below are the images, a page at a time, the surest first, and beside the matrix the
    probabilities of one of them.

    Args:
        net, data_iter: what to ask, and about which (X, y) batches: as for `predictions.predict`.
        predictions: a `Predictions`, in place of the two.
        class_names: one per class, at most 20.
        true, predicted, wrong_only: as below; without any of them the most frequent mistake is
            shown.

    Attributes to read or set:
        true, predicted: class of the row and of the column, None for all.
        wrong_only: leave out the images that the net got right.
        image: which of the selected images: 1 is the one with the surest prediction. A new
            selection starts there.

    Raises:
        TypeError: neither `predictions` nor both `net` and `data_iter`, or all of them.
        ValueError: as `predict`, or not one name per class, or too many classes.
    """

    true = Whole(None, allow_none=True)
    predicted = Whole(None, allow_none=True)
    wrong_only = traitlets.Bool(False)
    image = Whole(1)
    _shared = ()  # layouts and styles, each of many buttons; a browser that is refused has none

    def __init__(self, net=None, data_iter=None, *, predictions=None,
                 class_names=FASHION_MNIST_CLASSES, true=None, predicted=None, wrong_only=False):
        if (net is None, data_iter is None) != (2 * (predictions is not None,)):
            raise TypeError("PredictionBrowser takes a net and data_iter, or "
                            "predictions=Predictions(...)")
        self.predictions = predict(net, data_iter) if predictions is None else predictions
        num_classes = self.predictions.num_classes
        if num_classes > MAX_CLASSES:
            raise ValueError(f"PredictionBrowser shows at most {MAX_CLASSES} classes, got "
                             f"{num_classes}")
        self.class_names = expect_class_names(class_names, num_classes)
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
    def _expect_class(self, proposal):
        last = self.predictions.num_classes - 1
        if proposal.value is not None and not 0 <= proposal.value <= last:
            raise traitlets.TraitError(f"{proposal.trait.name} must be a class from 0 to {last} or "
                                       f"None, got {proposal.value}")
        return proposal.value

    @traitlets.validate("image")
    def _expect_image(self, proposal):
        last = max(len(self.indices), 1)
        if not 1 <= proposal.value <= last:
            raise traitlets.TraitError(f"image must be from 1 to {last}, got {proposal.value}")
        return proposal.value

    def _make_controls(self):
        self._matrix = _Matrix(self.predictions.confusion.tolist(), self.class_names, self._choose)
        self._detail, self._row = widgets.HTML(), _Row(self._show)
        self._shared = (*self._matrix.models, *self._row.models)
        layout = {**ROW, "grid_gap": "8px 14px", "align_items": "flex-start"}
        self.above = (widgets.HBox([self._matrix.box, self._detail], layout=layout),)
        self.below = self._row.boxes
        image = widgets.BoundedIntText(1, min=1, max=max(len(self.indices), 1), description="image",
                                       tooltip="image", style=WIDE, layout={"width": "120px"})
        return {"true": _class_choice("true class", self.class_names),
                "predicted": _class_choice("predicted class", self.class_names),
                "wrong_only": switch("only mistakes"), "image": Control(image)}

    def _choose(self, true, predicted):
        with self.hold_trait_notifications():
            self.true, self.predicted = true, predicted

    def _show(self, image):
        self.image = min(max(image, 1), max(len(self.indices), 1))

    def _update(self, _=None):
        selection, image = (self.true, self.predicted, self.wrong_only), self.image
        (last_selection, last_image), self._last = self._last, (selection, image)
        if selection != last_selection and image == last_image != 1:  # no image was asked for
            self.image = 1  # its observers call this again
        else:
            super()._update()

    def _picture(self):
        predictions, names = self.predictions, self.class_names
        shown, chosen, count = self._page()
        text = describe_selection(count, names, self.true, self.predicted, self.wrong_only)
        if count:
            image = describe_image(predictions, names, shown[chosen])
            text += f" Image {self.image:,} of {count:,}: {image}."
        return draw_images(predictions, names, shown, chosen=chosen), text

    def _update_more(self):
        predictions, names = self.predictions, self.class_names
        shown, chosen, count = self._page()
        index = shown[chosen] if shown else None
        alt = describe_probabilities(predictions, names, index) if shown else "No image."
        self._detail.value = draw_probabilities(predictions, names, index).svg(alt)
        field = self._controls["image"].input
        field.max = max(field.max, self.image)  # or a smaller one would move the value
        field.value, field.max = self.image, max(count, 1)
        self._matrix.mark(self.true, self.predicted, self.wrong_only)
        words = [describe_image(predictions, names, i) for i in shown]
        self._row.update(words, self.image, count)

    def _page(self):
        """Indices of the images on the present page, which of them is chosen, or None, and how many
        are selected on all pages.
        """
        indices, first = self.indices, (self.image - 1) // PAGE * PAGE
        shown = indices[first:first + PAGE]
        return shown, self.image - 1 - first if shown else None, len(indices)

    def _still(self):
        """Matrix, images and probabilities in one picture."""
        predictions = self.predictions
        right, total = int(predictions.confusion.diag().sum()), len(predictions.labels)
        return (draw_overview(predictions, self.class_names, self.true, self.predicted,
                              *self._page()[:2]),
                f"Confusion matrix: {right:,} of {total:,} images are right. {self.text}")

    def close(self):
        """Remove the browser from the page and free what it holds."""
        super().close()
        for model in self._shared:
            model.close()


class _ClassIndex(traitlets.HasTraits):
    """A class or None, kept equal to the choice in a dropdown whose first option means None.

    An option whose value is None would be shown as an empty field.
    """

    value = traitlets.Int(None, allow_none=True)

    def __init__(self, box):
        super().__init__()
        traitlets.link((self, "value"), (box, "index"), transform=(
            lambda label: 0 if label is None else label + 1,
            lambda index: index - 1 if index else None))


def _class_choice(description, class_names):
    options = [("all", -1), *((name, i) for i, name in enumerate(class_names))]
    box = dropdown(description, options).box
    return Control(_ClassIndex(box), box)


# --- buttons ---

# Screen readers know a button by its description alone, so this goes on in a second line, which is
# there but outside of the visible part. The style holds for the whole page, hence its names.
_BUTTON_STYLE = """<style>
.rh-first-line { white-space: pre; line-height: 24px; overflow: hidden; text-overflow: clip }
.rh-left, .rh-top, .rh-corner { text-align: left; text-overflow: ellipsis }
.rh-top { writing-mode: vertical-rl; transform: rotate(180deg); line-height: 32px }
.rh-corner { line-height: 82px }
.rh-line { line-height: 1.4; margin: 4px 0 }
</style>"""
_MARKED = "2px solid var(--jp-content-font-color1, #000000)"
_UNMARKED = "2px solid transparent"


def _two_line_button(text, says, tooltip, on_click, place, **kwargs):
    """A button that shows `text` and tells screen readers what it `says` as well.

    Args:
        place: a name in `_BUTTON_STYLE`.
    """
    button = widgets.Button(description=f"{text}\n{says}", tooltip=tooltip, **kwargs)
    for name in ("first-line", place):
        button.add_class(f"rh-{name}")
    button.on_click(lambda _: on_click())
    return button


class _Matrix:
    """A confusion matrix of buttons, with one for each row, each column and everything.

    The Tab key leaves them out, or it would have to be pressed 121 times to get past them: the
    controls above the matrix reach the same. All buttons share a few layouts and styles.

    Args:
        counts: (classes, classes), as a list of lists.
        class_names: one per class.
        choose: called with the true and the predicted class of a button, None for all.
    """

    def __init__(self, counts, class_names, choose):
        self._counts, self._names, self._choose = counts, class_names, choose
        self._chosen, self._marked = (None, None), set()
        self._largest = max(map(max, counts))
        self._layouts = {
            (place, is_marked): widgets.Layout(
                width="100%", height=height, padding=padding, margin="0",
                border=_MARKED if is_marked else _UNMARKED)
            for place, height, padding in (("cell", "30px", "0"), ("left", "30px", "0 3px"),
                                           ("top", "92px", "3px"), ("corner", "92px", "3px"))
            for is_marked in (False, True)}
        self._styles = [widgets.ButtonStyle(
            button_color=f"rgba(0, 114, 178, {alpha})", text_color="white" if alpha == 1 else None,
            font_size="12px" if self._largest < 1000 else "11px") for alpha in SHADES]
        self.models = (*self._layouts.values(), *self._styles)  # which the buttons share
        classes = (None, *range(len(class_names)))
        self.buttons = {(true, predicted): self._button(true, predicted)
                        for true in classes for predicted in classes}
        grid = widgets.GridBox(list(self.buttons.values()), layout={
            "grid_template_columns": f"86px repeat({len(class_names)}, 40px)", "grid_gap": "2px",
            "overflow": "visible"})
        axes = widgets.HTML(f'{_BUTTON_STYLE}<div class="rh-line">↓ true class, → predicted class: '
                            f"click a number or a name</div>")
        self.box = widgets.VBox([axes, grid])

    def _button(self, true, predicted):
        place = _place(true, predicted)
        shade = shade_index(self._count(true, predicted), self._largest) if place == "cell" else 0
        return _two_line_button(
            *self._words(true, predicted), functools.partial(self._choose, true, predicted), place,
            layout=self._layouts[place, False], style=self._styles[shade], tabbable=False)

    def _count(self, true, predicted):
        rows = self._counts if true is None else [self._counts[true]]
        return sum(sum(row) if predicted is None else row[predicted] for row in rows)

    def _words(self, true, predicted):
        """What a button shows, what else it says, and its tooltip."""
        count, place = self._count(true, predicted), _place(true, predicted)
        images = f"{count:,} image{'s' * (count != 1)}"
        if place == "corner":
            return "all", "classes", f"all classes: {images}"
        if place == "left":
            name = self._names[true]
            return name, "all of this true class", f"true {name}: {images}"
        if place == "top":
            name = self._names[predicted]
            return name, "all predicted as this", f"predicted {name}: {images}"
        says = f"true {self._names[true]}, predicted {self._names[predicted]}"
        return f"{count}", says, f"{says}: {images}"

    def mark(self, true, predicted, wrong_only):
        """Put a check mark on the button of this choice and a border round all that it holds."""
        for key, sign, more in ((self._chosen, "", ""), ((true, predicted), "✓", ", chosen")):
            text, says, _ = self._words(*key)
            self.buttons[key].description = f"{sign}{text}\n{says}{more}"
        before, self._chosen = self._marked, (true, predicted)
        self._marked = self._held(true, predicted, wrong_only)
        for key in before ^ self._marked:
            self.buttons[key].layout = self._layouts[_place(*key), key in self._marked]

    def _held(self, true, predicted, wrong_only):
        """The button of a choice, and those of its row or column; of everything, only its own."""
        held = {(true, predicted)}
        if (true, predicted) == (None, None):
            return held
        return held | {
            (label, guess) for label, guess in self.buttons if None not in (label, guess)
            and true in (None, label) and predicted in (None, guess)
            and not (wrong_only and label == guess)}


def _place(true, predicted):
    """Where the button of a choice is: in a cell, left of its row, on top, or in the corner."""
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
        looks = {"plain": {"border": _UNMARKED}, "chosen": {"border": _MARKED},
                 "absent": {"visibility": "hidden"}}
        self._layouts = {name: widgets.Layout(width="100%", margin="0", padding="0", **look)
                         for name, look in looks.items()}
        style = widgets.ButtonStyle()
        self.models = (*self._layouts.values(), style)
        self.buttons = [
            _two_line_button("", "", "", functools.partial(self._pick, i), "image",
                             layout=self._layouts["absent"], style=style) for i in range(PAGE)]
        self.before = self._page_button("Previous", "left", "the images before these", -PAGE)
        self.after = self._page_button("Next", "right", "the images after these", PAGE)
        self.where = widgets.HTML()
        grid = widgets.GridBox(self.buttons, layout={
            "grid_template_columns": f"repeat({PAGE}, 1fr)", "grid_gap": "4px",
            "max_width": "840px", "overflow": "visible"})
        turn = widgets.HBox([self.before, self.after, self.where],
                            layout={**ROW, "grid_gap": "2px 8px"})
        self.boxes = grid, turn

    def _page_button(self, description, side, tooltip, step):
        button = widgets.Button(description=description, icon=f"chevron-{side}", tooltip=tooltip,
                                layout={"width": "96px"})
        button.on_click(lambda _: self._pick(step))
        return button

    def _first(self):
        return (self._image - 1) // PAGE * PAGE + 1

    def _pick(self, i):
        self._show(self._first() + i)

    def update(self, descriptions, image, count):
        """Show the buttons for these images.

        Args:
            descriptions: of the images on the page, in words.
            image: number of the chosen one among all that are selected.
            count: how many are selected.
        """
        self._image = image
        first, last = self._first(), self._first() + len(descriptions) - 1
        for i, button in enumerate(self.buttons, start=first):
            button.layout = self._layouts[
                "absent" if i > last else "chosen" if i == image else "plain"]
            if i <= last:
                about = descriptions[i - first]
                button.description = f"{'✓ ' * (i == image)}{i:,}\nimage: {about}"
                button.tooltip = f"image {i:,}: {about}"
        self.before.disabled, self.after.disabled = first == 1, first + PAGE > count
        where = "0 of 0"
        if count:
            where = (f"{first:,}–{last:,} of {count:,}, surest first; below each: true class, "
                     f"predicted (✓ right, ✗ wrong), probability")
        self.where.value = f'<div class="rh-line">{where}</div>'
