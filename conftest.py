"""What pytest needs to know wherever it is started: what of a notebook's outputs not to compare."""

from pathlib import Path


def pytest_configure(config):
    if getattr(config.option, "nbval_sanitize_with", "") is None:
        config.option.nbval_sanitize_with = str(Path(__file__).parent / "tests/nbval.cfg")
