"""Safe by default: what readers copy opens nothing; what they type or load is shown, not run."""

import ast
import contextlib
import html.parser
import io
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import ipywidgets as widgets
import nbformat
import pytest
import torch
from torch import nn

import resnet_helpers as d2l
from resnet_helpers import check, publish
from resnet_helpers.check import grade
from resnet_helpers.check.attempts import Overview
from resnet_helpers.predictions import Predictions
from resnet_helpers.sketch import Sketch
from resnet_helpers.widgets import PredictionBrowser, TrainingPanel
from resnet_helpers.widgets.explorer import status, table

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "resnet_helpers").rglob("*.py"))
WORKFLOWS = sorted((ROOT / ".github").rglob("*.yml"))
COPIED = [*(ROOT / path for path in ("README.md", "tests/README.md", "resnet_helpers/README.md",
                              ".ci/run", "environment.yml", ".binder/environment.yml",
                              ".devcontainer/devcontainer.json")),
          *sorted((ROOT / ".github").glob("*.md")),
          *PACKAGE, *WORKFLOWS, *sorted((ROOT / "notebooks").glob("*.md")),
          *sorted((ROOT / "notebooks").rglob("*.ipynb"))]


def name(path):
    return path.relative_to(ROOT).as_posix()


# --- commands and code that readers copy ---

UNSAFE = {  # pattern: an example of it
    r"--allow-root": "jupyter lab --allow-root",
    r"""(?i)(token|password)\s*=\s*(""|''|(?=\s|$))""": "jupyter lab --ServerApp.token=''",
    r"(?i)\b(ip|host)\b\s*[=:]?\s*['\"]?(0\.0\.0\.0|\*)": "jupyter lab --ip=0.0.0.0",
    r"allow_origin|disable_check_xsrf": "jupyter lab --ServerApp.disable_check_xsrf=True",
    r"\b(curl|wget)\b[^\n|]*\|\s*(sudo\s+)?\w*sh\b": "curl https://a.org/install | sudo bash",
    r"verify\s*=\s*False|CERT_NONE|_create_unverified": "requests.get(url, verify=False)",
    r"--trusted-host|--no-check-certificate|--insecure|\bcurl\s+-k\b": "pip --trusted-host a.org",
    r"\bhttp://(?!127\.0\.0\.1\b|localhost\b)": "git clone http://example.org/repository",
    r"\bsudo\s+pip\b|chmod\s+(-R\s+)?0?777|--break-system-packages": "sudo pip install torch",
}


def text_of(path):
    """What a reader sees of a file; of a notebook its cells and the text they print."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    parts = []
    for cell in notebook["cells"]:
        parts.append("".join(cell["source"]))
        for output in cell.get("outputs", []):
            parts.append("".join(output.get("text", "")))
            parts.append("".join(output.get("data", {}).get("text/plain", "")))
    return "\n".join(parts)


def test_nothing_to_copy_is_unsafe():
    texts = {name(path): text_of(path) for path in COPIED}
    found = [(file, match.group()) for file, text in texts.items() for pattern in UNSAFE
             for match in re.finditer(pattern, text)]
    assert found == [] and len(texts) > 40 and all(texts.values())
    assert [example for pattern, example in UNSAFE.items() if not re.search(pattern, example)] == []


RISKY = ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load",
         "pickle.loads", "yaml.load", "tempfile.mktemp")
RISKY_CALLS = ["eval(x)", "exec(x)", "os.system('ls')", "subprocess.run('ls', shell=True)",
               "pickle.load(file)", "torch.load(path)", "torch.load(path, weights_only=False)",
               "np.load(path, allow_pickle=True)"]


def risks(source):
    """Calls that run text as code or as a command, or whatever is in a file of pickled objects."""
    found = []
    for node in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        called = ast.unparse(node.func)
        options = {k.arg: ast.unparse(k.value) for k in node.keywords}
        may_run = any(options.get(name, "False") != "False" for name in ("shell", "allow_pickle"))
        unpickles = called == "torch.load" and options.get("weights_only") != "True"
        if called in RISKY or may_run or unpickles:
            found.append(ast.unparse(node))
    return found


def test_the_package_runs_no_text_and_no_pickles():
    assert [risks(f"def f():\n    return {call}") for call in RISKY_CALLS] == [
        [call] for call in RISKY_CALLS]
    found = {name(path): risks(path.read_text(encoding="utf-8")) for path in PACKAGE}
    assert {file: calls for file, calls in found.items() if calls} == {} and len(found) > 20


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_a_workflow_runs_pinned_actions_and_may_only_read(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"\buses:\s*(\S+)", text)
    assert used and [action for action in used if not re.search(r"@[0-9a-f]{40}$", action)] == []
    assert "permissions:\n  contents: read\n\n" in text
    more = re.findall(r"    permissions:\n((?:      .+\n)+)", text)  # of a job: to publish pages
    assert text.count("permissions") == 1 + len(more)
    assert set(more) <= {"      pages: write\n      id-token: write\n"}
    checkouts = [action for action in used if "/checkout@" in action]
    assert text.count("persist-credentials: false") == len(checkouts)
    assert "pull_request_target" not in text and "secrets." not in text
    # No text of others, such as a title, becomes part of a command.
    assert re.findall(r"\$\{\{\s*github\.(?!event_name\b|event\.workflow_run\."
                      r"(?:conclusion|event|head_sha)\b)", text) == []


# --- text of others on a page ---

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;b&gt;", "$x$",
           "'><svg/onload=alert(1)>", "</td></style><b>"]
hostile = pytest.mark.parametrize("text", HOSTILE)


class Reader(html.parser.HTMLParser):
    """Takes a page apart: elements with the names of their attributes; text, in attributes too."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.text += " ".join(value or "" for _, value in attrs)

    def handle_endtag(self, tag):
        self.elements.append((f"/{tag}",))

    def handle_data(self, data):
        self.text += data


def assert_is_text(make_page, text):
    """The page is the same with `text` as with a harmless word, and says `text` as it is."""
    page, harmless = Reader(make_page(text)), Reader(make_page("word"))
    assert text in page.text and "word" in harmless.text
    assert page.elements == harmless.elements


def page_of(widget):
    """All that ipywidgets put into a page as HTML; descriptions and tooltips they do not."""
    assert not getattr(widget, "description_allow_html", False)
    own = widget.value if isinstance(widget, widgets.HTML) else ""
    return own + "".join(map(page_of, getattr(widget, "children", ())))


@contextlib.contextmanager
def training_panel(folder):
    panel = TrainingPanel(folder=folder)
    panel.runs.clear()  # those of the panel of a test before, which look like one of the same cell
    try:
        yield panel
    finally:
        panel.close()


@hostile
def test_what_explorers_are_made_of_shows_text(text):
    assert_is_text(status, text)
    assert_is_text(lambda word: table(("run", word), [(word, 1, word)], caption=word), text)

    def picture(word):
        sketch = Sketch(1, 1)
        sketch.text(0, 0, word)
        return sketch.svg(word)

    assert_is_text(picture, text)


@hostile
def test_a_run_file_cannot_put_anything_into_the_panel(text, tmp_path):
    def panel(word):
        keys = ("model", "data", "image_size", "optimizer", "lr", "schedule", "num_epochs")
        history = d2l.History(config=dict.fromkeys(keys, word) | {word: word},
                              hardware={"device": word, "cpu": word}, versions={word: word})
        history.add(1, 10, 2.0, 0.5, 0.5, 100, 1.0)
        history.save(tmp_path / "run.json")
        with training_panel(tmp_path) as panel:
            panel.load(tmp_path / "run.json")
            panel._list.children[0].children[1].value = word  # renamed by the reader
            assert panel.runs[0].name == word
            return page_of(panel)

    assert_is_text(panel, text)


@hostile
def test_class_names_are_text(text):
    predictions = Predictions(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 1, 0]),
                              torch.tensor([[0.9, 0.1]] * 4))

    def browser(word):
        browser = PredictionBrowser(predictions=predictions, class_names=(word, "other"))
        page = page_of(browser)
        browser.close()
        return page

    assert_is_text(browser, text)


@hostile
def test_verdicts_show_the_readers_words_as_text(text):
    def message_of_an_error(word):
        def fails(*args, **kwargs):
            raise ValueError(word)
        return check.residual_block(type("Block", (nn.Module,), {"__init__": fails}))._repr_html_()

    for page in (message_of_an_error,
                 lambda word: check.residual_block(type(word, (), {}))._repr_html_(),
                 lambda word: check.Verdict(word, "wrong", word)._repr_html_(),
                 lambda word: Overview({1: [(word, word, "open")]}, word)._repr_html_()):
        assert_is_text(page, text)


@pytest.mark.parametrize("text", HOSTILE[:3])
def test_titles_of_notebooks_are_text_on_the_index(text, tmp_path):
    def index(word):
        cells = [nbformat.v4.new_markdown_cell(f"# {word}")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
        *_, index = publish.make_site([tmp_path / "a.ipynb"], tmp_path, drawn={})
        return index.read_text(encoding="utf-8")

    assert_is_text(index, text)


@pytest.mark.skipif(sys.platform == "win32", reason="no such file can be made")
@pytest.mark.parametrize("stem", ["javascript:alert(1)", '"><img src=x onerror=1>', "50% #1?"])
def test_links_of_the_index_lead_to_the_page_whatever_its_name(stem, tmp_path):
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / f"{stem}.ipynb")
    page, _, index = publish.make_site([tmp_path / f"{stem}.ipynb"], tmp_path, drawn={})
    listed = index.read_text(encoding="utf-8").split('<ol class="notebooks">')[1]
    address = re.search('href="([^"]*)"', listed).group(1)
    parts = urlsplit(address)
    assert (parts.scheme, parts.query, parts.fragment) == ("", "", "")
    assert unquote(parts.path) == page.name == f"{stem}.html"


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


@pytest.mark.skipif(sys.platform == "win32", reason="no such file can be made")
def test_names_of_files_do_not_command_the_terminal(tmp_path, monkeypatch, capsys):
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "a\x1b]0;title\x07\x1b[2J\rb,漢.ipynb")
    terminal = Terminal(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert grade.main([str(tmp_path)]) == 1
    terminal.flush()
    shown = terminal.buffer.getvalue().decode("utf-8")
    assert shown.count("\r\n") == 2 and "漢" in shown and "a?]0;title??[2J?b" in shown
    err = capsys.readouterr().err
    assert shown.replace("\r\n", "").isprintable() and err.replace("\n", "").isprintable()
