"""Pages, slides and copies of the notebooks: what is on them, and what they load."""

import re
from pathlib import Path

import nbformat
import pytest

from resnet_helpers import publish

NOTEBOOKS = publish.course_notebooks(publish.NOTEBOOKS)
PLACES = [path.relative_to(publish.NOTEBOOKS) for path in NOTEBOOKS]
SLIDE_TYPES = {"slide", "subslide", "fragment", "notes", "skip", "-"}


@pytest.mark.slow
def test_the_links_of_the_site_lead_somewhere(tmp_path):
    made = list(publish.make_site(NOTEBOOKS, tmp_path, drawn={}))
    names = [*(place.with_suffix(".html").as_posix() for place in PLACES), "GLOSSARY.html",
             "TEACHING.html", "explorers.html", "index.html"]
    assert made == [tmp_path / name for name in names]
    for page in made:
        body = page.read_text(encoding="utf-8")
        for target in re.findall(r'(?:href|src)="([^"#:]+\.(?:html|ipynb|md|js|css))"', body):
            assert page.parent.joinpath(target).is_file(), target
    front = made[-1].read_text(encoding="utf-8")
    for path, place in zip(NOTEBOOKS, PLACES, strict=True):
        page = (tmp_path / place.with_suffix(".html")).read_text(encoding="utf-8")
        pictures = path.read_text(encoding="utf-8").count('"image/png": "')
        assert page.count('src="data:image/png;base64') == pictures > 0
        assert f'<a href="{place.with_suffix(".html").as_posix()}">' in front


def test_the_worksheet_has_every_question_and_room_below_it(tmp_path, capsys):
    assert publish.main(["worksheet", str(tmp_path)]) == 0
    page = (tmp_path / "predictions.html").read_text(encoding="utf-8")
    asked = sum(path.read_text(encoding="utf-8").count("**Predict") for path in NOTEBOOKS)
    assert page.count('<div class="lines">') == page.count(" Predict") == asked > 40
    assert "1.1 Predict:" in page and "4.8 Predict:" in page and "highest training" in page
    assert "loss below 1, with 50 new layers?" in page  # which stands below a list


def test_copies_for_a_class_have_all_but_outputs_solutions_and_answers(tmp_path):
    made = list(publish.make_copies(NOTEBOOKS, tmp_path))
    assert made == [tmp_path / place for place in (*PLACES, "GLOSSARY.md")]
    for path, place in zip(NOTEBOOKS, PLACES, strict=True):
        original, copy = (nbformat.read(p, as_version=4) for p in (path, tmp_path / place))
        nbformat.validate(copy)
        left_out = [cell for cell in original.cells if cell.id not in {c.id for c in copy.cells}]
        assert left_out and all(cell.source.startswith(("# A solution", "<details>"))
                                for cell in left_out)
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in copy.cells)
        assert {*re.findall(r"<summary>(.*?)</summary>", "".join(
            cell.source for cell in copy.cells))} <= {"Fine print"}
        assert all(cell.source for cell in copy.cells)
        text = "\n".join(cell.source for cell in copy.cells)
        assert "a solution" not in text.lower() and "solution_" not in text


def test_the_notebooks_themselves_are_not_overwritten(tmp_path, capsys):
    kept = tmp_path / "notebooks" / NOTEBOOKS[0].name
    kept.parent.mkdir()
    kept.write_bytes(NOTEBOOKS[0].read_bytes())
    for out in (kept.parent / "." / "", tmp_path):
        with pytest.raises(SystemExit):
            publish.main(["class", str(out), "--notebooks", str(kept.parent)])
        assert "name another folder" in capsys.readouterr().err
    assert kept.read_bytes() == NOTEBOOKS[0].read_bytes()


@pytest.mark.slow
def test_slides_hold_the_notes_and_fold_code_where_a_picture_is_the_point(tmp_path):
    decks = list(publish.make_slides(NOTEBOOKS, tmp_path))
    assert decks == [tmp_path / place.with_suffix(".slides.html") for place in PLACES]
    for deck in decks:
        body = deck.read_text(encoding="utf-8")
        assert body.count('<aside class="notes">') >= 10
        assert "check.progress" not in body and "# A solution" not in body
        assert "No description" not in body and 'alt=""' not in body
        assert "$" not in re.sub(r"<pre.*?</pre>|<code.*?</code>", "", body, flags=re.DOTALL)
    assert "linestyle" not in decks[2].read_text(encoding="utf-8")


def test_all_that_slides_load_lies_beside_them_with_its_licence(tmp_path):
    for deck in publish.make_slides([NOTEBOOKS[0], NOTEBOOKS[-1]], tmp_path):
        body = deck.read_text(encoding="utf-8")
        addresses = re.findall(r'<(?:script src|link rel="stylesheet" href)="([^"]+)"', body)
        assert len(addresses) == 5 == len(re.findall(r"<script src|<link", body))
        assert all(deck.parent.joinpath(address).is_file() for address in addresses)
    for text in (tmp_path / "assets").glob("*.css"):
        assert not re.search(r"@import|@font-face|url\((?!['\"]?data:)", text.read_text("utf-8"))
    assert "MIT" in (tmp_path / "assets/MARKED_LICENSE.md").read_text(encoding="utf-8")
    assert "Hakim El Hattab" in (tmp_path / "assets/LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_knows_its_place_among_the_slides(path):
    cells = nbformat.read(path, as_version=4).cells
    kinds = [cell.metadata.get("slideshow", {}).get("slide_type") for cell in cells]
    assert set(kinds) <= SLIDE_TYPES and kinds[0] == "slide"
    for cell, kind in zip(cells, kinds, strict=True):
        if cell.source.startswith("## ") and cell.id not in ("exercises", "more"):
            assert kind == "slide", cell.source


@pytest.mark.parametrize(("arguments", "told"), [
    (["book", "out"], "invalid choice"), (["site"], "required"),
    (["site", "out", "--notebooks", "no such"], "no notebooks"),
])
def test_wrong_usage_is_explained(arguments, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        publish.main(arguments)
    assert stop.value.code == 2 and told in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_file_in_the_way_is_explained(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        publish.main(["site", str(tmp_path / "file" / "out")])
    assert "cannot be made" in capsys.readouterr().err


def first_slides():
    """{number of a section: number of the slide that begins it}"""
    found = {}
    for path in NOTEBOOKS[:4]:
        slides = 0
        for cell in nbformat.read(path, as_version=4).cells:
            slides += cell.metadata.get("slideshow", {}).get("slide_type") in ("slide", "subslide")
            if heading := re.search(r"^## (\d\.\d) ", cell.source, re.MULTILINE):
                found[heading.group(1)] = slides
    return found


def test_the_plans_for_teachers_name_the_slide_on_which_a_section_begins():
    guide = (publish.NOTEBOOKS / publish.GUIDE).read_text(encoding="utf-8")
    named = re.findall(r"(\d\.\d), slide (\d+)", guide)
    assert len(named) > 30
    assert {section: int(slide) for section, slide in named}.items() <= first_slides().items()
