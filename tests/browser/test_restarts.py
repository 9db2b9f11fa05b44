"""Explorers whose kernel was restarted, and whose cell was run again."""

import pytest

MAKE = "from resnet_helpers.widgets import BlockExplorer\nexplorer = BlockExplorer()\nexplorer"
RESTART = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart().then(() => true)"


@pytest.fixture
def notebook(lab):
    notebook = lab.new([MAKE, ""])
    notebook.run_cell(0)
    return notebook


def works(notebook):
    """Is there one explorer, and does it follow its control?"""
    output = notebook.cell_output(0)
    output.get_by_role("status").wait_for()
    before = output.get_by_role("status").inner_text()
    assert output.get_by_role("checkbox").count() == 1
    output.get_by_role("checkbox").click()
    return notebook.eventually(lambda: output.get_by_role("status").inner_text() != before)


def test_after_a_restart_a_click_does_no_harm_and_running_the_cell_brings_the_explorer_back(notebook):
    assert works(notebook)
    notebook.page.evaluate(RESTART)
    output = notebook.cell_output(0)
    shown = output.inner_text()
    assert shown.strip()
    for checkbox in output.get_by_role("checkbox").all():  # what is left of it answers no more
        checkbox.click()
    assert notebook.ask("1 + 1") == "2" and notebook.console_errors == []
    assert output.inner_text() == shown
    notebook.run_cell(0)
    assert works(notebook)
    assert notebook.errors() == [] and notebook.console_errors == []


def test_running_the_cell_again_leaves_one_explorer_that_works(notebook):
    for _ in range(3):
        notebook.run_cell(0)
        assert works(notebook)
    assert notebook.errors() == [] and notebook.console_errors == []
