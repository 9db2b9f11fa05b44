"""Training runs that were recorded once, for readers to look at and to play without training.

They ship with the package; `tests/tools/record_runs.py` makes them.
"""

import time
from dataclasses import replace
from pathlib import Path

from resnet_helpers.errors import GET_ASSETS_AGAIN, DatasetUnavailableError
from resnet_helpers.history import History
from resnet_helpers.runs.recipes import LADDER, RECIPES

FOLDER = Path(__file__).parents[1] / "assets" / "recordings"
NUM_SEEDS = 3


def _runs_to_record():
    """The settings of every recording, by name."""
    article, runs = RECIPES["article"], {}
    for recipe in ("fast", "modern", "article"):
        for seed in range(NUM_SEEDS):
            runs[f"{recipe}-seed{seed}"] = replace(RECIPES[recipe], seed=seed)
    for i, rung in enumerate(LADDER):
        runs[f"ladder-{i}"] = replace(rung.settings, held_out=True)
    for depth, shortcuts in ((18, False), (34, True), (34, False)):  # ResNet-18 is the article's
        settings = replace(article, depth=depth, shortcuts=shortcuts)
        runs[f"depth-{settings.model.lower()}"] = settings
    return runs


RUNS = _runs_to_record()


def list_recordings():
    """The names that `load_recording` knows, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_recording(name):
    """The `History` of a recorded run, with its settings, its curves and the machine it ran on.

    Args:
        name: one of `list_recordings()`, such as "article-seed0".

    Raises:
        ValueError: no recording is called that.
        DatasetUnavailableError: its file has been deleted or damaged.
    """
    names = list_recordings()
    if name not in names and name not in RUNS:
        raise ValueError(f"there is no recording {name!r}; those there are: {', '.join(names)}")
    try:
        return History.load(FOLDER / f"{name}.json")
    except (OSError, ValueError) as error:
        is_missing = isinstance(error, FileNotFoundError)
        problem = f"is not in {FOLDER}" if is_missing else f"cannot be read: {error}"
    raise DatasetUnavailableError(f"the recording {name} {problem}. The recordings come with this "
                                  f"package. Get them again: {GET_ASSETS_AGAIN}")


def play(history, seconds=10.0):
    """Yield the records of a run that is over as `fit` did, in the same rhythm but in `seconds`.

        for p in play(load_recording("article-seed0")):
            animator.add(p.epoch, (p.train_loss, p.train_acc, p.test_acc))

    The stop button ends it.

    Args:
        history: a `History`.
        seconds: how long it takes altogether; 0 does not wait.

    Raises:
        ValueError: `seconds` is below zero.
    """
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"seconds must be at least 0 and finite, got {seconds!r}")
    return _play(history.records, seconds)


def _play(records, seconds):
    begin, total = time.monotonic(), records[-1].seconds if records else 0.0
    try:
        for record in records:
            share = record.seconds / total if total > 0 else 0.0
            time.sleep(max(0.0, begin + seconds * min(1.0, share) - time.monotonic()))
            yield record
    except KeyboardInterrupt:
        pass
