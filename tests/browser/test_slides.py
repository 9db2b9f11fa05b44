"""The decks of `python -m resnet_helpers.publish slides` in Chromium, with every other host refused:
each slide fits a projector of 1280 x 720, formulas are drawn, axe, speaker notes.
"""

import functools
import http.server
import re
import threading

import pytest

from resnet_helpers import publish, slides

from .conftest import FAILURES

NOTEBOOKS = publish.course_notebooks(publish.NOTEBOOKS)
DECKS = [path.relative_to(publish.NOTEBOOKS).with_suffix(slides.SUFFIX).as_posix()
         for path in NOTEBOOKS]
WIDTH, HEIGHT = 1280, 720
MOST_BYTES = 5_000_000
# What is seen of the present slide: its extent, by how much text reaches out of its box, and what is missing.
MEASURE = """() => {
    const slide = Reveal.getCurrentSlide(), seen = [];
    const isSeen = e => !e.closest('aside.notes');
    const isDrawn = e => e.getBoundingClientRect().width > 3 && e.getBoundingClientRect().height > 3;
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
    const drawn = [...slide.querySelectorAll('math, img')].filter(isSeen);
    return {top: Math.min(...seen.map(r => r.top)), bottom: Math.max(...seen.map(r => r.bottom)),
            right: Math.max(...seen.map(r => r.right)), cut, text: slide.innerText.slice(0, 60),
            notDrawn: drawn.filter(e => !isDrawn(e)).map(e => e.outerHTML.slice(0, 200)),
            formulas: slide.querySelectorAll('math').length, isLast: Reveal.isLastSlide()};
}"""


@pytest.fixture(scope="package")
def decks(browser, tmp_path_factory):
    """A folder with a deck of each notebook; in vain without the browser."""
    folder = tmp_path_factory.mktemp("decks")
    list(publish.make_slides(NOTEBOOKS, folder))
    return folder


@pytest.fixture(scope="package")
def bases(decks):
    """{"file": the address of this folder, "server": that on a web server of this machine}"""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=decks)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"file": decks.as_uri(), "server": f"http://127.0.0.1:{server.server_port}"}
        server.shutdown()


@pytest.fixture
def show(open_page, bases):
    """Opens a deck on a projector."""
    def show(address, where="file"):
        page = open_page(f"{bases[where]}/{address}", viewport={"width": WIDTH, "height": HEIGHT})
        page.wait_for_selector(".reveal.ready")
        return page
    return show


def test_the_decks_are_small(decks, report):
    size = sum(path.stat().st_size for path in decks.rglob("*") if path.is_file())
    report(f"all decks with what they load: {size / 1e6:.1f} MB")
    assert size < MOST_BYTES


@pytest.mark.parametrize("address", DECKS)
def test_no_slide_overflows(show, address):
    page = show(address)
    page.evaluate("Reveal.configure({transition: 'none', fragments: false})")
    count = formulas = 0
    while True:
        seen = page.evaluate(MEASURE)
        fits = seen["top"] >= 0 and seen["bottom"] <= HEIGHT and seen["right"] <= WIDTH and seen["cut"] <= 1
        if not fits or seen["notDrawn"]:
            FAILURES.mkdir(exist_ok=True)
            page.screenshot(path=FAILURES / f"{address.replace('/', '-')}-{count}.png")
        assert fits and not seen["notDrawn"], seen
        count += 1
        formulas += seen["formulas"]
        if seen["isLast"]:
            break
        page.evaluate("Reveal.next()")
    assert count >= 25 and formulas > 0


@pytest.mark.parametrize("where", ["file", "server"])
def test_speaker_notes_and_the_slides_follow_each_other(show, where):
    page = show(DECKS[-1], where)
    assert re.fullmatch(r"1\s*/\s*\d+", page.locator(".slide-number").inner_text())
    with page.expect_popup() as opened:
        page.keyboard.press("s")
    speaker = opened.value
    notes = page.locator("section.present aside.notes").first.text_content().split()
    speaker.wait_for_function("words => document.querySelector('.speaker-controls-notes .value')"
                              "?.textContent.includes(words)", arg=notes[0])
    speaker.keyboard.press("ArrowRight")
    page.wait_for_function("Reveal.getIndices().h === 1")


@pytest.mark.parametrize("address", DECKS)
def test_nothing_keeps_people_out(show, violations, address):
    page = show(f"{address}?view=print")  # all slides at once
    assert page.locator(".pdf-page").count() >= 25
    assert violations(page.locator(":root")) == []


def test_reveal_is_what_npm_gives(from_npm):
    folder = slides.ASSETS / "reveal"
    (version,) = re.findall(r"reveal\.js (\d+\.\d+\.\d+)", slides.__doc__)
    package = from_npm(f"reveal.js@{version}")
    for name in ("LICENSE", "dist/reveal.js", "dist/reveal.css", "dist/plugin/notes.js"):
        ours = folder / name.rpartition("/")[2]
        assert ours.read_text(encoding="utf-8") == (package / name).read_text(encoding="utf-8"), name
