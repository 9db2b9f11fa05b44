"""What readers see in the notebooks: the same code as in the package, saved from one run, readable.
"""

import ast
import inspect
import json
import re
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import resnet_helpers as d2l
from resnet_helpers import check, experiments, function_classes, models, training
from resnet_helpers.check import attempts, notebook4

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
FURTHER = sorted((NOTEBOOKS[0].parent / "further").glob("*.ipynb"))
ALL = [*NOTEBOOKS, *FURTHER]
SHOWN = [("01_function_classes", function_classes.indicators),
         ("01_function_classes", function_classes.best_fit),
         ("01_function_classes", experiments.train_net),
         ("02_residual_block", models.Residual),
         ("02_residual_block", experiments.gradient_sizes),
         ("03_resnet_model", models.resnet_block),
         ("03_resnet_model", experiments.with_blocks),
         ("04_training", training.evaluate_accuracy_gpu)]


def cells(path, kind):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [dict(cell, source="".join(cell["source"])) for cell in notebook["cells"]
            if cell["cell_type"] == kind]


def without_docstrings_and_expectations(tree):
    """The syntax tree as text, less docstrings and statements that only call an `expect_...`
    function.
    """
    def is_extra(node):
        return isinstance(node, ast.Expr) and (
            isinstance(node.value, ast.Constant)
            or (isinstance(node.value, ast.Call)
                and getattr(node.value.func, "id", "").startswith("expect_")))

    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            node.body = [child for child in node.body if not is_extra(child)]
    return re.sub(r"\b(torch\.)?nn\.functional\.", "F.", ast.unparse(tree))


def definition(source, name):
    tree = ast.parse(source)
    return next(node for node in tree.body if getattr(node, "name", None) == name)


def test_there_are_four():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]


@pytest.mark.parametrize(("notebook", "shown"), SHOWN,
                         ids=lambda value: getattr(value, "__name__", value))
def test_code_taught_is_the_code_shipped(notebook, shown):
    path = next(path for path in NOTEBOOKS if path.stem == notebook)
    taught, shipped = (without_docstrings_and_expectations(definition(text, shown.__name__))
                       for text in (sources(path, shown.__name__)[-1], inspect.getsource(shown)))
    assert taught == shipped


@pytest.mark.parametrize("depth", [6, 20])
def test_notebook_1_shows_the_plain_network_that_is_shipped(few, depth):
    namespace = definitions_of(NOTEBOOKS[0])
    batches = [(few.train_images[:, None] / 255, few.train_labels)]
    X, losses = batches[0][0], []
    for make in (namespace["small_net"], lambda depth: experiments.small_net(depth, False)):
        torch.manual_seed(0)
        net = make(depth)
        assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in net.modules()) == depth
        losses.append((net(X), namespace["train_net"](net, batches, num_epochs=3), net.eval()(X)))
    (before, loss, after), (same_before, same_loss, same_after) = losses
    torch.testing.assert_close(before, same_before)
    torch.testing.assert_close(after, same_after)
    assert loss == pytest.approx(same_loss, rel=1e-4) and not torch.equal(before, after)


@pytest.mark.parametrize(("shown", "trained"), [("Plain", models.PlainBlock),
                                                ("PlainWithX", models.Residual)])
def test_notebook_2_shows_the_blocks_that_it_trains(shown, trained):
    block, X = trained(3, 3), torch.randn(4, 3, 6, 6)
    copy = definitions_of(NOTEBOOKS[1])[shown](3, 3)
    copy.load_state_dict(block.state_dict())
    assert torch.equal(copy(X), block(X))


def sources(path, name):
    """The cells of a notebook that define `name`; the last is the general one, where there are
    several.
    """
    return [cell["source"] for cell in cells(path, "code")
            if re.search(rf"^(def|class) {name}\b", cell["source"], re.MULTILINE)]


def test_notebook_3_begins_with_the_articles_resnet_block():
    first, _ = sources(NOTEBOOKS[2], "resnet_block")
    assert ast.unparse(definition(first, "resnet_block").args) == (
        "input_channels, num_channels, num_residuals, first_block=False")
    namespace = {"Residual": models.Residual}
    exec(first, namespace)
    for arguments in ((64, 64, 2, True), (64, 128, 3), (256, 512, 1)):
        assert str(namespace["resnet_block"](*arguments)) == str(models.resnet_block(*arguments))


def test_the_step_that_notebook_4_quotes_is_that_of_fit():
    text = "\n".join(cell["source"] for cell in cells(NOTEBOOKS[3], "markdown"))
    quoted, = re.findall(r"```python\n(def train_step.*?)```", text, re.DOTALL)
    assert textwrap.indent(quoted, "    ") in inspect.getsource(training.fit)


@pytest.mark.parametrize("depth", [18, 34])
def test_notebook_3_counts_the_layers(depth):
    namespace = definitions_of(NOTEBOOKS[2])
    with torch.device("meta"):
        assert len(namespace["weighted_layers"](models.MODELS[depth]())) == depth


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_saved_from_one_run_of_a_fresh_kernel(path):
    counts = [cell["execution_count"] for cell in cells(path, "code")]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_no_output_shows_a_warning_an_error_or_a_path(path):
    for cell in cells(path, "code"):
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"
        assert not re.search(r"(/work|/home|/Users|/root|C:\\\\)", json.dumps(cell["outputs"]))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_picture_is_described_in_words(path):
    for cell in cells(path, "code"):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                alt = output["metadata"].get("image/png", {}).get("alt", "")
                assert len(alt.split()) >= 5, cell["source"]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_cells_are_short_enough_to_project(path):
    for cell in cells(path, "code"):
        lines = cell["source"].splitlines()
        most = 20 if re.match("class|# A solution|def my_|class My", cell["source"]) else 15
        assert len([line for line in lines if line.strip()]) <= most, cell["source"]
        assert max(map(len, lines)) <= 100, cell["source"]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_links_between_notebooks_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#]+\.ipynb)\)",
                       "\n".join(cell["source"] for cell in cells(path, "markdown")))
    assert links and all((path.parent / link).is_file() for link in links)


# --- exercises ---

TRAIN_FOR_A_MINUTE = ("solution-quick-run", "solution-small-net")


def solutions():
    for path in ALL:
        for cell in cells(path, "code"):
            if "solution" in cell["metadata"].get("tags", []):
                marks = [pytest.mark.slow] * (cell["id"] in TRAIN_FOR_A_MINUTE)
                yield pytest.param(path, cell, id=cell["id"], marks=marks)


def definitions_of(path):
    """The imports, functions and classes of a notebook, as names and values; nothing else of it is
    run.
    """
    namespace = {}
    for cell in cells(path, "code"):
        if "solution" not in cell["metadata"].get("tags", []):
            body = [node for node in ast.parse(cell["source"]).body
                    if isinstance(node,
                                  (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))]
            exec(compile(ast.Module(body, []), path.name, "exec"), namespace)
    return namespace


@pytest.mark.parametrize(("path", "cell"), list(solutions()))
def test_the_solution_passes_its_check(path, cell):
    namespace = definitions_of(path)
    exec(cell["source"], namespace)
    line = cell["source"].splitlines()[-1]
    assert line.startswith("# check.")
    verdict = eval(line.removeprefix("# "), namespace)
    assert verdict.solved, verdict


def solution(cell_id):
    return next(param.values for param in solutions() if param.id == cell_id)


class Quicker(nn.Module):
    """In the place of ResNet-18: a net that learns the images in seconds, with as many parameters.
    """

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.BatchNorm1d(128), nn.ReLU(),
                                 nn.Linear(128, 10))
        rest = 11_178_378 - models.count_parameters(self.net)
        self.unused = nn.Parameter(torch.zeros(rest))

    def forward(self, X):
        return self.net(X)


def test_the_solution_of_the_quick_run_passes_its_check_with_a_quicker_net(monkeypatch):
    monkeypatch.setattr(d2l, "resnet18", Quicker)
    test_the_solution_passes_its_check(*solution("solution-quick-run"))


def test_the_solution_of_the_small_net_passes_its_check_in_a_single_epoch(monkeypatch):
    monkeypatch.setattr(notebook4, "QUICK", replace(notebook4.QUICK, num_epochs=1))
    monkeypatch.setattr(notebook4, "GOAL", 0.5)
    test_the_solution_passes_its_check(*solution("solution-small-net"))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_exercise_has_a_task_a_check_that_is_open_and_a_folded_solution(path):
    notebook = cells(path, "code")
    asked = {name: cell for cell in notebook if "solution" not in cell["metadata"].get("tags", [])
             for name in re.findall(r"^check\.(\w+)\((?!\))", cell["source"], re.MULTILINE)}
    solved = [re.search(r"# check\.(\w+)", cell["source"]).group(1) for cell in notebook
              if "solution" in cell["metadata"].get("tags", [])]
    numbers = {name: number for number, name in attempts.FURTHER.items()}
    number = numbers.get(path.stem) if path in FURTHER else int(path.stem[:2])
    expected = [name for name,
                exercise in check.EXERCISES.items() if exercise.notebook == number]
    assert sorted(asked) == sorted(solved) == sorted(expected)
    text = "\n".join(cell["source"] for cell in cells(path, "markdown"))
    titles = re.findall(r"^### Exercise ([\d.]+):", text, re.MULTILINE)
    in_chapter = "" if path in FURTHER else f"{number}."
    assert titles == [f"{in_chapter}{i}" for i in range(1, len(expected) + 1)]
    for cell in asked.values():
        (output,) = cell["outputs"]
        assert "".join(output["data"]["text/plain"]).startswith("○ ")
    for cell in notebook:
        if "solution" in cell["metadata"].get("tags", []):
            assert cell["metadata"]["jupyter"] == {"source_hidden": True} and not cell["outputs"]


# --- predictions ---

def answers():
    """Code cells between a question and the next text, as (notebook, position, cell)."""
    for path in ALL:
        asked = 0
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                asked = 1 if "**Predict" in "".join(cell["source"]) else 0
            elif asked and not cell["metadata"].get("jupyter", {}).get("source_hidden"):
                yield pytest.param(asked, cell, id=f"{path.stem}-{cell['id']}")
                asked += 1


def test_all_questions_have_an_answer():
    text = "".join(path.read_text(encoding="utf-8") for path in ALL)
    assert sum(param.values[0] == 1 for param in answers()) == text.count("**Predict") > 40


@pytest.mark.parametrize(("number", "cell"), [*answers()])
def test_an_answer_is_folded_until_the_cell_is_run_and_its_first_line_keeps_it(number, cell):
    assert cell["metadata"]["jupyter"]["outputs_hidden"]
    first = cell["outputs"][0]
    text = "".join(first.get("text", first.get("data", {}).get("text/plain", "")))
    heading = text.splitlines()[0]
    assert heading.strip() and not re.search(r"\d\.\d|True|False|\d%", heading)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_the_code_of_notebooks_holds_no_words_for_pictures_and_no_colours(path):
    for cell in cells(path, "code"):
        source = cell["source"]
        assert not re.search(r"\balt\s*=|#[0-9a-fA-F]{6}\b|\bcolor=|matplotlib|pyplot", source)


# --- the glossary ---

def sections():
    """{"2.1" or "better_recipes 4": its text, markdown and code} of all notebooks."""
    texts = {}
    for path in ALL:
        current, prefix = None, f"{path.stem} " if path in FURTHER else ""
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for line in "".join(cell["source"]).splitlines():
                heading = re.match(r"## ([\d.]+?)\.? ", line)
                if line.startswith("## "):
                    current = prefix + heading.group(1) if heading else None
                if current:
                    texts[current] = texts.get(current, "") + line.lower() + " "
    return texts


def glossary():
    table = (NOTEBOOKS[0].parent / "GLOSSARY.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table
            if line.startswith("|")]
    return rows[2:]


def test_every_term_of_the_glossary_stands_where_it_says():
    texts, missing = sections(), []
    for term, chinese, meaning, section in glossary():
        stems = [re.sub(r"^(training and |fold a |data )", "", name)
                 for name in term.lower().split(", ")]
        if not any(stem in texts[section] for stem in stems):
            missing.append((term, section))
        assert re.search(r"[\u4e00-\u9fff]", chinese) and meaning, term
    assert missing == []


def test_the_glossary_is_in_order():
    terms = [row[0].lower() for row in glossary()]
    assert terms[:-1] == sorted(terms[:-1]) and terms[-1].startswith("1x1")
