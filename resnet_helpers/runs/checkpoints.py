"""Checkpoints: all that a training run needs to go on as if it had never stopped.

(With `precision="auto"` it is decided anew what is faster, as at the beginning.)

A checkpoint is a file of `torch.save` with tensors, numbers and strings only; reading it runs no code from it.
"""

import copy
import os
import pickletools
import re
import reprlib
import zipfile
from dataclasses import asdict, dataclass

import torch

from resnet_helpers.history import History
from resnet_helpers.runs.files import is_special, printable, refuse_special, written_whole
from resnet_helpers.runs.recipes import RunSettings

FORMAT = "resnet_helpers checkpoint, version 1"
MAX_BYTES = 2**30  # ResNet-152 and what Adam keeps for it: 0.7 GB
MAX_BYTES_OF_STRUCTURE = 2**24  # all but the tensors: 0.2 MB, and 0.1 KB for each record of the history
NAMES = re.compile(r"collections OrderedDict|torch\._utils _rebuild_tensor_v2|torch \w+Storage")


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
        try:
            torch.save(content, file)
        except RuntimeError as error:  # "unexpected pos 768 vs 662" is what torch makes of a full disk
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote.

    Returns:
        `Checkpoint`, its tensors on the CPU.

    Raises:
        ValueError: the file is no such checkpoint, is damaged, or of a newer version.
        OSError: it could not be read.
    """
    if not is_special(path):
        with open(path, "rb"):  # whether it can be read
            pass
    try:
        refuse_special(path)
        content = _read(os.fspath(path))
        if isinstance(content, dict) and content and all(map(torch.is_tensor, content.values())):
            raise ValueError("it holds the weights of a network alone, a state_dict: net.load_state_dict(torch.load("
                             "path, weights_only=True)) loads them")
        if content["format"] != FORMAT:
            raise ValueError(f"unknown format {reprlib.repr(content['format'])}")
        return Checkpoint(RunSettings(**content["settings"]), content["state"], History.from_dict(content["history"]))
    except Exception as error:  # a file that was damaged, or made to harm, brings about any
        reason = printable(str(error).split("\n")[0][:300])
        raise ValueError(f"{path} is not a checkpoint that this version can read ({type(error).__name__}: {reason}); "
                         f"checkpoints are written by python -m resnet_helpers.train --checkpoint") from None


def _read(path):
    """What `torch.save` wrote. It takes no more memory than the file is long, whatever the file says of itself.

    `weights_only` runs no code of the file, but lets it ask for memory, and some versions of torch believe what it says
    about the size of a tensor, and read beyond its end. So a part is mapped first, not read, and then copied: where the
    file ends, it ends too.
    """
    left = size = os.path.getsize(path)
    if size > MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes, which is more than any checkpoint")
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if sum(part.file_size for part in parts) > size:
            raise ValueError("its parts are larger than the file")
        if damaged := archive.testzip():
            raise ValueError(f"{reprlib.repr(damaged)} is damaged")
        names = [part.filename.casefold() for part in parts]  # torch does not tell upper from lower case
        structures = [part for part, name in zip(parts, names, strict=True) if name.endswith("data.pkl")]
        if len(set(names)) < len(names) or len(structures) != 1 or min(part.header_offset for part in parts) != 0:
            raise ValueError("it has parts that no checkpoint has")
        _check_structure(archive.read(structures[0]))

    def count(storage, location):
        nonlocal left
        left -= storage.nbytes()
        if left < 0:
            raise ValueError("its tensors are larger than the file")
        return storage

    return copy.deepcopy(torch.load(path, map_location=count, weights_only=True, mmap=True))


def _check_structure(pickled):
    """Raise ValueError if a pickle has more than tensors, containers, numbers and strings."""
    if len(pickled) > MAX_BYTES_OF_STRUCTURE:
        raise ValueError(f"its structure takes {len(pickled):,} bytes, which is more than that of any checkpoint")
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL" and not NAMES.fullmatch(argument):
            raise ValueError(f"it names {reprlib.repr(argument)}, which is no part of a checkpoint")
