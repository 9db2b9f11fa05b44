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


def address_of(page):
    """What the address bar shows; `page.url` learns of it a little later."""
    return page.evaluate("location.href")


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
    assert status(page) == explorer.text and "use_1x1conv=1" in address_of(page)
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
    assert address_of(page).split("#")[1].startswith(f"{name}?")
    assert status(page, name) != before or name in ("block", "predictions")


def test_a_click_on_a_number_of_the_confusion_matrix_chooses_it(visit):
    page = visit("explorers.html#predictions")
    page.locator("[data-live=predictions] [data-choice]").nth(6 * 10 + 4).click()
    assert "true=6&answer=4" in address_of(page)
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


# Elements that reach out of the window or are cut, where nothing can be scrolled to show the rest.
CUT = """() => [...document.querySelectorAll('body *')].filter(element => {
    const inner = element.parentElement.closest('svg, math');
    if (inner || !element.checkVisibility()) return false;
    let right = element.getBoundingClientRect().right;
    for (let around = element; around; around = around.parentElement) {
        const style = getComputedStyle(around), edge = around.getBoundingClientRect().right;
        if (style.clipPath !== 'none') return false;  // for screen readers
        if (around === element) continue;
        if (['auto', 'scroll'].includes(style.overflowX)) right = Math.min(right, edge);
        else if (style.overflowX !== 'visible' && right > edge + 1) return true;
    }
    return right > innerWidth + 1;
}).map(element => `${element.tagName}.${element.className}: ${element.textContent.slice(0, 60)}`)"""


@pytest.mark.parametrize("width", [390, 640, 768, 1280])  # 640: a projector, at twice the size
@pytest.mark.parametrize("address", PAGES)
def test_nothing_is_cut(visit, address, width):
    page = visit(address, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate(CUT) == []


@pytest.mark.parametrize("width, scheme", [(1280, "light"), (1280, "dark"), (390, "light")])
@pytest.mark.parametrize("address", PAGES)
def test_nothing_keeps_people_out(visit, violations, address, width, scheme):
    page = visit(address, width=width, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
    assert violations(page.locator(":root")) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_a_picture_opens_large_and_closes_with_the_keyboard(visit, width):
    page = visit("01_function_classes.html", width=width)
    picture = page.locator("main img[role=button]").first
    before = picture.bounding_box()["width"]
    picture.focus()
    page.keyboard.press("Space")
    large = page.locator("dialog img")
    assert large.bounding_box()["width"] > 1.2 * before
    assert large.get_attribute("alt") == picture.get_attribute("alt") != ""
    dialog = page.locator("dialog")
    dialog.evaluate("dialog => dialog.scrollTo(9999, 9999)")  # all of it can be reached
    assert large.bounding_box()["x"] + large.bounding_box()["width"] <= width + 1
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert picture.evaluate("picture => picture === document.activeElement")
    page.emulate_media(color_scheme="dark")
    picture.click()
    content = "picture => getComputedStyle(picture).content"
    assert large.evaluate(content) == picture.evaluate(content) != "normal"
    page.locator("dialog button").click()
    dialog.wait_for(state="detached")


def test_the_colours_follow_the_system_while_the_page_is_open(visit):
    page = visit("explorers.html")
    paper = "getComputedStyle(document.querySelector('[data-live=block] svg')).backgroundColor"
    before = page.evaluate(paper)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    assert page.evaluate(paper) != before


def test_each_page_leads_to_the_next_and_back(visit, site):
    page, seen = visit(PAGES[0]), [PAGES[0]]
    while (following := page.locator("footer a", has_text="Next: ")).count():
        before = address_of(page)
        with page.expect_navigation():
            following.click()
        assert page.locator("footer a", has_text="Previous: ").evaluate("a => a.href") == before
        seen.append(address_of(page).removeprefix(f"{site.as_uri()}/"))
    assert seen == [address for address in PAGES if address != "index.html"]
    with page.expect_navigation():
        page.locator("header a", has_text="Explorers").click()
    assert page.locator("header li").count() == len(live.EXPLORERS)


def test_the_handle_stays_at_the_last_image_and_tells_its_number(visit):
    page = visit("explorers.html#predictions?true=0&answer=4&image=1")
    handle = page.get_by_role("slider", name="image")
    handle.focus()
    page.keyboard.press("End")
    count = int(re.search(r"of (\d+):", status(page, "predictions"))[1])
    assert count < 8 and f"Image {count} of {count}" in status(page, "predictions")
    assert f"image={count}" in address_of(page) and handle.input_value() == f"{count}"
    assert page.locator("[data-live=predictions] output").inner_text() == f"{count}"


def test_the_keyboard_stays_in_the_explorer_after_a_button_has_mended_it(visit):
    page = visit("explorers.html#block?use_1x1conv=0&strides=2&channels=3-6")
    page.locator("[data-live=block] .mend button").first.focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("checkbox", name="use_1x1conv").evaluate(
        "box => box === document.activeElement && box.checked")


def test_what_an_address_leaves_out_is_as_at_first(visit):
    page = visit("explorers.html#block?channels=1-1")
    page.evaluate("""() => new Promise(done => {
        addEventListener('hashchange', () => setTimeout(done));
        location.hash = '#block?use_1x1conv=0';
    })""")
    assert status(page) == status(visit("explorers.html#block?use_1x1conv=0"))


def test_the_front_page_is_one_screen_with_all_notebooks(visit):
    page = visit("index.html")
    links = page.locator(".notebooks a")
    assert links.count() == 4 and links.last.bounding_box()["y"] < 700
    assert re.search(r"45 minutes", page.locator(".notebooks").inner_text())
