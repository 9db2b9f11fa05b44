"""The web site in Chromium, from files, with every other host refused: explorers, phone, axe."""

import re

import pytest

from resnet_helpers import live, publish
from resnet_helpers.widgets import BlockExplorer

PAGES = [*(path.relative_to(publish.NOTEBOOKS).with_suffix(".html").as_posix()
           for path in publish.course_notebooks(publish.NOTEBOOKS)),
         "GLOSSARY.html", "TEACHING.html", "explorers.html", "index.html"]
MOST_BYTES = 12_000_000


@pytest.fixture(scope="package")
def site(browser, tmp_path_factory):
    """The folder of the site; in vain without the browser."""
    folder = tmp_path_factory.mktemp("site")
    list(publish.make_site(publish.course_notebooks(publish.NOTEBOOKS), folder))
    return folder


@pytest.fixture
def visit(open_page, site):
    """Opens an address of the site from its file."""
    def visit(address, width=1280, scheme="light"):
        return open_page(f"{site.as_uri()}/{address}", color_scheme=scheme,
                         viewport={"width": width, "height": 800})
    return visit


def status(page, name="block"):
    return page.locator(f"[data-live={name}] [role=status]").inner_text()


def test_the_site_is_small(site):
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < MOST_BYTES


def test_an_address_a_click_and_a_key_choose_a_state(visit):
    page = visit("02_residual_block.html#block?use_1x1conv=0&strides=2&channels=3-6")
    explorer = BlockExplorer(strides=2, num_channels=6)
    assert status(page) == explorer.text and "cannot be added" in explorer.text
    page.locator("[data-live=block] .mend button", has_text="use_1x1conv=True").click()
    explorer.use_1x1conv = True
    assert status(page) == explorer.text and "use_1x1conv=1" in page.url
    page.get_by_role("checkbox", name="use_1x1conv").focus()
    page.keyboard.press("Space")
    explorer.use_1x1conv = False
    assert status(page) == explorer.text
    label = page.locator("[data-live=block] svg").get_attribute("aria-label")
    assert label == explorer.text
    explorer.close()


def test_a_click_becomes_a_picture_within_a_frame(visit):
    page = visit("explorers.html")
    milliseconds = page.evaluate("""() => {
        const box = document.querySelector('[data-live=block]'), times = [];
        for (let i = 0; i < 20; i++) {
            const start = performance.now();
            box.querySelector('input[type=checkbox]').click();
            times.push(performance.now() - start);
        }
        return times.sort((a, b) => a - b)[10];
    }""")
    print(f"from click to picture: {milliseconds:.1f} ms (median of 20)")
    assert milliseconds > 0


@pytest.mark.parametrize("name", live.EXPLORERS)
def test_every_explorer_follows_its_controls(visit, name):
    page = visit(f"explorers.html#{name}")
    before = status(page, name)
    control = page.locator(f"[data-live={name}] [data-axis]").last
    if control.locator("select").count():
        control.locator("select").select_option(index=1)
    else:
        control.locator("input").last.focus()
        page.keyboard.press("ArrowRight")
    assert page.url.split("#")[1].startswith(f"{name}?")
    assert status(page, name) != before or name in ("block", "predictions")


def test_a_click_on_a_number_of_the_confusion_matrix_chooses_it(visit):
    page = visit("explorers.html#predictions")
    page.locator("[data-live=predictions] [data-choice]").nth(6 * 10 + 4).click()
    assert "true=6&answer=4" in page.url
    assert "of class shirt" in status(page, "predictions")
    assert "taken for a coat" in status(page, "predictions")


def test_the_film_on_the_front_page_stands_still_for_those_who_want_it(visit):
    page = visit("index.html")
    film = page.locator(".film img")
    assert film.evaluate("img => img.currentSrc").endswith("tour.gif")
    page.emulate_media(reduced_motion="reduce")
    page.wait_for_function("document.querySelector('.film img').currentSrc.endsWith('tour.png')")
    assert len(film.get_attribute("alt")) > 100


def test_an_answer_is_folded_until_it_is_asked_for(visit):
    page = visit("04_training.html")
    details = page.locator(".celltag_answer details").first
    assert not details.locator("pre").first.is_visible()
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    assert details.locator("pre").first.is_visible()


@pytest.mark.parametrize("address", PAGES)
def test_a_phone_shows_whole_lines_without_moving_the_page(visit, address):
    page = visit(address, width=390)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    cut = page.evaluate("""() => [...document.querySelectorAll('.highlight pre')].filter(pre =>
        pre.scrollWidth > pre.clientWidth + 1
        && !['auto', 'scroll'].includes(getComputedStyle(pre).overflowX)
        && !['auto', 'scroll'].includes(getComputedStyle(pre.parentElement).overflowX)).length""")
    assert cut == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", PAGES)
def test_nothing_keeps_people_out(visit, violations, address, scheme):
    assert violations(visit(address, scheme=scheme).locator(":root")) == []


def test_the_front_page_is_one_screen_with_all_notebooks(visit):
    page = visit("index.html")
    links = page.locator(".notebooks a")
    assert links.count() == 4 and links.last.bounding_box()["y"] < 700
    assert re.search(r"45 minutes", page.locator(".notebooks").inner_text())
