"""What screen readers are told in JupyterLab: a name for every control of an explorer, words for
every picture, and no barrier that axe knows.
"""

import json

import pytest

from resnet_helpers.publish import NOTEBOOKS

from .explorers import Explorer

CONTROLS = "input:not([type=hidden]), select, button:visible, textarea, [role=slider]"

# {text in the cell that makes an explorer: (notebook, {role: names of its controls})}
EXPLORERS = {
    "FunctionClassExplorer(": ("01_function_classes.ipynb", {
        "checkbox": ["nested"], "radio": ["f* = jump", "f* = ramp", "f* = wave", "f* = bump"],
        "spinbutton": ["complexity k", "noise", "points"],
        "slider": ["complexity k", "noise", "points"]}),
    "BlockExplorer(": ("02_residual_block.ipynb", {
        "checkbox": ["use_1x1conv"], "combobox": ["image"],
        "radio": ["strides = 1", "strides = 2", "conv3: true 1×1", "conv3: article's 3×3"],
        "spinbutton": ["input_channels", "num_channels", "image size"],
        "slider": ["input_channels", "num_channels", "image size"]}),
    "ModelExplorer(": ("03_resnet_model.ipynb", {
        "checkbox": ["residual connections"],
        "radio": ["ResNet-18", "ResNet-34", "ResNet-50", "ResNet-101", "ResNet-152"],
        "spinbutton": ["image size", "image channels", "classes", "batch size"],
        "slider": ["image size", "image channels", "classes", "batch size"]}),
    "TrainingPanel(": ("04_training.ipynb", {
        "radio": ["subset: 7,000 images", "full: 70,000 images"],
        "checkbox": ["residual connections"],
        "combobox": ["model", "optimizer", "schedule", "saved run"],
        "spinbutton": ["image size", "learning rate", "batch size", "epochs"],
        "slider": ["image size", "batch size", "epochs"],
        "button": ["Train", "Pause", "Stop", "Load"]})}


@pytest.fixture(scope="module", params=EXPLORERS)
def shown(shared_lab, request):
    """An explorer of a notebook, and the names of its controls; nothing else has run."""
    path, names = EXPLORERS[request.param]
    notebook = shared_lab.open(path)
    notebook.run_cell(notebook.find_cell(request.param))
    explorer = Explorer(notebook, request.param)
    explorer.pictures.first.wait_for()
    return explorer, names


def test_every_control_has_its_label_as_its_name(shown):
    explorer, names = shown
    for role, labels in names.items():
        for label in labels:
            assert explorer.output.get_by_role(role, name=label, exact=True).count() == 1, label
    assert explorer.output.locator(CONTROLS).count() == sum(map(len, names.values()))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_keeps_people_out(shown, violations, theme):
    explorer, _ = shown
    explorer.notebook.set_theme(theme)
    assert violations(explorer.output) == []


@pytest.mark.parametrize("name", sorted({path for path, _ in EXPLORERS.values()}))
def test_pictures_of_a_saved_notebook_are_shown_and_described_untrusted(lab, name):
    notebook = lab.open(name)
    cells = "window.jupyterapp.shell.currentWidget.content.widgets"
    trusted = notebook.page.evaluate(f"""() => {cells}.filter(
        cell => cell.model.type === 'code').map(cell => cell.model.trusted)""")
    assert trusted and not any(trusted)
    saved = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))["cells"]
    expected = sum("image/png" in output.get("data", {}) and "source_hidden" not in
                   cell["metadata"].get("jupyter", {}) for cell in saved
                   for output in cell.get("outputs", []))
    words = notebook.page.evaluate(f"""async () => {{
        const found = [];
        for (const cell of {cells}.filter(cell => cell.model.type === 'code')) {{
            cell.outputHidden = false;
            cell.node.scrollIntoView();
            await new Promise(done => setTimeout(done, 50));
            for (const picture of cell.node.querySelectorAll('img[src^="data:image/png"]'))
                if (picture.naturalWidth) found.push(picture.alt);
        }}
        return found;
    }}""")
    assert len(words) == expected > 0 and all(len(alt) > 20 for alt in words)
