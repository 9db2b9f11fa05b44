"""Explorers in an open notebook: their controls by label, and what the page shows of them."""

from dataclasses import dataclass, field

# All at once: each question to the page takes its time.
SEEN = """output => {
    const all = selector => [...output.querySelectorAll(selector)];
    const isVisible = element => element.checkVisibility({visibilityProperty: true});
    const fields = Object.fromEntries(all('input[type=number]').map(
        field => [field.labels[0].innerText.trim(), field.valueAsNumber]));
    const numbers = all('input[type=range]').map(
        slider => [slider.ariaLabel, [fields[slider.ariaLabel], slider.valueAsNumber]]);
    return {
        words: all('[role=status]').map(element => element.innerText),
        descriptions: all('svg.rh-picture').map(svg => svg.getAttribute('aria-label')),
        buttons: all('button').filter(isVisible).map(button => button.innerText),
        numbers: Object.fromEntries(numbers),
        rows: all('tr').map(row => [...row.cells].map(cell => cell.innerText)),
    };
}"""


class Explorer:
    """An explorer below the cell of a notebook whose source has the text `source`.

    Attributes:
        output: locator of all that the cell shows.
        pictures, drawings: locators of the pictures, which are replaced, and of the widgets that
            they are in.
    """

    def __init__(self, notebook, source):
        self.notebook, self.cell = notebook, notebook.find_cell(source)
        self.output = notebook.cell_output(self.cell)
        self.pictures = self.output.locator("svg.rh-picture")
        self.drawings = self.output.locator(".widget-html").filter(has=notebook.page.locator("svg.rh-picture"))

    def choose(self, label, value=True, by="mouse", role=None):
        """Give a control a value, as `OpenNotebook.choose`."""
        self.notebook.choose(label, value, by, role, within=self.output)

    def time_choice(self, label, value=True, by="mouse", role=None):
        """Give a control a value; return the milliseconds until the (first) picture has changed."""
        return self.notebook.time_change(lambda: self.choose(label, value, by, role),
                                         self.drawings.first)

    def control(self, label, role=None):
        """Locator of a control, as `OpenNotebook.control`."""
        return self.notebook.control(label, role=role, within=self.output)

    def seen(self):
        """What the page shows.

        Returns:
            dict with `words` and `descriptions`, the sentences for screen readers and those of the
            pictures, the texts of the `buttons`, `numbers` as {label: [number in the field, number
            of the slider]}, and the `rows` of the tables as lists of texts.
        """
        return self.output.evaluate(SEEN)

    def words(self):
        """The (first) sentence for screen readers; empty as long as there is none."""
        return next(iter(self.seen()["words"]), "")

    def drawn(self, i=0):
        """The lines and texts in the picture number i."""
        return self.pictures.nth(i).inner_html()


@dataclass(frozen=True)
class Change:
    """One turn of a control.

    Attributes:
        label, value, role: of the control, as for `OpenNotebook.choose`.
        state: {name: value} of what it changes in the explorer.
        is_drawn: does what is drawn change, and not only what is said?
    """

    label: str
    value: object
    role: str | None = None
    state: dict = field(default_factory=dict)
    is_drawn: bool = True


def ticked(label, value, **state):
    """A click on a checkbox that has the other value."""
    return Change(label, value, "checkbox", dict.fromkeys(state, value))


def radio(label, **state):
    """A choice among radio buttons."""
    return Change(label, True, "radio", state)


def typed(label, number, is_drawn=True, **state):
    """A number for a field."""
    return Change(label, number, "spinbutton", dict.fromkeys(state, number), is_drawn)


def slid(label, number, is_drawn=True, **state):
    """A place for a slider to go to."""
    return Change(label, number, "slider", dict.fromkeys(state, number), is_drawn)


def picked(label, option, **state):
    """A choice from a list that opens."""
    return Change(label, option, "combobox", state)
