"""Which exercises are solved: kept in a file that belongs to the reader."""

import contextlib
import json
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path

from resnet_helpers.plotting import TEXT_GREEN, WHITE
from resnet_helpers.runs.files import refuse_special, written_whole

FORMAT = "resnet_helpers progress, version 1"
VARIABLE = "RESNET_HELPERS_PROGRESS"  # names another file
# numbers of the notebooks in notebooks/further
FURTHER = {5: "better_recipes", 6: "inside_a_resnet", 7: "beyond_one_machine"}
WHERE = "Kept in a file of yours, which check.progress_file() names; delete it to start anew."


def progress_file():
    """`progress.json` in the user's data folder, or what `RESNET_HELPERS_PROGRESS` names."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).expanduser()
    import platformdirs  # here, for a quick import of the package
    return platformdirs.user_data_path("resnet_helpers", appauthor=False) / "progress.json"


def load(path=None):
    """{name: {"solved": bool, "attempts": int}} from a progress file; a missing one is empty.

    Args:
        path: None means the reader's, `progress_file`.

    Raises:
        ValueError: it cannot be read.
    """
    path = path or progress_file()
    try:
        refuse_special(path)
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError("unknown format")
        return {name: {"solved": entry["solved"] is True, "attempts": int(entry["attempts"])}
                for name, entry in content["exercises"].items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the progress file {path} cannot be read ({error}): has other code "
                         f"written to it? Move or delete it to start anew.") from None


def record(name, solved):
    """Note an attempt; what is solved stays solved.

    Returns:
        "", or a sentence about why it could not be kept.
    """
    def note(exercises):
        entry = exercises.setdefault(name, {"solved": False, "attempts": 0})
        entry["solved"] |= solved
        entry["attempts"] += 1

    obstacle = _rewrite(note)
    return obstacle and f"\n(This is not kept in your progress: {obstacle})"


def _rewrite(change):
    """Let `change` alter the exercises that the file holds; returns what went wrong, or ""."""
    import filelock
    path = progress_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_name(path.name + ".lock"), timeout=5):
            exercises = load(path)
            change(exercises)
            text = json.dumps({"format": FORMAT, "exercises": exercises}, indent=1)
            with written_whole(path) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
    except (OSError, ValueError, NotImplementedError) as error:  # some disks know no locks
        return str(error)
    return ""


# --- the overview ---

MARKS = {"solved": "✓", "tried": "…", "open": "○"}
BORDERS = {  # and what else marks a chip
    "solved": f"{TEXT_GREEN}; background: {TEXT_GREEN}; color: {WHITE}",
    "tried": "var(--jp-warn-color1, #B84F00)",
    "open": "var(--jp-border-color1, #6b6b6b)",
}


def _notebook_name(number):
    """What the overview calls a notebook: "notebook 2", "further/better_recipes"."""
    return f"further/{FURTHER[number]}" if number in FURTHER else f"notebook {number}"


def _chip(name, title, state):
    """An exercise in the overview, as HTML."""
    return (f'<span style="display: inline-block; padding: 0 8px; margin: 2px; border-radius: 3px; '
            f'border: 1px solid {BORDERS[state]}" title="check.{escape(name)}">{MARKS[state]} '
            f'{escape(title)}</span> ')


@dataclass(frozen=True)
class Overview:
    """Which exercises are solved, drawn as the last line of a cell.

    Attributes:
        exercises: {notebook: [(name, title, "solved" or "tried" or "open")]}
        trouble: why the file cannot be read or written, or "".
    """

    exercises: dict
    trouble: str = ""

    @property
    def solved(self):
        """Names of the exercises that are solved."""
        return [name for name, _, state in sum(self.exercises.values(), []) if state == "solved"]

    @property
    def total(self):
        """How many exercises there are."""
        return sum(map(len, self.exercises.values()))

    def __repr__(self):
        lines = [f"{len(self.solved)} of {self.total} exercises solved"]
        for notebook, rows in self.exercises.items():
            titles = ", ".join(f"{MARKS[state]} {title}" for _, title, state in rows)
            lines.append(f"{_notebook_name(notebook)}: {titles}")
        return "\n".join([*lines, self.trouble or WHERE])

    def _repr_html_(self):
        rows = "".join(
            f"<div>{_notebook_name(notebook)}: {''.join(_chip(*row) for row in rows)}</div>"
            for notebook, rows in self.exercises.items())
        return (f'<div style="max-width: 860px; line-height: 1.9">'
                f'<b>{len(self.solved)} of {self.total} exercises solved</b>'
                f'<div style="height: 8px; background: var(--jp-layout-color2, #eee); '
                f'margin: 2px 0 8px"><div style="height: 8px; '
                f'width: {100 * len(self.solved) / self.total:.0f}%; '
                f'background: {TEXT_GREEN}"></div></div>{rows}'
                f'<div style="line-height: 1.4">{escape(self.trouble or WHERE)}</div></div>')


def summarize(exercises):
    """The `Overview` of these exercises, {name: Exercise}."""
    attempts, rows = {}, {}
    trouble = _rewrite(lambda exercises: None)  # a full disk shows only when it is written to
    with contextlib.suppress(ValueError):  # which is in the trouble, too
        attempts = load()
    for e in sorted(exercises.values(), key=lambda e: e.notebook):
        state = "open"
        if e.name in attempts:
            state = "solved" if attempts[e.name]["solved"] else "tried"
        rows.setdefault(e.notebook, []).append((e.name, e.title, state))
    return Overview(rows, trouble and f"What you solve is not kept: {trouble}")
