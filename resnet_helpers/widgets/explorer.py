"""What all explorers share: controls, the state behind them, and a picture that follows."""

import html

import ipywidgets as widgets
import traitlets

from resnet_helpers.cells import forget, replaced_by, widget_output
from resnet_helpers.sketch import STYLE
from resnet_helpers.widgets.slider import Slider

ROW = {"flex_flow": "row wrap", "grid_gap": "2px 28px", "align_items": "center"}
FITTING = {"width": "max-content"}
WIDE = {"description_width": "initial"}


class Explorer(widgets.VBox):
    """Controls above a picture and a sentence, both of which follow the state.

    A subclass declares its state as traits, makes one control per trait in `_make_controls`, and
    turns the state into a picture in `_picture`. Setting a trait moves its control, moving a
    control sets the trait, and both draw anew. While a slider is dragged the browser waits for
    the answer before it sends the latest value, so nothing queues up as long as drawing happens
    here, before the answer.

    Attributes:
        text: the result in words.

    Raises:
        traitlets.TraitError: a value that the control cannot show; the state stays as it was.
    """

    text = traitlets.Unicode(read_only=True)
    above, below = (), ()  # more widgets of a subclass, next to the picture

    def __init__(self, **state):
        self._controls = self._make_controls()
        self._drawing, self._status, self._drawn = widgets.HTML(), widgets.HTML(), None
        super().__init__([control_row(self._controls), *self.above, self._drawing, *self.below,
                          self._status, page_style()])
        try:
            link_controls(self, self._controls, state)
            self.observe(self._update, list(self._controls))
            self._update()
        except Exception:
            self.close()
            raise
        for former in replaced_by(self):
            former.close()

    def _make_controls(self):
        """{trait: Control} in the order on the page; sets `above` and `below`, too."""
        raise NotImplementedError

    def _picture(self):
        """(`Sketch`, sentence) for the present state."""
        raise NotImplementedError

    def _update(self, _=None):
        state = tuple(getattr(self, name) for name in self._controls)
        if state == self._drawn:  # several traits were set at once: the first notice drew them all
            return
        self._drawn = state
        sketch, text = self._picture()
        self.set_trait("text", text)
        self._drawing.value = sketch.svg(text)
        self._status.value = status(text)
        self._update_more()

    def _update_more(self):
        """Bring up to date what a subclass has beside picture and sentence, after these."""

    def close(self):
        """Remove the explorer from the page and free what it holds."""
        self.unobserve_all()
        close_all(self)
        forget(self)

    def _repr_mimebundle_(self, **kwargs):
        """The live widget, and a picture of its present state for pages without a kernel."""
        sketch, alt = self._still()
        return widget_output(super()._repr_mimebundle_(**kwargs),
                             f"{type(self).__name__}: {self.text}", sketch.figure(), alt,
                             view_metadata(self._controls))

    def _still(self):
        """(`Sketch`, what is to be seen on it) for pages without a kernel."""
        return self._picture()


# --- the state ---

class Control:
    """A widget that holds a value, and the box with all that belongs to it on the page."""

    def __init__(self, control, box=None):
        self.input, self.box = control, box or control


def control_row(controls):
    """The boxes of {trait: Control} side by side."""
    return widgets.HBox([control.box for control in controls.values()], layout=ROW)


def view_metadata(controls):
    """Metadata of a live widget with {trait: Control}: tells Colab where its sliders come from.

    Colab knows ipywidgets' own widgets only, and is told of others in the output of the cell.
    """
    parts = (part for control in controls.values() for part in getattr(control.box, "children", ()))
    slider = next((part for part in parts if isinstance(part, Slider)), None)
    return {} if slider is None else slider._repr_mimebundle_()[1]


def link_controls(owner, controls, state):
    """Give traits of `owner` their start values and keep each equal to its control from then on.

    Args:
        controls: {trait: Control}.
        state: {trait: value}; the others start with their defaults.

    Raises:
        TypeError: a name in `state` that has no control.
        traitlets.TraitError: a value that is not allowed.
    """
    if unknown := state.keys() - controls.keys():
        raise TypeError(f"{type(owner).__name__} has no {', '.join(sorted(unknown))}; it takes "
                        f"{', '.join(controls)}")
    for name, value in state.items():
        setattr(owner, name, value)
    for name, control in controls.items():
        traitlets.link((owner, name), (control.input, "value"))


class Whole(traitlets.Int):
    """A whole number; True, which Python counts as 1, is none."""

    def validate(self, obj, value):
        if isinstance(value, bool):
            self.error(obj, value)
        return super().validate(obj, value)


class Real(traitlets.Float):
    """A number; neither True nor NaN."""

    def validate(self, obj, value):
        if isinstance(value, bool) or value != value:
            self.error(obj, value)
        return super().validate(obj, value)


class OneOf(traitlets.Enum):
    """One of several values of one type; 2.0 is not 2."""

    def validate(self, obj, value):
        if type(value) is not type(self.values[0]):
            self.error(obj, value)
        return super().validate(obj, value)


# --- controls ---

def switch(description):
    """A checkbox."""
    return Control(widgets.Checkbox(description=description, tooltip=description, indent=False,
                                    layout=FITTING))


def choice(description, options):
    """Radio buttons, all options in sight, each labelled so that it can be read alone.

    Args:
        options: values, labelled `description = value`, or (label, value) pairs.
    """
    pairs = [option if isinstance(option, tuple) else (f"{description} = {option}", option)
             for option in options]
    return Control(widgets.RadioButtons(options=pairs, orientation="horizontal",
                                        tooltip=description, layout=FITTING))


def dropdown(description, options):
    """A list to pick from, for more options than radio buttons have room for."""
    return Control(widgets.Dropdown(options=options, description=description, tooltip=description,
                                    style=WIDE, layout=FITTING))


def number(description, trait, step=1):
    """A field for a number and beside it a slider for the same; both have the description as name.

    Args:
        trait: a `Whole` or `Real` with `min` and `max`.
    """
    entry = field(description, trait, step).input
    slider = Slider(min=trait.min, max=trait.max, step=step, description=description,
                    layout={"width": "150px"})
    traitlets.link((entry, "value"), (slider, "value"))
    return Control(entry, widgets.HBox([entry, slider], layout={"align_items": "center"}))


def field(description, trait, step=1):
    """A field to type a number in; `trait` as for `number`."""
    kind = widgets.BoundedIntText if isinstance(trait, Whole) else widgets.BoundedFloatText
    return Control(kind(min=trait.min, max=trait.max, step=step, description=description,
                        tooltip=description, style=WIDE, layout=FITTING))


def close_all(widget):
    """Close a widget and all that it contains, layouts and styles too."""
    for child in getattr(widget, "children", ()):
        close_all(child)
    for name in ("layout", "style"):
        if isinstance(part := getattr(widget, name, None), widgets.Widget):
            part.close()
    widgets.Widget.close(widget)


# --- words ---

def status(text, is_announced=True):
    """A sentence as HTML; screen readers announce it when it changes, unless it always does."""
    live = "polite" if is_announced else "off"
    style = "max-width: 860px; line-height: 1.4; margin: 4px 0"
    return f'<p role="status" aria-live="{live}" style="{style}">{html.escape(text)}</p>'


def table(head, rows, caption=""):
    """An HTML table whose first column names the rows.

    Args:
        head: column titles.
        rows: sequences of values, numbers or short words, one per column; whole numbers get their
            thousands marked.
    """
    def cell(kind, value, scope=""):
        text = f"{value:,}" if type(value) is int else str(value)
        return f"<{kind}{scope}>{html.escape(text)}</{kind}>"

    titles = "".join(cell("th", title, ' scope="col"') for title in head)
    body = ""
    for first, *rest in rows:
        name = cell("th", first, ' scope="row"')
        body += f"<tr>{name}{''.join(cell('td', value) for value in rest)}</tr>"
    return ('<div style="width: 0; min-width: 100%; overflow-x: auto">'
            f'<table class="rh-table"><caption>{html.escape(caption)}</caption>'
            f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>")


# Of pictures and tables, once on the page.
PAGE_STYLE = STYLE + (
    "<style>.rh-table { border-collapse: collapse; line-height: 1.5; font-size: 14px; "
    "margin: 4px 0 } "
    ".rh-table caption { caption-side: bottom; text-align: left; line-height: 1.4; "
    "padding-top: 4px } "
    ".rh-table th, .rh-table td { padding: 2px 8px; text-align: right; vertical-align: bottom; "
    "font-variant-numeric: tabular-nums; "
    "border-bottom: 1px solid var(--jp-border-color2, #e0e0e0) } "
    ".rh-table td, .rh-table tbody th { white-space: nowrap } "
    ".rh-table th:first-child { text-align: left }</style>")


def page_style():
    """A widget without a look of its own that gives pictures and tables theirs."""
    return widgets.HTML(PAGE_STYLE, layout={"display": "none"})
