"""Checkpoints: all that a training run needs to go on as if it had never stopped.

`python -m resnet_helpers.train --checkpoint FILE` writes them, for runs that are to go on and for
nets to be used. A file of `torch.save` that holds tensors, numbers and strings alone.
"""

import os
import pickle
from dataclasses import asdict, dataclass

import torch

from resnet_helpers.history import History
from resnet_helpers.runs.files import printable, refuse_special, written_whole
from resnet_helpers.runs.recipes import RunSettings

FORMAT = "resnet_helpers checkpoint, version 1"
MAX_BYTES = 2**30  # ResNet-152 and what Adam keeps for it: 0.7 GB


@dataclass
class Checkpoint:
    """`RunSettings`, the state for `PreparedRun.load_state_dict`, and the `History` so far."""

    settings: RunSettings
    state: dict
    history: History


def save_checkpoint(path, run, history):
    """Write a `PreparedRun` and its history; an older file at `path` stays until the new is whole.

    To be called when an epoch has ended: `fit(resume=True)` begins with the next.

    Raises:
        OSError: it could not be written.
    """
    content = {"format": FORMAT, "settings": asdict(run.settings), "state": run.state_dict(),
               "history": history.to_dict()}
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # "unexpected pos 768": a full disk, in torch's words
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote; no code of the file is run.

    Returns:
        `Checkpoint`, its tensors on the CPU.

    Raises:
        ValueError: the file is no such checkpoint, is damaged, or of a newer version.
        OSError: it is not there, or may not be read.
    """
    try:
        return _read_checkpoint(path)
    except (FileNotFoundError, PermissionError):
        raise
    except pickle.UnpicklingError:  # in torch's own words: run the code of the file
        reason = "it holds more than tensors, numbers and strings, or is damaged"
    except Exception as error:  # a damaged file may bring about any
        first_line = str(error).partition("\n")[0]
        reason = f"{type(error).__name__}: {printable(first_line)[:300]}"
    raise ValueError(
        f"{path} is not a checkpoint that this version can read ({reason}); checkpoints are "
        f"written by python -m resnet_helpers.train --checkpoint")


def _read_checkpoint(path):
    refuse_special(path)
    if (num_bytes := os.path.getsize(path)) > MAX_BYTES:
        raise ValueError(f"it has {num_bytes:,} bytes, which is more than any checkpoint")
    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, dict) and content and all(map(torch.is_tensor, content.values())):
        raise ValueError("it holds the weights of a network alone, a state_dict: "
                         "net.load_state_dict(torch.load(path, weights_only=True)) loads them")
    if content["format"] != FORMAT:
        raise ValueError(f"unknown format {content['format']!r}")
    return Checkpoint(RunSettings(**content["settings"]), content["state"],
                      History.from_dict(content["history"]))
