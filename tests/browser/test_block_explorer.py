"""The block explorer of notebook 2 in JupyterLab: it appears, and its picture and words follow its controls."""

import pytest

# From use_1x1conv=True, strides=2, num_channels=6, which the notebook shows, and back to it: label, value, role where
# two controls share the label, and what the words are after the change (they do not name the image).
CHANGES = [("use_1x1conv", False, None, "cannot be added"),
           ("Set use_1x1conv=True", True, None, "output shape (6, 14, 14)"),
           ("strides = 1", True, None, "output shape (6, 28, 28)"),
           ("num_channels", 12, "spinbutton", "output shape (12, 28, 28)"),
           ("num_channels", 8, "slider", "output shape (8, 28, 28)"),
           ("image", "bag", None, "output shape (8, 28, 28)"),
           ("num_channels", 6, "spinbutton", "output shape (6, 28, 28)"),
           ("strides = 2", True, None, "output shape (6, 14, 14)"),
           ("image", "ankle boot", None, "output shape (6, 14, 14)")]


class Explorer:
    """The explorer in an open notebook: its controls by label, its drawing, and its result in words."""

    def __init__(self, notebook):
        self.notebook = notebook
        self.output = notebook.cell_output(notebook.find_cell("BlockExplorer("))
        self.drawing = self.output.locator(".widget-html").filter(has=notebook.page.get_by_role("img"))
        self.status = self.output.get_by_role("status")

    def change(self, label, value, role, words, by):
        """Change a control and wait for a new picture and the expected words; return the picture's milliseconds."""
        milliseconds = self.notebook.time_change(
            lambda: self.notebook.choose(label, value, by, role, within=self.output), self.drawing)
        self.status.filter(has_text=words).wait_for()
        return milliseconds


@pytest.fixture
def explorer(lab, request):
    notebook = lab.open("02_residual_block.ipynb", theme=getattr(request, "param", "light"))
    notebook.run_all()
    return Explorer(notebook)


@pytest.mark.parametrize("explorer", ["light", "dark"], indirect=True)
def test_notebook_runs_and_shows_the_explorer(explorer):
    explorer.drawing.get_by_role("img").wait_for()
    assert "output shape (6, 14, 14)" in explorer.status.inner_text()
    assert explorer.notebook.errors() == [] and explorer.notebook.console_errors == []


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_picture_and_words_follow_every_control(explorer, by, measure):
    times = [explorer.change(*change, by) for _ in range(3) for change in CHANGES]
    measure(f"block explorer, {by} to new picture", times)
    assert explorer.notebook.errors() == [] and explorer.notebook.console_errors == []
