"""The lists of what to install agree with each other, and the sources pass ruff."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "playwright-python": "playwright"}


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
    for target in re.findall(r"\]\(([\w./-]+)\)", readme):
        assert (ROOT / target).exists(), target
