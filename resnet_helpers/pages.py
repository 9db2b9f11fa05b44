"""The course as a web site: pages that ask nothing of other hosts, with explorers that answer.

Needs nbconvert and latex2mathml, which requirements.txt brings.
"""

import ast
import html
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from resnet_helpers.live import EXPLORERS, Drawn, nearest
from resnet_helpers.runs.files import write_page
from resnet_helpers.widgets.explorer import PAGE_STYLE

TITLE = "Learn ResNet in four notebooks"
ASSETS = Path(__file__).parent / "assets"
SUFFIX = ".html"
MATH = re.compile(r"```.*?```|`[^`]*`|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$]+?)\$", re.DOTALL)
LIVE = {"BlockExplorer": "block", "FunctionClassExplorer": "classes", "ModelExplorer": "model",
        "PredictionBrowser": "predictions"}
FILM, STILL_OF_FILM = "tour.gif", "tour.png"  # in the repository's .github, for README and here
FILM_WORDS = (
    "In the block explorer use_1x1conv is switched off: the two paths do not fit. A click mends "
    "the block. Then ResNet-18 is trained: its loss falls, its accuracies rise.")
LANGUAGES = {"index.html": ("en", "English")}  # front page of each: code, and name in itself
FRONT, EXPLORERS_PAGE = Path("index.html"), Path("explorers.html")
GITHUB = re.compile(r"https://github\.com/([\w-]+/[\w.-]+?)(?:\.git)?/?")  # what Colab can open
STILL = re.compile(rf"^({'|'.join(LIVE)}): ")


@dataclass(frozen=True)
class Course:
    """What a page has to know of the others.

    Attributes:
        titles: {place of a page below the site: its title}, in their order, without the front page.
        address: of the repository; None if it is not known.
    """

    titles: dict
    address: str | None = None


def make_pages(notebooks, texts, out, address=None, drawn=None):
    """A page for each notebook and text, a page with all explorers, and a front page.

    Args:
        notebooks, texts: paths of notebooks and of Markdown files, below one folder.
        out: folder to write to.
        address: of the repository, for links to run what a page shows; None leaves them out.
        drawn: {name: `Drawn`}; None draws all explorers, which takes a minute or two.

    Yields:
        The paths of the pages.
    """
    from nbconvert import HTMLExporter
    root = notebooks[0].parent
    places = {path: path.relative_to(root).with_suffix(SUFFIX) for path in (*notebooks, *texts)}
    titles = {places[path]: notebook_title(path) for path in notebooks}
    titles |= {places[path]: heading(path.read_text(encoding="utf-8")) or path.stem
               for path in texts}
    course = Course(titles | {EXPLORERS_PAGE: "The explorers"}, address)
    drawn = {name: Drawn(name) for name in EXPLORERS} if drawn is None else drawn
    for name, explorer in drawn.items():
        write_page(out / f"live-{name}.js", explorer.script())
    for name in ("live.js", "site.css"):
        write_page(out / name, (ASSETS / name).read_text(encoding="utf-8"))
    write_page(out / "notebook.css", notebook_styles(HTMLExporter()))
    for name in (FILM, STILL_OF_FILM):
        if (film := root.parent / ".github" / name).is_file():
            shutil.copyfile(film, out / name)
    for path in notebooks:
        yield write_page(out / places[path], notebook_page(path, places[path], course, drawn))
    for path in texts:
        yield write_page(out / places[path], _text_page(path, places[path], course))
    yield write_page(out / EXPLORERS_PAGE, _explorers_page(drawn, course))
    film = _FILM if (out / FILM).is_file() else ""
    yield write_page(out / FRONT, _front_page(course, drawn, notebooks, film))


def notebook_title(path):
    """The first heading of a notebook; its file name if there is none."""
    import nbformat
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown" and (title := heading(cell.source)):
            return title
    return path.stem


def heading(text):
    """The first heading of Markdown, without marks of code; None if there is none."""
    found = re.search(r"^# (.+)", text, re.MULTILINE)
    return found[1].replace("`", "") if found else None


# --- a notebook ---

def notebook_page(path, place, course, drawn):
    """A notebook as a page: answers and solutions folded, explorers alive, formulas as MathML."""
    import nbformat
    from bs4 import BeautifulSoup
    from nbconvert import HTMLExporter
    notebook = nbformat.read(path, as_version=4)
    _prepare(notebook)
    body, _ = HTMLExporter().from_notebook_node(notebook, {"metadata": {"name": path.stem}})
    soup = BeautifulSoup(body, "html.parser")
    for script in soup.find_all(["script", "link"]):
        script.decompose()
    pictures = _find_pictures(soup, notebook.cells)
    used = _bring_to_life(pictures, notebook.cells, drawn)
    _fold(soup)
    for cell in soup.find_all("th"):
        if not cell.get_text(strip=True):
            cell.name = "td"
    for wide in soup.select(".highlight, .jp-MarkdownOutput:has(math), math[display=block], table, "
                            ".jp-RenderedText"):
        wide["tabindex"] = "0"  # so that the keyboard can scroll it
    if soup.main:
        soup.main.name = "div"  # the page has its own
    return _page(soup.body.decode_contents(), place, course, used, is_notebook=True)


def _prepare(notebook):
    """Formulas become MathML, cells that answer a question are tagged, folded asserts go."""
    notebook.cells = [cell for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])
                      or not cell.metadata.get("jupyter", {}).get("source_hidden")]
    asked = False
    for cell in notebook.cells:
        cell.metadata.pop("transient", None)  # which leaves code out, for slides
        if cell.cell_type == "markdown":
            asked = "**Predict" in cell.source
            cell.source = with_mathml(cell.source)
        elif asked and cell.metadata.get("jupyter", {}).get("outputs_hidden"):
            cell.metadata.setdefault("tags", []).append("answer")


def with_mathml(text):
    """Markdown with its formulas as MathML, which browsers draw without any library."""
    from latex2mathml.converter import convert

    def replace(match):
        if formula := match["block"] or match["inline"]:
            display = "block" if match["block"] else "inline"
            return convert(" ".join(formula.split()), display=display)
        return match[0]  # code

    return MATH.sub(replace, text)


def _find_pictures(soup, cells):
    """[(picture, its output)] of the notebook, in order; the keyboard reaches each of them."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])
               if "image/png" in output.get("data", {})]
    pictures = soup.select("img[src^='data:image/png']")
    for picture in pictures:
        picture["tabindex"], picture["role"], picture["aria-haspopup"] = "0", "button", "dialog"
    return list(zip(pictures, outputs, strict=True))


def _bring_to_life(pictures, cells, drawn):
    """Explorers take the place of their pictures; returns the names of those on the page."""
    from bs4 import BeautifulSoup
    calls = [call for cell in cells if cell.cell_type == "code" for call in _calls(cell.source)]
    used = []
    for picture, output in pictures:
        found = STILL.match(output.data.get("text/plain", ""))
        name = LIVE[found[1]] if found else None
        if name not in drawn or name in used:
            continue
        traits = next((traits for called, traits in calls if LIVE[called] == name), {})
        markup = drawn[name].markup(nearest(name, **traits))
        picture.find_parent(class_="jp-OutputArea").replace_with(
            BeautifulSoup(markup, "html.parser"))
        used.append(name)
    return used


def _calls(source):
    """[(name of an explorer, its arguments)] of the calls in a cell's code."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic
        return []
    return [(node.func.id, {keyword.arg: ast.literal_eval(keyword.value)
                            for keyword in node.keywords})
            for node in ast.walk(tree) if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name) and node.func.id in LIVE]


def _fold(soup):
    """Answers and solutions become details that open with a click, Enter or Space."""
    for selector, words in ((".celltag_answer .jp-Cell-outputWrapper", "Show the answer"),
                            (".celltag_solution .jp-Cell-inputWrapper", "Show a solution")):
        for part in soup.select(selector):
            details = soup.new_tag("details")
            summary = soup.new_tag("summary")
            summary.string = words
            part.wrap(details)
            details.insert(0, summary)


def notebook_styles(exporter):
    """The styles of one of nbconvert's kinds of pages, without those that bring fonts."""
    import nbformat
    from bs4 import BeautifulSoup
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell()])
    body, _ = exporter.from_notebook_node(notebook)
    styles = BeautifulSoup(body, "html.parser").head.find_all("style")
    return "\n".join(style.text for style in styles if "@font-face" not in style.text)


# --- other pages ---

def _text_page(path, place, course):
    from nbconvert.filters import markdown2html
    body = markdown2html(path.read_text(encoding="utf-8"))
    body = re.sub(r'<input class="task-list-item-checkbox"[^>]*>', "☐ ", body)
    body = body.replace('<div class="highlight">', '<div class="highlight" tabindex="0">')
    body = body.replace("<table>", '<div class="wide" tabindex="0"><table>').replace(
        "</table>", "</table></div>").replace("<th></th>", "<td></td>")
    return _page(body, place, course)


def _explorers_page(drawn, course):
    body = "<h1>The explorers</h1>" + "".join(
        f'<h2 id="{name}">{EXPLORERS[name][0]}</h2>{explorer.markup(nearest(name))}'
        for name, explorer in drawn.items())
    return _page(body, EXPLORERS_PAGE, course, list(drawn))


def _front_page(course, drawn, notebooks, film):
    import nbformat
    items = []
    for (place, title), path in zip(course.titles.items(), notebooks, strict=False):
        text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells[:3])
        minutes = re.search(r"\*\*Time\*\*\D*(\d+)", text)
        link = f'<a href="{quote(place.as_posix())}">{html.escape(title)}</a>'
        items.append(f"<li>{link}{f' · {minutes[1]} minutes' if minutes else ''}</li>")
    languages = " ".join(f'<a href="{place}" lang="{code}" hreflang="{code}">{name}</a>'
                         for place, (code, name) in LANGUAGES.items())
    body = f"""<p class="languages">{languages}</p>
<div class="front"><div><h1>{TITLE}</h1>
<p class="lead">Why can a network of 152 layers be trained at all? Predict, turn the switches, and
see for yourself: no GPU, nothing to install to read it.</p>
<ol class="notebooks">{"".join(items[:4])}</ol>
<p>Going on: {" ".join(f'<span class="more">{item[4:-5]}</span>' for item in items[4:])}</p>
</div>{film}</div>
<p><strong>Read</strong> the pages above. <strong>Run</strong> the notebooks in JupyterLab, as
{_readme(course.address)} says. <strong>Teach</strong> with the
<a href="TEACHING.html">teacher's guide</a>. Words: the <a href="GLOSSARY.html">glossary</a>.</p>"""
    if "block" not in drawn:
        return _page(body, FRONT, course)
    numbers = nearest("block", use_1x1conv=True, strides=2, input_channels=3, num_channels=6)
    body += f"""<h2>Try it: one plus sign</h2>
<p>Switch <code>use_1x1conv</code> off and see what a residual block says when its two paths do not
fit. There are <a href="explorers.html">more explorers</a>.</p>
{drawn["block"].markup(numbers)}"""
    return _page(body, FRONT, course, ["block"])


_FILM = f"""<picture class="film">
<source media="(prefers-reduced-motion: reduce)" srcset="{STILL_OF_FILM}">
<img src="{FILM}" width="880" alt="{html.escape(FILM_WORDS)}"></picture>
"""


def _page(body, place, course, live=(), is_notebook=False):
    """A whole page: head, navigation, content, and the scripts of the explorers on it."""
    title = course.titles.get(place, TITLE)
    run = _run_it(place, course.address) if is_notebook else ""
    up = "../" * (len(place.parts) - 1)
    scripts = "".join(f'<script src="{up}live-{name}.js"></script>' for name in live)
    scripts += f'<script src="{up}live.js"></script>' if live else ""
    head = PAGE_STYLE if live else ""
    head += f'<link rel="stylesheet" href="{up}notebook.css">' if is_notebook else ""
    body = re.sub(r'href="((?:\.\./|[\w-]+/)?[\w-]+)\.(?:ipynb|md)(#[^"]*)?"',
                  rf'href="\1{SUFFIX}\2"', body)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>{head}<link rel="stylesheet" href="{up}site.css">
<script>{_THEME}</script></head>
<body data-jp-theme-light="true"><header>{_navigation(up, body, run)}</header>
<main>{body}</main><footer>{_neighbours(place, course.titles, up)}</footer>{scripts}
<script>{_LARGE}</script></body></html>
"""


def _navigation(up, body, run):
    """Home, the sections of this page, and how to run it."""
    sections = re.findall(r'<h2 id="([^"]+)">(.*?)(?:<a |</h2>)', body, re.DOTALL)
    items = "".join(f'<li><a href="#{anchor}">{words}</a></li>' for anchor, words in sections)
    contents = f"<details><summary>On this page</summary><ul>{items}</ul></details>"
    contents = contents if items else ""
    return (f'<nav aria-label="site"><a href="{up}{FRONT}">{TITLE}</a> '
            f'<a href="{up}{EXPLORERS_PAGE}">Explorers</a>{contents}{run}</nav>')


def _run_it(place, address):
    """Where and how to run the notebook of a page, folded."""
    notebook = place.with_suffix(".ipynb")
    words = (f"On your own machine: set up as {_readme(address)} says, which opens JupyterLab. "
             f"There open <code>{html.escape(notebook.as_posix())}</code>.")
    if address and (found := GITHUB.fullmatch(address)):
        name, where = found[1], quote(f"notebooks/{notebook.as_posix()}")
        words = f"""Without installing: <a href="https://mybinder.org/v2/gh/{name}/main?urlpath=\
lab/tree/{where}">on Binder</a>, which takes some minutes to start, or
<a href="https://colab.research.google.com/github/{name}/blob/main/{where}">in Colab</a>. There
first run <code>!pip install -q git+{html.escape(address)}</code> in a new cell, and restart the
session.</p><p>{words}"""
    return f"<details><summary>Run this yourself</summary><p>{words}</p></details>"


def _readme(address):
    """The repository's README, as words in a sentence, with a link if its address is known."""
    if address:
        return f'<a href="{html.escape(address)}#start">the repository\'s README</a>'
    return "the repository's README"


def _neighbours(place, titles, up):
    """Links to the page before and the page after."""
    order = list(titles)
    if place not in order:
        return ""
    i = order.index(place)
    links = []
    for j, words in ((i - 1, "Previous"), (i + 1, "Next")):
        if 0 <= j < len(order):
            links.append(f'<a href="{up}{quote(order[j].as_posix())}">{words}: '
                         f"{html.escape(titles[order[j]])}</a>")
    return f'<nav aria-label="neighbours">{" ".join(links)}</nav>'


_THEME = """{ const dark = matchMedia('(prefers-color-scheme: dark)');
const follow = () => { document.body.dataset.jpThemeLight = !dark.matches };
addEventListener('DOMContentLoaded', follow); dark.addEventListener('change', follow) }"""
_LARGE = """for (const img of document.querySelectorAll('main img[role=button]')) {
  const large = () => {
    const dialog = document.createElement('dialog'), close = document.createElement('button');
    close.textContent = 'Close';
    dialog.tabIndex = 0;
    const copy = Object.assign(new Image(), {src: img.src, alt: img.alt});
    copy.style.content = getComputedStyle(img).content;  // the dark picture on a dark page
    dialog.append(close, copy);
    dialog.setAttribute('aria-label', 'the picture, large');
    dialog.onclick = () => dialog.close();
    dialog.onclose = () => { dialog.remove(); img.focus() };
    document.body.append(dialog);
    dialog.showModal();
  };
  img.addEventListener('click', large);
  img.addEventListener('keydown', e => {
    if (e.key === 'Enter' || e.key === ' ') { e.preventDefault(); large() }
  });
}"""
