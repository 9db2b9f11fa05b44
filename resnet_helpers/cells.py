"""Cells of a notebook: the pictures in their outputs, and the explorers that they made.

For `plotting` and the widgets. Without a notebook nothing here imports IPython.
"""

import base64
import functools
import gc
import hashlib
import html
import sys

from resnet_helpers.engine.cpu import give_back_memory
from resnet_helpers.raster import PIXELS_PER_INCH, darkened, encode, picture_boxes, rasterize


def notebook_shell():
    """IPython's shell if a notebook runs this (JupyterLab, VS Code, Colab, nbclient), else None."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell if hasattr(shell, "kernel") else None


# --- pictures ---

def picture_output(fig, alt, image=None):
    """(data, metadata) of a figure as an output of a cell, in its size on the page.

    As HTML it has its alt text, which JupyterLab takes from nowhere else, and a dark picture for
    the dark theme; in a notebook that is not trusted only the light one is left. The PNG is for
    what shows no HTML.

    Args:
        alt: what is to be seen, in a sentence, for readers who do not see it.
        image: the figure as `raster.rasterize` gives it, if it has been drawn.
    """
    image = rasterize(fig) if image is None else image
    photos = picture_boxes(fig)
    light, dark = (base64.b64encode(encode(each, photos)).decode()
                   for each in (image, darkened(image, photos)))
    width, height = (round(inches * PIXELS_PER_INCH) for inches in fig.get_size_inches())
    name = f"rh-{hashlib.sha256(light.encode()).hexdigest()[:12]}"
    title, _, words = alt.partition("\n")
    style = (f'[data-jp-theme-light="false"] #{name} '
             f'{{ content: url("data:image/png;base64,{dark}") }}')
    page = (f'<img id="{name}" alt="{html.escape(words or title)}" width="{width}" '
            f'src="data:image/png;base64,{light}">')
    if words:  # JupyterLab shows the first line in place of an output that is folded
        page = f"{html.escape(title)}\n{page}"
        style += f" .jp-RenderedHTML:has(> #{name}) {{ font-size: 0 }}"
    page += f"<style>{style}</style>"
    return ({"text/html": page, "image/png": light, "text/plain": alt},
            {"image/png": {"width": width, "height": height, "alt": alt}})


def widget_output(view, text, fig, alt, view_metadata):
    """(data, metadata) of a widget with a picture of it, for pages without a kernel.

    Args:
        view: data of the live widget.
        text: what it is, where neither can be shown.
        fig, alt: as for `picture_output`.
        view_metadata: metadata of the live widget.
    """
    tidy_up_after_cells()
    data, metadata = picture_output(fig, alt)
    del metadata["image/png"]["height"]  # it would stay when a narrow page shrinks the width
    return {**view, **data, "text/plain": text}, {**view_metadata, **metadata}


class CellPicture:
    """One picture in the output of a cell, replaced in place by `update`.

    A new one is made if another cell runs by then, or if code has cleared the outputs.
    """

    def __init__(self):
        self.handle = self.cell = self.clearings = None

    def is_possible(self):
        """Is there a notebook to draw in?"""
        return notebook_shell() is not None

    def is_current(self):
        """Is the picture where the reader looks, in the output of the cell that runs?"""
        shell = notebook_shell()
        return shell is None or self.cell == shell.execution_count

    def update(self, fig, alt, image=None, at_end_of_cell=None):
        """Show the figure.

        Args:
            alt, image: as for `picture_output`.
            at_end_of_cell: called when the cell ends, for what was left undrawn till then.
        """
        from IPython.display import display
        shell = notebook_shell()
        tidy_up_after_cells()
        data, metadata = picture_output(fig, alt, image)
        is_current, clearings = self.is_current(), count_clearings(shell.display_pub)
        if self.handle is not None and is_current and clearings == self.clearings:
            self.handle.update(data, metadata=metadata, raw=True)
            return
        self.cell, self.clearings = shell.execution_count, clearings
        self.handle = display(data, metadata=metadata, raw=True, display_id=True)
        if at_end_of_cell and not is_current:
            def finish(*_):
                shell.events.unregister("post_run_cell", finish)
                self.cell = shell.execution_count  # IPython 8 has counted on by now, 9 has not
                at_end_of_cell()
                self.cell = None
            shell.events.register("post_run_cell", finish)


def count_clearings(publisher):
    """How often code has cleared outputs, which takes pictures away, since this was first asked."""
    clear = publisher.clear_output
    if not hasattr(clear, "calls"):
        @functools.wraps(clear)
        def clear_output(*args, **kwargs):
            clear_output.calls += 1
            clear(*args, **kwargs)

        clear_output.calls = 0
        publisher.clear_output = clear_output
    return publisher.clear_output.calls


# --- between cells ---

def tidy_up_after_cells():
    """In a notebook: from now on return memory after each cell, and find cycles when that is due.

    A search through all objects takes 0.2 seconds. Left to Python, it comes in the middle of a
    click on an explorer.
    """
    shell = notebook_shell()
    if shell is not None and _tidy_up not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", _tidy_up)


def _tidy_up(*_):
    if gc.get_count()[2] > gc.get_threshold()[2]:
        gc.collect()
    give_back_memory()


# --- explorers ---

_made_by = {}  # {cell: (number of its run, the explorers it made)}


def replaced_by(explorer, of_unknown_cells=False):
    """The explorers that the running cell made in its run before; notes that it made this one.

    Args:
        of_unknown_cells: where the front end does not say which cell is running, take all for
            runs of one.
    """
    cell, run = running_cell()
    if cell is None and not of_unknown_cells:
        return []
    number, made = _made_by.get(cell, (None, []))
    if cell is not None and run == number:
        made.append(explorer)  # another one of the same run
        return []
    _made_by[cell] = run, [explorer]
    return made


def running_cell():
    """Id of the running cell and of the message that started it.

    None and None where the front end does not say.
    """
    try:
        message = notebook_shell().get_parent()
        return message["metadata"].get("cellId"), message["header"]["msg_id"]
    except (AttributeError, KeyError, TypeError):
        return None, None


def forget(explorer):
    """Take a closed explorer off the lists of what cells made and gave."""
    for _, made in _made_by.values():
        made[:] = (other for other in made if other is not explorer)
    if (shell := notebook_shell()) is None:
        return
    # The leak: `Out[5]`, `_5` and `_` keep an explorer and its images as long as the kernel runs.
    outputs = shell.user_ns.get("_oh", {})
    numbers = [number for number, value in outputs.items() if value is explorer]
    for number in numbers:
        del outputs[number]
    for names in (shell.user_ns, shell.user_ns_hidden, vars(shell.displayhook)):
        for number in numbers:
            names.pop(f"_{number}", None)
        for name in ("_", "__", "___"):
            if names.get(name) is explorer:
                names[name] = ""  # as at the start
