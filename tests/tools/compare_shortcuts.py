"""What shortcuts change in the quick run of notebook 4: 18 and 34 layers, with and without them.
Prints a line per run.

    python tests/tools/compare_shortcuts.py [SEED ...]
"""

import argparse

from resnet_helpers.history import describe_hardware, describe_versions
from resnet_helpers.runs.background import BackgroundRun
from resnet_helpers.runs.recipes import RunSettings

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[0], metavar="SEED")
    for seed in parser.parse_args().seeds:
        for depth in (18, 34):
            for shortcuts in (True, False):
                run = BackgroundRun(RunSettings(depth=depth, shortcuts=shortcuts,
                                                seed=seed)).start()
                run.join()
                print(f"seed {seed}  {run.settings.model:9}  {run.history}  {run._timer.sum():.0f} "
                      "s", flush=True)
    print(describe_hardware(run.device or next(run.net.parameters()).device), describe_versions())
