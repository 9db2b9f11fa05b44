"""What `publish class` makes: a repository of its own, that starts without this one."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest

from resnet_helpers import class_folder, publish

ADDRESS = "https://example.org/teacher/class notes.git"


def files(folder):
    """{path: bytes} of all files in a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def make(folder, *options):
    assert publish.main(["class", str(folder), *options]) == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder as `publish class` makes it."""
    folder = tmp_path_factory.mktemp("class") / "for my class"
    make(folder)
    return folder


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of this checkout that may be changed, from which wheels are built."""
    root = tmp_path / "checkout"
    shutil.copytree(class_folder.ROOT / "resnet_helpers", root / "resnet_helpers",
                    ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copyfile(class_folder.ROOT / name, root / name)
    monkeypatch.setattr(class_folder, "ROOT", root)
    return root


# --- what is in it ---

def test_the_folder_holds_notebooks_how_to_start_them_and_the_package(made):
    (wheel,) = made.glob("*.whl")
    places = {path.relative_to(publish.NOTEBOOKS.parent).as_posix()
              for path in publish.course_notebooks(publish.NOTEBOOKS)}
    assert files(made).keys() == {*places, "notebooks/GLOSSARY.md", "START.md", "requirements.txt",
                                  ".gitignore", wheel.name}


def test_the_wheel_holds_the_package_of_this_checkout(made):
    (wheel,) = made.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()
                  if name.startswith("resnet_helpers/")}
    package = class_folder.ROOT / "resnet_helpers"
    assert packed == {f"resnet_helpers/{name}": content for name, content in files(package).items()
                      if "__pycache__" not in name}


def test_versions_are_those_of_this_environment_without_what_pypi_does_not_know(
        made, tmp_path, monkeypatch):
    lines = (made / "requirements.txt").read_text().splitlines()[1:]
    assert "jupyterlab==" + metadata.version("jupyterlab") in lines
    assert len(lines) > 10 and (made / lines[-1]).is_file()
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in lines[:-1])
    monkeypatch.setattr(class_folder.metadata, "version",
                        lambda name: "2.14.1+cpu" if name == "torch" else "80")
    list(class_folder.surround(tmp_path, "a.ipynb"))
    assert "torch==2.14.1\n" in (tmp_path / "requirements.txt").read_text()


def test_what_the_page_for_students_names_is_there(made):
    page = (made / "START.md").read_text()
    page = page.replace("notebooks/ITS_OLD_NAME.ipynb", "")  # whichever it is
    named = re.findall(r"notebooks/\S+\.ipynb|\S+\.whl|requirements\.txt", page)
    assert len(named) >= 8 and all((made / name).is_file() for name in set(named))
    assert "--torch-backend=cpu" in page and "{" not in page
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"uv venv --python {python}\n" in page


def test_links_between_the_copies_lead_somewhere(made):
    pages = {path: path.read_text(encoding="utf-8") for path in made.rglob("*.md")}
    for path in made.rglob("*.ipynb"):
        pages[path] = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells
                                if cell.cell_type == "markdown")
    links = [(path, link) for path, text in pages.items()
             for link in re.findall(r'(?:\]\(|(?:href|src)=")([^\s)"#]+)', text)
             if not link.startswith("https://")]
    assert len(links) > 20
    dead = [(path.name, link) for path, link in links if not (path.parent / link).is_file()]
    assert dead == []


# --- made again ---

def test_the_same_sources_give_the_same_bytes_and_other_files_stay(checkout, tmp_path):
    out = tmp_path / "out"
    make(out)
    (out / ".git").mkdir()
    (out / ".git/HEAD").write_text("ref: refs/heads/main\n")
    (out / "notebooks/my own.ipynb").write_text("{}")
    ignored = (out / ".gitignore").read_text()
    (out / ".gitignore").write_text("grades.csv\n" + ignored)
    before = files(out)
    make(out)
    assert files(out) == before


def test_a_changed_package_replaces_the_wheel_by_one_of_another_version(checkout, tmp_path):
    out = tmp_path / "out"
    make(out)
    (old,) = out.glob("*.whl")
    (checkout / "resnet_helpers/models.py").write_text("CHANGED = True\n")
    make(out)
    (new,) = out.glob("*.whl")
    assert new.name != old.name and new.name in (out / "requirements.txt").read_text()
    with zipfile.ZipFile(new) as archive:
        assert archive.read("resnet_helpers/models.py") == b"CHANGED = True\n"
    assert not (checkout / "build").exists()


@pytest.mark.parametrize(("spoil", "told"), [
    (lambda root, out: (root / "pyproject.toml").unlink(), "run this in a clone"),
    (lambda root, out: (out / "requirements.txt").write_text("numpy\n"), "name another folder"),
])
def test_what_keeps_it_from_being_made_is_told_and_nothing_is_written(
        spoil, told, checkout, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    spoil(checkout, out)
    before = files(out)
    with pytest.raises(SystemExit):
        make(out)
    assert told in capsys.readouterr().err and files(out) == before


def test_an_old_setuptools_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(class_folder.metadata, "version", lambda name: "65.5.0")
    assert "setuptools>=77" in class_folder.class_obstacle(tmp_path)
    settings = (class_folder.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"setuptools>={class_folder.LOWEST_SETUPTOOLS}"' in settings


# --- what is printed at the end ---

@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_the_printed_commands_put_each_run_on_the_branch_that_the_link_names(
        checkout, tmp_path, capfd, monkeypatch):
    settings = {"init.defaultBranch": "master", "user.name": "A", "user.email": "a@example.org"}
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(settings)))
    for number, (key, value) in enumerate(settings.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    remote, out, student = (tmp_path / name for name in ("remote", "my class", "student"))
    subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True)
    for content in ("FIRST = 1\n", "SECOND = 2\n"):
        (checkout / "resnet_helpers/models.py").write_text(content)
        capfd.readouterr()
        make(out, "--address", str(remote))
        (command,) = re.findall(r"^  (git -C .*)$", capfd.readouterr().out, re.MULTILINE)
        subprocess.run(["sh", "-c", command], check=True)
    branch = parse_qs(urlsplit(class_folder.hub_link("a.ipynb")).query)["branch"]
    subprocess.run(["git", "clone", "--quiet", "--branch", *branch, remote, student], check=True)
    shutil.rmtree(student / ".git")
    shutil.rmtree(out / ".git")
    assert files(student) == files(out)


def test_the_printed_link_opens_a_notebook_of_the_folder_in_a_copy_of_its_own(
        made, tmp_path, capsys):
    make(tmp_path / "out", "--address", ADDRESS)
    last_lines = capsys.readouterr().out.split("GLOSSARY.md\n")[1].splitlines()
    link = last_lines[-1].strip()
    query = {key: value for key, (value,) in parse_qs(urlsplit(link).query).items()}
    assert len(last_lines) <= 5 and query["repo"] == ADDRESS and " " not in link
    opened = Path(query["urlpath"]).relative_to(f"lab/tree/{query['targetPath']}")
    assert (made / opened).is_file() and opened.name.startswith("01")
    readme = (class_folder.ROOT / "README.md").read_text(encoding="utf-8")
    (full_copy,) = re.findall(r"git clone \S+ ([\w-]+)", readme)
    assert query["targetPath"] != full_copy


def test_without_an_address_words_stand_in_its_place(made):
    text = class_folder.next_steps(made, "a.ipynb")
    assert "push ADDRESS HEAD:main" in text and "repo=ADDRESS&" in text
    assert "for ADDRESS" in text and "for https://HUB" in text


# --- as a student ---

@pytest.mark.slow
def test_a_student_installs_what_is_listed_and_runs_the_first_notebook(made, tmp_path):
    """In an environment that finds the packages of this one, or it would download gigabytes."""
    student = shutil.copytree(made, tmp_path / "student")
    venv.create(student / ".venv", with_pip=True)
    python = student / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    (site,) = (student / ".venv").rglob("site-packages")
    others = [path for path in sys.path if path.endswith("-packages")]
    (site / "others.pth").write_text("\n".join(others) + "\n")

    def run(*arguments):
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run([python, *arguments], cwd=student, env=environment,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-m", "pip", "install", "--no-index", "--no-deps", "-r", "requirements.txt")
    place = run("-c", "import resnet_helpers; print(resnet_helpers.__file__)")
    assert Path(place.strip()).is_relative_to(student)
    run("-m", "nbconvert", "--to", "notebook", "--execute", "--output", "ran.ipynb",
        "--allow-errors", "notebooks/01_function_classes.ipynb")
    cells = json.loads((student / "notebooks/ran.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert len(outputs) > 20
    assert [output for output in outputs if output["output_type"] == "error"] == []
