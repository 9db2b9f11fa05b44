"""Record the runs that ship with the package, as resnet_helpers/assets/recordings/NAME.json.

    python tests/tools/record_runs.py [--folder FOLDER] [NAME ...]

Without names: all of `runs.recordings.RUNS` that are not there yet. A run that is cut goes on after
its last whole epoch the next time, from its checkpoint in FOLDER. On 2 cores they take hours; leave
the machine alone meanwhile.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from resnet_helpers import train
from resnet_helpers.runs.recordings import FOLDER, RUNS, list_recordings


def record(name, folder):
    """Train, or go on with, one run; returns the exit status. A recording that is there is replaced
    at the end.
    """
    checkpoint, history = folder / f"{name}.pt", folder / f"{name}.json"
    print(f"--- {name}", flush=True)
    status = train.main([*train.options_of(RUNS[name]), "--checkpoint", str(checkpoint), "--resume",
                         "--history", str(history)])
    if status == 0:
        FOLDER.mkdir(exist_ok=True)
        shutil.copyfile(history, FOLDER / history.name)
        checkpoint.unlink()
    return status


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path,
                        default=Path(tempfile.gettempdir()) / "resnet_helpers_recordings")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RUNS))
    options = parser.parse_args()
    unknown = set(options.names) - set(RUNS)
    if unknown:
        parser.error(f"not among the runs to record: {', '.join(sorted(unknown))}")
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names or [name for name in RUNS if name not in list_recordings()]:
        status = record(name, options.folder)
        if status:
            sys.exit(status)
