"""What all explorers share: controls, the state behind them, and a picture that follows."""

import base64
import contextlib
import gc
import html

import ipywidgets as widgets
import traitlets

from resnet_helpers.plotting import PIXELS_PER_INCH, notebook_shell, to_png, to_svg

ROW = {"flex_flow": "row wrap", "grid_gap": "2px 28px", "align_items": "center"}


class Explorer(widgets.VBox):
    """Controls above a picture and a sentence, both of which follow the state that the controls set.

    A subclass declares its state as traits, makes one control per trait in `_make_controls`, and turns the state into a
    picture in `_picture`. Setting a trait moves its control, moving a control sets the trait, and both draw anew. While
    a slider is dragged the browser waits for the answer before it sends the next value, and then sends the latest, so
    nothing queues up as long as drawing happens here, before the answer.

    Attributes:
        text: the result in words.

    Raises:
        traitlets.TraitError: a value that the control cannot show; the state stays as it was.
    """

    text = traitlets.Unicode(read_only=True)
    above, below = (), ()  # further widgets of a subclass, next to the picture; set in `_make_controls`

    def __init__(self, **state):
        self._controls = self._make_controls()
        self._drawing, self._status, self._drawn = widgets.HTML(), widgets.HTML(), None
        super().__init__([widgets.HBox([control.box for control in self._controls.values()], layout=ROW),
                          *self.above, self._drawing, *self.below, self._status])
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
        """{trait: Control} in the order on the page."""
        raise NotImplementedError

    def _picture(self):
        """(figure, sentence) for the present state."""
        raise NotImplementedError

    def _update(self, _=None):
        state = tuple(getattr(self, name) for name in self._controls)
        if state == self._drawn:  # several traits were set at once: the first notice has drawn them all
            return
        self._drawn = state
        with freeing_at_once():
            figure, text = self._picture()
            self.set_trait("text", text)
            self._drawing.value = to_svg(figure, text)
            self._status.value = status(text)
            del figure

    def close(self):
        """Remove the explorer from the page and free what it holds."""
        self.unobserve_all()
        close_all(self)
        forget(self)

    def _repr_mimebundle_(self, **kwargs):
        """The live widget, and a picture of its present state for pages without a kernel."""
        figure, _ = self._picture()
        data = {**super()._repr_mimebundle_(**kwargs), "text/plain": f"{type(self).__name__}: {self.text}",
                "image/png": base64.b64encode(to_png(figure)).decode()}
        width = round(figure.get_size_inches()[0] * PIXELS_PER_INCH)
        return data, {"image/png": {"width": width, "alt": self.text}}


_made_by = {}  # {cell: (number of its run, the explorers it made)}


def replaced_by(explorer, of_unknown_cells=False):
    """The explorers that the running cell made when it was run before; notes that it has now made this one.

    Args:
        of_unknown_cells: where the front end does not say which cell is running, take all for runs of one.
    """
    cell, run = running_cell()
    if cell is None and not of_unknown_cells:
        return []
    number, made = _made_by.get(cell, (run, []))
    if cell is not None and run == number:  # another one of the same run
        made.append(explorer)
        former = []
    else:
        former, made = made, [explorer]
    _made_by[cell] = run, made
    return former


def forget(explorer):
    """Strike an explorer that has been closed from those that its cell made, and from IPython's history of outputs.

    `Out[5]`, `_5` and `_` would keep it, with all its images, as long as the kernel runs.
    """
    for _, made in _made_by.values():
        made[:] = (other for other in made if other is not explorer)
    if (shell := notebook_shell()) is None:
        return
    outputs = shell.user_ns.get("_oh", {})
    numbers = [number for number, value in outputs.items() if value is explorer]
    for number in numbers:
        del outputs[number]
    for names in (shell.user_ns, shell.user_ns_hidden, vars(shell.displayhook)):  # all three know them
        for number in numbers:
            names.pop(f"_{number}", None)
        names.update((name, "") for name in ("_", "__", "___") if names.get(name) is explorer)  # as at the start


def running_cell():
    """Id of the running cell and of the message that started it; None and None where the front end does not say."""
    try:
        message = notebook_shell().get_parent()
        return message["metadata"].get("cellId"), message["header"]["msg_id"]
    except (AttributeError, KeyError, TypeError):
        return None, None


@contextlib.contextmanager
def freeing_at_once():
    """Free what is made and dropped here when it ends.

    A figure is full of cycles, so Python's garbage collector has to free it. Left alone, the collector meets a figure
    while it is in use, takes its objects for long-lived ones, and looks through all objects of the process to find
    them later: a third of a second, once in twenty pictures.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
            gc.collect(0)  # only what is new


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
        raise TypeError(f"{type(owner).__name__} has no {', '.join(sorted(unknown))}; it takes {', '.join(controls)}")
    for name, value in state.items():
        setattr(owner, name, value)
    for name, control in controls.items():
        traitlets.link((owner, name), (control.input, "value"))


class Whole(traitlets.Int):
    """A whole number; True, which Python counts as 1, is none."""

    def validate(self, obj, value):
        return self.error(obj, value) if isinstance(value, bool) else super().validate(obj, value)


class Real(traitlets.Float):
    """A number; neither True nor NaN."""

    def validate(self, obj, value):
        return self.error(obj, value) if isinstance(value, bool) or value != value else super().validate(obj, value)


class OneOf(traitlets.Enum):
    """One of several values of one type; 2.0 is not 2."""

    def validate(self, obj, value):
        return self.error(obj, value) if type(value) is not type(self.values[0]) else super().validate(obj, value)


class Control:
    """A widget that holds a value, and the box with all that belongs to it on the page."""

    def __init__(self, control, box=None):
        self.input, self.box = control, box or control


def switch(description):
    """A checkbox."""
    return Control(widgets.Checkbox(description=description, tooltip=description, indent=False,
                                    layout={"width": "max-content"}))


def choice(description, options):
    """Radio buttons, all options in sight; each is labelled `description = option`, so that each can be read alone.

    Args:
        options: values, or (label, value) pairs with labels that need no description.
    """
    pairs = [option if isinstance(option, tuple) else (f"{description} = {option}", option) for option in options]
    return Control(widgets.RadioButtons(options=pairs, orientation="horizontal", tooltip=description,
                                        layout={"width": "max-content"}))


def dropdown(description, options):
    """A list to pick from, for more options than radio buttons have room for."""
    return Control(widgets.Dropdown(options=options, description=description, tooltip=description,
                                    style={"description_width": "initial"}, layout={"width": "max-content"}))


def number(description, trait, step=1):
    """A slider and beside it a field for the same number, from the `min` to the `max` of a `Whole` or `Real` trait.

    The field gives the control its name for screen readers, which ipywidgets' sliders lack, and takes typed values.
    """
    entry = field(description, trait, step).input
    slider = (widgets.IntSlider if isinstance(trait, Whole) else widgets.FloatSlider)(
        min=trait.min, max=trait.max, step=step, readout=False, tooltip=description, layout={"width": "150px"})
    traitlets.link((entry, "value"), (slider, "value"))
    return Control(slider, widgets.HBox([entry, slider]))


def field(description, trait, step=1):
    """A field to type a number in, from the `min` to the `max` of a `Whole` or `Real` trait."""
    return Control((widgets.BoundedIntText if isinstance(trait, Whole) else widgets.BoundedFloatText)(
        min=trait.min, max=trait.max, step=step, description=description, tooltip=description,
        style={"description_width": "initial"}, layout={"width": "max-content"}))


def table(head, rows, caption=""):
    """An HTML table: the first column names the rows, the other columns are numbers or short words.

    Args:
        head: column titles.
        rows: sequences of values, one per column; whole numbers get their thousands marked.
    """
    def cell(kind, value, scope=""):
        text = f"{value:,}" if type(value) is int else str(value)
        return f"<{kind}{scope}>{html.escape(text)}</{kind}>"

    titles = "".join(cell("th", title, ' scope="col"') for title in head)
    body = "".join("<tr>" + cell("th", first, ' scope="row"') + "".join(cell("td", value) for value in rest) + "</tr>"
                   for first, *rest in rows)
    return (f'{_TABLE_STYLE}<div style="width: 0; min-width: 100%; overflow-x: auto"><table class="rh-table">'
            f"<caption>{html.escape(caption)}</caption><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>")


_TABLE_STYLE = (
    "<style>.rh-table { border-collapse: collapse; line-height: 1.5; font-size: 14px; margin: 4px 0 } "
    ".rh-table caption { caption-side: bottom; text-align: left; line-height: 1.4; padding-top: 4px } "
    ".rh-table th, .rh-table td { padding: 2px 8px; text-align: right; vertical-align: bottom; "
    "font-variant-numeric: tabular-nums; border-bottom: 1px solid var(--jp-border-color2, #e0e0e0) } "
    ".rh-table td, .rh-table tbody th { white-space: nowrap } .rh-table th:first-child { text-align: left }</style>")


def status(text, is_announced=True):
    """A sentence as HTML that screen readers announce when it changes, unless it does so all the time."""
    live = "polite" if is_announced else "off"
    return (f'<p role="status" aria-live="{live}" style="max-width: 860px; line-height: 1.4; margin: 4px 0">'
            f'{html.escape(text)}</p>')


def close_all(widget):
    """Close a widget and all that it contains, layouts and styles too."""
    for child in getattr(widget, "children", ()):
        close_all(child)
    for name in ("layout", "style"):
        if isinstance(part := getattr(widget, name, None), widgets.Widget):
            part.close()
    widgets.Widget.close(widget)
