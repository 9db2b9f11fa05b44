"""The decks of `jupyter nbconvert --to slides`: every slide fits a projector of 1280 x 720, without
a network.
"""

import shutil
import subprocess

import pytest

from resnet_helpers import publish

from .conftest import FAILURES, unavailable

NOTEBOOKS = publish.course_notebooks(publish.NOTEBOOKS)
WIDTH, HEIGHT = 1280, 720
# What is seen of the present slide: its extent, and by how much text reaches out of its box.
MEASURE = """() => {
    const slide = Reveal.getCurrentSlide(), seen = [];
    const isSeen = e => !e.closest('aside.notes') && !e.closest('.MJX_Assistive_MathML');
    for (const e of slide.querySelectorAll('*')) {
        const r = e.getBoundingClientRect();
        if (isSeen(e) && r.width && r.height) seen.push(r);
    }
    let cut = 0;
    for (const box of slide.querySelectorAll('.jp-InputArea-editor, .jp-OutputArea-output')) {
        if (!isSeen(box)) continue;
        for (const e of box.querySelectorAll('span, img'))
            cut = Math.max(cut, e.getBoundingClientRect().right - box.getBoundingClientRect().right);
    }
    return {top: Math.min(...seen.map(r => r.top)), bottom: Math.max(...seen.map(r => r.bottom)),
            right: Math.max(...seen.map(r => r.right)), cut, text: slide.innerText.slice(0, 60),
            mathIsDrawn: !slide.querySelector('.MathJax_Preview:not(:empty)'), isLast: Reveal.isLastSlide()};
}"""


@pytest.fixture(scope="package")
def decks(browser, tmp_path_factory):
    """A folder with a deck of each notebook and local copies of all that they load; in vain without
    the browser.
    """
    folder = tmp_path_factory.mktemp("decks")
    npm = shutil.which("npm")
    if npm is None:
        unavailable("npm is not here to install reveal.js")
    command = [part.format(folder / publish.ASSETS) for part in publish.INSTALL.split()]
    installed = subprocess.run([npm, *command[1:]], capture_output=True, text=True, timeout=300)
    if installed.returncode:
        unavailable(f"reveal.js could not be installed: {installed.stderr[-300:]}")
    list(publish.make_slides(NOTEBOOKS, folder))
    return folder


@pytest.fixture
def page(browser):
    """A page of the size of a projector, without a network."""
    with browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, offline=True) as context:
        yield context.new_page()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_slide_overflows(path, decks, page):
    deck = decks / path.relative_to(publish.NOTEBOOKS).with_suffix(".slides.html")
    page.goto(deck.as_uri())
    page.wait_for_selector(".reveal.ready")
    folder = "assets/node_modules" if deck.parent == decks else "../assets/node_modules"
    page.evaluate(f"new Promise(ready => require(['{folder}/reveal.js/dist/reveal.js'], "
                  "Reveal => {"
                  "window.Reveal = Reveal; Reveal.configure({transition: 'none', fragments: "
                  "false}); ready() }))")
    count = 0
    while True:
        page.evaluate("new Promise(ready => MathJax.Hub.Queue(ready))")
        seen = page.evaluate(MEASURE)
        fits = seen["top"] >= 0 and seen["bottom"] <= HEIGHT and seen["right"] <= WIDTH and seen["cut"] <= 1
        if not (fits and seen["mathIsDrawn"]):
            FAILURES.mkdir(exist_ok=True)
            page.screenshot(path=FAILURES / f"{path.stem}-slide-{count}.png")
        assert fits and seen["mathIsDrawn"], seen
        count += 1
        if seen["isLast"]:
            break
        page.evaluate("Reveal.next()")
    assert count >= 25
