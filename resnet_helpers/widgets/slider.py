"""A slider with a name for screen readers: the handle of ipywidgets' sliders has none."""

from pathlib import Path

import anywidget
import traitlets

ASSETS = Path(__file__).parents[1] / "assets"


class Slider(anywidget.AnyWidget):
    """A number between `min` and `max`, in steps that are counted from `min`.

    Attributes:
        value: the number; between two steps, the handle stands at one of them.
        description: its name and tooltip, not to be seen beside it.
    """

    # Text: of a path, AnyWidget would keep a list of those to tell of changes, closed ones too.
    _esm = (ASSETS / "slider.js").read_text(encoding="utf-8")
    value = traitlets.Float().tag(sync=True)
    min = traitlets.Float().tag(sync=True)
    max = traitlets.Float().tag(sync=True)
    step = traitlets.Float().tag(sync=True)
    description = traitlets.Unicode().tag(sync=True)
