"""What readers see in the notebooks: the same code as in the package, saved from one run, readable."""

import ast
import inspect
import json
import re
from pathlib import Path

import pytest

from resnet_helpers import function_classes, models, training

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SHOWN = [("01_function_classes", function_classes.indicators), ("01_function_classes", function_classes.best_fit),
         ("02_residual_block", models.Residual), ("03_resnet_model", models.resnet_block),
         ("04_training", training.evaluate_accuracy_gpu)]


def cells(path, kind):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [dict(cell, source="".join(cell["source"])) for cell in notebook["cells"] if cell["cell_type"] == kind]


def without_docstrings_and_checks(tree):
    """The syntax tree as text, less docstrings and statements that only call a `check_...` function."""
    def is_extra(node):
        return isinstance(node, ast.Expr) and (
            isinstance(node.value, ast.Constant)
            or (isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "").startswith("check_")))

    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            node.body = [child for child in node.body if not is_extra(child)]
    return ast.unparse(tree).replace("torch.nn.functional.", "F.")


def definition(source, name):
    tree = ast.parse(source)
    return next(node for node in tree.body if getattr(node, "name", None) == name)


def test_there_are_four():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]


@pytest.mark.parametrize(("notebook", "shown"), SHOWN, ids=lambda value: getattr(value, "__name__", value))
def test_code_taught_is_the_code_shipped(notebook, shown):
    path = next(path for path in NOTEBOOKS if path.stem == notebook)
    source = next(cell["source"] for cell in cells(path, "code")
                  if re.search(rf"^(def|class) {shown.__name__}\b", cell["source"], re.MULTILINE))
    taught = definition(source, shown.__name__)
    shipped = definition(inspect.getsource(shown), shown.__name__)
    assert without_docstrings_and_checks(taught) == without_docstrings_and_checks(shipped)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_saved_from_one_run_of_a_fresh_kernel(path):
    counts = [cell["execution_count"] for cell in cells(path, "code")]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_shows_a_warning_an_error_or_a_path(path):
    for cell in cells(path, "code"):
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"
        assert not re.search(r"(/work|/home|/Users|/root|C:\\\\)", json.dumps(cell["outputs"]))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_picture_is_described_in_words(path):
    for cell in cells(path, "code"):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                alt = output["metadata"].get("image/png", {}).get("alt", "")
                assert len(alt.split()) >= 5, cell["source"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_are_short_enough_to_project(path):
    for cell in cells(path, "code"):
        lines = cell["source"].splitlines()
        assert len([line for line in lines if line.strip()]) <= 20, cell["source"]
        assert max(map(len, lines)) <= 104, cell["source"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_between_notebooks_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#]+\.ipynb)\)", "\n".join(cell["source"] for cell in cells(path, "markdown")))
    assert links and all((path.parent / link).is_file() for link in links)
