"""The lists of what to install agree, the sources pass ruff, and the package asks for no more than
it needs.
"""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from processes import run_python

sys.path.insert(0, str(Path(__file__).parent / "tools"))
from lowest_versions import lowest  # noqa: E402

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib",
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


def test_what_binder_hubs_and_colab_need_is_there():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (opened,) = re.findall(r"urlpath=lab/tree/resnet-notebooks/(\S+?)&", readme)
    assert (ROOT / opened).is_file()
    assert (ROOT / "environment.yml").is_file() and (ROOT / "pyproject.toml").is_file()


def test_links_between_documents_lead_somewhere():
    for document in (ROOT / "README.md", ROOT / "tests/README.md",
                     *sorted((ROOT / "notebooks").glob("*.md"))):
        for target in re.findall(r"\]\(([\w./-]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), (document.name, target)


def test_the_programs_that_the_tests_readme_names_are_all_there_are():
    named = re.findall(r"`python (tests/\S+\.py)",
                       (ROOT / "tests/README.md").read_text(encoding="utf-8"))
    programs = [path.relative_to(ROOT).as_posix() for folder in ("tools", "load")
                for path in (ROOT / "tests" / folder).glob("*.py")]
    assert sorted(set(named) - {"tests/test_models.py"}) == sorted(programs)


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
