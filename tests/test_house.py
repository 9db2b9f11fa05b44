"""The house: names that mean one thing, imports without a circle, commands that are listed."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from PIL import Image
from processes import run_python

import resnet_helpers
from resnet_helpers.__main__ import COMMANDS

PACKAGE = Path(resnet_helpers.__file__).parent
TREES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): ast.parse(path.read_text("utf-8"))
         for path in PACKAGE.rglob("*.py")}
EXERCISES = {"evaluate_accuracy", "small_net"}  # always called as check.NAME


def test_no_two_modules_classes_or_functions_share_a_name():
    places = defaultdict(list)
    for module, tree in TREES.items():
        *folders, name = module.split("/")
        places[folders[-1] if name == "__init__" and folders else name].append(module)
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                places[node.name].append(module)
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert not {name: shared[name] for name in shared.keys() - EXERCISES - {"main"}}


def test_no_module_imports_one_that_imports_it():
    imports = {}
    for module, tree in TREES.items():
        found = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        paths = [(node.module or "").removeprefix("resnet_helpers").strip(".").replace(".", "/")
                 for node in found]
        names = {f"{path}/{alias.name}".strip("/") for node, path in zip(found, paths, strict=True)
                 for alias in node.names}
        imports[module] = {name for name in {*paths, *names} if name in TREES}
    assert len(list(TopologicalSorter(imports).static_order())) == len(TREES)


def test_every_folder_of_the_package_is_installed_with_it():
    settings = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^packages = \[(.*?)\]", settings, re.DOTALL | re.MULTILINE).group(1)
    folders = {path.parent.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("__init__.py")}
    assert set(re.findall(r'"(.+?)"', listed)) == {".".join(folder.parts) for folder in folders}


def test_every_folder_of_the_assets_is_installed_with_the_package():
    settings = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^resnet_helpers = \[(.*?)\]", settings, re.MULTILINE).group(1)
    folders = {path.parent.relative_to(PACKAGE).as_posix()
               for path in (PACKAGE / "assets").rglob("*") if path.is_file()}
    assert set(re.findall(r'"(.+?)/\*"', listed)) == folders


def test_the_commands_are_listed():
    listed = run_python("-m", "resnet_helpers")
    assert all(f"python -m resnet_helpers.{name}" in listed for name in COMMANDS)
    runnable = {module.replace("/", ".") for module, tree in TREES.items()
                if any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)
                       for node in tree.body)}
    assert runnable == {*COMMANDS, "__main__"}


def test_the_tour_of_readme_moves_calmly_and_loads_quickly():
    path = PACKAGE.parent / ".github" / "tour.gif"
    with Image.open(path) as film, Image.open(path.with_suffix(".png")) as still:
        assert film.format == "GIF" and film.info["loop"] == 0  # without end
        assert film.width >= 700 and still.size == film.size
        durations = []
        for i in range(film.n_frames):
            film.seek(i)
            durations.append(film.info["duration"])
    assert film.n_frames > 20 and min(durations) >= 40  # faster ones browsers slow down
    assert 5_000 <= sum(durations) <= 12_000
    assert path.stat().st_size < 3e6 and path.with_suffix(".png").stat().st_size < 150e3


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name):
    done = subprocess.run([sys.executable, "-m", f"resnet_helpers.{name}", "--help"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and f"python -m resnet_helpers.{name}" in done.stdout
