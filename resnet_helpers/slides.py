"""Slide shows of the notebooks that ask nothing of other hosts: reveal.js lies beside them.

assets/reveal has reveal.js 6.0.2 and its plugin for speaker notes as npm gives them; the theme is
our own, in the fonts of the system.
Needs nbconvert and latex2mathml, which requirements.txt brings.
"""

import html

from resnet_helpers.pages import (
    ASSETS,
    notebook_styles,
    notebook_title,
    with_mathml,
)
from resnet_helpers.runs.files import write_page

BESIDE = "assets"  # the folder beside the slide shows with what all of them load
SUFFIX = ".slides.html"


def make_decks(paths, out):
    """A slide show per notebook, in folders as the notebooks are; yields their paths."""
    from nbconvert import SlidesExporter
    for file in (*(ASSETS / "reveal").iterdir(), ASSETS / "slides.css"):
        write_page(out / BESIDE / file.name, file.read_text(encoding="utf-8"))
    write_page(out / BESIDE / "notebook.css", notebook_styles(SlidesExporter()))
    for path in paths:
        place = path.relative_to(paths[0].parent)
        deck = _DECK.format(title=html.escape(notebook_title(path)), slides=_slides(path),
                            beside="../" * (len(place.parts) - 1) + BESIDE)
        yield write_page(out / place.with_suffix(SUFFIX), deck)


def _slides(path):
    """The slides of a notebook: formulas as MathML, links that lead on."""
    import nbformat
    from bs4 import BeautifulSoup
    from nbconvert import SlidesExporter
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
    body, _ = SlidesExporter().from_notebook_node(notebook)
    soup = BeautifulSoup(body, "html.parser").select_one(".slides")
    for script in soup.find_all("script"):
        script.decompose()
    for picture in soup.select("img[id^='rh-']"):
        picture.find_next_sibling("style").decompose()  # slides are light
        for title in picture.find_previous_siblings(string=True):
            title.extract()
    for link in soup.select("a[href$='.ipynb']"):
        link["href"] = link["href"].removesuffix(".ipynb") + SUFFIX
    for link in soup.select("a[href$='.md']"):
        link.unwrap()  # texts are not among the slides
    return soup


_DECK = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<link rel="stylesheet" href="{beside}/reveal.css">
<link rel="stylesheet" href="{beside}/notebook.css">
<link rel="stylesheet" href="{beside}/slides.css"></head>
<body class="jp-Notebook" data-jp-theme-light="true" data-jp-theme-name="JupyterLab Light">
<main><div class="reveal">{slides}</div></main>
<script src="{beside}/reveal.js"></script><script src="{beside}/notes.js"></script>
<script>Reveal.initialize({{history: true, slideNumber: "c/t", plugins: [RevealNotes]}})</script>
</body></html>
"""
