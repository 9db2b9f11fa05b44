"""Which exercises are solved: kept in a file that belongs to the reader."""

import html
import json
import os
import reprlib
from dataclasses import dataclass, field
from pathlib import Path

from resnet_helpers.plotting import TEXT_GREEN, WHITE
from resnet_helpers.runs.files import refuse_special, written_whole

FORMAT = "resnet_helpers progress, version 1"
VARIABLE = "RESNET_HELPERS_PROGRESS"  # names another file
MAX_BYTES = 1_000_000
_unsaved = {}  # what could not be written, for the rest of the session


def progress_file():
    """Where progress is kept: `progress.json` in the user's data folder, or what `RESNET_HELPERS_PROGRESS` names."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).expanduser()
    import platformdirs  # here, for a quick import of the package
    return platformdirs.user_data_path("resnet_helpers", appauthor=False) / "progress.json"


def load():
    """{name: {"solved": bool, "attempts": int}} of the exercises that were attempted.

    A missing file is empty; one that cannot be read raises ValueError.
    """
    path = progress_file()
    try:
        refuse_special(path)
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is too large")
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"unknown format {reprlib.repr(content['format'])}")
        entries = {str(name): {"solved": entry["solved"] is True, "attempts": int(entry["attempts"])}
                   for name, entry in content["exercises"].items()}
    except (FileNotFoundError, NotADirectoryError):
        entries = {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"the progress file {path} cannot be read ({error}). Move or delete it to start "
                         f"anew.") from None
    for name, entry in _unsaved.items():
        _note(entries, name, **entry)
    return entries


def record(name, solved):
    """Note an attempt; what is solved stays solved.

    Returns:
        "", or a sentence about why it could not be kept.
    """
    import filelock
    path = progress_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_name(path.name + ".lock"), timeout=5):
            entries = load()
            _note(entries, name, solved)
            text = json.dumps({"format": FORMAT, "exercises": entries}, indent=1)
            with written_whole(path) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        _unsaved.clear()
    except (OSError, ValueError, NotImplementedError) as error:  # a lock is not to be had, or the disk knows of none
        _note(_unsaved, name, solved)
        return f"\n(Progress is kept for this session only: {error})"
    return ""


def _note(entries, name, solved, attempts=1):
    entry = entries.get(name, {"solved": False, "attempts": 0})
    entries[name] = {"solved": entry["solved"] or solved, "attempts": entry["attempts"] + attempts}


@dataclass(frozen=True)
class Progress:
    """Which exercises are solved, drawn as the last line of a cell.

    Attributes:
        exercises: {notebook: list of (name, title, state)}, with a state of "solved", "tried" or "open".
        trouble: why the file could not be read, or "".
    """

    exercises: dict = field(default_factory=dict)
    trouble: str = ""

    @property
    def solved(self):
        """Names of the exercises that are solved."""
        return [name for rows in self.exercises.values() for name, _, state in rows if state == "solved"]

    def __repr__(self):
        total = sum(map(len, self.exercises.values()))
        lines = [f"{len(self.solved)} of {total} exercises solved"]
        for notebook, rows in self.exercises.items():
            lines.append(f"notebook {notebook}: " + ", ".join(f"{MARKS[state]} {title}" for _, title, state in rows))
        return "\n".join([*lines, self.trouble or WHERE])

    def _repr_html_(self):
        total = sum(map(len, self.exercises.values()))
        share = 100 * len(self.solved) / total if total else 0
        parts = [f'<div style="max-width: 860px; line-height: 1.9">'
                 f'<b>{len(self.solved)} of {total} exercises solved</b>'
                 f'<div style="height: 8px; background: var(--jp-layout-color2, #eee); margin: 2px 0 8px">'
                 f'<div style="height: 8px; width: {share:.0f}%; background: {TEXT_GREEN}"></div></div>']
        for notebook, rows in self.exercises.items():
            chips = "".join(f'<span style="{CHIPS[state]}" title="check.{html.escape(name)}">{MARKS[state]} '
                            f'{html.escape(title)}</span> ' for name, title, state in rows)
            parts.append(f"<div>{notebook}. {chips}</div>")
        return "".join(parts) + f'<div style="line-height: 1.4">{html.escape(self.trouble or WHERE)}</div></div>'


WHERE = "Kept in a file of yours, which check.progress_file() names; delete it to start anew."
MARKS = {"solved": "✓", "tried": "…", "open": "○"}
_CHIP = "display: inline-block; padding: 0 8px; margin: 2px; border-radius: 3px; border: 1px solid "
CHIPS = {"solved": _CHIP + f"{TEXT_GREEN}; background: {TEXT_GREEN}; color: {WHITE}",
         "tried": _CHIP + "var(--jp-warn-color1, #B84F00)", "open": _CHIP + "var(--jp-border-color1, #6b6b6b)"}


def summarize(exercises):
    """The `Progress` of these exercises, {name: Exercise}."""
    trouble, entries = "", dict(_unsaved)
    try:
        entries = load()
    except ValueError as error:
        trouble = str(error)
    rows = {}
    for e in exercises.values():
        entry = entries.get(e.name)
        state = "open" if entry is None else "solved" if entry["solved"] else "tried"
        rows.setdefault(e.notebook, []).append((e.name, e.title, state))
    return Progress(dict(sorted(rows.items())), trouble)
