"""Files that are there whole or not at all."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def written_whole(path):
    """Give the path of a temporary file beside `path` to write to; it replaces `path` once it is complete.

    Whatever happens meanwhile (an error, a full disk, a killed process, a power cut) an older file stays whole.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # on the disk before the old file goes
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
