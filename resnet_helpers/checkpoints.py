"""Checkpoints: all that a training run needs to go on as if it had never stopped.

A checkpoint is a file of `torch.save` with tensors, numbers and strings only; reading it runs no code from it.
"""

import pickle
import zipfile
from dataclasses import asdict, dataclass

import torch

from resnet_helpers.files import written_whole
from resnet_helpers.recipes import RunSettings
from resnet_helpers.training import History

FORMAT = "resnet_helpers checkpoint, version 1"


@dataclass
class Checkpoint:
    """What `load_checkpoint` read: `RunSettings`, the state for `PreparedRun.load_state_dict`, and a `History`."""

    settings: RunSettings
    state: dict
    history: History


def save_checkpoint(path, run, history):
    """Write a `PreparedRun` and its history to `path`; an older file there stays whole until the new one is.

    To be called when an epoch has ended: `fit(resume=True)` begins with the next.

    Raises:
        OSError: it could not be written.
    """
    content = {"format": FORMAT, "settings": asdict(run.settings), "state": run.state_dict(),
               "history": history.to_dict()}
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        torch.save(content, file)


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote.

    Returns:
        `Checkpoint`, its tensors on the CPU.

    Raises:
        ValueError: the file is no such checkpoint, is damaged, or of a newer version.
        OSError: it could not be read.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise ValueError(f"unknown format {content['format']!r}")
        return Checkpoint(RunSettings(**content["settings"]), content["state"], History.from_dict(content["history"]))
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, EOFError, pickle.UnpicklingError,
            zipfile.BadZipFile) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"{path} is not a checkpoint that this version can read ({type(error).__name__}: {reason}); "
                         f"checkpoints are written by python -m resnet_helpers.train --checkpoint") from None
