"""The lists of what to install agree, the sources pass ruff, and the package asks for no more than
it needs.
"""

import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from processes import run_python

import resnet_helpers
from resnet_helpers import pages, publish
from resnet_helpers.check import EXERCISES

sys.path.insert(0, str(Path(__file__).parent / "tools"))
from lowest_versions import lowest  # noqa: E402
from set_address import present_address, set_address  # noqa: E402

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"pytorch": "torch", "pytorch-cpu": "torch", "matplotlib-base": "matplotlib",
               "playwright-python": "playwright"}


def requirements(lines):
    """{package: version specification} of lines such as `torch>=2.4` and `- pytorch>=2.4`."""
    pattern = re.compile(r"\s*(?:- )?\"?([A-Za-z][\w-]*)((?:[<>=!~]=?[\w.,*<>=]+)?)\"?,?\s*")
    found = (pattern.fullmatch(line) for line in lines)
    return {CONDA_NAMES.get(m[1], m[1]): m[2] for m in found if m}


def section(path, start, end):
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    first = lines.index(start) + 1
    return lines[first:lines.index(end, first)]


def test_conda_and_pip_install_the_same():
    pip = requirements((ROOT / "requirements.txt").read_text().splitlines())
    conda = requirements(section("environment.yml", "dependencies:", "  - pip:"))
    assert conda.pop("python") == ">=3.10"
    conda.pop("pip")
    assert conda == pip
    assert len(pip) >= 7 and all(spec.startswith(">=") for spec in pip.values())


def test_package_needs_nothing_that_is_not_listed():
    package = requirements(section("pyproject.toml", "dependencies = [", "]"))
    pip = requirements((ROOT / "requirements.txt").read_text().splitlines())
    assert package and package.items() <= pip.items()


def test_both_install_the_package_itself():
    assert "-e ." in (ROOT / "requirements.txt").read_text().splitlines()
    assert "      - -e ." in (ROOT / "environment.yml").read_text().splitlines()


def test_code_and_notebooks_pass_ruff():
    check = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "."], cwd=ROOT,
                           capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr


def test_binder_installs_what_the_notebooks_need_and_nothing_for_tests():
    binder = requirements(section(".binder/environment.yml", "dependencies:", "  - pip:"))
    assert binder.pop("python").startswith("=") and binder.pop("pip") == ""
    pip = requirements((ROOT / "requirements.txt").read_text().splitlines())
    package = requirements(section("pyproject.toml", "dependencies = [", "]"))
    wanted = {name: pip[name] for name in (*package, "jupyterlab", "ipykernel")}
    assert binder == wanted


def test_the_development_container_installs_the_list():
    settings = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    assert settings["postCreateCommand"].endswith("-r requirements.txt")


# --- documents ---

DOCUMENTS = [ROOT / "README.md", ROOT / "resnet_helpers/README.md", ROOT / "tests/README.md",
             *sorted((ROOT / ".github").glob("*.md")), *sorted((ROOT / "notebooks").glob("*.md"))]


def test_links_between_documents_lead_somewhere():
    for document in DOCUMENTS:
        text = " ".join(document.read_text(encoding="utf-8").split())
        for target in re.findall(r"\]\(([\w./-]+)\)|(?:src|srcset)=\"([\w./-]+)\"", text):
            place = target[0] or target[1]
            assert (document.parent / place).exists(), (document.name, place)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_commands_in_documents_can_be_pasted():
    blocks = [block for document in DOCUMENTS for block in re.findall(
        r"```bash\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| `([^`]+[ /]jupyter lab notebooks)` \|", readme)
    assert len(blocks) >= 5 and len(rows) == 3  # and one for Windows
    for command in (*blocks, *rows):
        parsed = subprocess.run(["bash", "-nc", command], capture_output=True, text=True)
        assert (parsed.returncode, parsed.stderr) == (0, ""), command
    for name in re.findall(r"(?:-r|-f) (\S+?\.\w+)", readme):
        assert (ROOT / name).is_file()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the hub's system")
def test_the_teachers_commands_collect_what_was_handed_in(tmp_path):
    guide = (ROOT / "notebooks/TEACHING.md").read_text(encoding="utf-8")
    collect = re.search(r"```bash\n(for home in.*?)```", guide, re.DOTALL)[1]
    for account in ("jupyter-anna", "jupyter-ben"):  # ben has not followed the link yet
        (tmp_path / "home" / account).mkdir(parents=True)
    work = tmp_path / "home/jupyter-anna/resnet-class/notebooks"
    work.mkdir(parents=True)
    (work / "01.ipynb").write_text("anna's")
    (work / ".secret").write_text("left there")
    script = f'sudo() {{ shift 2; "$@"; }}\n{collect.replace("/home/", f"{tmp_path}/home/")}'
    subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True)
    handed_in = tmp_path / "handed-in"
    assert sorted(path.name for path in handed_in.iterdir()) == ["anna", "ben"]
    assert [path.name for path in (handed_in / "anna/notebooks").iterdir()] == ["01.ipynb"]
    assert not list((handed_in / "ben").iterdir()) and (tmp_path / "handed-in.tgz").is_file()


def test_documents_name_only_modules_and_options_that_are_there():
    named = {}
    for document in DOCUMENTS:
        text = " ".join(document.read_text(encoding="utf-8").split())
        for module, options in re.findall(r"-m (resnet_helpers[\w.]*)((?: [\w./-]+)*)", text):
            named.setdefault(module, set()).update(re.findall(r"--[\w-]+", options))
    assert len(named) >= 5
    for module, options in named.items():
        helped = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True,
                                text=True, cwd=ROOT)
        assert helped.returncode == 0, module
        assert all(option in helped.stdout for option in options), (module, options)


def test_the_readme_is_short_and_counts_right():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.split()) <= 1000
    assert f"| {len(EXERCISES)} that check themselves" in readme
    assert pages.FILM_WORDS in " ".join(readme.split())


@pytest.mark.parametrize("address", ["https://github.com/a-b/c.d", "https://github.com/a/b.git"])
def test_an_address_reaches_all_places_that_name_the_repository(tmp_path, address):
    owner, name = present_address(ROOT)
    settings = [ROOT / "pyproject.toml", ROOT / "environment.yml", *(
        path for folder in (".github", ".binder", ".devcontainer")
        for path in (ROOT / folder).rglob("*.*") if path.suffix in (".yml", ".json"))]
    for path in (*DOCUMENTS, *settings):
        place = tmp_path / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    changed = set_address(address, tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in changed} >= {
        "README.md", "pyproject.toml", ".github/SUPPORT.md", ".github/CONTRIBUTING.md"}
    new_owner, new_name = present_address(tmp_path)
    assert address.removesuffix(".git").endswith(f"/{new_owner}/{new_name}")
    texts = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.*") if path.is_file()]
    assert len(texts) > 10
    assert not any(re.search(rf"{owner}/{name}|{owner}\.github|ADDRESS", text) for text in texts)
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    for link in (f"https://{new_owner}.github.io/{new_name}/04_training.html",
                 f"https://colab.research.google.com/github/{new_owner}/{new_name}/blob/main/"
                 "notebooks/04_training.ipynb",
                 f"https://mybinder.org/v2/gh/{new_owner}/{new_name}/main?urlpath=lab/tree/"
                 "notebooks/04_training.ipynb"):
        assert f"({link})" in readme


@pytest.mark.parametrize("address", ["github.com/a/b", "https://github.com/a", "", "ADDRESS"])
def test_what_is_no_address_changes_nothing(tmp_path, address):
    with pytest.raises(ValueError, match="is no address like"):
        set_address(address, tmp_path)


def test_links_to_read_and_to_open_name_notebooks_that_are_there():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    opened = re.findall(r"(?:blob/main|lab/tree)/(notebooks/[\w/]+\.ipynb)", readme)
    read = re.findall(rf"github\.io/{present_address(ROOT)[1]}/([\w/]+)\.html", readme)
    names = [path.relative_to(ROOT / "notebooks").with_suffix("").as_posix()
             for path in publish.course_notebooks(publish.NOTEBOOKS)]
    assert len(opened) == 2 * len(names) and sorted(read) == sorted(names)
    for place in (*opened, *(f"notebooks/{name}.ipynb" for name in read)):
        assert (ROOT / place).is_file()


def test_the_package_knows_its_version():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{resnet_helpers.__version__.partition("+")[0]}"' in text


def test_the_programs_that_the_tests_readme_names_are_all_there_are():
    named = re.findall(r"`python (tests/\S+\.py)",
                       (ROOT / "tests/README.md").read_text(encoding="utf-8"))
    programs = [path.relative_to(ROOT).as_posix() for folder in ("tools", "load")
                for path in (ROOT / "tests" / folder).glob("*.py")]
    assert sorted(set(named) - {"tests/test_models.py"}) == sorted(programs)


@pytest.mark.slow
def test_the_programs_start():
    for folder in ("tools", "load"):
        for program in sorted((ROOT / "tests" / folder).glob("*.py")):
            helped = subprocess.run([sys.executable, program, "--help"], capture_output=True,
                                    text=True, cwd=ROOT)
            assert helped.returncode == 0 and "usage" in helped.stdout, (program, helped.stderr)


def test_every_system_runs_the_command_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"```(?:bash|powershell)\n(.*-m pytest)\n```", readme)
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    assert len(commands) == 2 and all(f"run: {command}\n" in workflow for command in commands)


def test_lowest_versions_are_those_of_the_list():
    listed = requirements((ROOT / "requirements.txt").read_text().splitlines())
    held = lowest((ROOT / "requirements.txt").read_text())
    assert held == [name + spec.replace(">=", "==") for name, spec in listed.items()]


@pytest.mark.parametrize("category", [DeprecationWarning, PendingDeprecationWarning, FutureWarning])
def test_what_is_deprecated_is_an_error_in_the_package_only(category):
    for module in ("resnet_helpers", "resnet_helpers.widgets.block_explorer"):
        with pytest.raises(category):
            warnings.warn_explicit("is old", category, "file.py", 1, module)
    with pytest.warns(category):
        warnings.warn_explicit("is old", category, "file.py", 1, "matplotlib.figure")


def test_the_package_imports_nothing_but_torch_numpy_and_pythons_own_modules():
    code = ("import sys, torch\nbefore = set(sys.modules)\nimport resnet_helpers\n"
            "print(*{name.partition('.')[0] for name in sys.modules.keys() - before})")
    assert set(run_python("-c", code).split()) - sys.stdlib_module_names <= {"resnet_helpers",
                                                                             "numpy"}
