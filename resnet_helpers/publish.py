"""Pages, slides and copies for a class from the notebooks, for teachers.

`python -m resnet_helpers.publish --help` tells how.
"""

import argparse
import html
import re
import sys
from pathlib import Path

from resnet_helpers.class_folder import COPIES, class_obstacle, next_steps, surround
from resnet_helpers.runs.files import write_page

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
GUIDE = "TEACHING.md"  # not for the class
FURTHER = "further"  # the folder beside the notebooks with those that go on
SOLUTION = "solution"  # the tag of a cell that solves an exercise
FOLDED_ANSWER = re.compile(  # all that is folded but what goes further than the text
    r"<details><summary>(?!Fine print)[^<]*</summary>.*?</details>\n?", re.DOTALL)
QUESTION = re.compile(r"^\*\*Predict.*?(?=^\*\*Predict|\Z)", re.DOTALL | re.MULTILINE)
WORDS_ON_SOLUTIONS = re.compile(r"\s+".join(map(re.escape, (
    "The folded cell after each exercise (click on its bar to open it) holds a solution.".split()
))) + r"\s")  # wherever its lines break


def main(arguments=None):
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m resnet_helpers.publish",
        description="Make web pages, slides or copies for a class of all notebooks.",
        epilog="Pages and slides need no network. Speaker notes open with the key S.")
    parser.add_argument("kind", choices=KINDS, help="pages with an index, a slide show per "
                        "notebook, a folder that can be a class's repository, with notebooks "
                        "without outputs, solutions and answers, and what they need to start, or "
                        "a page to print with all questions that ask for a prediction")
    parser.add_argument("out", type=Path, metavar="OUT",
                        help="folder to write to; made if it is not there")
    parser.add_argument("--notebooks", type=Path, default=NOTEBOOKS, metavar="FOLDER",
                        help="where the notebooks are (those of this course)")
    parser.add_argument("--address", metavar="URL",
                        help="of the repository: of this one for a site, which then links to what "
                        "runs a page; of the class's for the commands that class prints")
    options = parser.parse_args(arguments)
    paths = course_notebooks(options.notebooks)
    if not paths:
        parser.error(f"there are no notebooks in {options.notebooks}")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"{options.out} cannot be made: {error}")
    is_class = options.kind == "class"
    written = [options.out, options.out / COPIES] if is_class else [options.out]
    if any(place.exists() and place.samefile(options.notebooks) for place in written):
        parser.error(f"{options.out} is where the notebooks are: name another folder")
    if is_class and (obstacle := class_obstacle(options.out)):
        parser.error(obstacle)
    more = {"address": options.address} if options.kind == "site" else {}
    for page in KINDS[options.kind](paths, options.out, **more):
        print(page)
    if is_class:
        print(next_steps(options.out, paths[0].name, options.address))
    return 0


def course_notebooks(folder):
    """Those of the folder, then those of its folder `further`, as paths in this order."""
    return [*sorted(folder.glob("*.ipynb")), *sorted((folder / FURTHER).glob("*.ipynb"))]


def make_site(paths, out, address=None, drawn=None):
    """The course as a web site that asks nothing of other hosts; yields the paths of its pages."""
    from resnet_helpers.pages import make_pages
    yield from make_pages(paths, _texts(paths), out, address, drawn)


def make_slides(paths, out):
    """A slide show per notebook that asks nothing of other hosts; yields their paths."""
    from resnet_helpers.slides import make_decks
    yield from make_decks(paths, out)


def make_class(paths, out):
    """A folder that can be a repository of its own: copies, and what they need to start.

    Yields the paths.
    """
    yield from surround(out, paths[0].name)
    yield from make_copies(paths, out / COPIES)


def make_copies(paths, out):
    """Notebooks without outputs, solutions and folded answers, and the glossary beside them.

    Yields their paths.
    """
    import nbformat
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata.pop("widgets", None)
        notebook.cells = [cell for cell in notebook.cells
                          if SOLUTION not in cell.metadata.get("tags", [])]
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
            cell.source = FOLDED_ANSWER.sub("", WORDS_ON_SOLUTIONS.sub("", cell.source)).strip("\n")
        notebook.cells = [cell for cell in notebook.cells if cell.source]
        yield write_page(out / _page_place(path, paths), nbformat.writes(notebook) + "\n")
    for path in _texts(paths):
        if path.name != GUIDE:
            yield write_page(out / path.name, path.read_text(encoding="utf-8"))


def make_worksheet(paths, out):
    """A page to print: each notebook's questions before a result, with room to write below them.

    Yields its path.
    """
    import nbformat
    from nbconvert.filters import markdown2html

    from resnet_helpers.pages import notebook_title, with_mathml
    parts = []
    for path in paths:
        notebook, section = nbformat.read(path, as_version=4), ""
        parts.append(f"<h1>{html.escape(notebook_title(path))}</h1>")
        for cell in notebook.cells:
            if heading := re.search(r"^## (\d[\d.]*)", cell.source, re.MULTILINE):
                section = heading.group(1)
            for question in QUESTION.findall(cell.source if cell.cell_type == "markdown" else ""):
                words = question.replace("**Predict", f"**{section} Predict", 1)
                parts.append(f'<section>{markdown2html(with_mathml(words))}'
                             '<div class="lines"></div></section>')
    yield write_page(out / "predictions.html", _SHEET.format("".join(parts)))


_SHEET = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Predictions</title><style>
body {{ font: 16px/1.5 sans-serif; max-width: 860px; margin: 1em auto; padding: 0 1em }}
section {{ break-inside: avoid }} h1 {{ break-after: avoid }}
.lines {{ height: 3.6em; border: solid #888; border-width: 0 0 1px;
  background: linear-gradient(#888, #888) 0 50% / 100% 1px no-repeat }}
</style></head><body>{}</body></html>
"""


KINDS = {"site": make_site, "slides": make_slides, "class": make_class,
         "worksheet": make_worksheet}


def _texts(paths):
    """The Markdown files beside the notebooks."""
    return sorted(paths[0].parent.glob("*.md"))


def _page_place(path, paths):
    """Where a notebook or text is below the folder of the first notebook, as a relative path."""
    return path.relative_to(paths[0].parent)


if __name__ == "__main__":
    sys.exit(main())
