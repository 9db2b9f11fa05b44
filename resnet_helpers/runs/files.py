"""Files that are there whole or not at all, and what keeps a file from being written or read.

For all that saves something: histories, checkpoints, pictures, progress and grades.
"""

import contextlib
import glob
import os
import secrets
from pathlib import Path

ABANDONED = 3600  # seconds without a change, after which nobody writes to a temporary file any more


@contextlib.contextmanager
def written_whole(path):
    """Give the path of a temporary file to write to; it replaces `path` once it is complete.

    Whatever happens meanwhile (an error, a full disk, a killed process, a power cut, another
    process that writes the same file) an older file stays whole. What a killed process left is
    removed by the next write after an hour. A link stays, and the file that it leads to is
    replaced; a device or a pipe is written to directly.

    Raises:
        OSError: it could not be written; the message names `path`.
    """
    path = Path(path)
    if is_special(path) and not path.is_dir():
        yield path
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # on the disk before the old file goes
        _remove_abandoned(target, now=temporary.stat().st_mtime)  # by the clock of the disk
        os.replace(temporary, target)
    except OSError as error:
        if error.errno is None or str(error.filename or temporary) != str(temporary):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _remove_abandoned(target, now):
    for path in target.parent.glob(f"{glob.escape(target.name)}.{'[0-9a-f]' * 16}.tmp"):
        with contextlib.suppress(OSError):  # another process may have been faster
            if now - path.stat().st_mtime > ABANDONED:
                path.unlink()


def printable(text):
    """Text without what could move the cursor of a terminal, for what comes from a file."""
    return "".join(c if c.isprintable() else "?" for c in text)


def is_special(path):
    """Is it there and no regular file, such as a folder or /dev/null?"""
    return os.path.exists(path) and not os.path.isfile(path)


def refuse_special(path):
    """Raise ValueError unless a path can be read as a file: to open a pipe would wait for ever."""
    if is_special(path):
        raise ValueError("it is a folder or a device, not a file")


def write_obstacle(path):
    """What surely keeps a file from being written, in words; "" if nothing does."""
    folder = Path(os.path.realpath(path)).parent if os.path.islink(path) else path.parent
    if not os.path.isdir(folder):
        return f"there is no folder {folder} for {path.name}"
    if os.path.isdir(path):
        return f"{path} is a folder; name a file"
    if is_special(path):
        return "" if os.access(path, os.W_OK) else f"you may not write to {path}; name another file"
    if not os.access(folder, os.W_OK):
        return f"you may not write to the folder {folder}; name a file in another"
    return ""


def picture_obstacle(path):
    """What surely keeps a picture from being drawn in a file, in words; "" if nothing does."""
    from matplotlib.figure import Figure
    if picture_kind(path) not in Figure().canvas.get_supported_filetypes():
        return f"pictures cannot be of the kind {path.suffix}: name a .png, .svg or .pdf file"
    return write_obstacle(path)


def picture_kind(path):
    """What the ending of a file's name says about a picture: "png", "svg", ..."""
    return path.suffix[1:].lower() or "png"


def write_page(path, text):
    """Write a text whole, in a folder that is made if it is not there; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
